"""The fused surfaces of a take, one result a frame, so that a killed run loses one frame at most."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from geometry.errors import InputError
from geometry.meshes import Mesh
from recon.surface import ReconConfig, fuse_frame
from storage.results import Provenance, ResultArray
from storage.take import Take
from workflows.progress import Report


def run_name(frame: int) -> str:
    """Name of a frame's run in `results/surface`."""
    return f"{frame:06d}"


def fuse_take(take: Take, config: ReconConfig, progress: Report, every: int = 1, overwrite: bool = False) -> list[int]:
    """Fuse every n-th frame set's depth; the frames that now have a surface."""
    if not take.rig.depth:
        raise InputError("a depth camera in the rig", "colour cameras only", "record depth, or leave fusing out")
    frames = list(range(0, take.frame_count, max(1, every)))
    settings, inputs = asdict(config), {"take": take.digest}
    for done, frame in enumerate(frames, 1):
        if take.results.claim("surface", run_name(frame), settings, inputs, overwrite):
            surface = fuse_frame(take, frame, config)
            provenance = Provenance(settings, inputs, asdict(surface.counts), take.header.licence)
            take.results.write("surface", run_name(frame), _arrays(surface.mesh), provenance, overwrite=True)
        progress(done, len(frames))
    return frames


def _arrays(mesh: Mesh) -> dict[str, ResultArray]:
    colours = mesh.colours if mesh.colours is not None else np.full(mesh.vertices.shape, 180, np.uint8)
    return {
        "vertices": ResultArray(mesh.vertices.astype(np.float32), ("vertex", "xyz"), "m"),
        "faces": ResultArray(mesh.faces.astype(np.int32), ("face", "corner"), "1"),
        "colours": ResultArray(colours, ("vertex", "rgb"), "sRGB"),
    }


def fused_frames(take: Take) -> list[int]:
    """Frames that have a surface."""
    return sorted(int(name) for name in take.results.runs("surface") if name.isdigit())


def read_surface(take: Take, frame: int) -> Mesh:
    """A frame's fused surface, world metres; InputError naming `mien fuse` when there is none."""
    result = take.results.read("surface", run_name(frame))
    vertices, faces = np.asarray(result["vertices"]).astype(np.float64), np.asarray(result["faces"])
    return Mesh(vertices, faces, np.asarray(result["colours"]))
