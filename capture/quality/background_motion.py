"""Whether the static background of a camera's pictures moved: the camera was bumped, or creeps as it warms up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from capture.quality.sampling import SampledFrames
from capture.quality.trend import SAMPLES_NEEDED, fit_trend

STATIC_GREY = 3.0
"""Usual change between two samples, grey levels after blurring: more than a camera's noise."""
STATIC_PX = 0.25
"""Motion between two samples that an edge may make and still count as background: a living face moves more."""
FEATURES_MOST = 600
FEATURES_LEAST = 24
OUTER_CELLS_LEAST = 4
"""Of the eight outer cells of a 3 x 3 grid: a background surrounds the subject, whose shoulders fill three at most."""
FEATURES_IN_CELL = 3
ROUND_TRIP_PX = 0.5
"""A feature that does not come back to where it started is lost."""
CONSENSUS_PX = 0.7
CONSENSUS_LEAST = 0.6
"""Share of features that must move as one, or the sample says nothing."""
JUMP_LEAST_PX = 0.15
"""Smaller steps are not told from noise."""


@dataclass(frozen=True, eq=False)
class BackgroundMotion:
    """How far the background moved in the pictures of one camera."""

    time_s: Float[np.ndarray, "n"]
    """Of the samples, since the stream's first frame."""
    shift_px: Float[np.ndarray, "n"]
    """Length of the background's mean shift against the first sample, the camera's pixels; NaN: not told."""
    jump_px: float
    """At once; 0 if there was none."""
    jump_frame: int
    """The first frame after it; -1 if there was none."""
    jump_time_s: float
    """Of that frame, since the stream's first; NaN if there was none."""
    drift_px: float
    """Crept over the whole take, a jump taken out."""
    features: int
    """Background points that were followed."""


