"""Depth as an ideal lens of the same focal length would have seen it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Float64

from geometry.cameras import Camera, distort

BORDER_SAMPLES = 64
"""Points along each side of the image that tell how large its undistorted picture is."""


def to_pinhole(
    depth_m: Float32[np.ndarray, "h w"], camera: Camera, largest_step: float
) -> tuple[Float32[np.ndarray, "p q"], Camera]:
    """The depth without lens distortion, and the distortion-free camera that sees it.

    Values come from `bilinear_depth`, so no depth is invented between two surfaces. K keeps its convention
    (pixel centres at +0.5) and focal lengths; the picture is as large as the whole undistorted field.
    """
    if not camera.distortion.size or not camera.distortion.any():
        return depth_m, replace(camera, distortion=np.zeros(0))
    pinhole, x, y = _sampling(camera)
    values, _ = bilinear_depth(depth_m, x.ravel(), y.ravel(), largest_step)
    return values.reshape(x.shape), pinhole


def bilinear_depth(
    depth_m: Float32[np.ndarray, "h w"], x: Float32[np.ndarray, "n"], y: Float32[np.ndarray, "n"], largest_step: float
) -> tuple[Float32[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Depth at pixel positions (centres at +0.5), and where there is any; 0 where there is none.

    Interpolated in inverse depth, which is exact on planes, if all four pixels around hold a measurement and differ by
    at most `largest_step` of their depth; otherwise the nearest pixel's value, which may be none.
    """
    rows, columns = depth_m.shape
    inside = (x >= 0) & (y >= 0) & (x < columns) & (y < rows)
    column = np.where(inside, x, np.float32(0)).astype(np.int32)
    row = np.where(inside, y, np.float32(0)).astype(np.int32)
    flat = depth_m.ravel()
    value = np.where(inside, flat[row * columns + column], np.float32(0))
    left = np.clip(np.floor(x - np.float32(0.5)), 0, columns - 2)
    top = np.clip(np.floor(y - np.float32(0.5)), 0, rows - 2)
    s = np.clip(x - np.float32(0.5) - left, 0, 1)
    t = np.clip(y - np.float32(0.5) - top, 0, 1)
    corner = top.astype(np.int32) * columns + left.astype(np.int32)
    corners = [flat[corner], flat[corner + 1], flat[corner + columns], flat[corner + columns + 1]]
    low = np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3]))
    high = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
    smooth = (low > 0) & (value > 0) & (high - low <= np.float32(largest_step) * low)
    a, b, c, d = (np.divide(1, each, out=np.ones_like(each), where=smooth) for each in corners)
    inverse = (a * (1 - s) + b * s) * (1 - t) + (c * (1 - s) + d * s) * t
    return np.where(smooth, 1 / inverse, value), value > 0


@lru_cache(maxsize=64)
def _sampling(camera: Camera) -> tuple[Camera, Float32[np.ndarray, "p q"], Float32[np.ndarray, "p q"]]:
    """The pinhole camera, and for each of its pixels the x and y in the distorted image; kept for the next frame."""
    rows, columns = camera.image_size_hw
    along_x, along_y = np.linspace(0, columns, BORDER_SAMPLES), np.linspace(0, rows, BORDER_SAMPLES)
    border = np.concatenate(
        [np.stack([along_x, np.full_like(along_x, edge)], 1) for edge in (0.0, rows)]
        + [np.stack([np.full_like(along_y, edge), along_y], 1) for edge in (0.0, columns)]
    )
    corners = camera.normalised_to_pixels(camera.pixels_to_normalised(border))
    low, high = np.floor(corners.min(0)), np.ceil(corners.max(0))
    # A lens model may run away in the corners; nothing useful lies a whole image size outside.
    low = np.maximum(low, [-columns, -rows])
    high = np.minimum(high, [2 * columns, 2 * rows])
    K = camera.K.copy()
    K[:2, 2] -= low
    size_hw = (int(high[1] - low[1]), int(high[0] - low[0]))
    pinhole = replace(camera, K=K, distortion=np.zeros(0), image_size_hw=size_hw)
    ideal = pinhole.pixel_grid_normalised().reshape(-1, 2)
    pixels: Float64[np.ndarray, "n 2"] = camera.normalised_to_pixels(distort(ideal, camera.distortion))
    x, y = (pixels[:, axis].astype(np.float32).reshape(size_hw) for axis in range(2))
    return pinhole, x, y
