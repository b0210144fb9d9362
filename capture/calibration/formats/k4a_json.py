"""Azure Kinect and Femto Bolt calibrations: one JSON for every mode of the device.

Values are in units of the calibrated picture's width and height, measured from its corner, in the order
cx, cy, fx, fy, k1..k6, codx, cody, p2, p1 (p2 before p1), and a mode shows a scaled window of that picture. The SDK
takes half a pixel off to reach pixel centres at integers; ours are at +0.5, so nothing is taken off here.
Source: Azure-Kinect-Sensor-SDK, src/calibration/calibration.c and src/transformation/mode_specific_calibration.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from capture.calibration.formats.checked_values import matrix, numbers, pose, side
from geometry.cameras import Camera, CameraKind
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from storage.documents import parse

RGB, DEPTH, INFRARED = "rgb", "depth", "infrared"
DEPTH_UNIT_M = 1e-3
DEFAULT_METRIC_RADIUS = 1.7
"""What the SDK takes where the file has 1e-4 or less."""
LOCATIONS = {RGB: "CALIBRATION_CameraLocationPV0", DEPTH: "CALIBRATION_CameraLocationD0"}
MODEL = "CALIBRATION_LensDistortionModelBrownConrady"
TANGENTIAL_VARIANT = "CALIBRATION_LensDistortionModelRational6KT"
"""Lacks the factor 2 at p1 x y and p2 x y; the same model where p1 and p2 are 0."""
PARAMETERS = 14
ORDER = (4, 5, 13, 12, 6, 7, 8, 9)
"""Where OpenCV's k1 k2 p1 p2 k3 k4 k5 k6 stand among the parameters."""
WORLD_FROM_DEVICE = np.diag([1.0, -1.0, -1.0])
"""The depth camera is the device's origin; the world is y up, and the camera looks along its -z."""
OWN_KEY = "mien"
"""What the format has no place for, beside the device's own keys, which no other program looks at."""
REMEDY = "take the calibration from the recording again (k4arecorder writes it as an attachment)"


@dataclass(frozen=True)
class K4aMode:
    """The window of the calibrated picture that one mode shows."""

    calibrated_hw: tuple[int, int]
    """Size that the calibrated picture is scaled to."""
    crop_yx: tuple[int, int]
    """Where the window starts in it."""
    size_hw: tuple[int, int]
    """The mode's picture size."""


COLOUR_MODES: Mapping[str, K4aMode] = MappingProxyType(
    {
        "720P": K4aMode((960, 1280), (120, 0), (720, 1280)),
        "1080P": K4aMode((1440, 1920), (180, 0), (1080, 1920)),
        "1440P": K4aMode((1920, 2560), (240, 0), (1440, 2560)),
        "1536P": K4aMode((1536, 2048), (0, 0), (1536, 2048)),
        "2160P": K4aMode((2880, 3840), (360, 0), (2160, 3840)),
        "3072P": K4aMode((3072, 4096), (0, 0), (3072, 4096)),
    }
)
DEPTH_MODES: Mapping[str, K4aMode] = MappingProxyType(
    {
        "NFOV_UNBINNED": K4aMode((1024, 1024), (180, 192), (576, 640)),
        "NFOV_2X2BINNED": K4aMode((512, 512), (90, 96), (288, 320)),
        "WFOV_2X2BINNED": K4aMode((512, 512), (0, 0), (512, 512)),
        "WFOV_UNBINNED": K4aMode((1024, 1024), (0, 0), (1024, 1024)),
        "PASSIVE_IR": K4aMode((1024, 1024), (0, 0), (1024, 1024)),
    }
)
DEPTH_SENSOR_HW = (1024, 1024)
LEGACY_16_9 = K4aMode((2304, 4096), (-384, 0), (3072, 4096))
"""Turns a calibration of a 16:9 sensor picture into one of the whole 4:3 sensor."""


@dataclass(frozen=True, eq=False)
class K4aCameras:
    """The cameras of one device in one pair of modes; the world is the device's, see WORLD_FROM_DEVICE."""

    rgb: Camera | None
    """None where colour is off."""
    depth: Camera | None
    """None where depth is off, or in the passive infrared mode."""
    infrared: Camera | None
    """The depth sensor's brightness; None where depth is off."""
    notes: tuple[str, ...]
    """What a user should know, such as how far from the axis the lens model holds."""

    @property
    def all(self) -> tuple[Camera, ...]:
        """Those that there are."""
        return tuple(camera for camera in (self.rgb, self.depth, self.infrared) if camera is not None)


