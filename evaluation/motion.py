"""How a fitted face moves beside the true one: jitter where it keeps still, lag, blinks, and frames that stand still.

Smoothing trades these against each other, so they are only told together.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import maximum_filter1d

STILL_M = 1e-4
"""A vertex keeps still where its skin moves less than this from a frame to the next, the head's own motion left out."""
MOST_LAG = 6
"""Frames, each way, within which a lag is looked for."""
BLINK = 0.5
"""Peak of eyeBlink from which on the lids' motion counts as a blink."""
BLINK_REACH = 2
"""A fitted blink's peak is looked for so many frames about the true one's."""
MOVED_M = 1e-5
"""The true face moved if any of its vertices did by more than this."""
MEASURED = (0, 2)
"""Of `frame_state`: fitted, with a face in a view or to depth alone. Others name themselves in the report."""


def still_parts(head_vertices: Float[np.ndarray, "t v 3"]) -> Bool[np.ndarray, "t v"]:
    """Which true vertices keep still, about each frame; the first and the last frame have none.

    Vertices in the head's own frame: a head that turns under a still face moves none of them.
    """
    steps = np.linalg.norm(np.diff(head_vertices, axis=0), axis=-1) < STILL_M
    still = np.zeros(head_vertices.shape[:2], bool)
    still[1:-1] = steps[:-1] & steps[1:]
    return still


def jitter_figures(
    fitted: Float[np.ndarray, "t v 3"], true: Float[np.ndarray, "t v 3"], still: Bool[np.ndarray, "t v"]
) -> dict[str, float]:
    """Mean length of the second difference of the error over the still parts, mm per frame squared.

    What the true head itself does (it turns) is no jitter, hence the error and not the fit. None without still parts.
    """
    if len(fitted) < 3 or not still.any():
        return {}
    error = np.asarray(fitted, np.float64) - true
    bend = np.linalg.norm(error[2:] - 2 * error[1:-1] + error[:-2], axis=-1)
    return {"jitter_mm_per_frame2": float(bend[still[1:-1]].mean() * 1000)}


def lag_frames(fitted: Float[np.ndarray, "t e"], true: Float[np.ndarray, "t e"]) -> float:
    """By how many frames the fitted curves come late (negative: early), between frames by a parabola.

    Where the mean squared difference of all curves is least: a correlation would prefer shifts that drop calm frames.
    nan when the true curves do not move, or are shorter than the shifts that are tried.
    """
    frames, reach = len(true), min(MOST_LAG, (len(true) - 2) // 2)
    if reach < 1 or not (np.ptp(true, axis=0) > 0).any():
        return float("nan")
    shifts = np.arange(-reach, reach + 1)
    inner = slice(reach, frames - reach)  # the same true frames for every shift
    differences = np.array(
        [((fitted[reach + shift : frames - reach + shift] - true[inner]) ** 2).mean() for shift in shifts]
    )
    best = int(differences.argmin())
    if best in (0, len(shifts) - 1):
        return float(shifts[best])
    before, here, after = differences[best - 1 : best + 2]
    bend = before - 2 * here + after
    return float(shifts[best] + (0.5 * (before - after) / bend if bend > 0 else 0.0))


def lag_figures(fitted: Float[np.ndarray, "t e"], true: Float[np.ndarray, "t e"]) -> dict[str, float]:
    """Lag to whole frames, and between them."""
    lag = lag_frames(fitted, true)
    return {} if np.isnan(lag) else {"lag_frames": float(np.rint(lag)) + 0.0, "lag_frames_fine": lag}


def blink_figures(fitted: Float[np.ndarray, "t b"], true: Float[np.ndarray, "t b"]) -> dict[str, float]:
    """Fitted over true peak of each blink of each eye: the median; none where nobody blinks."""
    reach = 2 * BLINK_REACH + 1
    ratios = []
    for mine, wanted in zip(fitted.T, true.T, strict=True):
        near = maximum_filter1d(mine, reach, mode="nearest")
        ratios += [float(near[frame] / wanted[frame]) for frame in blinks(wanted)]
    return {"blink_amplitude_ratio": float(np.median(ratios)), "blinks": float(len(ratios))} if ratios else {}


def blinks(curve: Float[np.ndarray, "t"]) -> list[int]:
    """The frame of each blink's peak: the highest of every run above BLINK."""
    above = np.concatenate([[False], curve > BLINK, [False]])
    starts, ends = np.flatnonzero(~above[:-1] & above[1:]), np.flatnonzero(above[:-1] & ~above[1:])
    return [int(start + curve[start:end].argmax()) for start, end in zip(starts, ends, strict=True)]


def silent_gaps(
    fitted: Float[np.ndarray, "t v 3"], true: Float[np.ndarray, "t v 3"], state: UInt8[np.ndarray, "t"] | None
) -> int:
    """Frames that pass for fitted and are not: with a value that is no number, or the frame before to the last bit.

    Frames that name themselves as not fitted are none (those fitted to depth alone do not), nor is a face that kept
    still in truth.
    """
    named = np.zeros(len(fitted), bool) if state is None else ~np.isin(state, MEASURED)
    broken = ~np.isfinite(fitted).all((1, 2))
    frozen, moved = np.zeros(len(fitted), bool), np.zeros(len(fitted), bool)
    frozen[1:] = (fitted[1:] == fitted[:-1]).all((1, 2))
    moved[1:] = np.abs(np.diff(true, axis=0)).max((1, 2)) > MOVED_M
    return int(((broken | (frozen & moved)) & ~named).sum())
