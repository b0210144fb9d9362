"""Lens distortion leaves, nothing is invented."""

import numpy as np

from recon.depth.pinhole import bilinear_depth, to_pinhole
from tests.recon.analytic_scene import LENS, depth_camera, sphere_depth


def test_undistorted_depth_is_what_a_pinhole_would_have_seen() -> None:
    camera = depth_camera("d", 15.0, 0.5, LENS)
    depth, pinhole = to_pinhole(sphere_depth(camera), camera, 0.02)
    assert not pinhole.distortion.size and depth.shape == pinhole.image_size_hw
    true = sphere_depth(pinhole)
    both = (depth > 0) & (true > 0)
    assert np.count_nonzero(both) > 0.99 * np.count_nonzero(true)
    assert np.median(np.abs(depth - true)[both]) < 5e-6
    assert np.percentile(np.abs(depth - true)[both], 95) < 2e-4


def test_the_whole_field_of_view_stays() -> None:
    camera = depth_camera("d", 15.0, 0.5, LENS)
    depth, pinhole = to_pinhole(np.full(camera.image_size_hw, 0.7, np.float32), camera, 0.02)
    points, there = pinhole.unproject_depth(depth)
    corners = camera.pixels_to_normalised(np.array([[1.0, 1.0], [319.0, 239.0], [1.0, 239.0], [319.0, 1.0]]))
    seen = (pinhole.world_from_camera.inverse() @ points[there])[:, :2] / 0.7
    for corner in corners:
        assert np.linalg.norm(seen - corner, axis=1).min() < 2 / 380


def test_no_depth_between_two_surfaces() -> None:
    depth = np.full((20, 20), 0.5, np.float32)
    depth[:, 10:] = 0.9
    depth[5:8, 5:8] = 0
    x, y = np.meshgrid(np.linspace(0, 19.99, 200, dtype=np.float32), np.linspace(0, 19.99, 200, dtype=np.float32))
    value, there = bilinear_depth(depth, x.ravel(), y.ravel(), 0.05)
    assert np.isin(value[there].round(5), np.array([0.5, 0.9], np.float32).round(5)).all()
    assert np.array_equal(there, value > 0) and not there.all()


def test_planes_interpolate_exactly() -> None:
    camera = depth_camera("d", 15.0, 0.5)
    normal = np.array([0.4, -0.3, 1.0])
    columns, rows = np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5)

    def plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        ray = np.stack(
            [(x - camera.K[0, 2]) / camera.K[0, 0], (y - camera.K[1, 2]) / camera.K[1, 1], np.ones_like(x)], -1
        )
        return 0.6 / (ray @ normal)

    rng = np.random.default_rng(0)
    x, y = rng.uniform(1, 319, 500), rng.uniform(1, 239, 500)
    depth = plane(columns, rows).astype(np.float32)
    value, there = bilinear_depth(depth, x.astype(np.float32), y.astype(np.float32), 0.02)
    assert there.all() and np.abs(value - plane(x, y)).max() < 1e-6


def test_outside_the_picture_there_is_nothing() -> None:
    outside = np.array([-0.1, 4.1, 2.0, 2.0, np.inf], np.float32), np.array([1.0, 1.0, -0.1, 3.1, 1.0], np.float32)
    value, there = bilinear_depth(np.ones((3, 4), np.float32), *outside, 0.02)
    assert not there.any() and not value.any()
