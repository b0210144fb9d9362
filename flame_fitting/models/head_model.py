"""The morphable head: template -> shaped -> expressed -> posed, each step a value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flame_fitting.models.skinning import joint_motions, skin
from geometry.errors import InputError

JOINT_NAMES = ("neck", "head", "jaw", "eye_left", "eye_right")
JOINT_PARENTS = (-1, 0, 1, 1, 1)
"""The neck joint is the root, at the neck's base; the head turns on it; jaw and eyes follow their curves."""


@dataclass(frozen=True, eq=False)
class LandmarkEmbedding:
    """Where landmarks sit on the surface, as points of triangles."""

    faces: Int[Tensor, "l 3"]
    """Vertex indices of the triangle that carries each landmark."""
    barycentric: Float[Tensor, "l 3"]
    """Weights of its corners; they sum to 1."""
    source_index: Int[Tensor, "l"]
    """Row of each landmark in the detector's own list (MediaPipe's 468)."""
    spread_m: Float[Tensor, "l"]
    """How far detections scatter about the landmark on the surface, metres (one standard deviation)."""

    def on(self, vertices: Float[Tensor, "*b v 3"]) -> Float[Tensor, "*b l 3"]:
        """Positions of the landmarks on a mesh of the model's topology."""
        return (vertices[..., self.faces, :] * self.barycentric[..., None]).sum(-2)

    def to(self, device: torch.device | str) -> LandmarkEmbedding:
        """The same embedding on another device."""
        return LandmarkEmbedding(*(getattr(self, f.name).to(device) for f in fields(self)))


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A linear head in its own frame: origin at the template's neck joint, metres, y up, facing +z."""

    name: str
    """Which model, with its version."""
    licence: str
    """What its use falls under; recorded in every result."""
    template: Float[Tensor, "v 3"]
    """The mean neutral head, metres."""
    identity_basis: Float[Tensor, "k v 3"]
    """Metres per standard deviation: coefficients are standard normal under the prior."""
    expression_basis: Float[Tensor, "e v 3"]
    """Metres at a curve's full value; curves lie in [0, 1]."""
    expression_names: tuple[str, ...]
    """ARKit's names, in the basis' order."""
    faces: Int[Tensor, "f 3"]
    """Triangles, counter-clockwise from outside."""
    uv: Float[Tensor, "u 2"]
    """Texture coordinates, v up."""
    uv_faces: Int[Tensor, "f 3"]
    """Row of `uv` of each triangle's corners."""
    joint_names: tuple[str, ...]
    """neck, head, jaw, eye_left, eye_right."""
    joints: Float[Tensor, "j 3"]
    """Joints of the template, metres."""
    joint_basis: Float[Tensor, "k j 3"]
    """How identity moves the joints, metres per standard deviation."""
    skinning: Float[Tensor, "v j"]
    """Weights of the joints on each vertex; rows sum to 1."""
    region_names: tuple[str, ...]
    """Names of the masks: face, skin, lips, eyes, mouth_interior, neck, scalp, ears ..."""
    regions: Bool[Tensor, "r v"]
    """Vertices of each region."""

    def region(self, name: str) -> Bool[Tensor, "v"]:
        """Vertices of a named region."""
        return self.regions[self.region_names.index(name)]

    def region_faces(self, name: str) -> Bool[Tensor, "f"]:
        """Triangles whose three corners lie in a named region."""
        return self.region(name)[self.faces].all(-1)

    def with_shape(self, identity: Float[Tensor, "*b k"]) -> ShapedHead:
        """The neutral head of an identity; fewer coefficients than modes leave the rest at zero."""
        modes = identity.shape[-1]
        vertices = self.template + torch.tensordot(identity, self.identity_basis[:modes], dims=1)
        joints = self.joints + torch.tensordot(identity, self.joint_basis[:modes], dims=1)
        return ShapedHead(self, vertices, joints)

    def to(self, device: torch.device | str) -> HeadModel:
        """The same model on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in tensors.items() if isinstance(v, Tensor)})

    def save(self, path: Path) -> None:
        """Write the model as one `.npz` of plain arrays, atomically."""
        arrays = {}
        for field in fields(self):
            value = getattr(self, field.name)
            arrays[field.name] = value.cpu().numpy() if isinstance(value, Tensor) else np.array(value)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> HeadModel:
        """Read what `save` wrote; no pickle is ever executed."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values: dict[str, Any] = {field.name: _field_value(arrays[field.name]) for field in fields(cls)}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            remedy = "delete the file and run `mien models install`"
            raise InputError("a head model written by mien", f"{path} ({error})", remedy) from error
        return cls(**values)


def _field_value(array: np.ndarray) -> Tensor | tuple[str, ...] | str:
    if array.dtype.kind == "U":
        return str(array) if array.ndim == 0 else tuple(str(name) for name in array)
    return torch.from_numpy(array)


@dataclass(frozen=True, eq=False)
class ShapedHead:
    """A person: the neutral head of one identity (or of a batch)."""

    model: HeadModel
    """Where it comes from."""
    vertices: Float[Tensor, "*b v 3"]
    """Neutral head in the model's frame, metres."""
    joints: Float[Tensor, "*b j 3"]
    """Joints of this person, metres."""

    def with_expression(self, curves: Float[Tensor, "*b e"]) -> ExpressedHead:
        """The head with ARKit curves in [0, 1] applied."""
        return ExpressedHead(self, self.vertices + torch.tensordot(curves, self.model.expression_basis, dims=1))


@dataclass(frozen=True, eq=False)
class ExpressedHead:
    """A person with an expression, still in the model's frame."""

    shaped: ShapedHead
    """Who."""
    vertices: Float[Tensor, "*b v 3"]
    """Metres, in the model's frame."""

    def with_neck(self, head_turn: Float[Tensor, "*b 3 3"], neck_turn: Float[Tensor, "*b 3 3"]) -> ExpressedHead:
        """The head turned on its neck, and the neck on its base, skinned; still in the model's frame.

        `head_turn` rotates about the head joint and relative to the neck, `neck_turn` about the neck joint, the model's
        origin. Jaw and eyes follow the head: their own motion is in the curves. Posing the whole head as one rigid body
        needs no skinning: that is `with_pose`.
        """
        model, joints = self.shaped.model, self.shaped.joints
        still = torch.eye(3).to(self.vertices).expand(head_turn.shape)
        turns = {"neck": neck_turn, "head": head_turn}
        rotations = torch.stack([turns.get(name, still) for name in JOINT_NAMES], -3)
        order = [model.joint_names.index(name) for name in JOINT_NAMES]
        batch = torch.broadcast_shapes(self.vertices.shape[:-2], head_turn.shape[:-2])
        rest = joints[..., order, :].expand(*batch, len(order), 3)
        rotation, translation = joint_motions(rotations.expand(*batch, len(order), 3, 3), rest, JOINT_PARENTS)
        weights = model.skinning[:, order].to(self.vertices)
        return ExpressedHead(self.shaped, skin(self.vertices.expand(*batch, -1, -1), weights, rotation, translation))

    def with_pose(
        self, rotation: Float[Tensor, "*b 3 3"], translation: Float[Tensor, "*b 3"]
    ) -> Float[Tensor, "*b v 3"]:
        """Vertices in the world: `world_from_head` applied to the whole head as one rigid body.

        The translation is where the model's origin goes, metres.
        """
        return self.vertices @ rotation.transpose(-1, -2) + translation[..., None, :]
