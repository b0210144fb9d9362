"""Two depth cameras' measurements of one surface, compared along the second one's z."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped

from geometry.cameras import Camera

POINTS_MOST = 12_000
"""Of one frame; a median needs no more."""
GATE_SHARE = 0.12
"""Of the distance: what is farther apart is another surface, even if a depth unit is a tenth wrong."""
ALIKE_COSINE = 0.6
"""Between the normals that both cameras measure: the same side of the same surface."""
FACING_COSINE = 0.5
"""Between normal and ray: grazing depth is poor."""
SMOOTH_SHARE = 0.006
"""Of the distance: median roughness of a patch of 7 x 7 pixels that counts as a surface; 1.5 mm at 0.8 m is 0.002."""
WINDOW = 7


@dataclass(frozen=True, eq=False)
class DepthView:
    """One depth frame, smoothed over small patches of surface."""

    camera: Camera
    """Whose."""
    depth_m: Float[np.ndarray, "h w"]
    """Of the plane through each pixel's patch; 0 where there is no smooth patch."""
    normals_world: Float[np.ndarray, "n 3"]
    """Of the chosen pixels' patches, towards the camera."""
    points_world: Float[np.ndarray, "n 3"]
    """Of the chosen pixels."""
    normal_map: Float[np.ndarray, "h w 3"]
    """Normals of all patches in the world; zeros where there is none."""


@dataclass(frozen=True, eq=False)
class Disagreement:
    """What one depth camera measured beyond another, at the same places."""

    difference_m: Float[np.ndarray, "n"]
    """Positive: the first camera measures farther, metres."""

    @property
    def bias_m(self) -> float:
        """Median."""
        return float(np.median(self.difference_m))


