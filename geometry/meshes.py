"""Triangle meshes and point clouds, with the few operations that every room needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles in one frame of reference, metres, counter-clockwise seen from outside."""

    vertices: Float[np.ndarray, "v 3"]
    """Positions, metres."""
    faces: Int[np.ndarray, "f 3"]
    """Vertex indices of each triangle."""
    colours: UInt8[np.ndarray, "v 3"] | None = None
    """sRGB per vertex, if known."""

    def vertex_normals(self) -> Float[np.ndarray, "v 3"]:
        """Unit normals, each the area-weighted mean of its triangles'."""
        return vertex_normals(self.vertices, self.faces)


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in one frame of reference, metres."""

    points: Float[np.ndarray, "n 3"]
    """Positions, metres."""
    normals: Float[np.ndarray, "n 3"] | None = None
    """Unit vectors that point out of the surface."""
    colours: UInt8[np.ndarray, "n 3"] | None = None
    """sRGB."""


def face_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3"]:
    """Normals whose length is twice the triangle's area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Unit normals, each the area-weighted mean of its triangles'; zero where a vertex has none."""
    of_faces = face_normals(vertices, faces)
    normals = np.zeros_like(vertices)
    for axis in range(3):
        for corner in range(3):
            normals[:, axis] += np.bincount(faces[:, corner], of_faces[:, axis], len(vertices))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)


def vertex_areas(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v"]:
    """A third of the area of each vertex's triangles, square metres."""
    areas = np.linalg.norm(face_normals(vertices, faces), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(areas, 3), len(vertices))
