"""Colour of surface points in pictures against what they should look like, summed for the corners of each triangle."""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

from typing import Any, no_type_check

import warp as wp

wp.set_module_options({"enable_backward": False, "fuse_fp": False})

BORDER = wp.constant(2)
"""Pixels about a point that must show counted triangles too: beside a border colours mix."""
MOST_PIXELS = wp.constant(4.0)
"""For so many a point stands at most."""


Sums: Any = wp.types.vector(length=9, dtype=wp.float64)
"""Six elements of a symmetric matrix and a vector."""


class _Seeing:
    """When a point is seen, and how much its colour counts; see `rendering.colours.ColourModel`."""

    sigma: wp.float32
    robust: wp.float32
    min_cosine: wp.float32
    hidden_m: wp.float32
    jump_m: wp.float32
    least_light: wp.float32


Seeing: Any = wp.struct(_Seeing)  # no decorator, as in `texture`


@wp.func
@no_type_check
def in_the_clear(
    view: int,
    row: int,
    column: int,
    point_depth: wp.float32,
    face_index: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=wp.float32),
    counted: wp.array(dtype=wp.uint8),
    seeing: Seeing,
) -> bool:
    """Whether a window's pixel shows the point, with nothing else about it: no other part, no jump of depth."""
    if row < BORDER or column < BORDER or row >= depth.shape[1] - BORDER or column >= depth.shape[2] - BORDER:
        return False
    if wp.abs(depth[view, row, column] - point_depth) > seeing.hidden_m:
        return False
    nearest = depth[view, row, column]
    farthest = nearest
    for down in range(-BORDER, BORDER + 1):
        for right in range(-BORDER, BORDER + 1):
            face = face_index[view, row + down, column + right]
            if face < 0:
                return False
            if counted[face] == wp.uint8(0):
                return False
            if wp.abs(down) <= 1 and wp.abs(right) <= 1:
                nearest = wp.min(nearest, depth[view, row + down, column + right])
                farthest = wp.max(farthest, depth[view, row + down, column + right])
    return farthest - nearest < seeing.jump_m


@wp.func
@no_type_check
def level_at(pictures: wp.array4d(dtype=wp.uint8), view: int, x: wp.float32, y: wp.float32) -> wp.vec3f:
    """Level in [0, 1] between pixels, bilinear; x and y from the picture's corner, centres at +0.5."""
    column = int(wp.floor(x - 0.5))
    row = int(wp.floor(y - 0.5))
    right = x - 0.5 - float(column)
    down = y - 0.5 - float(row)
    above = pixel(pictures, view, row, column) * (1.0 - right) + pixel(pictures, view, row, column + 1) * right
    below = pixel(pictures, view, row + 1, column) * (1.0 - right) + pixel(pictures, view, row + 1, column + 1) * right
    return (above * (1.0 - down) + below * down) / 255.0


@wp.func
@no_type_check
def pixel(pictures: wp.array4d(dtype=wp.uint8), view: int, row: int, column: int) -> wp.vec3f:
    """Counts of one pixel."""
    return wp.vec3f(
        float(pictures[view, row, column, 0]),
        float(pictures[view, row, column, 1]),
        float(pictures[view, row, column, 2]),
    )


class _Patch:
    """A picture about a point, between its pixels."""

    level: wp.vec3f
    """In [0, 1]."""
    along_x: wp.vec3f
    """Change per pixel to the right: half the difference of the levels a pixel to both sides."""
    along_y: wp.vec3f
    """Change per pixel downwards."""


Patch: Any = wp.struct(_Patch)


@wp.func
@no_type_check
def patch_at(pictures: wp.array4d(dtype=wp.uint8), view: int, x: wp.float32, y: wp.float32) -> Patch:
    """Level and gradient, bilinear, from twelve pixels."""
    column = int(wp.floor(x - 0.5))
    row = int(wp.floor(y - 0.5))
    right = x - 0.5 - float(column)
    down = y - 0.5 - float(row)
    left = 1.0 - right
    up = 1.0 - down
    a = pixel(pictures, view, row, column)
    b = pixel(pictures, view, row, column + 1)
    c = pixel(pictures, view, row + 1, column)
    d = pixel(pictures, view, row + 1, column + 1)
    # What lies a pixel to the right of the point less what lies a pixel to its left.
    to_right = (pixel(pictures, view, row, column + 2) * up + pixel(pictures, view, row + 1, column + 2) * down) * right
    to_left = (pixel(pictures, view, row, column - 1) * up + pixel(pictures, view, row + 1, column - 1) * down) * left
    inner_x = (b * up + d * down) * left - (a * up + c * down) * right
    downwards = (
        pixel(pictures, view, row + 2, column) * left + pixel(pictures, view, row + 2, column + 1) * right
    ) * down
    upwards = (pixel(pictures, view, row - 1, column) * left + pixel(pictures, view, row - 1, column + 1) * right) * up
    inner_y = (c * left + d * right) * up - (a * left + b * right) * down
    patch = Patch()
    patch.level = ((a * left + b * right) * up + (c * left + d * right) * down) / 255.0
    patch.along_x = (to_right - to_left + inner_x) / 510.0
    patch.along_y = (downwards - upwards + inner_y) / 510.0
    return patch


