"""`mien calibrate`: footage of a board in, a rig file with the figures that prove it out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from capture.calibration.board import BoardSpec, metres_of
from capture.calibration.calibrated_rig import calibrated_rig
from capture.calibration.chart_footage import find_charts, match_charts
from capture.calibration.colour_matching import ColourMatch, match_greys
from capture.calibration.degeneracy import coverage, focal_sigma, tilts_deg
from capture.calibration.depth_correction import DepthCorrection, DepthSamples, fit_depth_correction, sample_depth
from capture.calibration.footage import (
    Footage,
    Sensor,
    choose_frame_sets,
    find_boards,
    guess_board_of,
    sensors_of,
)
from capture.calibration.formats import read_calibration
from capture.calibration.report import CalibrationReport, CameraReport
from capture.calibration.rig_adjustment import centre_covariance
from capture.calibration.rig_solution import RigSolution, solve_rig
from capture.clock_references import References
from capture.readers import open_recording
from capture.readers.recording import Recording
from capture.sync import synchronise
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.rig_json import write_rig
from workflows.progress import Report, step

AUTO = "auto"
LENSES = ("auto", "0", "5", "8")
DEPTH_VIEWS = 40
"""Depth pictures of a sensor that are looked at."""


@dataclass(frozen=True)
class CalibrationConfig:
    """How to calibrate."""

    board: str = "auto"
    """charuco:12x9:45mm:33mm:DICT_4X4_100[:legacy], checkerboard:10x7:25mm, or auto:45mm (the side of a square)."""
    reader: str = "auto"
    """Which reader, or auto."""
    lens: str = "auto"
    """Lens coefficients 0, 5 or 8; auto: 5 for colour, 8 for infrared."""
    world_from: Path | None = None
    """A rig whose world is kept; else it is made from how the cameras stand."""
    reference: str = ""
    """The camera that the others' colours are matched to; empty: the first colour camera."""
    most_poses: int = 200
    """Frame sets to use at most, evenly over the recording."""
    chart: bool = False
    """Look for a colour chart of 24 patches too, which gives whole colour matrices where the board gives gains."""

    def __post_init__(self) -> None:
        if self.lens not in LENSES:
            raise InputError(f"--lens {' or '.join(LENSES)}", repr(self.lens), "choose one of these")
        if self.most_poses < 3:
            raise InputError("--most-poses of at least 3", str(self.most_poses), "raise it")

    def coefficients(self, sensors: Sequence[Sensor]) -> tuple[int, ...]:
        """Lens coefficients of each sensor."""
        if self.lens != "auto":
            return (int(self.lens),) * len(sensors)
        return tuple(5 if sensor.camera.kind == "rgb" else 8 for sensor in sensors)


def calibrate(
    source: Path,
    rig_path: Path,
    config: CalibrationConfig,
    show: Callable[[str], AbstractContextManager[Report]] = step,
) -> CalibrationReport:
    """Calibrate every camera of a recording of a board, and write the rig.

    Raises InputError: no recording, no board, too few views, cameras that no shared views connect, footage that does
    not determine the focal lengths. Nothing is written then.
    """
    recording = open_recording(source, config.reader)
    world_of = read_calibration(config.world_from) if config.world_from else None
    sensors, bare_depth = sensors_of(recording.rig)
    if not sensors:
        raise InputError("cameras that see a board", "a recording of depth alone", "record colour or infrared too")
    sync = synchronise(recording.rig, recording.clocks, References(recording.audio)).sync
    workers = os.cpu_count() or 1
    spec = _board(recording, sensors, sync.index, config)
    if len(sensors) > 1 and not spec.turns_are_distinct:
        raise InputError(
            "a board that differs from itself turned by 180 degrees",
            str(spec),
            "use a ChArUco board, or a checkerboard with odd x even squares, when several cameras must agree",
        )
    with show("detect") as progress:
        chosen = choose_frame_sets(sync.index, config.most_poses)
        footage = find_boards(recording, sensors, (chosen, sync.index), spec, workers, progress)
    coefficients = config.coefficients(sensors)
    with show("adjust"):
        solution = solve_rig(footage.views, [sensor.camera for sensor in sensors], coefficients)
    rig = calibrated_rig(recording.rig, sensors, solution, coefficients, world_of)
    with show("depth") as progress:
        depth = _depth_corrections(recording, rig, sensors, (footage, solution, sync.index), progress)
    reference = _reference(sensors, config.reference)
    colours = _none(sensors) if reference is None else match_greys(footage.greys, len(sensors), reference)
    if config.chart and reference is not None:
        with show("chart"):
            charts = match_charts(find_charts(recording, sensors, sync.index), len(sensors), reference)
        colours = [chart or greys for chart, greys in zip(charts, colours, strict=True)]
    matched = sensors[reference].camera.id if reference is not None and any(colours) else None
    rig = _with_corrections(rig, sensors, depth, colours)
    write_rig(rig_path, rig)
    notes = tuple(f"{camera.id}: no picture of the board, moved with its module" for camera in bare_depth)
    rows = tuple(_row(number, sensor, solution, (depth, colours)) for number, sensor in enumerate(sensors))
    poses = len({view.pose for view in solution.problem.views})
    return CalibrationReport(str(spec), poses, int(footage.pictures.sum()), matched, rows, recording.notes + notes)


