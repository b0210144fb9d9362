"""The takes of the fit's benchmark know nothing of the truth, and are compared with it in its own world."""

import json

import numpy as np
import pytest

from benchmarks import fit_takes
from benchmarks.fit_peers import similarity_distances
from benchmarks.fit_runs import STEP
from benchmarks.fit_takes import TakeConfig, fresh_copy, record
from evaluation.truth import find_truth
from evaluation.worlds import truth_from_take
from storage.take import Take
from studio.calibration_board import PrintedBoard
from studio.presets import PRESETS
from tests.studio.test_calibration_wave import BOARD, small_rig

CONFIG = TakeConfig(subject=107, frames=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("fit-takes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "desk", small_rig)
        patch.setitem(fit_takes.POSES, "desk", 16)
        patch.setattr(fit_takes, "PrintedBoard", lambda: BOARD)
        record(place, CONFIG)
        yield place


def test_the_rig_comes_from_the_board_and_its_world_is_not_the_truths(folder):
    take = Take.open(record(folder, CONFIG))
    truth = find_truth(take, None)
    assert truth is not None
    assert [camera.kind for camera in take.rig.cameras] == ["rgb", "depth", "rgb", "depth"]
    assert all(camera.calibration_source.startswith("board") for camera in take.rig.cameras)
    to_truth = truth_from_take(take.rig, truth.rig)
    assert np.linalg.norm(to_truth.translation) > 0.5, "the simulated world's origin lies on the floor"
    for camera in take.rig.cameras:
        here = to_truth.compose(camera.world_from_camera)
        assert 0 < np.linalg.norm(here.translation - truth.rig[camera.id].centre_world) < 2e-3


def test_a_part_of_a_take_is_fewer_cameras_and_the_first_frames_of_it(folder):
    whole = Take.open(record(folder, CONFIG))
    part = Take.open(record(folder, TakeConfig(107, frames=3, cameras=("m1_rgb",), first=2)))
    assert part.rig.ids == ("m1_rgb",) and part.frame_count <= 2
    assert (part.stream("m1_rgb").frame(0) == whole.stream("m1_rgb").frame(0)).all()
    assert find_truth(part, None) is not None
    assert (part.rig["m1_rgb"].K == whole.rig["m1_rgb"].K).all()


def test_recordings_are_used_again_and_results_are_not(folder, tmp_path):
    take = record(folder, CONFIG)
    before = (take.parent / "made.json").stat().st_mtime_ns
    assert record(folder, CONFIG) == take and (take.parent / "made.json").stat().st_mtime_ns == before
    (take / "results" / "fit").mkdir(parents=True)
    copy = fresh_copy(take, tmp_path / "take.zarr")
    (take / "results" / "fit").rmdir()
    assert not (copy / "results" / "fit").exists() and Take.open(copy).results.steps() == []
    assert Take.open(copy).frame_count == Take.open(take).frame_count
    assert json.loads((take.parent / "made.json").read_text())["subject"] == 107


def test_the_real_board_is_the_one_that_is_calibrated_from():
    assert PrintedBoard().spec.startswith("charuco:12x9:45mm")


def test_seconds_are_read_off_what_the_command_prints():
    printed = "  landmarks     4.2 s\nnote: something took 3 s\n  person       11.0 s\n  fit           9.5 s\n"
    assert dict(STEP.findall(printed)) == {"landmarks": "4.2", "person": "11.0", "fit": "9.5"}


def test_a_similarity_is_taken_out_before_mediapipe_is_judged():
    random = np.random.default_rng(4)
    points = random.normal(size=(40, 3))
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert similarity_distances(points, 2.5 * points @ turn.T + [1.0, -2.0, 0.3]).max() < 1e-12
    mirrored = points * [-1, 1, 1]
    assert similarity_distances(points, mirrored).max() > 0.1, "a mirror image is no similarity"
