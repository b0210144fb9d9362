"""Reprojection of surface landmarks into calibrated views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows, chain_rule, geman_mcclure
from flame_fitting.models.head_model import LandmarkEmbedding

DETECTION_SIGMA = 0.012
"""Noise of a detection, in units of the face's size in the picture (about 1.5 px on a 130 px face)."""
ROBUST_SIGMAS = 4.0


@dataclass(frozen=True, eq=False)
class LandmarkTargets:
    """Detected landmarks of one view, ready for the solver."""

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

    @classmethod
    def of(cls, view: ViewLandmarks, embedding: LandmarkEmbedding) -> LandmarkTargets:
        """The view's detections of the embedded landmarks."""
        normalised = view.undistorted()
        size = float(np.sqrt(np.prod(np.ptp(normalised, axis=0))))
        chosen = embedding.source_index.numpy()
        camera_from_world = view.camera.world_from_camera.inverse()
        tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array)).double()  # noqa: E731
        return cls(
            tensor(camera_from_world.rotation),
            tensor(camera_from_world.translation),
            tensor(normalised[chosen]),
            tensor(view.confidence[chosen]),
            DETECTION_SIGMA * size,
        )


def landmark_rows(
    points: LinearPoints,
    spread_m: Float[Tensor, "l"],
    state: HeadState,
    centre: Float[Tensor, "3"],
    target: LandmarkTargets,
) -> Rows:
    """Differences between projected and detected landmarks on the plane z = 1, two rows a landmark.

    Each is divided by the detector's noise plus the scatter of the landmark on the surface as seen from this far.
    """
    in_camera = points.in_world(state) @ target.rotation.T + target.translation
    depth = in_camera[:, 2]
    projected = in_camera[:, :2] / depth[:, None]
    error = projected - target.normalised
    sigma = torch.sqrt(target.detection_sigma**2 + (spread_m / depth) ** 2)
    distance = error.norm(dim=1) / sigma
    weight = torch.sqrt(target.confidence * geman_mcclure(distance, ROBUST_SIGMAS)) / sigma
    keep = torch.nonzero((weight > 0) & (depth > 0.05)).squeeze(1)
    gradients = []
    for axis in range(2):
        local = torch.zeros(len(keep), 3, dtype=torch.float64)
        local[:, axis] = 1 / depth[keep]
        local[:, 2] = -projected[keep, axis] / depth[keep]
        gradients.append(local @ target.rotation * weight[keep, None])
    gradient, rows = torch.cat(gradients), torch.cat([keep, keep])
    residual = torch.cat([error[keep, axis] * weight[keep] for axis in range(2)])
    return Rows(residual, *chain_rule(points, state, centre, gradient, rows))
