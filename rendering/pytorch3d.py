"""PyTorch3D's rasterizer behind our `Fragments`: a second opinion on ours, where it is installed.

It computes in float32, takes seconds for a picture on a CPU, and differs from `rendering.rasterize` in that a pixel
centre exactly on an edge shows neither triangle, that slivers of an area under 5e-9 in its coordinates are left out,
and that triangles which pass the near plane have depths right to 0.1 % only and gradients without a part of the cut's
own motion. On CUDA it drops triangles, with a warning, where more than 10,000 and a fifth of all meet one of its bins.

PyTorch3D's programs fit one version of torch only: easypytorch3d 0.7.9.post1 was built for torch 2.11 with CUDA 13.
Source: Ravi et al. 2020, Accelerating 3D Deep Learning with PyTorch3D.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, Int16, Int64
from torch import Tensor

from geometry.errors import InputError
from rendering.fragments import Fragments
from rendering.kernels.visibility import NEAR_M
from rendering.rasterize import LARGEST_SIDE, require_drawable

_ROUNDING_PX = 0.02
"""Boxes are this much larger than their triangles: float32 resolves 0.002 px in a picture of the largest size."""


def rasterize(
    vertices_screen: Float[Tensor, "*b v 3"],
    faces: Int[Tensor, "f 3"],
    size_hw: tuple[int, int],
    *,
    cull_backfaces: bool = False,
) -> Fragments:
    """The nearest triangle, its depth and its barycentrics seen through each pixel centre, by PyTorch3D.

    Arguments and result are those of `rendering.rasterize.rasterize`; float64 is narrowed to float32 and widened again.
    Raises InputError where there is no PyTorch3D that fits this torch, ValueError as ours does.
    """
    if not all(0 <= side <= LARGEST_SIDE for side in size_hw):
        raise ValueError(f"a picture has sides of 0 to {LARGEST_SIDE} pixels, not {size_hw}")
    require_drawable(vertices_screen, faces)
    peer = installed_pytorch3d()
    batch, dtype = vertices_screen.shape[:-2], vertices_screen.dtype
    views = vertices_screen.reshape(math.prod(batch), *vertices_screen.shape[-2:])
    if not len(views) * len(faces) * math.prod(size_hw):
        packed = _nothing(views, size_hw)
    else:
        meshes = peer.meshes(ndc_from_screen(views, size_hw).float(), faces.long().expand(len(views), -1, -1))
        # blur_radius=0 and one face per pixel: visibility alone. Clipping does nothing where all lies in front.
        packed = peer.rasterize_meshes(
            meshes, size_hw, 0.0, 1, perspective_correct=True, cull_backfaces=cull_backfaces, z_clip_value=NEAR_M
        )
    pix_to_face, zbuf, barycentric = (x.squeeze(3) for x in packed[:3])
    mask = pix_to_face >= 0
    return Fragments(
        face_index=_of_view(pix_to_face, len(faces)).to(torch.int32).reshape(*batch, *size_hw),
        depth=torch.where(mask, zbuf, 0).to(dtype).reshape(*batch, *size_hw),
        barycentric=torch.where(mask[..., None], barycentric, 0).to(dtype).reshape(*batch, *size_hw, 3),
        boxes=triangle_boxes(vertices_screen.detach(), faces, size_hw),
    )


def ndc_from_screen(points: Float[Tensor, "*b 3"], size_hw: tuple[int, int]) -> Float[Tensor, "*b 3"]:
    """Points in PyTorch3D's normalised coordinates, z kept: x left, y up, the picture's shorter side from -1 to 1.

    x_ndc = (w - 2 x) / min(h, w), y_ndc = (h - 2 y) / min(h, w). Two mirrored axes are half a turn, so that front
    faces stay front faces.
    """
    rows, columns = size_hw
    x, y, z = points.unbind(-1)
    return torch.stack([(columns - 2 * x) / min(size_hw), (rows - 2 * y) / min(size_hw), z], -1)


def screen_from_ndc(points: Float[Tensor, "*b 3"], size_hw: tuple[int, int]) -> Float[Tensor, "*b 3"]:
    """Points in pixels (x right, y down, z kept), from PyTorch3D's normalised coordinates."""
    rows, columns = size_hw
    x, y, z = points.unbind(-1)
    return torch.stack([(columns - min(size_hw) * x) / 2, (rows - min(size_hw) * y) / 2, z], -1)


