"""What a view says about space: tangent-plane distance, and a test of reach that never misses."""

import numpy as np

from recon.fusion.depth_view import DepthView, DistanceView
from tests.recon.analytic_scene import CENTRE, LENS, RADIUS_M, depth_camera, sphere_depth


def _view(lens: np.ndarray | None = None) -> DistanceView:
    camera = depth_camera("d", 20.0, 0.6, lens)
    return DistanceView.of(DepthView(camera, sphere_depth(camera)))


def test_distance_is_to_the_surface_and_not_along_the_ray() -> None:
    view = _view(LENS)
    towards = view.camera.centre_world - CENTRE
    towards /= np.linalg.norm(towards)
    aside = np.cross(towards, [0, 1, 0])
    aside /= np.linalg.norm(aside)
    for angle in (0.0, 0.4, 0.8):
        normal = np.cos(angle) * towards + np.sin(angle) * aside
        for offset in (-0.002, 0.0, 0.002):
            point = (CENTRE + (RADIUS_M + offset) * normal)[None]
            x, y, z = (view.camera.world_from_camera.inverse() @ point).astype(np.float32).T
            distance, weight = view.distance((x, y, z), 0.01)
            assert abs(distance[0] - offset) < 1.5e-4, (angle, offset, distance[0])
            assert weight[0] > 0


def test_nothing_behind_the_band_or_beside_the_picture_has_weight() -> None:
    view = _view()
    camera_from_world = view.camera.world_from_camera.inverse()
    behind, beside = CENTRE[None], (view.camera.world_from_camera @ np.array([[5.0, 0.0, 0.5]]))
    for point in (behind, beside):
        x, y, z = (camera_from_world @ point).astype(np.float32).T
        assert view.distance((x, y, z), 0.01)[1][0] == 0


def test_whatever_has_weight_is_in_reach() -> None:
    view = _view(LENS)
    rng = np.random.default_rng(0)
    balls = CENTRE + rng.uniform(-0.35, 0.35, (4000, 3))
    radius = 0.012
    reached = view.may_reach(balls, radius, 0.01)
    inside = rng.normal(size=(40, 3))
    inside *= radius * rng.random((40, 1)) / np.linalg.norm(inside, axis=1, keepdims=True)
    points = (balls[:, None] + inside).reshape(-1, 3)
    x, y, z = (view.camera.world_from_camera.inverse() @ points).astype(np.float32).T
    weight = view.distance((x, y, np.maximum(z, np.float32(0.01))), 0.01)[1] * (z > 0.01)
    needed = weight.reshape(len(balls), -1).max(1) > 0
    assert needed.any() and not (needed & ~reached).any()
    assert reached.mean() < 0.8, "a test of reach that says yes to everything saves nothing"
