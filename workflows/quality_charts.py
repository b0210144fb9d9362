"""Figures over time as small charts: all cameras in one, and one line alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from capture.quality import TimeCourse
from workflows.report.colours import nice_limit
from workflows.report.markup import Markup, element

BINS_MOST = 150
"""Of a long course: each shows its lowest and highest value, so that no single frame's fault is lost."""
SPARK_BINS = 48
COORDINATES = 1000, 200
NAMED_MOST = 4
LEAST_SPAN = {
    "exposure": 20.0, "sharpness": 0.5, "depth holes": 10.0, "sync residual": 1.0, "clock against arrival": 5.0,
    "background shift": 1.0, "background distance": 2.0, "cameras missing from a frame set": 1.0,
}  # fmt: skip
"""Of a chart's scale by measure, so that harmless noise does not look like a fault."""


def course_chart(courses: Mapping[str, TimeCourse], marked: Mapping[str, str]) -> Markup:
    """All courses of one measure in one chart; those of `marked` cameras (camera to CSS class) stand out by name."""
    first = next(iter(courses.values()))
    times = [course.time_s for course in courses.values() if len(course.time_s)]
    start_s, end_s = min(t.min() for t in times), max(t.max() for t in times)
    low, high = _range([course.value for course in courses.values()], first.measure)
    ordered = sorted(courses, key=lambda camera: camera in marked)
    lines = [
        element(
            "polyline",
            element("title", camera or "take"),
            points=points,
            class_=f"course {marked.get(camera, '')}".strip(),
        )
        for camera in ordered
        for points in _polylines(courses[camera], (start_s, end_s), (low, high), BINS_MOST)
    ]
    grid = [element("line", x1=0, x2=1000, y1=y, y2=y, class_="grid") for y in (0, 100, 200)]
    svg = element(
        "svg", *grid, *lines, viewBox="0 0 1000 200", preserveAspectRatio="none", role="img", aria_label=first.measure
    )
    ticks = element(
        "div", *(element("span", f"{level:.4g}") for level in (high, (low + high) / 2, low)), class_="ticks"
    )
    ends = element(
        "div", element("span", f"{abs(round(start_s)):.0f} s"), element("span", f"{end_s:.1f} s"), class_="ends"
    )
    plot = element("div", ticks, element("div", svg, ends), class_="plot")
    heading = element("h4", _capital(first.measure), element("span", f" {first.unit}", class_="muted"))
    named = [element("li", camera, class_=marked[camera]) for camera in courses if camera and camera in marked][
        :NAMED_MOST
    ]
    others = len(courses) - len(named)
    rest = f"{others} {'more ' if named else ''}camera{'s' if others != 1 else ''}" if others else ""
    legend = element("ul", *named, element("li", rest, class_="rest") if rest and "" not in courses else None)
    return element("figure", heading, plot, element("div", legend, class_="course-legend"), class_="lines")


def spark_line(course: TimeCourse, kind: str) -> Markup:
    """One course without a scale; its ends are written out."""
    low, high = _range([course.value], course.measure)
    span = (float(course.time_s.min()), float(course.time_s.max()))
    lines = (
        element("polyline", points=points, class_=f"course one {kind}")
        for points in _polylines(course, span, (low, high), SPARK_BINS)
    )
    svg = element("svg", *lines, viewBox="0 0 1000 200", preserveAspectRatio="none", aria_hidden="true")
    held = course.value[np.isfinite(course.value)]
    extent = f"{held.min():.3g} to {held.max():.3g} {course.unit}"
    return element(
        "div", element("span", _capital(course.measure)), svg, element("span", extent, class_="muted"), class_="spark"
    )


def has_course(course: TimeCourse | None) -> bool:
    """Whether there is anything to draw."""
    return course is not None and int(np.isfinite(course.value).sum()) > 1 and float(np.ptp(course.time_s)) > 0


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _range(values: list[Float[np.ndarray, "_"]], measure: str) -> tuple[float, float]:
    """Round numbers that hold all values and no less than the measure's least span, 0 among them where it is near."""
    held = np.concatenate([value[np.isfinite(value)] for value in values])
    low, high = float(held.min()), float(held.max())
    missing = LEAST_SPAN.get(measure, 1e-9) - (high - low)
    if missing > 0:
        bounded = low >= 0
        low, high = low - missing / 2, high + missing / 2
        if bounded and low < 0:
            low, high = 0.0, high - low
    if low < 0 < high:
        limit = nice_limit(max(-low, high))
        return -limit, limit
    if 0 < low < 0.6 * high:
        low = 0.0
    step = nice_limit(high - low) / 4
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)


def _polylines(course: TimeCourse, span_s: tuple[float, float], span: tuple[float, float], bins: int) -> list[str]:
    """Points of the course's lines, which end where values are missing."""
    x, y = _extremes(course, bins)
    x = (x - span_s[0]) / max(span_s[1] - span_s[0], 1e-9) * COORDINATES[0]
    y = (span[1] - y) / (span[1] - span[0]) * COORDINATES[1]
    gaps = np.flatnonzero(~np.isfinite(y))
    parts = np.split(np.stack([x, y], 1), gaps)
    held = [part[np.isfinite(part[:, 1])] for part in parts]
    return [" ".join(f"{a:.0f},{b:.0f}" for a, b in part) for part in held if len(part) > 1]


def _extremes(course: TimeCourse, bins: int) -> tuple[Float[np.ndarray, "p"], Float[np.ndarray, "p"]]:
    """A course of at most two points a bin: its lowest and its highest, in order of time."""
    order = np.argsort(course.time_s, kind="stable")
    time_s, value = course.time_s[order], course.value[order]
    if len(value) <= 2 * bins:
        return time_s, value
    x, y = [], []
    for rows in np.array_split(np.arange(len(value)), bins):
        held = rows[np.isfinite(value[rows])]
        if len(held):
            for row in sorted({int(held[np.argmin(value[held])]), int(held[np.argmax(value[held])])}):
                x.append(time_s[row])
                y.append(value[row])
        else:
            x.append(time_s[rows[0]])
            y.append(np.nan)
    return np.array(x), np.array(y)
