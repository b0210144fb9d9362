"""The waved board: drawn as geometry says, recorded as a recorder would, its truth kept apart."""

import json
from dataclasses import replace
from typing import cast

import cv2
import numpy as np
import pytest

from capture.calibration.board import BoardSpec
from capture.readers import open_recording
from geometry.cameras import Camera, CameraKind
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, look_at
from storage.rig_json import read_rig
from studio.calibration_board import INK, PAPER, PrintedBoard, see_board
from studio.calibration_wave import WaveConfig, record_board, wave, wave_sensor, with_infrared
from studio.presets import DEPTH_DISTORTION, FACE_CENTRE, PRESETS, RGB_DISTORTION, UP
from studio.sensors import draw_sensor_noise
from tests.capture.calibration.board_pictures import draw_board

BOARD = PrintedBoard((7, 5), 0.08, 0.06)


def small_rig(rate_hz=2.0):
    """Two modules, each with a small colour and a small depth camera."""
    cameras = []
    for number, azimuth in enumerate((-0.35, 0.4)):
        eye = FACE_CENTRE + 0.75 * np.array([np.sin(azimuth), 0.1, np.cos(azimuth)])
        for kind, size, focal, lens, shift in (
            ("rgb", (360, 480), 430.0, RGB_DISTORTION, 0.0),
            ("depth", (288, 320), 300.0, DEPTH_DISTORTION, 0.03),
        ):
            K = np.array([[focal, 0, size[1] / 2 + 1.7], [0, focal, size[0] / 2 - 2.3], [0, 0, 1.0]])
            here = look_at(eye + np.array([shift, 0, 0]), FACE_CENTRE, UP)
            name = f"m{number}_{kind}"
            unit = 1e-3 if kind == "depth" else None
            cameras.append(
                Camera(
                    name, f"m{number}", cast(CameraKind, kind), size, K, lens, here, rate_hz, unit, serial=f"S{name}"
                )
            )
    return Rig(tuple(cameras))


@pytest.fixture
def small_preset(monkeypatch):
    monkeypatch.setitem(PRESETS, "desk", small_rig)


