"""Levenberg-Marquardt over a whole take: one identity, and curves and pose of every frame.

The normal equations have the shape of an arrow: identity meets every frame, frames do not meet each other. Frames are
eliminated one by one (Schur complement), so that time and memory grow linearly with the take.
Source: Triggs et al. 2000, section 6; bounds by projected Newton steps with an active set (Bertsekas 1982).
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """One frame's part of the normal equations; its own unknowns are curves, then pose."""

    identity: Float[Tensor, "k k"]
    """J_id^T J_id."""
    coupling: Float[Tensor, "k o"]
    """J_id^T J_own."""
    own: Float[Tensor, "o o"]
    """J_own^T J_own, own prior included."""
    gradient_identity: Float[Tensor, "k"]
    """J_id^T r."""
    gradient_own: Float[Tensor, "o"]
    """J_own^T r, own prior included."""
    cost: float
    """Half the sum of squares."""


def normal_equations(
    blocks: list[tuple[float, Rows]], modes: int, curves: Float[Tensor, "e"], prior: HeadPrior
) -> FrameEquations:
    """Sum weighted blocks of rows and the prior that keeps curves at rest."""
    expressions = len(curves)
    size = expressions + POSE
    identity, coupling = torch.zeros(modes, modes).double(), torch.zeros(modes, size).double()
    own, cost = torch.zeros(size, size).double(), 0.0
    gradient_identity, gradient_own = torch.zeros(modes).double(), torch.zeros(size).double()
    for weight, rows in blocks:
        if weight == 0 or not len(rows.residual):
            continue
        d_identity = rows.d_identity[:, :modes]
        d_own = torch.cat([rows.d_curves, rows.d_pose], 1)
        identity += weight * d_identity.T @ d_identity
        coupling += weight * d_identity.T @ d_own
        own += weight * d_own.T @ d_own
        gradient_identity += weight * d_identity.T @ rows.residual
        gradient_own += weight * d_own.T @ rows.residual
        cost += 0.5 * weight * float(rows.residual @ rows.residual)
    precision = 1 / prior.sigma**2
    own[range(expressions), range(expressions)] += precision
    gradient_own[:expressions] += precision * curves + prior.slope(curves)
    return FrameEquations(identity, coupling, own, gradient_identity, gradient_own, cost + prior.cost(curves))


@dataclass(frozen=True, eq=False)
class Step:
    """The change that the linearised problem asks for."""

    identity: Float[Tensor, "k"]
    """Standard deviations."""
    own: Float[Tensor, "t o"]
    """Curves and pose of each frame."""


def solve_arrow(
    frames: list[FrameEquations],
    identity: Float[Tensor, "k"],
    curves: Float[Tensor, "t e"],
    prior: HeadPrior,
    free_curves: bool,
) -> Step:
    """One damped step of the whole take that respects the bounds of the curves.

    Which curves rest at a bound and the step depend on each other, so the two are found in turns: the arrow is solved
    for the free unknowns, then every frame's own bounded problem tells which of them should have been held.
    """
    own = torch.stack([equations.own for equations in frames])
    own = own + torch.diag_embed(DAMPING * own.diagonal(dim1=1, dim2=2) + 1e-9)
    coupling = torch.stack([equations.coupling for equations in frames])
    gradient = torch.stack([equations.gradient_own for equations in frames])
    lower, upper = bounds(curves, free_curves)
    hessian = prior.identity * torch.eye(len(identity)).double()
    hessian += sum((equations.identity for equations in frames), torch.zeros_like(hessian))
    hessian += DAMPING * torch.diag(hessian.diagonal())
    towards = prior.identity * identity + sum(
        (equations.gradient_identity for equations in frames), torch.zeros_like(identity)
    )
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
    pose = torch.full((len(curves), POSE), torch.inf, dtype=torch.float64)
    down, up = (-curves, 1 - curves) if free_curves else (torch.zeros_like(curves), torch.zeros_like(curves))
    return torch.cat([down, -pose], 1), torch.cat([up, pose], 1)


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
    return torch.where(both, own, torch.diag_embed((~free).double()))