@wp.func
@no_type_check
def encoded(linear: wp.float32) -> wp.float32:
    """The sRGB level of linear light; as `rendering.colour.srgb_encode`."""
    held = wp.clamp(linear, 0.0, 1.0)
    if held <= 0.0031308:
        return 12.92 * held
    return 1.055 * wp.pow(held, 1.0 / 2.4) - 0.055


@wp.func
@no_type_check
def received(light: wp.array2d(dtype=wp.vec3f), view: int, n: wp.vec3f) -> wp.vec3f:
    """Irradiance over pi at a unit normal; the light's harmonics are weighted by `rendering.shading.COSINE_BANDS`."""
    total = light[view, 0] * 0.282095
    total += (
        light[view, 1] * (0.488603 * n[1]) + light[view, 2] * (0.488603 * n[2]) + light[view, 3] * (0.488603 * n[0])
    )
    total += light[view, 4] * (1.092548 * n[0] * n[1]) + light[view, 5] * (1.092548 * n[1] * n[2])
    total += light[view, 6] * (0.315392 * (3.0 * n[2] * n[2] - 1.0)) + light[view, 7] * (1.092548 * n[0] * n[2])
    return total + light[view, 8] * (0.546274 * (n[0] * n[0] - n[1] * n[1]))


class _Place:
    """A point of the surface as a view has it."""

    seen: bool
    """Whether the view shows it, away from any border."""
    x: wp.float32
    """Pixels in the picture."""
    y: wp.float32
    """Pixels in the picture."""
    cosine: wp.float32
    """Of the angle between its normal and the way to the camera."""
    normal: wp.vec3f
    """Unit, in the world."""
    share: wp.vec3f
    """Weights of the corners on the screen."""


Place: Any = wp.struct(_Place)


@wp.func
@no_type_check
def place_of(
    view: int,
    mesh: int,
    corner: wp.vec3i,
    weights: wp.vec3f,
    vertices: wp.array2d(dtype=wp.vec3d),
    normals: wp.array2d(dtype=wp.vec3d),
    screen: wp.array2d(dtype=wp.vec3d),
    centres: wp.array(dtype=wp.vec3d),
    windows: wp.array2d(dtype=wp.int32),
    pictures: wp.array4d(dtype=wp.uint8),
    face_index: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=wp.float32),
    counted: wp.array(dtype=wp.uint8),
    seeing: Seeing,
) -> Place:
    """Where a view shows a point, if it does."""
    place = Place()
    place.seen = False
    a = screen[view, corner[0]]
    b = screen[view, corner[1]]
    c = screen[view, corner[2]]
    ray = -centres[view]
    mean = wp.vec3d()
    for k in range(3):
        ray += wp.float64(weights[k]) * vertices[mesh, corner[k]]
        mean += wp.float64(weights[k]) * normals[mesh, corner[k]]
    normal = mean / wp.max(wp.length(mean), wp.float64(1.0e-12))
    cosine = wp.float32(-wp.dot(normal, ray) / wp.max(wp.length(ray), wp.float64(1.0e-12)))
    z = weights[0] * float(a[2]) + weights[1] * float(b[2]) + weights[2] * float(c[2])
    place.cosine = cosine
    if cosine > seeing.min_cosine and z > 0.0:
        # A picture's plane is reached along rays: corners weigh in by their depths.
        s = wp.vec3f(weights[0] * float(a[2]) / z, weights[1] * float(b[2]) / z, weights[2] * float(c[2]) / z)
        at_x = float(a[0]) * s[0] + float(b[0]) * s[1] + float(c[0]) * s[2]
        at_y = float(a[1]) * s[0] + float(b[1]) * s[1] + float(c[1]) * s[2]
        row = int(wp.floor(at_y)) - windows[view, 0]
        column = int(wp.floor(at_x)) - windows[view, 1]
        place.x = at_x
        place.y = at_y
        inside = place.x > 2.0 and place.y > 2.0
        inside = inside and place.x < float(pictures.shape[2]) - 2.0 and place.y < float(pictures.shape[1]) - 2.0
        if inside:
            place.seen = in_the_clear(view, row, column, z, face_index, depth, counted, seeing)
        place.share = s
        place.normal = wp.vec3f(wp.float32(normal[0]), wp.float32(normal[1]), wp.float32(normal[2]))
    return place


