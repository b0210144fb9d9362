"""How well a rig is calibrated from a simulated wave of a board: the vocap studio, 93 sensors, Kinect-like noise.

The board is drawn by `studio.calibration_board`, which knows no solver; what `mien calibrate` gets is pictures and
uncalibrated cameras. Camera centres are compared after the best rigid alignment, because a rig has no place of its own.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from ingest_table import Table
from scipy.spatial.transform import Rotation

from geometry.rigs import Rig
from geometry.transforms import rigid_align
from storage.rig_json import read_rig
from studio.calibration_board import PrintedBoard
from studio.calibration_wave import WaveConfig, record_board
from workflows.calibrating import CalibrationConfig, calibrate

SEED = 4711
"""Not used for tuning or in tests."""
POSES = 28
"""So that drawing and calibrating together stay below four minutes on two cores."""


def measure(folder: Path, table: Table) -> None:
    """Record, calibrate, compare with the truth."""
    board = PrintedBoard()
    record_board(folder / "wave", WaveConfig("vocap", POSES, SEED), board)
    started = time.perf_counter()
    report = calibrate(folder / "wave", folder / "rig.json", CalibrationConfig(board.spec))
    seconds = time.perf_counter() - started
    position_mm, rotation_deg, focal_percent = errors(
        read_rig(folder / "rig.json"), read_rig(folder / "wave/truth/rig.json")
    )
    table.add("calibration_position_mm_median", float(np.median(position_mm)), "mm", 0.25)
    table.add("calibration_rotation_deg_median", float(np.median(rotation_deg)), "deg", 0.25)
    table.add("calibration_focal_percent_median", float(np.median(focal_percent)), "%", 0.25)
    pixels = [row.reprojection_px for row in report.cameras]
    table.add("calibration_reprojection_px_median", float(np.median(pixels)), "px", 0.1)
    table.add("calibration_seconds", seconds, "s", 0.3)


def errors(found: Rig, truth: Rig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each sensor: position in mm, rotation in degrees, focal length in per cent; depth streams share infrared's."""
    names = [camera.id for camera in truth.cameras if camera.kind != "depth"]
    true_centres = np.stack([truth[name].centre_world for name in names])
    centres = np.stack([found[name].centre_world for name in names])
    truth_from_found = rigid_align(centres, true_centres)
    position_mm = 1e3 * np.linalg.norm(truth_from_found @ centres - true_centres, axis=1)
    turned = np.stack([truth_from_found.rotation @ found[name].world_from_camera.rotation for name in names])
    true_rotation = np.stack([truth[name].world_from_camera.rotation for name in names])
    rotation_deg = np.degrees(Rotation.from_matrix(true_rotation.transpose(0, 2, 1) @ turned).magnitude())
    focal_percent = np.array([100 * abs(found[name].K[0, 0] / truth[name].K[0, 0] - 1) for name in names])
    return position_mm, rotation_deg, focal_percent
