"""A calibration, whatever its format knows, put on the cameras that a recording has."""

from __future__ import annotations

from dataclasses import replace

from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig


def onto_recording(recorded: Rig, calibration: Rig, name: str) -> tuple[Rig, tuple[str, ...]]:
    """The recorded cameras with the calibration's lens, pose and corrections, and notes on those it does not know.

    Kind, module, rate and serial stay the recording's where it knows them. A depth and an infrared camera of one
    module and one picture size are one sensor, so that one calibration serves both. `name` is what messages call the
    calibration.
    Raises InputError: another picture size or kind, no recorded camera at all.
    """
    known = set(calibration.ids)
    cameras = tuple(_merged(c, calibration[c.id], name) if c.id in known else c for c in recorded.cameras)
    cameras = tuple(camera if camera.is_calibrated else _as_its_twin(camera, cameras) for camera in cameras)
    if not known & set(recorded.ids):
        got = f"{', '.join(calibration.ids[:8])} in {name}"
        remedy = "rename the cameras of one of them, or name this recording's calibration"
        raise InputError(f"a calibration of the recorded cameras ({', '.join(recorded.ids[:8])})", got, remedy)
    notes = []
    if uncalibrated := [camera.id for camera in cameras if not camera.is_calibrated]:
        notes.append(f"uncalibrated, because {name} does not know them: {_some(uncalibrated)}")
    if unrecorded := [camera_id for camera_id in calibration.ids if camera_id not in recorded.ids]:
        notes.append(f"in {name} but not recorded: {_some(unrecorded)}")
    return Rig(cameras), tuple(notes)


def _merged(recorded: Camera, calibrated: Camera, name: str) -> Camera:
    if recorded.image_size_hw != calibrated.image_size_hw:
        sizes = [f"{c.image_size_hw[1]} x {c.image_size_hw[0]} px" for c in (recorded, calibrated)]
        got = f"{sizes[1]} in {name}"
        raise InputError(f"a calibration of {sizes[0]} for {recorded.id}", got, "calibrate at the recorded size")
    if calibrated.kind not in ("rgb", recorded.kind):
        got = f"a {calibrated.kind} camera in {name}"
        raise InputError(f"a {recorded.kind} camera {recorded.id}", got, "correct the camera's name or its kind")
    return replace(
        calibrated,
        module=recorded.module,
        kind=recorded.kind,
        rate_hz=recorded.rate_hz or calibrated.rate_hz,
        depth_unit_m=calibrated.depth_unit_m or recorded.depth_unit_m,
        serial=recorded.serial or calibrated.serial,
        calibration_source=calibrated.calibration_source or name,
    )


def _as_its_twin(camera: Camera, cameras: tuple[Camera, ...]) -> Camera:
    for other in cameras:
        same_sensor = other.module == camera.module and other.image_size_hw == camera.image_size_hw
        if other.is_calibrated and same_sensor and {other.kind, camera.kind} == {"depth", "infrared"}:
            return replace(
                camera,
                K=other.K,
                distortion=other.distortion,
                world_from_camera=other.world_from_camera,
                calibration_source=other.calibration_source,
            )
    return camera


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
