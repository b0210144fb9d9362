"""Whether there are pictures at all, and not one over and over."""

from __future__ import annotations

from collections.abc import Iterator

from capture.quality.check import Check, Judged
from capture.quality.evidence import Evidence


def check_frames(evidence: Evidence) -> Iterator[Check]:
    """A finding about each camera without frames, and about each of more than two."""
    for camera in evidence.take.rig.cameras:
        count = len(evidence.take.stream(camera.id))
        if not count:
            yield Judged("frames", camera.id, 0.0, "frames", None, 1.0).below("some", "none", "shoot again")
        elif count > 2:
            same = evidence.facts[camera.id].frozen
            judged = Judged("frozen_picture", camera.id, float(same), "1", None, 0.0)
            got = f"{count} equal ones" if same else "different ones"
            yield judged.above("pictures that change", got, "restart the camera, then shoot again")
