"""Visibility: which triangle each pixel shows, where on it, and how that moves with the vertices."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from rendering.fragments import Fragments
from rendering.kernels.gathering import sum_corners
from rendering.kernels.visibility import BOUND, COVER, PULL_BACK, UNPACK
from rendering.pieces import in_pieces, sum_over_pixels
from rendering.runtime import PRECISIONS, launch, load, pixel_runs, scalars, side_by_side, start, vectors
from rendering.topology import topology

LARGEST_SIDE = 32767
"""Rows or columns of the largest picture: boxes are 16-bit."""
CACHED_PIXELS = 2**18
"""Pixels whose words, 2 MiB, stay in a processor's cache from clearing to unpacking."""
SMALLEST_BAND = 32
"""Rows that a thread of its own must have: each band looks at all triangles."""


def rasterize(
    vertices_screen: Float[Tensor, "*b v 3"],
    faces: Int[Tensor, "f 3"],
    size_hw: tuple[int, int],
    *,
    cull_backfaces: bool = False,
) -> Fragments:
    """The nearest triangle, its depth and its barycentrics seen through each pixel centre (at +0.5).

    `vertices_screen` holds x and y in pixels and z in metres along the camera's axis, of one view or, with leading
    axes, of many views or meshes that share `faces`. Gradients flow from depth and barycentrics to all three; the
    outline's part is `antialias`'s. A corner behind the camera takes the plain perspective division, sign and all: what
    lies nearer than 0.1 mm is cut off exactly. Depths equal in single precision show the lower face index, and runs
    repeat to the bit, gradients too. Front faces are counter-clockwise in space.

    Works where the tensors are, in their precision. On the CPU the picture is split over `torch.get_num_threads()`. On
    CUDA nothing waits for the host, so that the call can be captured in a graph once it has run; checks that would wait
    are left to `require_drawable`, and a triangle with a corner that is not finite covers nothing.

    Raises ValueError on a vertex that is not finite (naming mesh and vertex) and on an index outside the vertices.
    Source: the packed word of depth and face follows Laine & Karras 2011, "High-Performance Software Rasterization on
    GPUs"; the weights Olano & Greer 1997, "Triangle scan conversion using 2D homogeneous coordinates".
    """
    if vertices_screen.dtype not in PRECISIONS:
        raise ValueError(f"vertices_screen must be float32 or float64, not {vertices_screen.dtype}")
    if faces.device != vertices_screen.device:
        raise ValueError(f"faces are on {faces.device}, vertices_screen on {vertices_screen.device}")
    if not all(0 <= side <= LARGEST_SIDE for side in size_hw):
        raise ValueError(f"a picture has sides of 0 to {LARGEST_SIDE} pixels, not {size_hw}")
    if vertices_screen.device.type == "cpu":
        require_drawable(vertices_screen, faces)
    batch, count = vertices_screen.shape[:-2], vertices_screen.shape[-2]
    flat = vertices_screen.reshape(math.prod(batch), count, 3).contiguous()
    face_index, depth, barycentric, boxes = _Rasterize.apply(flat, faces, size_hw, cull_backfaces)
    return Fragments(
        face_index=face_index.reshape(*batch, *size_hw),
        depth=depth.reshape(*batch, *size_hw),
        barycentric=barycentric.reshape(*batch, *size_hw, 3),
        boxes=boxes.reshape(*batch, len(faces), 4),
    )


def require_drawable(vertices_screen: Float[Tensor, "*b v 3"], faces: Int[Tensor, "f 3"]) -> None:
    """Raise ValueError on the first vertex that is not finite, or on an index outside the vertices."""
    require_indices(faces, vertices_screen.shape[-2])
    # In NumPy, because torch's OpenMP threads go on spinning on the processors that the kernels' threads need.
    values = vertices_screen.detach().cpu().numpy()
    # A sum is finite only if all its terms are; it may overflow where they are, so look closer before complaining.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return
    places = np.argwhere(~np.isfinite(values).all(-1))
    if len(places):
        *mesh, vertex = places[0].tolist()
        name = f"mesh {mesh[0] if len(mesh) == 1 else tuple(mesh)}" if mesh else "the mesh"
        where = values[(*mesh, vertex)].tolist()
        raise ValueError(
            f"vertices_screen expected finite numbers; {name}, vertex {vertex} is {where}"
            + (f", and {len(places) - 1} more" if len(places) > 1 else "")
            + ": a vertex has no place on the screen at depth 0, or came broken out of the step before"
        )


def require_indices(faces: Int[Tensor, "f 3"], count: int) -> None:
    """Raise ValueError on an index outside a table of so many rows."""
    indices = faces.detach().cpu().numpy()
    if indices.size and not (indices.min() >= 0 and indices.max() < count):
        raise ValueError(f"faces index {indices.min()}..{indices.max()}, but there are {count} vertices")


