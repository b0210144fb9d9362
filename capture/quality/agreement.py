"""Whether the cameras agree about what they saw: depth with depth, colour with colour."""

from __future__ import annotations

from collections.abc import Iterator

from capture.consistency import ConsistencyFigures
from capture.quality.check import Check, Judged, not_judged
from capture.quality.evidence import Evidence
from geometry.cameras import Camera
from geometry.rigs import Rig

DEPTH_WARN_M, DEPTH_FAIL_M = 0.005, 0.015
"""Bias against the others: surfaces 5 mm apart no longer fuse into one; an Azure Kinect's systematic error is under
11 mm + 0.1 % (its data sheet), so that more than 15 mm at a face's distance is no sensor's but the calibration's."""
EPIPOLAR_WARN_PX = 2.0
"""Of matched features, whose own noise is half a pixel; the calibration's own limit is 1 px on either side."""
REMEDY = "calibrate the rig again, or this sensor's depth scale and offset, and ingest with --rig"


def check_agreement(evidence: Evidence) -> Iterator[Check]:
    """Findings about every camera that has others of its kind beside it."""
    rig = evidence.take.rig
    for camera in rig.cameras:
        if camera.kind == "depth" and len(rig.depth) > 1:
            yield _depth(camera, rig, evidence.consistency[camera.id])
        elif camera.kind == "rgb" and len(rig.rgb) > 1:
            yield _epipolar(camera, evidence.consistency[camera.id])


def _depth(camera: Camera, rig: Rig, figures: ConsistencyFigures) -> Check:
    name = "depth_disagreement"
    if figures.depth_m is None or figures.depth_own_m is None or figures.depth_bias_m is None:
        why = "no smooth surface that another depth camera sees too" if camera.is_calibrated else "no calibration"
        return not_judged(name, camera.id, "m", DEPTH_WARN_M, why)
    judged = Judged(name, camera.id, figures.depth_own_m, "m", DEPTH_WARN_M, DEPTH_FAIL_M)
    got = (
        f"{1e3 * figures.depth_own_m:.1f} mm against {figures.depth_partners} of {len(rig.depth) - 1} others "
        f"(signed {1e3 * figures.depth_bias_m:+.1f} mm, point by point {1e3 * figures.depth_m:.1f} mm)"
    )
    return judged.above(f"surfaces at most {1e3 * DEPTH_WARN_M:g} mm apart", got, REMEDY)


def _epipolar(camera: Camera, figures: ConsistencyFigures) -> Check:
    if figures.epipolar_own_px is None:
        why = "too few features that another colour camera sees too" if camera.is_calibrated else "no calibration"
        return not_judged("epipolar_residual", camera.id, "px", EPIPOLAR_WARN_PX, why)
    judged = Judged("epipolar_residual", camera.id, figures.epipolar_own_px, "px", EPIPOLAR_WARN_PX)
    got = f"{figures.epipolar_own_px:.2f} px against {figures.epipolar_partners} others"
    remedy = "calibrate the rig again and ingest with --rig"
    return judged.above(f"at most {EPIPOLAR_WARN_PX:g} px from the epipolar lines", got, remedy)
