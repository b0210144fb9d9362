"""Derivatives that all residuals share: how points of the head move with its parameters.

Everything here takes any number of frames at once: leading axes `*b`, on whatever device the tensors are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flame_fitting.models.head_model import LandmarkEmbedding


@dataclass(frozen=True, eq=False)
class HeadState:
    """Parameters of one frame, or of a batch of frames, and the person's identity."""

    identity: Float[Tensor, "*b k"]
    """Standard deviations."""
    curves: Float[Tensor, "*b e"]
    """ARKit curves in [0, 1]."""
    rotation: Float[Tensor, "*b 3 3"]
    """World from head."""
    translation: Float[Tensor, "*b 3"]
    """Where the model's origin is in the world, metres."""

    @classmethod
    def stacked(cls, states: Sequence[HeadState], device: torch.device | str = "cpu") -> HeadState:
        """A batch of frames."""
        return cls(*(torch.stack([getattr(s, f.name) for s in states]).to(device) for f in fields(cls)))

    def frames(self) -> list[HeadState]:
        """The frames of a batch one by one, on the CPU."""
        parts = [getattr(self, f.name).cpu() for f in fields(self)]
        return [HeadState(*(part[frame] for part in parts)) for frame in range(len(self.curves))]


@dataclass(frozen=True, eq=False)
class LinearPoints:
    """Chosen points of the head (vertices, landmarks) as linear functions of its coefficients, in the head's frame."""

    mean: Float[Tensor, "n 3"]
    """Metres."""
    identity_basis: Float[Tensor, "k n 3"]
    """Metres per standard deviation."""
    expression_basis: Float[Tensor, "e n 3"]
    """Metres at a curve's full value."""

    @cached_property
    def by_axis(self) -> tuple[Float[Tensor, "3 n k"], Float[Tensor, "3 n e"]]:
        """Both bases as the products of rows want them: an axis at a time, a point's coefficients side by side."""
        return tuple(basis.permute(2, 1, 0).contiguous() for basis in (self.identity_basis, self.expression_basis))  # pyright: ignore[reportReturnType]

    def carried(self, embedding: LandmarkEmbedding) -> LinearPoints:
        """Landmarks on this surface, as linear as it is."""
        parts = (self.mean, self.identity_basis, self.expression_basis)
        return LinearPoints(*(embedding.on(part) for part in parts))

    def at(self, points: Int[Tensor, "m"]) -> LinearPoints:
        """Some of the points."""
        return LinearPoints(self.mean[points], self.identity_basis[:, points], self.expression_basis[:, points])

    def to(self, device: torch.device | str) -> LinearPoints:
        """The same points on another device."""
        return LinearPoints(*(getattr(self, f.name).to(device) for f in fields(self)))

    def in_head(self, state: HeadState) -> Float[Tensor, "*b n 3"]:
        """Positions in the head's frame, metres."""
        moved = torch.tensordot(state.identity, self.identity_basis, 1)
        return self.mean + moved + torch.tensordot(state.curves, self.expression_basis, 1)

    def in_world(self, state: HeadState) -> Float[Tensor, "*b n 3"]:
        """Positions in the world, metres."""
        return self.in_head(state) @ state.rotation.mT + state.translation[..., None, :]


@dataclass(frozen=True, eq=False)
class Rows:
    """Residuals of a frame, or of a batch of frames, with their derivatives, each divided by its deviation."""

    residual: Float[Tensor, "*b m"]
    """Units of one standard deviation, robust weight included as its root; with its derivatives zero: not measured."""
    d_identity: Float[Tensor, "*b m k"]
    """Per standard deviation of identity, of as many modes as move."""
    d_curves: Float[Tensor, "*b m e"]
    """Per full curve."""
    d_pose: Float[Tensor, "*b m 6"]
    """Per radian about the head's centre, and per metre."""

    @property
    def measured(self) -> Bool[Tensor, "*b m"]:
        """Rows that say anything: those of points that were not seen are zero."""
        return (self.d_curves != 0).any(-1) | (self.d_pose != 0).any(-1)

    def without_curves(self, frames: Bool[Tensor, "t"]) -> Rows:
        """The same rows, which in some frames of the batch say nothing of the curves."""
        return replace(self, d_curves=self.d_curves * (~frames).to(self.d_curves)[:, None, None])

    @classmethod
    def stacked(cls, frames: Sequence[Rows], device: torch.device | str = "cpu") -> Rows:
        """Rows of single frames as a batch; frames with fewer rows get zeros, which say nothing."""
        most = max((len(rows.residual) for rows in frames), default=0)
        parts = []
        for field in fields(cls):
            values = [getattr(rows, field.name) for rows in frames]
            short = [value.new_zeros(most - len(value), *value.shape[1:]) for value in values]
            parts.append(torch.stack([torch.cat(pair) for pair in zip(values, short, strict=True)]).to(device))
        return cls(*parts)


def chain_rule(
    points: LinearPoints,
    state: HeadState,
    centre: Float[Tensor, "*b 3"],
    gradient: Float[Tensor, "*b n *r 3"],
    rows: Int[Tensor, "n"] | None = None,
    modes: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Derivatives of scalar rows, given each row's gradient in world space with respect to its one point.

    Every point has one row or, with an axis more, several side by side. `rows` names the point of each row where they
    are not the points in order, `centre` the world point that a rotation leaves in place, `modes` how many modes of
    identity move.
    """
    points = points if rows is None else points.at(rows)
    several = gradient.ndim > state.curves.ndim + 1
    gradient = gradient if several else gradient[..., None, :]
    per_point = gradient.shape[-2]
    flat = lambda part: part.flatten(-3, -2)  # noqa: E731
    in_head = (flat(gradient) @ state.rotation).unflatten(-2, (-1, per_point))
    identity, curves = points.by_axis
    d_identity = _along(identity[..., : identity.shape[-1] if modes is None else modes], in_head)
    arm = points.in_world(state) - centre[..., None, :]
    turning = torch.linalg.cross(arm[..., None, :].expand_as(gradient), gradient)
    return flat(d_identity), flat(_along(curves, in_head)), flat(torch.cat([turning, gradient], -1))


def _along(basis: Float[Tensor, "3 n p"], direction: Float[Tensor, "*b n r 3"]) -> Float[Tensor, "*b n r p"]:
    """Each coefficient's movement of each point along its directions."""
    x, y, z = direction[..., None].unbind(-2)
    product = x * basis[0][:, None]
    return product.addcmul_(y, basis[1][:, None]).addcmul_(z, basis[2][:, None])


def geman_mcclure(residual: Tensor, scale: float | Tensor) -> Tensor:
    """Weight of the robust kernel r^2 / (1 + (r/s)^2): 1 for small residuals, falling as the fourth power.

    Source: Geman & McClure 1987; Barron 2019, alpha = -2.
    """
    return 1 / (1 + (residual / scale) ** 2) ** 2
