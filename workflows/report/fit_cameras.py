"""Which camera disagrees with the head that all of them together gave: a wrong calibration names itself here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geometry.cameras import Camera
from storage.take import Take
from workflows.report.checks import BAD, GOOD, NEUTRAL, WARNING, badge, number
from workflows.report.contents import FittedHead
from workflows.report.fit_record import ANEW, CameraResiduals
from workflows.report.found_landmarks import PROFILE, FoundLandmarks
from workflows.report.landmark_shifts import LandmarkShifts
from workflows.report.markup import Child, Markup, counted, element, join, sentence, table

ODD_RATIO = 2.0
"""A camera this many times worse than the median of the others of its kind is named; in a good rig it is under 1.7."""
ODD_COLOUR_MM, ODD_DEPTH_MM = 3.0, 2.5
"""And at least so far off at the face: landmarks of a good rig lie 1 to 2 mm off, depth about 1 mm."""
ALL_COLOUR_MM = 6.0
"""If even the best view is this far off, the views contradict each other."""


APART_MM = 3.0
"""Colour views that together see the face this far beside the head say that depth is wrong; 0.4 mm in a good rig."""


@dataclass(frozen=True)
class CameraLine:
    """One camera's row."""

    camera: Camera
    """Which."""
    frames: int
    """In how many frames it had a part."""
    residual: float
    """Median over them, pixels for colour and metres for depth; nan if it never had a part."""
    shift_mm: float
    """How far it sees the whole face shifted, which the fit took for a habit of the landmarks; 0 for depth."""
    off_mm: float
    """Both together at the face, in mm."""


def camera_lines(take: Take, fit: FittedHead, residuals: CameraResiduals | None, kind: str) -> list[CameraLine]:
    """A line for every camera of a kind."""
    lines, shifts = [], LandmarkShifts.read(take, fit) if kind == "rgb" else None
    for camera in take.rig.rgb if kind == "rgb" else take.rig.depth:
        values = np.zeros(0) if residuals is None else residuals.of(camera.id)
        median = float(np.median(values)) if len(values) else float("nan")
        scale = _mm_per_px(camera, fit) if kind == "rgb" else 1000.0
        shift_mm = 0.0 if shifts is None else shifts.of(camera.id) * 1000
        lines.append(CameraLine(camera, len(values), median, shift_mm, float(np.hypot(median * scale, shift_mm))))
    return lines


def odd_cameras(lines: list[CameraLine], floor_mm: float) -> dict[str, str]:
    """What is said of each camera that stands out from the others of its kind, by its id."""
    known = [line for line in lines if np.isfinite(line.off_mm)]
    said = {}
    for line in known:
        others = [other.off_mm for other in known if other is not line]
        if not others or line.off_mm < floor_mm:
            continue
        usual = float(np.median(others))
        if line.off_mm > ODD_RATIO * usual:
            ratio = line.off_mm / max(usual, 1e-9)
            said[line.camera.id] = (
                f"{number(round(line.off_mm, 1))} mm off at the face, {ratio:.1f} times the others: "
                f"its calibration {'or that of the other ' if len(others) == 1 else ''}is wrong, or it moved since"
            )
    return said


def cameras_section(take: Take, fit: FittedHead, marks: FoundLandmarks | None) -> Markup:
    """Findings in words, then a row per camera."""
    colour, depth = CameraResiduals.of_colour(take, fit, marks), CameraResiduals.of_depth(take, fit)
    rgb_lines = camera_lines(take, fit, colour, "rgb")
    depth_lines = camera_lines(take, fit, depth, "depth")
    odd = odd_cameras(rgb_lines, ODD_COLOUR_MM) | odd_cameras(depth_lines, ODD_DEPTH_MM)
    apart = _apart(take, fit)
    finding = _finding(rgb_lines, depth_lines, odd, str(take.path)) if odd or apart is None else None
    parts: list[Child] = [finding, apart]
    rows = []
    for lines, residuals in ((rgb_lines, colour), (depth_lines, depth)):
        known = sum(bool(np.isfinite(line.off_mm)) for line in lines)
        for line in lines:
            camera, remark = line.camera, odd.get(line.camera.id) or _remark(line, marks)
            shift, off = ("–", "–") if camera.kind == "depth" else (_mm(line.shift_mm), _mm(line.off_mm))
            frames = _frames(line, take.frame_count, residuals)
            rows.append(
                (_verdict(line, odd, known), camera.id, camera.kind, frames, _residual(line), shift, off, remark)
            )
    headings = ("", "Camera", "Kind", "Frames used", "Median residual", "Whole face", "Off at the face", "Remark")
    parts.append(table(headings, rows, "checks"))
    notes = [
        "colour: detected landmarks to those of the fitted head, and how far this camera sees the whole face shifted",
        "depth: measured points to the head's surface",
        f"the landmarks' measured anew on {counted(_sampled(colour), 'frame')} of the take"
        if colour is not None and colour.sampled
        else None,
        "the fit stored no residual of the depth cameras: fit anew to have it"
        if depth is None and depth_lines
        else None,
    ]
    said = "; ".join(note for note in notes if note)
    parts.append(element("p", said[0].upper() + said[1:] + ".", class_="muted"))
    return join(parts)


