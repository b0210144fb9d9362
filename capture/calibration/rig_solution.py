"""From corners to a calibrated rig: first guess, adjustment, outliers out, and proof on poses left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from capture.calibration.board_views import BoardView, BoardViews
from capture.calibration.degeneracy import SYSTEMATIC_PX, require_determined
from capture.calibration.rig_adjustment import (
    Freedom,
    adjust,
    noise_of_sensors,
    sensor_covariance,
    view_residuals,
    views_in_front,
)
from capture.calibration.rig_initialisation import FEWEST_VIEWS, initialise_rig, initialise_sensor
from capture.calibration.rig_state import RigState
from geometry.cameras import Camera
from geometry.errors import InputError

CORNER_LIMIT, CORNER_FLOOR_PX = 6.0, 0.3
"""A corner farther off than so many standard deviations, and this, is left out."""
VIEW_LIMIT, VIEW_FLOOR_PX = 5.0, 0.5
"""A view whose median corner is farther off than this was taken while the board moved, or is no board."""
FEWEST_CORNERS = 6
ROUNDS = 2
"""Adjustments after the first, each with its outliers left out before."""
HELD_OUT_EVERY, FEWEST_POSES_TO_HOLD_OUT = 5, 15
HELD_OUT_STEPS = 8


@dataclass(frozen=True, eq=False)
class RigSolution:
    """A calibrated rig in a frame of its own, and how well it fits."""

    problem: BoardViews
    """The views that were used."""
    state: RigState
    """Sensors and boards."""
    sigma_px: Float[np.ndarray, "sensor"]
    """Noise of each sensor's corners, per axis."""
    covariance: Float[np.ndarray, "sensor 18 18"]
    """Of each sensor's unknowns, the rig as a whole held."""
    reprojection_px: Float[np.ndarray, "sensor"]
    """Root-mean-square distance of the used corners."""
    held_out_px: Float[np.ndarray, "sensor"]
    """The same for poses that took no part in a second adjustment; NaN if there were too few to leave some out."""
    rejected_views: Int[np.ndarray, "sensor"]
    """Views left out as outliers."""


def solve_rig(problem: BoardViews, cameras: Sequence[Camera], coefficients: Sequence[int]) -> RigSolution:
    """Calibrate sensors, given as cameras in the problem's order with their lens coefficients (0, 5 or 8).

    Raises InputError: a sensor with too few views, sensors that no shared poses connect, and footage that does not
    determine a focal length.
    """
    names = [camera.id for camera in cameras]
    alone = [
        initialise_sensor(problem, sensor, camera, count)
        for sensor, (camera, count) in enumerate(zip(cameras, coefficients, strict=True))
    ]
    intrinsics = np.stack([adjusted.state.intrinsics[0] for adjusted in alone])
    state = initialise_rig(problem, intrinsics, names)
    calm = Freedom(tuple(min(count, 5) for count in coefficients))
    ahead = views_in_front(problem, state)
    state = adjust(ahead, state, calm, np.ones(len(names))).state
    freedom, used = Freedom(tuple(coefficients)), problem
    sigma_px = noise_of_sensors(ahead, view_residuals(ahead, state))
    for _ in range(ROUNDS):
        used = _without_outliers(views_in_front(problem, state), state, sigma_px)
        _require_views(used, problem, names)
        state = adjust(used, state, freedom, sigma_px).state
        sigma_px = noise_of_sensors(used, view_residuals(used, state))
    covariance = sensor_covariance(used, state, freedom, sigma_px)
    least = np.maximum(SYSTEMATIC_PX / sigma_px, 1)[:, None, None] ** 2
    require_determined(used, state, covariance * least, names)
    return RigSolution(
        used,
        state,
        sigma_px,
        covariance,
        reprojection_px=_reprojection(used, state),
        held_out_px=_held_out(used, state, freedom, sigma_px),
        rejected_views=_views_of(problem) - _views_of(used),
    )


def _without_outliers(problem: BoardViews, state: RigState, sigma_px: Float[np.ndarray, "sensor"]) -> BoardViews:
    kept: list[BoardView] = []
    for view, residual in zip(problem.views, view_residuals(problem, state), strict=True):
        distance, sigma = np.linalg.norm(residual, axis=1), float(sigma_px[view.sensor])
        good = distance < max(CORNER_LIMIT * sigma, CORNER_FLOOR_PX)
        if np.median(distance) < max(VIEW_LIMIT * sigma, VIEW_FLOOR_PX) and good.sum() >= FEWEST_CORNERS:
            kept.append(view.only(good))
    return problem.with_views(kept)


def _views_of(problem: BoardViews) -> Int[np.ndarray, "sensor"]:
    return np.bincount([view.sensor for view in problem.views], minlength=len(problem.sizes_hw))


def _require_views(used: BoardViews, problem: BoardViews, names: Sequence[str]) -> None:
    poor = np.flatnonzero(_views_of(used) < FEWEST_VIEWS)
    if len(poor):
        total = _views_of(problem)
        got = ", ".join(f"{_views_of(used)[s]} of {total[s]} of {names[s]}" for s in poor.tolist())
        raise InputError(
            f"at least {FEWEST_VIEWS} views of each camera that agree with the other cameras",
            got,
            "check that these cameras run in sync with the others and are not moved; hold the board still at times",
        )


def _reprojection(problem: BoardViews, state: RigState) -> Float[np.ndarray, "sensor"]:
    squares, count = np.zeros(len(problem.sizes_hw)), np.zeros(len(problem.sizes_hw))
    for view, residual in zip(problem.views, view_residuals(problem, state), strict=True):
        squares[view.sensor] += float((residual**2).sum())
        count[view.sensor] += len(residual)
    return np.sqrt(squares / np.where(count > 0, count, np.nan))


def _held_out(
    problem: BoardViews, state: RigState, freedom: Freedom, sigma_px: Float[np.ndarray, "sensor"]
) -> Float[np.ndarray, "sensor"]:
    """Adjust without every fifth pose, then let only these poses' boards move: what the sensors miss there."""
    nothing = np.full(len(problem.sizes_hw), np.nan)
    poses = sorted({view.pose for view in problem.views})
    if len(poses) < FEWEST_POSES_TO_HOLD_OUT:
        return nothing
    out = set(poses[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY])
    training = problem.with_views([view for view in problem.views if view.pose not in out])
    if (_views_of(training) < FEWEST_VIEWS).any():
        return nothing
    trained = adjust(training, state, freedom, sigma_px, HELD_OUT_STEPS).state
    test = problem.with_views([view for view in problem.views if view.pose in out])
    fixed = replace(freedom, fixed_sensors=True)
    return _reprojection(test, adjust(test, trained, fixed, sigma_px, HELD_OUT_STEPS).state)
