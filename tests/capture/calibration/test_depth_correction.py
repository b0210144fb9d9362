"""Scale and offset of a depth sensor: recovered, with a confidence that holds, and no more than the footage tells."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from capture.calibration.depth_correction import DepthSamples, fit_depth_correction, sample_depth
from geometry.cameras import Camera
from geometry.transforms import RigidTransform

SCALE, OFFSET_M = 1.004, -0.0021


def samples(distances_m, noise_m, seed, pose_noise_m=0.0):
    """A sensor that measures (true - offset) / scale, with noise that is white and one that a picture shares."""
    random = np.random.default_rng(seed)
    found = []
    for distance in distances_m:
        true = distance + random.uniform(-0.02, 0.02, 800)
        measured = (true - OFFSET_M) / SCALE + random.normal(0, noise_m, 800) + random.normal(0, pose_noise_m)
        found.append(DepthSamples(measured, true))
    return found


def test_scale_and_offset_come_back_from_a_range_of_distances_noise_does_not_bend_them():
    found = fit_depth_correction(samples(np.linspace(0.6, 1.1, 25), 0.004, seed=1))
    assert found is not None
    assert found.scale == pytest.approx(SCALE, abs=3e-4)
    assert found.offset_m == pytest.approx(OFFSET_M, abs=3e-4)
    assert found.before_mm > 1 and found.after_mm < 0.3


def test_the_confidence_counts_pictures_not_pixels():
    ratios = []
    for seed in range(40):
        found = fit_depth_correction(samples(np.linspace(0.6, 1.1, 20), 0.002, seed, pose_noise_m=0.0005))
        assert found is not None
        ratios.append((found.scale - SCALE) / found.scale_sigma)
    assert 0.7 < np.sqrt(np.mean(np.square(ratios))) < 1.5


def test_distances_that_are_alike_give_an_offset_alone():
    found = fit_depth_correction(samples(np.linspace(0.78, 0.82, 12), 0.002, seed=3))
    assert found is not None and found.scale == 1.0 and found.scale_sigma == 0.0
    corrected = (0.8 - OFFSET_M) / SCALE + found.offset_m
    assert corrected == pytest.approx(0.8, abs=2e-4)


def test_a_hand_before_the_board_does_not_count():
    good = samples(np.linspace(0.6, 1.1, 20), 0.002, seed=4)
    for sample in good:
        sample.measured_m[:150] -= 0.05
    found = fit_depth_correction(good)
    assert found is not None and found.scale == pytest.approx(SCALE, abs=2e-3)


def test_too_few_pictures_give_nothing():
    assert fit_depth_correction(samples([0.7, 0.8], 0.002, seed=5)) is None


def test_a_tilted_board_is_compared_with_its_plane_at_each_pixel():
    K = np.array([[500.0, 0, 160.4], [0, 500.0, 120.9], [0, 0, 1]])
    lens = np.array([0.12, -0.06, 2e-4, -1e-4, 0.01, 0.10, -0.05, 0.008])
    camera = Camera("d", "m", "depth", (240, 320), K, lens, RigidTransform.identity(), depth_unit_m=1e-4)
    rotation = Rotation.from_euler("xy", [0.5, -0.4]).as_matrix()
    pose = RigidTransform(rotation, np.array([-0.05, -0.04, 0.7]))
    rays = np.concatenate([camera.pixel_grid_normalised(), np.ones((240, 320, 1))], -1)
    depth = (rotation[:, 2] @ pose.translation) / (rays @ rotation[:, 2])
    corners = camera.project(pose @ np.array([[0, 0, 0], [0.15, 0, 0], [0.15, 0.1, 0], [0, 0.1, 0.0]]))[0]
    found = sample_depth(camera, rays[..., :2], np.round(depth / 1e-4).astype(np.uint16), corners, pose)
    assert found is not None
    assert np.abs(found.measured_m - found.true_m).max() < 1e-4
    assert np.ptp(found.true_m) > 0.02
    empty = np.zeros((240, 320), np.uint16)
    assert sample_depth(camera, rays[..., :2], empty, corners, pose) is None
