"""Which place of a mesh each point of a surface lies on."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import open3d as o3d
import open3d.core as o3c
from jaxtyping import Bool, Float, Int

from geometry.meshes import vertex_normals
from recon.registration.points import SurfacePoints


@dataclass(frozen=True)
class Gate:
    """What may be matched."""

    distance_m: float
    """Points farther from the mesh belong to something else: hair, a headset, a collar."""
    cosine: float
    """Least cosine between the normals of a point and of its place."""
    robust_m: float
    """From this distance on a match loses weight."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Points and their nearest places on the mesh."""

    corners: Int[np.ndarray, "m 3"]
    """Vertices of the triangle that carries the place."""
    barycentric: Float[np.ndarray, "m 3"]
    """Their weights."""
    normals: Float[np.ndarray, "m 3"]
    """Along which the distance is measured; unit."""
    distance: Float[np.ndarray, "m"]
    """Of the point over its place along the normal, metres."""
    weight: Float[np.ndarray, "m"]
    """Square metres, less what the distance takes."""

    def joined(self, others: Matches) -> Matches:
        """These and others."""
        return Matches(*(np.concatenate([getattr(each, f.name) for each in (self, others)]) for f in fields(self)))


def match(
    points: SurfacePoints,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    counted: Bool[np.ndarray, "f"],
    gate: Gate,
) -> Matches:
    """The nearest place of each point that is near enough, faces the same way and lies on a counted triangle.

    Distances are along the mean of both normals, which bends with the surface.
    Source: Rusinkiewicz 2019, "A symmetric objective function for ICP"; Geman & McClure 1985.
    """
    scene = o3d.t.geometry.RaycastingScene(1)
    scene.add_triangles(
        o3c.Tensor.from_numpy(np.ascontiguousarray(vertices, np.float32)),
        o3c.Tensor.from_numpy(np.ascontiguousarray(faces, np.uint32)),
    )
    used = points.areas > 0
    positions, normals, areas = points.points[used], points.normals[used], points.areas[used]
    found = scene.compute_closest_points(o3c.Tensor.from_numpy(np.ascontiguousarray(positions, np.float32)), nthreads=1)
    face = found["primitive_ids"].numpy().astype(np.int64)
    uv = found["primitive_uvs"].numpy().astype(np.float64)
    weights = np.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], 1)
    corners = faces[face]
    place = (vertices[corners] * weights[..., None]).sum(1)
    own = (vertex_normals(vertices, faces)[corners] * weights[..., None]).sum(1)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-20)
    apart = np.linalg.norm(positions - place, axis=1)
    kept = counted[face] & (apart < gate.distance_m) & ((own * normals).sum(1) > gate.cosine)
    along = own[kept] + normals[kept]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    distance = ((positions[kept] - place[kept]) * along).sum(1)
    weight = areas[kept] / (1 + (apart[kept] / gate.robust_m) ** 2) ** 2
    return Matches(corners[kept], weights[kept], along, distance, weight)
