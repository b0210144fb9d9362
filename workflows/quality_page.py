"""The page of `mien check --html`: may this take be kept, and if not, what must be done before the next one."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from capture.quality import Check, QualityReport, TimeCourse
from geometry.cameras import Camera
from geometry.errors import InputError
from storage.image_folder import write_whole
from storage.take import Take
from workflows.quality_charts import course_chart, has_course, spark_line
from workflows.quality_words import (
    GRADES,
    VERDICT_WORDS,
    Finding,
    figure,
    findings,
    headline,
    title,
    verdict_of,
    who,
)
from workflows.report.checks import badge, fold, stat
from workflows.report.colours import depth_colours
from workflows.report.markup import Markup, element, join, sentence, table
from workflows.report.page import STYLE_SHEET as REPORT_STYLE_SHEET
from workflows.report.pictures import jpeg_uri

STYLE_SHEET = Path(__file__).with_name("quality_page.css")
THUMBNAIL_WIDTH = 220
PICTURE_BYTES = 3_000_000
"""Of all thumbnails together, however many cameras there are."""
MOST_BYTES_EACH = 16_000
CARD_FIGURES = (
    "frame_count", "frame_rate", "dropped_frames", "doubled_frames", "sync_residual", "clock_drift", "reprojection",
    "epipolar_residual", "depth_disagreement", "focal_length", "depth_median", "depth_hole_rate", "camera_moved",
    "background_drift", "depth_drift",
)  # fmt: skip
"""What a camera's card shows, as far as it was found."""
SPARKS = ("exposure", "sharpness", "depth holes", "sync residual")
"""Courses on a camera's card."""
CARDS_OPEN = 16
"""Of larger rigs the worst cameras are shown at once; the others are folded away."""


def write_quality_page(take: Take, report: QualityReport, path: Path) -> None:
    """Write one self-contained HTML page that shows what a check of a take found.

    The same take and report give the same bytes; nothing is loaded from elsewhere. Raises InputError when the page
    cannot be written. Pictures of a damaged take that do not decode are left out.
    """
    write_whole(path, "<!doctype html>\n" + QualityPage(take, report).html().html + "\n")


@dataclass(frozen=True, eq=False)
class QualityPage:
    """Everything that the page is made from."""

    take: Take
    """The take."""
    report: QualityReport
    """What its check found."""

    @cached_property
    def by_camera(self) -> dict[str, list[Check]]:
        """The checks of each camera of the rig."""
        return {
            camera_id: [check for check in self.report.checks if check.camera == camera_id]
            for camera_id in self.take.rig.ids
        }

    @cached_property
    def damaged(self) -> bool:
        """Whether nothing but damage was judged."""
        return not any(check.camera for check in self.report.checks)

    def html(self) -> Markup:
        """The page."""
        take_id = self.take.header.take_id
        head = element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", f"{take_id} · mien check"),
            element("style", Markup(REPORT_STYLE_SHEET.read_text() + STYLE_SHEET.read_text())),
        )
        parts = [(name, part(self)) for name, part in PARTS]
        sections = [
            element("section", element("h2", name), body, class_="part") for name, body in parts if body is not None
        ]
        footer = element("footer", "Made by mien. docs/quality.md says what each threshold rests on.")
        return element("html", head, element("body", element("main", _top(self), *sections, footer)), lang="en")


def _top(page: QualityPage) -> Markup:
    header, (grade, words) = page.take.header, headline(page.report)
    slate = [
        f"slate {header.slate}" if header.slate else "",
        f"take {header.take_number}" if header.take_number else "",
    ]
    about = " · ".join(part for part in (f"Subject {header.subject_id}", *slate) if part)
    counts = {verdict: page.report.count(verdict) for verdict in ("fail", "warn", "unknown", "pass")}
    tiles = [
        stat(str(counts["fail"]), "to shoot again for"),
        stat(str(counts["warn"]), "to look at"),
        stat(str(counts["pass"]), f"good, {counts['unknown']} not judged"),
        stat(str(len(page.take.rig.cameras)), f"cameras, {_length(page)}"),
    ]
    return element(
        "header",
        element("p", "mien · quality check", class_="brand"),
        element("h1", header.take_id),
        element("p", about, class_="muted"),
        element("p", words, class_=f"headline {grade}"),
        element("div", *tiles, class_="tiles"),
    )


