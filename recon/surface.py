"""From a frame set of a take to its coloured surface."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from geometry.errors import InputError
from geometry.meshes import Mesh
from recon.colouring import colour_mesh
from recon.depth.cleaning import CleaningConfig, CleaningCounts, check_depth_range, clean_depth
from recon.fusion.tsdf import DepthView, FusionConfig, fuse_tsdf
from storage.take import Take


@dataclass(frozen=True)
class ReconConfig:
    """How a take's depth becomes surfaces."""

    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    """Which depth to trust."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    """How to average it."""


@dataclass(frozen=True)
class FusionCounts:
    """What went into one frame set's surface."""

    cameras_used: int
    """Depth cameras that gave a frame."""
    cameras_without_frame: tuple[str, ...]
    """Depth cameras that have none in this frame set."""
    pixels: CleaningCounts
    """What cleaning did, over all cameras."""
    vertices: int
    """Of the surface."""
    triangles: int
    """Of the surface."""


@dataclass(frozen=True, eq=False)
class FusedSurface:
    """One frame set's surface."""

    mesh: Mesh
    """World frame, metres, with sRGB colours where the take has colour cameras."""
    normals: Float[np.ndarray, "v 3"]
    """Unit vectors that point out of the surface."""
    counts: FusionCounts
    """What went in."""


def fuse_frame(take: Take, frame_set: int, config: ReconConfig) -> FusedSurface:
    """The surface that a frame set's depth cameras saw, coloured by its colour cameras: world frame, metres.

    Raises InputError when the frame set has no depth, its unit is wrong, or no surface comes out.
    """
    views, missing, pixels = [], [], CleaningCounts()
    for camera in take.rig.depth:
        depth = take.depth_m(camera.id, frame_set)
        if depth is None:
            missing.append(camera.id)
            continue
        check_depth_range(depth, camera)
        cleaned, counts = clean_depth(depth, camera, config.cleaning)
        pixels = pixels + counts
        views.append(DepthView(camera, cleaned))
    if not views:
        cameras = "; ".join(take.rig.ids)
        remedy = "choose another frame set, or record depth"
        raise InputError("a depth frame to fuse", f"none in frame set {frame_set} of {cameras}", remedy)
    mesh = fuse_tsdf(views, config.fusion)
    pictures = [(camera, take.frame(camera.id, frame_set)) for camera in take.rig.rgb]
    mesh = colour_mesh(mesh, [(camera, picture) for camera, picture in pictures if picture is not None])
    counts = FusionCounts(len(views), tuple(missing), pixels, len(mesh.vertices), len(mesh.faces))
    return FusedSurface(mesh, mesh.vertex_normals(), counts)
