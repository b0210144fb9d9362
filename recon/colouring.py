"""Vertex colours from the pictures that see them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import open3d as o3d
import open3d.core as o3c
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.sparse import coo_array

from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.meshes import Mesh

GREY = 128
"""sRGB of a vertex that nothing tells the colour of."""
OFFSET_M = 1e-3
"""Rays start this far above the surface, so that it does not hide itself."""
LEAST_COSINE = 0.15
"""A surface seen more obliquely than this shows mixed pixels."""
MARGIN_PX = 1.0
"""Pixels at the very border are left out: interpolation would reach over it."""


def colour_mesh(mesh: Mesh, views: Sequence[tuple[Camera, UInt8[np.ndarray, "h w 3"]]]) -> Mesh:
    """The mesh with sRGB per vertex: the mean of the views that see it, weighted by the cosine of incidence squared.

    A view sees a vertex if a ray to the camera meets nothing else. Unseen vertices take the mean of their coloured
    neighbours, ring after ring; components without any are grey. Raises InputError for a picture of another size than
    its camera's.
    """
    total = np.zeros(len(mesh.vertices))
    weighted = np.zeros((len(mesh.vertices), 3))
    normals = mesh.vertex_normals()
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3c.Tensor.from_numpy(mesh.vertices.astype(np.float32)), o3c.Tensor.from_numpy(mesh.faces.astype(np.uint32))
    )
    for camera, picture in views:
        if picture.shape[:2] != camera.image_size_hw:
            expected = f"a picture of {camera.image_size_hw[0]} x {camera.image_size_hw[1]} pixels from {camera.id}"
            remedy = "use the rig that belongs to the recording"
            raise InputError(expected, f"{picture.shape[0]} x {picture.shape[1]}", remedy)
        pixels, depth = camera.project(mesh.vertices)
        cosine, seen = _visibility(scene, mesh, normals, camera)
        rows, columns = camera.image_size_hw
        inside = (pixels >= MARGIN_PX).all(1) & (pixels <= [columns - MARGIN_PX, rows - MARGIN_PX]).all(1)
        rows_used = np.flatnonzero(seen & inside & (depth > 0))
        weight = cosine[rows_used] ** 2
        weighted[rows_used] += weight[:, None] * _sample(picture, pixels[rows_used].astype(np.float32))
        total[rows_used] += weight
    coloured = total > 0
    weighted[coloured] /= total[coloured, None]
    colours = _spread(mesh, weighted, coloured)
    return Mesh(mesh.vertices, mesh.faces, np.clip(np.round(colours), 0, 255).astype(np.uint8))


def _visibility(
    scene: o3d.t.geometry.RaycastingScene, mesh: Mesh, normals: Float[np.ndarray, "v 3"], camera: Camera
) -> tuple[Float[np.ndarray, "v"], Bool[np.ndarray, "v"]]:
    """Cosine of incidence of each vertex, and whether the camera sees it."""
    towards = camera.centre_world - mesh.vertices
    distance = np.linalg.norm(towards, axis=1, keepdims=True)
    towards = towards / np.maximum(distance, 1e-12)
    cosine = (towards * normals).sum(1)
    seen = cosine > LEAST_COSINE
    start = mesh.vertices + OFFSET_M * normals
    to_camera = camera.centre_world - start
    rays = np.concatenate([start, to_camera], 1)[seen].astype(np.float32)
    seen[seen] = ~scene.test_occlusions(o3c.Tensor.from_numpy(rays), 0.0, 1.0).numpy()
    return cosine, seen


def _sample(picture: UInt8[np.ndarray, "h w 3"], pixels: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n 3"]:
    """Bilinear colours at pixel positions with centres at +0.5."""
    # OpenCV maps hold at most 32767 rows, and have centres at integers.
    width = 1024
    padded = np.zeros((-(-len(pixels) // width) * width, 2), np.float32)
    padded[: len(pixels)] = pixels - np.float32(0.5)
    if not len(padded):
        return np.zeros((0, 3), np.float32)
    maps = padded.reshape(-1, width, 2)
    colours = cv2.remap(picture.astype(np.float32), maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return colours.reshape(-1, 3)[: len(pixels)]


def _spread(mesh: Mesh, colours: Float[np.ndarray, "v 3"], coloured: Bool[np.ndarray, "v"]) -> Float[np.ndarray, "v 3"]:
    """Colours carried from coloured vertices to their uncoloured neighbours until nothing changes."""
    count = len(mesh.vertices)
    rows, columns = mesh.faces.ravel(), np.roll(mesh.faces, 1, axis=1).ravel()
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    neighbours = graph + graph.T
    colours, coloured = colours.copy(), coloured.copy()
    while not coloured.all():
        weight = neighbours @ coloured.astype(np.float64)
        reached = ~coloured & (weight > 0)
        if not reached.any():
            break
        carried = neighbours @ (colours * coloured[:, None])
        colours[reached] = carried[reached] / weight[reached, None]
        coloured |= reached
    colours[~coloured] = GREY
    return colours
