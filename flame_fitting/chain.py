"""Motion over time: one more step of all frames of a take, coupled to their neighbours.

Curves keep still or jump: their first differences are small, with a robust kernel that lets go where a face really
moves, so that a blink keeps its height. The head moves smoothly: third differences of its pose are small, with the same
kernel (second differences would take a turning head's acceleration for noise: jitter 0.18 mm against 0.12). Every frame
sees its past and its future alike, so that nothing lags. The system is block-banded and is solved directly, whatever
the take's length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.linalg import solveh_banded
from scipy.spatial.transform import Rotation
from torch import Tensor

from flame_fitting.losses.linear_head import HeadState
from flame_fitting.solver import POSE, FrameEquations, bounds

TURNS = 12
"""Most turns of finding which curves rest at a bound."""
SMOOTH = (-1.0, 3.0, -3.0, 1.0)
"""The finite difference of the head's motion that is small."""


@dataclass(frozen=True)
class TemporalPrior:
    """How faces and heads move from frame to frame, at 30 frames a second."""

    curve_sigma: float = 0.01
    """Of a curve's change from one frame to the next where it keeps still."""
    turn_sigma_rad: float = 1e-3
    """Of the third difference of the head's rotation."""
    shift_sigma_m: float = 1e-4
    """Of the third difference of the head's position."""
    robust: float = 3.0
    """Scale of the Geman-McClure kernel in these sigmas: larger motion is real."""
    pose_robust: float = 3.0
    """The same of the head's pose."""


@dataclass(frozen=True, eq=False)
class Motion:
    """A stretch of consecutive frames."""

    curves: Float[np.ndarray, "t e"]
    """Curves in [0, 1]."""
    rotation: Float[np.ndarray, "t 3 3"]
    """World from head."""
    centre: Float[np.ndarray, "t 3"]
    """Where the head's centre is in the world, metres."""


def chain_step(
    states: HeadState, equations: FrameEquations, centres: Float[Tensor, "t 3"], prior: TemporalPrior
) -> Float[Tensor, "t o"]:
    """The bounded Newton step of all frames with the temporal terms added; SciPy solves it, on the CPU."""
    frames, size = equations.gradient_own.shape
    lower, upper = (bound.numpy() for bound in bounds(states.curves, True))
    own, gradient = equations.own.numpy(), equations.gradient_own.numpy()
    motion = Motion(states.curves.numpy(), states.rotation.numpy(), centres.numpy())
    coupling = temporal_terms(motion, prior)
    gradient = gradient + coupling.gradient
    free = (lower < 0) & (upper > 0)
    held = np.zeros((frames, size))
    step = held
    for _ in range(TURNS):
        step = _solve(own, coupling, gradient, free, held)
        slope = gradient + np.einsum("tij,tj->ti", own, step) + _apply(coupling, step)
        low, high = free & (step < lower), free & (step > upper)
        inward = ~free & (lower < upper) & np.where(held <= lower, slope < 0, slope > 0)
        if not (low | high | inward).any():
            break
        held = np.where(low, lower, np.where(high, upper, held))
        free = (free & ~low & ~high) | inward
        held = np.where(free, 0.0, held)
    return torch.from_numpy(np.clip(step, lower, upper))


Band = Float[np.ndarray, "t o"]


@dataclass(frozen=True, eq=False)
class Coupling:
    """The temporal terms' Hessian and gradient; each band is diagonal in the unknowns: only frames mix."""

    bands: tuple[Band, ...]
    """Band k couples frame t with frame t + k; the last k rows of band k are zero."""
    gradient: Band
    """Of the terms at the motion as it is."""

    def add(
        self, place: slice, stencil: tuple[float, ...], residual: np.ndarray, weight: np.ndarray, sigma: float
    ) -> None:
        """Add weighted squares of a finite difference in sigmas; the stencil says how frames enter it."""
        count = len(residual)
        for a, left in enumerate(stencil):
            self.gradient[a : a + count, place] += weight * residual * left / sigma
            for b in range(a, len(stencil)):
                self.bands[b - a][a : a + count, place] += weight * left * stencil[b] / sigma**2


def temporal_terms(motion: Motion, prior: TemporalPrior) -> Coupling:
    """All temporal terms at the motion as it is."""
    frames, expressions = motion.curves.shape
    zeros = [np.zeros((frames, expressions + POSE)) for _ in range(len(SMOOTH) + 1)]
    coupling = Coupling(tuple(zeros[1:]), zeros[0])
    first = np.diff(motion.curves, axis=0) / prior.curve_sigma
    coupling.add(slice(0, expressions), (-1.0, 1.0), first, _weights(np.abs(first), prior.robust), prior.curve_sigma)
    turns = Rotation.from_matrix(motion.rotation[1:] @ motion.rotation[:-1].transpose(0, 2, 1)).as_rotvec()
    for place, moves, sigma in (
        (slice(expressions, expressions + 3), turns, prior.turn_sigma_rad),
        (slice(expressions + 3, expressions + POSE), np.diff(motion.centre, axis=0), prior.shift_sigma_m),
    ):
        bend = np.diff(moves, n=len(SMOOTH) - 2, axis=0) / sigma
        weight = np.repeat(_weights(np.linalg.norm(bend, axis=1, keepdims=True), prior.pose_robust), 3, axis=1)
        coupling.add(place, SMOOTH, bend, weight, sigma)
    return coupling


def _weights(sigmas: np.ndarray, robust: float) -> np.ndarray:
    return 1 / (1 + (sigmas / robust) ** 2) ** 2


def _apply(coupling: Coupling, step: Float[np.ndarray, "t o"]) -> Float[np.ndarray, "t o"]:
    """The temporal Hessian times a step."""
    out = coupling.bands[0] * step
    for k, band in enumerate(coupling.bands[1:], 1):
        count = max(len(step) - k, 0)
        out[:count] += band[:count] * step[k:]
        out[k:] += band[:count] * step[:count]
    return out


def _solve(
    own: Float[np.ndarray, "t o o"],
    coupling: Coupling,
    gradient: Float[np.ndarray, "t o"],
    free: Bool[np.ndarray, "t o"],
    held: Float[np.ndarray, "t o"],
) -> Float[np.ndarray, "t o"]:
    """The step that minimises over the free unknowns while the others stand at `held`."""
    frames, size = gradient.shape
    right = -(gradient + np.einsum("tij,tj->ti", own, held) + _apply(coupling, held)) * free
    both = free[:, :, None] & free[:, None, :]
    diagonal = np.where(both, own, 0.0)
    index = np.arange(size)
    diagonal[:, index, index] += np.where(free, coupling.bands[0] + 1e-9, 1.0)
    width = (len(coupling.bands) - 1) * size
    banded = np.zeros((width + 1, frames * size))  # lower form: banded[d, j] = A[j + d, j]
    for row in range(size):
        columns = np.arange(row + 1)[:, None]
        banded[row - columns, np.arange(frames) * size + columns] = diagonal[:, row, : row + 1].T
    for k in range(1, len(coupling.bands)):
        if frames > k:
            band = coupling.bands[k][:-k] * (free[:-k] & free[k:])
            banded[k * size, : (frames - k) * size] = band.ravel()
    solved = solveh_banded(banded, right.ravel(), lower=True, overwrite_ab=True, check_finite=False)
    return held + solved.reshape(frames, size) * free
