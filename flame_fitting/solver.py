"""Levenberg-Marquardt over a whole take: one identity, and curves and pose of every frame.

The normal equations have the shape of an arrow: identity meets every frame, frames do not meet each other. Frames are
eliminated one by one (Schur complement), so that time and memory grow linearly with the take.
Source: Triggs et al. 2000, section 6; bounds by projected Newton steps with an active set (Bertsekas 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from flame_fitting.losses.linear_head import Rows

POSE = 6
DAMPING = 1e-3


@dataclass(frozen=True)
class HeadPrior:
    """What is known before anything is measured.

    Most of a face's 52 curves rest at any moment: the cost of a curve is steep at rest and flat at work, so that a
    curve must explain something before it moves, and once it does its size is left to what was measured. An
    exponential prior alone would shrink every curve by the same amount. Source: Candes, Wakin & Boyd 2008, eq. 7.
    """

    rate: float
    """Slope of the cost at rest, per full curve."""
    sigma: float
    """Standard deviation of a Gaussian about zero that bounds what nothing measures."""
    identity: float = 1.0
    """How many times the identity's standard normal prior counts."""
    knee: float = float("inf")
    """The size of a curve at which the slope has fallen to a half; infinite for an exponential prior."""

    def slope(self, curves: Float[Tensor, "*b e"]) -> Float[Tensor, "*b e"]:
        """Derivative of the cost `rate * knee * log(1 + curve / knee)`, the Gaussian's apart."""
        return self.rate / (1 + curves / self.knee)

    def cost(self, curves: Float[Tensor, "*b e"]) -> float:
        """Half of minus twice the logarithm of the prior's density, over all curves."""
        sparse = self.rate * curves
        if self.knee < float("inf"):
            sparse = self.rate * self.knee * torch.log1p(curves / self.knee)
        return float((sparse + 0.5 * curves**2 / self.sigma**2).sum())


@dataclass(frozen=True, eq=False)
class FrameEquations:
    """The normal equations' part of a batch of frames; a frame's own unknowns are curves, then pose."""

    identity: Float[Tensor, "*b k k"]
    """J_id^T J_id."""
    coupling: Float[Tensor, "*b k o"]
    """J_id^T J_own."""
    own: Float[Tensor, "*b o o"]
    """J_own^T J_own, own prior included."""
    gradient_identity: Float[Tensor, "*b k"]
    """J_id^T r."""
    gradient_own: Float[Tensor, "*b o"]
    """J_own^T r, own prior included."""

    @classmethod
    def joined(cls, parts: Sequence[FrameEquations]) -> FrameEquations:
        """Batches one after the other, on the CPU."""
        return cls(*(torch.cat([getattr(part, f.name).cpu() for part in parts]) for f in fields(cls)))


Weight = float | Float[Tensor, "*b"]


def normal_equations(
    blocks: Sequence[tuple[Weight, Rows]], modes: int, curves: Float[Tensor, "*b e"], prior: HeadPrior
) -> FrameEquations:
    """Sum blocks of rows, each with one weight or one a frame, and the prior that keeps curves at rest."""
    batch, expressions = curves.shape[:-1], curves.shape[-1]
    size = expressions + POSE
    zeros = lambda *shape: curves.new_zeros(*batch, *shape)  # noqa: E731
    found = FrameEquations(zeros(modes, modes), zeros(modes, size), zeros(size, size), zeros(modes), zeros(size))
    for weight, rows in blocks:
        if isinstance(weight, float) and weight == 0:
            continue
        weight = torch.as_tensor(weight, dtype=curves.dtype, device=curves.device)
        d_identity = rows.d_identity[..., :modes]
        d_own = torch.cat([rows.d_curves, rows.d_pose], -1)
        residual = rows.residual[..., None]
        if modes:
            found.identity.add_(weight[..., None, None] * _squared(d_identity))
            found.coupling.add_(weight[..., None, None] * (d_identity.mT @ d_own))
            found.gradient_identity.add_(weight[..., None] * (d_identity.mT @ residual)[..., 0])
        found.own.add_(weight[..., None, None] * _squared(d_own))
        found.gradient_own.add_(weight[..., None] * (d_own.mT @ residual)[..., 0])
    precision = 1 / prior.sigma**2
    found.own.diagonal(dim1=-2, dim2=-1)[..., :expressions] += precision
    found.gradient_own[..., :expressions] += precision * curves + prior.slope(curves)
    return found


NARROW = 96
"""Columns from which the lower half of a symmetric product is worth leaving out."""


