"""Bundle adjustment of a rig over a moving board: robust Levenberg-Marquardt on the sensors, boards eliminated.

With the board's poses eliminated (Schur's complement) the system has 18 unknowns a sensor, however long the footage.
Source: Triggs et al. 2000, "Bundle adjustment: a modern synthesis", sections 6 (Schur) and 9 (gauge freedom).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import cho_factor, cho_solve

from capture.calibration.board_views import BoardView, BoardViews, SensorCorners
from capture.calibration.lens import INTRINSIC_COUNT, free_intrinsics, project, project_with_derivatives
from capture.calibration.rig_state import RigState, cross_matrices

PER_SENSOR, PER_POSE = INTRINSIC_COUNT + 6, 6
CAUCHY = 3.0
"""Residuals of this many standard deviations count half."""
SMALLEST_SIGMA_PX = 0.01
SMALLEST_EIGENVALUE = 1e-12
"""Of the scaled normal equations: below it is rounding."""
NEAREST_M = 0.02
"""A corner nearer than this to a camera's plane, or behind it, is no solution."""
STEPS, ENOUGH = 30, 1e-6
"""Most steps, and the relative fall of the cost that ends them."""
RADIAL_SIGMA, TANGENTIAL_SIGMA, CENTRE_SIGMA = 1.0, 0.02, 0.15
"""Weak priors: coefficients about 0, the principal point about the middle (in picture widths); they only keep what the
footage does not show from running away."""


@dataclass(frozen=True, eq=False)
class Freedom:
    """What may change, and how far from where it is expected."""

    coefficients: tuple[int, ...]
    """Lens coefficients of each sensor: 0, 5 or 8."""
    focal_sigma: float = np.inf
    """Relative prior of the focal length about its start; for starts that the footage hardly ties down."""
    fixed_sensors: bool = False
    """Only the boards move."""

    def mask(self) -> Bool[np.ndarray, "sensor 18"]:
        """The free unknowns of the sensors."""
        mask = np.ones((len(self.coefficients), PER_SENSOR), bool)
        for sensor, count in enumerate(self.coefficients):
            mask[sensor, :INTRINSIC_COUNT] = free_intrinsics(count)
        return mask & (not self.fixed_sensors)


@dataclass(frozen=True, eq=False)
class Adjusted:
    """Where the adjustment ended."""

    state: RigState
    """Sensors and boards."""
    cost: float
    """Half the robust sum of squares, in standard deviations."""
    steps: int
    """Accepted ones."""


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """J^T W J and -J^T W r, in blocks."""

    sensors: Float[np.ndarray, "sensor 18 18"]
    boards: Float[np.ndarray, "pose 6 6"]
    coupling: Float[np.ndarray, "sensor18 pose6"]
    sensor_side: Float[np.ndarray, "sensor 18"]
    board_side: Float[np.ndarray, "pose 6"]


def adjust(
    problem: BoardViews, start: RigState, freedom: Freedom, sigma_px: Float[np.ndarray, "sensor"], steps: int = STEPS
) -> Adjusted:
    """The state of least robust reprojection error near a start; each sensor's corners have noise `sigma_px`."""
    priors = _priors(problem, start, freedom)
    state, cost = start, _cost(problem, start, sigma_px, priors)
    damping, accepted = 1e-4, 0
    for _ in range(steps):
        equations = _normal_equations(problem, state, sigma_px, priors)
        fall = 0.0
        while damping < 1e8:
            sensor_step, board_step = _solve(equations, state, freedom, damping)
            moved = state.moved(sensor_step, board_step)
            new_cost = _cost(problem, moved, sigma_px, priors)
            if np.isfinite(new_cost) and new_cost < cost:
                fall, state, cost = (cost - new_cost) / cost, moved, new_cost
                damping, accepted = max(damping / 10, 1e-9), accepted + 1
                break
            damping *= 8
        if fall < ENOUGH:
            break
    return Adjusted(state, cost, accepted)


