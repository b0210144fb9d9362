"""Derivatives that all residuals share: how points of the head move with its parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.models.head_model import LandmarkEmbedding


@dataclass(frozen=True, eq=False)
class HeadState:
    """Parameters of one frame and the person's identity."""

    identity: Float[Tensor, "k"]
    """Standard deviations."""
    curves: Float[Tensor, "e"]
    """ARKit curves in [0, 1]."""
    rotation: Float[Tensor, "3 3"]
    """World from head."""
    translation: Float[Tensor, "3"]
    """Where the model's origin is in the world, metres."""


@dataclass(frozen=True, eq=False)
class LinearPoints:
    """Chosen points of the head (vertices, landmarks) as linear functions of its coefficients, in the head's frame."""

    mean: Float[Tensor, "n 3"]
    """Metres."""
    identity_basis: Float[Tensor, "k n 3"]
    """Metres per standard deviation."""
    expression_basis: Float[Tensor, "e n 3"]
    """Metres at a curve's full value."""

    def carried(self, embedding: LandmarkEmbedding) -> LinearPoints:
        """Landmarks on this surface, as linear as it is."""
        parts = (self.mean, self.identity_basis, self.expression_basis)
        return LinearPoints(*(embedding.on(part) for part in parts))

    def in_head(self, state: HeadState) -> Float[Tensor, "n 3"]:
        """Positions in the head's frame, metres."""
        moved = torch.tensordot(state.identity, self.identity_basis, 1)
        return self.mean + moved + torch.tensordot(state.curves, self.expression_basis, 1)

    def in_world(self, state: HeadState) -> Float[Tensor, "n 3"]:
        """Positions in the world, metres."""
        return self.in_head(state) @ state.rotation.T + state.translation


@dataclass(frozen=True, eq=False)
class Rows:
    """Residuals of one frame with their derivatives, each row divided by its standard deviation."""

    residual: Float[Tensor, "m"]
    """Units of one standard deviation, robust weight included as its root."""
    d_identity: Float[Tensor, "m k"]
    """Per standard deviation of identity."""
    d_curves: Float[Tensor, "m e"]
    """Per full curve."""
    d_pose: Float[Tensor, "m 6"]
    """Per radian about the head's centre, and per metre."""


def chain_rule(
    points: LinearPoints,
    state: HeadState,
    centre: Float[Tensor, "3"],
    gradient: Float[Tensor, "m 3"],
    rows: Int[Tensor, "m"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of scalar rows, given each row's gradient in world space with respect to its one point.

    `rows` names the point of each row, `centre` the world point that a rotation leaves in place.
    """
    in_head = gradient @ state.rotation
    d_identity = torch.einsum("kmc,mc->mk", points.identity_basis[:, rows], in_head)
    d_curves = torch.einsum("emc,mc->me", points.expression_basis[:, rows], in_head)
    arm = points.in_world(state)[rows] - centre
    return d_identity, d_curves, torch.cat([torch.linalg.cross(arm, gradient), gradient], 1)


def geman_mcclure(residual: Tensor, scale: float) -> Tensor:
    """Weight of the robust kernel r^2 / (1 + (r/s)^2): 1 for small residuals, falling as the fourth power.

    Source: Geman & McClure 1987; Barron 2019, alpha = -2.
    """
    return 1 / (1 + (residual / scale) ** 2) ** 2
