"""Voxels of a truncated signed distance volume, each asked of every depth view."""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

from typing import Any, no_type_check

import warp as wp

wp.set_module_options({"enable_backward": False, "fuse_fp": False})


class _View:
    """A pinhole camera with a depth picture; see `depth_view.DistanceView`."""

    camera_from_world: wp.mat44f
    focal_x: wp.float32
    skew: wp.float32
    focal_y: wp.float32
    centre_x: wp.float32
    centre_y: wp.float32
    rows: wp.int32
    columns: wp.int32
    largest_step: wp.float32


View: Any = wp.struct(_View)  # no decorator: a type checker would take the class for the struct


class _Volume:
    """How a volume is laid out, and how far a view has a say."""

    voxel_m: wp.float32
    block: wp.int32
    run: wp.int32
    band_m: wp.float32
    closest_m: wp.float32


Volume: Any = wp.struct(_Volume)


@wp.func
@no_type_check
def measured_at(
    number: int, view: View, depth: wp.array3d(dtype=wp.float32), nearest: wp.float32, x: wp.float32, y: wp.float32
) -> wp.float32:
    """Depth at a pixel position whose pixel holds a measurement: bilinear in inverse depth within one surface."""
    left = wp.clamp(wp.floor(x - 0.5), 0.0, wp.float32(view.columns - 2))
    top = wp.clamp(wp.floor(y - 0.5), 0.0, wp.float32(view.rows - 2))
    s = wp.clamp(x - 0.5 - left, 0.0, 1.0)
    t = wp.clamp(y - 0.5 - top, 0.0, 1.0)
    row = wp.int32(top)
    column = wp.int32(left)
    a = depth[number, row, column]
    b = depth[number, row, column + 1]
    c = depth[number, row + 1, column]
    d = depth[number, row + 1, column + 1]
    low = wp.min(wp.min(a, b), wp.min(c, d))
    high = wp.max(wp.max(a, b), wp.max(c, d))
    value = nearest
    if low > 0.0 and high - low <= view.largest_step * low:
        inverse = (1.0 / a * (1.0 - s) + 1.0 / b * s) * (1.0 - t) + (1.0 / c * (1.0 - s) + 1.0 / d * s) * t
        value = 1.0 / inverse
    return value


@wp.kernel
@no_type_check
def integrate(
    first: int,
    blocks: wp.array2d(dtype=wp.int32),
    views: wp.array(dtype=View),
    depth: wp.array3d(dtype=wp.float32),
    metres_per_z: wp.array3d(dtype=wp.float32),
    weight: wp.array3d(dtype=wp.float32),
    volume: Volume,
    means: wp.array2d(dtype=wp.float32),
    totals: wp.array2d(dtype=wp.float32),
) -> None:
    """Weighted mean of the views' distances to a run of a block's voxels, in bands, and the sum of the weights."""
    item = first + wp.tid()
    edge = volume.block
    runs = edge * edge * edge // volume.run
    block = item // runs
    start = (item % runs) * volume.run
    size = volume.voxel_m * wp.float32(edge)
    origin = wp.vec3(
        wp.float32(blocks[block, 0]) * size, wp.float32(blocks[block, 1]) * size, wp.float32(blocks[block, 2]) * size
    )
    for voxel in range(start, start + volume.run):
        place = wp.vec3(
            wp.float32(voxel % edge), wp.float32((voxel // edge) % edge), wp.float32(voxel // (edge * edge))
        )
        point = origin + volume.voxel_m * place
        total = wp.float32(0.0)
        moment = wp.float32(0.0)
        for number in range(views.shape[0]):
            view = views[number]
            at = wp.transform_point(view.camera_from_world, point)
            if at[2] > volume.closest_m:
                x = (view.focal_x * at[0] + view.skew * at[1]) / at[2] + view.centre_x
                y = view.focal_y * at[1] / at[2] + view.centre_y
                if x >= 0.0 and y >= 0.0 and x < wp.float32(view.columns) and y < wp.float32(view.rows):
                    row = wp.int32(y)
                    column = wp.int32(x)
                    nearest = depth[number, row, column]
                    if nearest > 0.0:
                        along = metres_per_z[number, row, column]
                        distance = (measured_at(number, view, depth, nearest, x, y) - at[2]) * along / volume.band_m
                        if distance > -1.0:
                            w = weight[number, row, column] * wp.min(1.0 + distance, 1.0)
                            total += w
                            moment += w * wp.min(distance, 1.0)
        mean = wp.float32(0.0)
        if total > 0.0:
            mean = moment / total
        means[block, voxel] = mean
        totals[block, voxel] = total
