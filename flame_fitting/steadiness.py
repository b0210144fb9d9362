"""How steady a tracked head is, told from the result alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

NOISE_GAIN = float(np.sqrt(6 / 70))
"""Of white noise, the second difference is this much of the fourth: the roots of the sums of (1, 2, 1) and of
(1, 4, 6, 4, 1) squared. Slow motion of a head or a face hardly reaches the fourth difference; noise does in full."""
CALM_PERCENTILE = 10
"""Of the frames: where a face moves fast, its motion would count as jitter."""


def jitter_mm_per_frame2(vertices: Float[np.ndarray, "t v 3"]) -> float:
    """Second difference of what is noise in the vertices' tracks, mm per frame squared, where the face is calm.

    Median over the vertices of a frame, of the calmest tenth of the frames; nan for fewer than five frames.
    """
    if len(vertices) < 5:
        return float("nan")
    bend = np.diff(np.asarray(vertices, np.float64), n=4, axis=0)
    of_frames = np.median(np.linalg.norm(bend, axis=-1), axis=1)
    return float(np.percentile(of_frames, CALM_PERCENTILE)) * NOISE_GAIN * 1000
