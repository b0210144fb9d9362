"""The ingest on real recordings: how far a Kinect's projections are from its SDK's model, and the TrueDepth boards."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
from ingest_table import Table
from k4a_reference import PlainCamera

from capture.readers.kinect_mkv import read_kinect_mkv
from geometry.cameras import Camera

DATA = Path(os.environ.get("MIEN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
KINECT = DATA / "rgbd" / "azure_kinect" / "recording.mkv"
COLOUR_720P, NFOV_UNBINNED = ((1280, 960), (0, 120)), ((1024, 1024), (192, 180))
"""Size of the calibrated picture and where the recording's modes start in it (REFERENCE.md, section 6)."""
STEP_PX = 12


def measure(folder: Path, table: Table) -> None:
    """All figures that need real data; what is not there is named."""
    if KINECT.is_file():
        measure_kinect(folder, table)
    else:
        table.absent["k4a_projection_px"] = "data"
    if importlib.util.find_spec("ingest_truedepth") is not None:
        importlib.import_module("ingest_truedepth").measure_truedepth(folder, table)


def measure_kinect(folder: Path, table: Table) -> None:
    """Largest distance of measured depth pixels in colour, and back in depth, to the SDK's model written plainly."""
    recording = read_kinect_mkv(KINECT)
    rgb, depth = recording.rig["rgb"], recording.rig["depth"]
    document = json.loads((KINECT.parent / "calibration.json").read_text())["CalibrationInformation"]["Cameras"]
    by_place = {entry["Location"].removeprefix("CALIBRATION_CameraLocation"): entry for entry in document}
    plain_depth, plain_rgb = (
        PlainCamera(tuple(by_place[place]["Intrinsics"]["ModelParameters"]), *mode)
        for place, mode in (("D0", NFOV_UNBINNED), ("PV0", COLOUR_720P))
    )
    rotation = np.array(by_place["PV0"]["Rt"]["Rotation"]).reshape(3, 3)
    translation = np.array(by_place["PV0"]["Rt"]["Translation"])
    counts = recording.read_frame("depth", 0)
    rows, columns = np.nonzero(counts[::STEP_PX, ::STEP_PX])
    pixels = np.column_stack([columns, rows]) * STEP_PX + 0.5
    depth_m = counts[rows * STEP_PX, columns * STEP_PX] * 1e-3
    in_rgb, rgb_z_m = _across(depth, rgb, pixels, depth_m)
    back, _ = _across(rgb, depth, in_rgb, rgb_z_m)
    worst_px = 0.0
    for row, pixel in enumerate(pixels):
        x, y = plain_depth.unproject(*(pixel - 0.5))
        point = rotation @ (np.array([x, y, 1.0]) * depth_m[row]) + translation
        expected = np.array(plain_rgb.project(*point))
        x, y = plain_rgb.unproject(*expected)
        expected_back = plain_depth.project(*(rotation.T @ (np.array([x, y, 1.0]) * point[2] - translation)))
        worst_px = max(
            worst_px, np.abs(in_rgb[row] - 0.5 - expected).max(), np.abs(back[row] - 0.5 - expected_back).max()
        )
    table.add("k4a_projection_px", worst_px, "px", 0.5)


def _across(source: Camera, target: Camera, pixels: np.ndarray, depth_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels of one camera lie in another, and how deep there."""
    rays = np.column_stack([source.pixels_to_normalised(pixels), np.ones(len(pixels))])
    return target.project(source.world_from_camera @ (rays * depth_m[:, None]))
