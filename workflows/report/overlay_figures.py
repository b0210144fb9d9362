"""Overlay pictures on the page: the frame shown above, and the most doubtful frames beside typical ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from geometry.cameras import Camera
from storage.take import Take
from workflows.report.best_view import best_view, spread_frames
from workflows.report.contents import FittedHead
from workflows.report.face_lines import HeadLines
from workflows.report.fit_record import STANDS_OUT, FrameLosses, bridged_frames
from workflows.report.found_landmarks import FoundLandmarks
from workflows.report.markup import Child, Markup, element, join, sentence
from workflows.report.overlay import Overlay
from workflows.report.pictures import Shot, jpeg_uri

OVERLAY_BYTES, STRIP_BYTES = 280_000, 560_000
"""Shares of the page's size."""
OVERLAY_WIDTH, STRIP_WIDTH = 520, 240
DOUBTFUL, TYPICAL = 4, 4
EYES_HW, MOUTH_HW = (96, STRIP_WIDTH), (120, STRIP_WIDTH)
"""Close looks at the eyes and the mouth."""


def overlay_section(take: Take, fit: FittedHead, marks: FoundLandmarks | None, frame: int) -> Markup:
    """One frame large, picture and overlay side by side; then the strip."""
    camera = best_view(take, fit, marks, [frame])
    if camera is None:
        return sentence("The rig has no colour camera to draw the head over.")
    lines = HeadLines.of(fit)
    parts: list[Child] = [
        _legend(lines, marks),
        _pair(take, Overlay(_around(fit, camera, frame), fit, lines, marks), frame),
    ]
    losses = FrameLosses.of(fit)
    if take.frame_count > 1:
        parts.append(_strip(take, fit, marks, losses))
    return join(parts)


