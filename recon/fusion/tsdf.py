"""Depth maps averaged in a truncated signed distance volume, and the surface at its zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import open3d as o3d
import open3d.core as o3c
import torch
import warp as wp
from jaxtyping import Float32, Int32

from geometry.errors import InputError
from geometry.meshes import Mesh
from recon.fusion.depth_view import DepthView, DistanceView
from recon.fusion.kernels import View, Volume, integrate
from recon.fusion.trimming import Trimming, canonical_order, trim
from rendering.runtime import launch, scalars
from rendering.screen import filled_up

BLOCK = 8
"""Voxels along a block's edge; small blocks follow a surface closely."""
CELLS = 2**21
"""Cells along an axis that one number can name: four kilometres of two millimetres."""
CLOSEST_M = 0.01
"""Voxels nearer to a camera than this, or behind it, are not seen by it."""


@dataclass(frozen=True)
class FusionConfig:
    """How depth becomes a surface."""

    voxel_size_m: float = 0.002
    """Edge of a voxel, metres."""
    truncation_voxels: float = 5.0
    """Distance from a measured surface within which a view has a say, in voxels."""
    least_weight: float = 0.0
    """Voxels of at most this weight hold no surface; a view straight on from 1 m weighs 1.
    At 0 one camera is enough. Open3D's own default of 3 would delete what few cameras see."""
    depth_min_m: float = 0.1
    """Depth nearer than this is left out."""
    depth_max_m: float = 3.0
    """Depth farther than this is left out."""
    crop_centre_m: tuple[float, float, float] | None = None
    """World point around which to keep depth; None keeps all."""
    crop_radius_m: float = 0.3
    """Depth farther than this from the crop's centre is left out."""
    block_count: int = 60_000
    """Most blocks of 8 x 8 x 8 voxels; a scene that needs more is refused instead of filling the memory."""
    trimming: Trimming = field(default_factory=Trimming)
    """What of the surface to leave out."""

    def __post_init__(self) -> None:
        for name in ("voxel_size_m", "truncation_voxels", "crop_radius_m", "block_count"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} above 0", str(getattr(self, name)), "raise it")

    @property
    def band_m(self) -> float:
        """The truncation, metres."""
        return self.truncation_voxels * self.voxel_size_m

    @property
    def block_size_m(self) -> float:
        """Edge of a block, metres."""
        return BLOCK * self.voxel_size_m


def fuse_tsdf(views: Sequence[DepthView], config: FusionConfig, device: str = "cpu") -> Mesh:
    """The surface that the depth views show together: world frame, metres, counter-clockwise seen from outside.

    Each view contributes its distance to the tangent plane, interpolated between pixels, with a weight that falls with
    the angle and with the distance squared. The same input gives the same mesh, vertex for vertex.
    Raises InputError, saying why, when no surface comes out or the scene is too large for `block_count`.
    Source: Curless & Levoy 1996, eqs. 3-4; Open3D's VoxelBlockGrid holds the volume and extracts the surface.
    """
    ready = [DistanceView.of(cropped(view, config)) for view in views]
    blocks = _blocks(ready, config)
    if not len(blocks):
        raise _no_surface(views, config)
    if len(blocks) > config.block_count:
        millimetres = config.voxel_size_m * 1000
        remedy = "crop the scene to the subject, lower depth_max_m or enlarge voxel_size_m"
        expected = f"a scene of at most {config.block_count} blocks of {BLOCK}^3 voxels of {millimetres:g} mm"
        raise InputError(expected, f"{len(blocks)} blocks", remedy)
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"),
        (o3c.float32, o3c.float32),
        (o3c.SizeVector([1]), o3c.SizeVector([1])),
        config.voxel_size_m,
        BLOCK,
        len(blocks),
    )
    slots = grid.hashmap().activate(o3c.Tensor.from_numpy(blocks))[0].numpy()
    tsdf, weight = grid.attribute("tsdf").numpy(), grid.attribute("weight").numpy()
    tsdf[slots, ..., 0], weight[slots, ..., 0] = integrated(ready, blocks, config, torch.device(device))
    surface = grid.extract_triangle_mesh(config.least_weight)
    if "positions" not in surface.vertex or "indices" not in surface.triangle:
        raise _no_surface(views, config)
    vertices, faces = canonical_order(surface.vertex["positions"].numpy(), surface.triangle["indices"].numpy())
    mesh = trim(Mesh(vertices, faces), config.trimming)
    if not len(mesh.faces):
        raise _no_surface(views, config)
    return mesh


