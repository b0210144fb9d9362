"""How well the cameras of a rig agree about what they see: the proof of a calibration on any recording.

A calibration's own reprojection error says how well it fits the pictures that it was made from. These figures say
whether it still holds: depth cameras measure the same surface at the same place, and a point of one colour picture
lies on its epipolar line in the next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np
from jaxtyping import Shaped

from capture.depth_agreement import Disagreement, compare_depth, depth_view
from capture.epipolar import Matches, colour_view, epipolar_residuals_px, match_features, neighbours
from geometry.cameras import Camera
from geometry.rigs import Rig

PARTNERS_MOST = 6
"""Depth cameras that each one is compared with: those that look most alike."""
POINTS_LEAST = 200
"""On a surface that both see, over all frames, or nothing is said."""
MATCHES_LEAST = 24
"""Of features between two colour cameras, over all frames, or nothing is said."""

THREADS = 4

Pair = tuple[Camera, Camera]
View = TypeVar("View")
FramesOf = Callable[[str], Iterable[Shaped[np.ndarray, "h w *c"] | None]]
"""Frames of a camera by its id: of the same few moments, in the same order for every camera; None: missing."""


@dataclass(frozen=True)
class ConsistencyFigures:
    """How well one camera agrees with the others; None where it could not be told."""

    depth_m: float | None = None
    """Depth cameras: median distance along z to what the others measured at the same places, metres."""
    depth_bias_m: float | None = None
    """The same with its sign, the median over its partners: positive, it measures farther than the others, metres."""
    depth_own_m: float | None = None
    """The absolute bias that at least half of its partners agree is no larger: a lone wrong camera stands out by it."""
    depth_partners: int = 0
    """Depth cameras that saw the same surface."""
    epipolar_px: float | None = None
    """Colour cameras: median distance of matched features from their epipolar lines, pixels."""
    epipolar_own_px: float | None = None
    """The residual that at least half of its partners agree is no larger, pixels."""
    epipolar_partners: int = 0
    """Colour cameras with enough matches."""


def measure_consistency(rig: Rig, frames_of: FramesOf) -> Mapping[str, ConsistencyFigures]:
    """Agreement of every camera with its neighbours, by camera; uncalibrated cameras get no figures.

    Two or three moments are enough (a second for eight cameras of 720p colour and 640x576 depth). Store `depth_m` as
    `Camera.depth_consistency_m`. Depth is compared where both cameras see the same surface from its front; a surface
    that one of them cannot see, or sees the other side of, does not count.
    """
    depth_cameras = [camera for camera in rig.depth if camera.is_calibrated]
    colour_cameras = [camera for camera in rig.rgb if camera.is_calibrated]
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        depth = _depth_pairs(_alike(depth_cameras, PARTNERS_MOST), frames_of, pool)
        colour = _colour_pairs(neighbours(colour_cameras), frames_of, pool)
    figures = {}
    for camera in rig.cameras:
        found = ConsistencyFigures()
        if own := depth.get(camera.id):
            biases = np.array([pair.bias_m for pair in own])
            distances = np.concatenate([pair.difference_m for pair in own])
            found = replace(
                found,
                depth_m=float(np.median(np.abs(distances))),
                depth_bias_m=float(np.median(biases)),
                depth_own_m=_half_agree(np.abs(biases)),
                depth_partners=len(own),
            )
        if residuals := colour.get(camera.id):
            found = replace(
                found,
                epipolar_px=float(np.median(np.concatenate(residuals))),
                epipolar_own_px=_half_agree(np.array([np.median(pair) for pair in residuals])),
                epipolar_partners=len(residuals),
            )
        figures[camera.id] = found
    return figures


def _half_agree(values: np.ndarray) -> float:
    """The lower median: of two partners, one of which is wrong, the other decides."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def _depth_pairs(pairs: list[Pair], frames_of: FramesOf, pool: Executor) -> Mapping[str, list[Disagreement]]:
    """Of every depth camera, one entry per partner: itself minus the partner."""
    apart_m: dict[tuple[str, str], list[np.ndarray]] = {}
    both_ways = [*pairs, *((b, a) for a, b in pairs)]
    for views in _moments(pairs, frames_of, depth_view, pool):
        seen = [(a.id, b.id) for a, b in both_ways if a.id in views and b.id in views]
        compared = pool.map(lambda ids, views=views: compare_depth(views[ids[0]], views[ids[1]]), seen)
        for ids, pair in zip(seen, compared, strict=True):
            apart_m.setdefault(ids, []).append(pair.difference_m)
    found: dict[str, list[Disagreement]] = {}
    for (name, _), differences_m in apart_m.items():
        difference_m = np.concatenate(differences_m)
        if len(difference_m) >= POINTS_LEAST:
            found.setdefault(name, []).append(Disagreement(difference_m))
    return found


def _colour_pairs(pairs: list[Pair], frames_of: FramesOf, pool: Executor) -> Mapping[str, list[np.ndarray]]:
    """Of every colour camera, one entry per partner: residuals of the matches in pixels."""
    matches: dict[tuple[str, str], list[Matches]] = {}
    for views in _moments(pairs, frames_of, colour_view, pool):
        seen = [(a.id, b.id) for a, b in pairs if a.id in views and b.id in views]
        matched = pool.map(lambda ids, views=views: match_features(views[ids[0]], views[ids[1]]), seen)
        for ids, pair in zip(seen, matched, strict=True):
            matches.setdefault(ids, []).append(pair)
    found: dict[str, list[np.ndarray]] = {}
    for a, b in pairs:
        residuals_px = epipolar_residuals_px(a, b, matches.get((a.id, b.id), []))
        if len(residuals_px) >= MATCHES_LEAST:
            for camera in (a, b):
                found.setdefault(camera.id, []).append(residuals_px)
    return found


def _moments(
    pairs: list[Pair], frames_of: FramesOf, view_of: Callable[[Camera, np.ndarray], View], pool: Executor
) -> Iterator[dict[str, View]]:
    """What every camera of some pairs shows, moment by moment, so that the frames of one moment alone are held."""
    cameras = {camera.id: camera for pair in pairs for camera in pair}
    for frames in zip(*(frames_of(name) for name in cameras), strict=True) if cameras else ():
        held = [(camera, frame) for camera, frame in zip(cameras.values(), frames, strict=True) if frame is not None]
        views = pool.map(lambda item: view_of(*item), held)
        yield {camera.id: view for (camera, _), view in zip(held, views, strict=True)}


def _alike(cameras: list[Camera], most: int) -> list[Pair]:
    """Pairs of cameras, each with those that look most nearly the same way."""
    if len(cameras) <= most + 1:
        return list(combinations(cameras, 2))
    axes = np.stack([camera.world_from_camera.rotation[:, 2] for camera in cameras])
    nearest = np.argsort(-(axes @ axes.T), axis=1, kind="stable")[:, : most + 1]
    pairs = {(min(i, int(j)), max(i, int(j))) for i, row in enumerate(nearest) for j in row if i != j}
    return [(cameras[i], cameras[j]) for i, j in sorted(pairs)]