def k4a_cameras(
    document: Mapping[str, Any],
    colour_mode: str,
    depth_mode: str,
    *,
    module: str = "kinect",
    name: str = "the calibration",
) -> K4aCameras:
    """Cameras `rgb`, `depth` and `infrared` of a calibration in the modes that a recording names.

    `colour_mode` is a tag such as MJPG_720P or 720P, `depth_mode` one such as NFOV_UNBINNED; empty or OFF: not
    recorded. Distortion has OpenCV's 8 coefficients. `name` is what messages call the document.
    Raises InputError: an unknown mode, a camera that is missing or impossible, another lens model, a centre of
    distortion apart from the principal point, which OpenCV's model does not have.
    """
    serial = _serial(document)
    notes: list[str] = []
    rgb = depth = infrared = None
    world_from_depth = RigidTransform(WORLD_FROM_DEVICE, np.zeros(3))
    if not _off(depth_mode):
        mode = _mode(depth_mode, DEPTH_MODES, "depth")
        K, distortion = _window(_raw(document, DEPTH, name), mode)
        here = world_from_depth

        def at_depth(camera_id: str, kind: CameraKind, unit_m: float | None) -> Camera:
            source = f"Kinect's factory calibration, {depth_mode}"
            return Camera(camera_id, module, kind, mode.size_hw, K, distortion, here, 30.0, unit_m, serial, source)

        infrared = at_depth(INFRARED, "infrared", None)
        if depth_mode.upper() != "PASSIVE_IR":
            depth = at_depth(DEPTH, "depth", DEPTH_UNIT_M)
        notes.append(_radius_note(document, DEPTH, name))
    if not _off(colour_mode):
        mode = _mode(colour_mode.rpartition("_")[2], COLOUR_MODES, "colour")
        K, distortion = _window(_raw(document, RGB, name), mode)
        colour_from_depth = _extrinsics(document, name)
        here = world_from_depth.compose(colour_from_depth.inverse())
        source = f"Kinect's factory calibration, {colour_mode}"
        rgb = Camera(RGB, module, "rgb", mode.size_hw, K, distortion, here, 30.0, None, serial, source)
        notes.append(_radius_note(document, RGB, name))
    return K4aCameras(rgb, depth, infrared, tuple(notes))


def parse_k4a(data: bytes, name: str) -> dict[str, Any]:
    """The document of a calibration file or attachment, which may end in a NUL; InputError if it is none."""
    document = parse(data.rstrip(b"\0 \t\r\n"), name)
    if not is_k4a_document(document):
        raise InputError("a Kinect calibration with CalibrationInformation", f"other JSON in {name}", REMEDY)
    return document


def is_k4a_document(document: Mapping[str, Any]) -> bool:
    """Whether a JSON document is a Kinect's calibration."""
    information = document.get("CalibrationInformation")
    return isinstance(information, dict) and isinstance(information.get("Cameras"), list)


def k4a_rig(document: Mapping[str, Any], colour_mode: str, depth_mode: str, name: str) -> Rig:
    """The rig of a calibration file; empty modes are those it says it was written for, else the whole sensors.

    Raises InputError as `k4a_cameras`.
    """
    own = document.get(OWN_KEY, {})
    if not isinstance(own, dict):
        raise InputError(f"an object {OWN_KEY!r}", f"a {type(own).__name__} in {name}", REMEDY)
    colour_mode = colour_mode or str(own.get("colour_mode", "3072P"))
    depth_mode = depth_mode or str(own.get("depth_mode", "WFOV_UNBINNED"))
    cameras = k4a_cameras(document, colour_mode, depth_mode, name=name)
    placed: list[Camera] = []
    for camera in (cameras.rgb, cameras.depth):
        if camera is not None:
            placed.append(_placed(camera, own, name))
    return Rig(tuple(placed))


