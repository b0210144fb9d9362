"""Quality checks, the sensors' table and accuracy figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from storage.take import Take
from workflows.report.markup import Child, Markup, element, join, sentence, table

GOOD, WARNING, BAD, NEUTRAL = "good", "warning", "bad", "neutral"
VERDICTS = {
    "pass": GOOD, "passed": GOOD, "ok": GOOD, "good": GOOD,
    "warn": WARNING, "warning": WARNING,
    "fail": BAD, "failed": BAD, "error": BAD, "bad": BAD,
}  # fmt: skip
SEVERITY = (GOOD, NEUTRAL, WARNING, BAD)
SHORT_TABLE = 12
"""Longer tables fold what passed away."""

MEANINGS = {
    "vertex_error_mm_median": "fitted to true vertices over the face, without alignment",
    "expression_ratio": "error of the curves over that of an all-zero guess; under 1 is better than no fit",
    "expression_mae_active": "error of the curves where the truth is above 0.1",
    "depth_to_mesh_mm_median": "measured depth to the fitted head, over the face",
    "surface_accuracy_mm_median": "fused surface to the true one",
    "surface_completeness_mm_median": "true surface to the fused one",
}
"""What the known figures say, in a line."""


@runtime_checkable
class Check(Protocol):
    """One thing that was checked, of one camera or of the take."""

    @property
    def name(self) -> str:
        """What was checked."""
        ...

    @property
    def camera(self) -> str | None:
        """Of which camera; None for the whole take."""
        ...

    @property
    def value(self) -> Any:
        """What was found."""
        ...

    @property
    def unit(self) -> str:
        """Of value and limit."""
        ...

    @property
    def limit(self) -> Any:
        """What is still good."""
        ...

    @property
    def verdict(self) -> Any:
        """A word, or an enum member whose value is one (VERDICTS)."""
        ...

    @property
    def message(self) -> str:
        """What it means and what to do, in a sentence."""
        ...


@runtime_checkable
class QualityReport(Protocol):
    """What `mien check` found."""

    @property
    def checks(self) -> tuple[Any, ...]:
        """Everything that was checked."""
        ...


def grade(check: Check) -> str:
    """GOOD, WARNING, BAD, or NEUTRAL for a verdict in other words."""
    verdict = getattr(check.verdict, "value", check.verdict)
    return VERDICTS.get(str(verdict).lower(), NEUTRAL)


def counts(quality: QualityReport) -> dict[str, int]:
    """How many checks have each grade."""
    grades = [grade(check) for check in quality.checks]
    return {name: grades.count(name) for name in SEVERITY}


def verdict_words(quality: QualityReport | None) -> tuple[str, str]:
    """A grade and a phrase for the top of the page."""
    if quality is None or not quality.checks:
        return NEUTRAL, "Not checked"
    number, total = counts(quality), len(quality.checks)
    if number[BAD]:
        return BAD, f"{number[BAD]} of {total} checks failed"
    if number[WARNING]:
        return WARNING, f"{total} checks, none failed, {number[WARNING]} with a warning"
    return GOOD, f"All {total} checks passed" if number[GOOD] == total else f"{total} checks, none failed"


def quality_section(take: Take, quality: QualityReport | None) -> Markup:
    """Failed checks and warnings in full, passed ones by name; then a line per camera."""
    if quality is None or not quality.checks:
        checks = sentence("This take was not checked.", f"mien check {take.path}")
    else:
        ordered = sorted(quality.checks, key=lambda check: -SEVERITY.index(grade(check)))
        open_checks = [check for check in ordered if grade(check) in (WARNING, BAD)]
        rest = [check for check in ordered if check not in open_checks]
        parts: list[Child] = [_check_table(open_checks)] if open_checks else []
        if len(rest) <= SHORT_TABLE and rest:
            parts.append(_check_table(rest))
        elif rest:
            parts.append(fold(f"{len(rest)} checks without complaint", _summary_table(rest)))
        checks = join(parts)
    return join((checks, element("h3", "Streams"), _stream_table(take)))


def _check_table(checks: list[Check]) -> Markup:
    rows = (
        (badge(grade(check), str(getattr(check.verdict, "value", check.verdict))), check.name, check.camera or "take",
         _with_unit(check.value, check.unit), _with_unit(check.limit, check.unit), check.message)
        for check in checks
    )  # fmt: skip
    return table(("", "Check", "Camera", "Value", "Limit", "Finding"), rows, "checks")


def _summary_table(checks: list[Check]) -> Markup:
    """A row per name of check, with the range over the cameras."""
    rows = []
    for name, kind in dict.fromkeys((check.name, grade(check)) for check in checks):
        same = [check for check in checks if (check.name, grade(check)) == (name, kind)]
        values = [check.value for check in same if isinstance(check.value, int | float)]
        unit = same[0].unit
        low, high = (min(values), max(values)) if values else (None, None)
        extent = _with_unit(low, unit) if low == high else f"{number(low)} to {_with_unit(high, unit)}"
        rows.append(
            (
                badge(kind, "passed" if kind == GOOD else "not judged"),
                words(name),
                str(len(same)),
                extent,
                _with_unit(same[0].limit, unit),
            )
        )
    return table(("", "Check", "Times", "Value", "Limit"), rows, "checks")


def _stream_table(take: Take) -> Markup:
    rows = []
    for column, camera in enumerate(take.rig.cameras):
        stream = take.stream(camera.id)
        missing = int((take.sync.index[:, column] < 0).sum())
        quality = stream.quality
        measures = [
            f"{words} {float(np.nanmedian(values)):{form}}"
            for words, values, form in (
                ("exposure", quality.exposure, ".2f"),
                ("sharpness", quality.blur, ".3g"),
                ("holes", quality.hole_rate, ".0%"),
            )
            if values is not None and np.isfinite(values).any()
        ]
        size = "{1} × {0}".format(*camera.image_size_hw)
        gaps = badge(WARNING, str(missing)) if missing else "0"
        error = "not stated" if camera.reprojection_px is None else f"{camera.reprojection_px:.2f} px"
        rows.append((camera.id, camera.kind, size, str(len(stream)), gaps, error, ", ".join(measures) or "–"))
    headings = ("Camera", "Kind", "Pixels", "Frames", "Gaps", "Calibration", "Median measures")
    shown = table(headings, rows, "streams")
    return shown if len(rows) <= 2 * SHORT_TABLE else fold(f"{len(rows)} cameras", shown)


def accuracy_section(evaluation: Mapping[str, float]) -> Markup:
    """Figures against truth, with what each means."""
    rows = (
        (element("span", words(name)), figure_text(name, value), MEANINGS.get(name, ""))
        for name, value in evaluation.items()
    )
    return table(("Figure", "Value", "Meaning"), rows, "figures")


def words(name: str) -> str:
    """A figure's name in words: vertex_error_mm_median is "Vertex error, median"."""
    parts = ["error" if part == "mae" else part for part in name.split("_") if part not in ("mm", "px", "s")]
    statistic = f", {parts.pop()}" if len(parts) > 1 and parts[-1] in ("median", "mean", "p95", "max") else ""
    return " ".join(parts).capitalize() + statistic


def figure_text(name: str, value: Any) -> str:
    """A figure with the unit that its name carries."""
    unit = next((unit for unit in ("mm", "px") if f"_{unit}" in name), "")
    return _with_unit(value, unit)


def number(value: Any) -> str:
    """A figure with three significant digits; a dash for what is not known."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.3g}"


def _with_unit(value: Any, unit: str) -> str:
    shown = number(value)
    return shown if shown == "–" or unit in ("", "1") else f"{shown} {unit}"


def badge(kind: str, text: str) -> Markup:
    """A coloured word."""
    return element("span", text, class_=f"badge {kind}")


def stat(value: str, label: str) -> Markup:
    """A large figure and what it says."""
    return element("div", element("b", value), element("span", label), class_="stat")


def fold(summary: str, *children: Child) -> Markup:
    """What opens on demand."""
    return element("details", element("summary", summary), *children)


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names and values, one a line."""
    return element("dl", *(child for name, value in pairs for child in (element("dt", name), element("dd", value))))
