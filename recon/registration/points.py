"""A surface as oriented points, each with the area that it stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from geometry.meshes import Mesh, face_normals, vertex_areas, vertex_normals
from recon.fusion.trimming import border_edges

MOST_SAMPLES_A_FACE = 64
DISC_REACH = 0.22
"""Of the side of a square of a point's area. Of half of a 5 mm scan's vertices the other half lie 0.25 mm off with it,
0.27 without; from 0.35 on discs stand off from what is curved."""
DISC_LEAST_M = 0.002
"""Points nearer to one another than this tell by themselves how the surface goes on."""


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
        """Only these points."""
        return SurfacePoints(self.points[chosen], self.normals[chosen], self.areas[chosen])

    def drawn(self, chosen: Bool[np.ndarray, "n"]) -> SurfacePoints:
        """A random choice of the points, which stands for as much area as all."""
        part = self.part(chosen)
        kept = part.areas.sum()
        return SurfacePoints(part.points, part.normals, part.areas * (self.areas.sum() / kept if kept else 1.0))

    def as_discs(self) -> SurfacePoints:
        """Points that stand for much with four on their plane about each: normals tell how the surface goes on."""
        large = self.areas > DISC_LEAST_M**2
        kept, split = self.part(~large), self.part(large)
        side = np.eye(3)[np.abs(split.normals).argmin(1)]
        along = np.cross(split.normals, side)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-20)
        across = np.cross(split.normals, along)
        reach = DISC_REACH * np.sqrt(split.areas)[:, None]
        moved = [reach * direction for direction in (0 * along, along, -along, across, -across)]
        return SurfacePoints(
            np.concatenate([kept.points, *(split.points + step for step in moved)]),
            np.concatenate([kept.normals, np.tile(split.normals, (len(moved), 1))]),
            np.concatenate([kept.areas, np.tile(split.areas / len(moved), len(moved))]),
        )

    def thinned(self, most: int, seed: int = 0) -> SurfacePoints:
        """At most so many of the points that count, drawn at random."""
        counted = self.part(self.areas > 0)
        chosen = np.zeros(len(counted.areas), bool)
        chosen[np.random.default_rng(seed).permutation(len(chosen))[:most]] = True
        return counted.drawn(chosen)


def vertex_points(mesh: Mesh) -> SurfacePoints:
    """The vertices of a mesh; those on the rim of a hole count nothing, because the surface ends there by accident."""
    areas = vertex_areas(mesh.vertices, mesh.faces)
    areas[border_edges(mesh.faces, len(mesh.vertices))] = 0
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
    rim[border_edges(mesh.faces, len(mesh.vertices))] = True
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
