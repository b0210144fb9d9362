"""What is measured of each frame while it passes through the ingest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16

from geometry.cameras import CameraKind
from storage.take import FrameQuality


@dataclass(frozen=True)
class FrameMeasures:
    """Of one frame; None where a measure does not apply to its kind of camera."""

    exposure: float | None = None
    """Mean grey level of a colour picture, 0 to 1."""
    blur: float | None = None
    """Variance of a colour picture's Laplacian, grey levels squared; low is blurred."""
    hole_rate: float | None = None
    """Share of a depth picture's pixels without a measurement."""


MEASURES_OF_KIND = {"rgb": ("exposure", "blur"), "depth": ("hole_rate",), "infrared": (), "light_field": ()}


def measure_frame(frame: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"], kind: CameraKind) -> FrameMeasures:
    """The measures of a frame of a camera of this kind; the same figures on any number of threads.

    Source of the sharpness measure: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy".
    """
    if kind == "depth":
        return FrameMeasures(hole_rate=1 - cv2.countNonZero(frame) / frame.size)
    if kind != "rgb":
        return FrameMeasures()
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    laplacian = cv2.Laplacian(grey, cv2.CV_16S)
    # OpenCV sums integers exactly, so that the figures do not depend on how the work is cut. Mean and sum of squares
    # apart take a tenth of the time of its meanStdDev.
    blur = cv2.norm(laplacian, cv2.NORM_L2SQR) / laplacian.size - cv2.mean(laplacian)[0] ** 2
    return FrameMeasures(exposure=cv2.mean(grey)[0] / 255, blur=blur)


def stream_quality(measures: Sequence[FrameMeasures], kind: CameraKind) -> FrameQuality:
    """A stream's measures in the order of its frames, as the take stores them."""
    names = MEASURES_OF_KIND[kind]
    return FrameQuality(**{name: _column([getattr(measure, name) for measure in measures]) for name in names})


def measures_to_record(measures: Sequence[FrameMeasures]) -> dict[str, list[float | None]]:
    """As plain values; floats come back from JSON bit for bit."""
    return {item.name: [getattr(measure, item.name) for measure in measures] for item in fields(FrameMeasures)}


def measures_from_record(record: dict[str, Any]) -> list[FrameMeasures]:
    """What `measures_to_record` gave."""
    names = [item.name for item in fields(FrameMeasures)]
    return [
        FrameMeasures(**dict(zip(names, row, strict=True)))
        for row in zip(*(record[name] for name in names), strict=True)
    ]


def _column(values: list[float | None]) -> Float[np.ndarray, "t"]:
    return np.array([np.nan if value is None else value for value in values], np.float32)