def k4a_document(rig: Rig) -> dict[str, Any]:
    """A rig of one colour and one depth camera as a Kinect calibration; infrared cameras go with the depth camera.

    Raises InputError: other cameras, a picture size that is no mode's, a lens that the model does not have.
    """
    if len(rig.rgb) != 1 or len(rig.depth) != 1:
        got = f"{len(rig.rgb)} colour and {len(rig.depth)} depth cameras"
        raise InputError("one colour and one depth camera, as a Kinect has", got, "choose another format")
    rgb, depth = rig.rgb[0], rig.depth[0]
    colour_mode, depth_mode = _mode_of(rgb, COLOUR_MODES), _mode_of(depth, DEPTH_MODES)
    colour_from_depth = rgb.world_from_camera.inverse().compose(depth.world_from_camera)
    cameras = [
        _written(depth, DEPTH, DEPTH_MODES[depth_mode], RigidTransform.identity()),
        _written(rgb, RGB, COLOUR_MODES[colour_mode], colour_from_depth),
    ]
    own = {
        "colour_mode": colour_mode,
        "depth_mode": depth_mode,
        "ids": {RGB: rgb.id, DEPTH: depth.id},
        "world_from_depth": depth.world_from_camera.matrix,
    }
    information = {"Cameras": cameras, "InertialSensors": [], "Metadata": {"SerialId": depth.serial}}
    return {"CalibrationInformation": information, OWN_KEY: own}


def _placed(camera: Camera, own: Mapping[str, Any], name: str) -> Camera:
    """The camera with the name and in the world that the file gives it, if it gives any."""
    try:
        ids = own.get("ids", {})
        camera_id = str(ids.get(camera.id, camera.id))
        if "world_from_depth" not in own:
            return replace(camera, id=camera_id)
        world_from_depth = pose(matrix(own["world_from_depth"], [(4, 4)]))
        device = RigidTransform(WORLD_FROM_DEVICE, np.zeros(3)).inverse()
        here = world_from_depth.compose(device.compose(camera.world_from_camera))
        return replace(camera, id=camera_id, world_from_camera=here)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(f"names and a pose under {OWN_KEY!r}", f"{error} in {name}", "export it again") from error


def _written(camera: Camera, which: str, mode: K4aMode, camera_from_depth: RigidTransform) -> dict[str, Any]:
    if camera.distortion.size > 8:
        got = f"camera {camera.id} with {camera.distortion.size} coefficients"
        raise InputError("a lens of at most 8 coefficients", got, "choose another format, such as opencv")
    if camera.K[0, 1]:
        raise InputError("square pixel axes", f"camera {camera.id} with skew {camera.K[0, 1]}", "choose another format")
    rows, columns = mode.calibrated_hw
    centre = (camera.K[:2, 2] + mode.crop_yx[::-1]) / (columns, rows)
    focal = np.array([camera.K[0, 0], camera.K[1, 1]]) / (columns, rows)
    lens = np.zeros(8)
    lens[: camera.distortion.size] = camera.distortion
    parameters = np.zeros(PARAMETERS)
    parameters[:4] = [*centre, *focal]
    parameters[list(ORDER)] = lens
    sensor_hw = DEPTH_SENSOR_HW if which == DEPTH else COLOUR_MODES["3072P"].size_hw
    return {
        "Intrinsics": {"ModelParameterCount": PARAMETERS, "ModelParameters": parameters, "ModelType": MODEL},
        "Location": LOCATIONS[which],
        "MetricRadius": 0.0,
        "Rt": {"Rotation": camera_from_depth.rotation.ravel(), "Translation": camera_from_depth.translation},
        "SensorHeight": sensor_hw[0],
        "SensorWidth": sensor_hw[1],
    }


def _mode_of(camera: Camera, modes: Mapping[str, K4aMode]) -> str:
    for name, mode in modes.items():
        if mode.size_hw == camera.image_size_hw:
            return name
    sizes = ", ".join(f"{mode.size_hw[1]} x {mode.size_hw[0]}" for mode in modes.values())
    got = f"{camera.image_size_hw[1]} x {camera.image_size_hw[0]} px of {camera.id}"
    raise InputError(f"a Kinect's picture size ({sizes})", got, "choose another format, such as opencv")


def _off(mode: str) -> bool:
    return mode.upper() in ("", "OFF")


def _mode(name: str, modes: Mapping[str, K4aMode], what: str) -> K4aMode:
    try:
        return modes[name.upper()]
    except KeyError:
        raise InputError(f"a {what} mode ({', '.join(modes)})", repr(name[:60]), "record in one of these") from None


@dataclass(frozen=True, eq=False)
class _Raw:
    """A camera's intrinsics in units of the whole sensor's picture."""

    centre: Float[np.ndarray, "2"]
    focal: Float[np.ndarray, "2"]
    distortion: Float[np.ndarray, "8"]


