"""Which triangle a pixel centre shows, and the adjoint of where on it.

With a corner's homogeneous screen point A = (x z, y z, z) and a pixel centre p = (x, y, 1), the space weights of a
triangle's corners are e_a = (B x C) . p, e_b = (C x A) . p, e_c = (A x B) . p up to their sum S (Olano & Greer 1997,
"Triangle scan conversion using 2D homogeneous coordinates"). They need no division by the depth of a corner, so that
triangles that pass the camera plane are clipped exactly by their depth at each pixel.
"""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

from typing import Any, no_type_check

import warp as wp

from rendering.runtime import for_each_precision

# Without fused multiply-adds an edge seen from its two sides differs in sign alone, on every device: no pixel between
# two triangles is lost, and CPU and CUDA give the same bits.
wp.set_module_options({"enable_backward": False, "fuse_fp": False})

NEAR_M = wp.constant(1e-4)
"""Nothing nearer than this is drawn, metres."""
NOTHING = wp.constant(wp.uint64(0))
"""The word of a pixel without a triangle: words are kept inverted, because memory comes zeroed for nothing."""
WIDE = wp.constant(32)
"""Columns from which a triangle's rows are entered where its edges cross them, instead of at its box."""
Box = wp.types.vector(4, wp.int16)
Box32 = wp.types.vector(4, wp.int32)


@wp.func
@no_type_check
def edge(p: Any, q: Any, x: Any, y: Any) -> Any:
    """Twice the signed area of p, q and the point (x, y)."""
    return (p[0] - x) * (q[1] - y) - (p[1] - y) * (q[0] - x)


@wp.func
@no_type_check
def space_weights(a: Any, b: Any, c: Any, x: Any, y: Any) -> Any:
    """e_a, e_b, e_c at the point (x, y), from differences to that point: exact where it matters, near an edge."""
    e = type(a)()
    e[0] = edge(b, c, x, y) * (b[2] * c[2])
    e[1] = edge(c, a, x, y) * (c[2] * a[2])
    e[2] = edge(a, b, x, y) * (a[2] * b[2])
    return e


@wp.func
@no_type_check
def depth_at(e: Any, total: Any, a: Any, b: Any, c: Any) -> Any:
    """Depth of the triangle's point with these weights, metres."""
    return (e[0] * a[2] + e[1] * b[2] + e[2] * c[2]) / total


@wp.func
@no_type_check
def widen(bounds: Any, p: Any, q: Any, near: Any) -> Any:
    """Bounds (x, y, x, y) with what of the side p, q lies beyond the near plane."""
    if p[2] >= near:
        bounds = type(bounds)(
            wp.min(bounds[0], p[0]), wp.min(bounds[1], p[1]), wp.max(bounds[2], p[0]), wp.max(bounds[3], p[1])
        )
    if (p[2] >= near) != (q[2] >= near):
        t = (near - p[2]) / (q[2] - p[2])
        x = (p[0] * p[2] + t * (q[0] * q[2] - p[0] * p[2])) / near
        y = (p[1] * p[2] + t * (q[1] * q[2] - p[1] * p[2])) / near
        bounds = type(bounds)(wp.min(bounds[0], x), wp.min(bounds[1], y), wp.max(bounds[2], x), wp.max(bounds[3], y))
    return bounds