@wp.kernel
@no_type_check
def look_up(
    first: int,
    face_of_point: wp.array(dtype=wp.int32),
    faces: wp.array2d(dtype=wp.int32),
    barycentric: wp.array(dtype=wp.vec3f),
    mesh_of_view: wp.array(dtype=wp.int32),
    vertices: wp.array2d(dtype=wp.vec3d),
    normals: wp.array2d(dtype=wp.vec3d),
    screen: wp.array2d(dtype=wp.vec3d),
    centres: wp.array(dtype=wp.vec3d),
    windows: wp.array2d(dtype=wp.int32),
    pictures: wp.array4d(dtype=wp.uint8),
    face_index: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=wp.float32),
    counted: wp.array(dtype=wp.uint8),
    seeing: Seeing,
    levels: wp.array2d(dtype=wp.vec3f),
    point_normals: wp.array2d(dtype=wp.vec3f),
    cosines: wp.array2d(dtype=wp.float32),
) -> None:
    """Level, normal and cosine of one point in one view; the cosine is 0 where it is not seen."""
    item = first + wp.tid()
    view = item // levels.shape[1]
    point = item % levels.shape[1]
    face = face_of_point[point]
    corner = wp.vec3i(faces[face, 0], faces[face, 1], faces[face, 2])
    place = place_of(
        view,
        mesh_of_view[view],
        corner,
        barycentric[point],
        vertices,
        normals,
        screen,
        centres,
        windows,
        pictures,
        face_index,
        depth,
        counted,
        seeing,
    )
    level = wp.vec3f()
    normal = wp.vec3f()
    cosine = wp.float32(0.0)
    if place.seen:
        level = level_at(pictures, view, place.x, place.y)
        normal = place.normal
        cosine = place.cosine
    levels[view, point] = level
    point_normals[view, point] = normal
    cosines[view, point] = cosine


@wp.kernel
@no_type_check
def gather_colours(
    first: int,
    first_point: wp.array(dtype=wp.int32),
    faces: wp.array2d(dtype=wp.int32),
    barycentric: wp.array(dtype=wp.vec3f),
    albedo: wp.array(dtype=wp.vec3f),
    light: wp.array2d(dtype=wp.vec3f),
    jacobian: wp.array3d(dtype=wp.vec3d),
    mesh_of_view: wp.array(dtype=wp.int32),
    vertices: wp.array2d(dtype=wp.vec3d),
    normals: wp.array2d(dtype=wp.vec3d),
    screen: wp.array2d(dtype=wp.vec3d),
    centres: wp.array(dtype=wp.vec3d),
    windows: wp.array2d(dtype=wp.int32),
    pictures: wp.array4d(dtype=wp.uint8),
    face_index: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=wp.float32),
    counted: wp.array(dtype=wp.uint8),
    seeing: Seeing,
    sums: wp.array3d(dtype=wp.float64),
) -> None:
    """One triangle's points in one view: information (xx xy xz yy yz zz) and pull (x y z) of their movement."""
    item = first + wp.tid()
    view = item // faces.shape[0]
    face = item % faces.shape[0]
    mesh = mesh_of_view[view]
    corner = wp.vec3i(faces[face, 0], faces[face, 1], faces[face, 2])
    a = screen[view, corner[0]]
    b = screen[view, corner[1]]
    c = screen[view, corner[2]]
    count = first_point[face + 1] - first_point[face]
    area = wp.float32(0.5 * wp.abs(float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))))
    # A point stands for the pixels about it, as far as they are alike.
    footprint = wp.min(MOST_PIXELS, area / float(wp.max(count, 1)))
    of_a = Sums()
    of_b = Sums()
    of_c = Sums()
    for point in range(first_point[face], first_point[face + 1]):
        own = albedo[point]
        if own[0] >= 0.0:
            place = place_of(
                view,
                mesh,
                corner,
                barycentric[point],
                vertices,
                normals,
                screen,
                centres,
                windows,
                pictures,
                face_index,
                depth,
                counted,
                seeing,
            )
            if place.seen:
                patch = patch_at(pictures, view, place.x, place.y)
                light_there = received(light, view, place.normal)
                by_x = wp.vec3d()
                by_y = wp.vec3d()
                for k in range(3):
                    by_x += wp.float64(place.share[k]) * jacobian[view, corner[k], 0]
                    by_y += wp.float64(place.share[k]) * jacobian[view, corner[k], 1]
                told = Sums()
                for channel in range(3):
                    expected = encoded(own[channel] * wp.max(light_there[channel], seeing.least_light))
                    scaled = (patch.level[channel] - expected) / seeing.sigma
                    kernel = 1.0 + (scaled / seeing.robust) * (scaled / seeing.robust)
                    w = wp.float64(footprint * place.cosine / (kernel * kernel * 3.0))
                    g = by_x * wp.float64(patch.along_x[channel] / seeing.sigma)
                    g += by_y * wp.float64(patch.along_y[channel] / seeing.sigma)
                    pull = -w * wp.float64(scaled)
                    h = w * g
                    told += Sums(
                        h[0] * g[0],
                        h[0] * g[1],
                        h[0] * g[2],
                        h[1] * g[1],
                        h[1] * g[2],
                        h[2] * g[2],
                        pull * g[0],
                        pull * g[1],
                        pull * g[2],
                    )
                of_a += told * wp.float64(barycentric[point][0])
                of_b += told * wp.float64(barycentric[point][1])
                of_c += told * wp.float64(barycentric[point][2])
    for channel in range(9):
        sums[item, 0, channel] = of_a[channel]
        sums[item, 1, channel] = of_b[channel]
        sums[item, 2, channel] = of_c[channel]
