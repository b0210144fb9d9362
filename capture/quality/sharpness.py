"""Focus that fades and frames that are smeared, against the stream's own usual sharpness."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from capture.quality.check import Check, Judged, TimeCourse, not_judged
from capture.quality.evidence import Evidence
from capture.quality.smoothing import FRAMES_NEEDED, lasting, passing, since

LOSS_WARN = 0.5
"""Share of the median: a lens that goes out of focus by a pixel's blur loses half of the Laplacian's variance and more;
a subject who turns changes it by a quarter."""
SMEARED_SHARE, SMEARED_WARN = 0.6, 0.05
"""A frame under this share of its neighbours' sharpness is smeared; so many of them mean a shutter too slow."""


def check_sharpness(evidence: Evidence) -> Iterator[Check]:
    """Findings about every camera whose sharpness the ingest measured."""
    for camera in evidence.take.rig.cameras:
        stream = evidence.take.stream(camera.id)
        if camera.kind != "depth" and len(stream) and stream.quality.blur is not None:
            sharpness = stream.quality.blur.astype(np.float64)
            if np.isfinite(sharpness).all():
                yield from _of_camera(camera.id, sharpness, evidence.frame_time_s(camera.id))


def _of_camera(camera_id: str, sharpness: Float[np.ndarray, "t"], time_s: Float[np.ndarray, "t"]) -> Iterator[Check]:
    median = float(np.median(sharpness))
    if len(sharpness) < FRAMES_NEEDED or median <= 0:
        why = (
            f"{len(sharpness)} frames, of which {FRAMES_NEEDED} are needed" if median > 0 else "pictures without detail"
        )
        yield not_judged("sharpness_loss", camera_id, "share", LOSS_WARN, why)
        yield not_judged("smeared_frames", camera_id, "share", SMEARED_WARN, why)
        return
    smooth = lasting(sharpness)
    worst = int(np.argmin(smooth))
    loss = max(0.0, 1 - float(smooth[worst]) / median)
    course = TimeCourse("sharpness", time_s, sharpness / median, "× median")
    judged = Judged("sharpness_loss", camera_id, loss, "share", LOSS_WARN, course=course)
    start = since(1 - smooth / median, LOSS_WARN)
    got = f"{loss:.0%} less than the stream's median"
    got += f", below the threshold from {time_s[start]:.1f} s on" if loss > LOSS_WARN else ""
    remedy = "lock the focus and clean the lens, then look at the pictures from that time"
    yield judged.above(f"at most {LOSS_WARN:.0%} of sharpness lost", got, remedy)
    smeared = float(np.mean(passing(sharpness) < (SMEARED_SHARE - 1) * smooth))
    judged = Judged("smeared_frames", camera_id, smeared, "share", SMEARED_WARN)
    got = f"{smeared:.1%} of the frames much less sharp than those before and after"
    yield judged.above(f"at most {SMEARED_WARN:.0%}", got, "expose shorter, and add light instead")