def _board(recording: Recording, sensors: Sequence[Sensor], index: np.ndarray, config: CalibrationConfig) -> BoardSpec:
    name, _, size = config.board.partition(":")
    if name != AUTO:
        return BoardSpec.parse(config.board)
    if not size:
        raise InputError(
            "the side of a square, which no picture tells", f"--board {config.board}", "write --board auto:45mm"
        )
    return guess_board_of(recording, sensors, index, metres_of(size))


def _depth_corrections(
    recording: Recording,
    rig: Rig,
    sensors: Sequence[Sensor],
    solved: tuple[Footage, RigSolution, np.ndarray],
    progress: Report,
) -> list[DepthCorrection | None]:
    """Of each sensor with a depth stream, from the pictures whose board the adjustment used."""
    footage, solution, index = solved
    done = 0

    def correct(number: int) -> DepthCorrection | None:
        nonlocal done
        sensor = sensors[number]
        correction = None
        if sensor.depth is not None:
            frames = index[footage.frame_sets, recording.rig.index(sensor.depth.id)]
            samples = _depth_samples(recording, rig[sensor.depth.id], number, frames, solution)
            correction = fit_depth_correction(samples)
        done += 1
        progress(done, len(sensors))
        return correction

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(correct, range(len(sensors))))


def _depth_samples(
    recording: Recording, camera: Camera, number: int, frames: np.ndarray, solution: RigSolution
) -> list[DepthSamples]:
    normalised = camera.pixel_grid_normalised()
    views = [view for view in solution.problem.of_sensor(number) if frames[view.pose] >= 0]
    samples = []
    for place in np.unique(np.linspace(0, len(views) - 1, min(DEPTH_VIEWS, len(views))).round().astype(int)):
        view = views[place]
        counts = recording.read_frame(camera.id, int(frames[view.pose]))
        board = solution.state.camera_from_rig(number).compose(solution.state.rig_from_board(view.pose))
        sample = sample_depth(camera, normalised, counts, view.pixels, board)
        if sample is not None:
            samples.append(sample)
    return samples


def _reference(sensors: Sequence[Sensor], wanted: str) -> int | None:
    """The sensor whose colours the others are matched to; None where there are not two colour cameras."""
    colour = [number for number, sensor in enumerate(sensors) if sensor.camera.kind == "rgb"]
    names = [sensors[number].camera.id for number in colour]
    if wanted and wanted not in names:
        raise InputError(f"a colour camera ({', '.join(names)})", repr(wanted), "correct --reference")
    if len(colour) < 2:
        return None
    return colour[names.index(wanted) if wanted else 0]


def _none(sensors: Sequence[Sensor]) -> list[ColourMatch | None]:
    return [None] * len(sensors)


def _with_corrections(
    rig: Rig,
    sensors: Sequence[Sensor],
    depth: Sequence[DepthCorrection | None],
    colours: Sequence[ColourMatch | None],
) -> Rig:
    changed: dict[str, Camera] = {}
    for sensor, correction, match in zip(sensors, depth, colours, strict=True):
        if sensor.depth is not None and correction is not None:
            changed[sensor.depth.id] = replace(
                rig[sensor.depth.id], depth_scale=correction.scale, depth_offset_m=correction.offset_m
            )
        if match is not None:
            changed[sensor.camera.id] = replace(rig[sensor.camera.id], colour_matrix=match.matrix)
    return Rig(tuple(changed.get(camera.id, camera) for camera in rig.cameras))


def _row(
    number: int,
    sensor: Sensor,
    solution: RigSolution,
    corrections: tuple[Sequence[DepthCorrection | None], Sequence[ColourMatch | None]],
) -> CameraReport:
    views = solution.problem.of_sensor(number)
    place = centre_covariance(solution.state, solution.covariance)[number]
    held_out = float(solution.held_out_px[number])
    depth, match = corrections[0][number], corrections[1][number]
    return CameraReport(
        camera=sensor.camera.id,
        reprojection_px=float(solution.reprojection_px[number]),
        held_out_px=None if np.isnan(held_out) else held_out,
        views=len(views),
        rejected_views=int(solution.rejected_views[number]),
        corners=sum(len(view.ids) for view in views),
        coverage=coverage(solution.problem, number),
        tilt_deg=float(tilts_deg(solution.problem, solution.state, number).max()),
        focal_px=float(solution.state.intrinsics[number, 0]),
        focal_sigma_percent=100 * float(focal_sigma(solution.state, solution.covariance)[number]),
        position_sigma_mm=1e3 * float(np.sqrt(np.trace(place))),
        depth_scale=None if depth is None else depth.scale,
        depth_scale_sigma=None if depth is None else depth.scale_sigma,
        depth_offset_mm=None if depth is None else 1e3 * depth.offset_m,
        depth_offset_sigma_mm=None if depth is None else 1e3 * depth.offset_sigma_m,
        depth_error_mm=None if depth is None else (depth.before_mm, depth.after_mm),
        colour_error=None if match is None else (match.before, match.after),
    )
