"""Which landmarks of a fitted head a view shows: those behind neither the head itself nor what stands before it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from flame_fitting.evidence import DepthImage
from geometry.cameras import Camera
from rendering.arrays import rasterize_arrays
from rendering.screen import ScreenWindow, screen_window

COARSE_PX = 2
"""Side of the cells that surface and measured depth are compared in, image pixels of the colour camera."""
SELF_TOLERANCE_M = 0.004
"""A landmark this far behind the head's own surface still counts as on it: eyes lie behind the cornea's mesh."""
IN_FRONT_M = 0.015
"""Measured depth nearer than the surface by more is a hand, a headset or hair; less may be the fit's own error."""
OCCLUDER_PX = 6
"""Reach of a measured occluder over the gaps between its pixels, in image pixels of the colour camera."""


def visibility_from_head(
    landmarks_world: Float[np.ndarray, "n 3"],
    vertices_world: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    camera: Camera,
    depth: Sequence[DepthImage],
) -> Bool[np.ndarray, "n"]:
    """True for the landmarks of a fitted head that a colour camera sees, by the head itself and by measured depth.

    False: outside the image, behind the head's own surface by more than 4 mm (the far cheek), or behind something that
    any of the depth pictures of the same frame set measured more than 15 mm in front of the head there. A landmark
    whose cell no depth picture measured is taken as seen. World metres.
    """
    pixels, landmark_depth = camera.project(landmarks_world)
    rows, columns = camera.image_size_hw
    seen = (landmark_depth > 0) & np.all((pixels >= 0) & (pixels < (columns, rows)), axis=1)
    window = screen_window(camera, vertices_world, 2 * OCCLUDER_PX)
    if window is None or not seen.any():
        return np.zeros(len(landmarks_world), bool)
    surface = _surface_depth(window, faces)
    column, row = ((pixels[seen] - np.array([window.left, window.top])) // COARSE_PX).astype(int).T
    inside = (row >= 0) & (row < surface.shape[0]) & (column >= 0) & (column < surface.shape[1])
    row, column = np.clip(row, 0, surface.shape[0] - 1), np.clip(column, 0, surface.shape[1] - 1)
    # The farthest surface of the neighbouring cells: at the very edge of the head a landmark is half on its cell.
    reachable = cv2.dilate(np.where(np.isfinite(surface), surface, np.float32(np.inf)), np.ones((3, 3), np.uint8))
    behind_itself = landmark_depth[seen] > reachable[row, column] + SELF_TOLERANCE_M
    covered = np.zeros(surface.shape, bool)
    for image in depth:
        covered |= _covered(image, camera, window, surface)
    seen[seen] = ~(inside & (behind_itself | covered[row, column]))
    return seen


FIRST_M, STEP_M, STEPS = IN_FRONT_M, 0.012, 20
"""Places along the way from a landmark to the camera at which something may stand: up to a quarter of a metre."""
BEHIND_M = 0.004
"""A place is behind a measured surface by more than the noise of depth, and by less than two steps."""


def covered_by_depth(
    landmarks_world: Float[np.ndarray, "n 3"], camera: Camera, image: DepthImage
) -> Bool[np.ndarray, "n"]:
    """Landmarks whose way to a colour camera crosses a surface that a depth picture measured.

    Without drawing the head, so that it costs a tenth of `visibility_from_head`, and tells whether that is worth
    asking. Surfaces nearer than 15 mm to the landmark are the face itself. World metres.
    """
    # The farthest pixel of nine: a flying pixel is no surface.
    farthest = cv2.dilate(image.depth_m.astype(np.float32), np.ones((3, 3), np.uint8))
    away = camera.centre_world - landmarks_world
    rays = away / np.linalg.norm(away, axis=1, keepdims=True)
    places = landmarks_world[:, None] + rays[:, None] * (FIRST_M + STEP_M * np.arange(STEPS))[:, None]
    pixels, depth = image.camera.project(places.reshape(-1, 3))
    rows, columns = image.depth_m.shape
    inside = (depth > 0) & np.all((pixels >= 0) & (pixels < (columns, rows)), axis=1)
    column, row = np.where(inside[:, None], pixels, 0).astype(int).T
    measured = farthest[row, column]
    behind = depth - measured
    crossed = inside & (measured > 0) & (behind > BEHIND_M) & (behind < BEHIND_M + 2 * STEP_M)
    return crossed.reshape(-1, STEPS).any(1)


def _surface_depth(window: ScreenWindow, faces: Int[np.ndarray, "f 3"]) -> Float32[np.ndarray, "y x"]:
    """Depth of the head in coarse cells of the window, metres; infinity beside it."""
    size_hw = (-(-window.height // COARSE_PX), -(-window.width // COARSE_PX))
    vertices = window.vertices_screen / (COARSE_PX, COARSE_PX, 1)
    fragments = rasterize_arrays(vertices, faces, size_hw)
    return np.where(fragments.mask, fragments.depth, np.inf).astype(np.float32)


def _covered(
    image: DepthImage, camera: Camera, window: ScreenWindow, surface: Float32[np.ndarray, "y x"]
) -> Bool[np.ndarray, "y x"]:
    """Cells of the colour camera's window in which a depth picture has points well in front of the head.

    Points are carried from one camera to the other, so that an occluder is taken where the colour camera sees it.
    """
    points = _points_near(image, camera, window, surface)
    covered = np.zeros(surface.shape, np.uint8)
    if not len(points):
        return covered.astype(bool)
    pixels, depth = camera.project(points)
    column, row = np.floor((pixels - np.array([window.left, window.top])) / COARSE_PX).astype(int).T
    inside = (depth > 0.05) & (row >= 0) & (row < surface.shape[0]) & (column >= 0) & (column < surface.shape[1])
    row, column, depth = row[inside], column[inside], depth[inside]
    reach = np.ones((2 * (OCCLUDER_PX // COARSE_PX) + 1,) * 2, np.uint8)
    # Beside the head its nearest part close by counts, so that a hand over the head's edge is whole.
    extended = np.where(np.isfinite(surface), surface, cv2.erode(surface, reach))
    in_front = depth < extended[row, column] - IN_FRONT_M
    in_front &= np.isfinite(extended[row, column])
    counts = np.zeros(surface.shape, np.int32)
    np.add.at(counts, (row[in_front], column[in_front]), 1)
    covered[counts > 0] = 1
    # A single point is a flying pixel: an occluder has neighbours. Closed over the gaps between depth pixels.
    neighbours = cv2.boxFilter(covered.astype(np.float32), -1, reach.shape[::-1], normalize=False)
    covered[neighbours < 3] = 0
    return cv2.morphologyEx(covered, cv2.MORPH_CLOSE, reach).astype(bool)


def _points_near(
    image: DepthImage, camera: Camera, window: ScreenWindow, surface: Float32[np.ndarray, "y x"]
) -> Float[np.ndarray, "n 3"]:
    """World points of the depth pixels that could stand before the head; every second pixel along both axes."""
    x, y = (window.left, window.left + window.width), (window.top, window.top + window.height)
    corners = np.array([[column, row] for column in x for row in y], float)
    rays = np.column_stack([camera.pixels_to_normalised(corners), np.ones(4)])
    nearest = float(surface.min())
    if not np.isfinite(nearest):
        return np.zeros((0, 3))
    # The frustum over the window, from half the head's distance to its farthest surface, as the depth camera sees it.
    far = float(surface[np.isfinite(surface)].max())
    reach = np.concatenate([rays * distance for distance in (nearest / 2, far)])
    pixels, depth = image.camera.project(camera.world_from_camera @ reach)
    rows, columns = image.depth_m.shape
    if depth.min() < 0.05:
        left, top, right, bottom = 0, 0, columns, rows
    else:
        left, top = np.clip(np.floor(pixels.min(0)).astype(int), 0, (columns, rows))
        right, bottom = np.clip(np.ceil(pixels.max(0)).astype(int), 0, (columns, rows))
    part = image.depth_m[top:bottom:2, left:right:2]
    row, column = np.nonzero(part)
    at = np.stack([left + 2 * column + 0.5, top + 2 * row + 0.5], 1).astype(float)
    rays = np.column_stack([image.camera.pixels_to_normalised(at), np.ones(len(at))])
    return image.camera.world_from_camera @ (rays * part[row, column][:, None].astype(float))