def chosen_frames(fit: FittedHead, losses: FrameLosses | None) -> tuple[list[int], list[int]]:
    """The most doubtful frames, by falling doubt, and typical ones, spread over the take; none is in both.

    Typical is a frame whose doubt is no larger than the median. Bridged frames are neither: they were not measured.
    """
    count = len(fit.curves)
    if losses is None:
        measured = [frame for frame in range(count) if not bridged_frames(fit)[frame]]
        return [], [measured[place] for place in spread_frames(len(measured), TYPICAL + DOUBTFUL)] if measured else []
    doubtful = losses.doubtful(min(DOUBTFUL, max(1, count // 2)))
    middle = float(np.nanmedian(losses.doubt))
    calm = [f for f in range(count) if losses.doubt[f] <= middle and f not in doubtful]
    return doubtful, [calm[place] for place in spread_frames(len(calm), TYPICAL)] if calm else []


def _legend(lines: HeadLines | None, marks: FoundLandmarks | None) -> Markup:
    fitted = "the fitted head, its lids, lips and irises" if lines else "the fitted head"
    parts: list[Child] = [element("i", class_="swatch fitted"), element("span", fitted)]
    if marks is not None:
        faint = "with hardly any; a point without a vote is not drawn"
        for class_, said in (("clear", "detected with full confidence"), ("doubted", faint)):
            parts += [element("i", class_=f"swatch {class_}"), element("span", said)]
    return element("div", *parts, class_="scale")


def _pair(take: Take, overlay: Overlay, frame: int) -> Markup:
    camera = overlay.shot.camera
    image = take.frame(camera.id, frame)
    if image is None:
        return sentence(f"No colour camera has a picture in frame {frame}.")
    plain = overlay.shot.picture(image)
    words = (f"Frame {frame} of {camera.id}", f"Fitted head over frame {frame} of {camera.id}")
    figures = [
        element("figure", element("div", _image(picture, OVERLAY_BYTES // 2, said), class_="frame"),
                element("figcaption", said))
        for picture, said in zip((plain, overlay.shaded(plain, frame)), words, strict=True)
    ]  # fmt: skip
    for name, shot in _close_looks(overlay, frame, OVERLAY_WIDTH / STRIP_WIDTH):
        near, said = (
            Overlay(shot, overlay.fit, overlay.lines, overlay.marks),
            f"{name}: fitted lines over detected ones",
        )
        looked = _image(near.lined(shot.picture(image), frame), OVERLAY_BYTES // 4, said)
        figures.append(element("figure", element("div", looked, class_="frame"), element("figcaption", said)))
    return element("div", *figures, class_="halves")


def _strip(take: Take, fit: FittedHead, marks: FoundLandmarks | None, losses: FrameLosses | None) -> Markup:
    doubtful, typical = chosen_frames(fit, losses)
    lines = HeadLines.of(fit)
    share = STRIP_BYTES // (3 * max(len(doubtful) + len(typical), 1))
    parts: list[Child] = []
    for heading, frames in (
        ("Most doubtful frames", doubtful),
        ("Typical frames" if losses else "Frames over the take", typical),
    ):
        cells = []
        for frame in frames:
            camera = best_view(take, fit, marks, [frame])
            if camera is not None:
                overlay = Overlay(_around(fit, camera, frame, STRIP_WIDTH), fit, lines, marks)
                cells.append(_cell(take, overlay, losses, (frame, share)))
        if cells:
            parts.append(element("section", element("h3", heading), element("div", *cells, class_="strip")))
    said = "Below each head its eyes and mouth closer, fitted lines over detected ones, from the camera that faces it."
    if losses is None:
        said += " This fit stored nothing to doubt a frame by; these are spread over the take."
    return join((*parts, element("p", said, class_="muted")))


def _cell(take: Take, overlay: Overlay, losses: FrameLosses | None, of: tuple[int, int]) -> Markup:
    (frame, share), camera = of, overlay.shot.camera
    image = take.frame(camera.id, frame)
    if image is None:
        body: list[Child] = [
            element("div", element("span", "No picture"), class_="frame empty", style="aspect-ratio:4/5")
        ]
    else:
        body = [_image(overlay.shaded(overlay.shot.picture(image), frame), share, f"Fitted head over frame {frame}")]
        for name, shot in _close_looks(overlay, frame):
            near = Overlay(shot, overlay.fit, overlay.lines, overlay.marks)
            body.append(_image(near.lined(shot.picture(image), frame), share, f"{name} in frame {frame}"))
    said = element("span", f" {camera.id}", class_="muted")
    why = None
    if losses is not None and np.isfinite(losses.doubt[frame]):
        why = element("span", losses.words(frame), class_="muted odd" if losses.doubt[frame] >= STANDS_OUT else "muted")
    return element("figure", *body, element("figcaption", element("b", f"frame {frame}"), said), why)


def _close_looks(overlay: Overlay, frame: int, zoom: float = 1.0) -> list[tuple[str, Shot]]:
    """Windows about both eyes and about the mouth, of one width."""
    vertices = overlay.fit.vertices(frame)
    if overlay.lines is None or not np.isfinite(vertices).all():
        return []
    lines, camera = overlay.lines.lids_and_lips(vertices), overlay.shot.camera
    return [
        ("Eyes", _close(camera, np.concatenate(lines[:2]), _zoomed(EYES_HW, zoom))),
        ("Mouth", _close(camera, np.concatenate(lines[2:]), _zoomed(MOUTH_HW, zoom))),
    ]


def _close(camera: Camera, points: Float[np.ndarray, "n 3"], size_hw: tuple[int, int]) -> Shot:
    pixels, _ = camera.project(points)
    low, high = pixels.min(0), pixels.max(0)
    rows, columns = size_hw
    width = float(max((high[0] - low[0]) * 1.2, (high[1] - low[1]) * 1.5 * columns / rows, 8.0))
    left, top = (low + high) / 2 - np.array([width, width * rows / columns]) / 2
    return Shot(camera, (float(left), float(top)), columns / width, size_hw)


def _zoomed(size_hw: tuple[int, int], zoom: float) -> tuple[int, int]:
    return round(size_hw[0] * zoom), round(size_hw[1] * zoom)


def _around(fit: FittedHead, camera: Camera, frame: int, width: int = OVERLAY_WIDTH) -> Shot:
    vertices = fit.vertices(frame)
    return Shot.of_points(camera, vertices[np.isfinite(vertices).all(1)], width)


def _image(picture: UInt8[np.ndarray, "y x 3"], share: int, words: str) -> Markup:
    rows, columns = picture.shape[:2]
    return element("img", src=jpeg_uri(picture, share), alt=words, width=columns, height=rows)