def _raw(document: Mapping[str, Any], which: str, name: str) -> _Raw:
    entry = _entry(document, which, name)
    try:
        intrinsics = entry["Intrinsics"]
        model = intrinsics["ModelType"]
        values = numbers(intrinsics["ModelParameters"], PARAMETERS)
        if model not in (MODEL, TANGENTIAL_VARIANT):
            raise ValueError(f"lens model {str(model)[:80]!r}")
        if model == TANGENTIAL_VARIANT and values[12:].any():
            raise ValueError("lens model Rational6KT with tangential terms")
        if values[10:12].any():
            raise ValueError(f"a centre of distortion at {values[10:12].tolist()}, apart from the principal point")
        if not (values[2:4] > 0).all():
            raise ValueError(f"focal lengths {values[2:4].tolist()}")
        sensor_hw = (side(entry["SensorHeight"]), side(entry["SensorWidth"]))
        centre, focal = values[:2], values[2:4]
        if which == DEPTH and sensor_hw != DEPTH_SENSOR_HW:
            raise ValueError(f"a depth calibration of {sensor_hw[1]} x {sensor_hw[0]} px")
        if which == RGB and sensor_hw[1] * 9 == sensor_hw[0] * 16:
            centre, focal = _legacy_to_4_3(centre, focal)
        elif which == RGB and sensor_hw[1] * 3 != sensor_hw[0] * 4:
            raise ValueError(f"a colour calibration of {sensor_hw[1]} x {sensor_hw[0]} px, neither 4:3 nor 16:9")
        return _Raw(centre, focal, values[list(ORDER)])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"a Kinect's {which} calibration", f"{error} in {name}", REMEDY) from error


def _legacy_to_4_3(
    centre: Float[np.ndarray, "2"], focal: Float[np.ndarray, "2"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    (rows, columns), crop_yx, (out_rows, out_columns) = (
        LEGACY_16_9.calibrated_hw,
        LEGACY_16_9.crop_yx,
        LEGACY_16_9.size_hw,
    )
    size, out = np.array([columns, rows], float), np.array([out_columns, out_rows], float)
    return (centre * size - crop_yx[::-1]) / out, focal * size / out


def _window(raw: _Raw, mode: K4aMode) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "8"]]:
    """K in the mode's pixels, centres at +0.5."""
    size = np.array([mode.calibrated_hw[1], mode.calibrated_hw[0]], float)
    focal = raw.focal * size
    cx, cy = raw.centre * size - mode.crop_yx[::-1]
    return np.array([[focal[0], 0, cx], [0, focal[1], cy], [0, 0, 1.0]]), raw.distortion


def _extrinsics(document: Mapping[str, Any], name: str) -> RigidTransform:
    """`colour_from_depth`. The file gives each sensor's pose against the device's origin, the depth camera (metres)."""
    from_device = []
    for which in (RGB, DEPTH):
        try:
            device = _entry(document, which, name)["Rt"]
            rotation = numbers(device["Rotation"], 9).reshape(3, 3)
            from_device.append(RigidTransform(rotation, numbers(device["Translation"], 3)))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the {which} camera's rotation and translation", f"{error} in {name}", REMEDY) from error
    return from_device[0].compose(from_device[1].inverse())


def _entry(document: Mapping[str, Any], which: str, name: str) -> Mapping[str, Any]:
    try:
        entries = [
            entry for entry in document["CalibrationInformation"]["Cameras"] if entry["Location"] == LOCATIONS[which]
        ]
    except (KeyError, TypeError) as error:
        raise InputError("a list of cameras with their Location", f"{error!r} in {name}", REMEDY) from error
    if len(entries) != 1:
        raise InputError(f"one camera at {LOCATIONS[which]}", f"{len(entries)} in {name}", REMEDY)
    return entries[0]


def _radius_note(document: Mapping[str, Any], which: str, name: str) -> str:
    radius = _entry(document, which, name).get("MetricRadius", 0.0)
    usable = isinstance(radius, int | float) and not isinstance(radius, bool) and 1e-4 < radius < 1e3
    said = f"{radius:.2f}" if usable else f"{DEFAULT_METRIC_RADIUS} (the SDK's default, because the file gives none)"
    return f"{which}: the lens model holds up to {said} from the axis at unit distance"


def _serial(document: Mapping[str, Any]) -> str:
    information = document.get("CalibrationInformation")
    metadata = information.get("Metadata") if isinstance(information, dict) else None
    serial = metadata.get("SerialId") if isinstance(metadata, dict) else None
    return serial if isinstance(serial, str) else ""
