"""Colours of a picture at texture coordinates, with mip-mapping."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d

Wrap = Literal["clamp", "repeat"]


def sample_texture(
    texture: Float[Tensor, "*t_batch th tw c"],
    uv: Float[Tensor, "*b h w 2"],
    *,
    uv_derivatives: Float[Tensor, "*b h w 2 2"] | None = None,
    wrap: Wrap = "clamp",
) -> Float[Tensor, "*b h w c"]:
    """Colours of a texture at (u right, v up); row 0 of the texture is v = 1, texel centres are at (i + 0.5) / size.

    Bilinear; with `uv_derivatives` (d uv_i / d (x, y)_j) trilinear between the two mip levels whose texels are about as
    large as the pixel's longer footprint. `texture` has the views of `uv` or is shared by all of them.
    Source: Williams 1983, Pyramidal parametrics.
    """
    height, width, channels = texture.shape[-3:]
    texture_views = texture.double().expand(*uv.shape[:-3], -1, -1, -1).reshape(-1, height, width, channels)
    uv_views = uv.double().reshape(-1, *uv.shape[-3:])
    if uv_derivatives is None:
        colour = _bilinear(texture_views, uv_views, wrap)
    else:
        pyramid = mip_pyramid(texture_views)
        level = mip_level(uv_derivatives.double(), (height, width), len(pyramid) - 1).reshape(uv_views.shape[:-1])
        lower = level.detach().floor()
        share = level - lower
        colour = torch.zeros(*uv_views.shape[:-1], channels, dtype=torch.float64, device=uv.device)
        for number, picture in enumerate(pyramid):
            weight = torch.where(lower == number, 1 - share, torch.where(lower + 1 == number, share, 0.0))
            colour = colour + weight[..., None] * _bilinear(picture, uv_views, wrap)
    return colour.reshape(*uv.shape[:-1], channels).to(texture.dtype)


def mip_pyramid(texture: Float[Tensor, "n th tw c"]) -> list[Float[Tensor, "n _ _ c"]]:
    """The texture and its averages over 2x2 texels, down to one texel.

    A side of odd length loses its last row or column; a side of length 1 stays.
    """
    pyramid = [texture]
    while max(pyramid[-1].shape[1:3]) > 1:
        height, width = pyramid[-1].shape[1:3]
        averaged = avg_pool2d(pyramid[-1].permute(0, 3, 1, 2), (min(height, 2), min(width, 2)))
        pyramid.append(averaged.permute(0, 2, 3, 1))
    return pyramid


def mip_level(
    uv_derivatives: Float[Tensor, "*b h w 2 2"], texture_size_hw: tuple[int, int], coarsest: int
) -> Float[Tensor, "*b h w"]:
    """log2 of the pixel's longer footprint in texels, between 0 and the coarsest level.

    Footprints under a texel count as one, before the logarithm, so that a footprint of zero has a gradient of zero.
    """
    texture_size_wh = torch.tensor(texture_size_hw[::-1], dtype=uv_derivatives.dtype, device=uv_derivatives.device)
    footprints_squared = (uv_derivatives * texture_size_wh[:, None]).square().sum(-2)
    return (0.5 * footprints_squared.amax(-1).clamp(min=1).log2()).clamp(max=coarsest)


def _bilinear(
    texture: Float[Tensor, "n th tw c"], uv: Float[Tensor, "n h w 2"], wrap: Wrap
) -> Float[Tensor, "n h w c"]:
    """The four texels around each point, weighted by its distances to them."""
    height, width = texture.shape[1:3]
    view = torch.arange(len(texture), device=texture.device)[:, None, None]
    x, y = uv[..., 0] * width - 0.5, (1 - uv[..., 1]) * height - 0.5
    left, top = x.detach().floor(), y.detach().floor()
    colour = torch.zeros((), dtype=texture.dtype, device=texture.device)
    for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            texel = texture[view, _wrapped(row, height, wrap), _wrapped(column, width, wrap)]
            colour = colour + (row_weight * column_weight)[..., None] * texel
    return colour


def _wrapped(index: Float[Tensor, "n h w"], size: int, wrap: Wrap) -> Int[Tensor, "n h w"]:
    """Texel indices inside the texture."""
    return (index % size if wrap == "repeat" else index.clamp(0, size - 1)).long()
