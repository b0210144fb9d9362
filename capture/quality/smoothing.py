"""A measure of every frame, split into what lasts and what passes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import median_filter

WINDOW = 9
"""Frames: 0.3 s at 30 Hz, longer than a flicker of mains beating with the frame rate, shorter than a lamp's fault."""
FRAMES_NEEDED = 12
"""Fewer have no course over time."""


def lasting(values: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t"]:
    """Running median over WINDOW frames: steps stay sharp, single frames vanish."""
    return median_filter(values, WINDOW, mode="nearest")


def passing(values: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t"]:
    """What single frames have beyond the running median."""
    return values - lasting(values)


def since(apart: Float[np.ndarray, "t"], limit: float) -> int:
    """The first frame whose distance from normal is beyond a limit; the farthest one if none is."""
    beyond = np.flatnonzero(apart > limit)
    return int(beyond[0]) if len(beyond) else int(np.argmax(apart))
