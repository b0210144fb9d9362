"""Whether the cameras ran together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from capture.quality.check import Check, Judged, TimeCourse
from capture.quality.evidence import Evidence

INCOMPLETE_WARN, MOSTLY_EMPTY_FAIL = 0.05, 0.05
"""Share of frame sets that lack a camera; share that lacks more than half of the cameras."""


def check_frame_sets(evidence: Evidence) -> Iterator[Check]:
    """Two findings about the take."""
    sync, cameras = evidence.take.sync, len(evidence.take.rig.cameras)
    held = (sync.index >= 0).sum(1)
    incomplete = float(np.mean(held < cameras)) if len(held) else 1.0
    late = [name for name, report in evidence.sync_reports.items() if report.first_frame_set > 0]
    got = f"{incomplete:.1%} of {len(held)} frame sets lack a camera"
    got += f" (late: {', '.join(late[:6])})" if late else ""
    remedy = "see which camera drops frames or starts late; look at its cable and its host's load"
    time_s = (sync.time_ns - sync.time_ns[:1]).astype(np.float64) / 1e9
    course = TimeCourse("cameras missing from a frame set", time_s, (cameras - held).astype(np.float64), "")
    judged = Judged("incomplete_frame_sets", None, incomplete, "share", INCOMPLETE_WARN, course=course)
    yield judged.above(f"at most {INCOMPLETE_WARN:.1%}", got, remedy)
    empty = float(np.mean(2 * held < cameras)) if len(held) else 1.0
    judged = Judged("mostly_empty_frame_sets", None, empty, "share", None, MOSTLY_EMPTY_FAIL)
    got = f"{empty:.1%} of {len(held)} frame sets lack more than half of the cameras"
    yield judged.above(f"at most {MOSTLY_EMPTY_FAIL:.1%}", got, "the cameras did not run together; shoot again")
