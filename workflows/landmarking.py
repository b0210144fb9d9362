"""The landmarks of a take: one person followed through every colour camera, stored frame set by frame set."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from flame_fitting.landmarks.tracking import LANDMARKS, FaceTracker, ViewMarks
from storage.results import PartialArray, PartialResult, Provenance, StoredResult
from storage.take import Take
from workflows.progress import Report

RUN_FRAMES = 16
"""Frame sets that are followed in one run. Each run begins with a search, at places that depend on nothing else: a
killed step makes the runs anew that it had not finished, and they come out as they would have. Runs are also what is
done in parallel; a search costs as much as five followed frames."""
METHOD = "MediaPipe 0.10.14 followed, irises by the limbus"
"""Named in the result; change it when the same pictures give other landmarks."""


@dataclass(frozen=True)
class LandmarkConfig:
    """Whose landmarks to find."""

    face: int | None = None
    """Of several people the one with this place by size, 0 the largest; None: the nearest to the rig's centre."""


def find_landmarks(take: Take, progress: Report, config: LandmarkConfig = LandmarkConfig()) -> StoredResult:
    """The subject's landmarks in every colour picture; a no-op when they are there, and a killed step goes on.

    Arrays: `points_px`, `confidence` and `view_state` as `ViewMarks` has them. Every value is finite; a view without a
    face has a state that says why and no confidence. Raises InputError when no networks are installed.
    """
    cameras = [camera.id for camera in take.rig.rgb]
    provenance = Provenance({"detector": METHOD, "cameras": cameras, **asdict(config)}, {"take": take.digest})
    if take.results.is_current("landmarks", "default", provenance.config, provenance.inputs):
        return take.results.read("landmarks")
    # Of an earlier ingest or of another person: nothing is lost by finding landmarks again.
    stale = "default" in take.results.runs("landmarks")
    arrays = landmark_arrays(take.frame_count, len(cameras))
    partial = take.results.begin_partial("landmarks", "default", arrays, provenance, overwrite=stale)
    if partial is None:
        return take.results.read("landmarks")
    _find_pending(take, partial, progress, config)
    partial.finish()
    return take.results.read("landmarks")


def landmark_arrays(frame_count: int, camera_count: int) -> dict[str, PartialArray]:
    """What is stored, a row a frame set."""
    shape = (frame_count, camera_count, LANDMARKS)
    return {
        "points_px": PartialArray((*shape, 2), "float32", ("frame", "camera", "landmark", "xy"), "px"),
        "confidence": PartialArray(shape, "float32", ("frame", "camera", "landmark"), "1"),
        "view_state": PartialArray(shape[:2], "uint8", ("frame", "camera"), "1"),
    }


def runs_of(pending: list[int], frame_count: int) -> list[tuple[range, frozenset[int]]]:
    """The runs that hold pending frame sets: which frames each follows, and which of them are to be written."""
    runs = [range(start, min(start + RUN_FRAMES, frame_count)) for start in range(0, frame_count, RUN_FRAMES)]
    wanted = [(run, frozenset(pending).intersection(run)) for run in runs]
    return [(run, rows) for run, rows in wanted if rows]


def _find_pending(take: Take, partial: PartialResult, progress: Report, config: LandmarkConfig) -> None:
    """Write every row that is not there yet, runs in parallel."""
    own = threading.local()
    counting = threading.Lock()
    pending = partial.pending()
    done = take.frame_count - len(pending)

    def follow(run: tuple[range, frozenset[int]]) -> None:
        nonlocal done
        if not hasattr(own, "tracker"):
            own.tracker = FaceTracker.load(take.rig.rgb, config.face)  # not thread-safe: one a thread
        for frame, marks in _tracked(take, own.tracker, run):
            if frame in run[1]:
                partial.write(frame, _row(marks))
                with counting:
                    done += 1
                    progress(done, take.frame_count)

    with _single_threaded_opencv(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(follow, runs_of(pending, take.frame_count)))


def _tracked(
    take: Take, tracker: FaceTracker, run: tuple[range, frozenset[int]]
) -> Iterator[tuple[int, tuple[ViewMarks, ...]]]:
    """Frame sets of a run, one after the other, up to the last that is wanted; each picture is decoded once."""
    tracker.start_run()
    frames, wanted = run
    for frame in range(frames.start, max(wanted) + 1):
        yield frame, tracker.track([take.frame(camera.id, frame) for camera in take.rig.rgb])


def _row(marks: tuple[ViewMarks, ...]) -> dict[str, np.ndarray]:
    return {
        "points_px": np.array([view.points_px for view in marks], np.float32).reshape(-1, LANDMARKS, 2),
        "confidence": np.array([view.confidence for view in marks], np.float32).reshape(-1, LANDMARKS),
        "view_state": np.array([view.state for view in marks], np.uint8),
    }


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """OpenCV on one thread a caller while the block runs: runs already fill all cores."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
