"""The checks of a take, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from capture.quality.agreement import check_agreement
from capture.quality.background import check_background
from capture.quality.board import check_focal_length
from capture.quality.calibration import check_calibration
from capture.quality.check import Check
from capture.quality.clocks import check_clocks
from capture.quality.depth import check_depth
from capture.quality.evidence import Evidence
from capture.quality.exposure import check_exposure
from capture.quality.frame_sets import check_frame_sets
from capture.quality.frames import check_frames
from capture.quality.integrity import check_integrity
from capture.quality.report import QualityReport
from capture.quality.sharpness import check_sharpness
from geometry.errors import InputError
from storage.take import Take

CHECKS: tuple[Callable[[Evidence], Iterator[Check]], ...] = (
    check_calibration,
    check_agreement,
    check_focal_length,
    check_clocks,
    check_frame_sets,
    check_frames,
    check_exposure,
    check_sharpness,
    check_depth,
    check_background,
)
"""Of a take that is whole."""


def check_take(take: Take) -> QualityReport:
    """Judge a finished take: integrity first, then calibration, clocks, frame sets and pictures.

    Every chunk is read once for its checksum; pictures are judged by measures that the ingest took and by a few
    frames of each camera, so that the time does not grow with their number. In a damaged take only the damage is
    reported. Nothing about its content raises.
    """
    damage = tuple(check_integrity(take))
    if damage[0].verdict == "fail":
        return QualityReport(damage)
    evidence = Evidence(take)
    try:
        return QualityReport((*damage, *(found for check in CHECKS for found in check(evidence))))
    except InputError as error:
        return QualityReport((*damage, Check("readable", None, None, "", None, "fail", str(error), error.remedy)))
