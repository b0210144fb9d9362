"""Where a silhouette passes between two pixel centres: coverage by analysis, and its adjoint."""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

from typing import Any, no_type_check

import warp as wp

from rendering.kernels.visibility import NEAR_M, run_of
from rendering.runtime import for_each_precision

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

LONGEST_WALK = wp.constant(64)
"""Triangles that a walk from one pixel centre towards the next may cross: more of them to a pixel are noise."""


@wp.func
@no_type_check
def facing(vertices: Any, faces: wp.array2d(dtype=wp.int32), view: int, face: int) -> int:
    """Sign of a triangle's area on the screen; 0 for one without area, not finite, or with a corner too near."""
    for k in range(3):
        if faces[face, k] < 0 or faces[face, k] >= vertices.shape[1]:
            return 0
    a = vertices[view, faces[face, 0]]
    b = vertices[view, faces[face, 1]]
    c = vertices[view, faces[face, 2]]
    near = type(a[0])(NEAR_M)
    zero = type(a[0])(0.0)
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if a[2] < near or b[2] < near or c[2] < near:
        return 0
    if area > zero:
        return 1
    if area < zero:
        return -1
    return 0


@wp.kernel
@no_type_check
def mark_silhouettes(
    first: int,
    vertices: wp.array2d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    across: wp.array2d(dtype=wp.int32),
    silhouettes: wp.array2d(dtype=wp.uint8),
) -> None:
    """Bits 0 to 2: the edge from corner k bounds the surface that is seen; bit 3: the triangle cannot be walked."""
    item = first + wp.tid()
    view = item // faces.shape[0]
    face = item % faces.shape[0]
    own = facing(vertices, faces, view, face)
    bits = int(0)
    for k in range(3):
        other = across[face, k]
        outline = other < 0
        if other >= 0:
            outline = facing(vertices, faces, view, other) * own <= 0
        if outline:
            bits = bits | (1 << k)
    if own == 0:
        bits = int(8)
    silhouettes[view, face] = wp.uint8(bits)


@wp.func
@no_type_check
def crossing(p: Any, q: Any, x: Any, y: Any, axis: int) -> Any:
    """Where the line p, q meets the pixel row (axis 0) or column (axis 1) through (x, y), along that axis."""
    if axis == 0:
        return p[0] - x + (y - p[1]) * ((q[0] - p[0]) / (q[1] - p[1]))
    return p[1] - y + (x - p[0]) * ((q[1] - p[1]) / (q[0] - p[0]))


@wp.func
@no_type_check
def way_out(a: Any, b: Any, c: Any, x: Any, y: Any, step: wp.vec2i, entered: int) -> int:
    """The edge through which the walk from (x, y) leaves a triangle; -1 if none can be told.

    Of the edges that the walk's line crosses, other than the one it came through, that farthest ahead.
    """
    best = int(-1)
    far = type(x)(-1.0e30)
    for k in range(3):
        if k != entered:
            p = a
            q = b
            if k == 1:
                p = b
                q = c
            if k == 2:
                p = c
                q = a
            low = p[1] - y
            high = q[1] - y
            if step[0] == 0:
                low = p[0] - x
                high = q[0] - x
            # Half-open, so that a line through a corner crosses one of the two edges that meet there.
            zero = type(x)(0.0)
            if (low <= zero) != (high <= zero):
                axis = 0
                if step[0] == 0:
                    axis = 1
                along = crossing(p, q, x, y, axis) * type(x)(step[0] + step[1])
                if along > far:
                    far = along
                    best = k
    return best


@wp.func
@no_type_check
def find_edge(
    vertices: Any,
    faces: wp.array2d(dtype=wp.int32),
    across: wp.array2d(dtype=wp.int32),
    silhouettes: wp.array2d(dtype=wp.uint8),
    start: wp.vec4i,
    step: wp.vec2i,
) -> wp.vec2i:
    """Face and edge of the silhouette between a pixel's centre and the next one's; (-1, -1) if there is none.

    `start` is view, face, row and column of the pixel whose surface is nearer. The walk goes from triangle to triangle,
    so that an outline is found even where triangles are smaller than pixels.
    """
    view = start[0]
    face = start[1]
    entered = int(-1)
    for _ in range(LONGEST_WALK):
        bits = int(silhouettes[view, face])
        if bits >= 8:
            return wp.vec2i(-1, -1)
        a = vertices[view, faces[face, 0]]
        b = vertices[view, faces[face, 1]]
        c = vertices[view, faces[face, 2]]
        x = type(a[0])(start[3]) + type(a[0])(0.5)
        y = type(a[0])(start[2]) + type(a[0])(0.5)
        k = way_out(a, b, c, x, y, step, entered)
        if k < 0:
            return wp.vec2i(-1, -1)
        p = vertices[view, faces[face, k]]
        q = vertices[view, faces[face, (k + 1) % 3]]
        axis = int(0)
        if step[0] == 0:
            axis = 1
        if crossing(p, q, x, y, axis) * type(x)(step[0] + step[1]) > type(x)(1.0):
            return wp.vec2i(-1, -1)
        if (bits >> k) & 1:
            steep = wp.abs(q[1] - p[1]) >= wp.abs(q[0] - p[0])
            # Each piece of outline counts along one axis only, the one that it crosses more squarely.
            if steep == (axis == 0):
                return wp.vec2i(face, k)
            return wp.vec2i(-1, -1)
        other = across[face, k]
        entered = int(-1)
        for j in range(3):
            if across[other, j] == face and same_edge(faces, face, k, other, j):
                entered = j
        face = other
    return wp.vec2i(-1, -1)


