"""Whether the static part of a depth camera's pictures comes closer or recedes: a sensor that warms up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from capture.quality.sampling import SampledFrames
from capture.quality.trend import SAMPLES_NEEDED, fit_trend
from geometry.cameras import Camera

STATIC_SHARE = 0.005
"""Usual change between two samples that noise makes, as a share of the distance: 1.5 mm at 0.8 m is 0.2 %."""
STATIC_LEAST = 0.05
"""Share of the picture that must be static."""
MEASURED_LEAST = 0.7
"""Share of samples in which a pixel must have a measurement."""
OUTER_CELLS_LEAST = 4
"""As for colour: a background surrounds the subject."""
ROWS_COLUMNS = 120_000
"""Pixels looked at; every second or third of larger pictures."""


@dataclass(frozen=True, eq=False)
class DepthDrift:
    """How the static part of the depth changed."""

    time_s: Float[np.ndarray, "n"]
    """Of the samples, since the stream's first frame."""
    change_m: Float[np.ndarray, "n"]
    """Mean over the static pixels without outliers, against their median over time; positive: farther."""
    drift_m: float
    """Crept over the whole take; a jump is the camera's motion and left out."""
    noise_m: float
    """Of the samples about the trend, one standard deviation."""


def measure_depth_drift(samples: SampledFrames, camera: Camera) -> DepthDrift | str:
    """The static part's change of distance, or in words why it cannot be told.

    Static is what changes little between most pairs of samples, as in `background_motion`; the sum of many small
    changes then shows in the mean over all these pixels, whose noise is a hundredth of one pixel's.
    """
    if len(samples.index) < SAMPLES_NEEDED:
        return f"{len(samples.index)} frames, of which {SAMPLES_NEEDED} are needed"
    stride = max(1, int(np.ceil(np.sqrt(samples.pictures[0].size / ROWS_COLUMNS))))
    counts = samples.pictures[:, ::stride, ::stride]
    depth_m = np.where(counts > 0, camera.depth_m(counts), np.float32(np.nan))
    static, where = _static_pixels(depth_m)
    if static.shape[1] < STATIC_LEAST * depth_m[0].size or _outer_cells(where) < OUTER_CELLS_LEAST:
        share = static.shape[1] / depth_m[0].size
        return f"no static background with depth around the subject ({share:.1%} of the picture is static)"
    change_m = _central_mean(static - np.nanmedian(static, axis=0))
    trend = fit_trend(samples.time_s, change_m[:, None])
    if trend is None:
        return "too few frames with a static background"
    return DepthDrift(samples.time_s, change_m, float(trend.drift[0]), trend.noise)


def _static_pixels(depth_m: Float[np.ndarray, "n h w"]) -> tuple[Float[np.ndarray, "n p"], np.ndarray]:
    """Distances of the static pixels over time, and where in the picture they are, 0 to 1."""
    often = np.isfinite(depth_m).mean(0) >= MEASURED_LEAST
    rows, columns = np.nonzero(often)
    values = depth_m[:, rows, columns]
    with np.errstate(invalid="ignore"):
        change = np.abs(np.diff(values, axis=0))
        calm = np.nanmedian(change, axis=0) <= STATIC_SHARE * np.nanmedian(values, axis=0) if len(rows) else rows > 0
    where = np.stack([rows, columns], 1)[calm] / np.array(depth_m.shape[1:])
    return values[:, calm].astype(np.float64), where


def _central_mean(change_m: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n"]:
    """Mean of each row without what is far from its median, which alone would move in steps of the depth unit."""
    apart = np.abs(change_m - np.nanmedian(change_m, axis=1, keepdims=True))
    spread = 1.4826 * np.nanmedian(apart, axis=1, keepdims=True)
    return np.nanmean(np.where(apart <= 3 * spread + 1e-3, change_m, np.nan), axis=1)


def _outer_cells(where: np.ndarray) -> int:
    """How many of the eight outer cells of a 3 x 3 grid hold a twentieth of the static pixels each."""
    cells = np.minimum(where * 3, 2.999).astype(int)
    held = np.bincount(cells[:, 0] * 3 + cells[:, 1], minlength=9) >= 0.02 * max(len(where), 1)
    return int(held.sum() - held[4])
