"""A straight line through times of which some are wrong, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

TUKEY = 4.685
"""Residuals beyond this many deviations count nothing; 95 % efficient for normal errors (Holland & Welsch 1977)."""
EFFICIENCY = 0.95
MAD_TO_SIGMA = 1.4826
ROUNDS = 12


@dataclass(frozen=True)
class RobustLine:
    """y = level + slope * (x - centre)."""

    centre: float
    """Where level and slope are independent of each other."""
    level: float
    """Value there."""
    slope: float
    """Rise."""
    residual: float
    """One standard deviation of a point about the line, wrong ones aside."""
    level_sigma: float
    """One standard deviation of the level."""
    slope_sigma: float
    """One standard deviation of the slope; infinite if a single place was seen."""

    def at(self, x: Real[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Its value at places."""
        return self.level + self.slope * (x - self.centre)

    def sigma_at(self, x: float) -> float:
        """One standard deviation of its value at a place."""
        away = abs(x - self.centre)
        return float(np.hypot(self.level_sigma, self.slope_sigma * away if away else 0.0))


def fit_robust_line(x: Real[np.ndarray, "n"], y: Real[np.ndarray, "n"], noise: float = 0.0) -> RobustLine:
    """The line that most points are on; at least one point. `noise` is what a point's error is at least.

    Starts at the median of slopes between points half the data apart, and goes on with Tukey's biweight.
    Source: Holland & Welsch 1977; Maronna, Martin & Yohai 2006, section 4.4.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    slope = median_slope(x, y)
    level = float(np.median(y - slope * (x - x.mean())))
    centre, spread = float(x.mean()), max(noise, 1e-12)
    weights = np.ones(len(x))
    for _ in range(ROUNDS):
        residual = y - level - slope * (x - centre)
        spread = max(MAD_TO_SIGMA * float(np.median(np.abs(residual))), noise, 1e-12)
        weights = np.clip(1 - (residual / (TUKEY * spread)) ** 2, 0, None) ** 2
        total = weights.sum()
        if total <= 0:
            weights = np.ones(len(x))
            break
        centre = float((weights * x).sum() / total)
        level = float((weights * y).sum() / total)
        square = float((weights * (x - centre) ** 2).sum())
        slope = float((weights * (x - centre) * (y - level)).sum() / square) if square > 0 else 0.0
    used = weights > 0
    lever = float(((x[used] - x[used].mean()) ** 2).sum())
    deviation = spread / np.sqrt(EFFICIENCY)
    slope_sigma = deviation / np.sqrt(lever) if lever > 0 else np.inf
    return RobustLine(centre, level, slope, spread, deviation / np.sqrt(max(used.sum(), 1)), float(slope_sigma))


def median_slope(x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"]) -> float:
    """Median over pairs half the data apart: a few wrong points do not move it. `x` in order."""
    half = (len(x) + 1) // 2
    run = x[half:] - x[: len(x) - half]
    rise = y[half:] - y[: len(y) - half]
    return float(np.median(rise[run > 0] / run[run > 0])) if (run > 0).any() else 0.0
