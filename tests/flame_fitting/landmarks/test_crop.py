"""Rotated squares: maps that invert each other, and sampling that agrees with them to sub-pixel accuracy."""

import cv2
import numpy as np
import pytest
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.crop import Square, letterbox, sample_square


def _spot(size_hw: tuple[int, int], centre: Float[np.ndarray, "2"], sigma_px: float) -> UInt8[np.ndarray, "h w 3"]:
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    value = 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma_px**2))
    return np.repeat(np.round(value).astype(np.uint8)[..., None], 3, axis=2)


def _centroid(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "2"]:
    weight = image[..., 0].astype(float)
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("angle_deg", [0, 17, 90, -135, 180])
def test_points_come_back_through_a_square(angle_deg: float) -> None:
    square = Square(centre_px=(310.0, 77.5), side_px=203.0, angle_rad=float(np.deg2rad(angle_deg)))
    points = np.random.default_rng(1).uniform(-500, 1500, (50, 2))
    np.testing.assert_allclose(square.to_image(square.from_image(points)), points, atol=1e-9)
    np.testing.assert_allclose(square.to_image(np.array([[0.5, 0.5]])), [[310.0, 77.5]], atol=1e-9)
    x_axis = np.diff(square.to_image(np.array([[0.0, 0.0], [1.0, 0.0]])), axis=0)[0]
    expected = 203 * np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))])
    np.testing.assert_allclose(x_axis, expected, atol=1e-9)


@pytest.mark.parametrize("size_hw", [(720, 1280), (1280, 720), (5, 5)])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_letterbox_holds_the_whole_image_and_touches_it(size_hw: tuple[int, int], turns: int) -> None:
    height, width = size_hw
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=float)
    inside = letterbox(size_hw, turns * np.pi / 2).from_image(corners)
    np.testing.assert_allclose((inside.min(axis=0) + inside.max(axis=0)) / 2, [0.5, 0.5], atol=1e-9)
    assert np.ptp(inside, axis=0).max() == pytest.approx(1)


# Sides below, at and far above the 128 pixels of the crop, so that both ways of sampling are covered.
@pytest.mark.parametrize("side_px", [60.0, 128.0, 250.0, 400.0, 1111.0])
@pytest.mark.parametrize("angle_deg", [0, 33, 90, -170])
def test_a_spot_is_sampled_where_the_map_says(side_px: float, angle_deg: float) -> None:
    square = Square(centre_px=(411.3, 300.8), side_px=side_px, angle_rad=float(np.deg2rad(angle_deg)))
    target = np.array([[0.55, 0.42]])
    image = _spot((640, 800), square.to_image(target)[0], sigma_px=0.04 * side_px)
    found = _centroid(sample_square(image, square, 128, cv2.BORDER_CONSTANT)) / 128
    np.testing.assert_allclose(found * 128, target[0] * 128, atol=0.02)


def test_an_exact_crop_copies_pixels() -> None:
    image = np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    square = Square(centre_px=(20.0, 16.0), side_px=16.0, angle_rad=0.0)
    np.testing.assert_array_equal(sample_square(image, square, 16, cv2.BORDER_CONSTANT), image[8:24, 12:28])


def test_reduction_averages_instead_of_skipping_pixels() -> None:
    image = np.zeros((1280, 1280, 3), dtype=np.uint8)
    image[::2, ::2] = 200
    sampled = sample_square(image, letterbox((1280, 1280)), 128, cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(sampled, 50)


@pytest.mark.parametrize("side_px", [30.0, 3000.0])
def test_outside_the_image_is_border(side_px: float) -> None:
    image = np.full((20, 30, 3), 90, dtype=np.uint8)
    square = Square(centre_px=(-1e5, 40.0), side_px=side_px, angle_rad=0.3)
    assert sample_square(image, square, 64, cv2.BORDER_CONSTANT).max() == 0
    assert np.unique(sample_square(image, square, 64, cv2.BORDER_REPLICATE)).tolist() == [90]
