"""Calibration boards: what they are, and where their inner corners lie in a picture."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8, UInt16

from geometry.errors import InputError

BoardKind = Literal["charuco", "checkerboard"]
Picture = UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]

MOST_SQUARES = 40
"""Per side; more is a mistyped board."""
FORM = "charuco:12x9:45mm:34mm:DICT_4X4_100[:legacy] or checkerboard:10x7:25mm (columns x rows of squares)"
UNITS_M = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}
FEWEST_CORNERS = 6
"""Fewer do not fix a plane's pose with anything left over."""

DICTIONARIES: dict[str, int] = {
    name: getattr(cv2.aruco, name)
    for name in (
        "DICT_ARUCO_ORIGINAL", "DICT_ARUCO_MIP_36h12",
        "DICT_4X4_50", "DICT_4X4_100", "DICT_4X4_250", "DICT_4X4_1000",
        "DICT_5X5_50", "DICT_5X5_100", "DICT_5X5_250", "DICT_5X5_1000",
        "DICT_6X6_50", "DICT_6X6_100", "DICT_6X6_250", "DICT_6X6_1000",
        "DICT_7X7_50", "DICT_7X7_100", "DICT_7X7_250", "DICT_7X7_1000",
        "DICT_APRILTAG_16h5", "DICT_APRILTAG_25h9", "DICT_APRILTAG_36h10", "DICT_APRILTAG_36h11",
    )
}  # fmt: skip
"""OpenCV's marker dictionaries by name."""


@dataclass(frozen=True)
class BoardSpec:
    """A flat board; its frame has x along the columns, y down the rows and z away from who looks at it."""

    kind: BoardKind
    """With markers in the white squares, or without."""
    squares_xy: tuple[int, int]
    """Columns and rows of squares."""
    square_m: float
    """Side of a square, metres."""
    marker_m: float = 0.0
    """Side of a marker, metres; 0 without markers."""
    dictionary: str = ""
    """One of DICTIONARIES; empty without markers."""
    legacy: bool = False
    """Boards of OpenCV before 4.6 with an even number of rows: a white square stands at the top left."""

    def __post_init__(self) -> None:
        if not all(3 <= count <= MOST_SQUARES for count in self.squares_xy):
            raise InputError(f"3 to {MOST_SQUARES} squares a side", f"{self.squares_xy}", "correct the board")
        if not 0 < self.square_m < 10:
            raise InputError("a square of more than 0 and less than 10 m", f"{self.square_m} m", "correct the board")
        if self.kind == "charuco" and not 0 < self.marker_m < self.square_m:
            got = f"markers of {self.marker_m} m in squares of {self.square_m} m"
            raise InputError("markers smaller than their squares", got, "correct the board")
        if self.kind == "charuco" and self.dictionary not in DICTIONARIES:
            got = repr(self.dictionary)
            raise InputError(f"a marker dictionary ({', '.join(DICTIONARIES)})", got, "correct the board")

    @classmethod
    def parse(cls, text: str) -> BoardSpec:
        """From text such as `charuco:12x9:45mm:34mm:DICT_4X4_100`; InputError says what the form is."""
        parts = text.split(":")
        try:
            columns, rows = (int(count) for count in parts[1].lower().split("x"))
            if parts[0] == "checkerboard" and len(parts) == 3:
                return cls("checkerboard", (columns, rows), metres_of(parts[2]))
            if parts[0] == "charuco" and (len(parts) == 5 or (len(parts) == 6 and parts[5] == "legacy")):
                sides = metres_of(parts[2]), metres_of(parts[3])
                return cls("charuco", (columns, rows), *sides, parts[4], len(parts) == 6)
        except (ValueError, IndexError):
            pass
        raise InputError(f"a board as {FORM}", repr(text[:200]), "write the board's size, or `auto`")

    def __str__(self) -> str:
        size = f"{self.kind}:{self.squares_xy[0]}x{self.squares_xy[1]}:{self.square_m * 1e3:g}mm"
        if self.kind == "checkerboard":
            return size
        return f"{size}:{self.marker_m * 1e3:g}mm:{self.dictionary}{':legacy' if self.legacy else ''}"

    @property
    def corners_m(self) -> Float[np.ndarray, "corner 3"]:
        """Inner corners in the board's frame, by corner id (along the rows first); z is 0."""
        columns, rows = self.squares_xy
        x, y = np.meshgrid(np.arange(1, columns), np.arange(1, rows))
        return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1) * self.square_m

    @property
    def turns_are_distinct(self) -> bool:
        """Whether half a turn of the board shows: markers do, a checkerboard only with odd x even squares."""
        return self.kind == "charuco" or sum(self.squares_xy) % 2 == 1

    def charuco_board(self) -> cv2.aruco.CharucoBoard:
        """OpenCV's object of a board with markers."""
        markers = cv2.aruco.getPredefinedDictionary(DICTIONARIES[self.dictionary])
        board = cv2.aruco.CharucoBoard(self.squares_xy, self.square_m, self.marker_m, markers)
        board.setLegacyPattern(self.legacy)
        return board


