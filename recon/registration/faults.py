"""What must not happen to a mesh: triangles that look backwards, and triangles that cross."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from geometry.meshes import face_normals


def flipped_triangles(
    before: Float[np.ndarray, "v 3"], after: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Bool[np.ndarray, "f"]:
    """Triangles that look more than 90 degrees away from where they looked, or lost their area."""
    then, now = face_normals(before, faces), face_normals(after, faces)
    return (then * now).sum(1) <= 1e-6 * (then**2).sum(1)


def crossing_triangles(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], watched: Bool[np.ndarray, "f"]
) -> Int[np.ndarray, "p 2"]:
    """Pairs of watched triangles without a common corner of which an edge of one goes through the other."""
    rows = np.flatnonzero(watched)
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    corners = vertices[faces[rows]]
    centres = corners.mean(1)
    radius = np.linalg.norm(corners - centres[:, None], axis=2).max(1)
    near = KDTree(centres).query_pairs(2 * float(radius.max()), output_type="ndarray").astype(np.int64)
    close = np.linalg.norm(centres[near[:, 0]] - centres[near[:, 1]], axis=1) < radius[near].sum(1)
    near = near[close]
    apart = (faces[rows[near[:, 0]]][:, :, None] != faces[rows[near[:, 1]]][:, None, :]).all((1, 2))
    near = near[apart]
    crossed = np.zeros(len(near), bool)
    for first, second in (near.T, near.T[::-1]):
        for k in range(3):
            crossed |= _goes_through(corners[first][:, k], corners[first][:, (k + 1) % 3], corners[second])
    return rows[near[crossed]]


def _goes_through(
    start: Float[np.ndarray, "p 3"], end: Float[np.ndarray, "p 3"], triangle: Float[np.ndarray, "p 3 3"]
) -> Bool[np.ndarray, "p"]:
    """Whether a segment goes through a triangle's inside. Source: Moeller & Trumbore 1997."""
    along, edge_1, edge_2 = end - start, triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]
    p = np.cross(along, edge_2)
    det = (edge_1 * p).sum(1)
    inverse = 1 / np.where(np.abs(det) < 1e-30, np.inf, det)
    to_start = start - triangle[:, 0]
    u = (to_start * p).sum(1) * inverse
    q = np.cross(to_start, edge_1)
    v, t = (along * q).sum(1) * inverse, (edge_2 * q).sum(1) * inverse
    return (det != 0) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= 1)