@wp.func
@no_type_check
def triangle_box(a: Any, b: Any, c: Any, rows: int, columns: int) -> Box32:
    """First row and column and one past the last of the pixel centres in the triangle's bounds; zeros for none."""
    near = type(a[0])(NEAR_M)
    x_low = wp.min(a[0], wp.min(b[0], c[0]))
    x_high = wp.max(a[0], wp.max(b[0], c[0]))
    y_low = wp.min(a[1], wp.min(b[1], c[1]))
    y_high = wp.max(a[1], wp.max(b[1], c[1]))
    if a[2] < near or b[2] < near or c[2] < near:
        x_low = type(x_low)(1.0e30)
        y_low = x_low
        x_high = -x_low
        y_high = -x_low
        bounds = wp.vector(x_low, y_low, x_high, y_high)
        bounds = widen(bounds, a, b, near)
        bounds = widen(bounds, b, c, near)
        bounds = widen(bounds, c, a, near)
        x_low = bounds[0]
        y_low = bounds[1]
        x_high = bounds[2]
        y_high = bounds[3]
    # Not a number is neither: such a triangle covers nothing.
    if not (wp.isfinite(a[0] + a[1] + a[2]) and wp.isfinite(b[0] + b[1] + b[2]) and wp.isfinite(c[0] + c[1] + c[2])):
        return Box32()
    zero = type(x_low)(0.0)
    half = type(x_low)(0.5)
    # Clamped before it becomes an integer: a triangle may be larger than any screen.
    row = int(wp.clamp(wp.ceil(y_low - half), zero, type(x_low)(rows)))
    column = int(wp.clamp(wp.ceil(x_low - half), zero, type(x_low)(columns)))
    row_end = int(wp.clamp(wp.floor(y_high + half), zero, type(x_low)(rows)))
    column_end = int(wp.clamp(wp.floor(x_high + half), zero, type(x_low)(columns)))
    if row_end <= row or column_end <= column:
        return Box32()
    return Box32(row, column, row_end, column_end)


@wp.func
@no_type_check
def side_crossing(span: Any, p: Any, q: Any, y: Any) -> Any:
    """The span (low, high) widened to where the side p, q meets the row at y."""
    if p[1] != q[1] and wp.min(p[1], q[1]) <= y and y <= wp.max(p[1], q[1]):
        x = p[0] + (y - p[1]) * ((q[0] - p[0]) / (q[1] - p[1]))
        span = type(span)(wp.min(span[0], x), wp.max(span[1], x))
    return span


@wp.func
@no_type_check
def row_span(a: Any, b: Any, c: Any, y: Any, box: Box32) -> wp.vec2i:
    """First column and one past the last that a triangle in front of the camera can cover in the row at y."""
    span = wp.vector(type(y)(1.0e30), type(y)(-1.0e30))
    span = side_crossing(span, a, b, y)
    span = side_crossing(span, b, c, y)
    span = side_crossing(span, c, a, y)
    low = type(y)(box[1])
    high = type(y)(box[3])
    # A pixel more on both sides for the rounding of the division: the exact test comes after.
    slack = type(y)(1.5)
    return wp.vec2i(int(wp.clamp(span[0] - slack, low, high)), int(wp.clamp(span[1] + slack, low, high)))


@wp.func
@no_type_check
def cover_row(
    words: wp.array3d(dtype=wp.uint64), a: Any, b: Any, c: Any, place: wp.vec4i, span: wp.vec2i, culled: int
) -> None:
    """Offer a triangle to the pixels of one row; `place` is view, row, row of the words, face."""
    y = type(a[0])(place[1]) + type(a[0])(0.5)
    zero = type(y)(0.0)
    for column in range(span[0], span[1]):
        x = type(y)(column) + type(y)(0.5)
        e = space_weights(a, b, c, x, y)
        total = e[0] + e[1] + e[2]
        # Both ways round, so that no pixel is lost between a triangle and a sliver whose area rounds to either sign.
        # Counter-clockwise in space is a negative area on the screen, where y points down.
        behind = e[0] >= zero and e[1] >= zero and e[2] >= zero and culled == 0
        ahead = e[0] <= zero and e[1] <= zero and e[2] <= zero
        if (behind or ahead) and total != zero:
            depth = depth_at(e, total, a, b, c)
            if depth >= type(y)(NEAR_M):
                bits = wp.cast(wp.float32(depth), wp.uint32)
                word = ~((wp.uint64(bits) << wp.uint64(32)) | wp.uint64(place[3]))
                if word > words[place[0], place[2], column]:
                    wp.atomic_max(words, place[0], place[2], column, word)


@wp.func
@no_type_check
def homogeneous(v: Any, x: Any, y: Any) -> Any:
    """The homogeneous screen point of a corner, relative to (x, y)."""
    return type(v)((v[0] - x) * v[2], (v[1] - y) * v[2], v[2])


@wp.func
@no_type_check
def on_screen(v: Any, upstream: Any, direct: Any, x: Any, y: Any) -> Any:
    """Gradient of a corner from that of its homogeneous point, and what its depth gets besides."""
    return type(v)(
        upstream[0] * v[2],
        upstream[1] * v[2],
        upstream[0] * (v[0] - x) + upstream[1] * (v[1] - y) + upstream[2] + direct,
    )


