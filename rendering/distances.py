"""How far measured depth lies outside surfaces, along their normals, gathered at the vertices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from rendering.fragments import Fragments
from rendering.kernels.distances import Gate, gather_distances, point_normals
from rendering.kernels.gathering import sum_corners
from rendering.lenses import Lenses
from rendering.pieces import sum_over_pixels
from rendering.rasterize import rasterize
from rendering.runtime import launch, scalars, vectors
from rendering.screen import windows_about
from rendering.topology import topology


@dataclass(frozen=True)
class DistanceModel:
    """Which pixels count, and how much."""

    reach_m: float
    """Pixels whose depth differs by more than this from the surface's belong to something else."""
    robust_m: float
    """Scale of the Geman-McClure kernel of the distance, for a sensor without noise."""
    min_cosine: float
    """Of the angle between ray and normal: pixels that graze the surface do not count."""
    sigma_per_m: float
    """Standard deviation of a depth is this times its square; along the normal, times the cosine."""
    reach_sigmas: float = 0.0
    """So many standard deviations of a depth widen the reach; the two add as squares."""
    robust_sigmas: float = 0.0
    """So many standard deviations of a distance widen the kernel, alike: noise alone must not look like an outlier."""


@dataclass(frozen=True, eq=False)
class DepthPictures:
    """Measured depth of one or more meshes, each from one or more cameras."""

    measured: Float[Tensor, "n h w"]
    """Metres along the camera's axis, single precision; 0 where there is none."""
    mesh_of_view: Int[Tensor, "n"]
    """Which mesh each picture shows."""
    centres: Float[Tensor, "n 3"]
    """Where the cameras stand in the world, metres, double precision."""


def vertex_normals(vertices: Float[Tensor, "t v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "t v 3"]:
    """Unit normals of meshes in double precision, each the area-weighted mean of its triangles'; zero where none is."""
    shared, vertices = topology(faces, vertices.shape[1]), vertices.contiguous()
    normals = torch.empty_like(vertices)
    inputs = [vectors(vertices), *map(scalars, (shared.faces, shared.corners, shared.first_corner)), vectors(normals)]
    launch(point_normals, vertices.shape[0] * vertices.shape[1], inputs, vertices.device)
    return normals


def gather_distances_of_pictures(
    lenses: Lenses,
    pictures: DepthPictures,
    surfaces: tuple[Float[Tensor, "t v 3"], Float[Tensor, "t v 3"]],
    faces: Int[Tensor, "f 3"],
    counted: UInt8[Tensor, "f"],
    model: DistanceModel,
) -> Float[Tensor, "n v 2"]:
    """The same as `gather_distances_at_vertices` of surfaces that are drawn here, each in a window about it."""
    vertices, _ = surfaces
    screen = lenses.project(vertices[pictures.mesh_of_view])
    first, size_hw = windows_about(screen, lenses.size_hw)
    in_window = torch.cat([screen[..., :2] - first.flip(-1)[:, None], screen[..., 2:]], -1)
    fragments = rasterize(in_window.float(), faces, size_hw, cull_backfaces=True)
    return gather_distances_at_vertices(pictures, (fragments, first.to(torch.int32)), surfaces, faces, counted, model)


def gather_distances_at_vertices(
    pictures: DepthPictures,
    shown: tuple[Fragments, Int[Tensor, "n 2"]],
    surfaces: tuple[Float[Tensor, "t v 3"], Float[Tensor, "t v 3"]],
    faces: Int[Tensor, "f 3"],
    counted: UInt8[Tensor, "f"],
    model: DistanceModel,
) -> Float[Tensor, "n v 2"]:
    """Of each picture and vertex: sum of the weights of the pixels about it, 1/m^2, and of their weighted distances.

    `shown` is what a rasterizer shows in a window of each picture, in single precision, and the window's first row and
    column; `surfaces` are vertices and unit normals in the world. Only pixels of `counted` triangles take part. A pixel
    is shared out to the corners of the triangle that it shows by its barycentrics. Its ray is that of the surface's
    point there, so that no lens model enters. Sums repeat to the last bit, on any number of threads.
    """
    fragments, origins = shown
    vertices, normals = surfaces
    if len(pictures.measured) == 0 or fragments.face_index.numel() == 0:
        return vertices.new_zeros(len(pictures.measured), vertices.shape[1], 2)
    gate = Gate()
    gate.reach_m, gate.reach_sigmas = model.reach_m, model.reach_sigmas
    gate.robust_m, gate.robust_sigmas = model.robust_m, model.robust_sigmas
    gate.min_cosine, gate.sigma_per_m = model.min_cosine, model.sigma_per_m
    shared = topology(faces, vertices.shape[1])
    inputs = [
        scalars(shared.faces),
        scalars(counted),
        scalars(pictures.mesh_of_view.to(torch.int32)),
        vectors(vertices.contiguous()),
        vectors(normals),
        vectors(pictures.centres),
        scalars(origins.to(torch.int32).contiguous()),
        scalars(pictures.measured),
        scalars(fragments.face_index),
        scalars(fragments.depth),
        vectors(fragments.barycentric),
        gate,
    ]
    like = vertices.new_empty(0, 2)
    return sum_corners(
        sum_over_pixels(gather_distances, fragments.boxes, inputs, like, scalars), shared, shared_by_views=False
    )
