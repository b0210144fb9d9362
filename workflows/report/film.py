"""The side-by-side film: the best colour view, the same with the fitted head, and below it what the face does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from storage.take import Take
from workflows.report.best_view import best_view, spread_frames, window_of
from workflows.report.charts import readable
from workflows.report.contents import FittedHead
from workflows.report.face_lines import HeadLines
from workflows.report.film_encoder import write_film
from workflows.report.fit_gaps import gaps_of
from workflows.report.fit_record import FrameLosses, bridged_frames
from workflows.report.found_landmarks import FoundLandmarks
from workflows.report.markup import Markup, counted, element, join
from workflows.report.overlay import DETECTED_SRGB, FITTED_SRGB, Overlay
from workflows.report.pictures import Shot, jpeg_uri

FILM_SUFFIX = ".webm"
PANEL_WIDTH, FOOT_HEIGHT, HEAD_HEIGHT = 480, 132, 28
POSTER_BYTES = 130_000
MOST_FRAMES = 900
"""Longer takes show every second frame, every third and so on, at their own speed."""
BAR_ROWS = 5
"""Two columns of curves."""
LEAST_PEAK = 0.02
PAGE_SRGB, INK_SRGB, MUTED_SRGB, TRACK_SRGB = (16, 18, 22), (236, 238, 241), (150, 158, 168), (44, 49, 56)
ALARM_SRGB = (255, 138, 92)
VIEW_FRAMES = 12
"""Frames by which the view is chosen."""


@dataclass(frozen=True)
class Film:
    """A film that was written."""

    name: str
    """Of the file, beside the page."""
    camera_id: str
    """What it shows."""
    frames: int
    """How many it has."""
    step: int
    """Every which frame of the take it shows."""
    size_hw: tuple[int, int]
    """Of its pictures."""


@dataclass(frozen=True, eq=False)
class FilmPictures:
    """The pictures of a take's film, made one at a time."""

    take: Take
    """The take."""
    fit: FittedHead
    """The fitted head."""
    shot: Shot
    """The window that both halves show."""
    marks: FoundLandmarks | None
    """What was detected."""

    @classmethod
    def of(cls, take: Take) -> FilmPictures | None:
        """None for a take without a fit or without a colour camera: there is nothing to lay side by side."""
        fit = FittedHead.read(take)
        if fit is None or not take.frame_count:
            return None
        marks = FoundLandmarks.read(take)
        camera = best_view(take, fit, marks, spread_frames(take.frame_count, VIEW_FRAMES))
        return None if camera is None else cls(take, fit, window_of(take, fit, camera, PANEL_WIDTH), marks)

    @property
    def step(self) -> int:
        """Every which frame set is shown."""
        return -(-self.take.frame_count // MOST_FRAMES)

    @property
    def rate_hz(self) -> float:
        """Frames of the film a second, so that it runs at the take's own speed."""
        times = self.take.sync.time_ns
        span_s = float(times[-1] - times[0]) / 1e9
        rate = (len(times) - 1) / span_s if span_s > 0 else self.shot.camera.rate_hz
        return rate / self.step

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of each picture; even, as video codecs want it."""
        rows, columns = self.shot.size_hw
        return (rows + HEAD_HEIGHT + FOOT_HEIGHT) // 2 * 2, columns * 2

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        for frame in range(0, self.take.frame_count, self.step):
            yield self.picture(frame)

    def picture(self, frame: int) -> UInt8[np.ndarray, "h w 3"]:
        """The film's picture of a frame set."""
        overlay = self._overlay
        rows, columns = self.shot.size_hw
        page = np.empty((*self.size_hw, 3), np.uint8)
        page[:] = PAGE_SRGB
        image = self.take.frame(self.shot.camera.id, frame)
        if image is not None:
            plain = self.shot.picture(image)
            page[HEAD_HEIGHT : HEAD_HEIGHT + rows, :columns] = plain
        else:
            plain = np.zeros((rows, columns, 3), np.uint8)
        page[HEAD_HEIGHT : HEAD_HEIGHT + rows, columns:] = overlay.shaded(plain, frame)
        if self._bridged[frame]:
            cv2.rectangle(
                page, (columns + 1, HEAD_HEIGHT + 1), (2 * columns - 2, HEAD_HEIGHT + rows - 2), ALARM_SRGB, 2
            )
        return self._labelled(page, frame, image is not None)

    def _labelled(self, page: UInt8[np.ndarray, "h w 3"], frame: int, pictured: bool) -> UInt8[np.ndarray, "h w 3"]:
        canvas = Image.fromarray(page)
        draw = ImageDraw.Draw(canvas)
        columns = self.shot.size_hw[1]
        camera = f"camera {self.shot.camera.id}" + ("" if pictured else ": no picture")
        draw.text((10, 5), _plain(camera), INK_SRGB if pictured else ALARM_SRGB, _font(15))
        legend = ((FITTED_SRGB, "fitted"), (DETECTED_SRGB, "detected"))
        right = 2 * columns - 10
        for colour, words in reversed(legend):
            right -= int(draw.textlength(words, _font(15)))
            draw.text((right, 5), words, colour, _font(15))
            right -= 14
        top = HEAD_HEIGHT + self.shot.size_hw[0] + 10
        time_s = float(self.take.sync.time_ns[frame] - self.take.sync.time_ns[0]) / 1e9
        draw.text((14, top), f"frame {frame}", INK_SRGB, _font(22))
        draw.text((14, top + 30), f"{time_s:.2f} s", MUTED_SRGB, _font(15))
        for row, words in enumerate(self._state(frame)):
            alarmed = bool(self._bridged[frame]) and row == 0
            draw.text((14, top + 54 + 18 * row), _plain(words), ALARM_SRGB if alarmed else MUTED_SRGB, _font(14))
        self._draw_bars(draw, frame, top)
        return np.asarray(canvas)

    def _draw_bars(self, draw: ImageDraw.ImageDraw, frame: int, top: int) -> None:
        """The curves that are most active in this take, each in its place throughout."""
        values = np.nan_to_num(self.fit.curves[frame]).clip(0, 1)
        first, column_width = 330, (2 * self.shot.size_hw[1] - 330 - 14) // 2
        if not self._active:
            draw.text((first, top), "no curve moves in this take", ALARM_SRGB, _font(14))
        for place, curve in enumerate(self._active):
            x, y = first + column_width * (place // BAR_ROWS), top + 22 * (place % BAR_ROWS)
            draw.text((x, y), _plain(readable(self.fit.curve_names[curve]))[:22], MUTED_SRGB, _font(14))
            left, right = x + 150, x + column_width - 48
            draw.rectangle((left, y + 4, right, y + 13), TRACK_SRGB)
            if values[curve] > 0.005:
                draw.rectangle((left, y + 4, left + (right - left) * float(values[curve]), y + 13), FITTED_SRGB)
            draw.text((right + 8, y), f"{values[curve]:.2f}", INK_SRGB, _font(14))

    def _state(self, frame: int) -> list[str]:
        """Two lines at most: fitted or not and why, and which term doubts the frame."""
        reason = self._reasons.get(frame)
        lines = [f"{'bridged' if self._bridged[frame] else 'fitted'}{f': {reason}' if reason else ''}"]
        if self._losses is not None and np.isfinite(self._losses.doubt[frame]):
            column = self._losses.worst_term(frame)
            value = self._losses.residual[frame, column]
            lines.append(f"largest term: {self._losses.terms[column]} {value:.2g} {self._losses.unit}")
        return lines

    @cached_property
    def _overlay(self) -> Overlay:
        return Overlay(self.shot, self.fit, HeadLines.of(self.fit), self.marks)

    @cached_property
    def _bridged(self) -> Bool[np.ndarray, "t"]:
        return bridged_frames(self.fit)

    @cached_property
    def _active(self) -> list[int]:
        """Columns of the curves with the highest peaks, in the model's order; none that never moves."""
        peaks = np.nan_to_num(self.fit.curves).max(0)
        highest = np.argsort(-peaks, kind="stable")[: 2 * BAR_ROWS].tolist()
        return sorted(curve for curve in highest if peaks[curve] >= LEAST_PEAK)

    @cached_property
    def _losses(self) -> FrameLosses | None:
        return FrameLosses.of(self.fit)

    @cached_property
    def _reasons(self) -> dict[int, str]:
        gaps = gaps_of(self.take, self.fit, self.marks)
        return {frame: gap.reason for gap in gaps for frame in range(gap.first, gap.last + 1)}


def write_take_film(take: Take, path: Path) -> None:
    """Write the side-by-side film of a take (WebM), which has one: `film_of` says so.

    Memory holds one frame, time is 0.1 to 0.2 s a frame on one core, and the same take gives the same bytes. Raises
    InputError for damaged results and when the file cannot be written.
    """
    pictures = FilmPictures.of(take)
    if pictures is None:
        raise ValueError(f"no film can be made of {take.path}: it has no fit, or no colour camera")
    write_film(path, pictures, pictures.rate_hz, film_tags(take.header.subject_id))


def film_of(take: Take, name: str) -> Film | None:
    """What the film of a take shows, without making it; None where there is nothing to show."""
    pictures = FilmPictures.of(take)
    if pictures is None:
        return None
    frames = -(-take.frame_count // pictures.step)
    return Film(name, pictures.shot.camera.id, frames, pictures.step, pictures.size_hw)


def film_figure(take: Take, film: Film, frame: int) -> Markup:
    """The film as the page plays it, with a picture of its own for where the file did not come along."""
    pictures = FilmPictures.of(take)
    poster = None if pictures is None else jpeg_uri(pictures.picture(frame), POSTER_BYTES)
    (rows, columns), address = film.size_hw, quote(film.name)
    video = element(
        "video", f"This browser plays no WebM; the film is {film.name}.", controls=True, preload="none", loop=True,
        muted=True, playsinline=True, poster=poster, width=columns, height=rows, src=address,
    )  # fmt: skip
    every = "" if film.step == 1 else f", one of every {film.step} of the take"
    said = (
        f"Camera {film.camera_id}, {counted(film.frames, 'frame')}{every}: the picture, the fitted head over it, and "
        "below both the curves that are most active in this take. The film is "
    )
    link = element("a", film.name, href=address)
    return join((video, element("p", said, link, ", beside this page.", class_="muted")))


def film_tags(subject_id: str) -> dict[str, str]:
    """What the file says of itself, so that it is found when its subject is forgotten."""
    return {"title": "mien · take film", "comment": json.dumps({"made_by": "mien", "subject_id": subject_id})}


def _plain(text: str) -> str:
    """Without characters that the font lacks or that would break the line."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if size not in _FONTS:
        _FONTS[size] = ImageFont.load_default(size)
    return _FONTS[size]


_FONTS: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}