def view_residuals(problem: BoardViews, state: RigState) -> list[Float[np.ndarray, "n 2"]]:
    """Projected minus seen corners of each view, pixels."""
    residuals: list[np.ndarray] = []
    for corners in problem.by_sensor:
        in_camera = _in_camera(problem, state, corners)[1]
        residuals += corners.split(project(in_camera, state.intrinsics[corners.sensor]) - corners.pixels)
    return residuals


def views_in_front(problem: BoardViews, state: RigState) -> BoardViews:
    """Without the views whose board would have to be behind the camera."""
    ahead: list[BoardView] = []
    for corners in problem.by_sensor:
        depths = corners.split(_in_camera(problem, state, corners)[1][:, 2])
        ahead += [view for view, z in zip(corners.views, depths, strict=True) if z.min() > NEAREST_M]
    return problem.with_views(ahead)


def _in_camera(
    problem: BoardViews, state: RigState, corners: SensorCorners
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Corners turned into the rig's frame but not yet moved, and in their camera's frame; metres."""
    board = problem.spec.corners_m[corners.ids]
    turned = (state.board_rotation[corners.pose] @ board[:, :, None])[:, :, 0]
    in_rig = turned + state.board_translation[corners.pose]
    return turned, in_rig @ state.sensor_rotation[corners.sensor].T + state.sensor_translation[corners.sensor]


def noise_of_sensors(problem: BoardViews, residuals: list[np.ndarray]) -> Float[np.ndarray, "sensor"]:
    """Robust standard deviation of each sensor's residuals, pixels; that of all where a sensor saw nothing."""
    everything = np.concatenate(residuals).ravel() if residuals else np.ones(1)
    sigma = np.full(len(problem.sizes_hw), max(1.4826 * float(np.median(np.abs(everything))), SMALLEST_SIGMA_PX))
    for sensor in {view.sensor for view in problem.views}:
        own = [r for view, r in zip(problem.views, residuals, strict=True) if view.sensor == sensor]
        sigma[sensor] = max(1.4826 * float(np.median(np.abs(np.concatenate(own)))), SMALLEST_SIGMA_PX)
    return sigma


def sensor_covariance(
    problem: BoardViews, state: RigState, freedom: Freedom, sigma_px: Float[np.ndarray, "sensor"]
) -> Float[np.ndarray, "sensor 18 18"]:
    """Covariance of each sensor's unknowns, in the frame that leaves the rig as a whole unmoved."""
    equations = _normal_equations(problem, state, sigma_px, _priors(problem, state, freedom))
    reduced, _ = _reduced(equations, state, freedom, 0.0)
    free = np.flatnonzero(freedom.mask().ravel())
    # What nothing fixes must come out as a huge variance, not as an error: clip the spectrum.
    scale = _scale(equations, free)
    values, vectors = np.linalg.eigh(reduced * scale[:, None] * scale)
    vectors = vectors * scale[:, None] / np.sqrt(np.maximum(values, SMALLEST_EIGENVALUE))
    full = np.zeros((freedom.mask().size, len(values)))
    full[free] = vectors
    blocks = full.reshape(-1, PER_SENSOR, len(values))
    return blocks @ blocks.transpose(0, 2, 1)


def centre_covariance(
    state: RigState, covariance: Float[np.ndarray, "sensor 18 18"]
) -> Float[np.ndarray, "sensor 3 3"]:
    """Covariance of the sensors' centres, square metres: C = -R^T t, dC = -R^T (dt + [t]x dw)."""
    turned = state.sensor_rotation.transpose(0, 2, 1)
    jacobian = -np.concatenate([turned @ cross_matrices(state.sensor_translation), turned], axis=2)
    return jacobian @ covariance[:, INTRINSIC_COUNT:, INTRINSIC_COUNT:] @ jacobian.transpose(0, 2, 1)


def _priors(
    problem: BoardViews, start: RigState, freedom: Freedom
) -> tuple[Float[np.ndarray, "sensor 12"], Float[np.ndarray, "sensor 12"]]:
    """Expected intrinsics and one over their standard deviations."""
    expected, weight = np.zeros_like(start.intrinsics), np.zeros_like(start.intrinsics)
    for sensor, (rows, columns) in enumerate(problem.sizes_hw):
        focal = start.intrinsics[sensor, :2]
        expected[sensor, :4] = *focal, columns / 2, rows / 2
        weight[sensor, :2] = 1 / (focal * freedom.focal_sigma)
        weight[sensor, 2:4] = 1 / (CENTRE_SIGMA * columns)
        weight[sensor, 4:] = 1 / RADIAL_SIGMA
        weight[sensor, 6:8] = 1 / TANGENTIAL_SIGMA
    return expected, weight


def _cost(problem: BoardViews, state: RigState, sigma_px: np.ndarray, priors: tuple[np.ndarray, np.ndarray]) -> float:
    expected, weight = priors
    total = float((((state.intrinsics - expected) * weight) ** 2).sum())
    for corners in problem.by_sensor:
        in_camera = _in_camera(problem, state, corners)[1]
        if in_camera[:, 2].min() < NEAREST_M:
            return np.inf
        residual = project(in_camera, state.intrinsics[corners.sensor]) - corners.pixels
        squares = (residual**2).sum(1) / sigma_px[corners.sensor] ** 2
        total += CAUCHY**2 * float(np.log1p(squares / CAUCHY**2).sum())
    return total / 2


def _normal_equations(
    problem: BoardViews, state: RigState, sigma_px: np.ndarray, priors: tuple[np.ndarray, np.ndarray]
) -> NormalEquations:
    sensors, poses = len(problem.sizes_hw), problem.pose_count
    expected, prior_weight = priors
    blocks, side = np.zeros((sensors, PER_SENSOR, PER_SENSOR)), np.zeros((sensors, PER_SENSOR))
    boards, board_side = np.zeros((poses, PER_POSE, PER_POSE)), np.zeros((poses, PER_POSE))
    coupling = np.zeros((sensors, PER_SENSOR, poses, PER_POSE))
    diagonal = np.arange(INTRINSIC_COUNT)
    blocks[:, diagonal, diagonal] += prior_weight**2
    side[:, :INTRINSIC_COUNT] -= prior_weight**2 * (state.intrinsics - expected)
    for corners in problem.by_sensor:
        sensor = corners.sensor
        jacobian = _weighted_jacobian(problem, state, corners, float(sigma_px[sensor]))
        for view, rows in zip(corners.views, corners.split(jacobian), strict=True):
            rows = rows.reshape(-1, PER_SENSOR + PER_POSE + 1)
            product = rows.T @ rows
            blocks[sensor] += product[:PER_SENSOR, :PER_SENSOR]
            side[sensor] -= product[:PER_SENSOR, -1]
            boards[view.pose] += product[PER_SENSOR:-1, PER_SENSOR:-1]
            board_side[view.pose] -= product[PER_SENSOR:-1, -1]
            coupling[sensor, :, view.pose] = product[:PER_SENSOR, PER_SENSOR:-1]
    flat = coupling.reshape(sensors * PER_SENSOR, poses * PER_POSE)
    return NormalEquations(blocks, boards, flat, side, board_side)


def _weighted_jacobian(
    problem: BoardViews, state: RigState, corners: SensorCorners, sigma_px: float
) -> Float[np.ndarray, "n 2 25"]:
    """Derivatives by sensor and board, and the residual, of all corners of one sensor, times the root of the weight."""
    sensor = corners.sensor
    turned, in_camera = _in_camera(problem, state, corners)
    pixels, by_intrinsics, by_point = project_with_derivatives(in_camera, state.intrinsics[sensor])
    residual = pixels - corners.pixels
    squares = (residual**2).sum(1) / sigma_px**2
    root_weight = 1 / (sigma_px * np.sqrt(1 + squares / CAUCHY**2))
    by_rig = by_point @ state.sensor_rotation[sensor]
    parts = (
        by_intrinsics,
        -by_point @ cross_matrices(in_camera - state.sensor_translation[sensor]),
        by_point,
        -by_rig @ cross_matrices(turned),
        by_rig,
        residual[:, :, None],
    )
    return np.concatenate(parts, axis=2) * root_weight[:, None, None]


def _reduced(
    equations: NormalEquations, state: RigState, freedom: Freedom, damping: float
) -> tuple[Float[np.ndarray, "free free"], Float[np.ndarray, "pose 6 6"]]:
    """The sensors' system after eliminating the boards, its gauge held, and the boards' inverse blocks."""
    inverse = np.linalg.inv(_damped(equations.boards, damping))
    free = np.flatnonzero(freedom.mask().ravel())
    sensors = len(equations.sensors)
    reduced = np.zeros((sensors, PER_SENSOR, sensors, PER_SENSOR))
    reduced[np.arange(sensors), :, np.arange(sensors)] = _damped(equations.sensors, damping)
    coupling = equations.coupling[free]
    poses = len(inverse)
    weighted = np.einsum("fpi,pij->fpj", coupling.reshape(-1, poses, PER_POSE), inverse).reshape(coupling.shape)
    flat = reduced.reshape(sensors * PER_SENSOR, -1)[np.ix_(free, free)] - weighted @ coupling.T
    gauge = _gauge(state)[free]
    held = float(np.median(np.diag(flat)[np.arange(len(free))])) if len(free) else 0.0
    return flat + held * (gauge @ gauge.T), inverse


def _solve(
    equations: NormalEquations, state: RigState, freedom: Freedom, damping: float
) -> tuple[Float[np.ndarray, "sensor 18"], Float[np.ndarray, "pose 6"]]:
    free = np.flatnonzero(freedom.mask().ravel())
    sensor_step = np.zeros(freedom.mask().size)
    if len(free):
        reduced, inverse = _reduced(equations, state, freedom, damping)
        poses = np.einsum("pij,pj->pi", inverse, equations.board_side)
        side = equations.sensor_side.ravel()[free] - equations.coupling[free] @ poses.ravel()
        sensor_step[free] = _positive_solve(reduced, side, _scale(equations, free))
    else:
        inverse = np.linalg.inv(_damped(equations.boards, damping))
    rest = equations.board_side - (equations.coupling.T @ sensor_step).reshape(-1, PER_POSE)
    return sensor_step.reshape(-1, PER_SENSOR), np.einsum("pij,pj->pi", inverse, rest)


def _scale(equations: NormalEquations, free: Int[np.ndarray, "free"]) -> Float[np.ndarray, "free"]:
    """Of unknowns, so that their own information is 1 (focal lengths and rotations differ by 10^6).

    It is taken before the boards are eliminated: what cancels afterwards is then visibly small.
    """
    diagonal = np.diagonal(equations.sensors, axis1=1, axis2=2).ravel()[free]
    return 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))


