"""A device's clock against the recorder's: offset and drift from arrival times that are late by varying amounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real
from scipy.stats import norm as normal
from scipy.stats import t as student_t

from capture.clocks.robust_line import median_slope

DRIFT_PRIOR = 20e-6
"""How far quartz clocks differ from one another, one standard deviation."""
CONTRADICTION = 4.0
"""Standard deviations beyond which the times themselves are believed instead of the prior, of many arrivals."""
UNSEEN_LATENCY_NS = 20e6 / np.sqrt(12)
"""What is always late cannot be seen: something between 0 and 20 ms, and nobody knows what; one standard deviation."""
PORTIONS, FEWEST_PORTIONED = 6, 60
"""The line is fitted to every sixth arrival too; how these lines differ shows how sure the whole one is."""
OUTLIER_MADS = 8.0
"""Arrivals earlier than this many median deviations cannot be: a step of the recorder's clock."""


@dataclass(frozen=True)
class ClockLine:
    """recorder's time - device's time = offset + drift * device's time since the stream's first frame."""

    offset_ns: float
    """At the first frame, against whatever origins the two clocks were given."""
    drift: float
    """Dimensionless; positive: the device's clock runs slow."""
    residual_ns: float
    """Root-mean-square distance of the arrivals from the line through their middle."""
    offset_sigma_ns: float = UNSEEN_LATENCY_NS
    """One standard deviation of the offset, with what arrivals cannot show."""
    drift_sigma: float = DRIFT_PRIOR
    """One standard deviation of the drift, dimensionless."""


def fit_clock(device_ns: Real[np.ndarray, "t"], host_ns: Real[np.ndarray, "t"]) -> ClockLine:
    """The line under all arrivals: what they would be if each had come with the least latency.

    Both clocks count from the origin of the caller's choice, so that float64 holds nanoseconds exactly. Latency only
    ever delays, so the lower hull's edge below the middle of the recording is the best line for exponential latency
    (and where few frames leave the drift open, it is drawn to zero with a prior of 20 ppm, unless they contradict it).
    Source: Moon, Skelly & Towsley 1999, "Estimation and removal of clock skew from network delay measurements".
    """
    x = (device_ns - device_ns[0]).astype(np.float64)
    y = (host_ns - device_ns).astype(np.float64)
    if len(x) < 3 or np.ptp(x) == 0:
        return ClockLine(float(y.min()), 0.0, float(y.std()))
    kept = _possible(x, y)
    x, y = x[kept], y[kept]
    slope = _slope_below(x, y)
    deviation = _slope_deviation(x, y, slope)
    if abs(slope) <= np.hypot(CONTRADICTION * DRIFT_PRIOR, _contradiction(len(x)) * deviation):
        slope *= DRIFT_PRIOR**2 / (DRIFT_PRIOR**2 + deviation**2)
        deviation *= DRIFT_PRIOR / np.hypot(DRIFT_PRIOR, deviation)
    return _line_of_slope(x, y, (float(slope), float(deviation)))


def _contradiction(count: int) -> float:
    """CONTRADICTION's probability for so few arrivals: their scatter says little about itself (Student's t)."""
    return float(student_t.ppf(normal.cdf(CONTRADICTION), max(count - 2, 1)))


def _possible(x: Float[np.ndarray, "t"], y: Float[np.ndarray, "t"]) -> np.ndarray:
    """Arrivals that are not far too early."""
    detrended = y - median_slope(x, y) * x
    low = np.median(detrended)
    return detrended >= low - OUTLIER_MADS * max(float(np.median(np.abs(detrended - low))), 1.0)


def _slope_deviation(x: Float[np.ndarray, "t"], y: Float[np.ndarray, "t"], slope: float) -> float:
    """One standard deviation of the hull's slope: of a least-squares line, or as portions of the arrivals show it.

    The hull is surer than the least-squares line where latencies crowd near the least, and by an unknown factor; a
    portion's own error shrinks at least with the root of its number of arrivals.
    """
    least_squares = float((y - slope * x).std()) / max(float(x.std()) * np.sqrt(len(x)), 1.0)
    if len(x) < FEWEST_PORTIONED:
        return least_squares
    slopes = [_slope_below(x[k::PORTIONS], y[k::PORTIONS]) for k in range(PORTIONS)]
    return min(float(np.std(slopes, ddof=1)) / np.sqrt(PORTIONS), least_squares)


def _line_of_slope(x: Float[np.ndarray, "t"], y: Float[np.ndarray, "t"], drift: tuple[float, float]) -> ClockLine:
    remaining = y - drift[0] * x
    least = [float(remaining[k::PORTIONS].min()) for k in range(PORTIONS)] if len(x) >= FEWEST_PORTIONED else [0.0, 0.0]
    from_middle = drift[1] * float(x.mean()) if len(x) else 0.0
    sigma_ns = float(np.sqrt(np.var(least, ddof=1) / PORTIONS + from_middle**2 + UNSEEN_LATENCY_NS**2))
    return ClockLine(float(remaining.min()), drift[0], float(remaining.std()), sigma_ns, drift[1])


def _slope_below(x: Float[np.ndarray, "t"], y: Float[np.ndarray, "t"]) -> float:
    """Slope of the lower convex hull's edge below the mean of x, which minimises the mean height above a line.

    Bridge finding: a point on each side of the mean; the lowest point below their line replaces the one of its side,
    until there is none. The line sinks at the mean each time, so that it ends.
    """
    left = x < x.mean()
    if not left.any():
        return 0.0
    a = int(np.argmin(np.where(left, y, np.inf)))
    b = int(np.argmin(np.where(left, np.inf, y)))
    for _ in range(len(x)):
        slope = (y[b] - y[a]) / (x[b] - x[a])
        height = y - y[a] - slope * (x - x[a])
        lowest = int(np.argmin(height))
        if height[lowest] >= -1e-6 or lowest in (a, b):
            break
        a, b = (lowest, b) if left[lowest] else (a, lowest)
    return float((y[b] - y[a]) / (x[b] - x[a]))
