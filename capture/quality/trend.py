"""What a slowly sampled figure did: crept, or jumped once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SAMPLES_NEEDED = 6
"""A slope, a step, a place for it, and something left to tell the noise by."""
SIGNIFICANT = 5.0
"""Standard deviations; with some twenty places tried for the step a chance find above it is rarer than 1e-4."""


@dataclass(frozen=True, eq=False)
class Trend:
    """value = start + slope * time, plus a step between two samples."""

    drift: Float[np.ndarray, "d"]
    """Change over all samples by creeping alone, in the values' unit."""
    step: Float[np.ndarray, "d"]
    """Change at once; zeros if there was none."""
    step_at: int
    """The first sample after the step; 0 if there was none."""
    noise: float
    """Standard deviation of the samples about the trend."""


def fit_trend(time_s: Float[np.ndarray, "n"], values: Float[np.ndarray, "n d"]) -> Trend | None:
    """The line with at most one step that fits best; None if too few samples are finite.

    Every place of the step is tried by least squares; the step stays if it is larger than SIGNIFICANT standard
    errors of itself. Source: the F test for a structural break, Chow 1960, with the break's place unknown.
    """
    held = np.flatnonzero(np.isfinite(values).all(1))
    if len(held) < SAMPLES_NEEDED or np.ptp(time_s[held]) == 0:
        return None
    x, y = (time_s[held] - time_s[held[0]]) / np.ptp(time_s[held]), values[held]
    plain = _solve(np.stack([np.ones_like(x), x], 1), y)
    best, place, error = plain, 0, plain[2]
    for k in range(2, len(x) - 1):  # two samples at least on each side: one alone is an outlier
        solved = _solve(np.stack([np.ones_like(x), x, np.arange(len(x)) >= k], 1), y)
        if solved[2] < error:
            best, place, error = solved, k, solved[2]
    if place:
        coefficients, deviation, _ = best
        size = float(np.linalg.norm(coefficients[2]))
        if size > SIGNIFICANT * max(deviation[2], 1e-12):
            return Trend(coefficients[1], coefficients[2], int(held[place]), _noise(error, y, 3))
    return Trend(plain[0][1], np.zeros(y.shape[1]), 0, _noise(plain[2], y, 2))


def _solve(
    design: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n d"]
) -> tuple[Float[np.ndarray, "p d"], Float[np.ndarray, "p"], float]:
    """Coefficients, their standard errors (over all values together) and the sum of squares that remains."""
    design = design.astype(np.float64)
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    error = float(((y - design @ coefficients) ** 2).sum())
    covariance = np.linalg.pinv(design.T @ design) * error / max(len(y) - design.shape[1], 1)
    return coefficients, np.sqrt(np.diag(covariance).clip(0)), error


def _noise(error: float, y: Float[np.ndarray, "n d"], parameters: int) -> float:
    return float(np.sqrt(error / max(len(y) - parameters, 1) / y.shape[1]))