def _positive_solve(matrix: np.ndarray, side: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Solve in scaled unknowns; by least squares if the matrix is not positive."""
    scaled = matrix * scale[:, None] * scale
    try:
        return scale * cho_solve(cho_factor(scaled, overwrite_a=False), scale * side)
    except np.linalg.LinAlgError:
        return scale * np.linalg.lstsq(scaled, scale * side, rcond=1e-12)[0]


def _damped(blocks: Float[np.ndarray, "n k k"], damping: float) -> Float[np.ndarray, "n k k"]:
    damped = blocks.copy()
    diagonal = np.arange(blocks.shape[1])
    values = blocks[:, diagonal, diagonal]
    # An unseen board or sensor has a zero block; one keeps it where it is.
    damped[:, diagonal, diagonal] = np.where(values > 0, values * (1 + damping) + 1e-12, 1.0)
    return damped


def _gauge(state: RigState) -> Float[np.ndarray, "sensor18 6"]:
    """Orthonormal steps of the sensors that move the rig as a whole: nothing seen changes along them."""
    directions = np.zeros((len(state.intrinsics), PER_SENSOR, 6))
    directions[:, 12:15, :3] = -state.sensor_rotation
    directions[:, 15:, 3:] = -state.sensor_rotation
    return np.linalg.qr(directions.reshape(-1, 6))[0]