class _Rasterize(torch.autograd.Function):
    """Visibility of flat batches and its adjoint."""

    @staticmethod
    def forward(
        ctx: Any, vertices: Tensor, faces: Tensor, size_hw: tuple[int, int], cull_backfaces: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        views, device = len(vertices), vertices.device
        drawing = _Drawing(
            vertices=vertices,
            triangles=faces.detach().to(torch.int32).contiguous(),
            cull_backfaces=cull_backfaces,
            boxes=torch.empty((views, len(faces), 4), dtype=torch.int16, device=device),
            face_index=torch.empty((views, *size_hw), dtype=torch.int32, device=device),
            depth=torch.empty((views, *size_hw), dtype=vertices.dtype, device=device),
            barycentric=torch.empty((views, *size_hw, 3), dtype=vertices.dtype, device=device),
            scratch=deque(),
        )
        _see(drawing)
        ctx.save_for_backward(vertices, drawing.face_index, drawing.boxes)
        ctx.mark_non_differentiable(drawing.face_index, drawing.boxes)
        ctx.faces = faces  # the very object: its topology is remembered by it
        return drawing.face_index, drawing.depth, drawing.barycentric, drawing.boxes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        _, depth, barycentric, _ = upstream
        vertices, face_index, boxes = ctx.saved_tensors
        shared = topology(ctx.faces, vertices.shape[1])
        inputs = [
            vectors(vertices),
            scalars(shared.faces),
            scalars(face_index),
            scalars(depth.contiguous()),
            vectors(barycentric.contiguous()),
        ]
        corners = sum_over_pixels(PULL_BACK[vertices.dtype], boxes, inputs, vertices, vectors)
        return sum_corners(corners, shared, shared_by_views=False), None, None, None


@dataclass(frozen=True, eq=False)
class _Drawing:
    """One call: what is drawn, and the memory of what comes out."""

    vertices: Tensor
    triangles: Tensor
    cull_backfaces: bool
    boxes: Tensor
    face_index: Tensor
    depth: Tensor
    barycentric: Tensor
    scratch: deque[Tensor]
    """Words for as many tasks as run at a time. The caller takes this memory: what a worker takes goes back to the
    system after every call, and costs as much as the kernels to get again."""


def _see(drawing: _Drawing) -> None:
    """Fill the images: views over threads, and bands of a view's rows where there are fewer views than threads."""
    views, rows, columns = drawing.depth.shape
    dtype, device = drawing.depth.dtype, drawing.depth.device
    for kernel in (BOUND, COVER, UNPACK):
        load(kernel[dtype], device)
    parts, bands = _split(views, rows, columns, len(drawing.triangles)) if device.type == "cpu" else (1, 1)
    if bands > 1:
        mesh = vectors(drawing.vertices), scalars(drawing.triangles)
        launch(BOUND[dtype], views * len(mesh[1]), [*mesh, rows, columns, vectors(drawing.boxes)], device)
    largest = -(-views // parts) * -(-rows // bands) * columns
    workers = min(torch.get_num_threads(), parts * bands) if device.type == "cpu" else 1
    drawing.scratch.extend(torch.empty(largest, dtype=torch.int64, device=device) for _ in range(workers))
    tasks = [
        partial(
            _see_part,
            drawing,
            bands > 1,
            slice(views * part // parts, views * (part + 1) // parts),
            slice(rows * band // bands, rows * (band + 1) // bands),
        )
        for part in range(parts)
        for band in range(bands)
    ]
    side_by_side(tasks, device)


def _split(views: int, rows: int, columns: int, faces: int) -> tuple[int, int]:
    """Parts of the views and bands of each part's rows: of what a cache holds, and more than threads to even them out.

    Every band goes through all triangles, so that there must be more pixels in it than triangles.
    """
    threads = torch.get_num_threads()
    of_cache = -(-views * rows * columns // CACHED_PIXELS)
    parts = max(1, min(views, max(of_cache, 4 * threads if threads > 1 else 1)))
    if parts < views:
        return parts, 1
    most = min(rows // SMALLEST_BAND, rows * columns // max(1, faces))
    return parts, max(1, min(max(-(-of_cache // parts), -(-threads // parts)), most))


def _see_part(drawing: _Drawing, bounded: bool, own: slice, band: slice) -> None:
    """Fill some views, or a band of one view's rows, whose triangles are bounded already."""
    vertices, triangles, boxes = vectors(drawing.vertices[own]), scalars(drawing.triangles), drawing.boxes[own]
    face_index, depth = drawing.face_index[own, band], drawing.depth[own, band]
    barycentric, device, dtype = drawing.barycentric[own, band], depth.device, depth.dtype
    picture_rows, columns = drawing.depth.shape[1:]
    if len(drawing.triangles) and not bounded:
        inputs = [0, vertices, triangles, picture_rows, columns, vectors(boxes)]
        start(BOUND[dtype], boxes.shape[0] * boxes.shape[1], inputs, device)
    if depth.numel() == 0:
        return
    memory = drawing.scratch.pop()
    try:
        flat = memory[: depth.numel()]
        words = scalars(flat.view(depth.shape)).view(wp.uint64)
        if device.type == "cpu":
            # By Warp, in this thread: torch has OpenMP threads for it, which go on spinning on processors ours need.
            words.zero_()
        else:
            flat.zero_()
        for pieces in in_pieces(boxes):
            inputs = [0, *pieces.inputs(), vertices, triangles, int(drawing.cull_backfaces), band.start, words]
            if len(pieces.boxes):
                start(COVER[dtype], len(pieces.boxes), inputs, device)
        results = scalars(face_index), scalars(depth), vectors(barycentric)
        run = pixel_runs(columns, device)
        start(UNPACK[dtype], len(flat) // run, [0, run, words, vertices, triangles, band.start, *results], device)
    finally:
        drawing.scratch.append(memory)
