"""What is known of where each vertex should move, whatever tells it: an information matrix and a pull."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.losses.point_to_plane import MODEL_SIGMA_M, GatheredDepth

SYMMETRIC = torch.tensor([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
"""Place of each pair of axes among the six that differ."""


@dataclass(frozen=True, eq=False)
class VertexEvidence:
    """Of one frame, or of a batch of frames, about each vertex' place."""

    information: Float[Tensor, "*b v 3 3"]
    """Of its movement, 1/m^2."""
    pull: Float[Tensor, "*b v 3"]
    """The information times the movement that is asked for, 1/m."""

    @classmethod
    def of_sums(cls, sums: Float[Tensor, "*b v 9"]) -> VertexEvidence:
        """From the six elements of the symmetric matrix and the pull."""
        return cls(sums[..., SYMMETRIC.to(sums.device)], sums[..., 6:])

    @classmethod
    def of_depth(cls, gathered: GatheredDepth, trust: Float[Tensor, "v"]) -> VertexEvidence:
        """Depth knows of movement along the normal alone; never surer of it than the model can be."""
        precision = trust / (1 / gathered.weight.clamp_min(1e-9) + MODEL_SIGMA_M**2)
        along = gathered.normals * torch.where(gathered.weight > 1, precision, 0.0)[..., None]
        return cls(along[..., :, None] * gathered.normals[..., None, :], along * gathered.residual_m[..., None])

    @classmethod
    def joined(cls, parts: Sequence[VertexEvidence]) -> VertexEvidence:
        """Batches one after the other."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def at(self, vertices: Int[Tensor, "n"]) -> VertexEvidence:
        """Some of the vertices."""
        return VertexEvidence(self.information[..., vertices, :, :], self.pull[..., vertices, :])

    def plus(self, other: VertexEvidence, weight: float) -> VertexEvidence:
        """Both, the other one counted so many times."""
        return VertexEvidence(self.information + weight * other.information, self.pull + weight * other.pull)

    def bounded(self) -> VertexEvidence:
        """Never surer of a vertex than the model can be: (H^-1 + s^2)^-1 for H, and the same movement asked for."""
        eye = torch.eye(3).to(self.information)
        share = torch.linalg.inv(eye + MODEL_SIGMA_M**2 * self.information)
        bounded = share @ self.information
        return VertexEvidence((bounded + bounded.mT) / 2, (share @ self.pull[..., None])[..., 0])

    def in_head(self, rotation: Float[Tensor, "*b 3 3"]) -> VertexEvidence:
        """The same in the head's frame, which the rotation carries to the world."""
        turn = rotation[..., None, :, :]
        return VertexEvidence(turn.mT @ self.information @ turn, self.pull @ rotation)

    def measured_from(self, moved: Float[Tensor, "*b v 3"]) -> VertexEvidence:
        """The same about movement counted from where the vertices were before they moved so far."""
        return VertexEvidence(self.information, self.pull + (self.information @ moved[..., None])[..., 0])