def depth_view(camera: Camera, counts: Shaped[np.ndarray, "h w"]) -> DepthView:
    """A frame's smooth patches of surface: depth and normals by a plane through each 7 x 7 window.

    The plane's depth at the window's centre has a seventh of a pixel's noise; windows with holes or edges are left
    out, because there no surface is certain. Depth images of noise alone have none.
    """
    raw_m = camera.depth_m(counts).astype(np.float64)
    depth_m, slope_x, slope_y, smooth = _planes(raw_m)
    normals = _normals(camera, depth_m, slope_x, slope_y)
    facing = np.einsum("hwc,hwc->hw", normals, _rays(camera)) < -FACING_COSINE
    smooth &= facing
    depth_m = np.where(smooth, depth_m, 0.0)
    normal_map = np.where(smooth[..., None], camera.world_from_camera.rotate(normals), 0.0).astype(np.float32)
    rows, columns = np.nonzero(smooth)
    step = max(1, len(rows) // POINTS_MOST)
    rows, columns = rows[::step], columns[::step]
    normalised = camera.pixels_to_normalised(np.stack([columns + 0.5, rows + 0.5], 1))
    points = np.concatenate([normalised, np.ones((len(rows), 1))], 1) * depth_m[rows, columns, None]
    return DepthView(camera, depth_m, normal_map[rows, columns], camera.world_from_camera @ points, normal_map)


def compare_depth(first: DepthView, second: DepthView) -> Disagreement:
    """Differences of depth along the second camera's z where both see one surface from its front.

    A point of the first that falls on another surface of the second (occlusion, the far side of a head) differs in
    its normal or by more than a gate, and does not count; the gate then narrows about the median.
    """
    pixels, z = second.camera.project(first.points_world)
    rows, columns = second.camera.image_size_hw
    inside = (z > 0) & (pixels >= 0).all(1) & (pixels < (columns, rows)).all(1)
    x, y = pixels[inside].astype(int).T
    there_m = second.depth_m[y, x]
    alike = (first.normals_world[inside] * second.normal_map[y, x]).sum(1) > ALIKE_COSINE
    seen = alike & (there_m > 0)
    # The first's point is there where it was projected to, the second's where that pixel's ray meets its plane.
    difference_m = (z[inside] - _depth_on_ray(second, pixels[inside], (y, x)))[seen]
    difference_m = difference_m[np.abs(difference_m) < GATE_SHARE * there_m[seen]]
    for _ in range(3):
        if len(difference_m):
            centre = np.median(difference_m)
            spread = 1.4826 * np.median(np.abs(difference_m - centre))
            difference_m = difference_m[np.abs(difference_m - centre) <= 4 * spread + 0.002]
    return Disagreement(difference_m)


def _depth_on_ray(
    view: DepthView, pixels: Float[np.ndarray, "n 2"], at: tuple[np.ndarray, np.ndarray]
) -> Float[np.ndarray, "n"]:
    """Depth of the plane of pixel `at` along the ray through a position inside that pixel."""
    rows, columns = at
    normals = view.camera.world_from_camera.inverse().rotate(view.normal_map[rows, columns])
    centres = np.stack([columns, rows], 1) + 0.5
    along, centre = (
        np.concatenate([view.camera.pixels_to_normalised(place), np.ones((len(place), 1))], 1)
        for place in (pixels, centres)
    )
    depth_m = view.depth_m[rows, columns]
    with np.errstate(invalid="ignore", divide="ignore"):
        exact = depth_m * (normals * centre).sum(1) / (normals * along).sum(1)
    return np.where(np.isfinite(exact), exact, depth_m)


def _planes(
    depth_m: Float[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"], Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Least-squares plane of each window: depth at its centre, slopes per pixel, and whether it is smooth and whole."""
    reach = np.arange(WINDOW) - WINDOW // 2
    flat, ramp = np.ones(WINDOW), reach / (reach**2).sum() / WINDOW
    border = cv2.BORDER_CONSTANT
    total = cv2.sepFilter2D(depth_m, cv2.CV_64F, flat, flat, borderType=border)
    whole = cv2.erode((depth_m > 0).astype(np.uint8), np.ones((WINDOW, WINDOW), np.uint8), borderValue=0) > 0
    mean = total / WINDOW**2
    slope_x = cv2.sepFilter2D(depth_m, cv2.CV_64F, ramp, flat, borderType=border)
    slope_y = cv2.sepFilter2D(depth_m, cv2.CV_64F, flat, ramp, borderType=border)
    square = cv2.sepFilter2D(depth_m**2, cv2.CV_64F, flat, flat, borderType=border) / WINDOW**2
    # What the plane explains of the variance; the window's ramps have the variance (w^2 - 1) / 12.
    explained = (slope_x**2 + slope_y**2) * (WINDOW**2 - 1) / 12
    rough = np.sqrt((square - mean**2 - explained).clip(0))
    return mean, slope_x, slope_y, whole & (rough < SMOOTH_SHARE * mean)


def _normals(
    camera: Camera, depth_m: Float[np.ndarray, "h w"], slope_x: np.ndarray, slope_y: np.ndarray
) -> Float[np.ndarray, "h w 3"]:
    """Unit normals in the camera's axes, towards the camera; the lens's distortion is too small to turn them."""
    rays = _rays(camera, unit=False)
    along_x = rays * slope_x[..., None] + np.array([1 / camera.K[0, 0], 0, 0]) * depth_m[..., None]
    along_y = rays * slope_y[..., None] + np.array([0, 1 / camera.K[1, 1], 0]) * depth_m[..., None]
    normals = np.cross(along_y, along_x)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-18)


def _rays(camera: Camera, unit: bool = True) -> Float[np.ndarray, "h w 3"]:
    """Directions of the pixel centres without distortion, which for a comparison of normals is close enough."""
    rows, columns = camera.image_size_hw
    x = (np.arange(columns) + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
    y = (np.arange(rows) + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
    rays = np.stack([*np.meshgrid(x, y), np.ones((rows, columns))], -1)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True) if unit else rays
