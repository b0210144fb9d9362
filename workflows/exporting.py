"""Results to files: the head as GLB, the fused surface as PLY, the cameras in other programs' formats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from capture.calibration.formats import write_calibration
from export.gltf import AssetMetadata, HeadAnimation, HeadAsset, write_glb
from export.ply import write_ply
from flame_fitting.models.registry import load_head_model
from geometry.errors import InputError
from storage.provenance import tool_version
from storage.take import Take
from workflows.heads import StoredHead
from workflows.surfaces import read_surface

CALIBRATION_FORMATS: Mapping[str, str] = MappingProxyType(
    {"rig": "mien", "opencv": "opencv", "colmap": "colmap", "nerfstudio": "nerfstudio", "k4a": "k4a"}
)
"""What `--format` calls the formats of `capture.calibration.formats`."""


def head_asset(take: Take) -> HeadAsset:
    """The fitted head as engines want it: neutral at the neck joint's origin, 52 morph targets, curves and motion.

    `world_from_origin` moves the asset back to where it was recorded: its origin is the mean place of the neck joint.
    """
    head = StoredHead.read(take)
    model = load_head_model(str(head.result.provenance.config["model"]))
    shaped = model.with_shape(torch.from_numpy(head.identity).float())
    neck = shaped.joints[model.joint_names.index("neck")].numpy().astype(np.float64)
    neck_world = head.rotation @ neck + head.translation
    origin = neck_world.mean(0)
    world_from_origin = np.eye(4)
    world_from_origin[:3, 3] = origin
    origin_from_head = np.tile(np.eye(4), (len(head.curves), 1, 1))
    origin_from_head[:, :3, :3] = head.rotation
    origin_from_head[:, :3, 3] = neck_world - origin
    time_s = (take.sync.time_ns - take.sync.time_ns[0]) / 1e9
    seen = float(np.asarray(head.result["texel_seen"]).mean())
    provenance = (
        ("take", take.header.take_id),
        ("recording licence", take.header.licence or "not stated"),
        ("texels seen by a camera", f"{seen:.1%}; the rest was filled in"),
        ("tongue and mouth interior", "prior of the head model, not measured"),
        ("eyes' gaze", _gaze_origin(head)),
    )
    return HeadAsset(
        vertices=head.rest_vertices - neck,
        faces=model.faces.numpy(),
        uv=model.uv.numpy().astype(np.float64),
        uv_faces=model.uv_faces.numpy(),
        morph_names=model.expression_names,
        morph_offsets=head.expression_shapes.astype(np.float64),
        base_colour=np.asarray(head.result["base_colour"]),
        metadata=AssetMetadata(
            subject=take.header.subject_id or "unnamed",
            licence=model.licence,
            tool_version=tool_version(),
            world_from_origin=world_from_origin,
            provenance=provenance,
        ),
        animation=HeadAnimation(time_s, head.curves, origin_from_head),
    )


def _gaze_origin(head: StoredHead) -> str:
    """Whether irises said where the eyes look, and in how many frames."""
    terms = head.result["term_loss"]
    seen = np.isfinite(np.asarray(terms)[:, terms.labels("term").index("gaze")])
    return f"from the irises in {int(seen.sum())} of {len(seen)} frames; elsewhere the model's prior"


def export_glb(take: Take, path: Path) -> None:
    """Write the fitted head as GLB."""
    write_glb(path, head_asset(take))


def export_ply(take: Take, path: Path, frame: int) -> None:
    """Write a frame's fused surface as PLY with colours and normals, world metres."""
    surface = read_surface(take, frame)
    write_ply(path, surface.vertices, surface.faces, surface.colours, surface.vertex_normals())


def export_calibration(take: Take, path: Path, format: str, overwrite: bool) -> bool:
    """Write the take's cameras; True. InputError if something is there and `overwrite` does not allow to replace it."""
    if path.exists() and not overwrite:
        raise InputError("a free place for the cameras", f"{path}, which exists", "name another, or use --overwrite")
    write_calibration(path, take.rig, format)
    return True
