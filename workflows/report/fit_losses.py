"""The losses of a fit over time: a line per term, and the frames that stand out, by name."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from workflows.report.charts import MOST_COLUMNS
from workflows.report.checks import GOOD, WARNING, badge, fold, number, stat
from workflows.report.colours import nice_limit
from workflows.report.contents import FittedHead
from workflows.report.fit_gaps import runs_of
from workflows.report.fit_record import ANEW, STANDS_OUT, FrameLosses, bridged_frames
from workflows.report.markup import Child, Markup, element, join, sentence, table

MOST_NAMED = 10
STEADINESS = {
    "jitter_mm_per_frame2": ("mm/frame²", "jitter: how still parts of the head shake from frame to frame"),
    "lag_frames": ("frames", "lag: how long after the picture the curves follow"),
    "blink_amplitude_ratio": ("", "of a blink's depth is left after smoothing"),
}
"""Metrics that are shown large, with unit and meaning."""
CEILING_PERCENTILE = 99.0
"""The chart's scale ends above this; a single broken frame would flatten all others."""


def losses_section(fit: FittedHead, times_s: Float[np.ndarray, "t"]) -> Markup:
    """The frames that stand out in words, a chart of all terms, the take's steadiness."""
    losses = FrameLosses.of(fit)
    if losses is None:
        return sentence(f"This fit stored no loss of any term. {ANEW}")
    parts: list[Child] = [_steadiness(fit), _named(losses)]
    if losses.unit != "sigmas":
        parts.append(sentence(f"This fit stored no loss of each term; only the depth's distance is known. {ANEW}"))
    if len(times_s) > 1:
        parts.append(loss_chart(losses, times_s, bridged_frames(fit)))
    parts.append(fold("The most doubtful frames", _frame_table(losses, times_s)))
    return join(parts)


def named_frames(losses: FrameLosses) -> list[int]:
    """Frames that stand out, by falling doubt."""
    return [frame for frame in losses.doubtful(len(losses.doubt)) if losses.doubt[frame] >= STANDS_OUT]


def _named(losses: FrameLosses) -> Markup:
    named = named_frames(losses)
    if not named:
        worst = losses.doubtful(1)
        tail = f" The largest residual is in frame {worst[0]}: {losses.words(worst[0])}." if worst else ""
        return element("p", badge(GOOD, "even"), f" No frame stands out.{tail}")
    lines = [
        element("li", badge(WARNING, f"frame {frame}"), f" {losses.words(frame)}.") for frame in named[:MOST_NAMED]
    ]
    if len(named) > MOST_NAMED:
        lines.append(element("li", f"{len(named) - MOST_NAMED} more: " + ", ".join(map(str, named[MOST_NAMED:40]))))
    return element("ul", *lines, class_="gaps")


def _frame_table(losses: FrameLosses, times_s: Float[np.ndarray, "t"]) -> Markup:
    headings = ("Frame", "Time", *losses.terms, "Doubt")
    rows = [
        (str(frame), f"{times_s[frame]:.2f} s", *(_value(value) for value in losses.residual[frame]),
         f"{losses.doubt[frame]:.1f} × usual")
        for frame in losses.doubtful(MOST_NAMED)
    ]  # fmt: skip
    usual = ("usual", "", *(_value(value) for value in losses.typical), "")
    return table(headings, (*rows, usual), "checks")


def _steadiness(fit: FittedHead) -> Markup | None:
    tiles = []
    for name, (unit, meaning) in STEADINESS.items():
        value = fit.result.provenance.metrics.get(name)
        if isinstance(value, int | float):
            tiles.append(stat(f"{number(value)} {unit}".strip(), meaning))
    return element("div", *tiles, class_="tiles steady") if tiles else None


def loss_chart(losses: FrameLosses, times_s: Float[np.ndarray, "t"], bridged: Bool[np.ndarray, "t"]) -> Markup:
    """A line per term, from 0; bridged frames are shaded, frames that stand out are marked."""
    known = losses.residual[np.isfinite(losses.residual)]
    ceiling = nice_limit(max(float(np.percentile(known, CEILING_PERCENTILE)) if len(known) else 1.0, 1e-3))
    span = max(float(times_s[-1]), 1e-9)
    x = times_s / span * 1000
    half = 500 / len(times_s)
    shaded = [
        element("rect", x=f"{max(x[first] - half, 0):.1f}", width=f"{x[last] - x[first] + 2 * half:.1f}",
                y=0, height=200, class_="bridge")
        for first, last in runs_of(bridged)
    ]  # fmt: skip
    marks = [
        element("line", element("title", f"frame {frame}: {losses.words(frame)}"), x1=f"{x[frame]:.1f}",
                x2=f"{x[frame]:.1f}", y1=0, y2=200, class_="odd-mark")
        for frame in named_frames(losses)[: 4 * MOST_NAMED]
    ]  # fmt: skip
    grid = [element("line", x1=0, x2=1000, y1=y, y2=y, class_="zero" if y == 200 else "grid") for y in (0, 100, 200)]
    paths, legend = [], []
    for column, name in enumerate(losses.terms):
        values = losses.residual[:, column]
        for first, last in runs_of(np.isfinite(values)):
            paths.append(_path(name, x[first : last + 1], values[first : last + 1], ceiling, column))
        said = f" usually {_value(losses.typical[column])}, at most {_value(np.nanmax(values))}"
        legend.append(element("li", element("b", name), said, class_=f"s{column % 8}"))
    svg = element("svg", *shaded, *grid, *marks, *paths, viewBox="0 0 1000 200", preserveAspectRatio="none", role="img",
                  aria_label="Residual of each term over time")  # fmt: skip
    ticks = (element("span", f"{level:g}") for level in (ceiling, ceiling / 2, 0))
    ends = element("div", element("span", "0 s"), element("span", f"{times_s[-1]:.1f} s"), class_="ends")
    plot = element("div", element("div", *ticks, class_="ticks"), element("div", svg, ends), class_="plot")
    said = "bridged frames are shaded; dashed lines mark frames that stand out" if shaded or marks else ""
    title = f"Residual of each term, {losses.unit}" + (f"; {said}" if said else "")
    return element("figure", element("h4", title), plot, element("ul", *legend, class_="legend"), class_="lines")


def _path(name: str, x: Float[np.ndarray, "n"], values: Float[np.ndarray, "n"], ceiling: float, column: int) -> Markup:
    """One unbroken piece of a line; of long takes the largest value of several frames."""
    edges = np.linspace(0, len(values), min(len(values), MOST_COLUMNS) + 1).astype(int)[:-1]
    largest, places = np.maximum.reduceat(values, edges), x[edges]
    y = (1 - (largest / ceiling).clip(0, 1.03)) * 200
    points = " ".join(f"{across:.1f},{down:.1f}" for across, down in zip(places, y, strict=True))
    if len(places) == 1:  # a line of one point is not drawn
        points += f" {places[0] + 1:.1f},{y[0]:.1f}"
    return element("polyline", element("title", name), points=points, class_=f"s{column % 8}")


def _value(value: float) -> str:
    return f"{value:.2g}" if np.isfinite(value) else "–"
