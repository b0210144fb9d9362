"""Reprojection of surface landmarks into calibrated views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows, chain_rule, geman_mcclure

DETECTION_SIGMA = 0.012
"""Noise of a detection, in units of the face's size in the picture (about 1.5 px on a 130 px face)."""
FACE_POINTS = 468
"""The mesh network's points, which say how large the face is; the irises come after them."""
ROBUST_SIGMAS = 4.0
NEAREST_M = 0.05
"""Points closer to the camera than this, or behind it, have no picture."""


@dataclass(frozen=True, eq=False)
class LandmarkTargets:
    """Detected landmarks of one view, ready for the solver."""

    camera_id: str
    """Which camera."""
    rotation: Float[Tensor, "3 3"]
    """Camera from world."""
    translation: Float[Tensor, "3"]
    """Camera from world, metres."""
    normalised: Float[Tensor, "l 2"]
    """Undistorted positions at z = 1, in the embedding's order."""
    confidence: Float[Tensor, "l"]
    """Weight of each in [0, 1]."""
    detection_sigma: float
    """Noise at z = 1."""
    robust_sigmas: float
    """Scale of the robust kernel, in deviations."""
    offset_m: Float[Tensor, "l 2"]
    """Where this camera sees each landmark beside the surface point it is embedded at, metres along its x and y."""

    @classmethod
    def of(
        cls,
        view: ViewLandmarks,
        source_index: Int[np.ndarray, "l"],
        sigma: float = DETECTION_SIGMA,
        robust_sigmas: float = ROBUST_SIGMAS,
    ) -> LandmarkTargets:
        """The view's detections of chosen landmarks; `sigma` is their noise in units of the face's size."""
        normalised = view.undistorted()
        size = float(np.sqrt(np.prod(np.ptp(normalised[:FACE_POINTS], axis=0))))
        chosen = source_index
        camera_from_world = view.camera.world_from_camera.inverse()
        tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array)).double()  # noqa: E731
        return cls(
            view.camera.id,
            tensor(camera_from_world.rotation),
            tensor(camera_from_world.translation),
            tensor(normalised[chosen]),
            tensor(view.confidence[chosen]),
            sigma * size,
            robust_sigmas,
            torch.zeros(len(chosen), 2, dtype=torch.float64),
        )


@dataclass(frozen=True, eq=False)
class LandmarkResiduals:
    """Landmarks of one view against their detections."""

    error: Float[Tensor, "l 2"]
    """Projected and offset less detected, on the plane z = 1."""
    projected: Float[Tensor, "l 2"]
    """On the plane z = 1, without the offset."""
    depth_m: Float[Tensor, "l"]
    """Along the camera's z axis."""
    sigma: Float[Tensor, "l"]
    """Standard deviation of each error on the plane z = 1."""
    trust: Float[Tensor, "l"]
    """Confidence times the robust kernel's weight."""


def landmark_residuals(
    points: LinearPoints, spread_m: Float[Tensor, "l"], state: HeadState, target: LandmarkTargets
) -> LandmarkResiduals:
    """Errors of all landmarks, seen or not.

    The deviation is the detector's noise plus the scatter of the landmark on the surface as seen from this far.
    """
    in_camera = points.in_world(state) @ target.rotation.T + target.translation
    depth = in_camera[:, 2]
    projected = in_camera[:, :2] / depth[:, None]
    error = projected + target.offset_m / depth[:, None] - target.normalised
    sigma = torch.sqrt(target.detection_sigma**2 + (spread_m / depth) ** 2)
    trust = target.confidence * geman_mcclure(error.norm(dim=1) / sigma, target.robust_sigmas)
    return LandmarkResiduals(error, projected, depth, sigma, torch.where(depth > NEAREST_M, trust, 0.0))


def landmark_rows(
    points: LinearPoints,
    spread_m: Float[Tensor, "l"],
    state: HeadState,
    centre: Float[Tensor, "3"],
    target: LandmarkTargets,
) -> Rows:
    """Differences between projected and detected landmarks on the plane z = 1, two rows a landmark that is seen."""
    found = landmark_residuals(points, spread_m, state, target)
    weight = found.trust.sqrt() / found.sigma
    keep = torch.nonzero(weight > 0).squeeze(1)
    depth, offset = found.depth_m[keep], target.offset_m[keep]
    gradients = []
    for axis in range(2):
        local = torch.zeros(len(keep), 3, dtype=torch.float64)
        local[:, axis] = 1 / depth
        local[:, 2] = -(found.projected[keep, axis] + offset[:, axis] / depth) / depth
        gradients.append(local @ target.rotation * weight[keep, None])
    gradient, rows = torch.cat(gradients), torch.cat([keep, keep])
    residual = torch.cat([found.error[keep, axis] * weight[keep] for axis in range(2)])
    return Rows(residual, *chain_rule(points, state, centre, gradient, rows))
