"""Clocks that were set while they ran: sudden steps between two clocks that stay."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

WINDOW, LONG_WINDOW = 12, 48
"""Frames on each side that must agree on a step: half a second and, so that a stalled host is none, two seconds."""
DEVIATIONS = 12.0
MOST_STEPS = 20


def find_steps(ahead_ns: Float[np.ndarray, "t"], least_ns: float) -> Float[np.ndarray, "t"]:
    """How much one clock was set against another up to each frame, from their differences in order of arrival.

    Zero everywhere unless a step of at least `least_ns` and of 12 deviations stays for two seconds.
    """
    total = np.zeros(len(ahead_ns))
    if len(ahead_ns) < 3 * WINDOW:
        return total
    lag = max(len(ahead_ns) // 12, 1)
    slope = np.median(ahead_ns[lag:] - ahead_ns[:-lag]) / lag
    level = ahead_ns - slope * np.arange(len(ahead_ns))
    near = np.diff(level)
    scale = 1.4826 * float(np.median(np.abs(near - np.median(near))))
    threshold = max(least_ns, DEVIATIONS * scale)
    for _ in range(MOST_STEPS):
        place, size = _largest_step(level)
        if abs(size) < threshold:
            break
        level[place:] -= size
        total[place:] += size
    return total


def _largest_step(level: Float[np.ndarray, "t"]) -> tuple[int, float]:
    """Where the medians before and after differ most, over short and over long windows."""
    edges = np.arange(WINDOW, len(level) - WINDOW + 1)
    medians = np.median(np.lib.stride_tricks.sliding_window_view(level, WINDOW), axis=1)
    jumps = medians[edges] - medians[edges - WINDOW]
    for candidate in np.argsort(-np.abs(jumps))[:8].tolist():
        middle = int(edges[candidate])
        around = range(max(middle - WINDOW // 2, 1), min(middle + WINDOW // 2, len(level) - 1) + 1)
        place = max(around, key=lambda k: abs(level[k] - level[k - 1]))
        long = np.median(level[place : place + LONG_WINDOW]) - np.median(level[max(place - LONG_WINDOW, 0) : place])
        if abs(long) > 0.7 * abs(jumps[candidate]):
            return place, float(long)
    return 0, 0.0


def count_steps(total_ns: Float[np.ndarray, "t"]) -> int:
    """Number of steps in what `find_steps` returns."""
    return int(np.count_nonzero(np.diff(total_ns)))


def mended(device_ns: Int64[np.ndarray, "t"], total_ns: Float[np.ndarray, "t"]) -> Int64[np.ndarray, "t"]:
    """Device times as if nobody had set the clock."""
    return device_ns + np.round(total_ns).astype(np.int64)
