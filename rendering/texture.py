"""Colours of a picture at texture coordinates, with mip-mapping."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from rendering.kernels.texture import PULL_BACK_PLACE, SAMPLE, SCATTER, Layout
from rendering.runtime import PRECISIONS, SMALLEST_SHARE, launch, launch_tasks, scalars

Wrap = Literal["clamp", "repeat"]


def sample_texture(
    texture: Float[Tensor, "*tb th tw c"],
    uv: Float[Tensor, "*b h w 2"],
    *,
    uv_derivatives: Float[Tensor, "*b h w 2 2"] | None = None,
    wrap: Wrap = "clamp",
) -> Float[Tensor, "*b h w c"]:
    """Colours of a texture at (u right, v up), in [0, 1]: row 0 is v = 1, texel centres are at (i + 0.5) / size.

    `texture` is shared by all views (no batch axes) or has those of `uv`. Outside, "clamp" shows the border and
    "repeat" tiles. Without `uv_derivatives` (d uv_i / d (x, y)_j) bilinear; with them trilinear between the two levels
    of `mipmaps` whose texels are about as large as the longer step to a neighbouring pixel. A coordinate that is not a
    number gives a colour that is none.

    Gradients flow to all three tensors; to `uv_derivatives` only where they lie between two levels, else they are 0.
    On the CPU they repeat to the bit on any number of threads; on CUDA the last bits of the texture's may vary, because
    its atomic additions come in any order. Nothing waits for the host.

    Source: Williams 1983, "Pyramidal parametrics"; the level is OpenGL 4.6's, section 8.14.1.
    """
    _require_alike(texture, uv, uv_derivatives)
    if wrap not in get_args(Wrap):
        raise ValueError(f'wrap must be "clamp" or "repeat", not "{wrap}"')
    batch, (rows, columns) = uv.shape[:-3], uv.shape[-3:-1]
    if texture.shape[:-3] not in ((), batch):
        raise ValueError(f"the texture has batch axes {tuple(texture.shape[:-3])}, uv {tuple(batch)}")
    if 0 in texture.shape[-3:-1]:
        raise ValueError(f"a texture has at least one texel, not {tuple(texture.shape[-3:-1])}")
    pixels = math.prod((*batch, rows, columns))
    colour = _Sample.apply(
        texture.reshape(math.prod(texture.shape[:-3]), *texture.shape[-3:]).contiguous(),
        uv.reshape(pixels, 2).contiguous(),
        None if uv_derivatives is None else uv_derivatives.reshape(pixels, 4).contiguous(),
        rows * columns,
        wrap == "repeat",
    )
    return colour.reshape(*batch, rows, columns, texture.shape[-1])


def mipmaps(texture: Float[Tensor, "n th tw c"]) -> Float[Tensor, "n t c"]:
    """The texture's texels row by row, then those of its averages over 2x2 texels, down to a single one.

    A side of odd length loses its last row or column; a side of length 1 stays. Carries no gradients.
    """
    views, height, width, channels = texture.shape
    texels = sum(rows * columns for rows, columns in _level_sizes(height, width))
    pyramid = torch.empty((views, texels, channels), dtype=texture.dtype, device=texture.device)
    levels = _levels(pyramid, (height, width))
    levels[0][...] = _values(texture)
    for fine, coarse in pairwise(levels):
        averaged = _averaged(fine)
        coarse[...] = averaged[0]
        for part in averaged[1:]:
            coarse += part
        coarse *= 1 / len(averaged)
    return pyramid


def _pull_back_mipmaps(of_pyramid: Float[Tensor, "n t c"], size_hw: tuple[int, int]) -> Float[Tensor, "n th tw c"]:
    """Gradient of the texture, in the memory of its pyramid's."""
    for fine, coarse in reversed(list(pairwise(_levels(of_pyramid, size_hw)))):
        averaged = _averaged(fine)
        share = coarse * (1 / len(averaged))
        for part in averaged:
            part += share
    return of_pyramid[:, : math.prod(size_hw)].unflatten(1, size_hw)


