"""RealSense's lens models as OpenCV's coefficients, or a refusal by name."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from geometry.cameras import distort

LARGEST_RESIDUAL_PX = 0.05
SAME_AS_OPENCV = ("brown conrady",)
WITH_RADIAL_FIRST = ("modified brown conrady", "inverse brown conrady")
"""Their tangential terms act on what the radial ones have moved already (rs2_project_point_to_pixel)."""


def opencv_distortion(
    model: str, coefficients: Float[np.ndarray, "d"], K: Float[np.ndarray, "3 3"], size_hw: tuple[int, int]
) -> Float[np.ndarray, "k"]:
    """OpenCV's none or 5 coefficients of a lens; ValueError for a model that they do not follow within 0.05 px.

    `K` has pixel centres at +0.5. Source: librealsense, include/librealsense2/rsutil.h.
    """
    if not coefficients.any():
        return np.zeros(0)
    name = " ".join(model.lower().replace("_", " ").split())
    if name not in (*SAME_AS_OPENCV, *WITH_RADIAL_FIRST) or coefficients.size > 5:
        raise ValueError(f"lens model {model[:60]!r} with {coefficients.size} coefficients")
    k = np.zeros(5)
    k[: coefficients.size] = coefficients
    if name in SAME_AS_OPENCV or not k[2:4].any():
        return k
    return _fitted(k, K, size_hw)


def modified_brown_conrady(normalised: Float[np.ndarray, "n 2"], k: Float[np.ndarray, "5"]) -> Float[np.ndarray, "n 2"]:
    """Where the lens puts undistorted positions at unit distance: radial first, then tangential."""
    r2 = (normalised**2).sum(1)
    x, y = (normalised * (1 + k[0] * r2 + k[1] * r2**2 + k[4] * r2**3)[:, None]).T
    return np.column_stack(
        [x + 2 * k[2] * x * y + k[3] * (r2 + 2 * x * x), y + 2 * k[3] * x * y + k[2] * (r2 + 2 * y * y)]
    )


def _fitted(k: Float[np.ndarray, "5"], K: Float[np.ndarray, "3 3"], size_hw: tuple[int, int]) -> Float[np.ndarray, "5"]:
    """OpenCV's model is linear in its five coefficients: the nearest ones over the picture."""
    x, y = np.meshgrid(np.linspace(0, size_hw[1], 25), np.linspace(0, size_hw[0], 19))
    normalised = (np.column_stack([x.ravel(), y.ravel()]) - K[:2, 2]) / [K[0, 0], K[1, 1]]
    target = modified_brown_conrady(normalised, k)
    columns = [(distort(normalised, unit) - normalised).ravel() for unit in np.eye(5)]
    found, *_ = np.linalg.lstsq(np.column_stack(columns), (target - normalised).ravel(), rcond=None)
    residual_px = np.abs((distort(normalised, found) - target) * [K[0, 0], K[1, 1]]).max()
    if residual_px > LARGEST_RESIDUAL_PX:
        raise ValueError(f"a modified Brown-Conrady lens that OpenCV's model misses by {residual_px:.2f} px")
    return found