def triangle_boxes(
    vertices_screen: Float[Tensor, "*b v 3"], faces: Int[Tensor, "f 3"], size_hw: tuple[int, int]
) -> Int16[Tensor, "*b f 4"]:
    """Pixel bounds (`Fragments.boxes`) of every triangle's part beyond the near plane; zeros where it covers none.

    A side that passes the plane is cut there in homogeneous coordinates (x z, y z, z), in which it is straight.
    """
    corners = vertices_screen.double()[..., faces.long(), :]
    z = corners[..., 2:]
    space = torch.cat([corners[..., :2] * z, z], -1)
    onward = space.roll(-1, -2) - space
    cuts = (space + (NEAR_M - z) / onward[..., 2:] * onward)[..., :2] / NEAR_M
    visible = z[..., 0] >= NEAR_M
    exists = torch.cat([visible, visible != visible.roll(-1, -1)], -1)[..., None]
    points = torch.cat([corners[..., :2], cuts], -2)
    low = torch.where(exists, points, math.inf).amin(-2) - _ROUNDING_PX
    high = torch.where(exists, points, -math.inf).amax(-2) + _ROUNDING_PX
    size_wh = torch.tensor(size_hw[::-1], dtype=torch.float64, device=corners.device)
    first = (low - 0.5).ceil().clamp(min=0).minimum(size_wh)
    end = (high + 0.5).floor().clamp(min=0).minimum(size_wh)
    boxes = torch.cat([first.flip(-1), end.flip(-1)], -1)
    return torch.where((first < end).all(-1, keepdim=True), boxes, 0).to(torch.int16)


@dataclass(frozen=True, eq=False)
class PyTorch3D:
    """What is used of PyTorch3D; it has no types of its own that a checker could find where it is absent."""

    meshes: Any
    """The class `Meshes`."""
    rasterize_meshes: Any
    """The function that draws them."""


@functools.cache
def installed_pytorch3d() -> PyTorch3D:
    """PyTorch3D, once it has drawn a triangle; InputError where it is missing or was built for another torch."""
    expected = f"PyTorch3D, built for torch {torch.__version__}"
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes  # pyright: ignore[reportMissingImports]
        from pytorch3d.structures import Meshes  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            expected, str(error), "install one (docs/rendering.md says which), or draw with rendering.rasterize"
        ) from error
    triangle = torch.tensor([[[3.0, -3, 1], [-3, -3, 1], [0, 3, 1]]])
    try:
        shown = rasterize_meshes(Meshes(triangle, torch.tensor([[[0, 1, 2]]])), 2, 0.0, 1, perspective_correct=True)[0]
    except RuntimeError as error:  # programs of two versions misread each other's tensors
        got = str(error)
    else:
        if bool((shown == 0).all()):
            return PyTorch3D(Meshes, rasterize_meshes)
        got = f"one that draws a triangle as faces {shown.flatten().tolist()}"
    raise InputError(expected, got, "build PyTorch3D against this torch, or draw with rendering.rasterize")


def _of_view(pix_to_face: Int64[Tensor, "b h w"], count: int) -> Int64[Tensor, "b h w"]:
    """Face indices within each view, from those that count through the whole batch; -1 stays."""
    first = count * torch.arange(len(pix_to_face), device=pix_to_face.device)
    return torch.where(pix_to_face >= 0, pix_to_face - first[:, None, None], -1)


def _nothing(views: Float[Tensor, "b v 3"], size_hw: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """PyTorch3D's answer where there is nothing to draw, or nothing to draw on; a gradient of zero flows."""
    zero = views.new_zeros(len(views), *size_hw, 1) + 0 * views.sum()
    return torch.full_like(zero, -1, dtype=torch.int64), zero, zero[..., None].expand(*zero.shape, 3)
