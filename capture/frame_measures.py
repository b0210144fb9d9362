"""What is measured of each frame while it passes through the ingest."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16

from storage.take import FrameQuality


@dataclass(frozen=True)
class FrameMeasures:
    """Of one frame; NaN where a measure does not apply to its kind of camera."""

    exposure: float
    """Mean grey level of a colour picture, 0 to 1."""
    blur: float
    """Variance of a colour picture's Laplacian, grey levels squared; low is blurred."""
    hole_rate: float
    """Share of a depth picture's pixels without a measurement."""


def measure_frame(frame: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]) -> FrameMeasures:
    """The measures of a colour or a depth frame.

    Source of the sharpness measure: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy".
    """
    if frame.ndim == 2:
        return FrameMeasures(np.nan, np.nan, 1 - np.count_nonzero(frame) / frame.size)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return FrameMeasures(
        float(grey.mean()) / 255, float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item()) ** 2, np.nan
    )


def stream_quality(measures: list[FrameMeasures], is_depth: bool) -> FrameQuality:
    """A stream's measures in the order of its frames, as the take stores them."""
    if is_depth:
        return FrameQuality(hole_rate=_column([measure.hole_rate for measure in measures]))
    exposure, blur = ([getattr(measure, name) for measure in measures] for name in ("exposure", "blur"))
    return FrameQuality(exposure=_column(exposure), blur=_column(blur))


def _column(values: list[float]) -> Float[np.ndarray, "t"]:
    return np.array(values, np.float32)
