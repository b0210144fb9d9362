"""Colours of all cameras as one of them sees them: from the board's paper and ink, or from a chart of 24 patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from capture.calibration.board import BoardDetection, BoardSpec

FEWEST_SHARED = 2
"""Pictures of the same moment, of camera and others."""
CLIPPED, DARK = 0.95, 0.004
"""Linear values above and below which a patch says nothing."""
SMALLEST_SQUARE_PX = 10.0
INNER = 0.5
"""Share of a black square's side that is looked at; of white ones the strip between print and marker."""
RIDGE = 1e-5
"""Keeps a matrix near a diagonal one, in squared linear units per patch."""
CHART_PATCHES = 24


@dataclass(frozen=True, eq=False)
class ColourMatch:
    """A camera's colours against the reference camera's."""

    matrix: Float[np.ndarray, "3 4"]
    """Linear RGB of the camera, 1 appended, to the reference's."""
    before: float
    """Root-mean-square difference of linear values over the shared patches, unmatched."""
    after: float
    """The same, matched."""
    pictures: int
    """Pictures of this camera that it comes from."""


def linear_rgb(picture: UInt8[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Linear values from 0 to 1 of sRGB grey levels. Source: IEC 61966-2-1."""
    value = picture.astype(np.float64) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def board_greys(
    picture: UInt8[np.ndarray, "h w 3"], detection: BoardDetection, spec: BoardSpec
) -> Float[np.ndarray, "2 3"] | None:
    """Mean linear RGB of the board's paper and of its ink in a picture; None where it is too small or clipped."""
    if len(detection) < 8:
        return None
    pixels_from_board, _ = cv2.findHomography(spec.corners_m[detection.ids, :2], detection.pixels)
    if pixels_from_board is None:
        return None
    seen = spec.corners_m[detection.ids, :2] / spec.square_m
    (left, top), (right, bottom) = seen.min(0).astype(int), seen.max(0).astype(int)
    paper, ink = [], []
    for row in range(top, bottom):
        for column in range(left, right):
            black = (row + column) % 2 == (1 if spec.legacy else 0)
            places = np.add(_places(spec, black), (column, row))
            pixels = cv2.perspectiveTransform((places * spec.square_m).reshape(-1, 1, 2), pixels_from_board)
            (ink if black else paper).append(pixels.reshape(-1, 2))
    if len(paper) < 2 or len(ink) < 2:
        return None
    side_px = np.sqrt(abs(np.linalg.det(pixels_from_board[:2, :2]))) * spec.square_m
    if side_px < SMALLEST_SQUARE_PX:
        return None
    values = [_mean_at(picture, np.concatenate(places)) for places in (paper, ink)]
    greys = np.stack([value for value in values if value is not None]) if all(v is not None for v in values) else None
    return greys if greys is not None and greys[0].max() < CLIPPED and greys[0].min() > DARK else None


def _places(spec: BoardSpec, black: bool) -> Float[np.ndarray, "n 2"]:
    """Where to look inside a square, in squares: away from every edge of the print."""
    if black or not spec.marker_m:
        grid = 0.5 + INNER * (np.arange(5) / 4 - 0.5)
        return np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    strip = (1 - spec.marker_m / spec.square_m) / 4
    along = np.linspace(0.3, 0.7, 5)
    sides = [(along, np.full(5, strip)), (along, np.full(5, 1 - strip))]
    return np.concatenate([np.stack(pair, axis=1) for x, y in sides for pair in ((x, y), (y, x))])


def _mean_at(picture: UInt8[np.ndarray, "h w 3"], pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "3"] | None:
    rows, columns = picture.shape[:2]
    column, row = np.floor(pixels).astype(int).T
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    if inside.sum() < 20:
        return None
    return linear_rgb(picture[row[inside], column[inside]]).mean(0)


def match_greys(
    greys: Mapping[tuple[int, int], Float[np.ndarray, "2 3"]], cameras: int, reference: int
) -> list[ColourMatch | None]:
    """Gains and offsets of each channel from paper and ink, by (camera, moment); diagonal, for greys show no hue.

    The light on the board differs from moment to moment and is the same for all cameras, so that the logarithm of
    paper minus ink is the camera's gain plus the moment's light: one least squares over all, also for cameras that
    share no moment with the reference. None for a camera with fewer than FEWEST_SHARED shared moments.
    """
    moments = sorted({moment for _, moment in greys})
    shared = {m for m in moments if sum(key[1] == m for key in greys) >= 2}
    used = {key: value for key, value in greys.items() if key[1] in shared and (value[0] > value[1]).all()}
    counts = np.bincount([camera for camera, _ in used], minlength=cameras)
    good: Bool[np.ndarray, "camera"] = counts >= FEWEST_SHARED
    good &= _connected_to(used, good, reference)
    used = {key: value for key, value in used.items() if good[key[0]]}
    if not good[reference] or not used:
        return [None] * cameras
    keys = list(used)
    camera, moment = np.array([k[0] for k in keys]), np.array([moments.index(k[1]) for k in keys])
    contrast = np.log(np.stack([used[k][0] - used[k][1] for k in keys]))
    gain = _two_way_medians(contrast, camera, moment, (cameras, len(moments)))
    scale = np.exp(gain[reference] - gain)
    ink = np.stack([used[k][1] for k in keys]) * scale[camera]
    usual = np.stack(
        [np.median(ink[moment == m], axis=0) if (moment == m).any() else np.zeros(3) for m in range(len(moments))]
    )
    offset = np.stack(
        [np.median((usual[moment] - ink)[camera == c], axis=0) if good[c] else np.zeros(3) for c in range(cameras)]
    )
    offset -= offset[reference]
    return [_grey_match(used, c, (scale[c], offset[c]), (scale, offset)) if good[c] else None for c in range(cameras)]


def _connected_to(used: Mapping[tuple[int, int], np.ndarray], good: np.ndarray, reference: int) -> np.ndarray:
    """Cameras that shared moments lead to from the reference."""
    reached, frontier = {reference}, {reference}
    by_moment: dict[int, set[int]] = {}
    for camera, moment in used:
        if good[camera]:
            by_moment.setdefault(moment, set()).add(camera)
    while frontier:
        frontier = {c for cameras in by_moment.values() if cameras & frontier for c in cameras} - reached
        reached |= frontier
    return np.isin(np.arange(len(good)), sorted(reached))


def _two_way_medians(
    values: Float[np.ndarray, "n 3"], camera: np.ndarray, moment: np.ndarray, shape: tuple[int, int]
) -> Float[np.ndarray, "camera 3"]:
    """The cameras' part of values = camera + moment, by robust least squares per channel."""
    cameras, moments = shape
    design = np.zeros((len(values), cameras + moments))
    design[np.arange(len(values)), camera] = 1
    design[np.arange(len(values)), cameras + moment] = 1
    result = np.zeros((cameras, 3))
    for channel in range(3):
        weight, solution = np.ones(len(values)), np.zeros(cameras + moments)
        for _ in range(10):
            root = np.sqrt(weight)
            solution = np.linalg.lstsq(design * root[:, None], values[:, channel] * root, rcond=None)[0]
            residual = values[:, channel] - design @ solution
            spread = max(1.4826 * float(np.median(np.abs(residual))), 1e-6)
            weight = 1 / (1 + (residual / (2 * spread)) ** 2)
        result[:, channel] = solution[:cameras]
    return result


def _grey_match(
    used: Mapping[tuple[int, int], np.ndarray],
    camera: int,
    own: tuple[np.ndarray, np.ndarray],
    everyone: tuple[np.ndarray, np.ndarray],
) -> ColourMatch:
    """The matrix, and how far the camera's greys are from the other cameras' mean at the same moments."""
    scale, offset = everyone
    before, after, pictures = [], [], 0
    for (c, moment), value in used.items():
        if c != camera:
            continue
        pictures += 1
        others = [(k, v) for (k, m), v in used.items() if m == moment and k != camera]
        if others:
            before.append(value - np.mean([v for _, v in others], axis=0))
            mean = np.mean([v * scale[k] + offset[k] for k, v in others], axis=0)
            after.append(value * own[0] + own[1] - mean)
    matrix = np.column_stack([np.diag(own[0]), own[1]])
    return ColourMatch(matrix, _rms(before), _rms(after), pictures)


def _rms(values: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0


def chart_patches(picture: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "24 3"] | None:
    """Mean linear RGB of a chart's 24 patches in their printed order, or None if no chart is found.

    Source: OpenCV's mcc module, detector of the 24-patch chart.
    """
    detector = cv2.mcc.CCheckerDetector.create()
    detector.setColorChartType(cv2.mcc.MCC24)
    if not detector.process(np.ascontiguousarray(picture[..., ::-1]), 1):
        return None
    outlines = np.asarray(detector.getBestColorChecker().getColorCharts()).reshape(-1, 4, 2)
    if len(outlines) != CHART_PATCHES:
        return None
    values = []
    for outline in outlines:
        middle = outline.mean(0)
        area = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillConvexPoly(area, np.round(middle + 0.6 * (outline - middle)).astype(np.int32), 1)
        if not area.any():
            return None
        values.append(linear_rgb(picture[area > 0]).mean(0))
    return np.stack(values)


def match_chart(
    patches: Float[np.ndarray, "24 3"], reference_patches: Float[np.ndarray, "24 3"], pictures: int = 1
) -> ColourMatch | None:
    """A whole 3 x 4 matrix from a chart that both cameras saw under the same light; None if patches are clipped.

    Least squares on linear values, drawn towards plain gains by a weak ridge.
    """
    usable = ((patches < CLIPPED) & (reference_patches < CLIPPED)).all(1)
    if usable.sum() < 12:
        return None
    seen, wanted = np.column_stack([patches[usable], np.ones(usable.sum())]), reference_patches[usable]
    gain = (patches[usable] * wanted).sum(0) / (patches[usable] ** 2).sum(0)
    plain = np.column_stack([np.diag(gain), np.zeros(3)])
    normal = seen.T @ seen + RIDGE * np.eye(4)
    matrix = np.linalg.solve(normal, seen.T @ wanted + RIDGE * plain.T).T
    before, after = _rms([patches[usable] - wanted]), _rms([seen @ matrix.T - wanted])
    return ColourMatch(matrix, before, after, pictures)
