"""Visibility in NVIDIA Warp kernels: one source for CPU and CUDA.

A thread takes a triangle, walks the pixel centres in its box and keeps, per pixel, the smallest 64-bit word
(depth bits << 32 | face index) by atomic minimum. Nearer wins, equal depth goes to the lower face index, and so the
picture is the same on every run whatever the order of the threads.
"""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

import os
import sys
from typing import Any, no_type_check

import numpy as np
import warp as wp
from jaxtyping import Float, Int

from rendering.fragments import Fragments

NEAR_M = 1e-4
"""Triangles with a corner nearer than this are dropped whole; a head never comes this close to a camera."""


def _load_warp() -> None:
    """Load Warp once, without its greeting.

    Without a CUDA driver its native part warns on file descriptor 2, past every log level: that is no news to whoever
    has no GPU. Errors of Python's own still reach the user, because they are raised.
    """
    sys.stderr.flush()
    keep = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        wp.init()
    finally:
        os.dup2(keep, 2)
        os.close(keep)
        os.close(nowhere)


wp.config.log_level = wp.LOG_WARNING
_load_warp()
wp.set_module_options({"enable_backward": False})


@wp.func
@no_type_check
def edge(a: wp.vec3, b: wp.vec3, x: float, y: float) -> float:
    """Twice the signed area of a, b and the point (x, y)."""
    return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])


@wp.kernel
@no_type_check
def nearest_triangle(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    cull: int,
    near: float,
    words: wp.array3d(dtype=wp.uint64),
) -> None:
    """Write one triangle into the words of the pixels that it covers."""
    view, face = wp.tid()
    a = vertices[view, faces[face, 0]]
    b = vertices[view, faces[face, 1]]
    c = vertices[view, faces[face, 2]]
    if a[2] < near or b[2] < near or c[2] < near:
        return
    area = edge(a, b, c[0], c[1])
    # y points down: counter-clockwise in space is a negative area on the screen.
    if area == 0.0 or (cull == 1 and area > 0.0):
        return
    rows = words.shape[1]
    columns = words.shape[2]
    x_first = wp.max(int(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])) - 0.5)), 0)
    x_last = wp.min(int(wp.floor(wp.max(a[0], wp.max(b[0], c[0])) - 0.5)), columns - 1)
    y_first = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])) - 0.5)), 0)
    y_last = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])) - 0.5)), rows - 1)
    for row in range(y_first, y_last + 1):
        for column in range(x_first, x_last + 1):
            x = float(column) + 0.5
            y = float(row) + 0.5
            s_a = edge(b, c, x, y) / area
            s_b = edge(c, a, x, y) / area
            s_c = 1.0 - s_a - s_b
            if s_a >= 0.0 and s_b >= 0.0 and s_c >= 0.0:
                depth = 1.0 / (s_a / a[2] + s_b / b[2] + s_c / c[2])
                word = (wp.uint64(wp.cast(depth, wp.uint32)) << wp.uint64(32)) | wp.uint64(face)
                wp.atomic_min(words, view, row, column, word)


@wp.kernel
@no_type_check
def unpack(
    words: wp.array3d(dtype=wp.uint64),
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=wp.int32),
    face_index: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=wp.float32),
    barycentric: wp.array3d(dtype=wp.vec3),
) -> None:
    """Turn each pixel's word into face index, depth and barycentrics."""
    view, row, column = wp.tid()
    word = words[view, row, column]
    if word == wp.uint64(0xFFFFFFFFFFFFFFFF):
        face_index[view, row, column] = -1
        return
    face = int(word & wp.uint64(0xFFFFFFFF))
    a = vertices[view, faces[face, 0]]
    b = vertices[view, faces[face, 1]]
    c = vertices[view, faces[face, 2]]
    x = float(column) + 0.5
    y = float(row) + 0.5
    area = edge(a, b, c[0], c[1])
    w_a = edge(b, c, x, y) / area / a[2]
    w_b = edge(c, a, x, y) / area / b[2]
    w_c = (1.0 - edge(b, c, x, y) / area - edge(c, a, x, y) / area) / c[2]
    z = 1.0 / (w_a + w_b + w_c)
    face_index[view, row, column] = face
    depth[view, row, column] = z
    barycentric[view, row, column] = wp.vec3(w_a * z, w_b * z, w_c * z)


def rasterize(
    vertices_screen: Float[np.ndarray, "*b v 3"],
    faces: Int[np.ndarray, "f 3"],
    size_hw: tuple[int, int],
    *,
    cull_backfaces: bool = False,
    device: str = "cpu",
) -> Fragments:
    """Fragments of triangles seen through pixel centres at +0.5.

    `vertices_screen` holds x and y in pixels and z in metres along the camera's axis, of one view or, with leading
    axes, of many views that share `faces`. Raises ValueError on an index outside the vertices.
    Source: the layout of the packed word follows Laine & Karras 2011, "High-Performance Software Rasterization".
    """
    count = vertices_screen.shape[-2]
    if len(faces) and (faces.min() < 0 or faces.max() >= count):
        raise ValueError(f"faces index {int(faces.min())}..{int(faces.max())}, but there are {count} vertices")
    batch = vertices_screen.shape[:-2]
    views = int(np.prod(batch)) if batch else 1
    shape = (views, *size_hw)
    positions = wp.array(
        np.ascontiguousarray(vertices_screen.reshape(views, count, 3), np.float32), dtype=wp.vec3, device=device
    )
    triangles = wp.array(np.ascontiguousarray(faces, np.int32), dtype=wp.int32, device=device)
    words = wp.array(np.full(shape, 0xFFFFFFFFFFFFFFFF, np.uint64), dtype=wp.uint64, device=device)
    inputs: list[Any] = [positions, triangles, int(cull_backfaces), NEAR_M, words]
    wp.launch(nearest_triangle, dim=(views, len(faces)), inputs=inputs, device=device)
    face_index = wp.zeros(shape, dtype=wp.int32, device=device)
    depth = wp.zeros(shape, dtype=wp.float32, device=device)
    barycentric = wp.zeros(shape, dtype=wp.vec3, device=device)
    outputs: list[Any] = [face_index, depth, barycentric]
    wp.launch(unpack, dim=shape, inputs=[words, positions, triangles], outputs=outputs, device=device)
    return Fragments(
        face_index=face_index.numpy().reshape(*batch, *size_hw),
        depth=depth.numpy().reshape(*batch, *size_hw),
        barycentric=barycentric.numpy().reshape(*batch, *size_hw, 3),
    )
