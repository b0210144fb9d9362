"""How long the lens of an uncalibrated camera is, from how strongly a head's near parts are enlarged.

A picture of a head taken from near and one taken from far with a longer lens differ by perspective alone: nearer, the
nose is larger against the ears. Landmarks show it a little, and better when the head turns. Focal lengths are tried
one after the other; for each, identity, curves and poses of the key frames are solved as usual, and what is left of
the landmarks tells how probable that lens is. A prior says which lenses are usual, because a head that never turns and
whose owner is unknown tells almost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from flame_fitting.evidence import Evidence, ViewLandmarks
from flame_fitting.key_frames import MIN_SEEN, KeyFrames, first_states
from flame_fitting.losses.landmarks import LandmarkTargets, landmark_residuals
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.models.plain_model import Head
from flame_fitting.person import choose_key_frames
from flame_fitting.scene import FrameObservations, HeadScene
from flame_fitting.solver import HeadPrior
from flame_fitting.stages import FAR, Stage
from geometry.cameras import GUESSED_FOCAL, Camera

FOCAL, SIGMA = "focal_px_", "sigma_focal_px_"
"""Names of metrics, before a camera's id."""
POSED_BY = 0.2
"""Confidence of a landmark that helps to pose a head."""
USUAL_FOCAL = (GUESSED_FOCAL, 0.35)
"""Median in picture widths, and standard deviation of the logarithm: webcams have 0.8 to 1.1, telephones upright 1.2 to
1.5, portrait lenses 1.5 to 2.5."""
INDEPENDENT_SHARE = 0.3
"""Errors of neighbouring landmarks and of consecutive frames go together: each row counts as so much of one."""
FACE_MODES = 40
"""Modes of identity that are solved for at each focal length: with more, shape stands in for perspective."""
MAX_VIEWS = 6
"""Of the key frames: a second or two of work each, and more of one head tell hardly more."""
TRIED = 9
"""Focal lengths on a first, even grid over the logarithm."""
REACH = 2.5
"""How far the grid reaches, in the prior's standard deviations."""


@dataclass(frozen=True)
class FocalEstimate:
    """The focal length of one camera."""

    focal_px: float
    """The most probable one, pixels."""
    low_px: float
    """One standard deviation shorter, pixels."""
    high_px: float
    """One standard deviation longer, pixels."""
    from_prior: float
    """Share of its precision that comes from what lenses are usual: 1, the pictures say nothing; 0, they say it all."""

    @property
    def uncertainty(self) -> float:
        """Standard deviation as a share of the focal length."""
        return float(np.sqrt(self.high_px / self.low_px) - 1)


def estimate_focal_length(head: Head, views: list[ViewLandmarks], prior: HeadPrior) -> FocalEstimate:
    """The focal length of one camera from the landmarks that it saw in several frames.

    The principal point is taken to be the picture's middle, and the lens to be free of distortion. Raises InputError
    when no view has enough landmarks to pose a head.
    """
    width = views[0].camera.image_size_hw[1]
    median, sigma = np.log(USUAL_FOCAL[0] * width), USUAL_FOCAL[1]
    logs = median + np.linspace(-REACH, REACH, TRIED) * sigma
    scene = HeadScene.of(head)
    costs = np.array([_misfit(scene, views, float(np.exp(log)), prior) for log in logs])
    return most_probable(logs, INDEPENDENT_SHARE * costs, median, sigma)


def lens_metrics(head: Head, evidence: Evidence, cameras: Sequence[Camera], prior: HeadPrior) -> dict[str, float]:
    """`focal_px_<camera>` of every uncalibrated one, and `sigma_focal_px_<camera>`, its standard deviation; pixels.

    Cameras that never saw enough of a face to pose a head keep the focal length that they have, and are not named.
    """
    metrics: dict[str, float] = {}
    unknown = [camera for camera in cameras if not camera.is_calibrated]
    chosen = choose_key_frames(evidence, MAX_VIEWS) if unknown else []
    for camera in unknown:
        seen = [view for frame in chosen for view in evidence.landmarks(frame) if view.camera.id == camera.id]
        views = [view for view in seen if (view.confidence > POSED_BY).sum() >= 2 * MIN_SEEN]
        if views:
            found = estimate_focal_length(head, views, prior)
            metrics |= {FOCAL + camera.id: found.focal_px, SIGMA + camera.id: found.uncertainty * found.focal_px}
    return metrics