@wp.kernel
@no_type_check
def bound(
    first: int,
    vertices: wp.array2d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    rows: int,
    columns: int,
    boxes: wp.array2d(dtype=Box),
) -> None:
    """The box of one triangle of one view."""
    item = first + wp.tid()
    view = item // faces.shape[0]
    face = item % faces.shape[0]
    # A GPU's indices are not checked on the host, which would stop its stream.
    exists = bool(True)
    for k in range(3):
        if faces[face, k] < 0 or faces[face, k] >= vertices.shape[1]:
            exists = False
    box = Box32()
    if exists:
        a = vertices[view, faces[face, 0]]
        b = vertices[view, faces[face, 1]]
        c = vertices[view, faces[face, 2]]
        box = triangle_box(a, b, c, rows, columns)
    boxes[view, face] = Box(wp.int16(box[0]), wp.int16(box[1]), wp.int16(box[2]), wp.int16(box[3]))


@wp.func
@no_type_check
def owner_of(item: int, owners: wp.array(dtype=wp.int32)) -> int:
    """The triangle (view * faces + face) that a piece of work belongs to: itself, where nothing is cut in pieces."""
    if owners.shape[0] == 0:
        return item
    return wp.max(owners[item], 0)


@wp.kernel
@no_type_check
def cover(
    first: int,
    boxes: wp.array(dtype=Box),
    owners: wp.array(dtype=wp.int32),
    vertices: wp.array2d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    culled: int,
    row_first: int,
    words: wp.array3d(dtype=wp.uint64),
) -> None:
    """Offer one triangle of one view to a band of a picture's rows, whose words belong to this task alone."""
    item = first + wp.tid()
    owner = owner_of(item, owners)
    view = owner // faces.shape[0]
    face = owner % faces.shape[0]
    box = Box32(int(boxes[item][0]), int(boxes[item][1]), int(boxes[item][2]), int(boxes[item][3]))
    if wp.max(box[0], row_first) >= wp.min(box[2], row_first + words.shape[1]):
        return
    a = vertices[view, faces[face, 0]]
    b = vertices[view, faces[face, 1]]
    c = vertices[view, faces[face, 2]]
    near = type(a[0])(NEAR_M)
    narrow = box[3] - box[1] < WIDE or a[2] < near or b[2] < near or c[2] < near
    for row in range(wp.max(box[0], row_first), wp.min(box[2], row_first + words.shape[1])):
        span = wp.vec2i(box[1], box[3])
        if not narrow:
            span = row_span(a, b, c, type(a[0])(row) + type(a[0])(0.5), box)
        cover_row(words, a, b, c, wp.vec4i(view, row, row - row_first, face), span, culled)


@wp.func
@no_type_check
def run_of(item: int, run: int, rows: int, columns: int) -> wp.vec4i:
    """View, row, first column and one past the last of a run of pixels in a row."""
    runs = (columns + run - 1) // run
    start = (item % runs) * run
    return wp.vec4i(item // (runs * rows), (item // runs) % rows, start, wp.min(start + run, columns))


@wp.kernel
@no_type_check
def unpack(
    first: int,
    run: int,
    words: wp.array3d(dtype=wp.uint64),
    vertices: wp.array2d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    row_first: int,
    face_index: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=Any),
    barycentric: wp.array3d(dtype=Any),
) -> None:
    """Turn the words of a run of pixels in a row into face index, depth and barycentrics."""
    place = run_of(first + wp.tid(), run, words.shape[1], words.shape[2])
    view = place[0]
    row = place[1]
    half = depth.dtype(0.5)
    y = depth.dtype(row_first + row) + half
    for column in range(place[2], place[3]):
        word = words[view, row, column]
        if word == NOTHING:
            face_index[view, row, column] = -1
            depth[view, row, column] = depth.dtype(0.0)
            barycentric[view, row, column] = barycentric.dtype()
        else:
            face = int(~word & wp.uint64(0xFFFFFFFF))
            a = vertices[view, faces[face, 0]]
            b = vertices[view, faces[face, 1]]
            c = vertices[view, faces[face, 2]]
            e = space_weights(a, b, c, depth.dtype(column) + half, y)
            total = e[0] + e[1] + e[2]
            face_index[view, row, column] = face
            depth[view, row, column] = depth_at(e, total, a, b, c)
            barycentric[view, row, column] = e / total


