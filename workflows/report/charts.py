"""Curves over time: a heat map of expressions, and lines of head motion. Text is HTML, so that it stays legible."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from workflows.report.colours import nice_limit
from workflows.report.markup import Markup, element, join, sentence
from workflows.report.pictures import png_uri

HEAT_SRGB = (15, 157, 148)
"""Strength is opacity, so that the map suits light and dark pages."""
MOST_COLUMNS = 1200
"""Longer takes show the strongest of several frames in a column."""
MOST_HOVER_COLUMNS = 48
GROUPS: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("Brows", ("brow",), True),
    ("Eyes", ("eye",), True),
    ("Cheeks and nose", ("cheek", "nose"), False),
    ("Jaw and tongue", ("jaw", "tongue"), False),
    ("Mouth", ("mouth",), True),
)
"""Heading, how ARKit's names begin, and whether that beginning goes without saying under the heading."""


def readable(name: str, prefix: str = "") -> str:
    """ARKit's name in words: eyeBlinkLeft is "Blink, left" under the heading Eyes."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name.removeprefix(prefix)) or [name]
    words = [word.lower() for word in words]
    side = f", {words.pop()}" if len(words) > 1 and words[-1] in ("left", "right") else ""
    return " ".join(words).capitalize() + side


def grouped(names: tuple[str, ...]) -> list[tuple[str, list[tuple[int, str]]]]:
    """Headings, each with the column and readable name of its curves; curves of no group come last."""
    groups, rest = [], list(range(len(names)))
    for heading, prefixes, implied in GROUPS:
        members = [column for column in rest if names[column].startswith(prefixes)]
        rest = [column for column in rest if column not in members]
        labels = [(column, readable(names[column], prefixes[0] if implied else "")) for column in members]
        if labels:
            groups.append((heading, labels))
    if rest:
        groups.append(("Other", [(column, names[column]) for column in rest]))
    return groups


def expression_map(
    curves: Float[np.ndarray, "t e"], names: tuple[str, ...], times_s: Float[np.ndarray, "t"], frame: int
) -> Markup:
    """A heat map of all curves, in groups, with a scale and a mark at the frame that the pictures show."""
    blocks = [_heat_block(heading, labels, curves, (times_s, frame)) for heading, labels in grouped(names)]
    scale = element(
        "div",
        element("span", "0"),
        element("i", style=f"background:linear-gradient(90deg,transparent,rgb{HEAT_SRGB})"),
        element("span", "1"),
        element("span", "strength of the curve; the line marks the frame shown above", class_="muted"),
        class_="scale",
    )
    return join((scale, element("div", *blocks, class_="heat-columns")))


def _heat_block(
    heading: str,
    labels: list[tuple[int, str]],
    curves: Float[np.ndarray, "t e"],
    clock: tuple[Float[np.ndarray, "t"], int],
) -> Markup:
    times_s, frame = clock
    values = curves[:, [column for column, _ in labels]].T.clip(0, 1)
    strongest = _binned(values, MOST_COLUMNS)
    picture = np.zeros((*strongest.shape, 4), np.uint8)
    picture[..., :3] = HEAT_SRGB
    picture[..., 3] = np.round(np.nan_to_num(strongest) ** 0.8 * 255).astype(np.uint8)
    rows, columns = len(labels), values.shape[1]
    hover_values = _binned(values, MOST_HOVER_COLUMNS)
    edges = _bin_edges(columns, MOST_HOVER_COLUMNS)
    cells = []
    for row, (_, label) in enumerate(labels):
        for bin_number, value in enumerate(hover_values[row]):
            first, after = int(edges[bin_number]), int(edges[bin_number + 1])
            title = element("title", f"{label}: {value:.2f} at {times_s[first]:.2f} s")
            cells.append(element("rect", title, x=first, y=row, width=after - first, height=1))
    image = element("image", href=png_uri(picture), x=0, y=0, width=columns, height=rows, preserveAspectRatio="none")
    mark = element("line", x1=frame + 0.5, x2=frame + 0.5, y1=0, y2=rows, class_="mark")
    svg = element(
        "svg", image, *cells, mark,
        viewBox=f"0 0 {columns} {rows}", preserveAspectRatio="none", role="img", aria_label=f"{heading} over time",
        style=f"height:{rows * 15}px",
    )  # fmt: skip
    ends = element("div", element("span", "0 s"), element("span", f"{times_s[-1]:.1f} s"), class_="ends")
    texts = element("ol", *(element("li", label) for _, label in labels))
    body = element("div", texts, element("div", svg, ends), class_="heat")
    return element("section", element("h4", heading), body, class_="heat-block")


def head_motion(
    rotation: Float[np.ndarray, "t 3 3"],
    translation: Float[np.ndarray, "t 3"],
    times_s: Float[np.ndarray, "t"],
    frame: int,
) -> Markup:
    """Two charts: turns about the head's axes in degrees, and the head's origin in mm from its first place."""
    known = np.all(np.isfinite(np.concatenate([rotation.reshape(-1, 9), translation], 1)), axis=1)
    if not known.any():
        return sentence("No frame says where the head is.")
    rotation = np.where(known[:, None, None], rotation, np.eye(3))
    angles = Rotation.from_matrix(rotation).as_euler("YXZ", degrees=True)
    yaw, pitch, roll = np.where(known[:, None], angles, np.nan).T
    moved = np.where(known[:, None], translation - translation[known][0], np.nan) * 1000
    turns = {"yaw, to the subject's left": yaw, "pitch, down": pitch, "roll, to the subject's right": roll}
    shifts = {"x, to the left": moved[:, 0], "y, up": moved[:, 1], "z, forward": moved[:, 2]}
    charts = (
        _line_chart("Head turn", "°", turns, (times_s, frame)),
        _line_chart("Head shift", " mm", shifts, (times_s, frame)),
    )
    return element("div", *charts, class_="pair")


def _line_chart(
    title: str, unit: str, series: Mapping[str, Float[np.ndarray, "t"]], clock: tuple[Float[np.ndarray, "t"], int]
) -> Markup:
    times_s, frame = clock
    limit = nice_limit(max(1.0, *(float(np.nanmax(np.abs(values))) for values in series.values())))
    span = max(float(times_s[-1]), 1e-9)
    paths, legend = [], []
    for number, (name, values) in enumerate(series.items()):
        extent = f"{np.nanmin(values):+.1f} to {np.nanmax(values):+.1f}{unit}"
        points = " ".join(
            f"{time / span * 1000:.1f},{(1 - value / limit) * 100:.2f}"
            for time, value in zip(times_s, values, strict=True)
            if np.isfinite(value)
        )
        paths.append(element("polyline", element("title", f"{name}: {extent}"), points=points, class_=f"s{number}"))
        legend.append(element("li", element("b", name), f" {extent}", class_=f"s{number}"))
    grid = [
        element("line", x1=0, x2=1000, y1=y, y2=y, class_="zero" if y == 100 else "grid")
        for y in (0, 50, 100, 150, 200)
    ]
    x = times_s[frame] / span * 1000
    mark = element("line", x1=x, x2=x, y1=0, y2=200, class_="mark")
    svg = element(
        "svg", *grid, mark, *paths, viewBox="0 0 1000 200", preserveAspectRatio="none", role="img", aria_label=title
    )
    ticks = (
        element("span", f"{level:+g}{unit}" if level else f"0{unit}")
        for level in (limit, limit / 2, 0, -limit / 2, -limit)
    )
    ends = element("div", element("span", "0 s"), element("span", f"{times_s[-1]:.1f} s"), class_="ends")
    plot = element("div", element("div", *ticks, class_="ticks"), element("div", svg, ends), class_="plot")
    return element("figure", element("h4", title), plot, element("ul", *legend, class_="legend"), class_="lines")


def histogram(values: Float[np.ndarray, "n"], limit: float) -> Markup:
    """How often each signed value occurs, as bars over a scale from -limit to limit."""
    counts, _ = np.histogram(values.clip(-limit, limit), bins=61, range=(-limit, limit))
    top = max(int(counts.max()), 1)
    bars = (
        element("rect", x=bar, y=round(40 - 40 * count / top, 2), width=0.86, height=round(40 * count / top, 2))
        for bar, count in enumerate(counts)
    )
    return element(
        "svg", *bars, viewBox="0 0 61 40", preserveAspectRatio="none", class_="histogram", aria_hidden="true"
    )


def _bin_edges(count: int, most: int) -> np.ndarray:
    return np.linspace(0, count, min(count, most) + 1).astype(int)


def _binned(values: Float[np.ndarray, "e t"], most: int) -> Float[np.ndarray, "e c"]:
    """The strongest value of each bin of frames."""
    return np.maximum.reduceat(values, _bin_edges(values.shape[1], most)[:-1], axis=1)
