"""Attributes of the drawn triangles, and how fast they change from pixel to pixel."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rendering.fragments import Fragments
from rendering.reference.rasterize import drawn_centres, edge_functions, edge_values, of_drawn, to_image


def interpolate(
    fragments: Fragments, faces: Int[Tensor, "f 3"], values: Float[Tensor, "*v_batch v c"]
) -> Float[Tensor, "*b h w c"]:
    """Values at the vertices carried to the pixels, sum_k b_k values_k; 0 where there is no triangle.

    `values` has the views of the fragments or is shared by all of them.
    """
    weights = fragments.barycentric[fragments.mask].double()
    attribute = torch.einsum("nk, nkc -> nc", weights, _corner_values(fragments, faces, values))
    return to_image(fragments.face_index, attribute).to(values.dtype)


def barycentric_derivatives(
    fragments: Fragments, vertices_screen: Float[Tensor, "*b v 3"], faces: Int[Tensor, "f 3"]
) -> Float[Tensor, "*b h w 3 2"]:
    """d barycentric / d (x, y) of the drawn triangles, per pixel; 0 where there is none.

    b_k = e_k / S with e_k and S = sum_k e_k linear in (x, y), so d b_k = (d e_k - b_k d S) / S.
    """
    face_index = fragments.face_index
    normals = edge_functions(of_drawn(face_index, vertices_screen.double()[..., faces.long(), :]))
    edge = edge_values(normals, drawn_centres(face_index))
    total = edge.sum(-1)[:, None, None]
    slope, total_slope = normals[..., :2], normals[..., :2].sum(-2, keepdim=True)
    derivatives = (slope - edge[..., None] / total * total_slope) / total
    return to_image(face_index, derivatives).to(vertices_screen.dtype)


def interpolate_derivatives(
    fragments: Fragments,
    vertices_screen: Float[Tensor, "*b v 3"],
    faces: Int[Tensor, "f 3"],
    values: Float[Tensor, "*v_batch n c"],
    attribute_faces: Int[Tensor, "f 3"] | None = None,
) -> Float[Tensor, "*b h w c 2"]:
    """d attribute / d (x, y), per pixel; 0 where there is no triangle.

    `attribute_faces` are the triangles' rows in `values` where these differ from `faces`, as texture coordinates with
    seams do.
    """
    slopes = barycentric_derivatives(fragments, vertices_screen, faces)[fragments.mask].double()
    corner_values = _corner_values(fragments, faces if attribute_faces is None else attribute_faces, values)
    derivatives = torch.einsum("nkj, nkc -> ncj", slopes, corner_values)
    return to_image(fragments.face_index, derivatives).to(values.dtype)


def _corner_values(
    fragments: Fragments, faces: Int[Tensor, "f 3"], values: Float[Tensor, "*v_batch v c"]
) -> Float[Tensor, "n 3 c"]:
    """Values at the three corners of the shown triangle, for all pixels that show one."""
    views = fragments.face_index.shape[:-2]
    table = values.double()[..., faces.long(), :]
    return of_drawn(fragments.face_index, table.expand(*views, *table.shape[-3:]))