def measure_background_motion(
    samples: SampledFrames, read_grey: Callable[[int], UInt8[np.ndarray, "h w"]] | None = None
) -> BackgroundMotion | str:
    """The background's motion, or in words why it cannot be told.

    Background is what changes less between most pairs of samples than a living face does, so that one jump or a slow
    creep does not turn it into foreground. Corners in it are followed from the first sample to each other one, there
    and back; what most of them did together is the camera's motion. `read_grey` reads a further frame by its number,
    as the samples are, to find the very frame of a jump.
    Source: Bouguet 2000, "Pyramidal implementation of the Lucas Kanade feature tracker"; round trip: Kalal et al. 2010.
    """
    if len(samples.index) < SAMPLES_NEEDED:
        return f"{len(samples.index)} frames, of which {SAMPLES_NEEDED} are needed"
    pictures = samples.pictures
    corners = cv2.goodFeaturesToTrack(
        pictures[0], FEATURES_MOST, 0.01, 7, mask=static_mask(pictures).astype(np.uint8), blockSize=5
    )
    points = np.zeros((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)
    if len(points) < FEATURES_LEAST or _outer_cells(points, pictures.shape[1:]) < OUTER_CELLS_LEAST:
        return f"no background with detail around the subject ({len(points)} static points)"
    shifts = np.array([follow(pictures[0], picture, points) for picture in pictures]) * samples.scale
    told = np.isfinite(shifts.sum(axis=1))
    if told.mean() < 0.5:
        return f"the static points did not move as one in {np.mean(~told):.0%} of the frames looked at"
    trend = fit_trend(samples.time_s, shifts)
    if trend is None:
        return "too few frames in which the static points moved as one"
    jump_px = float(np.linalg.norm(trend.step))
    frame, time_s = -1, float("nan")
    if jump_px < JUMP_LEAST_PX:
        jump_px = 0.0
    else:
        at = trend.step_at
        frame = int(samples.index[at])
        if read_grey is not None:
            before = int(samples.index[np.flatnonzero(told[:at])[-1]])
            frame = _first_after(pictures[0], points, (before, frame), read_grey)
        time_s = float(np.interp(frame, samples.index, samples.time_s))
    length_px = np.linalg.norm(shifts, axis=1)
    return BackgroundMotion(
        samples.time_s, length_px, jump_px, frame, time_s, float(np.linalg.norm(trend.drift)), len(points)
    )


def static_mask(pictures: UInt8[np.ndarray, "n h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels that change between most pairs of samples by no more than noise and a quarter of a pixel's motion."""
    first = before = _blurred(pictures[0])
    changes = []
    for picture in pictures[1:]:
        after = _blurred(picture)
        # A lamp that flickers moves nothing: levels are compared at one brightness.
        gain = np.float32(max(float(np.median(before)), 1.0) / max(float(np.median(after)), 1.0))
        changes.append(np.abs(gain * after - before).astype(np.float16))
        before = after
    slope = cv2.magnitude(cv2.Sobel(first, cv2.CV_32F, 1, 0), cv2.Sobel(first, cv2.CV_32F, 0, 1)) / 8
    usual = _median_over_time(changes)
    static = (usual <= STATIC_GREY + STATIC_PX * slope).astype(np.uint8)
    # A corner needs static surroundings, or it is followed by what passes it.
    return cv2.erode(static, np.ones((9, 9), np.uint8)) > 0


def _blurred(picture: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    return cv2.GaussianBlur(picture, (0, 0), 1.2).astype(np.float32)


def _median_over_time(changes: list[np.ndarray]) -> Float[np.ndarray, "h w"]:
    """Row by row in blocks, so that no second copy of all pictures is made."""
    rows = changes[0].shape[0]
    blocks = [
        np.median(np.stack([change[start : start + 64] for change in changes]).astype(np.float32), axis=0)
        for start in range(0, rows, 64)
    ]
    return np.concatenate(blocks)


def follow(
    first: UInt8[np.ndarray, "h w"], other: UInt8[np.ndarray, "h w"], points: Float[np.ndarray, "p 2"]
) -> Float[np.ndarray, "2"]:
    """Mean shift of what most points did together (a roll is allowed for), pixels; NaN if they differ."""
    options = {"winSize": (21, 21), "maxLevel": 4}
    there, found, _ = cv2.calcOpticalFlowPyrLK(first, other, points, points.copy(), **options)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(other, first, there, points.copy(), **options)
    kept = (found.ravel() > 0) & (found_back.ravel() > 0)
    kept &= np.linalg.norm(back - points, axis=1) < ROUND_TRIP_PX
    if kept.sum() < max(FEATURES_LEAST // 2, CONSENSUS_LEAST * len(points)):
        return np.full(2, np.nan)
    matrix, agreed = cv2.estimateAffinePartial2D(
        points[kept], there[kept], method=cv2.RANSAC, ransacReprojThreshold=CONSENSUS_PX
    )
    if matrix is None or agreed.mean() < CONSENSUS_LEAST:
        return np.full(2, np.nan)
    moved = (there - points)[kept][agreed.ravel() > 0]
    return np.median(moved, axis=0).astype(np.float64)


def _first_after(
    first: UInt8[np.ndarray, "h w"],
    points: Float[np.ndarray, "p 2"],
    between: tuple[int, int],
    read_grey: Callable[[int], UInt8[np.ndarray, "h w"]],
) -> int:
    """The first frame after a jump between two frames, by bisection; decodes as many as their distance has digits."""
    before, after = between
    start, end = (follow(first, read_grey(t), points) for t in between)
    while after - before > 1:
        middle = (before + after) // 2
        here = follow(first, read_grey(middle), points)
        if not np.isfinite(here).all():
            break
        if np.linalg.norm(here - start) < np.linalg.norm(here - end):
            before = middle
        else:
            after = middle
    return after


def _outer_cells(points: Float[np.ndarray, "p 2"], size_hw: tuple[int, ...]) -> int:
    """How many of the eight outer cells of a 3 x 3 grid hold points."""
    cells = np.minimum(points[:, ::-1] * 3 / np.array(size_hw), 2.999).astype(int)
    held = np.bincount(cells[:, 0] * 3 + cells[:, 1], minlength=9) >= FEATURES_IN_CELL
    return int(held.sum() - held[4])
