"""The fitted head over a picture: translucent and shaded, with its lids, lips and irises, beside what was detected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from geometry.meshes import vertex_normals
from rendering.arrays import interpolate_arrays
from workflows.report.contents import FittedHead
from workflows.report.face_lines import IRIS_RIMS, LIDS, LIPS, HeadLines
from workflows.report.found_landmarks import FoundLandmarks
from workflows.report.pictures import SUPERSAMPLE, Drawing, Shot, outlined

FITTED_SRGB = (70, 232, 220)
"""Lines of the fitted head."""
DETECTED_SRGB = (255, 206, 66)
"""Lines through detected landmarks."""
CLEAR_SRGB, DOUBTED_SRGB = (255, 206, 66), (214, 48, 150)
"""Dots of full and of hardly any confidence; the two differ for colour-blind eyes as well."""
HEAD_TINT = np.array([150.0, 214.0, 222.0])
HEAD_OPACITY = 0.42
DOT_SHARE = 380
"""A dot's radius is the picture's width over this."""
HIDDEN_M = 0.004
"""A line this far behind the head's surface is hidden by it."""
SHIFT = 4
"""Fractional bits of OpenCV's line coordinates."""


@dataclass(frozen=True, eq=False)
class Overlay:
    """One frame of a take from one camera, with what the fit and the landmarks say of it."""

    shot: Shot
    """The window."""
    fit: FittedHead
    """The fitted head."""
    lines: HeadLines | None
    """Its lids, lips and irises."""
    marks: FoundLandmarks | None
    """What was detected."""

    def shaded(self, picture: UInt8[np.ndarray, "y x 3"], frame: int) -> UInt8[np.ndarray, "y x 3"]:
        """The head shaded and see-through over a picture of the shot's size, then lines and dots.

        A frame without a finite head is shown as it is.
        """
        vertices = self.fit.vertices(frame)
        if not np.isfinite(vertices).all():
            return self.detected(picture, frame, dots=True)
        drawing = self.shot.drawing(vertices, self.fit.faces)
        mask = drawing.fragments.mask
        light = np.clip(0.15 + 0.95 * _lambert(drawing), 0, 1.15)
        head = _halved(light * mask)[..., None] * HEAD_TINT
        cover = _halved(mask.astype(np.float32))[..., None]
        # `head` is already weighted by its cover, as colours of antialiased edges are.
        blended = picture * (1 - HEAD_OPACITY * cover) + HEAD_OPACITY * head
        drawn = outlined(np.round(blended.clip(0, 255)).astype(np.uint8), mask, 1)
        drawn = self.detected(drawn, frame, dots=True)
        return self._fitted(drawn, drawing, vertices, frame)

    def lined(self, picture: UInt8[np.ndarray, "y x 3"], frame: int) -> UInt8[np.ndarray, "y x 3"]:
        """Detected lines, then the fitted ones, over a picture that stays visible: for close looks."""
        vertices = self.fit.vertices(frame)
        drawn = self.detected(picture, frame, dots=False)
        if not np.isfinite(vertices).all():
            return drawn
        return self._fitted(drawn, self.shot.drawing(vertices, self.fit.faces), vertices, frame)

    def detected(self, picture: UInt8[np.ndarray, "y x 3"], frame: int, dots: bool) -> UInt8[np.ndarray, "y x 3"]:
        """Detected landmarks: dots coloured by confidence, or lines along lids, lips and irises."""
        found = None if self.marks is None else self.marks.at(self.shot.camera.id, frame)
        if found is None:
            return picture
        points, confidence = found
        places = _in_window(self.shot, points)
        drawn = picture.copy()
        radius = round(picture.shape[1] / DOT_SHARE * 2**SHIFT)
        if dots:
            for place, trust in zip(places[confidence > 0], confidence[confidence > 0], strict=True):
                colour = np.array(DOUBTED_SRGB) + (np.array(CLEAR_SRGB) - DOUBTED_SRGB) * float(min(trust, 1.0))
                if np.isfinite(place).all() and (np.abs(place) < 1e5).all():
                    cv2.circle(drawn, _fixed(place), radius, colour.round().tolist(), -1, cv2.LINE_AA, SHIFT)
            return drawn
        irises = [rim for rim in IRIS_RIMS if max(rim) < len(points)]
        for line in (*LIDS, *LIPS, *irises):
            rows = list(line)
            if max(rows) < len(points):
                seen = (confidence[rows] > 0) & np.isfinite(places[rows]).all(1)
                _draw_closed(drawn, places[rows], seen, DETECTED_SRGB)
        return drawn

    def _fitted(
        self, picture: UInt8[np.ndarray, "y x 3"], drawing: Drawing, vertices: Float[np.ndarray, "v 3"], frame: int
    ) -> UInt8[np.ndarray, "y x 3"]:
        if self.lines is None:
            return picture
        drawn = picture.copy()
        for line in self.lines.lids_and_lips(vertices):
            places, depth = self._screen(line)
            surface = _sampled(drawing.fragments.depth, places)
            _draw_closed(drawn, places, (depth > 0) & ((surface <= 0) | (depth - surface < HIDDEN_M)), FITTED_SRGB)
        for circle in self.lines.irises(vertices, frame):
            places, depth = self._screen(circle)
            face = _sampled(drawing.fragments.face_index, places)
            seen = (depth > 0) & (face >= 0) & self.lines.eye_faces[np.maximum(face, 0)]
            _draw_closed(drawn, places, seen, FITTED_SRGB)
        return drawn

    def _screen(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
        pixels, depth = self.shot.camera.project(points)
        return _in_window(self.shot, pixels), depth


def _lambert(drawing: Drawing) -> Float[np.ndarray, "h w"]:
    """Light from over the viewer's left shoulder, by interpolated shade of the vertices: cheap enough for films."""
    camera_from_world = drawing.camera.world_from_camera.inverse()
    normals = camera_from_world.rotate(vertex_normals(drawing.vertices, drawing.faces))
    light = np.array([-0.4, -0.5, -0.77])
    shade = (normals @ light).clip(0)[:, None]
    return interpolate_arrays(drawing.fragments, drawing.faces, shade)[..., 0]


def _halved(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "y x"]:
    rows, columns = image.shape
    size = (columns // SUPERSAMPLE, rows // SUPERSAMPLE)
    return cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _in_window(shot: Shot, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    return (pixels - shot.origin_px) * shot.scale


def _sampled(image: np.ndarray, places: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """A supersampled image's value at places of the shot; the nearest edge's outside of it."""
    rows, columns = image.shape
    column = np.nan_to_num(places[:, 0] * SUPERSAMPLE).clip(0, columns - 1).astype(int)
    row = np.nan_to_num(places[:, 1] * SUPERSAMPLE).clip(0, rows - 1).astype(int)
    return image[row, column]


def _draw_closed(
    picture: UInt8[np.ndarray, "y x 3"],
    places: Float[np.ndarray, "n 2"],
    seen: Bool[np.ndarray, "n"],
    colour: Sequence[int],
) -> None:
    """A closed line, of which a piece shows where both of its ends do."""
    for start in range(len(places)):
        end = (start + 1) % len(places)
        if seen[start] and seen[end] and (np.abs(places[[start, end]]) < 1e5).all():
            first, second = _fixed(places[start]), _fixed(places[end])
            cv2.line(picture, first, second, [int(value) for value in colour], 1, cv2.LINE_AA, SHIFT)


def _fixed(place: Float[np.ndarray, "2"]) -> tuple[int, int]:
    """OpenCV's fixed-point coordinates; its pixel centres are at 0 and ours at +0.5."""
    x, y = np.round((place - 0.5) * 2**SHIFT).astype(int)
    return int(x), int(y)
