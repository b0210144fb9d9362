"""A calibration from elsewhere, proven on the recording that it is used for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Shaped

from capture.consistency import measure_consistency
from capture.readers.recording import Recording
from capture.sync import synchronise
from geometry.cameras import Camera
from geometry.rigs import Rig

MOMENTS = 2
"""Frame sets that are looked at: the fullest, one from each half of the recording."""
DIGITS = 3
"""Significant ones that are kept, so that the last bits of a sum over threads do not make another rig."""


def with_consistency(rig: Rig, recording: Recording) -> Rig:
    """The rig with what its cameras' agreement on this recording is: metres of depth, pixels off epipolar lines.

    A camera that shares its view with no other gets no figure. Raises InputError where a picture does not decode.
    """
    index = synchronise(rig, recording.clocks).sync.index
    held = (index >= 0).sum(1)
    halves = np.array_split(np.arange(len(index)), MOMENTS)
    moments = [int(half[np.argmax(held[half])]) for half in halves if len(half)]

    def frames_of(camera_id: str) -> Iterator[Shaped[np.ndarray, "h w *c"] | None]:
        for moment in moments:
            frame = int(index[moment, rig.index(camera_id)])
            yield None if frame < 0 else recording.read_frame(camera_id, frame)

    figures = measure_consistency(rig, frames_of)

    def proven(camera: Camera) -> Camera:
        found = figures[camera.id]
        return replace(camera, depth_consistency_m=_kept(found.depth_m), epipolar_px=_kept(found.epipolar_px))

    return Rig(tuple(proven(camera) for camera in rig.cameras))


def _kept(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
