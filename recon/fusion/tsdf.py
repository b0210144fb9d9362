"""Depth maps averaged in a truncated signed distance volume, and the surface at its zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import open3d as o3d
import open3d.core as o3c
from jaxtyping import Float32, Float64, Int32

from geometry.errors import InputError
from geometry.meshes import Mesh
from recon.fusion.depth_view import DepthView, DistanceView
from recon.fusion.trimming import Trimming, canonical_order, trim

BLOCK = 8
"""Voxels along a block's edge; small blocks follow a surface closely."""
BLOCKS_AT_ONCE = 2048
"""Blocks integrated together: a million voxels, which bounds the working memory to some 200 MB."""
CLOSEST_M = np.float32(0.01)
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


def fuse_tsdf(views: Sequence[DepthView], config: FusionConfig) -> Mesh:
    """The surface that the depth views show together: world frame, metres, counter-clockwise seen from outside.

    Each view contributes its distance to the tangent plane, interpolated between pixels, with a weight that falls with
    the angle and with the distance squared, as the noise grows. The same input gives the same mesh, vertex for vertex.
    Raises InputError, saying why, when no surface comes out or the scene is too large for `block_count`.
    Source: Curless & Levoy 1996, eqs. 3-4; Open3D's VoxelBlockGrid holds the volume and extracts the surface.
    """
    ready = [DistanceView.of(replace(view, depth_m=_cropped(view, config))) for view in views]
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
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        part = slice(start, start + BLOCKS_AT_ONCE)
        tsdf[slots[part], ..., 0], weight[slots[part], ..., 0] = _integrated(ready, blocks[part], config)
    surface = grid.extract_triangle_mesh(config.least_weight)
    if "positions" not in surface.vertex or "indices" not in surface.triangle:
        raise _no_surface(views, config)
    vertices, faces = canonical_order(surface.vertex["positions"].numpy(), surface.triangle["indices"].numpy())
    mesh = trim(Mesh(vertices, faces), config.trimming)
    if not len(mesh.faces):
        raise _no_surface(views, config)
    return mesh


def _cropped(view: DepthView, config: FusionConfig) -> Float32[np.ndarray, "h w"]:
    """The depth in range and near the crop's centre."""
    depth = view.depth_m
    depth = np.where((depth >= config.depth_min_m) & (depth <= config.depth_max_m), depth, np.float32(0))
    if config.crop_centre_m is None:
        return depth
    points, _ = view.camera.unproject_depth(depth)
    inside = np.linalg.norm(points - np.array(config.crop_centre_m), axis=2) <= config.crop_radius_m
    return np.where(inside, depth, np.float32(0))


def _blocks(views: Sequence[DistanceView], config: FusionConfig) -> Int32[np.ndarray, "b 3"]:
    """Blocks in which the surface may lie: those within the truncation band of a measurement, sorted."""
    cell = config.block_size_m / 4
    near = [np.unique(np.floor(view.points_world() / cell).astype(np.int32), axis=0) for view in views]
    cells = np.unique(np.concatenate([*near, np.zeros((0, 3), np.int32)]), axis=0)
    # The marching cube on a block's far side needs the first voxels of the next, so the band reaches one voxel on.
    reach = (config.band_m + config.voxel_size_m) / np.sqrt(3)
    corners = np.array([(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]) * reach
    touched = ((cells[:, None] + 0.5) * cell + corners).reshape(-1, 3)
    return np.unique(np.floor(touched / config.block_size_m).astype(np.int32), axis=0)


def _integrated(
    views: Sequence[DistanceView], blocks: Int32[np.ndarray, "b 3"], config: FusionConfig
) -> tuple[Float32[np.ndarray, "b z y x"], Float32[np.ndarray, "b z y x"]]:
    """Weighted mean of the views' truncated distances (1: a band in front of the surface) and sum of their weights."""
    step = np.arange(BLOCK) * config.voxel_size_m
    z, y, x = np.meshgrid(step, step, step, indexing="ij")
    offsets = np.stack([x.ravel(), y.ravel(), z.ravel()], 1)
    origins: Float64[np.ndarray, "b 3"] = blocks * config.block_size_m
    total = np.zeros((len(blocks), BLOCK**3), np.float32)
    weighted = np.zeros_like(total)
    for view in views:
        in_reach = view.may_reach(
            origins + config.block_size_m / 2, config.block_size_m * np.sqrt(3) / 2, config.band_m
        )
        camera_from_world = view.camera.world_from_camera.inverse()
        of_blocks = (camera_from_world @ origins[in_reach]).astype(np.float32)
        of_voxels = camera_from_world.rotate(offsets).astype(np.float32)
        x, y, z = (np.add.outer(of_blocks[:, axis], of_voxels[:, axis]).ravel() for axis in range(3))
        distance, weight = view.distance((x, y, np.maximum(z, CLOSEST_M)), config.band_m)
        weight = np.where(z > CLOSEST_M, weight, np.float32(0))
        total[in_reach] += weight.reshape(-1, BLOCK**3)
        weighted[in_reach] += (weight * np.minimum(distance / np.float32(config.band_m), 1)).reshape(-1, BLOCK**3)
    mean = np.divide(weighted, total, out=np.zeros_like(total), where=total > 0)
    shape = (len(blocks), BLOCK, BLOCK, BLOCK)
    return mean.reshape(shape), total.reshape(shape)


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
