"""A surface as oriented points, each with the area that it stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from geometry.meshes import Mesh, face_normals, vertex_areas, vertex_normals

MOST_SAMPLES_A_FACE = 64


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Oriented points of a surface."""

    points: Float[np.ndarray, "n 3"]
    """Positions, metres."""
    normals: Float[np.ndarray, "n 3"]
    """Unit vectors out of the surface."""
    areas: Float[np.ndarray, "n"]
    """Square metres that each stands for; 0 where it counts nothing, as on the rim of a hole."""

    def part(self, chosen: Bool[np.ndarray, "n"]) -> SurfacePoints:
        """Only these points, which stand for as much area together."""
        kept = self.areas[chosen].sum()
        grown = self.areas[chosen] * (self.areas.sum() / kept if kept else 1.0)
        return SurfacePoints(self.points[chosen], self.normals[chosen], grown)


def vertex_points(mesh: Mesh) -> SurfacePoints:
    """The vertices of a mesh; those on the rim of a hole count nothing, because the surface ends there by accident."""
    areas = vertex_areas(mesh.vertices, mesh.faces)
    areas[rim_vertices(mesh.faces)] = 0
    return SurfacePoints(mesh.vertices, vertex_normals(mesh.vertices, mesh.faces), areas)


def surface_points(mesh: Mesh, spacing_m: float, seed: int = 0) -> SurfacePoints:
    """The vertices, and points inside triangles that are wider than the spacing; with the vertices' normals between.

    Areas are shared by corners and inner points alike, so that the density does not change what a surface weighs.
    """
    corners = mesh.vertices[mesh.faces]
    face_areas = np.linalg.norm(face_normals(mesh.vertices, mesh.faces), axis=1) / 2
    count = np.clip(face_areas / spacing_m**2, 0, MOST_SAMPLES_A_FACE).astype(int)
    shares = face_areas / (count + 1)
    rim = np.zeros(len(mesh.vertices), bool)
    rim[rim_vertices(mesh.faces)] = True
    areas = np.bincount(mesh.faces.ravel(), np.repeat(shares / 3, 3), len(mesh.vertices))
    areas[rim] = 0
    of_vertices = vertex_normals(mesh.vertices, mesh.faces)
    row = np.repeat(np.arange(len(mesh.faces)), count)
    random = np.random.default_rng(seed)
    u, v = random.random((2, len(row)))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    weights = np.stack([1 - u - v, u, v], 1)
    inner = (corners[row] * weights[..., None]).sum(1)
    normals = (of_vertices[mesh.faces[row]] * weights[..., None]).sum(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    inner_areas = np.where(rim[mesh.faces].any(1), 0, shares)[row]
    return SurfacePoints(
        np.concatenate([mesh.vertices, inner]),
        np.concatenate([of_vertices, normals]),
        np.concatenate([areas, inner_areas]),
    )


def rim_vertices(faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "r"]:
    """Vertices of edges that have a triangle on one side only."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    once, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(once[count == 1])