def lenses_named(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Those of a result's metrics that are about lenses."""
    return {name: float(value) for name, value in metrics.items() if name.startswith((FOCAL, SIGMA))}


def fitted_cameras(cameras: Sequence[Camera], metrics: Mapping[str, Any]) -> tuple[Camera, ...]:
    """Cameras with the focal lengths that metrics name; the others as they are."""
    named = [(camera, metrics.get(FOCAL + camera.id)) for camera in cameras]
    return tuple(camera if focal is None else with_focal_length(camera, float(focal)) for camera, focal in named)


def most_probable(
    logs: Float[np.ndarray, "n"], costs: Float[np.ndarray, "n"], median: float, sigma: float
) -> FocalEstimate:
    """Mean and deviation of the posterior over the logarithm of the focal length.

    `costs` are minus the logarithm of the likelihood at `logs`, which rise; between them it is interpolated linearly.
    """
    fine = np.linspace(logs[0], logs[-1], 801)
    total = np.interp(fine, logs, costs) + 0.5 * ((fine - median) / sigma) ** 2
    weight = np.exp(total.min() - total)
    weight /= weight.sum()
    mean = float(weight @ fine)
    spread = float(np.sqrt(weight @ (fine - mean) ** 2))
    prior_weight = np.exp(-0.5 * ((fine - median) / sigma) ** 2)
    prior_weight /= prior_weight.sum()
    prior_spread = float(np.sqrt(prior_weight @ (fine - prior_weight @ fine) ** 2))
    share = min(1.0, (spread / prior_spread) ** 2)
    return FocalEstimate(float(np.exp(mean)), float(np.exp(mean - spread)), float(np.exp(mean + spread)), share)


def with_focal_length(camera: Camera, focal_px: float) -> Camera:
    """The same camera with square pixels and another focal length; it stays marked as uncalibrated."""
    K = camera.K.copy()
    K[0, 0] = K[1, 1] = focal_px
    return replace(camera, K=K)


PLAN = (
    Stage("pose", 4, 0, False, 1.0, 0.0, FAR),
    Stage("shape", 6, FACE_MODES, True, 1.0, 0.0, FAR),
)
"""Landmarks alone: the scatter of each on the surface is in its sigma, and so is counted once a row."""


def _misfit(scene: HeadScene, views: list[ViewLandmarks], focal_px: float, prior: HeadPrior) -> float:
    """Half the robust squares that the best head leaves at a focal length, the priors' costs included."""
    index = scene.embedding.source_index.numpy()
    seen = [
        FrameObservations(
            (LandmarkTargets.of(replace(view, camera=with_focal_length(view.camera, focal_px)), index),), (), ()
        )
        for view in views
    ]
    frames = KeyFrames(scene, seen, prior)
    states = first_states(scene, seen)
    for stage in PLAN:
        for _ in range(stage.steps):
            states = frames.step(states, stage)
    return _cost(scene, states, seen) + 0.5 * prior.identity * float(states[0].identity @ states[0].identity)


def _cost(scene: HeadScene, states: list[HeadState], seen: list[FrameObservations]) -> float:
    """Geman-McClure cost of all landmarks: half the squares where they are small, bounded where they are not."""
    spread, scale = scene.embedding.spread_m.double(), 4.0
    total = 0.0
    for state, each in zip(states, seen, strict=True):
        for target in each.landmarks:
            found = landmark_residuals(scene.marks, spread, state, target)
            sigmas: Tensor = found.error.norm(dim=1) / found.sigma
            robust = sigmas**2 / (1 + (sigmas / scale) ** 2)
            total += 0.5 * float((target.confidence * robust).sum())
    return total
