"""A first guess of the whole rig: each sensor alone, then from neighbour to neighbour over poses that both saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from capture.calibration.board_views import BoardView, BoardViews
from capture.calibration.lens import K_of, intrinsics_of, project
from capture.calibration.rig_adjustment import Adjusted, Freedom, adjust, noise_of_sensors, view_residuals
from capture.calibration.rig_state import RigState
from geometry.cameras import GUESSED_FOCAL, Camera
from geometry.errors import InputError
from geometry.transforms import RigidTransform

FEWEST_VIEWS = 3
"""Per sensor: a plane's homography gives two constraints on the intrinsics, of which there are four and a lens."""
VIEWS_ALONE = 14
"""With which a sensor is initialised; the whole rig uses all."""
FOCAL_WIDTHS = (0.4, 5.0)
"""Focal lengths, in picture widths, that a first guess is believed in."""
ALONE_FOCAL_SIGMA = 0.5
ALONE_STEPS = 15
FEWEST_SHARED_POSES = 2
"""Between two sensors, for one to be placed from the other."""


def initialise_sensor(problem: BoardViews, sensor: int, camera: Camera, coefficients: int) -> Adjusted:
    """Intrinsics of one sensor from some of its views, in a problem of its own.

    Zhang's closed form starts it where it is plausible, else a usual lens; a camera that is calibrated starts from
    its own K. Raises InputError if there are too few views.
    """
    views = spread_views(problem.of_sensor(sensor), VIEWS_ALONE)
    if len(views) < FEWEST_VIEWS:
        raise InputError(
            f"at least {FEWEST_VIEWS} pictures of {camera.id} that show the board ({problem.spec})",
            f"{len(views)}",
            "show the board to this camera too, check --board and the exposure, or leave the camera out",
        )
    alone = problem.alone(sensor, views)
    candidates = [
        _adjust_alone(alone, values, coefficients) for values in _first_intrinsics(alone, camera, coefficients)
    ]
    return min(candidates, key=lambda adjusted: adjusted.cost)


def _adjust_alone(alone: BoardViews, intrinsics: Float[np.ndarray, "12"], coefficients: int) -> Adjusted:
    poses = [camera_from_board(view, alone, intrinsics) for view in alone.views]
    start = RigState(
        intrinsics[None],
        np.eye(3)[None],
        np.zeros((1, 3)),
        np.stack([pose.rotation for pose in poses]),
        np.stack([pose.translation for pose in poses]),
    )
    # First without the higher coefficients, which a poor start would misuse.
    calm = Freedom((min(coefficients, 5),), ALONE_FOCAL_SIGMA)
    adjusted = adjust(alone, start, calm, np.full(1, 1.0), ALONE_STEPS)
    sigma = noise_of_sensors(alone, view_residuals(alone, adjusted.state))
    return replace(adjust(alone, adjusted.state, calm, np.maximum(sigma, 0.2), ALONE_STEPS))


def _first_intrinsics(alone: BoardViews, camera: Camera, coefficients: int) -> list[Float[np.ndarray, "12"]]:
    rows, columns = alone.sizes_hw[0]
    if camera.is_calibrated:
        return [intrinsics_of(camera.K, camera.distortion[:8] if coefficients else np.zeros(0))]
    corners = [alone.spec.corners_m[view.ids].astype(np.float32) for view in alone.views]
    pixels = [(view.pixels - 0.5).astype(np.float32) for view in alone.views]
    K = cv2.initCameraMatrix2D(corners, pixels, (columns, rows), 1.0)  # type: ignore[arg-type]
    zhang = float(K[0, 0]) / columns
    believed = np.isfinite(zhang) and FOCAL_WIDTHS[0] < zhang < FOCAL_WIDTHS[1]
    widths = [zhang] if believed else [0.7, GUESSED_FOCAL, 2.0]
    return [np.array([w * columns, w * columns, columns / 2, rows / 2, *np.zeros(8)]) for w in widths]


def spread_views(views: Sequence[BoardView], count: int) -> list[BoardView]:
    """At most so many views with many corners, evenly over the recording."""
    if not views:
        return []
    enough = 0.6 * max(len(view.ids) for view in views)
    rich = [view for view in views if len(view.ids) >= enough]
    if len(rich) < min(count, len(views)):
        rich = sorted(views, key=lambda view: -len(view.ids))[:count]
    places = np.unique(np.linspace(0, len(rich) - 1, min(count, len(rich))).round().astype(int))
    return [rich[place] for place in places]


