"""What is left over when a frame is fitted: by term, so that a bad frame names itself, and by camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from flame_fitting.evidence import EvidenceCameras
from flame_fitting.losses.landmarks import landmark_residuals
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.scene import FrameObservations
from flame_fitting.tracking import Tracker

TERMS = ("landmark", "depth", "gaze", "pairs", "prior")
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
    stage, scene = tracker.stages[-1], tracker.scene
    sums: dict[str, tuple[float, int]] = {}
    for term in scene.terms(state, seen, stage):
        total, count = sums.get(term.name, (0.0, 0))
        sums[term.name] = (total + float(term.rows.residual @ term.rows.residual), count + len(term.rows.residual))
    losses |= {name: total / count for name, (total, count) in sums.items() if count}
    losses["prior"] = 2 * tracker.prior.cost(state.curves) / len(state.curves)
    for target in seen.landmarks:
        found = landmark_residuals(scene.marks, scene.embedding.spread_m.double(), state, target)
        use = (found.trust > 0).numpy()
        if use.any():
            focal = cameras.focal_px(target.camera_id)
            colour[cameras.colour.index(target.camera_id)] = focal * float(
                np.median(found.error.norm(dim=1).numpy()[use])
            )
    face, medians = scene.face, []
    for image in seen.depth:
        gathered = scene.gathered(state, (image,), stage.gate)
        measured = face & (gathered.weight > 1)
        if measured.any():
            depth[cameras.depth.index(image.camera.id)] = np.median(np.abs(gathered.residual_m[measured]))
            medians.append(np.abs(gathered.residual_m[measured]))
    median = float(np.median(np.concatenate(medians))) if medians else np.nan
    return FrameResiduals(views, np.array([losses[name] for name in TERMS]), median, colour, depth)
