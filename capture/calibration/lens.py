"""OpenCV's lens with up to eight coefficients, and its derivatives: 12 intrinsics a sensor."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

INTRINSICS = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
"""Order of a sensor's intrinsics; pixel centres at +0.5, coefficients in OpenCV's order."""
INTRINSIC_COUNT = len(INTRINSICS)
SMALLEST_Z = 1e-6
"""Metres; keeps points behind the camera finite."""


def free_intrinsics(coefficients: int) -> Bool[np.ndarray, "12"]:
    """Which of the intrinsics a lens of 0, 5 or 8 coefficients leaves free."""
    free = np.zeros(INTRINSIC_COUNT, bool)
    free[: 4 + coefficients] = True
    return free


def intrinsics_of(K: Float[np.ndarray, "3 3"], distortion: Float[np.ndarray, "d"]) -> Float[np.ndarray, "12"]:
    """A camera's K and coefficients as one vector; coefficients beyond the eighth must be zero."""
    if distortion.size > 8 and np.any(distortion[8:]):
        raise ValueError("thin prism and tilt terms are not solved for")
    values = np.zeros(INTRINSIC_COUNT)
    values[:4] = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    values[4 : 4 + min(distortion.size, 8)] = distortion[:8]
    return values


def K_of(intrinsics: Float[np.ndarray, "12"]) -> Float[np.ndarray, "3 3"]:
    """K with pixel centres at +0.5."""
    fx, fy, cx, cy = intrinsics[:4]
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def project(points_camera: Float[np.ndarray, "n 3"], intrinsics: Float[np.ndarray, "12"]) -> Float[np.ndarray, "n 2"]:
    """Pixels of points in the camera's frame; points behind it land far outside."""
    fx, fy, cx, cy, k1, k2, p1, p2, k3, k4, k5, k6 = intrinsics.tolist()
    z = np.maximum(points_camera[:, 2], SMALLEST_Z)
    x, y = points_camera[:, 0] / z, points_camera[:, 1] / z
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([fx * xd + cx, fy * yd + cy], axis=1)


def project_with_derivatives(
    points_camera: Float[np.ndarray, "n 3"], intrinsics: Float[np.ndarray, "12"]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2 12"], Float[np.ndarray, "n 2 3"]]:
    """Pixels, and their derivatives by the intrinsics and by the points.

    Source: OpenCV, calib3d, detailed description: radial (rational) and tangential terms.
    """
    fx, fy, cx, cy, k1, k2, p1, p2, k3, k4, k5, k6 = intrinsics.tolist()
    z = np.maximum(points_camera[:, 2], SMALLEST_Z)
    x, y = points_camera[:, 0] / z, points_camera[:, 1] / z
    r2 = x * x + y * y
    r4, r6 = r2 * r2, r2 * r2 * r2
    above, below = 1 + k1 * r2 + k2 * r4 + k3 * r6, 1 + k4 * r2 + k5 * r4 + k6 * r6
    radial = above / below
    # d radial / d r2
    slope = (k1 + 2 * k2 * r2 + 3 * k3 * r4) / below - radial * (k4 + 2 * k5 * r2 + 3 * k6 * r4) / below
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y

    by_intrinsics = np.zeros((len(x), 2, INTRINSIC_COUNT))
    by_intrinsics[:, 0, 0], by_intrinsics[:, 1, 1] = xd, yd
    by_intrinsics[:, 0, 2] = by_intrinsics[:, 1, 3] = 1
    ray = np.stack([fx * x, fy * y], axis=1)
    for column, factor in ((4, r2), (5, r4), (8, r6)):
        by_intrinsics[:, :, column] = ray * (factor / below)[:, None]
    for column, factor in ((9, r2), (10, r4), (11, r6)):
        by_intrinsics[:, :, column] = -ray * (radial * factor / below)[:, None]
    by_intrinsics[:, 0, 6], by_intrinsics[:, 1, 6] = fx * 2 * x * y, fy * (r2 + 2 * y * y)
    by_intrinsics[:, 0, 7], by_intrinsics[:, 1, 7] = fx * (r2 + 2 * x * x), fy * 2 * x * y

    cross = 2 * x * y * slope
    dxx = fx * (radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x)
    dxy = fx * (cross + 2 * p1 * x + 2 * p2 * y)
    dyx = fy * (cross + 2 * p1 * x + 2 * p2 * y)
    dyy = fy * (radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x)
    by_points = np.empty((len(x), 2, 3))
    by_points[:, 0, 0], by_points[:, 0, 1], by_points[:, 0, 2] = dxx / z, dxy / z, -(dxx * x + dxy * y) / z
    by_points[:, 1, 0], by_points[:, 1, 1], by_points[:, 1, 2] = dyx / z, dyy / z, -(dyx * x + dyy * y) / z
    return np.stack([fx * xd + cx, fy * yd + cy], axis=1), by_intrinsics, by_points
