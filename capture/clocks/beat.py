"""The beat that a camera keeps: its frames counted by their own times, gaps included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from capture.clocks.robust_line import RobustLine, fit_robust_line

FEWEST_FRAMES = 8
STEADY = 0.15
"""A beat's times scatter by less than this share of its period; uniformly random ones by 0.37."""
ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Beat:
    """Frames of a camera that follow a steady beat."""

    counts: Int64[np.ndarray, "n"]
    """The beat of each frame, 0 for the first; a missing number is a missing frame."""
    line: RobustLine
    """Device time in nanoseconds since the first frame over the count: its slope is the period."""

    @property
    def period_ns(self) -> float:
        """Nanoseconds of the device's clock from beat to beat."""
        return self.line.slope

    @property
    def period_sigma(self) -> float:
        """One standard deviation of the period, as a share of it."""
        return self.line.slope_sigma / self.line.slope

    @property
    def dropped(self) -> int:
        """Beats without a frame between the first and the last."""
        return int((np.diff(self.counts) - 1).clip(0).sum())


def count_beats(device_ns: Int64[np.ndarray, "n"]) -> Beat | None:
    """The beat of frames in order of time, or None for too few or such as keep none.

    The period comes from neighbours first, and then from frames twice as far apart each time: an error of the period
    is always small against the distance that it counts, however long the recording is.
    """
    if len(device_ns) < FEWEST_FRAMES:
        return None
    time_ns = (device_ns - device_ns[0]).astype(np.float64)
    period_ns = float(np.median(np.diff(time_ns)))
    lag = 1
    while lag <= len(time_ns) // 2 and period_ns > 0:
        run = time_ns[lag:] - time_ns[:-lag]
        beats = np.round(run / period_ns)
        if not (beats > 0).any():
            return None
        period_ns = float(np.median(run[beats > 0] / beats[beats > 0]))
        lag *= 2
    if period_ns <= 0:
        return None
    steps = np.round(np.diff(time_ns) / period_ns)
    counts = np.concatenate([[0.0], np.cumsum(steps)])
    line = fit_robust_line(counts, time_ns)
    for _ in range(ROUNDS):
        if line.slope <= 0:
            return None
        again = np.round((time_ns - line.level) / line.slope + line.centre)
        if np.array_equal(again, counts):
            break
        counts = again
        line = fit_robust_line(counts, time_ns)
    if not 0 < line.residual < STEADY * line.slope:
        return None
    first = counts[0]
    shifted = RobustLine(line.centre - first, line.level, line.slope, line.residual, line.level_sigma, line.slope_sigma)
    return Beat((counts - first).astype(np.int64), shifted)