@dataclass(frozen=True, eq=False)
class BoardDetection:
    """The corners of a board that a picture shows."""

    pixels: Float[np.ndarray, "n 2"]
    """Positions (x, y), pixel centres at +0.5."""
    ids: Int[np.ndarray, "n"]
    """Which of `BoardSpec.corners_m` they are; each at most once, ascending."""
    image_size_hw: tuple[int, int]
    """Of the picture."""

    def __len__(self) -> int:
        return len(self.ids)


def detect_board(picture: Picture, spec: BoardSpec) -> BoardDetection:
    """The board's corners in a colour, grey or infrared picture; none where fewer than FEWEST_CORNERS show.

    Source: OpenCV's CharucoDetector and findChessboardCornersSB (Duda & Frese 2018), whose pixels get plus 0.5.
    """
    grey = grey_picture(picture)
    found = _detect_charuco(grey, spec) if spec.kind == "charuco" else _detect_checkerboard(grey, spec)
    ids, pixels = found
    if len(ids) < FEWEST_CORNERS or _on_one_line(spec.corners_m[ids, :2]):
        ids, pixels = np.zeros(0, np.int64), np.zeros((0, 2))
    order = np.argsort(ids)
    return BoardDetection(pixels[order] + 0.5, ids[order].astype(np.int64), (grey.shape[0], grey.shape[1]))


def grey_picture(picture: Picture) -> UInt8[np.ndarray, "h w"]:
    """8-bit grey of a picture; 16-bit infrared is stretched so that all but its brightest half per cent fits."""
    if picture.ndim == 3:
        return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if picture.dtype == np.uint8:
        return picture
    top = max(float(np.percentile(picture[::4, ::4], 99.5)), 1.0)
    return np.clip(picture * (255.0 / top), 0, 255).astype(np.uint8)


_detectors = threading.local()


def _detector(spec: BoardSpec) -> cv2.aruco.CharucoDetector:
    """One per thread and board, because a detector holds buffers of its own."""
    known: dict[BoardSpec, cv2.aruco.CharucoDetector] = _detectors.__dict__.setdefault("known", {})
    if spec not in known:
        known[spec] = cv2.aruco.CharucoDetector(spec.charuco_board())
    return known[spec]


def _detect_charuco(grey: np.ndarray, spec: BoardSpec) -> tuple[np.ndarray, np.ndarray]:
    corners, ids, _, _ = _detector(spec).detectBoard(grey)
    if ids is None or corners is None:
        return np.zeros(0, np.int64), np.zeros((0, 2))
    return ids.ravel().astype(np.int64), corners.reshape(-1, 2).astype(np.float64)


def _detect_checkerboard(grey: np.ndarray, spec: BoardSpec) -> tuple[np.ndarray, np.ndarray]:
    """All inner corners or none; the order starts at the corner whose upper left square is black, where that shows."""
    inner = spec.squares_xy[0] - 1, spec.squares_xy[1] - 1
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_ACCURACY
    found, corners = cv2.findChessboardCornersSB(grey, inner, flags=flags)
    if not found or corners is None:
        return np.zeros(0, np.int64), np.zeros((0, 2))
    grid = _refined(grey, corners.reshape(inner[1], inner[0], 2)).astype(np.float64)
    if spec.turns_are_distinct and _first_inner_square_is_white(grey, grid):
        grid = grid[::-1, ::-1]
    return np.arange(inner[0] * inner[1]), grid.reshape(-1, 2)


def _refined(grey: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Corners at the saddle of the picture itself: three times as exact as the radon detector's own."""
    across = np.linalg.norm(np.diff(grid, axis=1), axis=2).min()
    down = np.linalg.norm(np.diff(grid, axis=0), axis=2).min()
    reach = int(np.clip(0.3 * min(across, down), 2, 10))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-3)
    start = np.ascontiguousarray(grid.reshape(-1, 1, 2), np.float32)
    return cv2.cornerSubPix(grey, start, (reach, reach), (-1, -1), criteria).reshape(grid.shape)


def _first_inner_square_is_white(grey: np.ndarray, grid: np.ndarray) -> bool:
    """Whether squares between corners (r, c) with r + c even are brighter than the others."""
    centres = (grid[:-1, :-1] + grid[1:, :-1] + grid[:-1, 1:] + grid[1:, 1:]) / 4
    column, row = np.round(centres).astype(int).transpose(2, 0, 1)
    brightness = grey[row.clip(0, grey.shape[0] - 1), column.clip(0, grey.shape[1] - 1)].astype(np.float64)
    even = np.add.outer(np.arange(centres.shape[0]), np.arange(centres.shape[1])) % 2 == 0
    return bool(brightness[even].mean() > brightness[~even].mean())


def _on_one_line(places: Float[np.ndarray, "n 2"]) -> bool:
    spread = np.linalg.svd(places - places.mean(0), compute_uv=False)
    return bool(spread[1] < 0.2 * spread[0])


def metres_of(text: str) -> float:
    """Of a length such as `45mm`, `4.5cm` or `0.045m`; InputError for anything else."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(mm|cm|m)", text.strip())
    if match is None:
        raise InputError("a length such as 45mm", repr(text[:50]), "write the number and its unit")
    return float(match[1]) * UNITS_M[match[2]]
