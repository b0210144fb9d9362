"""A few frames of a stream, spread over the take and small enough to hold many of them at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from capture.grey_pictures import small_grey
from storage.take import Stream

FRAMES_SAMPLED = 24
"""Enough for a median over time of which a third are disturbed; decoding them takes half a second for 720p."""


@dataclass(frozen=True, eq=False)
class SampledFrames:
    """Frames of one stream."""

    index: Int[np.ndarray, "n"]
    """Their numbers in the stream, increasing."""
    time_s: Float[np.ndarray, "n"]
    """On the device's clock since the stream's first frame, seconds."""
    pictures: Shaped[np.ndarray, "n h w"]
    """Depth counts as recorded; grey levels 0 to 255 (uint8) of anything else."""
    scale: float
    """Pixels of the camera per pixel of the pictures."""


def sampled_indices(count: int, most: int = FRAMES_SAMPLED) -> Int[np.ndarray, "n"]:
    """Frame numbers evenly over a stream, its first and its last among them."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(int))


def sample_frames(stream: Stream) -> SampledFrames:
    """The frames that the picture checks look at; decodes at most FRAMES_SAMPLED."""
    index = sampled_indices(len(stream))
    if stream.camera.kind == "depth":
        pictures, scale = np.stack([stream.frame(int(t)) for t in index]), 1.0
    else:
        pictures = np.stack([small_grey(stream.frame(int(t))) for t in index])
        scale = stream.camera.image_size_hw[1] / pictures.shape[2]
    return SampledFrames(index, seconds(stream)[index], pictures, scale)


def seconds(stream: Stream) -> Float[np.ndarray, "t"]:
    """Device times since the stream's first frame."""
    device_ns = stream.device_ns
    return (device_ns - device_ns[:1]).astype(np.float64) / 1e9
