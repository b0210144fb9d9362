"""The same pictures by others: Open3D's Embree, PyTorch3D, nvdiffrast, and PyTorch3D's result from a file.

Each function returns a call without arguments, so that what only prepares it is not timed. Peers that are not
installed are missing figures, not errors.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32
from raster_scene import HeadViews
from torch import Tensor

from rendering.rasterize import rasterize

NEAR_M, FAR_M = 0.1, 2.0
"""Clipping planes of nvdiffrast's projection, about the head."""


def installed(name: str) -> bool:
    """Can the package be imported?"""
    return find_spec(name) is not None


def embree(scene: HeadViews) -> Callable[[], Int32[np.ndarray, "h w"]]:
    """Rays through all pixel centres of the first view; the search tree is built anew each time, as for a new frame."""
    o3d: Any = importlib.import_module("open3d")
    geometry = o3d.t.geometry
    vertices = o3d.core.Tensor(scene.vertices_camera[0].numpy())
    faces = o3d.core.Tensor(scene.faces.numpy().astype(np.uint32))
    intrinsics, extrinsics = o3d.core.Tensor(scene.intrinsics), o3d.core.Tensor(np.eye(4))

    def draw() -> Int32[np.ndarray, "h w"]:
        raycasting = geometry.RaycastingScene()
        raycasting.add_triangles(vertices, faces)
        rays = geometry.RaycastingScene.create_rays_pinhole(intrinsics, extrinsics, scene.size, scene.size)
        # Where a ray hits nothing the largest uint32 stands, which is -1 as an int32.
        return raycasting.cast_rays(rays)["primitive_ids"].numpy().view(np.int32)

    return draw


def pytorch3d(scene: HeadViews) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """From vertices on the screen to face index, depth and barycentrics. PyTorch3D's x points left and its y up."""
    structures: Any = importlib.import_module("pytorch3d.structures")
    rasterize_meshes: Any = importlib.import_module("pytorch3d.renderer.mesh.rasterize_meshes").rasterize_meshes
    faces = scene.faces.long()

    def draw(vertices_screen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        xy = 1 - 2 * vertices_screen[..., :2] / scene.size
        points = torch.cat([xy, vertices_screen[..., 2:]], -1)
        meshes = structures.Meshes(points, faces.expand(len(points), -1, -1))
        index, depth, barycentric, _ = rasterize_meshes(
            meshes, scene.size, blur_radius=0.0, faces_per_pixel=1, perspective_correct=True
        )
        return index[..., 0], depth[..., 0], barycentric[..., 0, :]

    return draw


def nvdiffrast(scene: HeadViews) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """From vertices on the screen to depth and the two barycentrics that it gives, by its CUDA rasterizer."""
    peer: Any = importlib.import_module("nvdiffrast.torch")
    context = peer.RasterizeCudaContext()

    def draw(vertices_screen: Tensor) -> tuple[Tensor, Tensor]:
        z = vertices_screen[..., 2:]
        clip_xy = (2 * vertices_screen[..., :2] / scene.size - 1) * z
        clip_z = (FAR_M + NEAR_M) / (FAR_M - NEAR_M) * z - 2 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
        clip = torch.cat([clip_xy, clip_z, z], -1).contiguous()
        fragments, _ = peer.rasterize(context, clip, scene.faces, scene.size_hw, grad_db=False)
        depth, _ = peer.interpolate(z.contiguous(), fragments, scene.faces)
        return depth[..., 0], fragments[..., :2]

    return draw


def agreement(file: Path) -> dict[str, float]:
    """How far our float32 result is from the one that PyTorch3D stored, gradients included."""
    with np.load(file, allow_pickle=False) as arrays:
        peer = {name: torch.from_numpy(arrays[name]) for name in arrays.files if arrays[name].dtype.kind in "fi"}
    vertices: Float[Tensor, "v 3"] = peer["vertices_screen"].requires_grad_()
    size_hw = (peer["face_index"].shape[0], peer["face_index"].shape[1])
    ours = rasterize(vertices, peer["faces"], size_hw)
    same = (ours.face_index == peer["face_index"]) & ours.mask
    depth, barycentric = ours.depth.detach()[same], ours.barycentric.detach()[same]
    outputs, given = [ours.depth, ours.barycentric], [peer["upstream_depth"], peer["upstream_barycentric"]]
    (gradient,) = torch.autograd.grad(outputs, [vertices], given)
    expected = peer["grad_vertices_screen"]
    return {
        "faces_equal": float((ours.face_index == peer["face_index"]).double().mean()),
        "depth_rel_error": float((depth / peer["depth_m"][same] - 1).abs().max()),
        "barycentric_rel_error": float((barycentric - peer["barycentric"][same]).abs().max()),
        "gradient_rel_error": float((gradient - expected).norm() / expected.norm()),
    }
