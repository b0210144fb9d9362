"""Motion over time: one more step of all frames of a take, coupled to their neighbours.

Curves keep still or jump: their first differences are small, with a robust kernel that lets go where a face really
moves, so that a blink keeps its height. The head moves smoothly: second differences of its pose are small, with the same
kernel. Every frame sees its past and its future alike, so that nothing lags. The system is block-pentadiagonal and is
solved directly, whatever the take's length.
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
from flame_fitting.solver import POSE, FrameEquations, _bounds

TURNS = 12


@dataclass(frozen=True)
class TemporalPrior:
    """How faces and heads move from frame to frame, at 30 frames a second."""

    curve_sigma: float = 0.02
    """Of a curve's change from one frame to the next where it keeps still."""
    turn_sigma_rad: float = 4e-4
    """Of the second difference of the head's rotation."""
    shift_sigma_m: float = 6e-5
    """Of the second difference of the head's position."""
    robust: float = 3.0
    """Scale of the Geman-McClure kernel in these sigmas: larger motion is real."""


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
    states: list[HeadState], equations: list[FrameEquations], centres: Float[Tensor, "t 3"], prior: TemporalPrior
) -> Float[Tensor, "t o"]:
    """The bounded Newton step of all frames with the temporal terms added."""
    frames, size = len(states), len(equations[0].gradient_own)
    curves = torch.stack([state.curves for state in states])
    lower, upper = (bound.numpy() for bound in _bounds(curves, True))
    own = np.stack([each.own.numpy() for each in equations])
    gradient = np.stack([each.gradient_own.numpy() for each in equations])
    motion = Motion(curves.numpy(), np.stack([s.rotation.numpy() for s in states]), centres.numpy())
    coupling, towards = temporal_terms(motion, prior)
    gradient = gradient + towards
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


@dataclass(frozen=True, eq=False)
class Coupling:
    """Bands of the temporal Hessian, each diagonal in the unknowns: only frames mix."""

    bands: tuple[Float[np.ndarray, "t o"], Float[np.ndarray, "t o"], Float[np.ndarray, "t o"]]
    """Band k couples frame t with frame t + k; the last k rows of band k are zero."""


def temporal_terms(motion: Motion, prior: TemporalPrior) -> tuple[Coupling, Float[np.ndarray, "t o"]]:
    """Hessian and gradient of the temporal terms at the motion as it is."""
    frames, expressions = motion.curves.shape
    bands = tuple(np.zeros((frames, expressions + POSE)) for _ in range(3))
    gradient = np.zeros((frames, expressions + POSE))
    first = np.diff(motion.curves, axis=0) / prior.curve_sigma
    _add(
        bands, gradient, (slice(0, expressions), (-1.0, 1.0)), first, _weights(np.abs(first), prior), prior.curve_sigma
    )
    turns = Rotation.from_matrix(motion.rotation[1:] @ motion.rotation[:-1].transpose(0, 2, 1)).as_rotvec()
    shifts = np.diff(motion.centre, axis=0)
    for place, moves, sigma in (
        (slice(expressions, expressions + 3), turns, prior.turn_sigma_rad),
        (slice(expressions + 3, expressions + POSE), shifts, prior.shift_sigma_m),
    ):
        second = np.diff(moves, axis=0) / sigma
        weight = np.repeat(_weights(np.linalg.norm(second, axis=1, keepdims=True), prior), 3, axis=1)
        _add(bands, gradient, (place, (1.0, -2.0, 1.0)), second, weight, sigma)
    return Coupling(bands), gradient


def _weights(sigmas: np.ndarray, prior: TemporalPrior) -> np.ndarray:
    return 1 / (1 + (sigmas / prior.robust) ** 2) ** 2


def _add(bands, gradient, where, residual, weight, sigma) -> None:
    """Add weighted squares of a finite difference, whose stencil says how frames enter it."""
    place, stencil = where
    count = len(residual)
    for a, left in enumerate(stencil):
        gradient[a : a + count, place] += weight * residual * left / sigma
        for b in range(a, len(stencil)):
            bands[b - a][a : a + count, place] += weight * left * stencil[b] / sigma**2


def _apply(coupling: Coupling, step: Float[np.ndarray, "t o"]) -> Float[np.ndarray, "t o"]:
    """The temporal Hessian times a step."""
    out = coupling.bands[0] * step
    for k in (1, 2):
        band = coupling.bands[k][: len(step) - k] if len(step) > k else coupling.bands[k][:0]
        out[: len(band)] += band * step[k:]
        out[k:] += band * step[: len(band)]
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
    width = 2 * size
    banded = np.zeros((width + 1, frames * size))  # lower form: banded[d, j] = A[j + d, j]
    for row in range(size):
        for_rows = np.arange(frames) * size
        banded[row - np.arange(row + 1)[:, None], for_rows[None] + np.arange(row + 1)[:, None]] = diagonal[
            :, row, : row + 1
        ].T
    for k in (1, 2):
        if frames > k:
            band = coupling.bands[k][:-k] * (free[:-k] & free[k:])
            banded[k * size, : (frames - k) * size] = band.ravel()
    solved = solveh_banded(banded, right.ravel(), lower=True, overwrite_ab=True, check_finite=False)
    return held + solved.reshape(frames, size) * free
