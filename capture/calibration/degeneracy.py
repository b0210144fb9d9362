"""Whether footage determines what is solved for, from the adjustment's own normal equations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from capture.calibration.board_views import BoardViews
from capture.calibration.rig_state import RigState
from geometry.errors import InputError

LARGEST_FOCAL_SIGMA = 0.01
"""Relative standard deviation of a focal length beyond which footage is refused: 1 % is 5 mm in depth at 0.5 m."""
SYSTEMATIC_PX = 0.1
"""What a real board and lens miss even where corners repeat better: not flat to a tenth of a millimetre, blurred edges.

Footage is judged with at least this noise, or degenerate pictures would pass because their own noise is small."""
GRID = (6, 8)
"""Rows and columns of the raster in which coverage is counted."""


def require_determined(
    problem: BoardViews, state: RigState, covariance: Float[np.ndarray, "sensor 18 18"], names: Sequence[str]
) -> None:
    """Raise InputError where a focal length is not determined: it says why and what to record."""
    sigma = focal_sigma(state, covariance)
    poor = [sensor for sensor in np.argsort(-sigma).tolist() if sigma[sensor] > LARGEST_FOCAL_SIGMA]
    if not poor:
        return
    worst = poor[0]
    tilts = tilts_deg(problem, state, worst)
    got = (
        f"{names[worst]} known to {100 * sigma[worst]:.1f} % (one standard deviation) from {len(tilts)} views "
        f"of a board turned {tilts.min():.0f} to {tilts.max():.0f} degrees from the sensor's plane, with corners in "
        f"{100 * coverage(problem, worst):.0f} % of the picture"
    )
    if len(poor) > 1:
        got += f", and {len(poor) - 1} more cameras like it"
    raise InputError(
        f"footage that fixes each focal length to {100 * LARGEST_FOCAL_SIGMA:g} %",
        got + ": nearly parallel boards leave focal length and distance exchangeable",
        "tilt the board by 30 degrees or more both ways, take it into the picture's corners, vary its distance",
    )


def focal_sigma(state: RigState, covariance: Float[np.ndarray, "sensor 18 18"]) -> Float[np.ndarray, "sensor"]:
    """Relative standard deviation of each sensor's focal length (the worse of both)."""
    variance = np.stack([covariance[:, 0, 0], covariance[:, 1, 1]], axis=1)
    return (np.sqrt(np.maximum(variance, 0)) / state.intrinsics[:, :2]).max(1)


def tilts_deg(problem: BoardViews, state: RigState, sensor: int) -> Float[np.ndarray, "view"]:
    """Angles between the board and the sensor's plane, degrees, of each view of a sensor."""
    axis = state.sensor_rotation[sensor][2]
    normals = [state.board_rotation[view.pose][:, 2] for view in problem.of_sensor(sensor)]
    return np.degrees(np.arccos(np.abs(np.array(normals) @ axis).clip(0, 1)))


def coverage(problem: BoardViews, sensor: int) -> float:
    """Share of the picture's raster fields in which a corner was seen."""
    rows, columns = problem.sizes_hw[sensor]
    hit = np.zeros(GRID, bool)
    for view in problem.of_sensor(sensor):
        field = view.pixels / [columns, rows] * [GRID[1], GRID[0]]
        column, row = field.astype(int).T
        hit[row.clip(0, GRID[0] - 1), column.clip(0, GRID[1] - 1)] = True
    return float(hit.mean())
