"""Which board is in these pictures: its dictionary, its layout and the size of its markers against its squares."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float

from capture.calibration.board import DICTIONARIES, MOST_SQUARES, BoardSpec, Picture, detect_board, grey_picture
from geometry.errors import InputError

FAMILIES = (
    "DICT_4X4_1000", "DICT_5X5_1000", "DICT_6X6_1000", "DICT_7X7_1000", "DICT_ARUCO_ORIGINAL",
    "DICT_ARUCO_MIP_36h12", "DICT_APRILTAG_16h5", "DICT_APRILTAG_25h9", "DICT_APRILTAG_36h10", "DICT_APRILTAG_36h11",
)  # fmt: skip
"""The widest dictionary of each family: OpenCV's smaller ones are its first markers."""
FEWEST_MARKERS = 6
PLENTY_OF_MARKERS = 12
"""In one picture: no other dictionary has so many by chance."""
LAYOUT_PICTURES = 3
"""Richest pictures, from which the layout is told."""
LARGEST_MISFIT = 0.06
"""Of marker corners from their places, in squares; another layout misses by more than half a square."""
CHECKERBOARD_SIDES = range(4, 16)


def guess_board(pictures: Sequence[Picture], square_m: float) -> BoardSpec:
    """The board that most of the pictures show, its squares being `square_m` long, which no picture tells.

    Rows beyond the last marker that any picture shows are not known of, and markers come out some per cent small, as
    blurred pictures show them; the inner squares, which calibrate, do not depend on either. Raises InputError if no
    board is found.

    """
    greys = [grey_picture(picture) for picture in pictures]
    spec = _guess_charuco(greys, square_m) or _guess_checkerboard(greys, square_m)
    if spec is None:
        got = f"neither markers of a known dictionary nor a checkerboard in {len(greys)} pictures"
        raise InputError("pictures of a ChArUco board or a checkerboard", got, "name the board with --board")
    return spec


def _guess_charuco(greys: Sequence[np.ndarray], square_m: float) -> BoardSpec | None:
    family, markers = "", {}
    for name in FAMILIES:
        detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(DICTIONARIES[name]))
        found = {}
        for number, grey in enumerate(greys):
            corners, ids, _ = detector.detectMarkers(grey)
            if ids is not None and len(ids) >= FEWEST_MARKERS:
                quads = np.stack(corners).reshape(-1, 4, 2).astype(np.float64)
                found[number] = (ids.ravel().astype(np.int64), quads)
        if sum(len(ids) for ids, _ in found.values()) > sum(len(ids) for ids, _ in markers.values()):
            family, markers = name, found
        if max((len(ids) for ids, _ in found.values()), default=0) >= PLENTY_OF_MARKERS:
            break
    if not markers:
        return None
    richest = dict(sorted(markers.items(), key=lambda item: -len(item[1][0]))[:LAYOUT_PICTURES])
    fits = [
        (misfit, columns, legacy, ratio)
        for columns in range(3, MOST_SQUARES + 1)
        for legacy in (False, True)
        for misfit, ratio in [_layout_misfit(richest, columns, legacy)]
    ]
    misfit, columns, white_first, ratio = min(fits)
    if misfit > LARGEST_MISFIT:
        return None
    last = max(int(_consistent(ids, quads, columns, white_first)[0].max()) for ids, quads in markers.values())
    rows = _row_of(last, columns, white_first) + 1
    # The pattern whose first square is white is OpenCV's only with an even number of rows, legacy.
    if white_first and rows % 2 == 1:
        rows += 1
    dictionary = _smallest_dictionary(family, columns * rows // 2)
    return BoardSpec("charuco", (columns, rows), square_m, round(ratio, 3) * square_m, dictionary, white_first)


def _row_lengths(columns: int, white_first: bool) -> tuple[int, int]:
    """Markers in even and in odd rows."""
    return ((columns + 1) // 2, columns // 2) if white_first else (columns // 2, (columns + 1) // 2)


def _row_of(marker: int, columns: int, white_first: bool) -> int:
    even, odd = _row_lengths(columns, white_first)
    pairs, rest = divmod(marker, even + odd)
    return 2 * pairs + (1 if rest >= even else 0)


def _marker_centres(ids: np.ndarray, columns: int, white_first: bool) -> Float[np.ndarray, "n 2"]:
    """Centres in squares from the board's corner: markers are numbered along the rows, in the white squares."""
    even, odd = _row_lengths(columns, white_first)
    pairs, rest = np.divmod(ids, even + odd)
    in_odd_row = rest >= even
    along = np.where(in_odd_row, rest - even, rest)
    shift = np.where(in_odd_row, 1 if white_first else 0, 0 if white_first else 1)
    return np.stack([2 * along + shift + 0.5, 2 * pairs + in_odd_row + 0.5], axis=1)


def _consistent(
    ids: np.ndarray, quads: np.ndarray, columns: int, white_first: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The markers whose centres lie where the layout puts them, and `board_from_picture` in squares."""
    places = _marker_centres(ids, columns, white_first)
    board_from_picture, inliers = cv2.findHomography(quads.mean(1), places, cv2.RANSAC, 0.3, maxIters=100)
    if board_from_picture is None:
        return ids[:0], quads[:0], None
    kept = inliers.ravel().astype(bool)
    return ids[kept], quads[kept], board_from_picture


def _layout_misfit(
    markers: dict[int, tuple[np.ndarray, np.ndarray]], columns: int, white_first: bool
) -> tuple[float, float]:
    """Median misfit of the markers' corners in squares, all markers counted, and their side in squares."""
    misfits, sides = [], []
    for ids, quads in markers.values():
        kept, kept_quads, board_from_picture = _consistent(ids, quads, columns, white_first)
        misfits += [1.0] * (len(ids) - len(kept))
        if board_from_picture is None:
            continue
        corners = cv2.perspectiveTransform(kept_quads.reshape(-1, 1, 2), board_from_picture).reshape(-1, 4, 2)
        offset = corners - _marker_centres(kept, columns, white_first)[:, None]
        side = float(np.median(np.abs(offset)) * 2)
        upright = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
        misfits += np.linalg.norm(offset - upright, axis=2).max(1).tolist()
        sides += [side] * len(kept)
    return float(np.median(misfits)), float(np.median(sides)) if sides else 0.0


def _smallest_dictionary(family: str, markers: int) -> str:
    if not family.endswith("_1000"):
        return family
    stem = family.removesuffix("1000")
    return next(
        name for name in (f"{stem}{size}" for size in (50, 100, 250, 1000)) if markers <= int(name.split("_")[2])
    )


def _guess_checkerboard(greys: Sequence[np.ndarray], square_m: float) -> BoardSpec | None:
    """The largest checkerboard that one of the pictures shows whole."""
    for grey in greys:
        found, _, meta = cv2.findChessboardCornersSBWithMeta(
            grey, (3, 3), cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_LARGER
        )
        if not found or meta is None:
            continue
        rows, columns = (int(side) + 1 for side in meta.shape[:2])
        if columns in CHECKERBOARD_SIDES and rows in CHECKERBOARD_SIDES:
            spec = BoardSpec("checkerboard", (columns, rows), square_m)
            if len(detect_board(grey, spec)):
                return spec
    return None
