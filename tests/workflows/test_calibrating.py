"""`mien calibrate` from a recorded wave to the rig file, against the truth; and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest

from geometry.errors import InputError
from geometry.transforms import rigid_align
from storage.image_folder import RecordingCard
from storage.rig_json import read_rig, write_rig
from studio.calibration_wave import WaveConfig, record_board
from studio.presets import PRESETS
from tests.studio.test_calibration_wave import BOARD, small_rig
from workflows.calibrating import CalibrationConfig, calibrate

POSES = 16


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("footage") / "wave"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "desk", small_rig)
        record_board(folder, WaveConfig(poses=POSES, seed=31), BOARD)
    return folder


@pytest.fixture(scope="module")
def calibrated(footage, tmp_path_factory):
    path = tmp_path_factory.mktemp("rig") / "rig.json"
    report = calibrate(footage, path, CalibrationConfig(BOARD.spec))
    return report, read_rig(path), read_rig(footage / "truth" / "rig.json")


def test_the_rig_comes_out_as_it_stands(calibrated):
    _, rig, truth = calibrated
    assert rig.ids == truth.ids
    names = [camera.id for camera in truth.cameras if camera.kind != "depth"]
    wanted = np.stack([truth[name].centre_world for name in names])
    found = np.stack([rig[name].centre_world for name in names])
    assert 1e3 * np.linalg.norm(rigid_align(found, wanted) @ found - wanted, axis=1).max() < 1.0
    for name in names:
        assert abs(rig[name].K[0, 0] / truth[name].K[0, 0] - 1) < 2e-3
        assert np.abs(rig[name].K[:2, 2] - truth[name].K[:2, 2]).max() < 1.0


def test_a_depth_stream_is_the_sensor_of_its_infrared_pictures(calibrated):
    _, rig, _ = calibrated
    for module in ("m0", "m1"):
        depth, infrared = rig[f"{module}_depth"], rig[f"{module}_infrared"]
        np.testing.assert_array_equal(depth.K, infrared.K)
        np.testing.assert_array_equal(depth.world_from_camera.matrix, infrared.world_from_camera.matrix)


def test_depth_is_corrected_where_it_was_measured(calibrated, footage):
    _, rig, _ = calibrated
    errors = json.loads((footage / "truth" / "depth.json").read_text())
    for name, error in errors.items():
        at_m = 0.75
        mine = at_m * rig[name].depth_scale + rig[name].depth_offset_m
        assert abs(mine - at_m * error["scale"] - error["offset_m"]) < 7e-4


def test_colours_are_matched_to_the_first_camera(calibrated, footage):
    report, rig, _ = calibrated
    gains = json.loads((footage / "truth" / "gains.json").read_text())
    assert report.reference_camera == "m0_rgb"
    wanted = np.array(gains["m0_rgb"]) / np.array(gains["m1_rgb"])
    matrix = rig["m1_rgb"].colour_matrix
    assert matrix is not None
    np.testing.assert_allclose(np.diag(matrix[:, :3]), wanted, rtol=0.03)


def test_the_report_says_how_well_and_is_plain_json(calibrated):
    report, rig, _ = calibrated
    document = json.loads(json.dumps(report.to_json()))
    assert [row["camera"] for row in document["cameras"]] == ["m0_rgb", "m0_infrared", "m1_rgb", "m1_infrared"]
    for row in report.cameras:
        assert 0 < row.reprojection_px < 0.3
        assert rig[row.camera].reprojection_px == pytest.approx(row.reprojection_px)
        assert row.held_out_px is None or row.held_out_px < 0.5
        assert row.views >= 5 and 0.1 < row.coverage <= 1 and row.position_sigma_mm < 2
        assert BOARD.spec in rig[row.camera].calibration_source
    assert all(camera.is_calibrated for camera in rig.cameras)
    assert "reproj px" in report.as_text() and "m1_infrared" in report.as_text()


def test_the_world_of_an_earlier_rig_is_kept(footage, calibrated, tmp_path):
    _, _, truth = calibrated
    known = [replace(camera, calibration_source="earlier") for camera in truth.cameras]
    write_rig(tmp_path / "earlier.json", type(truth)(tuple(known)))
    config = CalibrationConfig(BOARD.spec, world_from=tmp_path / "earlier.json", most_poses=12)
    calibrate(footage, tmp_path / "rig.json", config)
    rig = read_rig(tmp_path / "rig.json")
    apart = [np.linalg.norm(rig[c.id].centre_world - c.centre_world) for c in truth.cameras]
    assert max(apart) < 2e-3


def test_the_wrong_board_is_refused_and_nothing_is_written(footage, tmp_path):
    wrong = CalibrationConfig("charuco:7x5:80mm:60mm:DICT_6X6_50", most_poses=4)
    with pytest.raises(InputError, match="none in"):
        calibrate(footage, tmp_path / "rig.json", wrong)
    assert not (tmp_path / "rig.json").exists()


def test_too_few_poses_name_the_camera_and_what_to_do(footage, tmp_path):
    with pytest.raises(InputError, match=r"at least 3 pictures|at least 3 views|share none"):
        calibrate(footage, tmp_path / "rig.json", CalibrationConfig(BOARD.spec, most_poses=3))


@pytest.mark.parametrize("wrong", [{"lens": "7"}, {"most_poses": 1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError):
        CalibrationConfig(BOARD.spec, **wrong)


def test_auto_needs_the_size_of_a_square_and_a_symmetric_board_one_camera(footage, tmp_path):
    with pytest.raises(InputError, match="auto:45mm"):
        calibrate(footage, tmp_path / "rig.json", CalibrationConfig("auto"))
    with pytest.raises(InputError, match="180 degrees"):
        calibrate(footage, tmp_path / "rig.json", CalibrationConfig("checkerboard:8x6:30mm"))


def test_a_depth_camera_without_infrared_needs_its_factory_calibration(footage, tmp_path):
    """Its own pictures show no board, so that it can only move with a camera of its module."""
    copy = tmp_path / "wave"
    copy.mkdir()
    for name in ("m0_rgb", "m0_depth", "m1_rgb"):
        (copy / name).symlink_to(footage / name)
    start = read_rig(footage / "rig.json")
    kept = [camera for camera in start.cameras if camera.id in ("m0_rgb", "m0_depth", "m1_rgb")]
    write_rig(copy / "rig.json", type(start)(tuple(kept)))
    RecordingCard("board", "", "", tuple(camera.id for camera in kept)).write(copy)
    with pytest.raises(InputError, match="infrared"):
        calibrate(copy, tmp_path / "rig.json", CalibrationConfig(BOARD.spec))
    truth = read_rig(footage / "truth" / "rig.json")
    factory = [replace(truth[camera.id], calibration_source="factory") for camera in kept]
    write_rig(copy / "rig.json", type(start)(tuple(factory)))
    report = calibrate(copy, tmp_path / "rig.json", CalibrationConfig(BOARD.spec))
    rig = read_rig(tmp_path / "rig.json")
    mine = rig["m0_rgb"].world_from_camera.inverse().compose(rig["m0_depth"].world_from_camera)
    true = truth["m0_rgb"].world_from_camera.inverse().compose(truth["m0_depth"].world_from_camera)
    np.testing.assert_allclose(mine.matrix, true.matrix, atol=1e-6)
    assert any("m0_depth" in note for note in report.notes)
