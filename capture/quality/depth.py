"""Depth: the subject in view, at a distance where faces are recorded, and as many holes at the end as at the start."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from capture.depth_unit import FARTHEST_M, NEAREST_M, unit_fault
from capture.quality.check import Check, Judged, TimeCourse, not_judged
from capture.quality.evidence import Evidence
from capture.quality.facts import CameraFacts
from capture.quality.smoothing import FRAMES_NEEDED, lasting, since
from geometry.cameras import Camera

HOLES_WARN, HOLES_FAIL = 0.90, 0.98
"""Of the middle of a depth picture, where the head should be."""
CHANGE_WARN = 0.10
"""Of the picture: a head fills 5 to 20 % of a depth picture, so that this is about one head's worth of depth."""


def check_depth(evidence: Evidence) -> Iterator[Check]:
    """Findings about every depth camera that has frames."""
    for camera in evidence.take.rig.depth:
        if len(evidence.take.stream(camera.id)):
            yield from _looked_at(camera, evidence.facts[camera.id])
            yield from _hole_rate(camera, evidence)


def _looked_at(camera: Camera, facts: CameraFacts) -> Iterator[Check]:
    """From a few frames."""
    holes = facts.central_holes
    judged = Judged("central_depth_holes", camera.id, holes, "share", HOLES_WARN, HOLES_FAIL)
    got = f"{holes:.1%} of the middle of the picture without depth"
    yield judged.above(f"at most {HOLES_WARN:.0%}", got, "turn the camera to the subject or come within its range")
    if facts.depth_count is None:
        got, remedy = "no depth at all in the frames looked at", "check that the sensor's light is on, then shoot again"
        message = f"expected depth; got {got}; {remedy}"
        yield Check("depth_median", camera.id, None, "m", FARTHEST_M, "fail", message, remedy)
        return
    assert camera.depth_unit_m is not None
    distance_m = facts.depth_count * camera.depth_unit_m
    check = partial(Check, "depth_median", camera.id, distance_m, "m")
    if fault := unit_fault(camera, facts.depth_count):
        yield check(NEAREST_M if distance_m < NEAREST_M else FARTHEST_M, "fail", str(fault), fault.remedy)
    else:
        yield check(FARTHEST_M, "pass", f"expected {NEAREST_M:g} to {FARTHEST_M:g} m; got {distance_m:.3f} m")


def _hole_rate(camera: Camera, evidence: Evidence) -> Iterator[Check]:
    """From every frame's share of holes, as the ingest measured it."""
    rates = evidence.take.stream(camera.id).quality.hole_rate
    if rates is None or not np.isfinite(rates).all():
        return
    rates = rates.astype(np.float64)
    median, time_s = float(np.median(rates)), evidence.frame_time_s(camera.id)
    course = TimeCourse("depth holes", time_s, 100 * rates, "%")
    message = f"expected holes where nothing is in range; got {median:.1%} of the picture, the median frame"
    yield Check("depth_hole_rate", camera.id, median, "share", None, "pass", message, course=course)
    if len(rates) < FRAMES_NEEDED:
        why = f"{len(rates)} frames, of which {FRAMES_NEEDED} are needed"
        yield not_judged("depth_hole_change", camera.id, "share", CHANGE_WARN, why)
        return
    apart = lasting(rates) - median
    worst = int(np.argmax(np.abs(apart)))
    judged = Judged("depth_hole_change", camera.id, float(abs(apart[worst])), "share", CHANGE_WARN)
    got = f"{apart[worst]:+.1%} of the picture against the median"
    start = since(np.abs(apart), CHANGE_WARN)
    got += f", from {time_s[start]:.1f} s on" if abs(apart[worst]) > CHANGE_WARN else ""
    remedy = "see whether the subject left the range, or another sensor's light interferes"
    yield judged.above(f"at most {CHANGE_WARN:.0%}", got, remedy)
