"""A device's clock against the recorder's: offset and drift from arrival times that are late by varying amounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

DRIFT_PRIOR = 20e-6
"""How far quartz clocks differ from one another, one standard deviation."""
CONTRADICTION = 4.0
"""Standard deviations beyond which the times themselves are believed instead of the prior."""
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


def fit_clock(device_ns: Int64[np.ndarray, "t"], host_ns: Int64[np.ndarray, "t"]) -> ClockLine:
    """The line under all arrivals: what they would be if each had come with the least latency.

    Both clocks count from the origin of the caller's choice, so that float64 holds nanoseconds exactly. Latency only
    ever delays, so the lower hull's edge below the middle of the recording is the best line for exponential latency
    (and where few frames leave the drift open, it is drawn to zero with a prior of 20 ppm).
    Source: Moon, Skelly & Towsley 1999, "Estimation and removal of clock skew from network delay measurements".
    """
    x = (device_ns - device_ns[0]).astype(np.float64)
    y = (host_ns - device_ns).astype(np.float64)
    if len(x) < 3 or np.ptp(x) == 0:
        return ClockLine(float(y.min()), 0.0, float(y.std()))
    detrended = y - _median_slope(x, y) * x
    low = np.median(detrended)
    kept = detrended >= low - OUTLIER_MADS * max(float(np.median(np.abs(detrended - low))), 1.0)
    x, y = x[kept], y[kept]
    slope = _slope_below(x, y)
    scatter = float((y - slope * x).std())
    # Of a least-squares line; the hull's is smaller for exponential latency, and unknown for any other.
    deviation = scatter / max(float(x.std()) * np.sqrt(len(x)), 1.0)
    if abs(slope) <= CONTRADICTION * np.hypot(DRIFT_PRIOR, deviation):
        slope *= DRIFT_PRIOR**2 / (DRIFT_PRIOR**2 + deviation**2)
    remaining = y - slope * x
    return ClockLine(float(remaining.min()), float(slope), float(remaining.std()))


def _median_slope(x: Float[np.ndarray, "t"], y: Float[np.ndarray, "t"]) -> float:
    """Median over pairs half a recording apart: a few wrong times do not move it."""
    half = len(x) // 2
    run = x[half:] - x[: len(x) - half]
    rise = y[half:] - y[: len(y) - half]
    return float(np.median(rise[run > 0] / run[run > 0])) if (run > 0).any() else 0.0


def _slope_below(x: Float[np.ndarray, "t"], y: Float[np.ndarray, "t"]) -> float:
    """Slope of the lower convex hull's edge below the mean of x, which minimises the mean height above a line."""
    hull: list[int] = []
    for k in np.lexsort((y, x)).tolist():
        if hull and x[k] == x[hull[-1]]:
            continue
        while len(hull) > 1 and _turns_down(x, y, (hull[-2], hull[-1], k)):
            hull.pop()
        hull.append(k)
    right = int(np.clip(np.searchsorted(x[hull], x.mean()), 1, len(hull) - 1)) if len(hull) > 1 else 0
    if not right:
        return 0.0
    a, b = hull[right - 1], hull[right]
    return float((y[b] - y[a]) / (x[b] - x[a]))


def _turns_down(x: np.ndarray, y: np.ndarray, corners: tuple[int, int, int]) -> bool:
    a, b, c = corners
    return bool((x[b] - x[a]) * (y[c] - y[a]) <= (y[b] - y[a]) * (x[c] - x[a]))