def camera_from_board(view: BoardView, problem: BoardViews, intrinsics: Float[np.ndarray, "12"]) -> RigidTransform:
    """The board's pose in a view by OpenCV's planar solver, the better of its two solutions."""
    corners = problem.spec.corners_m[view.ids]
    pixels = np.ascontiguousarray(view.pixels).reshape(-1, 1, 2)
    K = K_of(intrinsics)  # pixels and K share our convention, so OpenCV's own cancels
    flat = cv2.undistortPoints(pixels, K, intrinsics[4:], P=np.eye(3))
    best, least = None, np.inf
    _, rotations, translations, _ = cv2.solvePnPGeneric(corners, flat, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
    for rotation, translation in zip(rotations, translations, strict=True):
        pose = RigidTransform.from_rotvec(rotation.ravel(), translation.ravel())
        error = float((np.abs(project(pose @ corners, intrinsics) - view.pixels)).mean())
        if translation[2, 0] > 0 and error < least:
            best, least = pose, error
    return best or RigidTransform(np.eye(3), np.array([0.0, 0.0, 1.0]))


def initialise_rig(problem: BoardViews, intrinsics: Float[np.ndarray, "sensor 12"], names: Sequence[str]) -> RigState:
    """Every sensor and board pose in the frame of the sensor that shares most, from intrinsics of each.

    Sensors are reached along the spanning tree with most shared poses; each step is the robust mean of what the shared
    poses say. Raises InputError that names the groups if no shared poses connect them.
    """
    seen = problem.seen()
    parents, order = _spanning_tree(seen, names)
    by_sensor = {
        (view.sensor, view.pose): camera_from_board(view, problem, intrinsics[view.sensor]) for view in problem.views
    }
    camera_from_rig: dict[int, RigidTransform] = {int(order[0]): RigidTransform.identity()}
    for sensor in order[1:].tolist():
        parent = int(parents[sensor])
        shared = np.flatnonzero(seen[sensor] & seen[parent]).tolist()
        steps = [by_sensor[sensor, p].compose(by_sensor[parent, p].inverse()) for p in shared]
        camera_from_rig[sensor] = robust_mean(steps).compose(camera_from_rig[parent])
    boards = []
    for pose in range(problem.pose_count):
        sensors = np.flatnonzero(seen[:, pose]).tolist()
        told = [camera_from_rig[s].inverse().compose(by_sensor[s, pose]) for s in sensors]
        boards.append(robust_mean(told) if told else RigidTransform.identity())
    ordered = [camera_from_rig[sensor] for sensor in range(len(problem.sizes_hw))]
    return RigState(
        intrinsics,
        np.stack([transform.rotation for transform in ordered]),
        np.stack([transform.translation for transform in ordered]),
        np.stack([board.rotation for board in boards]),
        np.stack([board.translation for board in boards]),
    )


def robust_mean(transforms: Sequence[RigidTransform]) -> RigidTransform:
    """Chordal mean of those near the medoid; a planar pose that flipped is left out."""
    rotations = np.stack([transform.rotation for transform in transforms])
    translations = np.stack([transform.translation for transform in transforms])
    angle = np.arccos(((np.einsum("aij,bij->ab", rotations, rotations) - 1) / 2).clip(-1, 1))
    apart = angle + np.linalg.norm(translations[:, None] - translations[None], axis=2)
    medoid = int(np.argmin(np.median(apart, axis=1)))
    near = apart[medoid] <= max(3 * float(np.median(apart[medoid])), 1e-6)
    u, _, vt = np.linalg.svd(rotations[near].sum(0))
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return RigidTransform(rotation, translations[near].mean(0))


def _spanning_tree(
    seen: np.ndarray, names: Sequence[str]
) -> tuple[Int[np.ndarray, "sensor"], Int[np.ndarray, "sensor"]]:
    """The parent of each sensor, and an order in which parents come first."""
    shared = seen.astype(np.int64) @ seen.T.astype(np.int64)
    np.fill_diagonal(shared, 0)
    shared[shared < FEWEST_SHARED_POSES] = 0
    graph = csr_array(np.where(shared > 0, 1.0 / np.maximum(shared, 1), 0.0))
    count, group = connected_components(graph, directed=False)
    if count > 1:
        groups = [[names[s] for s in np.flatnonzero(group == g).tolist()] for g in range(count)]
        groups.sort(key=len, reverse=True)
        got = "; ".join(_short_list(names_of) for names_of in groups)
        raise InputError(
            f"all cameras connected by at least {FEWEST_SHARED_POSES} poses of the board that two of them saw",
            f"{count} groups that share none: {got}",
            "hold the board where a camera of each group sees it at once, more often and turned between them",
        )
    root = int(np.argmax(shared.sum(1)))
    tree = minimum_spanning_tree(graph)
    order, parents = breadth_first_order(tree + tree.T, root, directed=False)
    return parents, order


def _short_list(names: Sequence[str]) -> str:
    return f"{{{', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}}}"
