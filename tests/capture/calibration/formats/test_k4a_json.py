"""Kinect calibrations: the three silent traps, each against the device's own formula."""

import json
from pathlib import Path

import numpy as np
import pytest

from capture.calibration.formats import read_calibration
from capture.calibration.formats.k4a_json import COLOUR_MODES, DEPTH_MODES, k4a_cameras, parse_k4a
from geometry.errors import InputError

PARAMETERS = [0.513, 0.517, 0.493, 0.4931, 0.55, -0.021, -0.0027, 0.89, 0.086, -0.0139, 0.0, 0.0, -7.2e-5, 2.06e-5]
COLOUR = [0.4998, 0.5066, 0.478, 0.6374, 0.33, -2.49, 1.454, 0.209, -2.303, 1.375, 0.0, 0.0, -1.29e-4, -1.62e-4]
ROTATION = [1.0, 0.0, 0.0, 0.0, 0.8, 0.6, 0.0, -0.6, 0.8]
SHIFT_M = [-0.032, -0.002, 0.004]


def _document() -> dict:
    def entry(location: str, values: list[float], sensor_hw: tuple[int, int], rotation: list, shift: list) -> dict:
        return {
            "Intrinsics": {
                "ModelParameterCount": 14,
                "ModelParameters": list(values),
                "ModelType": "CALIBRATION_LensDistortionModelBrownConrady",
            },
            "Location": location,
            "MetricRadius": 1.74,
            "Rt": {"Rotation": rotation, "Translation": shift},
            "SensorHeight": sensor_hw[0],
            "SensorWidth": sensor_hw[1],
        }

    depth = entry("CALIBRATION_CameraLocationD0", PARAMETERS, (1024, 1024), np.eye(3).ravel().tolist(), [0.0, 0.0, 0.0])
    colour = entry("CALIBRATION_CameraLocationPV0", COLOUR, (3072, 4096), list(ROTATION), list(SHIFT_M))
    return {"CalibrationInformation": {"Cameras": [depth, colour], "Metadata": {"SerialId": "0017"}}}


def _sdk_pixels(values: list[float], x: np.ndarray, y: np.ndarray, window: tuple) -> np.ndarray:
    """The SDK's projection, pixel centres at integers, written from its documentation and not from our reader."""
    cx, cy, fx, fy, k1, k2, k3, k4, k5, k6, codx, cody, p2, p1 = values
    (width, height), (crop_x, crop_y) = window
    fx, fy, cx, cy = fx * width, fy * height, cx * width - crop_x - 0.5, cy * height - crop_y - 0.5
    xp, yp = x - codx, y - cody
    rs = xp**2 + yp**2
    d = (1 + k1 * rs + k2 * rs**2 + k3 * rs**3) / (1 + k4 * rs + k5 * rs**2 + k6 * rs**3)
    xd = xp * d + (rs + 2 * xp**2) * p2 + 2 * xp * yp * p1
    yd = yp * d + (rs + 2 * yp**2) * p1 + 2 * xp * yp * p2
    return np.stack([(xd + codx) * fx + cx, (yd + cody) * fy + cy], 1)


DEPTH_WINDOWS = {
    "NFOV_UNBINNED": ((1024, 1024), (192, 180)),
    "NFOV_2X2BINNED": ((512, 512), (96, 90)),
    "WFOV_2X2BINNED": ((512, 512), (0, 0)),
    "WFOV_UNBINNED": ((1024, 1024), (0, 0)),
}
COLOUR_WINDOWS = {
    "720P": ((1280, 960), (0, 120)),
    "1080P": ((1920, 1440), (0, 180)),
    "1440P": ((2560, 1920), (0, 240)),
    "1536P": ((2048, 1536), (0, 0)),
    "2160P": ((3840, 2880), (0, 360)),
    "3072P": ((4096, 3072), (0, 0)),
}
"""Width and height, then x and y, as the SDK has them."""


@pytest.mark.parametrize("mode", DEPTH_WINDOWS)
def test_depth_projects_as_the_device_s_formula_in_every_mode(mode: str) -> None:
    depth = k4a_cameras(_document(), "OFF", mode).depth
    assert depth is not None
    x, y = np.random.default_rng(3).uniform(-0.55, 0.55, (2, 500))
    points = depth.world_from_camera @ (np.stack([x, y, np.ones(500)], 1) * 0.8)
    assert np.abs(depth.project(points)[0] - 0.5 - _sdk_pixels(PARAMETERS, x, y, DEPTH_WINDOWS[mode])).max() < 1e-8


@pytest.mark.parametrize("mode", COLOUR_WINDOWS)
def test_colour_projects_a_point_of_the_depth_camera_as_the_device_does(mode: str) -> None:
    cameras = k4a_cameras(_document(), f"MJPG_{mode}", "NFOV_UNBINNED")
    assert cameras.rgb is not None and cameras.depth is not None
    in_depth = np.random.default_rng(4).uniform([-0.3, -0.2, 0.6], [0.3, 0.2, 1.2], (500, 3))
    in_colour = in_depth @ np.array(ROTATION).reshape(3, 3).T + SHIFT_M
    x, y = in_colour[:, 0] / in_colour[:, 2], in_colour[:, 1] / in_colour[:, 2]
    pixels, z = cameras.rgb.project(cameras.depth.world_from_camera @ in_depth)
    assert np.allclose(z, in_colour[:, 2])
    assert np.abs(pixels - 0.5 - _sdk_pixels(COLOUR, x, y, COLOUR_WINDOWS[mode])).max() < 1e-8


