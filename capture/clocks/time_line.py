"""One time line for all cameras, whatever it was found from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from capture.clocks.tracks import Track


@dataclass(frozen=True)
class CameraLine:
    """time since the line's origin = offset + (1 + drift) * device's time since the camera's first frame."""

    offset_ns: float = 0.0
    """At the camera's first frame."""
    drift: float = 0.0
    """Dimensionless; positive: the device's clock runs slow."""
    residual_ns: float = 0.0
    """Root-mean-square distance of what the line was fitted to."""
    offset_sigma_ns: float = 0.0
    """One standard deviation of the offset against the other cameras', nanoseconds."""
    drift_sigma: float = 0.0
    """One standard deviation of the drift, dimensionless."""

    def time_ns(self, track: Track) -> Float[np.ndarray, "n"]:
        """When its frames were taken, from the line's origin."""
        return track.elapsed_ns * (1 + self.drift) + self.offset_ns


@dataclass(frozen=True, eq=False)
class TimeLine:
    """Where every camera's frames are in time."""

    reference: str
    """What it was found from."""
    origin_ns: int
    """What the take's time is at the line's 0."""
    lines: tuple[CameraLine, ...]
    """In the order of the tracks."""
    notes: tuple[str, ...] = ()
    """What a user should know."""
    counts: tuple[Int64[np.ndarray, "_"], ...] | None = None
    """By track, the trigger of each frame, -1 for a frame of none, where triggers are known; else None."""
    wrong: tuple[int, ...] | None = None
    """By track, frames whose trigger id contradicts their time; None: no triggers."""

    def time_ns(self, tracks: list[Track]) -> list[Float[np.ndarray, "_"]]:
        """When each camera's frames were taken, from the origin."""
        return [line.time_ns(track) for line, track in zip(self.lines, tracks, strict=True)]


@dataclass(frozen=True)
class Refused:
    """Why a reference that is there cannot be used."""

    why: str
    """For the notes; empty: it is not there at all."""