def _length(page: QualityPage) -> str:
    try:
        time_ns = page.take.sync.time_ns
    except InputError:
        return "of unknown length"
    return f"{len(time_ns)} frame sets over {float(np.ptp(time_ns)) / 1e9 if len(time_ns) else 0:.1f} s"


def _to_do(page: QualityPage) -> Markup:
    found = findings(page.report, ("fail", "warn"))
    if not found:
        return sentence("Nothing: every check that could be made is within its threshold.")
    return element("div", *(_finding(item) for item in found), class_="findings")


def _finding(item: Finding) -> Markup:
    """One thing to do, and every camera that it is about with its number."""
    worst = item.worst
    limit = "" if worst.limit is None else f"threshold {figure(worst.limit, worst.unit)}"
    numbers = element(
        "p",
        element("b", figure(worst.value, worst.unit)),
        element("span", f" {limit}", class_="muted"),
        class_="number",
    )
    head = element(
        "h4", badge(GRADES[item.verdict], VERDICT_WORDS[item.verdict]), f" {item.title}: {who(item.cameras)}"
    )
    remedy = element("p", _capital(worst.remedy or worst.message), class_="remedy")
    details = element("p", _capital(_got(worst)), class_="muted")
    if len(item.checks) > 1:
        rows = ((check.camera or "take", figure(check.value, check.unit), _got(check)) for check in item.checks)
        details = fold(f"All {len(item.checks)}", table(("Camera", "Number", "Finding"), rows, "figures"))
    return element("article", element("div", head, remedy, details), numbers, class_=f"finding {GRADES[item.verdict]}")


def _got(check: Check) -> str:
    """A message without the remedy, which stands above."""
    return check.message.removesuffix(f"; {check.remedy}") if check.remedy else check.message


def _cameras(page: QualityPage) -> Markup | None:
    if page.damaged:
        return None
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda name: _thumbnails(page, name), page.take.rig.ids)
        pictures = dict(zip(page.take.rig.ids, found, strict=True))
    cards = {camera.id: _card(page, camera, pictures[camera.id]) for camera in page.take.rig.cameras}
    if len(cards) <= CARDS_OPEN:
        return element("div", *cards.values(), class_="cards")
    verdicts = {name: verdict_of(page.by_camera[name]) for name in cards}
    wrong = [name for verdict in ("fail", "warn") for name in cards if verdicts[name] == verdict]
    shown, folded = wrong[:CARDS_OPEN], wrong[CARDS_OPEN:]
    good = [name for name in cards if verdicts[name] == "pass"]
    groups = ((f"{len(folded)} more cameras with findings", folded), (f"{len(good)} cameras without findings", good))
    folds = [
        fold(words, element("div", *(cards[name] for name in names), class_="cards"))
        for words, names in groups
        if names
    ]
    return join((element("div", *(cards[name] for name in shown), class_="cards") if shown else None, *folds))


def _card(page: QualityPage, camera: Camera, pictures: tuple[Markup, ...]) -> Markup:
    checks = page.by_camera[camera.id]
    verdict = verdict_of(checks)
    kind = {"rgb": "colour", "light_field": "light field"}.get(camera.kind, camera.kind)
    size = f"{kind}, {camera.image_size_hw[1]} × {camera.image_size_hw[0]}"
    head = element("h4", camera.id, " ", badge(GRADES[verdict], VERDICT_WORDS[verdict]))
    named = {check.name: check for check in checks}
    shown = [named[name] for name in CARD_FIGURES if name in named]
    shown += [check for check in checks if check.verdict in ("warn", "fail") and check not in shown]
    figures = (
        element("li", element("span", title(check.name)), element("b", _figure(check), class_=f"text-{check.verdict}"))
        for check in shown
    )
    courses = [
        (check.course, check.verdict)
        for check in checks
        if check.course is not None and has_course(check.course) and check.course.measure in SPARKS
    ]
    sparks = [spark_line(course, f"text-{verdict}") for course, verdict in courses]
    return element(
        "article",
        head,
        element("p", size, class_="muted"),
        element("div", *pictures, class_="thumbnails"),
        element("ul", *figures, class_="card-figures"),
        *sparks,
        class_="card",
    )


