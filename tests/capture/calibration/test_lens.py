"""The lens and its derivatives against OpenCV's and against differences."""

import cv2
import numpy as np
import pytest

from capture.calibration.lens import free_intrinsics, intrinsics_of, project, project_with_derivatives

LENSES = [(), (0.08, -0.12, 4e-4, -3e-4, 0.03), (0.12, -0.06, 2e-4, -1e-4, 0.01, 0.10, -0.05, 0.008)]


def example(lens):
    K = np.array([[913.0, 0, 641.7], [0, 907.0, 357.7], [0, 0, 1]])
    points = np.random.default_rng(3).uniform([-0.4, -0.3, 0.7], [0.4, 0.3, 1.4], (40, 3))
    return K, points, intrinsics_of(K, np.array(lens))


@pytest.mark.parametrize("lens", LENSES)
def test_pixels_are_those_of_opencv_with_k_less_half_a_pixel_and_half_a_pixel_added(lens):
    K, points, intrinsics = example(lens)
    opencv_K = K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), opencv_K, np.array(lens) if lens else None)
    np.testing.assert_allclose(project(points, intrinsics), expected.reshape(-1, 2) + 0.5, atol=1e-9)


@pytest.mark.parametrize("lens", LENSES)
def test_derivatives_are_those_of_differences(lens):
    _, points, intrinsics = example(lens)
    _, by_intrinsics, by_points = project_with_derivatives(points, intrinsics)
    for column in range(12):
        step = np.zeros(12)
        step[column] = 1e-3 if column < 4 else 1e-6
        difference = (project(points, intrinsics + step) - project(points, intrinsics - step)) / (2 * step[column])
        np.testing.assert_allclose(by_intrinsics[:, :, column], difference, rtol=1e-5, atol=1e-4)
    for axis in range(3):
        step = 1e-6 * np.eye(3)[axis]
        difference = (project(points + step, intrinsics) - project(points - step, intrinsics)) / 2e-6
        np.testing.assert_allclose(by_points[:, :, axis], difference, rtol=1e-5, atol=1e-3)


def test_a_lens_of_five_leaves_the_denominator_alone_and_thin_prisms_are_refused():
    assert free_intrinsics(5).sum() == 9 and free_intrinsics(0).sum() == 4 and free_intrinsics(8).all()
    with pytest.raises(ValueError, match="thin prism"):
        intrinsics_of(np.eye(3), np.ones(14))