def _finding(colour: list[CameraLine], depth: list[CameraLine], odd: dict[str, str], path: str) -> Child:
    known = [line for line in (*colour, *depth) if np.isfinite(line.off_mm)]
    if not known:
        return sentence(f"This fit stored no residual of any camera. {ANEW}")
    if odd:
        lines = [
            element("li", badge(BAD, camera_id), f" {words}. ", element("code", f"mien check {path}"), " looks closer.")
            for camera_id, words in odd.items()
        ]
        return element("ul", *lines, class_="gaps")
    seen = [line for line in colour if np.isfinite(line.off_mm)]
    if len(seen) > 1 and min(line.off_mm for line in seen) > ALL_COLOUR_MM:
        ordered = sorted(seen, key=lambda line: line.off_mm)
        best, worst = (f"{line.camera.id} ({line.off_mm:.1f} mm)" for line in (ordered[0], ordered[-1]))
        words = f" Even {best} is far off at the face: the views contradict each other. The worst is {worst}."
        return element("p", badge(WARNING, "all off"), words)
    if max(len(seen), len(known) - len(seen)) < 2:
        return element("p", badge(NEUTRAL, "alone"), " With one camera of a kind nothing contradicts its calibration.")
    return element("p", badge(GOOD, "agreed"), " No camera stands out from the others.")


def _apart(take: Take, fit: FittedHead) -> Markup | None:
    """Whether the colour cameras agree with each other, but not with the depth that holds the head."""
    shifts = LandmarkShifts.read(take, fit) if take.rig.depth and len(take.rig.rgb) > 1 else None
    apart_mm = 0.0 if shifts is None else float(np.linalg.norm(shifts.head_m)) * 1000
    if apart_mm < APART_MM:
        return None
    said = (
        f" The colour views together see the face {apart_mm:.1f} mm beside the fitted head, which depth holds: a depth "
        "camera's place is wrong, or colour and depth were calibrated apart."
    )
    return element("p", badge(WARNING, "colour against depth"), said)


def _verdict(line: CameraLine, odd: dict[str, str], known: int) -> Markup:
    if line.camera.id in odd:
        return badge(BAD, "off")
    if not np.isfinite(line.off_mm):
        return badge(NEUTRAL, "unknown")
    return badge(GOOD, "agrees") if known > 1 else badge(NEUTRAL, "alone")


def _frames(line: CameraLine, count: int, residuals: CameraResiduals | None) -> str:
    if residuals is None:
        return "–"
    return f"{line.frames} of {_sampled(residuals) if residuals.sampled else count}"


def _sampled(residuals: CameraResiduals) -> int:
    return int(np.isfinite(residuals.values).any(1).sum())


def _residual(line: CameraLine) -> str:
    if not np.isfinite(line.residual):
        return "–"
    return _mm(line.off_mm) if line.camera.kind == "depth" else f"{line.residual:.1f} px"


def _mm(value: float) -> str:
    return f"{value:.1f} mm" if np.isfinite(value) else "–"


def _remark(line: CameraLine, marks: FoundLandmarks | None) -> str:
    if marks is None or line.camera.id not in marks.cameras:
        return ""
    states = marks.view_state[:, marks.cameras.index(line.camera.id)]
    profile = int((states == PROFILE).sum())
    return f"in profile in {counted(profile, 'frame')}: its landmarks have no vote there" if profile else ""


def _mm_per_px(camera: Camera, fit: FittedHead) -> float:
    """What a pixel spans at the head, over the take."""
    inverse = camera.world_from_camera.inverse()
    distances = (inverse @ fit.translation[np.isfinite(fit.translation).all(1)])[:, 2]
    distances = distances[distances > 0]
    return float(np.median(distances)) / float(camera.K[0, 0]) * 1000 if len(distances) else float("nan")
