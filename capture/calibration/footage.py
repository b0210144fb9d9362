"""A recording of a board: which streams are one sensor, and in which pictures the board is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from capture.calibration.board import BoardDetection, BoardSpec, detect_board
from capture.calibration.board_guess import guess_board
from capture.calibration.board_views import BoardView, BoardViews
from capture.calibration.colour_matching import board_greys
from capture.readers.recording import Recording
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig

GUESS_PICTURES = 8
GUESS_TRIES = 4
"""Rounds over the cameras in the search for pictures to guess the board from."""


@dataclass(frozen=True, eq=False)
class Sensor:
    """One chip behind one lens, which may record several streams."""

    camera: Camera
    """The stream in whose pictures the board is looked for."""
    depth: Camera | None = None
    """The depth stream of the same chip: same module, same size."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of its streams."""
        return (self.camera.id,) if self.depth is None else (self.camera.id, self.depth.id)


@dataclass(frozen=True, eq=False)
class Footage:
    """What the pictures showed."""

    views: BoardViews
    """One pose a frame set, in time."""
    frame_sets: Int[np.ndarray, "pose"]
    """The frame set of each pose."""
    greys: Mapping[tuple[int, int], Float[np.ndarray, "2 3"]]
    """Paper and ink of the board by sensor and pose, colour cameras only."""
    pictures: Int[np.ndarray, "sensor"]
    """How many were looked at."""


def sensors_of(rig: Rig) -> tuple[tuple[Sensor, ...], tuple[Camera, ...]]:
    """The sensors whose pictures can show a board, in the rig's order, and the depth cameras of which none can."""
    depth = {(camera.module, camera.image_size_hw): camera for camera in reversed(rig.depth)}
    sensors, taken = [], set()
    for camera in rig.cameras:
        if camera.kind not in ("rgb", "infrared"):
            continue
        own = depth.get((camera.module, camera.image_size_hw)) if camera.kind == "infrared" else None
        own = None if own is None or own.id in taken else own
        taken |= {own.id} if own else set()
        sensors.append(Sensor(camera, own))
    return tuple(sensors), tuple(camera for camera in rig.depth if camera.id not in taken)


def choose_frame_sets(index: Int[np.ndarray, "f c"], most: int) -> Int[np.ndarray, "pose"]:
    """At most so many frame sets, evenly over the recording, of those that two cameras have."""
    shared = np.flatnonzero((index >= 0).sum(1) >= min(2, index.shape[1]))
    places = np.linspace(0, len(shared) - 1, min(most, len(shared))).round().astype(int)
    return shared[np.unique(places)] if len(shared) else shared


def guess_board_of(
    recording: Recording, sensors: Sequence[Sensor], index: Int[np.ndarray, "f c"], square_m: float
) -> BoardSpec:
    """The board from a few pictures of cameras all over the rig; InputError if none shows one."""
    pictures = []
    for turn in range(GUESS_TRIES):
        step = max(1, len(sensors) * GUESS_TRIES // GUESS_PICTURES)
        for number, sensor in list(enumerate(sensors))[turn % step :: step]:
            frames = index[:, recording.rig.index(sensor.camera.id)]
            frames = frames[frames >= 0]
            if len(frames):
                place = (2 * turn + 1 + number % 2) * len(frames) // (2 * GUESS_TRIES + 1)
                pictures.append(recording.read_frame(sensor.camera.id, int(frames[place])))
    return guess_board(pictures, square_m)


def find_boards(
    recording: Recording,
    sensors: Sequence[Sensor],
    frame_sets: tuple[Int[np.ndarray, "pose"], Int[np.ndarray, "f c"]],
    spec: BoardSpec,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> Footage:
    """Look for the board in the chosen frame sets (their numbers, and the sync index) of all sensors.

    As many pictures are in memory as there are workers; OpenCV releases Python's lock, so threads do.
    """
    chosen, index = frame_sets
    jobs = [
        (number, pose, int(index[frame_set, recording.rig.index(sensor.camera.id)]))
        for number, sensor in enumerate(sensors)
        for pose, frame_set in enumerate(chosen)
    ]
    jobs = [job for job in jobs if job[2] >= 0]

    def look(job: tuple[int, int, int]) -> tuple[BoardDetection, np.ndarray | None]:
        sensor, _, frame = job
        camera = sensors[sensor].camera
        picture = recording.read_frame(camera.id, frame)
        detection = detect_board(picture, spec)
        return detection, board_greys(picture, detection, spec) if camera.kind == "rgb" else None

    views, greys = [], {}
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for done, ((sensor, pose, _), (detection, grey)) in enumerate(zip(jobs, pool.map(look, jobs), strict=True)):
            if len(detection):
                views.append(BoardView(sensor, pose, detection.ids, detection.pixels))
            if grey is not None:
                greys[sensor, pose] = grey
            if progress:
                progress(done + 1, len(jobs))
    if not views:
        raise InputError(
            f"the board {spec} in the pictures", f"none in {len(jobs)}", "check --board, or use --board auto:SQUARE"
        )
    sizes = [sensor.camera.image_size_hw for sensor in sensors]
    looked_at = np.bincount([sensor for sensor, _, _ in jobs], minlength=len(sensors))
    return Footage(BoardViews.of(spec, sizes, len(chosen), views), chosen, greys, looked_at)
