"""How obliquely each depth pixel looks at the surface."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from geometry.cameras import Camera

MEASURED = 1e-6
"""Depth below this many metres is no measurement."""


def incidence_cosine(
    depth_m: Float32[np.ndarray, "h w"], camera: Camera, reach_px: int = 2
) -> Float32[np.ndarray, "h w"]:
    """|cosine| between each pixel's ray and the surface's normal; 0 where there is no measurement.

    Inverse depth is linear in the pixel coordinates of a plane, so its weighted slope over a window of 2 reach_px + 1
    pixels gives the normal, and holes merely leave the sums. The lens' distortion is neglected: over so few pixels it
    turns a normal by far less than noise does. A pixel with no slope in its window is taken to look straight on.
    """
    slope_x, slope_y = _inverse_depth_slopes(depth_m, reach_px)
    rows, columns = depth_m.shape
    ray_x = ((np.arange(columns) + 0.5 - camera.K[0, 2]) / camera.K[0, 0]).astype(np.float32)[None, :]
    ray_y = ((np.arange(rows) + 0.5 - camera.K[1, 2]) / camera.K[1, 1]).astype(np.float32)[:, None]
    # On the plane a X + b Y + c Z = 1, 1 / z = a x + b y + c: (a, b, c) is the normal, and 1 / z its dot with the ray.
    a, b = slope_x * np.float32(camera.K[0, 0]), slope_y * np.float32(camera.K[1, 1])
    inverse = np.divide(1, depth_m, out=np.zeros_like(depth_m), where=depth_m > MEASURED)
    c = inverse - a * ray_x - b * ray_y
    return inverse / np.maximum(np.sqrt((a * a + b * b + c * c) * (ray_x * ray_x + ray_y * ray_y + 1)), 1e-12)


def _inverse_depth_slopes(
    depth_m: Float32[np.ndarray, "h w"], reach_px: int
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Weighted least-squares slopes of 1 / z per pixel along x and along y, each by its own line fit."""
    valid = (depth_m > MEASURED).astype(np.float32)
    inverse = np.divide(1, depth_m, out=np.zeros_like(depth_m), where=depth_m > MEASURED)
    offsets = np.arange(-reach_px, reach_px + 1, dtype=np.float32)
    window = np.exp(-((offsets / max(reach_px, 1)) ** 2)).astype(np.float32)

    def moment(image: np.ndarray, kernel_x: np.ndarray, kernel_y: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(image, cv2.CV_32F, kernel_x, kernel_y, borderType=cv2.BORDER_CONSTANT)

    total, sum_d = moment(valid, window, window), moment(inverse, window, window)
    slopes = []
    for first, first_d, second in (
        (
            moment(valid, window * offsets, window),
            moment(inverse, window * offsets, window),
            (window * offsets**2, window),
        ),
        (
            moment(valid, window, window * offsets),
            moment(inverse, window, window * offsets),
            (window, window * offsets**2),
        ),
    ):
        spread = total * moment(valid, *second) - first * first
        slope = np.divide(total * first_d - first * sum_d, spread, out=np.zeros_like(total), where=spread > 1e-3)
        slopes.append(slope * valid)
    return slopes[0], slopes[1]
