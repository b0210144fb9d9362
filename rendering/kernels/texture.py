"""Colours at texture coordinates on a pyramid of averaged textures, and the adjoints."""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

from typing import Any, no_type_check

import warp as wp

from rendering.runtime import for_each_precision

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

BAND_ROWS = wp.constant(4)
"""Texture rows in a row that one thread of several gathers gradients for: most pixels touch the rows of one thread."""


class _Layout:
    """How a pyramid [view, texel, channel] is laid out: its levels row by row, the finest first."""

    height: int
    width: int
    levels: int
    repeat: int
    pixels: int


Layout: Any = wp.struct(_Layout)  # no decorator: the checks of types that the tests put around it want a class


@wp.func
@no_type_check
def halved(size: int, times: int) -> int:
    """A side's length in texels after halving and rounding down, at least 1."""
    return wp.max(size >> times, 1)


@wp.func
@no_type_check
def footprint(derivatives: Any, item: int, layout: Layout) -> Any:
    """Squared lengths in texels of the steps to the next pixel along x and along y."""
    width = derivatives.dtype(layout.width)
    height = derivatives.dtype(layout.height)
    x_u = derivatives[item, 0] * width
    y_u = derivatives[item, 1] * width
    x_v = derivatives[item, 2] * height
    y_v = derivatives[item, 3] * height
    return wp.vector(x_u * x_u + x_v * x_v, y_u * y_u + y_v * y_v)


@wp.func
@no_type_check
def level_of(squared: Any, layout: Layout) -> Any:
    """log2 of the longer step, between 0 and the coarsest level; 0 if it is not a number."""
    longer = wp.max(squared[0], squared[1])
    coarsest = type(longer)(layout.levels - 1)
    if longer >= type(longer)(1.0):
        return wp.min(type(longer)(0.5) * wp.log2(longer), coarsest)
    return type(longer)(0.0)


@wp.func
@no_type_check
def start_of(level: int, layout: Layout) -> int:
    """Place of a level's first texel."""
    start = int(0)
    for finer in range(level):
        start += halved(layout.height, finer) * halved(layout.width, finer)
    return start


@wp.func
@no_type_check
def in_texels(t: Any, size: int, layout: Layout) -> Any:
    """A coordinate in [0, 1] as one in texels, counted from the first centre: within a texel of those that exist."""
    length = type(t)(size)
    if layout.repeat == 1:
        return (t - wp.floor(t)) * length - type(t)(0.5)
    x = t * length - type(t)(0.5)
    if x < type(t)(-1.0):
        return type(t)(-1.0)
    if x > length:
        return length
    return x


@wp.func
@no_type_check
def texel_before(x: Any) -> int:
    """The texel at or before a coordinate; the first one for a coordinate that is not a number."""
    if x >= type(x)(-1.0):
        return int(wp.floor(x))
    return 0


@wp.func
@no_type_check
def existing(texel: int, size: int, layout: Layout) -> int:
    """The texel that stands for one that may lie a step outside."""
    if layout.repeat == 1:
        if texel < 0:
            return texel + size
        if texel >= size:
            return texel - size
        return texel
    return wp.clamp(texel, 0, size - 1)


@wp.func
@no_type_check
def around(x: Any, y: Any, height: int, width: int, start: int, layout: Layout) -> wp.vec4i:
    """The texels around a point: top left, top right, bottom left, bottom right."""
    column = texel_before(x)
    row = texel_before(y)
    left = existing(column, width, layout)
    right = existing(column + 1, width, layout)
    top = start + existing(row, height, layout) * width
    bottom = start + existing(row + 1, height, layout) * width
    return wp.vec4i(top + left, top + right, bottom + left, bottom + right)


@wp.func
@no_type_check
def weights_of(x: Any, y: Any, share: Any) -> Any:
    """Bilinear weights of the texels `around` a point, times the level's share."""
    one = type(x)(1.0)
    right = x - type(x)(texel_before(x))
    bottom = y - type(x)(texel_before(y))
    top_share = (one - bottom) * share
    bottom_share = bottom * share
    return wp.vector((one - right) * top_share, right * top_share, (one - right) * bottom_share, right * bottom_share)


@wp.func
@no_type_check
def blended(pyramid: Any, view: int, texels: wp.vec4i, weights: Any, channel: int) -> Any:
    """The weighted sum of four texels."""
    return (
        weights[0] * pyramid[view, texels[0], channel]
        + weights[1] * pyramid[view, texels[1], channel]
        + weights[2] * pyramid[view, texels[2], channel]
        + weights[3] * pyramid[view, texels[3], channel]
    )


