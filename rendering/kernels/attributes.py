"""Values of corners at pixels, how barycentrics change from pixel to pixel, and the adjoints of both."""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

from typing import Any, no_type_check

import warp as wp

from rendering.kernels.visibility import Box, clear_corners, owner_of, send_back, space_weights
from rendering.runtime import for_each_precision

wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@wp.kernel
@no_type_check
def blend_corners(
    first: int,
    face_index: wp.array(dtype=wp.int32),
    barycentric: wp.array(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    values: wp.array3d(dtype=Any),
    pixels: int,
    image: wp.array2d(dtype=Any),
) -> None:
    """One pixel's value; `values` are each view's own or, with one row, shared."""
    item = first + wp.tid()
    face = face_index[item]
    if face < 0:
        for channel in range(image.shape[1]):
            image[item, channel] = image.dtype(0.0)
        return
    view = wp.min(item // pixels, values.shape[0] - 1)
    a = faces[face, 0]
    b = faces[face, 1]
    c = faces[face, 2]
    weights = barycentric[item]
    for channel in range(image.shape[1]):
        image[item, channel] = (
            weights[0] * values[view, a, channel]
            + weights[1] * values[view, b, channel]
            + weights[2] * values[view, c, channel]
        )


@wp.kernel
@no_type_check
def pull_back_weights(
    first: int,
    face_index: wp.array(dtype=wp.int32),
    faces: wp.array2d(dtype=wp.int32),
    values: wp.array3d(dtype=Any),
    pixels: int,
    upstream: wp.array2d(dtype=Any),
    barycentric: wp.array2d(dtype=Any),
) -> None:
    """Gradient of one pixel's barycentrics."""
    item = first + wp.tid()
    face = face_index[item]
    view = wp.min(item // pixels, values.shape[0] - 1)
    for k in range(3):
        total = upstream.dtype(0.0)
        if face >= 0:
            vertex = faces[face, k]
            for channel in range(upstream.shape[1]):
                total += upstream[item, channel] * values[view, vertex, channel]
        barycentric[item, k] = total


@wp.kernel
@no_type_check
def pull_back_values(
    first: int,
    boxes: wp.array(dtype=Box),
    owners: wp.array(dtype=wp.int32),
    face_count: int,
    face_index: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=Any),
    upstream: wp.array4d(dtype=Any),
    corners: wp.array3d(dtype=Any),
) -> None:
    """Gradient of the values at one triangle's corners, summed over its pixels in order."""
    item = first + wp.tid()
    owner = owner_of(item, owners)
    view = owner // face_count
    face = owner % face_count
    box = boxes[item]
    for k in range(3):
        for channel in range(corners.shape[2]):
            corners[item, k, channel] = corners.dtype(0.0)
    for row in range(int(box[0]), int(box[2])):
        for column in range(int(box[1]), int(box[3])):
            if face_index[view, row, column] == face:
                weights = barycentric[view, row, column]
                for channel in range(corners.shape[2]):
                    up = upstream[view, row, column, channel]
                    corners[item, 0, channel] = corners[item, 0, channel] + weights[0] * up
                    corners[item, 1, channel] = corners[item, 1, channel] + weights[1] * up
                    corners[item, 2, channel] = corners[item, 2, channel] + weights[2] * up


@wp.func
@no_type_check
def slopes(e: Any, n: Any, total: Any, lines: Any) -> Any:
    """d b_k / d x for weights e_k, given n_k = d e_k / d x and its sum: (n_k - b_k sum n) / S."""
    return (n - e * (lines / total)) / total


@wp.kernel
@no_type_check
def slope_of_weights(
    first: int,
    vertices: wp.array2d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    face_index: wp.array3d(dtype=wp.int32),
    along_x: wp.array3d(dtype=Any),
    along_y: wp.array3d(dtype=Any),
) -> None:
    """Derivatives of one pixel's barycentrics along x and y."""
    item = first + wp.tid()
    column = item % face_index.shape[2]
    row = (item // face_index.shape[2]) % face_index.shape[1]
    view = item // (face_index.shape[1] * face_index.shape[2])
    face = face_index[view, row, column]
    if face < 0:
        along_x[view, row, column] = along_x.dtype()
        along_y[view, row, column] = along_y.dtype()
        return
    a = vertices[view, faces[face, 0]]
    b = vertices[view, faces[face, 1]]
    c = vertices[view, faces[face, 2]]
    half = type(a[0])(0.5)
    e = space_weights(a, b, c, type(a[0])(column) + half, type(a[0])(row) + half)
    total = e[0] + e[1] + e[2]
    n_x = side_x(a, b, c)
    n_y = side_y(a, b, c)
    along_x[view, row, column] = slopes(e, n_x, total, n_x[0] + n_x[1] + n_x[2])
    along_y[view, row, column] = slopes(e, n_y, total, n_y[0] + n_y[1] + n_y[2])


@wp.func
@no_type_check
def side_x(a: Any, b: Any, c: Any) -> Any:
    """d e_k / d x: the first component of B x C, C x A and A x B."""
    return type(a)((b[1] - c[1]) * (b[2] * c[2]), (c[1] - a[1]) * (c[2] * a[2]), (a[1] - b[1]) * (a[2] * b[2]))


@wp.func
@no_type_check
def side_y(a: Any, b: Any, c: Any) -> Any:
    """d e_k / d y: the second component of B x C, C x A and A x B."""
    return type(a)((c[0] - b[0]) * (b[2] * c[2]), (a[0] - c[0]) * (c[2] * a[2]), (b[0] - a[0]) * (a[2] * b[2]))


@wp.kernel
@no_type_check
def pull_back_slopes(
    first: int,
    boxes: wp.array(dtype=Box),
    owners: wp.array(dtype=wp.int32),
    vertices: wp.array2d(dtype=Any),
    faces: wp.array2d(dtype=wp.int32),
    face_index: wp.array3d(dtype=wp.int32),
    upstream_x: wp.array3d(dtype=Any),
    upstream_y: wp.array3d(dtype=Any),
    corners: wp.array2d(dtype=Any),
) -> None:
    """Gradient of a triangle's corners from its pixels' derivatives; see `visibility.pull_back`."""
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
    one = type(a[0])(1.0)
    half = type(a[0])(0.5)
    ones = type(a)(one, one, one)
    n_x = side_x(a, b, c)
    n_y = side_y(a, b, c)
    lines_x = n_x[0] + n_x[1] + n_x[2]
    lines_y = n_y[0] + n_y[1] + n_y[2]
    line_a = type(a)()
    line_b = type(a)()
    line_c = type(a)()
    for row in range(int(box[0]), int(box[2])):
        for column in range(int(box[1]), int(box[3])):
            if face_index[view, row, column] == face:
                e = space_weights(a, b, c, type(a[0])(column) + half, type(a[0])(row) + half)
                total = e[0] + e[1] + e[2]
                weights = e / total
                up_x = upstream_x[view, row, column]
                up_y = upstream_y[view, row, column]
                # g = (n - b N) / S with N = sum n: what reaches n, b and S.
                up_n_x = (up_x - ones * wp.dot(up_x, weights)) / total
                up_n_y = (up_y - ones * wp.dot(up_y, weights)) / total
                up_b = (up_x * lines_x + up_y * lines_y) * (-one / total)
                up_total = -(
                    wp.dot(up_x, slopes(e, n_x, total, lines_x)) + wp.dot(up_y, slopes(e, n_y, total, lines_y))
                )
                # b = e / S and S = sum e.
                up_e = (up_b - ones * wp.dot(up_b, weights) + ones * up_total) / total
                x = type(a[0])(column - int(box[1])) + half
                y = type(a[0])(row - int(box[0])) + half
                line_a += type(a)(up_e[0] * x + up_n_x[0], up_e[0] * y + up_n_y[0], up_e[0])
                line_b += type(a)(up_e[1] * x + up_n_x[1], up_e[1] * y + up_n_y[1], up_e[1])
                line_c += type(a)(up_e[2] * x + up_n_x[2], up_e[2] * y + up_n_y[2], up_e[2])
    send_back(corners, item, a, b, c, line_a, line_b, line_c, type(a)(), box)


BLEND_CORNERS = for_each_precision(blend_corners, vectors=("barycentric",))
PULL_BACK_WEIGHTS = for_each_precision(pull_back_weights)
PULL_BACK_VALUES = for_each_precision(pull_back_values, vectors=("barycentric",))
SLOPE_OF_WEIGHTS = for_each_precision(slope_of_weights, vectors=("vertices", "along_x", "along_y"))
PULL_BACK_SLOPES = for_each_precision(pull_back_slopes, vectors=("vertices", "upstream_x", "upstream_y", "corners"))