def _level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of each level, finest first."""
    return [(max(1, height >> level), max(1, width >> level)) for level in range(max(height, width).bit_length())]


def _levels(pyramid: Float[Tensor, "n t c"], size_hw: tuple[int, int]) -> list[Any]:
    """The levels that there is memory for, finest first, each [n, rows, columns, c]."""
    values, found, start = _values(pyramid), [], 0
    for size in _level_sizes(*size_hw):
        end = start + math.prod(size)
        if end <= pyramid.shape[1]:
            found.append(values[:, start:end].reshape(len(pyramid), *size, pyramid.shape[2]))
        start = end
    return found


def _values(tensor: Tensor) -> Any:
    # NumPy on the CPU: torch's OpenMP threads go on spinning on the processors that the kernels' threads need.
    return tensor.detach().numpy() if tensor.device.type == "cpu" else tensor.detach()


def _averaged(fine: Any) -> list[Any]:
    """The texels, up to 2x2, that each texel of the next level averages: one array for each place among them."""
    rows, columns = (min(2, side) for side in fine.shape[1:3])
    height, width = (side - side % 2 if side > 1 else 1 for side in fine.shape[1:3])
    return [fine[:, row:height:rows, column:width:columns] for row in range(rows) for column in range(columns)]


def _require_alike(texture: Tensor, uv: Tensor, uv_derivatives: Tensor | None) -> None:
    if texture.dtype not in PRECISIONS:
        raise ValueError(f"the texture must be float32 or float64, not {texture.dtype}")
    for name, other in (("uv", uv), ("uv_derivatives", uv_derivatives)):
        if other is None:
            continue
        if other.dtype != texture.dtype:
            raise ValueError(f"{name} is {other.dtype}, the texture {texture.dtype}")
        if other.device != texture.device:
            raise ValueError(f"{name} is on {other.device}, the texture on {texture.device}")


class _Sample(torch.autograd.Function):
    """Sampling and its adjoint, for pixels in a row."""

    @staticmethod
    def forward(
        ctx: Any, texture: Tensor, uv: Tensor, derivatives: Tensor | None, pixels_per_view: int, repeat: bool
    ) -> Tensor:
        _, height, width, channels = texture.shape
        ctx.layout = layout = Layout()
        ctx.size_hw = layout.height, layout.width = height, width
        layout.levels = 1 if derivatives is None else len(_level_sizes(height, width))
        layout.repeat, layout.pixels = int(repeat), pixels_per_view
        pyramid = texture.detach().flatten(1, 2) if layout.levels == 1 else mipmaps(texture)
        colour = torch.empty((len(uv), channels), dtype=uv.dtype, device=uv.device)
        launch(
            SAMPLE[uv.dtype], len(uv), [*_places(uv, derivatives), layout, *map(scalars, (pyramid, colour))], uv.device
        )
        ctx.save_for_backward(uv, derivatives, pyramid)
        return colour

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        uv, derivatives, pyramid = ctx.saved_tensors
        above, of_texture, of_uv, of_derivatives = upstream[0].contiguous(), None, None, None
        inputs = [*_places(uv, derivatives), ctx.layout]
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            of_uv = torch.empty_like(uv)
            of_derivatives = None if derivatives is None else _zeros_like(derivatives)
            results = _places(of_uv, of_derivatives)
            launch(PULL_BACK_PLACE[uv.dtype], len(uv), [*inputs, scalars(pyramid), scalars(above), *results], uv.device)
        if ctx.needs_input_grad[0]:
            of_pyramid = _zeros_like(pyramid)
            _scatter([*inputs, scalars(above)], ctx.layout.pixels, len(uv), of_pyramid)
            of_texture = _pull_back_mipmaps(of_pyramid, ctx.size_hw)
        return of_texture, of_uv, of_derivatives, None, None


def _places(uv: Tensor, derivatives: Tensor | None) -> list[Any]:
    """Coordinates and their derivatives for a kernel, of which those that are not given are none."""
    return [scalars(uv), scalars(uv.new_empty((0, 4)) if derivatives is None else derivatives)]


def _scatter(inputs: list[Any], pixels: int, items: int, of_pyramid: Tensor) -> None:
    """Sum the pixels' gradients at their texels: views over threads, and bands of a texture's rows where they are few.

    Every thread of a texture goes through all of its pixels in order and keeps to its own rows, so that sums need
    neither a buffer for each thread nor atomics, and do not depend on the number of threads.
    """
    device, textures, threads = of_pyramid.device, len(of_pyramid), 1
    if device.type == "cpu":
        threads = max(1, min(torch.get_num_threads(), items // SMALLEST_SHARE))
    parts = max(1, min(textures, threads))
    bands = -(-threads // parts)
    kernel, memory, tasks = SCATTER[of_pyramid.dtype], scalars(of_pyramid), []
    for part in range(parts):
        first, last = (pixels * (textures * end // parts) if textures > 1 else items * end for end in (part, part + 1))
        tasks += [(last - first, [first, *inputs, band, bands, memory]) for band in range(bands)]
    launch_tasks(kernel, tasks, device)


def _zeros_like(tensor: Tensor) -> Tensor:
    # NumPy takes zeroed pages from the system; torch would clear them on its OpenMP threads, which go on spinning on
    # the processors that our threads need.
    if tensor.device.type == "cpu":
        return torch.from_numpy(np.zeros(tensor.shape, tensor.detach().numpy().dtype))
    return torch.zeros_like(tensor)