@wp.kernel
@no_type_check
def sample(
    first: int,
    uv: wp.array2d(dtype=Any),
    derivatives: wp.array2d(dtype=Any),
    layout: Layout,
    pyramid: wp.array3d(dtype=Any),
    colour: wp.array2d(dtype=Any),
) -> None:
    """One pixel's colour, from one level or from two; a coordinate that is not a number gives such a colour."""
    item = first + wp.tid()
    view = wp.min(item // layout.pixels, pyramid.shape[0] - 1)
    place = wp.vector(uv[item, 0], uv[item, 1])
    one = type(place[0])(1.0)
    level = type(place[0])(0.0)
    if layout.levels > 1:
        level = level_of(footprint(derivatives, item, layout), layout)
    lower = int(level)
    share = level - type(level)(lower)
    height = halved(layout.height, lower)
    width = halved(layout.width, lower)
    start = start_of(lower, layout)
    x = in_texels(place[0], width, layout)
    y = in_texels(one - place[1], height, layout)
    texels = around(x, y, height, width, start, layout)
    weights = weights_of(x, y, one - share)
    if share > type(share)(0.0):
        start += height * width
        height = halved(height, 1)
        width = halved(width, 1)
        x = in_texels(place[0], width, layout)
        y = in_texels(one - place[1], height, layout)
        coarse_texels = around(x, y, height, width, start, layout)
        coarse_weights = weights_of(x, y, share)
        for channel in range(colour.shape[1]):
            colour[item, channel] = blended(pyramid, view, texels, weights, channel) + blended(
                pyramid, view, coarse_texels, coarse_weights, channel
            )
    else:
        for channel in range(colour.shape[1]):
            colour[item, channel] = blended(pyramid, view, texels, weights, channel)


@wp.func
@no_type_check
def pull_back_level(
    pyramid: Any, upstream: Any, item: int, place: Any, level_start: int, level_size: wp.vec2i, layout: Layout
) -> Any:
    """What reaches u, v and the level's share from one level that counts whole."""
    view = wp.min(item // layout.pixels, pyramid.shape[0] - 1)
    height = level_size[0]
    width = level_size[1]
    one = type(place[0])(1.0)
    x = in_texels(place[0], width, layout)
    y = in_texels(one - place[1], height, layout)
    texels = around(x, y, height, width, level_start, layout)
    right = x - type(x)(texel_before(x))
    bottom = y - type(x)(texel_before(y))
    of_x = type(x)(0.0)
    of_y = type(x)(0.0)
    of_share = type(x)(0.0)
    for channel in range(pyramid.shape[2]):
        up = upstream[item, channel]
        a = pyramid[view, texels[0], channel]
        b = pyramid[view, texels[1], channel]
        c = pyramid[view, texels[2], channel]
        d = pyramid[view, texels[3], channel]
        above = a + right * (b - a)
        below = c + right * (d - c)
        of_x += up * ((one - bottom) * (b - a) + bottom * (d - c))
        of_y += up * (below - above)
        of_share += up * ((one - bottom) * above + bottom * below)
    return wp.vector(of_x * type(x)(width), -of_y * type(x)(height), of_share)


@wp.kernel
@no_type_check
def pull_back_place(
    first: int,
    uv: wp.array2d(dtype=Any),
    derivatives: wp.array2d(dtype=Any),
    layout: Layout,
    pyramid: wp.array3d(dtype=Any),
    upstream: wp.array2d(dtype=Any),
    of_uv: wp.array2d(dtype=Any),
    of_derivatives: wp.array2d(dtype=Any),
) -> None:
    """Gradient of one pixel's coordinates and of their derivatives, which comes filled with zeros."""
    item = first + wp.tid()
    place = wp.vector(uv[item, 0], uv[item, 1])
    zero = type(place[0])(0.0)
    one = type(place[0])(1.0)
    if layout.levels == 1:
        size = wp.vec2i(layout.height, layout.width)
        up = pull_back_level(pyramid, upstream, item, place, 0, size, layout)
        of_uv[item, 0] = up[0]
        of_uv[item, 1] = up[1]
        return
    squared = footprint(derivatives, item, layout)
    level = level_of(squared, layout)
    lower = int(level)
    share = level - type(level)(lower)
    size = wp.vec2i(halved(layout.height, lower), halved(layout.width, lower))
    start = start_of(lower, layout)
    fine = pull_back_level(pyramid, upstream, item, place, start, size, layout)
    longer = wp.max(squared[0], squared[1])
    if lower == layout.levels - 1 or not (longer >= one):
        of_uv[item, 0] = fine[0]
        of_uv[item, 1] = fine[1]
        return
    coarse_size = wp.vec2i(halved(size[0], 1), halved(size[1], 1))
    coarse = pull_back_level(pyramid, upstream, item, place, start + size[0] * size[1], coarse_size, layout)
    blend = fine + (coarse - fine) * share
    of_uv[item, 0] = blend[0]
    of_uv[item, 1] = blend[1]
    # level = log2(l2) / 2 with l2 = (du w)^2 + (dv h)^2 of the longer step; two of one length share it evenly.
    of_length = (coarse[2] - fine[2]) / (longer * type(one)(0.6931471805599453))
    of_x = zero
    of_y = zero
    if squared[0] >= squared[1]:
        of_x = of_length
    if squared[1] >= squared[0]:
        of_y = of_length
    if squared[0] == squared[1]:
        of_x = of_x * type(one)(0.5)
        of_y = of_y * type(one)(0.5)
    u = type(one)(layout.width) * type(one)(layout.width)
    v = type(one)(layout.height) * type(one)(layout.height)
    of_derivatives[item, 0] = of_x * derivatives[item, 0] * u
    of_derivatives[item, 1] = of_y * derivatives[item, 1] * u
    of_derivatives[item, 2] = of_x * derivatives[item, 2] * v
    of_derivatives[item, 3] = of_y * derivatives[item, 3] * v


@wp.func
@no_type_check
def scatter_level(
    upstream: Any,
    item: int,
    place: Any,
    share: Any,
    level_start: int,
    level_size: wp.vec2i,
    layout: Layout,
    band: wp.vec2i,
    of_pyramid: Any,
) -> int:
    """Add one pixel's gradient to those of its four texels that lie in the rows of this band."""
    view = wp.min(item // layout.pixels, of_pyramid.shape[0] - 1)
    height = level_size[0]
    width = level_size[1]
    y = in_texels(type(share)(1.0) - place[1], height, layout)
    row = texel_before(y)
    top = existing(row, height, layout)
    bottom = existing(row + 1, height, layout)
    own_top = (top // BAND_ROWS) % band[1] == band[0]
    own_bottom = (bottom // BAND_ROWS) % band[1] == band[0]
    if own_top or own_bottom:
        x = in_texels(place[0], width, layout)
        texels = around(x, y, height, width, level_start, layout)
        weights = weights_of(x, y, share)
        for channel in range(upstream.shape[1]):
            up = upstream[item, channel]
            if own_top:
                wp.atomic_add(of_pyramid, view, texels[0], channel, weights[0] * up)
                wp.atomic_add(of_pyramid, view, texels[1], channel, weights[1] * up)
            if own_bottom:
                wp.atomic_add(of_pyramid, view, texels[2], channel, weights[2] * up)
                wp.atomic_add(of_pyramid, view, texels[3], channel, weights[3] * up)
    return 0


@wp.kernel
@no_type_check
def scatter(
    first: int,
    uv: wp.array2d(dtype=Any),
    derivatives: wp.array2d(dtype=Any),
    layout: Layout,
    upstream: wp.array2d(dtype=Any),
    band: int,
    bands: int,
    of_pyramid: wp.array3d(dtype=Any),
) -> None:
    """Gradient of the texels in every so many rows from one pixel: the rows of other bands are left to others."""
    item = first + wp.tid()
    place = wp.vector(uv[item, 0], uv[item, 1])
    level = type(place[0])(0.0)
    if layout.levels > 1:
        level = level_of(footprint(derivatives, item, layout), layout)
    lower = int(level)
    share = level - type(level)(lower)
    size = wp.vec2i(halved(layout.height, lower), halved(layout.width, lower))
    start = start_of(lower, layout)
    rows = wp.vec2i(band, bands)
    scatter_level(upstream, item, place, type(share)(1.0) - share, start, size, layout, rows, of_pyramid)
    if share > type(share)(0.0):
        start += size[0] * size[1]
        size = wp.vec2i(halved(size[0], 1), halved(size[1], 1))
        scatter_level(upstream, item, place, share, start, size, layout, rows, of_pyramid)


SAMPLE = for_each_precision(sample)
PULL_BACK_PLACE = for_each_precision(pull_back_place)
SCATTER = for_each_precision(scatter)