@wp.func
@no_type_check
def same_edge(faces: wp.array2d(dtype=wp.int32), face: int, k: int, other: int, j: int) -> bool:
    """Whether edge k of one triangle is edge j of another (two triangles may share two edges)."""
    p = faces[face, k]
    q = faces[face, (k + 1) % 3]
    r = faces[other, j]
    s = faces[other, (j + 1) % 3]
    return (p == s and q == r) or (p == r and q == s)


@wp.kernel
@no_type_check
def find_pairs(
    first: int,
    run: int,
    vertices: wp.array2d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    across: wp.array2d(dtype=wp.int32),
    silhouettes: wp.array2d(dtype=wp.uint8),
    face_index: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=Any),
    edges: wp.array4d(dtype=wp.int32),
    shares: wp.array4d(dtype=Any),
) -> None:
    """For a pixel and the next one in its row (0) and column (1): the silhouette edge between them, and the blend.

    `edges` holds 2 (3 face + edge) + (1 where the next pixel is the nearer), or -1; `shares` the crossing's distance
    from the nearer pixel's centre less a half: positive is what the farther pixel receives, negative the nearer.
    """
    place = run_of(first + wp.tid(), run, face_index.shape[1], face_index.shape[2])
    view = place[0]
    row = place[1]
    for column in range(place[2], place[3]):
        here = face_index[view, row, column]
        for axis in range(2):
            edges[view, row, column, axis] = -1
            shares[view, row, column, axis] = shares.dtype(0.0)
            next_row = row + axis
            next_column = column + 1 - axis
            if next_row < face_index.shape[1] and next_column < face_index.shape[2]:
                there = face_index[view, next_row, next_column]
                if here != there:
                    near_here = depth[view, row, column]
                    near_there = depth[view, next_row, next_column]
                    turned = here < 0 or (there >= 0 and near_there < near_here)
                    start = wp.vec4i(view, here, row, column)
                    step = wp.vec2i(1 - axis, axis)
                    if turned:
                        start = wp.vec4i(view, there, next_row, next_column)
                        step = wp.vec2i(axis - 1, -axis)
                    if here < 0 or there < 0 or near_here != near_there:
                        found = find_edge(vertices, faces, across, silhouettes, start, step)
                        if found[0] >= 0:
                            p = vertices[view, faces[found[0], found[1]]]
                            q = vertices[view, faces[found[0], (found[1] + 1) % 3]]
                            half = shares.dtype(0.5)
                            x = shares.dtype(start[3]) + half
                            y = shares.dtype(start[2]) + half
                            along = crossing(p, q, x, y, axis) * shares.dtype(step[0] + step[1])
                            code = 2 * (3 * found[0] + found[1])
                            if turned:
                                code = code + 1
                            edges[view, row, column, axis] = code
                            shares[view, row, column, axis] = along - half


@wp.func
@no_type_check
def received(code: int, share: Any, second: int) -> Any:
    """How much of its partner's colour the pair's first (0) or second (1) pixel takes."""
    if code < 0:
        return type(share)(0.0)
    nearer = code & 1
    if share > type(share)(0.0) and nearer != second:
        return share
    if share < type(share)(0.0) and nearer == second:
        return -share
    return type(share)(0.0)


