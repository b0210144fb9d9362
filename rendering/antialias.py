"""Outlines that can be moved: pixels on a silhouette take the share that it covers."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from rendering.fragments import Fragments
from rendering.interpolate import require_faces_of
from rendering.kernels.gathering import sum_corners
from rendering.kernels.outlines import BLEND_PAIRS, FIND_PAIRS, MARK_SILHOUETTES, PULL_BACK_PAIRS
from rendering.runtime import launch, launch_pixels, scalars, vectors
from rendering.topology import topology


def antialias(
    image: Float[Tensor, "*b h w c"],
    fragments: Fragments,
    vertices_screen: Float[Tensor, "*b v 3"],
    faces: Int[Tensor, "f 3"],
) -> Float[Tensor, "*b h w c"]:
    """The picture with each silhouette pixel blended with its neighbour across, by how far the outline lies off centre.

    Between two adjacent pixels of different surfaces the nearer one's outline crosses at distance d from its centre:
    for d > 1/2 the farther pixel takes d - 1/2 of the nearer colour, else the nearer pixel 1/2 - d of the farther.
    Gradients flow to the picture and, through d, to x and y of the outline's vertices, so that a mesh can be moved by
    its outline alone. Runs repeat to the bit.

    Faces must share vertices: an edge that only one triangle has, or more than two, is an outline.

    Source: Laine et al. 2020, "Modular Primitives for High-Performance Differentiable Rendering", section 3.6, with two
    differences. The outline is found by walking over the triangles between the two centres, so that triangles smaller
    than a pixel lose none of it; and an edge counts along the one axis that it crosses more squarely, so that the
    gradient of a covered area is that of its polygon.
    """
    batch, (rows, columns) = fragments.face_index.shape[:-2], fragments.face_index.shape[-2:]
    if image.dtype != vertices_screen.dtype:
        raise ValueError(f"the image is {image.dtype}, vertices_screen {vertices_screen.dtype}")
    places = {image.device, fragments.face_index.device, vertices_screen.device, faces.device}
    if len(places) > 1:
        raise ValueError(f"image, fragments, vertices and faces must be on one device, not {sorted(map(str, places))}")
    if image.shape[:-1] != fragments.face_index.shape:
        raise ValueError(f"the image is {tuple(image.shape[:-1])}, the fragments {tuple(fragments.face_index.shape)}")
    require_faces_of(fragments, faces, vertices_screen.shape[-2])
    views = math.prod(batch)
    smooth = _Antialias.apply(
        image.reshape(views, rows, columns, image.shape[-1]).contiguous(),
        vertices_screen.reshape(views, vertices_screen.shape[-2], 3).contiguous(),
        faces,
        fragments.face_index.reshape(views, rows, columns).contiguous(),
        fragments.depth.detach().reshape(views, rows, columns).to(image.dtype).contiguous(),
    )
    return smooth.reshape(image.shape)


class _Antialias(torch.autograd.Function):
    """Blend across silhouettes and its adjoint, for flat batches."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, vertices: Tensor, faces: Tensor, face_index: Tensor, depth: Tensor) -> Tensor:
        device, dtype = image.device, image.dtype
        shared = topology(faces, vertices.shape[1])
        silhouettes = torch.empty((len(vertices), len(faces)), dtype=torch.uint8, device=device)
        mesh = [vectors(vertices), scalars(shared.faces), scalars(shared.across), scalars(silhouettes)]
        launch(MARK_SILHOUETTES[dtype], silhouettes.numel(), mesh, device)
        edges = torch.empty((*face_index.shape, 2), dtype=torch.int32, device=device)
        shares = torch.empty((*face_index.shape, 2), dtype=dtype, device=device)
        pairs = [scalars(edges), scalars(shares)]
        launch_pixels(FIND_PAIRS[dtype], face_index.shape, [*mesh, scalars(face_index), scalars(depth), *pairs], device)
        smooth = torch.empty_like(image)
        launch_pixels(BLEND_PAIRS[dtype], face_index.shape, [scalars(image), *pairs, 0, scalars(smooth)], device)
        ctx.save_for_backward(image, vertices, silhouettes, edges, shares)
        ctx.faces = faces  # the very object: its topology is remembered by it
        return smooth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        image, vertices, silhouettes, edges, shares = ctx.saved_tensors
        shared, device, dtype = topology(ctx.faces, vertices.shape[1]), image.device, image.dtype
        above, pairs = upstream[0].contiguous(), [scalars(edges), scalars(shares)]
        of_image = of_vertices = None
        if ctx.needs_input_grad[0]:
            of_image = torch.empty_like(image)
            launch_pixels(BLEND_PAIRS[dtype], image.shape[:3], [scalars(above), *pairs, 1, scalars(of_image)], device)
        if ctx.needs_input_grad[1]:
            corners = torch.empty((*silhouettes.shape, 3, 3), dtype=dtype, device=device)
            mesh = [vectors(vertices), scalars(shared.faces), scalars(silhouettes)]
            inputs = [*mesh, scalars(image), scalars(above), *pairs, vectors(corners)]
            launch(PULL_BACK_PAIRS[dtype], silhouettes.numel(), inputs, device)
            of_vertices = sum_corners(corners, shared, shared_by_views=False)
        return of_image, of_vertices, None, None, None
