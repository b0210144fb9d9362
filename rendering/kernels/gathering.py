"""Sums over the corners that meet at a vertex, in the order of their faces: the same bits on every run and device."""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

from typing import Any, no_type_check

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from rendering.runtime import for_each_precision, launch, scalars
from rendering.topology import Topology

wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@wp.kernel
@no_type_check
def gather(
    first: int,
    of_corners: wp.array3d(dtype=Any),
    corners: wp.array(dtype=wp.int32),
    first_corner: wp.array(dtype=wp.int32),
    views_in_sum: int,
    of_vertices: wp.array3d(dtype=Any),
) -> None:
    """Sum one vertex of one view, or of all views where they share the vertices' values."""
    item = first + wp.tid()
    view = item // of_vertices.shape[1]
    vertex = item % of_vertices.shape[1]
    for channel in range(of_vertices.shape[2]):
        total = of_vertices.dtype(0.0)
        for other in range(views_in_sum):
            for place in range(first_corner[vertex], first_corner[vertex + 1]):
                total += of_corners[view + other, corners[place], channel]
        of_vertices[view, vertex, channel] = total


GATHER = for_each_precision(gather)


def sum_corners(
    of_corners: Float[Tensor, "b f 3 c"], shared: Topology, *, shared_by_views: bool
) -> Float[Tensor, "s v c"]:
    """Values of corners summed at their vertices, view by view, or over all views into one (s = 1)."""
    views, faces, _, channels = of_corners.shape
    count = len(shared.first_corner) - 1
    sums = 1 if shared_by_views else views
    of_vertices = torch.empty((sums, count, channels), dtype=of_corners.dtype, device=of_corners.device)
    inputs = [
        scalars(of_corners.reshape(views, 3 * faces, channels)),
        scalars(shared.corners),
        scalars(shared.first_corner),
        views if shared_by_views else 1,
        scalars(of_vertices),
    ]
    launch(GATHER[of_corners.dtype], sums * count, inputs, of_corners.device)
    return of_vertices
