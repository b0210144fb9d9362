"""The page: which parts it has, in which order, and what its first lines say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from geometry.errors import InputError
from geometry.meshes import Mesh
from rendering.arrays import rasterize_arrays
from storage.image_folder import write_whole
from storage.results import Provenance
from storage.take import Take
from workflows.report.charts import expression_map, head_motion
from workflows.report.checks import (
    BAD,
    GOOD,
    NEUTRAL,
    WARNING,
    QualityReport,
    accuracy_section,
    facts,
    figure_text,
    fold,
    quality_section,
    stat,
    verdict_words,
    words,
)
from workflows.report.contents import FittedHead, FusedSurface, SurfaceDistance, surface_of
from workflows.report.figures import film_strip, surface_figures, view_figures
from workflows.report.film import Film, film_figure
from workflows.report.fit_cameras import cameras_section
from workflows.report.fit_gaps import gaps_section
from workflows.report.fit_lacks import lacks_section
from workflows.report.fit_losses import losses_section
from workflows.report.found_landmarks import FoundLandmarks
from workflows.report.markup import Child, Markup, element, join, sentence, table
from workflows.report.overlay_figures import overlay_section
from workflows.surfaces import fused_frames

STYLE_SHEET = Path(__file__).with_name("report.css")
CLOSE_MM = 1.5
"""A fit whose depth residual is under this is called close: it is one sigma of the depth cameras the design assumes."""
FAR_MM = 4.0


def write_report(
    take: Take,
    out: Path,
    quality: QualityReport | None = None,
    evaluation: Mapping[str, float] | None = None,
    frame: int | None = None,
    film: Film | None = None,
) -> None:
    """Write one self-contained HTML page about a take: the same take gives the same bytes.

    `frame` is the frame set that the pictures show; without it, the one with the strongest expression. `film` lies
    beside the page, which links to it and is whole without it. Results that are not there are named together with the
    command that makes them. Raises InputError for a frame that the take does not have, for damaged results, and when
    the page cannot be written.
    """
    report = Report(take, quality, evaluation, frame, film)
    write_whole(out, "<!doctype html>\n" + report.html().html + "\n")


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that the page is made from."""

    take: Take
    """The take."""
    quality: QualityReport | None
    """What `mien check` found."""
    evaluation: Mapping[str, float] | None
    """Figures against truth."""
    asked_frame: int | None
    """The frame set that the user wants to see."""
    film: Film | None
    """What lies beside the page."""

    @cached_property
    def fit(self) -> FittedHead | None:
        """The fitted head."""
        return FittedHead.read(self.take)

    @cached_property
    def marks(self) -> FoundLandmarks | None:
        """The landmarks."""
        return FoundLandmarks.read(self.take)

    @cached_property
    def frame(self) -> int:
        """The frame set that the pictures show: one with a fused surface if there is any."""
        count = self.take.frame_count
        if self.asked_frame is not None:
            if not 0 <= self.asked_frame < count:
                raise InputError(f"a frame set from 0 to {count - 1}", str(self.asked_frame), "choose one of these")
            return self.asked_frame
        if not count:
            raise InputError("a take with frame sets", "none", "ingest a recording that has frames")
        fused = [frame for frame in fused_frames(self.take) if frame < count]
        if self.fit is None:
            return (fused or [count // 2])[0]
        candidates = fused or list(range(count))
        return self.fit.strongest_frame([frame for frame in candidates if self.fit.is_whole(frame)] or candidates)

    @cached_property
    def shown_fit(self) -> FittedHead | None:
        """The fitted head, where the frame that the pictures show has one."""
        return self.fit if self.fit is not None and self.fit.is_whole(self.frame) else None

    @cached_property
    def surface(self) -> FusedSurface | None:
        """The frame's fused surface."""
        return surface_of(self.take, self.frame)

    @cached_property
    def distance(self) -> SurfaceDistance | None:
        """How far surface and head are apart."""
        if self.shown_fit is None or self.surface is None:
            return None
        head = Mesh(self.shown_fit.vertices(self.frame), self.shown_fit.faces)
        return SurfaceDistance.between(self.surface.mesh, head, self.shown_fit.face_region)

    @cached_property
    def times_s(self) -> Float[np.ndarray, "t"]:
        """Since the first frame set."""
        return (self.take.sync.time_ns - self.take.sync.time_ns[0]) / 1e9

    def html(self) -> Markup:
        """The page."""
        made = [(title, part(self)) for title, part in PARTS]
        shown = [(title, body) for title, body in made if body is not None]
        links = (element("a", title, href=f"#part-{row}") for row, (title, _) in enumerate(shown))
        parts = (
            element("section", element("h2", title), body, id=f"part-{row}", class_="part")
            for row, (title, body) in enumerate(shown)
        )
        header = self.take.header
        head = element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", f"{header.take_id} · mien report"),
            element("style", Markup(STYLE_SHEET.read_text())),
        )
        main = element(
            "main",
            _top(self),
            element("nav", *links),
            *parts,
            element("footer", "Made by mien. All figures are of this take alone."),
        )
        return element("html", head, element("body", main), lang="en")


def _top(report: Report) -> Markup:
    """Whose take, a verdict, and the figures that everybody asks for."""
    header = report.take.header
    title = element(
        "div",
        element("p", "mien · take report", class_="brand"),
        element("h1", header.take_id),
        element("p", f"Subject {header.subject_id}", class_="muted"),
    )
    verdicts = [verdict_words(report.quality), _fit_words(report.fit)]
    pills = element(
        "p", *(element("span", phrase, class_=f"pill {kind}") for kind, phrase in verdicts), class_="verdict"
    )
    return element("header", title, pills, element("div", *(stat(*tile) for tile in _tiles(report)), class_="tiles"))


def _fit_words(fit: FittedHead | None) -> tuple[str, str]:
    if fit is None:
        return NEUTRAL, "No head fitted"
    measured = fit.depth_residual_mm[np.isfinite(fit.depth_residual_mm)]
    if not len(measured):
        return NEUTRAL, "Head fitted without depth to check it"
    residual = float(np.median(measured))
    kind = GOOD if residual <= CLOSE_MM else WARNING if residual <= FAR_MM else BAD
    return kind, f"Fitted head {residual:.1f} mm from the depth"


def _tiles(report: Report) -> list[tuple[str, str]]:
    take, fit, distance, evaluation = report.take, report.fit, report.distance, report.evaluation or {}
    tiles = [
        (f"{take.frame_count}", f"frame sets over {report.times_s[-1]:.1f} s"),
        (f"{len(take.rig.rgb)} + {len(take.rig.depth)}", "colour and depth cameras"),
    ]
    if fit is not None and np.isfinite(fit.depth_residual_mm).any():
        worst = float(np.nanmax(fit.depth_residual_mm))
        tiles.append(
            (f"{worst:.1f} mm", f"from the depth in the worst frame, {int(np.nanargmax(fit.depth_residual_mm))}")
        )
    if distance is not None:
        tiles.append((f"{distance.percentile_mm(95):.1f} mm", "95 % of the surface is closer to the head"))
    if "vertex_error_mm_median" in evaluation:
        tiles.append((f"{evaluation['vertex_error_mm_median']:.2f} mm", "median vertex error against truth"))
    return tiles


def _views(report: Report) -> Markup:
    missing = None
    if report.fit is None:
        missing = sentence(
            "No head was fitted to this take, so the pictures stand alone.", f"mien fit {report.take.path}"
        )
    elif report.shown_fit is None:
        missing = sentence(f"Frame {report.frame} has no head: nothing was measured in it.")
    return join(
        (
            missing,
            element(
                "p", f"Frame {report.frame}, {report.times_s[report.frame]:.2f} s: {_why(report)}.", class_="muted"
            ),
            view_figures(report.take, report.shown_fit, report.frame),
        )
    )


def _why(report: Report) -> str:
    if report.asked_frame is not None:
        return "the frame asked for"
    return (
        "the strongest expression of the frames with a surface"
        if report.surface and report.fit
        else "the strongest expression"
        if report.fit
        else "chosen for its place in the take"
    )


def _overlay(report: Report) -> Markup | None:
    return overlay_section(report.take, report.fit, report.marks, report.frame) if report.fit else None


def _side_by_side(report: Report) -> Markup | None:
    return film_figure(report.take, report.film, report.frame) if report.film and report.fit else None


def _gaps(report: Report) -> Markup | None:
    return gaps_section(report.take, report.fit, report.marks) if report.fit else None


def _losses(report: Report) -> Markup | None:
    return losses_section(report.fit, report.times_s) if report.fit else None


def _cameras(report: Report) -> Markup | None:
    return cameras_section(report.take, report.fit, report.marks) if report.fit else None


def _lacks(report: Report) -> Markup | None:
    return lacks_section(report.take, report.fit, report.marks) if report.fit else None


def _surface(report: Report) -> Markup:
    fuse, fit = f"mien fuse {report.take.path}", f"mien fit {report.take.path}"
    if report.fit is None:
        return sentence("A distance needs a fitted head.", fit)
    if report.shown_fit is None:
        return sentence(f"Frame {report.frame} has no head to measure from.")
    missing = (
        sentence(f"Frame {report.frame} has no fused surface to compare with.", fuse)
        if report.surface is None
        else None
    )
    return join((missing, surface_figures(report.fit, report.surface, report.distance, report.frame)))


def _film(report: Report) -> Markup:
    if report.fit is None:
        return sentence("There is no fitted head to follow through the take.", f"mien fit {report.take.path}")
    if not report.take.rig.rgb:
        return sentence("The rig has no colour camera to show.")
    return film_strip(report.take, report.fit, report.frame)


def _expression(report: Report) -> Markup:
    fit = report.fit
    if fit is None:
        return sentence("There are no expression curves.", f"mien fit {report.take.path}")
    parts: list[Child] = [expression_map(fit.curves, fit.curve_names, report.times_s, report.frame)]
    if report.take.frame_count > 1:
        parts.append(head_motion(fit.rotation, fit.translation, report.times_s, report.frame))
    else:
        parts.append(sentence("One frame alone shows no motion."))
    return join(parts)


def _quality(report: Report) -> Markup:
    return quality_section(report.take, report.quality)


def _accuracy(report: Report) -> Markup | None:
    return accuracy_section(report.evaluation) if report.evaluation else None


def _provenance(report: Report) -> Markup:
    header = report.take.header
    pairs: list[tuple[str, Child]] = [
        ("Recording", header.source), ("Read by", header.reader), ("Device", header.device_model or "not stated"),
        ("Licence of the recording", header.licence), ("Consent", header.consent),
    ]  # fmt: skip
    if report.fit is not None:
        pairs += [
            ("Head model", str(report.fit.result.provenance.metrics.get("model", "not stated"))),
            ("Licence of the head model", report.fit.result.provenance.licence or "not stated"),
            ("Invented texels", _invented(report.fit)),
        ]
    ingest = Provenance(
        report.take.root.config, {"recording": header.source_digest}, {}, "", header.tool_version, header.commit
    )
    steps = [("ingest", ingest)]
    steps += [("fuse", report.surface.result.provenance)] if report.surface else []
    steps += [("fit", report.fit.result.provenance)] if report.fit else []
    return join((facts(pairs), *(_step(name, provenance) for name, provenance in steps)))


def _step(name: str, provenance: Provenance) -> Markup:
    """What made a result, to be opened."""
    inputs = ((source, element("code", digest[:16])) for source, digest in provenance.inputs.items())
    made_by = facts([("mien", f"{provenance.tool_version or '–'}, commit {_short(provenance.commit)}"), *inputs])
    metrics = [(words(key), figure_text(key, value)) for key, value in provenance.metrics.items()]
    config = json.dumps(provenance.config, indent=1, sort_keys=True, default=str)
    return fold(
        f"mien {name}", made_by, table(("Figure", "Value"), metrics, "figures") if metrics else None,
        element("pre", config) if provenance.config else None,
    )  # fmt: skip


def _short(commit: str) -> str:
    """The first digits of a commit, and whether the code was changed since."""
    return (commit[:12] or "–") + (" and changes" if commit.endswith("-dirty") else "")


def _invented(fit: FittedHead) -> str:
    """Share of the texture that no camera saw, over the part that the head uses."""
    if fit.texel_seen is None or fit.model is None:
        return "not known"
    rows, columns = fit.texel_seen.shape
    uv = fit.model.uv.double().numpy()
    screen = np.stack([uv[:, 0] * columns, (1 - uv[:, 1]) * rows, np.ones(len(uv))], 1)
    used = rasterize_arrays(screen, fit.model.uv_faces.numpy(), (rows, columns)).mask
    share = 1 - (used & fit.texel_seen).sum() / max(used.sum(), 1)
    return f"{share:.0%} of the texture was seen by no camera and filled in"


PARTS: tuple[tuple[str, Callable[[Report], Markup | None]], ...] = (
    ("Views", _views),
    ("Head over picture", _overlay),
    ("Side by side", _side_by_side),
    ("Gaps", _gaps),
    ("Loss of each term", _losses),
    ("Cameras against the head", _cameras),
    ("What the input lacks", _lacks),
    ("Surface and head", _surface),
    ("Film strip", _film),
    ("Expression and motion", _expression),
    ("Quality checks", _quality),
    ("Accuracy against truth", _accuracy),
    ("Provenance", _provenance),
)
"""The page, top to bottom; a part that returns None is left out."""
