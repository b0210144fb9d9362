"""From a frame set of a take to its coloured surface."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from geometry.errors import InputError
from geometry.meshes import Mesh
from recon.colouring import colour_mesh
from recon.depth.cleaning import CleaningConfig, CleaningCounts, check_depth_range, clean_depth, step_at_1m
from recon.fusion.refinement import Refinement, refine
from recon.fusion.tsdf import DepthView, FusionConfig, cropped, fuse_tsdf
from storage.take import Take


@dataclass(frozen=True)
class ReconConfig:
    """How a take's depth becomes surfaces."""

    cleaning: CleaningConfig = field(default_factory=lambda: CleaningConfig(edge_px=0, smoothing_px=0))
    """Which depth to trust: all that neighbours support, and as it was measured, because the refinement weighs it."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    """How to average it."""
    refinement: Refinement = field(default_factory=Refinement)
    """How the surface then follows each pixel."""
    device: str = "cpu"
    """Where: cpu, or cuda."""


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
    views, missing, pixels, noise = [], [], CleaningCounts(), config.refinement.noise_at_1m_m
    for camera in take.rig.depth:
        depth = take.depth_m(camera.id, frame_set)
        if depth is None:
            missing.append(camera.id)
            continue
        check_depth_range(depth, camera)
        # Pixels of one step err alike, all over a cheek: it counts whole, where half of it would be noise.
        noise = max(noise, step_at_1m(depth))
        cleaned, counts = clean_depth(depth, camera, config.cleaning)
        pixels = pixels + counts
        views.append(cropped(DepthView(camera, cleaned), config.fusion))
    if not views:
        cameras = "; ".join(take.rig.ids)
        remedy = "choose another frame set, or record depth"
        raise InputError("a depth frame to fuse", f"none in frame set {frame_set} of {cameras}", remedy)
    refinement = replace(config.refinement, noise_at_1m_m=noise)
    mesh = refine(fuse_tsdf(views, config.fusion, config.device), views, refinement, config.device)
    pictures = [(camera, take.frame(camera.id, frame_set)) for camera in take.rig.rgb]
    mesh = colour_mesh(mesh, [(camera, picture) for camera, picture in pictures if picture is not None])
    counts = FusionCounts(len(views), tuple(missing), pixels, len(mesh.vertices), len(mesh.faces))
    return FusedSurface(mesh, mesh.vertex_normals(), counts)
