"""Checks in an operator's words: what each one is called, its figure in a unit that is read at a glance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from capture.quality import Check, QualityReport
from workflows.report.checks import BAD, GOOD, NEUTRAL, WARNING, number

GRADES = {"pass": GOOD, "warn": WARNING, "fail": BAD, "unknown": NEUTRAL}
VERDICT_WORDS = {"pass": "good", "warn": "look at it", "fail": "shoot again", "unknown": "not judged"}
WORST_FIRST = ("fail", "warn", "unknown", "pass")
REASONS_NAMED = 4

TITLES = {
    "integrity": "Damaged files", "readable": "Cannot be read",
    "calibrated": "Calibration missing", "reprojection": "Reprojection error", "own_place": "Cameras at one place",
    "depth_disagreement": "Depth against other cameras", "epipolar_residual": "Epipolar residual",
    "focal_length": "Focal length by board and depth",
    "frame_count": "Recorded", "frames": "No frames", "frame_rate": "Rate off nominal",
    "dropped_frames": "Lost frames", "doubled_frames": "Doubled frames", "unpaired_frames": "Unpaired frames",
    "out_of_order_frames": "Frames out of order",
    "sync_residual": "Sync residual", "clock_drift": "Clock drift", "arrival_scatter": "Arrival scatter",
    "offset_confidence": "Uncertainty of the offset", "clock_steps": "Clock was set",
    "wrong_triggers": "Wrong triggers",
    "incomplete_frame_sets": "Incomplete frame sets", "mostly_empty_frame_sets": "Cameras that did not run together",
    "frozen_picture": "Frozen picture",
    "underexposed": "Too dark", "overexposed": "Too bright", "exposure_change": "Brightness change",
    "exposure_flicker": "Flicker", "sharpness_loss": "Lost sharpness", "smeared_frames": "Smeared frames",
    "central_depth_holes": "Holes in the middle", "depth_median": "Distance of the subject",
    "depth_hole_rate": "Depth holes", "depth_hole_change": "Change of depth holes",
    "camera_moved": "Camera moved", "background_drift": "Background drift", "depth_drift": "Depth drift",
}  # fmt: skip
"""By name of check."""


@dataclass(frozen=True)
class Finding:
    """Checks of one name and verdict, over all cameras that they came out so for."""

    name: str
    """Of the checks."""
    verdict: str
    """Of the checks."""
    checks: tuple[Check, ...]
    """At least one, the worst first."""

    @property
    def title(self) -> str:
        """In words."""
        return title(self.name)

    @property
    def worst(self) -> Check:
        """The one that is farthest beyond its limit."""
        return self.checks[0]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Whose, the worst first; empty for the take's own."""
        return tuple(check.camera for check in self.checks if check.camera)


def title(name: str) -> str:
    """A check's name in words."""
    return TITLES.get(name, name.replace("_", " ").capitalize())


def findings(report: QualityReport, verdicts: Iterable[str]) -> list[Finding]:
    """Checks grouped by name and verdict, in the order of the verdicts."""
    found = []
    for verdict in verdicts:
        same = [check for check in report.checks if check.verdict == verdict]
        for name in dict.fromkeys(check.name for check in same):
            ranked = sorted((check for check in same if check.name == name), key=_severity, reverse=True)
            found.append(Finding(name, verdict, tuple(ranked)))
    return found


def verdict_of(checks: Iterable[Check]) -> str:
    """The worst verdict of some checks; what could not be judged makes nothing worse."""
    held = {check.verdict for check in checks}
    return next((verdict for verdict in ("fail", "warn") if verdict in held), "pass")


def headline(report: QualityReport) -> tuple[str, str]:
    """What an operator has to know: the grade's CSS class and a sentence."""
    verdict = verdict_of(report.checks)
    if verdict == "pass":
        return GOOD, "Usable"
    reasons = [_reason(finding) for finding in findings(report, [verdict])]
    more = f", and {len(reasons) - REASONS_NAMED} more" if len(reasons) > REASONS_NAMED else ""
    listed = "; ".join(reasons[:REASONS_NAMED]) + more
    return GRADES[verdict], f"Shoot again: {listed}" if verdict == "fail" else f"Usable, but look at: {listed}"


def figure(value: float | None, unit: str) -> str:
    """A figure in a unit that is read at a glance: shares in per cent, short lengths in millimetres."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{_short(100 * value)} %"
    if unit == "m" and abs(value) < 0.1:
        return f"{_short(1000 * value)} mm"
    if unit == "1":
        return _short(value) if value > 1 else "yes" if value else "no"
    return f"{_short(value)} {unit}".rstrip()


def who(cameras: tuple[str, ...], most: int = 3) -> str:
    """Whose, in words."""
    if not cameras:
        return "the take"
    more = f" and {len(cameras) - most} more" if len(cameras) > most else ""
    return ", ".join(cameras[:most]) + more


def _reason(finding: Finding) -> str:
    words = finding.title[:1].lower() + finding.title[1:]
    return f"{words} ({who(finding.cameras, 2)})" if finding.cameras else words


def _severity(check: Check) -> float:
    """How far beyond its limit, as a ratio, in whichever direction is worse; 0 where that has no meaning."""
    if check.value is None or not check.limit:
        return abs(check.value or 0.0)
    return max(check.value / check.limit, check.limit / check.value if check.value > 0 else 0.0)


def _short(value: float) -> str:
    """Three digits, and no more than two after the point: nobody reads the rest."""
    return number(round(float(value), 2))
