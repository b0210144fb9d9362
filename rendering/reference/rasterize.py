"""Which triangle each pixel shows, by asking every triangle at every pixel."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Int16, Int32
from torch import Tensor

from rendering.fragments import Fragments

NEAR_M = 1e-4
"""Surfaces nearer to the camera than this are not drawn."""

_MOST_TESTS = 300_000
"""Pixels times triangles that are tested at once, about 50 MB."""

_ROUNDING_PX = 1e-6
"""Boxes are this much larger than their triangles, so that rounding never leaves out a pixel on an edge."""


def rasterize(
    vertices_screen: Float[Tensor, "*b v 3"],
    faces: Int[Tensor, "f 3"],
    size_hw: tuple[int, int],
    *,
    cull_backfaces: bool = False,
) -> Fragments:
    """The nearest triangle of every pixel centre; depth in metres.

    The choice of the triangle has no gradient; depth and barycentric of the chosen one are functions of its corners.
    Of triangles at one depth (in single precision) the first in `faces` is shown.
    """
    corners = vertices_screen.double()[..., faces.long(), :]
    with torch.no_grad():
        centres = torch.cartesian_prod(*(torch.arange(size, device=faces.device).double() + 0.5 for size in size_hw))
        chunks = centres.flip(-1).split(max(1, _MOST_TESTS // max(1, corners[..., 0, 0].numel())))
        face_index = torch.cat([_nearest_faces(corners, chunk, cull_backfaces) for chunk in chunks], -1)
        face_index = face_index.reshape(*face_index.shape[:-1], *size_hw)
        boxes = _boxes(corners, size_hw, cull_backfaces)
    drawn = of_drawn(face_index, corners)
    edge = edge_values(edge_functions(drawn), drawn_centres(face_index))
    barycentric = edge / edge.sum(-1, keepdim=True)
    depth = (barycentric * drawn[..., 2]).sum(-1)
    return Fragments(
        face_index=face_index,
        depth=to_image(face_index, depth).to(vertices_screen.dtype),
        barycentric=to_image(face_index, barycentric).to(vertices_screen.dtype),
        boxes=boxes,
    )


def edge_functions(corners: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 3 3"]:
    """Rows n_k such that e_k = n_k . (x, y, 1) is zero along the edge across from corner k.

    With the corners A, B, C as (x z, y z, z), which is K times the point in space and so finite and right behind the
    camera too: n_a = B x C, n_b = C x A, n_c = A x B. Then e_k / (e_a + e_b + e_c) are the weights of the corners in
    space.
    Source: Olano & Greer 1997, Triangle scan conversion using 2D homogeneous coordinates.
    """
    z = corners[..., 2:]
    homogeneous = torch.cat([corners[..., :2] * z, z], -1)
    p, q = homogeneous.roll(-1, -2), homogeneous.roll(-2, -2)
    # p x q, each product rounded by itself: then q x p is exactly its negative, and a pixel on the edge between two
    # triangles cannot fall through both. A fused multiply-add, as in torch.linalg.cross, opens such cracks.
    return p.roll(-1, -1) * q.roll(-2, -1) - p.roll(-2, -1) * q.roll(-1, -1)


def edge_values(normals: Float[Tensor, "*#n 3 3"], centres: Float[Tensor, "*#n 2"]) -> Float[Tensor, "... 3"]:
    """e_k = n_k . (x, y, 1), with each operation rounded by itself as in `edge_functions`."""
    x, y = centres[..., None, :].unbind(-1)
    return normals[..., 0] * x + normals[..., 1] * y + normals[..., 2]


def drawn_centres(face_index: Int32[Tensor, "*b h w"]) -> Float[Tensor, "n 2"]:
    """(x, y) of the centres of all pixels that show a triangle."""
    *_, row, column = (face_index >= 0).nonzero(as_tuple=True)
    return torch.stack([column, row], -1).double() + 0.5


def of_drawn(face_index: Int32[Tensor, "*b h w"], per_face: Float[Tensor, "*b f ..."]) -> Float[Tensor, "n ..."]:
    """What belongs to the shown triangle, for all pixels that show one."""
    mask = face_index >= 0
    *view, _row, _column = mask.nonzero(as_tuple=True)
    return per_face[(*view, face_index[mask].long())]


def to_image(face_index: Int32[Tensor, "*b h w"], per_drawn: Float[Tensor, "n ..."]) -> Float[Tensor, "*b h w ..."]:
    """Values of the pixels that show a triangle, put in their places, with zeros elsewhere."""
    image = per_drawn.new_zeros(*face_index.shape, *per_drawn.shape[1:])
    image[face_index >= 0] = per_drawn
    return image


def _nearest_faces(
    corners: Float[Tensor, "*b f 3 3"], centres: Float[Tensor, "n 2"], cull_backfaces: bool
) -> Int32[Tensor, "*b n"]:
    """Indices of the triangles that pixels show; -1 where there is none."""
    edge = edge_values(edge_functions(corners)[..., None, :, :, :], centres[:, None])
    total = edge.sum(-1)
    depth = (edge * corners[..., None, :, :, 2]).sum(-1) / total
    covered = (edge >= 0).all(-1) | (edge <= 0).all(-1)
    covered &= (total != 0) & (depth >= NEAR_M) & corners.isfinite().all(-1).all(-1)[..., None, :]
    if cull_backfaces:
        covered &= total < 0  # counter-clockwise in space is clockwise where y points down
    depth = torch.where(covered, depth, torch.inf).float()
    # argmin gives the first of equals: the rule for ties.
    return torch.where(covered.any(-1), depth.argmin(-1), -1).int()


def _boxes(
    corners: Float[Tensor, "*b f 3 3"], size_hw: tuple[int, int], cull_backfaces: bool
) -> Int16[Tensor, "*b f 4"]:
    """Pixel bounds of every triangle's part in front of the near plane; zeros where it covers none."""
    z = corners[..., 2:]
    space, in_front = torch.cat([corners[..., :2] * z, z], -1), corners[..., 2] >= NEAR_M
    following = space.roll(-1, -2)
    share = (NEAR_M - z) / (following[..., 2:] - z)
    on_near_plane = (space + share * (following - space))[..., :2] / NEAR_M
    points = torch.cat([corners[..., :2], on_near_plane], -2)
    exists = torch.cat([in_front, in_front != in_front.roll(-1, -1)], -1)[..., None]
    low = torch.where(exists, points, torch.inf).amin(-2)
    high = torch.where(exists, points, -torch.inf).amax(-2)
    size_wh = torch.tensor(size_hw[::-1], device=corners.device).double()
    first = (low - 0.5 - _ROUNDING_PX).ceil().clamp(min=0).minimum(size_wh)
    past = ((high - 0.5 + _ROUNDING_PX).floor() + 1).clamp(min=0).minimum(size_wh)
    empty = (first >= past).any(-1) | ~corners.isfinite().all(-1).all(-1)
    if cull_backfaces:
        empty |= _faces_away(corners)
    box = torch.cat([first.flip(-1), past.flip(-1)], -1)
    return torch.where(empty[..., None], 0, box).to(torch.int16)


def _faces_away(corners: Float[Tensor, "*b f 3 3"]) -> Bool[Tensor, "*b f"]:
    """Whether the camera sees a triangle's back: the sign of A . (B x C), which e_a + e_b + e_c has in front of it."""
    z = corners[..., 2:]
    homogeneous = torch.cat([corners[..., :2] * z, z], -1)
    return (homogeneous * edge_functions(corners)).sum(-1)[..., 0] > 0
