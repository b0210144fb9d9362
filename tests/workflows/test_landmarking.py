"""Landmarks of a whole take: stored frame by frame, the same bytes whenever and however often it was killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flame_fitting.landmarks.tracking import LANDMARKS
from flame_fitting.landmarks.view_states import ViewState
from flame_fitting.landmarks.weights import landmark_weights
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.ingest_writer import StreamPlan, TakeWriter
from storage.results import PartialResult
from storage.schema import FRAMES_PER_SHARD
from storage.take import Sync, Take, TakeHeader
from tests.flame_fitting.landmarks.simulated import cameras, scene
from tests.storage.synthetic_take import tree
from workflows.landmarking import RUN_FRAMES, LandmarkConfig, find_landmarks, runs_of

FRAMES = RUN_FRAMES + 3
CAMERAS = cameras()[1:3]
MISSING = 5
"""Frame set that the second camera has no picture of."""
BLACK = (7, 8)
"""Frame sets in which the first camera's pictures are black."""


@pytest.fixture(scope="module", autouse=True)
def networks() -> None:
    try:
        landmark_weights()
    except InputError:
        pytest.skip("no landmark weights: run `mien models install`")


class Killed(Exception):
    """Stands for the end of the process."""


def _take(path: Path) -> Take:
    shifts = [(0.0, 0.0, 0.0), (0.004, -0.003, 0.002)]
    header = TakeHeader("take-1", "subject-1", "research", "CC0-1.0", "/recordings/1", "d1", "simulated", "0.1", "c1")
    plans = {camera.id: StreamPlan(FRAMES) for camera in CAMERAS}
    writer = TakeWriter.begin(path, header=header, rig=Rig(CAMERAS), streams=plans, config={})
    assert writer is not None
    with writer:
        for number, camera in enumerate(CAMERAS):
            seen = [scene(shift).pictures[number + 1] for shift in shifts]
            for frames in writer.pending_shards(camera.id):
                shown = [
                    np.zeros_like(seen[0]) if number == 0 and frame in BLACK else seen[frame % 2] for frame in frames
                ]
                writer.write_shard(camera.id, frames, iter(shown))
                writer.write_progress(camera.id, frames.start // FRAMES_PER_SHARD, {"frames": len(frames)})
            writer.write_clock(camera.id, np.arange(FRAMES, dtype=np.int64) * 33_333_333)
        index = np.repeat(np.arange(FRAMES, dtype=np.int32)[:, None], 2, axis=1)
        index[MISSING, 1] = -1
        writer.write_sync(Sync(np.arange(FRAMES) * 33_333_333, index))
        writer.finish()
    return Take.open(path)


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    found = _take(tmp_path_factory.mktemp("landmarks") / "take.zarr")
    find_landmarks(found, lambda done, total: None)
    return found


def _results(take: Take) -> dict[str, bytes]:
    return tree(Path(take.path) / "results" / "landmarks")


def test_every_view_of_every_frame_has_finite_points_and_a_state(take: Take) -> None:
    result = take.results.read("landmarks")
    points, confidence = np.asarray(result["points_px"]), np.asarray(result["confidence"])
    state = np.asarray(result["view_state"])
    assert points.shape == (FRAMES, 2, LANDMARKS, 2) and confidence.shape == points.shape[:3]
    assert np.isfinite(points).all() and confidence.min() >= 0 and confidence.max() <= 1
    expected = np.full((FRAMES, 2), ViewState.FOLLOWED, np.uint8)
    expected[[0, RUN_FRAMES]] = ViewState.SEARCHED
    expected[MISSING, 1] = ViewState.NO_PICTURE
    expected[list(BLACK), 0] = ViewState.NO_FACE
    expected[max(BLACK) + 1, 0] = ViewState.SEARCHED
    np.testing.assert_array_equal(state, expected)
    np.testing.assert_array_equal(confidence.any(2), np.isin(expected, (ViewState.SEARCHED, ViewState.FOLLOWED)))


def test_finding_again_is_a_no_op(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _results(take)
    monkeypatch.setattr(PartialResult, "write", lambda *_: pytest.fail("nothing is left to do"))
    find_landmarks(take, lambda done, total: None)
    assert _results(take) == before


@pytest.mark.parametrize("after", [1, RUN_FRAMES + 1])
def test_a_killed_step_goes_on_and_ends_with_the_same_bytes(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    again = _take(tmp_path / "take.zarr")
    written: list[int] = []
    write = PartialResult.write

    def dying(self: PartialResult, row: int, values: dict[str, np.ndarray]) -> None:
        if len(written) >= after:
            raise Killed
        write(self, row, values)
        written.append(row)

    monkeypatch.setattr(PartialResult, "write", dying)
    with pytest.raises(Killed):
        find_landmarks(again, lambda done, total: None)
    monkeypatch.setattr(PartialResult, "write", write)
    shown: list[tuple[int, int]] = []
    find_landmarks(again, lambda done, total: shown.append((done, total)))
    assert len(shown) == FRAMES - after and shown[-1] == (FRAMES, FRAMES)
    assert _results(again) == _results(take)


def test_asking_for_another_face_finds_landmarks_anew(tmp_path: Path) -> None:
    again = _take(tmp_path / "take.zarr")
    first = find_landmarks(again, lambda done, total: None)
    other = find_landmarks(again, lambda done, total: None, LandmarkConfig(face=1))
    assert first.digest != other.digest
    assert set(np.unique(np.asarray(other["view_state"]))) <= {ViewState.NO_FACE, ViewState.NO_PICTURE}


def test_runs_begin_at_fixed_places_whatever_is_left_to_do() -> None:
    everything = runs_of(list(range(40)), 40)
    assert [run for run, _ in everything] == [range(16), range(16, 32), range(32, 40)]
    assert runs_of([17, 20, 39], 40) == [(range(16, 32), frozenset({17, 20})), (range(32, 40), frozenset({39}))]
    assert runs_of([], 40) == []