def cropped(view: DepthView, config: FusionConfig) -> DepthView:
    """The view with the depth in range and near the crop's centre alone."""
    depth = view.depth_m
    depth = np.where((depth >= config.depth_min_m) & (depth <= config.depth_max_m), depth, np.float32(0))
    if config.crop_centre_m is not None:
        points, _ = view.camera.unproject_depth(depth)
        inside = np.linalg.norm(points - np.array(config.crop_centre_m), axis=2) <= config.crop_radius_m
        depth = np.where(inside, depth, np.float32(0))
    return replace(view, depth_m=depth)


def _blocks(views: Sequence[DistanceView], config: FusionConfig) -> Int32[np.ndarray, "b 3"]:
    """Blocks in which the surface may lie: those within the truncation band of a measurement, sorted."""
    cell = config.block_size_m / 4
    near = [_different(np.floor(view.points_world() / cell).astype(np.int32)) for view in views]
    cells = _different(np.concatenate([*near, np.zeros((0, 3), np.int32)]))
    # The marching cube on a block's far side needs the first voxels of the next, so the band reaches one voxel on.
    reach = (config.band_m + config.voxel_size_m) / np.sqrt(3)
    corners = np.array([(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) * reach
    touched = ((cells[:, None] + 0.5) * cell + corners).reshape(-1, 3)
    return _different(np.floor(touched / config.block_size_m).astype(np.int32))


def _different(cells: Int32[np.ndarray, "n 3"]) -> Int32[np.ndarray, "m 3"]:
    """Each cell once, sorted; as one number a cell, which sorts ten times faster than rows do."""
    names = (cells.astype(np.int64) + CELLS // 2) @ np.array([CELLS * CELLS, CELLS, 1])
    names = np.unique(names)
    parts = [names // (CELLS * CELLS), names // CELLS % CELLS, names % CELLS]
    return (np.stack(parts, 1) - CELLS // 2).astype(np.int32)


def integrated(
    views: Sequence[DistanceView], blocks: Int32[np.ndarray, "b 3"], config: FusionConfig, device: torch.device
) -> tuple[Float32[np.ndarray, "b z y x"], Float32[np.ndarray, "b z y x"]]:
    """Weighted mean of the views' truncated distances (1: a band in front of the surface) and sum of their weights."""
    on_device = lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(device)  # noqa: E731
    volume = Volume()
    volume.voxel_m, volume.block, volume.band_m, volume.closest_m = config.voxel_size_m, BLOCK, config.band_m, CLOSEST_M
    # On a processor a thread takes a block, whose voxels lie side by side; a GPU's threads take a voxel each.
    volume.run = BLOCK**3 if device.type == "cpu" else 1
    pictures = [filled_up([getattr(view, name) for view in views]) for name in ("depth_m", "metres_per_z", "weight")]
    means = torch.empty(len(blocks), BLOCK**3, dtype=torch.float32, device=device)
    totals = torch.empty_like(means)
    inputs = [
        scalars(on_device(blocks)),
        wp.array([_as_struct(view) for view in views], dtype=View, device=str(device)),
        *(scalars(on_device(picture)) for picture in pictures),
        volume,
        scalars(means),
        scalars(totals),
    ]
    launch(integrate, len(blocks) * BLOCK**3 // volume.run, inputs, device, worth=1)
    shape = (len(blocks), BLOCK, BLOCK, BLOCK)
    return means.cpu().numpy().reshape(shape), totals.cpu().numpy().reshape(shape)


def _as_struct(view: DistanceView) -> Any:
    """A view as the kernel knows it; its pictures are stacked with the others'."""
    struct, K = View(), view.camera.K
    struct.camera_from_world = wp.mat44f(view.camera.world_from_camera.inverse().matrix)  # pyright: ignore[reportCallIssue, reportArgumentType]
    struct.focal_x, struct.skew, struct.focal_y = float(K[0, 0]), float(K[0, 1]), float(K[1, 1])
    struct.centre_x, struct.centre_y = float(K[0, 2]), float(K[1, 2])
    struct.rows, struct.columns = view.depth_m.shape
    struct.largest_step = view.largest_step
    return struct


def _no_surface(views: Sequence[DepthView], config: FusionConfig) -> InputError:
    """Why nothing came out, in words."""
    expected = f"depth that shows a surface between {config.depth_min_m:g} and {config.depth_max_m:g} m"
    measured = {view.camera.id: view.depth_m[view.depth_m > 0] for view in views}
    ranges = [f"{name} {depth.min():.3g} to {depth.max():.3g} m" for name, depth in measured.items() if depth.size]
    if not ranges:
        remedy = "check that the depth cameras saw the subject, or choose another frame"
        return InputError(expected, f"no depth at all in {len(views)} views", remedy)
    remedy = "check the depth unit, the cameras' places and the crop of the fusion"
    return InputError(expected, "; ".join(ranges), remedy)
