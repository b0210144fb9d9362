"""Scale and offset of a depth sensor, from a board whose plane the adjusted rig knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt16

from geometry.cameras import Camera
from geometry.transforms import RigidTransform

FEWEST_VIEWS, FEWEST_PIXELS = 3, 200
PIXELS_PER_VIEW = 2000
SMALLEST_RANGE = 0.12
"""Of distances, against their median, from which scale and offset are told apart; else only the offset is given."""
LARGEST_COSINE_LOSS = 0.5
"""Boards seen at a smaller cosine are left out: their depth is poor."""
FARTHEST_OFF = 0.1
"""Measurements that differ by more than this share are of something else: a hand, the background."""
ROUNDS = 15


@dataclass(frozen=True, eq=False)
class DepthSamples:
    """What a sensor measured on the board in one picture, and what it should have."""

    measured_m: Float[np.ndarray, "n"]
    """Counts times the unit, uncorrected."""
    true_m: Float[np.ndarray, "n"]
    """The board's plane at the same pixels."""


@dataclass(frozen=True)
class DepthCorrection:
    """Metres = counts * unit * scale + offset, with the confidence of both."""

    scale: float
    """1 if the distances are too alike to tell."""
    scale_sigma: float
    """One standard deviation; 0 if the scale was not estimated."""
    offset_m: float
    """Added after scaling."""
    offset_sigma_m: float
    """One standard deviation of the whole correction at the median distance, metres."""
    before_mm: float
    """Root mean square of the views' mean errors, millimetres, uncorrected."""
    after_mm: float
    """The same, corrected."""
    views: int
    """Pictures it comes from."""


def sample_depth(
    camera: Camera,
    normalised: Float[np.ndarray, "h w 2"],
    counts: UInt16[np.ndarray, "h w"],
    corners_px: Float[np.ndarray, "n 2"],
    camera_from_board: RigidTransform,
) -> DepthSamples | None:
    """Measured and true depth inside the corners' hull, whose rim is left out; None where too little is measured.

    `normalised` are the pixel centres of the sensor as it is calibrated now.
    """
    assert camera.depth_unit_m is not None
    normal = camera_from_board.rotation[:, 2]
    middle = camera_from_board.translation / np.linalg.norm(camera_from_board.translation)
    if abs(normal @ middle) < LARGEST_COSINE_LOSS:
        return None
    area = np.zeros(counts.shape, np.uint8)
    hull = cv2.convexHull(corners_px.astype(np.float32)).reshape(-1, 2)
    cv2.fillConvexPoly(area, np.round(hull - 0.5).astype(np.int32), 1)
    area = cv2.erode(area, np.ones((5, 5), np.uint8))
    rows, columns = np.nonzero((area > 0) & (counts > 0))
    if len(rows) < FEWEST_PIXELS:
        return None
    some = np.linspace(0, len(rows) - 1, min(PIXELS_PER_VIEW, len(rows))).astype(int)
    rows, columns = rows[some], columns[some]
    rays = np.concatenate([normalised[rows, columns], np.ones((len(rows), 1))], axis=1)
    true_m = (normal @ camera_from_board.translation) / (rays @ normal)
    measured_m = counts[rows, columns] * camera.depth_unit_m
    near = np.abs(measured_m / true_m - 1) < FARTHEST_OFF
    return DepthSamples(measured_m[near], true_m[near]) if near.sum() >= FEWEST_PIXELS else None


def fit_depth_correction(samples: Sequence[DepthSamples]) -> DepthCorrection | None:
    """Robust line through measured and true depth; None from fewer than FEWEST_VIEWS pictures.

    Pixels of one picture share their errors (the board's pose among them), so the confidence counts pictures: it is the
    sandwich estimate with a picture as a cluster.
    """
    if len(samples) < FEWEST_VIEWS:
        return None
    measured = np.concatenate([sample.measured_m for sample in samples])
    true = np.concatenate([sample.true_m for sample in samples])
    cluster = np.repeat(np.arange(len(samples)), [len(sample.true_m) for sample in samples])
    middle = float(np.median(measured))
    low, high = np.percentile(measured, [5, 95])
    with_scale = (high - low) / middle >= SMALLEST_RANGE and len(samples) > FEWEST_VIEWS
    # Measured over true, not the other way round: the noise is in what was measured, and a noisy abscissa would flatten
    # the line. Around the median, slope and height hardly correlate.
    design = np.column_stack([true - middle, np.ones(len(true))])[:, 0 if with_scale else 1 :]
    error = measured - true
    weight, values = np.ones(len(error)), np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        normal = (design * weight[:, None]).T @ design
        values = np.linalg.solve(normal, (design * weight[:, None]).T @ error)
        residual = error - design @ values
        spread = max(1.4826 * float(np.median(np.abs(residual - np.median(residual)))), 1e-7)
        weight = 1 / (1 + (residual / (3 * spread)) ** 2)
    inverse = np.linalg.inv((design * weight[:, None]).T @ design)
    score = design * (weight * (error - design @ values))[:, None]
    per_view = np.stack([np.bincount(cluster, column, len(samples)) for column in score.T], axis=1)
    covariance = inverse @ per_view.T @ per_view @ inverse * len(samples) / (len(samples) - design.shape[1])
    slope = 1 + float(values[0]) if with_scale else 1.0
    # measured = middle + slope (true - middle) + height, solved for true.
    scale, offset_m = 1 / slope, middle - (middle + float(values[-1])) / slope
    sigma = np.sqrt(np.diag(covariance))
    return DepthCorrection(
        scale,
        float(sigma[0]) if with_scale else 0.0,
        offset_m,
        float(sigma[-1]),
        before_mm=_view_rms_mm(error, cluster),
        after_mm=_view_rms_mm(measured * scale + offset_m - true, cluster),
        views=len(samples),
    )


def _view_rms_mm(error_m: Float[np.ndarray, "n"], cluster: np.ndarray) -> float:
    means = [float(np.median(error_m[cluster == view])) for view in np.unique(cluster)]
    return 1e3 * float(np.sqrt(np.mean(np.square(means))))
