"""Open3D on the same depth: its VoxelBlockGrid over settings, and screened Poisson over settings."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import open3d as o3d
import open3d.core as o3c

from geometry.meshes import Mesh
from recon.depth.cleaning import CleaningConfig, clean_depth
from recon.depth.pinhole import to_pinhole
from recon.fusion.depth_view import STEEPEST_DEG, DepthView

VOXELS_M, TRUNCATIONS, THRESHOLDS = (0.001, 0.002, 0.003), (4, 8), (0, 1, 3)
EDGES_PX, SMOOTHINGS_PX, DEPTHS = (0, 1), (0.0, 2.0), (7, 8)
BLOCKS = 60_000
SPARSEST = 0.02
"""Share of Poisson's vertices with the least density that is cut: it closes every hole with a balloon."""


@dataclass(frozen=True, eq=False)
class PeerSurface:
    """What a peer made of one frame."""

    setting: str
    """In words."""
    mesh: Mesh
    """World, metres."""
    seconds: float
    """From depth in metres to the mesh; its cleaning included, undistorting left out."""


def pinholes(views: Sequence[DepthView]) -> list[DepthView]:
    """The views without lens distortion, which Open3D does not know."""
    made = []
    for view in views:
        step = np.tan(np.radians(STEEPEST_DEG)) / np.sqrt(view.camera.K[0, 0] * view.camera.K[1, 1])
        depth, camera = to_pinhole(view.depth_m, view.camera, float(step))
        made.append(DepthView(camera, depth))
    return made


def voxel_block_grids(views: Sequence[DepthView]) -> Iterator[PeerSurface]:
    """Each setting's surface of raw depth; settings without a surface are left out."""
    for voxel, truncation, threshold in itertools.product(VOXELS_M, TRUNCATIONS, THRESHOLDS):
        started = time.perf_counter()
        grid = o3d.t.geometry.VoxelBlockGrid(
            ("tsdf", "weight"), (o3c.float32, o3c.float32), (o3c.SizeVector([1]),) * 2, voxel, 8, BLOCKS
        )
        for view in views:
            K = o3c.Tensor.from_numpy(np.ascontiguousarray(view.camera.K))
            pose = o3c.Tensor.from_numpy(np.ascontiguousarray(view.camera.world_from_camera.inverse().matrix))
            picture = o3d.t.geometry.Image(o3c.Tensor.from_numpy(np.ascontiguousarray(view.depth_m)))
            blocks = grid.compute_unique_block_coordinates(picture, K, pose, 1.0, 3.0, float(truncation))
            grid.integrate(blocks, picture, K, pose, 1.0, 3.0, float(truncation))
        try:
            surface = grid.extract_triangle_mesh(float(threshold))
        except RuntimeError:  # how Open3D says that no voxel is heavy enough
            continue
        seconds = time.perf_counter() - started
        if "positions" in surface.vertex and "indices" in surface.triangle:
            mesh = Mesh(surface.vertex["positions"].numpy().astype(np.float64), surface.triangle["indices"].numpy())
            yield PeerSurface(f"voxel {voxel * 1000:g} mm, truncation {truncation}, weight {threshold}", mesh, seconds)


def poissons(views: Sequence[DepthView]) -> Iterator[PeerSurface]:
    """Each setting's surface of cleaned depth with normals by 20 neighbours."""
    for edge, smoothing, octree in itertools.product(EDGES_PX, SMOOTHINGS_PX, DEPTHS):
        started = time.perf_counter()
        config = CleaningConfig(edge_px=edge, least_support=0, smoothing_px=smoothing)
        points, normals = [], []
        for view in views:
            depth, _ = clean_depth(view.depth_m, view.camera, config)
            places, measured = view.camera.unproject_depth(depth)
            cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(places[measured]))
            cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(20))
            cloud.orient_normals_towards_camera_location(view.camera.centre_world)
            points.append(np.asarray(cloud.points))
            normals.append(np.asarray(cloud.normals))
        whole = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(np.concatenate(points)))
        whole.normals = o3d.utility.Vector3dVector(np.concatenate(normals))
        surface, density = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(whole, depth=octree)
        sparse = np.asarray(density) < np.quantile(np.asarray(density), SPARSEST)
        surface.remove_vertices_by_mask(sparse)
        seconds = time.perf_counter() - started
        mesh = Mesh(np.asarray(surface.vertices), np.asarray(surface.triangles))
        yield PeerSurface(f"edge {edge}, bilateral {smoothing:g} px, depth {octree}", mesh, seconds)
