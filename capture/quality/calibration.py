"""What the rig says about itself: calibrated, how well, and every camera in a place of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from capture.quality.check import Check, Judged
from capture.quality.evidence import Evidence
from geometry.cameras import Camera
from geometry.rigs import Rig

SAME_PLACE_M = 1e-3
REPROJECTION_WARN_PX = 1.0
REMEDY = "calibrate the rig again and ingest with --rig"


def check_calibration(evidence: Evidence) -> Iterator[Check]:
    """A finding of each kind per camera."""
    rig = evidence.take.rig
    for camera in rig.cameras:
        yield _calibrated(camera, len(rig.cameras))
        if camera.is_calibrated:
            error_px = camera.reprojection_px
            said = "no reprojection error stated" if error_px is None else f"a reprojection error of {error_px:.2f} px"
            judged = Judged("reprojection", camera.id, error_px, "px", REPROJECTION_WARN_PX)
            yield judged.above(f"at most {REPROJECTION_WARN_PX:g} px", said, REMEDY)
            yield _own_place(camera, rig)


def _calibrated(camera: Camera, cameras: int) -> Check:
    """One camera alone can be looked at without a calibration; several cannot be brought together."""
    missing = float(not camera.is_calibrated)
    judged = Judged("calibrated", camera.id, missing, "1", *((None, 0.0) if cameras > 1 else (0.0, None)))
    got = f"one from {camera.calibration_source or 'the rig file'}" if camera.is_calibrated else "none"
    remedy = "record a board, run `mien calibrate`, and ingest again with --rig"
    return judged.above("a calibration", got, remedy)


def _own_place(camera: Camera, rig: Rig) -> Check:
    twins = [other.id for other in rig.cameras if _share_place(camera, other)]
    judged = Judged("own_place", camera.id, float(len(twins)), "cameras", None, 0.0)
    got = f"{', '.join(twins[:4])} within a millimetre of it" if twins else "no other camera within a millimetre"
    return judged.above("a place of its own for each camera", got, REMEDY)


def _share_place(camera: Camera, other: Camera) -> bool:
    """Whether two sensors claim one place that cannot both be there."""
    if other.id == camera.id or not other.is_calibrated:
        return False
    # A depth picture that a device has registered to its colour picture shares its place, as infrared and depth do.
    if other.module == camera.module and other.kind != camera.kind:
        return False
    return bool(np.linalg.norm(other.centre_world - camera.centre_world) < SAME_PLACE_M)
