"""What is seen, and what a ray meets: queries for other rooms, answered from fragments or in their form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import warp as wp
from jaxtyping import Bool, Float, Int, Int32
from torch import Tensor

from rendering.fragments import Fragments
from rendering.kernels.rays import first_hit
from rendering.rasterize import require_indices
from rendering.runtime import launch, scalars, torch_stream, vectors

FARTHEST = 1e30
"""Where a ray ends."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Points of a surface, as `Fragments` name them."""

    face_index: Int32[Tensor, "*n"]
    """Row of the triangle in `faces`; -1 where nothing was met."""
    depth: Float[Tensor, "*n"]
    """Metres along the camera's z axis, or lengths of a ray's direction; 0 where nothing was met."""
    barycentric: Float[Tensor, "*n 3"]
    """Weights of the triangle's corners; they sum to 1; 0 where nothing was met."""

    @property
    def mask(self) -> Bool[Tensor, "*n"]:
        """Queries that met the surface."""
        return self.face_index >= 0


def surface_at(fragments: Fragments, points_px: Float[Tensor, "*b n 2"]) -> Hits:
    """What the pixels show that hold these points (x, y); nothing outside the picture."""
    rows, columns = fragments.face_index.shape[-2:]
    column, row = points_px.detach().floor().unbind(-1)
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    # As integers, because single precision does not count the pixels of a large picture.
    row, column = (torch.where(inside, x, torch.zeros_like(x)).long() for x in (row, column))
    place = row * columns + column
    if rows * columns == 0:
        raise ValueError(f"points can be looked up in a picture with pixels, not in one of {rows} x {columns}")
    face_index = fragments.face_index.flatten(-2).gather(-1, place)
    depth = fragments.depth.flatten(-2).gather(-1, place)
    barycentric = fragments.barycentric.flatten(-3, -2).gather(-2, place[..., None].expand(*place.shape, 3))
    return Hits(
        face_index=torch.where(inside, face_index, torch.full_like(face_index, -1)),
        depth=depth * inside,
        barycentric=barycentric * inside[..., None],
    )


def points_seen(
    fragments: Fragments, points_screen: Float[Tensor, "*b n 3"], tolerance_m: float
) -> Bool[Tensor, "*b n"]:
    """Points (x and y in pixels, z in metres) in the picture and not farther than the tolerance behind its surface."""
    surface = surface_at(fragments, points_screen[..., :2])
    depth = points_screen[..., 2]
    inside = (points_screen[..., :2] >= 0).all(-1) & (depth > 0)
    rows, columns = fragments.face_index.shape[-2:]
    inside &= (points_screen[..., 0] < columns) & (points_screen[..., 1] < rows)
    return inside & (~surface.mask | (depth <= surface.depth + tolerance_m))


def faces_seen(fragments: Fragments) -> Bool[Tensor, "*b f"]:
    """Triangles that at least one pixel shows."""
    counts = torch.zeros(
        (*fragments.boxes.shape[:-2], fragments.boxes.shape[-2] + 1), dtype=torch.bool, device=fragments.boxes.device
    )
    # What shows nothing, -1, counts for a triangle of its own before the first.
    shown = fragments.face_index.flatten(-2).long() + 1
    return counts.scatter(-1, shown, torch.ones_like(shown, dtype=torch.bool))[..., 1:]


def ray_mesh(
    origins: Float[Tensor, "*n 3"],
    directions: Float[Tensor, "*n 3"],
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
) -> Hits:
    """The first triangle along each ray, from either side, in single precision; depth in lengths of the direction.

    For rays of no common camera; for a camera's pixels `rasterize` is faster. Builds a tree, and on CUDA waits for the
    answer. Not differentiable: interpolate the
    vertices by the barycentrics to have the points move with them.
    """
    places = {origins.device, directions.device, vertices.device, faces.device}
    if len(places) > 1:
        raise ValueError(f"rays and mesh must be on one device, not on {sorted(map(str, places))}")
    device, shape = vertices.device, origins.shape[:-1]
    starts, ways = (x.detach().reshape(-1, 3).to(torch.float32).contiguous() for x in (origins, directions))
    hits = Hits(
        face_index=torch.full((len(starts),), -1, dtype=torch.int32, device=device),
        depth=torch.zeros(len(starts), device=device),
        barycentric=torch.zeros(len(starts), 3, device=device),
    )
    if len(faces):
        if device.type == "cpu":
            require_indices(faces, len(vertices))
        corners = vertices.detach().to(torch.float32).contiguous()
        with torch_stream(device):  # the tree is built in it, before the rays and after what they are made of
            mesh = wp.Mesh(
                points=wp.from_torch(corners, dtype=wp.vec3),
                indices=scalars(faces.to(torch.int32).contiguous().reshape(-1)),
            )
            results = scalars(hits.face_index), scalars(hits.depth), vectors(hits.barycentric)
            launch(first_hit, len(starts), [mesh.id, vectors(starts), vectors(ways), FARTHEST, *results], device)
            if device.type == "cuda":  # the tree is gone after this
                torch.cuda.current_stream(device).synchronize()
    return Hits(hits.face_index.reshape(shape), hits.depth.reshape(shape), hits.barycentric.reshape(*shape, 3))
