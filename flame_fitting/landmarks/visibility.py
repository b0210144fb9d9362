"""How well the camera sees each of the 468 points, from the orientation of the surface they span.

`canonical_triangles.npy` holds the topology of MediaPipe's canonical face model, Apache-2.0: 898 triangles, uint16,
counter-clockwise seen from outside the face.
"""

from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

FULL_WEIGHT_COSINE = 0.5
"""Points whose normal is within 60 degrees of the camera count fully. Past it the network's error along the contour
grows, and so does that of a model point that slides there."""


@cache
def canonical_triangles() -> Int[np.ndarray, "898 3"]:
    """Triangles of the 468-point mesh, counter-clockwise seen from outside the face; one read-only array."""
    stored = np.load(Path(__file__).with_name("canonical_triangles.npy"), allow_pickle=False)
    triangles = np.asarray(stored, dtype=np.int64)
    triangles.setflags(write=False)
    return triangles


def point_visibility(
    points_px: Float[np.ndarray, "468 2"], relative_depth: Float[np.ndarray, "468"], image_size_hw: tuple[int, int]
) -> Float[np.ndarray, "468"]:
    """Weights in [0, 1]: 1 within 60 degrees of facing the camera, falling to 0 at 90 degrees and beyond.

    Points outside the image are guesses of the network and get 0. The view is taken as orthographic, because the
    camera is not known here; the mesh's own occlusion of points that face the camera is not looked at.
    """
    cosine = _normals_towards_camera(points_px, relative_depth)
    return np.clip(cosine / FULL_WEIGHT_COSINE, 0, 1) * _inside(points_px, image_size_hw)


def _normals_towards_camera(
    points_px: Float[np.ndarray, "468 2"], relative_depth: Float[np.ndarray, "468"]
) -> Float[np.ndarray, "468"]:
    """Cosine between each point's area-weighted normal and the direction to the camera."""
    triangles = canonical_triangles()
    # Image y points down and depth away from the camera: flipping both keeps the frame right-handed, +z to the viewer.
    points = np.column_stack([points_px[:, 0], -points_px[:, 1], -relative_depth])
    a, b, c = points[triangles[:, 0]], points[triangles[:, 1]], points[triangles[:, 2]]
    area_normals = np.cross(b - a, c - a)
    normals = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(area_normals[:, axis], 3), minlength=468) for axis in range(3)],
        axis=1,
    )
    return normals[:, 2] / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)


def _inside(points_px: Float[np.ndarray, "468 2"], image_size_hw: tuple[int, int]) -> Bool[np.ndarray, "468"]:
    height, width = image_size_hw
    return np.all((points_px >= 0) & (points_px <= (width, height)), axis=1)
