"""What the frames of one camera show: measured once, judged by many checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capture.depth_unit import median_count
from capture.grey_pictures import small_grey
from capture.quality.background_motion import BackgroundMotion, measure_background_motion
from capture.quality.depth_background import DepthDrift, measure_depth_drift
from capture.quality.sampling import sample_frames
from storage.take import Stream


@dataclass(frozen=True, eq=False)
class CameraFacts:
    """Measures of a few frames of one camera; the frames themselves are gone."""

    frozen: bool
    """Whether all of at least three frames are equal."""
    motion: BackgroundMotion | str
    """Of the background in the picture; in words why it is not known."""
    central_holes: float | None = None
    """Share of the middle of depth pictures without a measurement; None for other kinds."""
    depth_count: float | None = None
    """Median of the measured depth counts; None if nothing was measured."""
    depth_drift: DepthDrift | str = "no depth camera"
    """Of the static part; in words why it is not known."""


def measure_camera(stream: Stream) -> CameraFacts:
    """Decode a bounded number of a camera's frames and measure them. The stream must have frames."""
    samples = sample_frames(stream)
    frozen = _is_frozen(stream)
    if stream.camera.kind != "depth":
        motion = measure_background_motion(samples, lambda t: small_grey(stream.frame(t)))
        return CameraFacts(frozen, motion)
    rows, columns = stream.camera.image_size_hw
    middle = samples.pictures[:, rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    holes = float(1 - np.count_nonzero(middle) / middle.size)
    count = median_count(list(samples.pictures))
    return CameraFacts(frozen, "no texture in depth", holes, count, measure_depth_drift(samples, stream.camera))


def _is_frozen(stream: Stream) -> bool:
    """Whether a camera of several frames gave the same picture every time; stops at the first that differs."""
    if len(stream) < 3:
        return False
    first = stream.frame(0)
    return all(np.array_equal(first, stream.frame(t)) for t in range(1, len(stream)))