def _figure(check: Check) -> str:
    return "not judged" if check.verdict == "unknown" else figure(check.value, check.unit)


def _thumbnails(page: QualityPage, camera_id: str) -> tuple[Markup, ...]:
    """The first and the middle frame."""
    stream = page.take.stream(camera_id)
    most_bytes = min(MOST_BYTES_EACH, PICTURE_BYTES // (2 * len(page.take.rig.cameras)))
    if not len(stream):
        return (element("div", "no frames", class_="frame empty"),)
    found = []
    for words, t in {"first": 0, "middle": len(stream) // 2}.items():
        try:
            picture = thumbnail(stream.frame(t), stream.camera)
        except InputError:
            found.append(element("div", f"{words} frame does not decode", class_="frame empty"))
            continue
        image = element("img", src=jpeg_uri(picture, most_bytes), alt=f"{words} frame of {camera_id}", loading="lazy")
        found.append(element("figure", element("div", image, class_="frame"), element("figcaption", words)))
    return tuple(found)


def thumbnail(frame: Shaped[np.ndarray, "h w *c"], camera: Camera) -> UInt8[np.ndarray, "y x 3"]:
    """A small picture of any kind of frame: colour as it is, depth near to far, others by their brightness."""
    rows, columns = camera.image_size_hw
    size = THUMBNAIL_WIDTH, max(1, round(rows * THUMBNAIL_WIDTH / columns))
    if camera.kind == "depth":
        depth_m = cv2.resize(camera.depth_m(frame), size, interpolation=cv2.INTER_NEAREST)
        measured = depth_m[depth_m > 0]
        near, far = np.percentile(measured, (2, 90)) if len(measured) else (0.0, 1.0)
        return depth_colours(depth_m, float(near), max(float(far), float(near) + 0.05))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    if small.dtype == np.uint8 and small.ndim == 3:
        return small
    bright = max(float(np.percentile(small, 99)), 1.0)
    grey = np.round((small / bright).clip(0, 1) ** 0.5 * 255).astype(np.uint8)
    return np.repeat(grey.reshape(*grey.shape[:2], -1)[..., :1], 3, 2)


def _over_time(page: QualityPage) -> Markup | None:
    """A chart for each measure that was followed, all cameras together."""
    courses: dict[str, dict[str, TimeCourse]] = {}
    marked: dict[str, dict[str, str]] = {}
    for check in page.report.checks:
        if check.course is not None and has_course(check.course):
            courses.setdefault(check.course.measure, {})[check.camera or ""] = check.course
            if check.verdict in ("warn", "fail"):
                marked.setdefault(check.course.measure, {})[check.camera or ""] = f"text-{check.verdict}"
    if not courses:
        return None
    charts = (course_chart(lines, marked.get(measure, {})) for measure, lines in courses.items())
    return element("div", *charts, class_="courses")


def _everything(page: QualityPage) -> Markup:
    """Every check by name, with the range of its numbers; what could not be judged with the reason."""
    rows = []
    for item in findings(page.report, ("fail", "warn", "pass")):
        values = [check.value for check in item.checks if check.value is not None]
        unit, limit = item.worst.unit, item.worst.limit
        extent = figure(None, unit)
        if values:
            low, high = figure(min(values), unit), figure(max(values), unit)
            extent = low if low == high else f"{low} to {high}"
        rows.append(
            (badge(GRADES[item.verdict], VERDICT_WORDS[item.verdict]), item.title, str(len(item.checks)), extent,
             figure(limit, unit), element("code", item.name))
        )  # fmt: skip
    known = table(("", "Check", "Times", "Numbers", "Threshold", "Name"), rows, "checks")
    unknown = findings(page.report, ("unknown",))
    if not unknown:
        return known
    whys = (
        (item.title, who(item.cameras), reason)
        for item in unknown
        for reason in dict.fromkeys(check.message.partition("; got ")[2] for check in item.checks)
    )
    total = page.report.count("unknown")
    return join((known, fold(f"{total} not judged", table(("Check", "Camera", "Why"), whys, "figures"))))


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


PARTS: tuple[tuple[str, Callable[[QualityPage], Markup | None]], ...] = (
    ("What to do", _to_do),
    ("Cameras", _cameras),
    ("Over time", _over_time),
    ("Every check", _everything),
)
"""The page, top to bottom; a part that returns None is left out."""