def test_the_depth_camera_is_the_origin_and_infrared_the_same_sensor() -> None:
    cameras = k4a_cameras(_document(), "MJPG_720P", "NFOV_UNBINNED", module="k1")
    assert cameras.depth is not None and cameras.infrared is not None
    assert np.array_equal(cameras.depth.world_from_camera.matrix, np.diag([1.0, -1.0, -1.0, 1.0]))
    assert np.array_equal(cameras.infrared.K, cameras.depth.K) and cameras.infrared.kind == "infrared"
    assert {camera.module for camera in cameras.all} == {"k1"} and {c.serial for c in cameras.all} == {"0017"}
    assert cameras.depth.depth_unit_m == 1e-3
    passive = k4a_cameras(_document(), "", "PASSIVE_IR")
    assert passive.depth is None and passive.infrared is not None and passive.infrared.image_size_hw == (1024, 1024)


def test_a_legacy_16_9_calibration_is_turned_into_4_3() -> None:
    document = _document()
    entry = document["CalibrationInformation"]["Cameras"][1]
    entry["SensorWidth"], entry["SensorHeight"] = 4096, 2304
    rgb = k4a_cameras(document, "3072P", "OFF").rgb
    assert rgb is not None
    # In the whole 4:3 picture the 16:9 picture starts 384 rows down, at the same scale.
    assert np.allclose(rgb.K[0], [COLOUR[2] * 4096, 0, COLOUR[0] * 4096])
    assert np.allclose(rgb.K[1], [0, COLOUR[3] * 2304, COLOUR[1] * 2304 + 384])


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("Intrinsics", "ModelParameters"), PARAMETERS[:13], "13 values"),
        (("Intrinsics", "ModelParameters"), [*PARAMETERS[:10], 0.01, 0.0, 0.0, 0.0], "centre of distortion"),
        (("Intrinsics", "ModelParameters"), [float("nan"), *PARAMETERS[1:]], "no possible value"),
        (("Intrinsics", "ModelParameters"), [*PARAMETERS[:2], -1.0, *PARAMETERS[3:]], "focal"),
        (("Intrinsics", "ModelParameters"), "many", "str"),
        (("Intrinsics", "ModelType"), "CALIBRATION_LensDistortionModelTheta", "Theta"),
        (("Intrinsics", "ModelType"), "CALIBRATION_LensDistortionModelRational6KT", "Rational6KT"),
        (("SensorWidth",), 640, "640 x"),
        (("SensorWidth",), 10**9, "side"),
        (("Rt", "Rotation"), [1.0] * 9, "rotation"),
        (("Rt", "Translation"), [1.0, None, 2.0], "None"),
        (("Location",), "CALIBRATION_CameraLocationPV0", "0 in"),
    ],
)
def test_a_wrong_calibration_is_refused_by_what_is_wrong(path: tuple[str, ...], value: object, words: str) -> None:
    document = _document()
    place = document["CalibrationInformation"]["Cameras"][0]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InputError, match=words):
        k4a_cameras(document, "MJPG_720P", "NFOV_UNBINNED")


def test_unknown_modes_and_other_json_are_refused(tmp_path: Path) -> None:
    for colour, depth in (("MJPG_480P", "OFF"), ("OFF", "WIDE")):
        with pytest.raises(InputError, match="mode"):
            k4a_cameras(_document(), colour, depth)
    with pytest.raises(InputError, match="CalibrationInformation"):
        parse_k4a(b"{}", "x")
    assert parse_k4a(json.dumps(_document()).encode() + b"\0", "x") == _document()
    (tmp_path / "k.json").write_bytes(json.dumps(_document()).encode() + b"\0")
    rig = read_calibration(tmp_path / "k.json", colour_mode="MJPG_720P", depth_mode="NFOV_UNBINNED")
    assert rig.ids == ("rgb", "depth") and rig["rgb"].image_size_hw == (720, 1280)
    whole = read_calibration(tmp_path / "k.json")
    assert [camera.image_size_hw for camera in whole.cameras] == [(3072, 4096), (1024, 1024)]
    assert set(COLOUR_WINDOWS) == set(COLOUR_MODES) and set(DEPTH_WINDOWS) < set(DEPTH_MODES)


def test_the_real_device_s_colour_goes_into_depth_and_back(real_data: Path) -> None:
    path = real_data / "rgbd" / "azure_kinect" / "calibration.json"
    document = parse_k4a(path.read_bytes(), str(path))
    cameras = k4a_cameras(document, "MJPG_720P", "NFOV_UNBINNED")
    assert cameras.rgb is not None and cameras.depth is not None
    rows, columns = np.mgrid[100:476:8, 120:520:8]
    pixels = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], 1)
    rays = np.column_stack([cameras.depth.pixels_to_normalised(pixels), np.ones(len(pixels))])
    points = cameras.depth.world_from_camera @ (rays * np.linspace(0.5, 1.5, len(rays))[:, None])
    assert np.abs(cameras.depth.project(points)[0] - pixels).max() < 1e-3
    in_colour, z = cameras.rgb.project(points)
    colour_rays = np.column_stack([cameras.rgb.pixels_to_normalised(in_colour), np.ones(len(z))])
    again = cameras.rgb.world_from_camera @ (colour_rays * z[:, None])
    assert np.abs(cameras.depth.project(again)[0] - pixels).max() < 1e-3
    values = document["CalibrationInformation"]["Cameras"][1]["Intrinsics"]["ModelParameters"]
    rt = document["CalibrationInformation"]["Cameras"][1]["Rt"]
    in_depth = cameras.depth.world_from_camera.inverse() @ points
    there = in_depth @ np.array(rt["Rotation"]).reshape(3, 3).T + rt["Translation"]
    sdk = _sdk_pixels(values, there[:, 0] / there[:, 2], there[:, 1] / there[:, 2], COLOUR_WINDOWS["720P"])
    assert np.abs(in_colour - 0.5 - sdk).max() < 1e-3
