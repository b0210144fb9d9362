"""Whether depth counts are in the unit that the rig says: a wrong one puts the face where no camera sees faces."""

from __future__ import annotations

import numpy as np

from capture.readers.recording import Recording
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig

NEAREST_M, FARTHEST_M = 0.1, 3.0
"""Where the median of measured depth may lie."""
FRAMES_LOOKED_AT = 3
USUAL_UNITS_M = (1e-3, 1e-4, 2.5e-4, 5e-4, 1.25e-4, 1e-2, 1e-5, 1e-6, 1.0)
"""Metres per count, the most usual first: millimetres, then those of structured light and short-range sensors."""


def median_count(frames: list[np.ndarray]) -> float | None:
    """Median of the measured counts, None if nothing was measured."""
    measured = np.concatenate([frame[frame > 0] for frame in frames]) if frames else np.zeros(0)
    return float(np.median(measured)) if len(measured) else None


def unit_fault(camera: Camera, count: float) -> InputError | None:
    """What to say if the median count does not mean a distance at which faces are recorded."""
    assert camera.depth_unit_m is not None
    distance_m = count * camera.depth_unit_m
    if NEAREST_M <= distance_m <= FARTHEST_M:
        return None
    got = f"{distance_m:.4g} m for {camera.id} (median count {count:.0f}, unit {camera.depth_unit_m:g} m)"
    fitting = [unit for unit in USUAL_UNITS_M if NEAREST_M <= count * unit <= FARTHEST_M]
    remedy = f"correct depth_unit_m of {camera.id} in the rig file"
    if fitting:
        remedy += f": {fitting[0]:g} would put it at {count * fitting[0]:.3g} m"
    return InputError(f"depth with its median from {NEAREST_M} to {FARTHEST_M} m", got, remedy)


def require_plausible_depth(recording: Recording, rig: Rig) -> None:
    """Look at the first frames of every depth camera of the rig, and raise InputError where its unit is wrong.

    A camera that measured nothing in them is left to the quality checks.
    """
    for camera in rig.depth:
        count = len(recording.clocks[camera.id].device_ns)
        frames = [recording.read_frame(camera.id, index) for index in range(min(FRAMES_LOOKED_AT, count))]
        median = median_count(frames)
        fault = None if median is None else unit_fault(camera, median)
        if fault is not None:
            raise fault