@wp.kernel
@no_type_check
def blend_pairs(
    first: int,
    run: int,
    image: wp.array4d(dtype=Any),
    edges: wp.array4d(dtype=wp.int32),
    shares: wp.array4d(dtype=Any),
    adjoint: int,
    blended: wp.array4d(dtype=Any),
) -> None:
    """One pixel of the anti-aliased picture; or, for the adjoint, of the gradient of the picture that went in."""
    place = run_of(first + wp.tid(), run, image.shape[1], image.shape[2])
    view = place[0]
    row = place[1]
    for column in range(place[2], place[3]):
        for channel in range(image.shape[3]):
            blended[view, row, column, channel] = image[view, row, column, channel]
        for axis in range(2):
            for second in range(2):
                # The pair with the next pixel is kept here, that with the last one there.
                pair_row = row - axis * second
                pair_column = column - (1 - axis) * second
                other_row = row + axis * (1 - 2 * second)
                other_column = column + (1 - axis) * (1 - 2 * second)
                if pair_row >= 0 and pair_column >= 0:
                    code = edges[view, pair_row, pair_column, axis]
                    if code >= 0:
                        share = shares[view, pair_row, pair_column, axis]
                        taken = received(code, share, second)
                        given = received(code, share, 1 - second)
                        for channel in range(image.shape[3]):
                            own = image[view, row, column, channel]
                            other = image[view, other_row, other_column, channel]
                            change = taken * (other - own)
                            if adjoint == 1:
                                change = given * other - taken * own
                            blended[view, row, column, channel] = blended[view, row, column, channel] + change


@wp.kernel
@no_type_check
def pull_back_pairs(
    first: int,
    vertices: wp.array2d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    silhouettes: wp.array2d(dtype=wp.uint8),
    image: wp.array4d(dtype=Any),
    upstream: wp.array4d(dtype=Any),
    edges: wp.array4d(dtype=wp.int32),
    shares: wp.array4d(dtype=Any),
    corners: wp.array3d(dtype=Any),
) -> None:
    """Gradient of one triangle's corners: along each of its silhouette edges, from the pairs that the edge parts."""
    item = first + wp.tid()
    view = item // faces.shape[0]
    face = item % faces.shape[0]
    for k in range(3):
        corners[view, face, k] = corners.dtype()
    bits = int(silhouettes[view, face])
    if bits == 0 or bits >= 8:
        return
    for k in range(3):
        if (bits >> k) & 1:
            p = vertices[view, faces[face, k]]
            q = vertices[view, faces[face, (k + 1) % 3]]
            # Along a pixel row (axis 0) where the edge is steep: every row that it crosses has one pair.
            axis = int(0)
            if wp.abs(q[1] - p[1]) < wp.abs(q[0] - p[0]):
                axis = 1
            low = wp.min(p[1 - axis], q[1 - axis])
            high = wp.max(p[1 - axis], q[1 - axis])
            rows = edges.shape[1 + axis]
            half = type(low)(0.5)
            zero = type(low)(0.0)
            line_first = int(wp.clamp(wp.floor(low - half), zero, type(low)(rows)))
            line_end = int(wp.clamp(wp.ceil(high + half), zero, type(low)(rows)))
            up_p = type(p)()
            up_q = type(p)()
            for line in range(line_first, line_end):
                centre = type(low)(line) + half
                t = zero
                if q[1 - axis] != p[1 - axis]:
                    t = (centre - p[1 - axis]) / (q[1 - axis] - p[1 - axis])
                met = p[axis] + t * (q[axis] - p[axis])
                place = int(wp.clamp(wp.floor(met - half), type(low)(-2.0), type(low)(edges.shape[2 - axis]) + half))
                for offset in range(-1, 2):
                    row = line
                    column = place + offset
                    if axis == 1:
                        row = place + offset
                        column = line
                    if row >= 0 and column >= 0 and row < edges.shape[1] and column < edges.shape[2]:
                        code = edges[view, row, column, axis]
                        if code >= 0 and code // 2 == 3 * face + k:
                            share = shares[view, row, column, axis]
                            # The share grows as the crossing moves from the nearer pixel to the farther one.
                            total = zero
                            for channel in range(image.shape[3]):
                                one = image[view, row, column, channel]
                                two = image[view, row + axis, column + 1 - axis, channel]
                                if received(code, share, 0) > zero:
                                    total += upstream[view, row, column, channel] * (two - one)
                                if received(code, share, 1) > zero:
                                    total += upstream[view, row + axis, column + 1 - axis, channel] * (one - two)
                            if share < zero:
                                total = -total
                            if (code & 1) == 1:
                                total = -total
                            slope = (q[axis] - p[axis]) / (q[1 - axis] - p[1 - axis])
                            up_p[axis] = up_p[axis] + total * (type(t)(1.0) - t)
                            up_q[axis] = up_q[axis] + total * t
                            up_p[1 - axis] = up_p[1 - axis] - total * slope * (type(t)(1.0) - t)
                            up_q[1 - axis] = up_q[1 - axis] - total * slope * t
            corners[view, face, k] = corners[view, face, k] + up_p
            corners[view, face, (k + 1) % 3] = corners[view, face, (k + 1) % 3] + up_q


MARK_SILHOUETTES = for_each_precision(mark_silhouettes, vectors=("vertices",))
FIND_PAIRS = for_each_precision(find_pairs, vectors=("vertices",))
BLEND_PAIRS = for_each_precision(blend_pairs)
PULL_BACK_PAIRS = for_each_precision(pull_back_pairs, vectors=("vertices", "corners"))
