"""When a sample of a sound track was taken, on its device's clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, Real

from capture.clocks.robust_line import RobustLine, fit_robust_line
from capture.readers.recording import AudioTrack

JUMP_NS = 3e6
"""Anchors farther from a straight line than this show lost samples; closer ones only jitter."""

UNKNOWN_NS, UNKNOWN_DRIFT = 1e6, 50e-6
"""Of a track with too few anchors to judge: a driver's millisecond, a sound card's quartz."""


@dataclass(frozen=True)
class SoundClock:
    """A track's samples on its device's clock."""

    track: AudioTrack
    """Which."""
    line: RobustLine | None
    """Device time since the first anchor over the sample, nanoseconds; None where samples lack or one anchor is all."""

    def times_ns(self, samples: Real[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        """Device times of samples, which need not be whole."""
        anchors = self.track.anchors
        if self.line is not None:
            elapsed = self.line.at(samples)
        else:
            time_ns = (anchors[:, 1] - anchors[0, 1]).astype(np.float64)
            elapsed = _between(
                samples.astype(np.float64), anchors[:, 0].astype(np.float64), time_ns, self.track.rate_hz
            )
        return int(anchors[0, 1]) + np.round(elapsed).astype(np.int64)

    @property
    def always_ns(self) -> float:
        """One standard deviation of what all times are wrong by together."""
        return self.line.level_sigma if self.line is not None else UNKNOWN_NS

    @property
    def drift_sigma(self) -> float:
        """One standard deviation of the sound's rate, dimensionless."""
        if self.line is None or not np.isfinite(self.line.slope_sigma):
            return UNKNOWN_DRIFT
        return self.line.slope_sigma / self.line.slope


def sound_clock(track: AudioTrack) -> SoundClock:
    """The line through all of a track's anchors, or each stretch between two where samples were lost."""
    at, time_ns = (track.anchors - track.anchors[0]).T.astype(np.float64)
    at += track.anchors[0, 0]
    if len(at) < 3:
        return SoundClock(track, None)
    line = fit_robust_line(at, time_ns, 1.0)
    steady = np.abs(time_ns - line.at(at)).max() < JUMP_NS
    return SoundClock(track, line if steady else None)


def _between(
    samples: Float[np.ndarray, "n"], at: Float[np.ndarray, "a"], time_ns: Float[np.ndarray, "a"], rate_hz: float
) -> Float[np.ndarray, "n"]:
    outside = np.minimum(samples - at[0], 0) + np.maximum(samples - at[-1], 0)
    return np.interp(samples, at, time_ns) + outside * (1e9 / rate_hz)
