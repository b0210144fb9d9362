"""Cameras that were moved during the take, and backgrounds that creep as sensors warm up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from capture.quality.background_motion import BackgroundMotion
from capture.quality.check import Check, Judged, TimeCourse, not_judged
from capture.quality.depth_background import DepthDrift
from capture.quality.evidence import Evidence
from geometry.cameras import Camera

MOVED_WARN_PX, MOVED_FAIL_PX = 0.5, 2.0
"""A pixel is 0.6 mm at 0.7 m in a camera of 1,150 px focal length: half of one is a good calibration's error, two are
more than the whole reprojection limit on either side of the jump."""
DRIFT_WARN_PX = 0.5
DEPTH_DRIFT_WARN_M = 0.002
"""Over the take: an Azure Kinect drifts by some 2 mm while it warms up, over an hour (Tolgyessy et al. 2021)."""
TOGETHER_S = 0.5
"""Jumps of several cameras within this are one event."""
MOST = 0.5
"""Share of the cameras: if more jumped together, no single one was bumped."""


def check_background(evidence: Evidence) -> Iterator[Check]:
    """Findings about every camera that has frames."""
    rig = evidence.take.rig
    motions = {
        name: facts.motion for name, facts in evidence.facts.items() if isinstance(facts.motion, BackgroundMotion)
    }
    for camera in rig.cameras:
        if camera.id not in evidence.facts:
            continue
        facts = evidence.facts[camera.id]
        if camera.kind == "depth":
            yield _depth_drift(camera, facts.depth_drift, evidence)
            continue
        if isinstance(facts.motion, str):
            yield not_judged("camera_moved", camera.id, "px", MOVED_WARN_PX, facts.motion)
            yield not_judged("background_drift", camera.id, "px", DRIFT_WARN_PX, facts.motion)
        else:
            yield _moved(camera, facts.motion, motions, evidence)
            yield _drift(camera, facts.motion)


def _moved(camera: Camera, motion: BackgroundMotion, motions: dict[str, BackgroundMotion], evidence: Evidence) -> Check:
    """One camera that jumps alone was bumped; if most jump at once, it was the room or the subject, and never fails."""
    start_s = float(evidence.frame_time_s(camera.id)[0])
    course = TimeCourse("background shift", start_s + motion.time_s, motion.shift_px, "px")
    together = [
        other
        for other in motions.values()
        if other.jump_px > MOVED_WARN_PX and abs(other.jump_time_s - motion.jump_time_s) < TOGETHER_S
    ]
    common = len(together) > max(1, MOST * len(motions))
    judged = Judged(
        "camera_moved", camera.id, motion.jump_px, "px", MOVED_WARN_PX, None if common else MOVED_FAIL_PX, course
    )
    if not motion.jump_px:
        got = f"no jump of the background ({motion.features} points)"
    else:
        got = f"a jump of {motion.jump_px:.2f} px at {start_s + motion.jump_time_s:.2f} s (frame {motion.jump_frame})"
        got += f", with {len(together) - 1} other cameras" if common else ""
    remedy = "fasten the camera and calibrate the rig again; frames after the jump do not fit the calibration"
    if common:
        remedy = "see whether the whole rig was bumped or the background moved; if the rig, calibrate it again"
    return judged.above(f"a background that jumps by at most {MOVED_WARN_PX:g} px", got, remedy)


def _drift(camera: Camera, motion: BackgroundMotion) -> Check:
    judged = Judged("background_drift", camera.id, motion.drift_px, "px", DRIFT_WARN_PX)
    got = f"{motion.drift_px:.2f} px over the take{_a_minute(motion.drift_px, motion.time_s, 'px')}"
    remedy = "let the cameras warm up before calibrating, and see that their mounts do not give"
    return judged.above(f"a background that creeps by at most {DRIFT_WARN_PX:g} px", got, remedy)


def _depth_drift(camera: Camera, drift: DepthDrift | str, evidence: Evidence) -> Check:
    if isinstance(drift, str):
        return not_judged("depth_drift", camera.id, "m", DEPTH_DRIFT_WARN_M, drift)
    start_s = float(evidence.frame_time_s(camera.id)[0])
    course = TimeCourse("background distance", start_s + drift.time_s, 1e3 * drift.change_m, "mm")
    judged = Judged("depth_drift", camera.id, abs(drift.drift_m), "m", DEPTH_DRIFT_WARN_M, course=course)
    drift_mm = 1e3 * drift.drift_m
    got = f"{drift_mm:+.2f} mm over the take{_a_minute(drift_mm, drift.time_s, 'mm')}"
    remedy = "let the sensor warm up (half an hour) before calibrating and recording"
    return judged.above(f"a background that stays within {1e3 * DEPTH_DRIFT_WARN_M:g} mm", got, remedy)


def _a_minute(change: float, time_s: np.ndarray, unit: str) -> str:
    """Per minute, where the take is long enough for that to mean something."""
    span_s = float(np.ptp(time_s))
    return f", {change / span_s * 60:.2f} {unit} a minute" if span_s >= 10 else ""
