"""What a view says about space: tangent-plane distance, and the same from the kernel that asks all views."""

import numpy as np
import pytest
import torch

from recon.fusion.depth_view import DepthView, DistanceView
from recon.fusion.tsdf import FusionConfig, integrated
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


@pytest.mark.parametrize("device", ["cpu"])
def test_the_kernel_says_of_every_voxel_what_the_views_say(device: str) -> None:
    rng = np.random.default_rng(3)
    views = []
    for angle, lens in ((20.0, LENS), (-35.0, None), (160.0, LENS)):
        camera = depth_camera("d", angle, 0.6, lens)
        depth = sphere_depth(camera) * rng.normal(1, 2e-3, camera.image_size_hw).astype(np.float32)
        depth[rng.random(depth.shape) < 0.05] = 0
        views.append(DistanceView.of(DepthView(camera, depth)))
    config = FusionConfig()
    about = np.floor(CENTRE / config.block_size_m).astype(np.int32)
    blocks = about + np.stack(np.meshgrid(*[np.arange(-7, 8, dtype=np.int32)] * 3), -1).reshape(-1, 3)
    mean, total = integrated(views, blocks, config, torch.device(device))
    z, y, x = np.meshgrid(*[np.arange(8)] * 3, indexing="ij")
    places = (blocks[:, None] * 8 + np.stack([x, y, z], -1).reshape(-1, 3)).reshape(-1, 3) * config.voxel_size_m
    moment, weights = np.zeros(len(places)), np.zeros(len(places))
    for view in views:
        points = (view.camera.world_from_camera.inverse() @ places).astype(np.float32)
        distance, weight = view.distance((points[:, 0], points[:, 1], points[:, 2]), config.band_m)
        moment += weight * np.minimum(distance / config.band_m, 1)
        weights += weight
    seen = weights > 0
    assert 0.2 < seen.mean() < 0.9
    # Rounding may send a voxel to the next pixel, or to the other side of the band's end.
    alike = np.isclose(total.ravel(), weights, rtol=1e-3)
    assert alike.mean() > 0.999
    apart = np.abs(mean.ravel() - moment / np.maximum(weights, 1e-12))[seen & alike]
    assert np.percentile(apart, 99.5) < 1e-3
