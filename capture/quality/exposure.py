"""Brightness: enough light, not too much, and the same from the first frame to the last."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from capture.quality.check import Check, Judged, TimeCourse, not_judged
from capture.quality.evidence import Evidence
from capture.quality.smoothing import FRAMES_NEEDED, lasting, passing, since

DARKEST, BRIGHTEST = 8.0, 247.0
"""Mean grey levels out of 255."""
GAMMA = 2.2
"""From sRGB's grey levels to light, near enough for a ratio of two levels."""
STEP_WARN_STOPS, STEP_FAIL_STOPS = 1 / 3, 1.0
"""A third of a stop is the step of a camera's exposure dial: more is no longer the same light. A stop is half of it."""
FLICKER_WARN = 0.02
"""Share of the brightness, RMS: twice what an eye just sees at 10 Hz (de Lange 1958)."""
RESOLVED = 1.0
"""Grey levels: smaller changes are not told from rounding."""


def check_exposure(evidence: Evidence) -> Iterator[Check]:
    """Findings about every colour camera whose brightness the ingest measured."""
    for camera in evidence.take.rig.cameras:
        stream = evidence.take.stream(camera.id)
        if camera.kind != "depth" and len(stream) and stream.quality.exposure is not None:
            grey = 255 * stream.quality.exposure.astype(np.float64)
            if np.isfinite(grey).all():
                yield from _levels(camera.id, float(grey.mean()))
                yield from _changes(camera.id, grey, evidence.frame_time_s(camera.id))


def _levels(camera_id: str, grey: float) -> Iterator[Check]:
    expected, got = f"a mean grey level from {DARKEST:g} to {BRIGHTEST:g}", f"{grey:.0f} of 255"
    dark = Judged("underexposed", camera_id, grey, "grey levels", None, DARKEST)
    yield dark.below(expected, got, "remove the lens cap, expose longer or add light, then shoot again")
    bright = Judged("overexposed", camera_id, grey, "grey levels", None, BRIGHTEST)
    yield bright.above(expected, got, "expose shorter or take light away, then shoot again")


def _changes(camera_id: str, grey: Float[np.ndarray, "t"], time_s: Float[np.ndarray, "t"]) -> Iterator[Check]:
    if len(grey) < FRAMES_NEEDED:
        why = f"{len(grey)} frames, of which {FRAMES_NEEDED} are needed"
        yield not_judged("exposure_change", camera_id, "stops", STEP_WARN_STOPS, why)
        yield not_judged("exposure_flicker", camera_id, "share", FLICKER_WARN, why)
        return
    median, smooth = max(float(np.median(grey)), 0.5), lasting(grey)
    stops_all = np.where(np.abs(smooth - median) > RESOLVED, np.abs(_stops(smooth, median)), 0.0)
    worst, start = int(np.argmax(stops_all)), since(stops_all, STEP_WARN_STOPS)
    stops = float(stops_all[worst])
    course = TimeCourse("exposure", time_s, grey, "of 255")
    judged = Judged("exposure_change", camera_id, stops, "stops", STEP_WARN_STOPS, STEP_FAIL_STOPS, course)
    got = f"{stops:.2f} stops, {smooth[worst]:.0f} instead of its median of {median:.0f} of 255"
    got += f", from {time_s[start]:.1f} s on" if stops > STEP_WARN_STOPS else ""
    remedy = "fix exposure and gain, and see which lamp went on or off; then shoot again"
    yield judged.above(f"brightness within {STEP_WARN_STOPS:.2f} stops", got, remedy)
    flicker = float(np.sqrt(np.mean(passing(grey) ** 2)))
    judged = Judged("exposure_flicker", camera_id, flicker / median, "share", max(FLICKER_WARN, RESOLVED / median))
    got = f"{flicker / median:.1%} of the brightness from frame to frame, RMS"
    remedy = "expose for a whole period of the mains (1/50 or 1/60 s), or use lamps that do not flicker"
    yield judged.above(f"at most {max(FLICKER_WARN, RESOLVED / median):.1%}", got, remedy)


def _stops(grey: Float[np.ndarray, "t"], median: float) -> Float[np.ndarray, "t"]:
    return GAMMA * np.log2(np.maximum(grey, 0.5) / median)