def _squared(rows: Float[Tensor, "*b m p"]) -> Float[Tensor, "*b p p"]:
    """J^T J; of wide ones the blocks below the diagonal are copied from those above."""
    columns = rows.shape[-1]
    if columns <= NARROW:
        return rows.mT @ rows
    left, right = rows[..., : columns // 2], rows[..., columns // 2 :]
    across = left.mT @ right
    above = torch.cat([_squared(left), across], -1)
    return torch.cat([above, torch.cat([across.mT, _squared(right)], -1)], -2)


@dataclass(frozen=True, eq=False)
class Step:
    """The change that the linearised problem asks for."""

    identity: Float[Tensor, "k"]
    """Standard deviations."""
    own: Float[Tensor, "t o"]
    """Curves and pose of each frame."""


def solve_arrow(
    frames: FrameEquations,
    identity: Float[Tensor, "k"],
    curves: Float[Tensor, "t e"],
    prior: HeadPrior,
    free_curves: bool,
) -> Step:
    """One damped step of the whole take that respects the bounds of the curves.

    Which curves rest at a bound and the step depend on each other, so the two are found in turns: the arrow is solved
    for the free unknowns, then every frame's own bounded problem tells which of them should have been held.
    """
    own = frames.own + torch.diag_embed(DAMPING * frames.own.diagonal(dim1=1, dim2=2) + 1e-9)
    coupling, gradient = frames.coupling, frames.gradient_own
    lower, upper = bounds(curves, free_curves)
    hessian = prior.identity * torch.eye(len(identity)).to(identity) + frames.identity.sum(0)
    hessian = hessian + DAMPING * torch.diag(hessian.diagonal())
    towards = prior.identity * identity + frames.gradient_identity.sum(0)
    free = (lower < 0) & (upper > 0)
    d_identity = torch.zeros_like(identity)
    step, _ = _bounded_newton(own, gradient, lower, upper)
    for _ in range(ACTIVE_SET_TURNS if len(identity) else 0):
        d_identity = _identity_step(hessian, towards, own, coupling, gradient, free)
        step, now_free = _bounded_newton(own, gradient + d_identity @ coupling, lower, upper)
        if torch.equal(now_free, free):
            break
        free = now_free
    return Step(d_identity, step)


ACTIVE_SET_TURNS = 4
BOUNDED_TURNS = 30


def bounds(curves: Float[Tensor, "t e"], free_curves: bool) -> tuple[Tensor, Tensor]:
    """How far each unknown may move: curves to 0 and 1 (or not at all), pose anywhere."""
    pose = curves.new_full((len(curves), POSE), torch.inf)
    down, up = (-curves, 1 - curves) if free_curves else (torch.zeros_like(curves), torch.zeros_like(curves))
    return torch.cat([down, -pose], 1), torch.cat([up, pose], 1)


def bounded_curves(
    information: Float[Tensor, "t e e"], pull: Float[Tensor, "t e"], curves: Float[Tensor, "t e"], prior: HeadPrior
) -> Float[Tensor, "t e"]:
    """The curves in [0, 1] that evidence and prior ask for, one step of the prior's slope from where they are."""
    precision = torch.eye(curves.shape[1]).to(curves) / prior.sigma**2
    hessian = information + precision + 1e-9 * information.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * precision
    gradient = (hessian @ curves[..., None])[..., 0] - pull + prior.slope(curves)
    step, _ = _bounded_newton(hessian, gradient, -curves, 1 - curves)
    return curves + step


def _identity_step(
    hessian: Tensor, towards: Tensor, own: Tensor, coupling: Tensor, gradient: Tensor, free: Tensor
) -> Float[Tensor, "k"]:
    """Newton step of identity with each frame's free unknowns eliminated."""
    masked = coupling * free[:, None, :]
    factor = torch.linalg.cholesky(_restricted(own, free))
    right = torch.cat([masked.transpose(1, 2), (gradient * free)[:, :, None]], 2)
    solved = torch.cholesky_solve(right, factor)
    modes = len(towards)
    reduced = hessian - torch.einsum("tko,tom->km", masked, solved[:, :, :modes])
    return -torch.linalg.solve(reduced, towards - torch.einsum("tko,to->k", masked, solved[:, :, modes]))


def _bounded_newton(own: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Minimise each frame's quadratic between bounds; the step and which unknowns were free.

    Active set: unknowns whose step leaves the bounds stop there; stopped ones whose gradient points inward go free.
    """
    movable = lower < upper
    step = torch.zeros_like(gradient)
    stop = torch.where(movable, step * torch.nan, step)  # where an unknown is held, nan = free
    for _ in range(BOUNDED_TURNS):
        free = stop.isnan()
        held = torch.where(free, torch.zeros_like(stop), stop)
        right = -(gradient + torch.einsum("tij,tj->ti", own, held)) * free
        factor = torch.linalg.cholesky(_restricted(own, free))
        step = held + torch.cholesky_solve(right[:, :, None], factor)[:, :, 0] * free
        slope = gradient + torch.einsum("tij,tj->ti", own, step)
        leaves_low, leaves_high = free & (step < lower), free & (step > upper)
        inward = ~free & movable & torch.where(step <= lower, slope < 0, slope > 0)
        if not (leaves_low | leaves_high | inward).any():
            break
        stop = torch.where(leaves_low, lower, torch.where(leaves_high, upper, stop))
        stop = torch.where(inward & ~(leaves_low | leaves_high), torch.full_like(stop, torch.nan), stop)
    return torch.minimum(torch.maximum(step, lower), upper), stop.isnan()


def _restricted(own: Tensor, free: Tensor) -> Tensor:
    """The matrices with held unknowns cut out: identity in their rows and columns."""
    both = free[:, :, None] & free[:, None, :]
    return torch.where(both, own, torch.diag_embed((~free).to(own.dtype)))