@wp.func
@no_type_check
def clear_corners(corners: wp.array2d(dtype=Any), item: int) -> None:
    """A triangle without pixels sends nothing back."""
    for k in range(3):
        corners[item, k] = corners.dtype()


@wp.func
@no_type_check
def send_back(
    corners: wp.array2d(dtype=Any),
    item: int,
    a: Any,
    b: Any,
    c: Any,
    line_a: Any,
    line_b: Any,
    line_c: Any,
    from_depth: Any,
    box: Box,
) -> None:
    """Take the gradients of B x C, C x A and A x B back to the corners; `from_depth` is what depths get besides."""
    origin_x = type(a[0])(box[1])
    origin_y = type(a[0])(box[0])
    at_a = homogeneous(a, origin_x, origin_y)
    at_b = homogeneous(b, origin_x, origin_y)
    at_c = homogeneous(c, origin_x, origin_y)
    up_a = wp.cross(line_b, at_c) + wp.cross(at_b, line_c)
    up_b = wp.cross(line_c, at_a) + wp.cross(at_c, line_a)
    up_c = wp.cross(line_a, at_b) + wp.cross(at_a, line_b)
    corners[item, 0] = on_screen(a, up_a, from_depth[0], origin_x, origin_y)
    corners[item, 1] = on_screen(b, up_b, from_depth[1], origin_x, origin_y)
    corners[item, 2] = on_screen(c, up_c, from_depth[2], origin_x, origin_y)


@wp.kernel
@no_type_check
def pull_back(
    first: int,
    boxes: wp.array(dtype=Box),
    owners: wp.array(dtype=wp.int32),
    vertices: wp.array2d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    face_index: wp.array3d(dtype=wp.int32),
    depth_upstream: wp.array3d(dtype=Any),
    barycentric_upstream: wp.array3d(dtype=Any),
    corners: wp.array2d(dtype=Any),
) -> None:
    """Gradient of a triangle's corners, summed over its pixels in order.

    The three lines n_a = B x C, n_b = C x A, n_c = A x B are the same in all its pixels: their gradients are summed
    there, and taken back through the cross products once. Coordinates are relative to the box, so that single precision
    holds far from the picture's corner.
    """
    item = first + wp.tid()
    owner = owner_of(item, owners)
    view = owner // faces.shape[0]
    face = owner % faces.shape[0]
    box = boxes[item]
    if box[2] <= box[0]:
        clear_corners(corners, item)
        return
    a = vertices[view, faces[face, 0]]
    b = vertices[view, faces[face, 1]]
    c = vertices[view, faces[face, 2]]
    line_a = type(a)()
    line_b = type(a)()
    line_c = type(a)()
    from_depth = type(a)()
    half = type(a[0])(0.5)
    seen = int(0)
    for row in range(int(box[0]), int(box[2])):
        for column in range(int(box[1]), int(box[3])):
            if face_index[view, row, column] == face:
                seen = seen + 1
                e = space_weights(a, b, c, type(a[0])(column) + half, type(a[0])(row) + half)
                total = e[0] + e[1] + e[2]
                weights = e / total
                up_depth = depth_upstream[view, row, column]
                up = barycentric_upstream[view, row, column] + up_depth * type(a)(a[2], b[2], c[2])
                up_e = (up - type(a)(type(a[0])(1.0), type(a[0])(1.0), type(a[0])(1.0)) * wp.dot(up, weights)) / total
                p = type(a)(
                    type(a[0])(column - int(box[1])) + half, type(a[0])(row - int(box[0])) + half, type(a[0])(1.0)
                )
                line_a += up_e[0] * p
                line_b += up_e[1] * p
                line_c += up_e[2] * p
                from_depth += up_depth * weights
    if seen == 0:
        clear_corners(corners, item)
        return
    send_back(corners, item, a, b, c, line_a, line_b, line_c, from_depth, box)


BOUND = for_each_precision(bound, vectors=("vertices",))
COVER = for_each_precision(cover, vectors=("vertices",))
UNPACK = for_each_precision(unpack, vectors=("vertices", "barycentric"))
PULL_BACK = for_each_precision(pull_back, vectors=("vertices", "barycentric_upstream", "corners"))