def test_the_picture_is_what_each_pixel_covers():
    """Against a plain twin that asks 25 places of every pixel for the pattern itself."""
    camera = small_rig().cameras[0]
    pose = wave(with_infrared(small_rig()), BOARD, 3, seed=5)[0]
    seen = see_board(camera, camera.pixel_grid_normalised(), BOARD, pose)
    assert seen is not None and seen.cosine > 0.3
    camera_from_board = camera.world_from_camera.inverse().compose(pose)
    twin = (220 - draw_board(camera, BoardSpec.parse(BOARD.spec), camera_from_board).astype(float)) / 195
    paper, ink = round(PAPER * 255) / 255, round(INK * 255) / 255  # as the texture holds them
    drawn = (paper - seen.reflectance) / (paper - ink)
    inside = cv2.erode((seen.coverage > 0.999).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    difference = (drawn - twin[seen.place])[inside]
    assert inside.sum() > 5000
    assert np.abs(difference).max() < 0.2
    assert np.sqrt((difference**2).mean()) < 0.03
    assert abs(difference.mean()) < 1e-3


def test_depth_is_the_boards_plane_and_its_back_shows_no_pattern():
    camera = small_rig().cameras[1]
    normalised = camera.pixel_grid_normalised()
    front = look_at(FACE_CENTRE, FACE_CENTRE - (camera.centre_world - FACE_CENTRE), UP).rotation
    pose = RigidTransform(front, FACE_CENTRE - front @ np.array([*(BOARD.size_m / 2), 0.0]))
    seen = see_board(camera, normalised, BOARD, pose)
    assert seen is not None and seen.cosine > 0.99
    points = camera.world_from_camera @ (
        np.dstack([normalised[seen.place], np.ones(seen.depth_m.shape)]) * seen.depth_m[..., None]
    )
    on_plane = (pose.inverse() @ points[seen.depth_m > 0])[:, 2]
    assert np.abs(on_plane).max() < 1e-5
    colour = replace(small_rig().cameras[0])
    behind = RigidTransform(pose.rotation @ np.diag([-1.0, 1.0, -1.0]), pose.translation)
    back = see_board(colour, colour.pixel_grid_normalised(), BOARD, behind)
    if back is not None:
        covered = back.coverage > 0.999
        assert back.cosine < 0 and np.ptp(back.reflectance[covered]) < 1e-6


def test_a_recording_holds_no_truth_beside_its_pictures(tmp_path, small_preset):
    assert record_board(tmp_path / "wave", WaveConfig(poses=3, seed=2), BOARD)
    recording = open_recording(tmp_path / "wave")
    truth = read_rig(tmp_path / "wave" / "truth" / "rig.json")
    assert recording.rig.ids == truth.ids and len(truth.cameras) == 6
    for camera in recording.rig.cameras:
        assert not camera.is_calibrated and camera.distortion.size == 0
        assert len(recording.clocks[camera.id].device_ns) == 3
    by_kind = {camera.id: camera.kind for camera in truth.cameras}
    assert sorted(by_kind.values()) == ["depth", "depth", "infrared", "infrared", "rgb", "rgb"]
    np.testing.assert_array_equal(truth["m0_depth"].K, truth["m0_infrared"].K)
    np.testing.assert_array_equal(
        truth["m0_depth"].world_from_camera.matrix, truth["m0_infrared"].world_from_camera.matrix
    )
    assert recording.read_frame("m0_rgb", 0).dtype == np.uint8
    assert recording.read_frame("m0_infrared", 0).dtype == np.uint16
    for written in (tmp_path / "wave").rglob("*"):
        if written.is_file() and "truth" not in written.parts and written.suffix == ".json":
            assert "world_from_board" not in written.read_text()


def test_depth_counts_become_the_plane_with_the_errors_that_truth_names(tmp_path, small_preset):
    record_board(tmp_path / "wave", WaveConfig(poses=4, seed=3), BOARD)
    recording = open_recording(tmp_path / "wave")
    truth = read_rig(tmp_path / "wave" / "truth" / "rig.json")
    errors = json.loads((tmp_path / "wave" / "truth" / "depth.json").read_text())
    boards = json.loads((tmp_path / "wave" / "truth" / "board.json").read_text())["world_from_board"]
    checked = 0
    for pose in range(4):
        camera = truth["m1_depth"]
        seen = see_board(
            camera, camera.pixel_grid_normalised(), BOARD, RigidTransform.from_matrix(np.array(boards[pose]))
        )
        if seen is None or abs(seen.cosine) < 0.4:
            continue
        inner = cv2.erode((seen.depth_m > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        error = errors["m1_depth"]
        counts = recording.read_frame("m1_depth", pose)[seen.place][inner]
        metres = counts * 1e-3 * error["scale"] + error["offset_m"]
        assert abs(np.mean(metres - seen.depth_m[inner])) < 1e-4
        checked += 1
    assert checked >= 2


def test_a_wave_with_a_persons_sensors_has_their_bias_and_gains_and_no_scale(tmp_path, small_preset):
    config = WaveConfig(poses=1, seed=3, sensors="person")
    record_board(tmp_path / "wave", config, BOARD)
    errors = json.loads((tmp_path / "wave" / "truth" / "depth.json").read_text())
    gains = json.loads((tmp_path / "wave" / "truth" / "gains.json").read_text())
    for number, camera in enumerate(small_rig().cameras):  # as `studio.recorder` numbers them
        sensor = draw_sensor_noise("kinect", 3, number)
        if camera.kind == "depth":
            assert errors[camera.id] == {"scale": 1.0, "offset_m": -sensor.depth_bias_m}
        else:
            assert gains[camera.id] == list(sensor.gain_rgb)
    rig = with_infrared(small_rig())
    for module in ("m0", "m1"):
        depth, infrared = (wave_sensor(config, rig, rig.index(f"{module}_{kind}")) for kind in ("depth", "infrared"))
        assert depth == infrared, "one sensor takes both"
    own = wave_sensor(replace(config, sensors="own"), rig, rig.index("m1_rgb"))
    assert own == draw_sensor_noise("kinect", 3, rig.index("m1_rgb")), "as waves were recorded before"


def test_the_same_command_again_does_nothing_and_another_one_asks(tmp_path, small_preset):
    config = WaveConfig(poses=1, seed=4)
    assert record_board(tmp_path / "wave", config, BOARD)
    before = {path: path.read_bytes() for path in (tmp_path / "wave").rglob("*") if path.is_file()}
    assert not record_board(tmp_path / "wave", config, BOARD)
    with pytest.raises(InputError, match="overwrite"):
        record_board(tmp_path / "wave", replace(config, seed=5), BOARD)
    assert record_board(tmp_path / "wave", replace(config, seed=5), BOARD, overwrite=True)
    assert record_board(tmp_path / "again", config, BOARD)
    for path, content in before.items():
        assert (tmp_path / "again" / path.relative_to(tmp_path / "wave")).read_bytes() == content


@pytest.mark.parametrize("wrong", [{"preset": "attic"}, {"noise": "loud"}, {"sensors": "best"}, {"poses": 0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError):
        WaveConfig(**wrong)


def test_a_board_whose_cells_fall_between_texels_is_refused():
    with pytest.raises(ValueError, match="no multiple"):
        PrintedBoard(square_m=0.0451)
