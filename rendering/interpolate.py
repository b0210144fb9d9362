"""Values of vertices carried to pixels, and how they change from pixel to pixel."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from rendering.fragments import Fragments
from rendering.kernels.attributes import (
    BLEND_CORNERS,
    PULL_BACK_SLOPES,
    PULL_BACK_VALUES,
    PULL_BACK_WEIGHTS,
    SLOPE_OF_WEIGHTS,
)
from rendering.kernels.gathering import sum_corners
from rendering.pieces import sum_over_pixels
from rendering.rasterize import require_indices
from rendering.runtime import launch, scalars, vectors
from rendering.topology import topology


def interpolate(
    fragments: Fragments, faces: Int[Tensor, "f 3"], values: Float[Tensor, "*vb v c"]
) -> Float[Tensor, "*b h w c"]:
    """Any attribute of the vertices at every pixel, perspective-correct; 0 where there is no triangle.

    `values` are one table for all views (`v c`) or one for each (`*b v c`). `faces` may index another table than the
    one rasterized (texture coordinates with seams), row for row. Gradients flow to the values and to the barycentrics.
    """
    batch, (rows, columns) = fragments.face_index.shape[:-2], fragments.face_index.shape[-2:]
    _require_alike(fragments, faces, values)
    if values.ndim > 2 and values.shape[:-2] != batch:
        raise ValueError(f"values have batch axes {tuple(values.shape[:-2])}, the fragments {tuple(batch)}")
    views, channels = math.prod(batch), values.shape[-1]
    image = _Interpolate.apply(
        fragments.barycentric.reshape(views, rows, columns, 3).contiguous(),
        values.reshape(math.prod(values.shape[:-2]), *values.shape[-2:]).contiguous(),
        faces,
        fragments.face_index.reshape(views, rows, columns).contiguous(),
        fragments.boxes.reshape(views, len(faces), 4).contiguous(),
    )
    return image.reshape(*batch, rows, columns, channels)


def barycentric_derivatives(
    fragments: Fragments, vertices_screen: Float[Tensor, "*b v 3"], faces: Int[Tensor, "f 3"]
) -> Float[Tensor, "*b h w 3 2"]:
    """d barycentric / d (x, y) per pixel, of the triangle that the pixel shows; 0 where there is none.

    With e = n . (x, y, 1) the weights before division by their sum S, d b_k = (n_k - b_k sum_j n_j) / S. Gradients flow
    to the vertices.
    """
    _require_alike(fragments, faces, vertices_screen)
    batch, (rows, columns) = fragments.face_index.shape[:-2], fragments.face_index.shape[-2:]
    views, count = math.prod(batch), vertices_screen.shape[-2]
    along = _Slopes.apply(
        vertices_screen.reshape(views, count, 3).contiguous(),
        faces,
        fragments.face_index.reshape(views, rows, columns).contiguous(),
        fragments.boxes.reshape(views, len(faces), 4).contiguous(),
    )
    return torch.stack([side.reshape(*batch, rows, columns, 3) for side in along], -1)


def interpolate_derivatives(
    fragments: Fragments,
    vertices_screen: Float[Tensor, "*b v 3"],
    faces: Int[Tensor, "f 3"],
    values: Float[Tensor, "*vb u c"],
    attribute_faces: Int[Tensor, "f 3"] | None = None,
) -> Float[Tensor, "*b h w c 2"]:
    """d attribute / d (x, y) per pixel; `attribute_faces` index `values` where that is another table than `faces`'.

    An attribute is linear in the barycentrics, so its derivatives are theirs, interpolated alike.
    """
    slopes = barycentric_derivatives(fragments, vertices_screen, faces)
    table = faces if attribute_faces is None else attribute_faces
    return torch.stack(
        [interpolate(replace(fragments, barycentric=slopes[..., axis]), table, values) for axis in range(2)], -1
    )


def _require_alike(fragments: Fragments, faces: Tensor, values: Tensor) -> None:
    places = {fragments.face_index.device, faces.device, values.device}
    if len(places) > 1:
        raise ValueError(f"fragments, faces and values must be on one device, not on {sorted(map(str, places))}")
    if values.dtype != fragments.barycentric.dtype:
        raise ValueError(f"values are {values.dtype}, the fragments {fragments.barycentric.dtype}")
    require_faces_of(fragments, faces, values.shape[-2])


def require_faces_of(fragments: Fragments, faces: Int[Tensor, "f 3"], count: int) -> None:
    """Raise ValueError unless there are as many faces as were rasterized; on the CPU also on an index out of range."""
    if fragments.boxes.shape[-2] != len(faces):
        raise ValueError(f"{len(faces)} faces are not the {fragments.boxes.shape[-2]} that were rasterized")
    if faces.device.type == "cpu":
        require_indices(faces, count)


class _Interpolate(torch.autograd.Function):
    """Blend of corner values and its adjoint, for flat batches."""

    @staticmethod
    def forward(
        ctx: Any, barycentric: Tensor, values: Tensor, faces: Tensor, face_index: Tensor, boxes: Tensor
    ) -> Tensor:
        views, rows, columns = face_index.shape
        triangles = faces.to(torch.int32).contiguous()
        image = torch.empty((views, rows, columns, values.shape[-1]), dtype=values.dtype, device=values.device)
        inputs = [
            scalars(face_index.view(-1)),
            vectors(barycentric.view(-1, 3)),
            scalars(triangles),
            scalars(values),
            rows * columns,
            scalars(image.view(face_index.numel(), values.shape[-1])),
        ]
        launch(BLEND_CORNERS[values.dtype], face_index.numel(), inputs, values.device)
        ctx.save_for_backward(barycentric, values, face_index, boxes)
        ctx.faces = faces  # the very object: its topology is remembered by it
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        barycentric, values, face_index, boxes = ctx.saved_tensors
        image, shared = upstream[0].contiguous(), topology(ctx.faces, values.shape[1])
        _, rows, columns, channels = image.shape
        of_weights = of_values = None
        if ctx.needs_input_grad[0]:
            of_weights = torch.empty_like(barycentric)
            inputs = [
                scalars(face_index.view(-1)),
                scalars(shared.faces),
                scalars(values),
                rows * columns,
                scalars(image.view(face_index.numel(), channels)),
                scalars(of_weights.view(-1, 3)),
            ]
            launch(PULL_BACK_WEIGHTS[values.dtype], face_index.numel(), inputs, values.device)
        if ctx.needs_input_grad[1]:
            inputs = [len(shared.faces), scalars(face_index), vectors(barycentric), scalars(image)]
            corners = sum_over_pixels(PULL_BACK_VALUES[values.dtype], boxes, inputs, values, scalars)
            of_values = sum_corners(corners, shared, shared_by_views=len(values) != len(image))
        return of_weights, of_values, None, None, None


class _Slopes(torch.autograd.Function):
    """Derivatives of barycentrics along x and y and their adjoint, for flat batches."""

    @staticmethod
    def forward(ctx: Any, vertices: Tensor, faces: Tensor, face_index: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        triangles = faces.to(torch.int32).contiguous()
        along = torch.empty((2, *face_index.shape, 3), dtype=vertices.dtype, device=vertices.device).unbind(0)
        inputs = [vectors(vertices), scalars(triangles), scalars(face_index), *map(vectors, along)]
        launch(SLOPE_OF_WEIGHTS[vertices.dtype], face_index.numel(), inputs, vertices.device)
        ctx.save_for_backward(vertices, face_index, boxes)
        ctx.faces = faces
        return along[0], along[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        vertices, face_index, boxes = ctx.saved_tensors
        shared = topology(ctx.faces, vertices.shape[1])
        inputs = [vectors(vertices), scalars(shared.faces), scalars(face_index)]
        inputs += [vectors(side.contiguous()) for side in upstream]
        corners = sum_over_pixels(PULL_BACK_SLOPES[vertices.dtype], boxes, inputs, vertices, vectors)
        return sum_corners(corners, shared, shared_by_views=False), None, None, None
