"""What is left over when a frame is fitted: by term, so that a bad frame names itself, and by camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from flame_fitting.evidence import EvidenceCameras
from flame_fitting.losses.gaze import gaze_residuals
from flame_fitting.losses.landmarks import LandmarkResiduals, landmark_residuals
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.losses.point_to_plane import gather_views
from flame_fitting.scene import FrameObservations, SeenFrames
from flame_fitting.tracking import Tracker

TERMS = ("landmark", "depth", "colour", "response", "gaze", "closure", "pairs", "prior")
"""Columns of `term_loss`."""


@dataclass(frozen=True, eq=False)
class FrameResiduals:
    """What one fitted frame leaves unexplained."""

    views: int
    """In how many views a face was found."""
    term_loss: Float[np.ndarray, "n"]
    """Mean squared residual of each of TERMS in sigmas; nan where a term had no part."""
    depth_m: float
    """Median distance of the depth to the face, metres; nan without."""
    landmarks_px: Float[np.ndarray, "c"]
    """Median distance of the landmarks in each colour camera, pixels; nan where none was seen."""
    camera_depth_m: Float[np.ndarray, "d"]
    """Median distance of each depth camera's pixels to the face, metres; nan where none was seen."""


def frame_residuals(
    tracker: Tracker, state: HeadState | None, seen: FrameObservations, cameras: EvidenceCameras
) -> FrameResiduals:
    """Of a frame at its final state; all nan where it has none."""
    colour, depth = np.full(len(cameras.colour), np.nan), np.full(len(cameras.depth), np.nan)
    losses = dict.fromkeys(TERMS, np.nan)
    views = len(seen.landmarks)
    if state is None:
        return FrameResiduals(views, np.array(list(losses.values())), np.nan, colour, depth)
    stage, scene = tracker.coupled, tracker.scene.on_cpu
    batch, stacked = HeadState.stacked([state]), SeenFrames.of([seen])
    sums: dict[str, tuple[float, int]] = {}
    for term in scene.terms(batch, stacked, stage):
        total, count = sums.get(term.name, (0.0, 0))
        residual = term.rows.residual[term.rows.measured]
        sums[term.name] = (total + float(residual @ residual), count + len(residual))
    losses |= {name: total / count for name, (total, count) in sums.items() if count}
    losses["prior"] = 2 * tracker.prior.cost(state.curves) / len(state.curves)
    if stacked.landmarks is not None:
        found = landmark_residuals(scene.marks, scene.embedding.spread_m.double(), batch, stacked.landmarks)
        losses["landmark"] = _mean_square(found)
        for view, target in enumerate(seen.landmarks):
            use = found.trust[0, view] > 0
            if use.any():
                off = torch.linalg.vector_norm(found.error[0, view][use], dim=-1).numpy()
                colour[cameras.colour.index(target.camera_id)] = cameras.focal_px(target.camera_id) * np.median(off)
    if stacked.irises is not None and stage.gaze:
        anchors = scene.irises.on(scene.surface)
        losses["gaze"] = _mean_square(gaze_residuals(anchors, batch, scene.centre(batch), stacked.irises))
    medians = []
    if stacked.depth is not None:
        gathered = gather_views(scene.surface.in_world(batch), scene.drawn, stacked.depth, stage.gate)
        weight, distance = gathered.weight.numpy(), np.abs(gathered.residual_m.numpy())
        for image, measured, off in zip(seen.depth, scene.face & (weight > 1), distance, strict=True):
            if measured.any():
                depth[cameras.depth.index(image.camera.id)] = np.median(off[measured])
                medians.append(off[measured])
    median = float(np.median(np.concatenate(medians))) if medians else np.nan
    return FrameResiduals(views, np.array([losses[name] for name in TERMS]), median, colour, depth)


def _mean_square(found: LandmarkResiduals) -> float:
    """Of all errors that have a vote, two a landmark and view."""
    votes = found.trust > 0
    return float(found.squares[votes].sum()) / (2 * int(votes.sum())) if votes.any() else np.nan
