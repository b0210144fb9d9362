"""Reprojection of surface landmarks into calibrated views.

What all views say about one landmark is gathered in an information matrix and a pull of its point in space, three rows
whatever the number of cameras: the linear algebra behind does not grow with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows, chain_rule, geman_mcclure
from flame_fitting.losses.view_batches import side_by_side
from geometry.cameras import Camera

DETECTION_SIGMA = 0.012
"""Noise of a detection, in units of the face's size in the picture (about 1.5 px on a 130 px face)."""
FACE_POINTS = 468
"""The mesh network's points, which say how large the face is; the irises come after them."""
ROBUST_SIGMAS = 4.0
NEAREST_M = 0.05
"""Points closer to the camera than this, or behind it, have no picture."""
RELATIVE_NOTHING = 1e-12
"""Information along a direction that is less than this share of all is what rounding leaves of none."""


@dataclass(frozen=True, eq=False)
class LandmarkViews:
    """Detected landmarks of one view, or of views side by side, ready for the solver."""

    rotation: Float[Tensor, "*v 3 3"]
    """Camera from world."""
    translation: Float[Tensor, "*v 3"]
    """Camera from world, metres."""
    normalised: Float[Tensor, "*v l 2"]
    """Undistorted positions at z = 1, in the embedding's order."""
    confidence: Float[Tensor, "*v l"]
    """Weight of each in [0, 1]; 0 throughout where a batch has no such view."""
    detection_sigma: Float[Tensor, "*v"]
    """Noise at z = 1."""
    robust_sigmas: Float[Tensor, "*v"]
    """Scale of the robust kernel, in deviations."""
    offset_m: Float[Tensor, "*v l 2"]
    """Where this camera sees each landmark beside the surface point it is embedded at, metres along its x and y."""

    @staticmethod
    def stacked(frames: Sequence[Sequence[LandmarkViews]], device: torch.device | str = "cpu") -> LandmarkViews | None:
        """All views of a batch of frames, with axes frame and view; None where no frame has any."""
        return side_by_side(LandmarkViews, frames, device)


@dataclass(frozen=True, eq=False)
class LandmarkTargets(LandmarkViews):
    """Detected landmarks of one camera."""

    camera: Camera
    """Where they were seen."""

    @property
    def camera_id(self) -> str:
        """Which camera."""
        return self.camera.id

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
            tensor(camera_from_world.rotation),
            tensor(camera_from_world.translation),
            tensor(normalised[chosen]),
            tensor(view.confidence[chosen]),
            torch.tensor(sigma * size, dtype=torch.float64),
            torch.tensor(robust_sigmas, dtype=torch.float64),
            torch.zeros(len(chosen), 2, dtype=torch.float64),
            view.camera,
        )


@dataclass(frozen=True, eq=False)
class LandmarkResiduals:
    """Landmarks of views against their detections."""

    error: Float[Tensor, "*v l 2"]
    """Projected and offset less detected, on the plane z = 1."""
    projected: Float[Tensor, "*v l 2"]
    """On the plane z = 1, without the offset."""
    depth_m: Float[Tensor, "*v l"]
    """Along the camera's z axis."""
    sigma: Float[Tensor, "*v l"]
    """Standard deviation of each error on the plane z = 1."""
    trust: Float[Tensor, "*v l"]
    """Confidence times the robust kernel's weight."""

    @property
    def squares(self) -> Float[Tensor, "*v l"]:
        """Weighted squared error of each landmark, in sigmas: the sum of two residuals' squares."""
        return self.trust * (self.error**2).sum(-1) / self.sigma**2


def landmark_residuals(
    points: LinearPoints, spread_m: Float[Tensor, "l"], state: HeadState, target: LandmarkViews
) -> LandmarkResiduals:
    """Errors of all landmarks, seen or not; the target may have an axis of views more than the state.

    The deviation is the detector's noise plus the scatter of the landmark on the surface as seen from this far.
    """
    world = points.in_world(state)
    world = world if target.normalised.ndim == world.ndim else world.unsqueeze(-3)
    in_camera = world @ target.rotation.mT + target.translation[..., None, :]
    depth = in_camera[..., 2]
    projected = in_camera[..., :2] / depth[..., None]
    error = projected + target.offset_m / depth[..., None] - target.normalised
    sigma = torch.sqrt(target.detection_sigma[..., None] ** 2 + (spread_m / depth) ** 2)
    kernel = geman_mcclure(torch.linalg.vector_norm(error, dim=-1) / sigma, target.robust_sigmas[..., None])
    trust = torch.where(depth > NEAREST_M, target.confidence * kernel, 0.0)
    return LandmarkResiduals(error, projected, depth, sigma, trust)


def landmark_rows(
    points: LinearPoints,
    spread_m: Float[Tensor, "l"],
    state: HeadState,
    centre: Float[Tensor, "*b 3"],
    target: LandmarkViews,
    modes: int | None = None,
) -> Rows:
    """Differences between projected and detected landmarks on the plane z = 1, of all views: three rows a landmark.

    They have the gradient and the Gauss-Newton matrix of two rows a landmark and view, and of their squares' sum what
    a movement of the head can change.
    """
    found = landmark_residuals(points, spread_m, state, target)
    weight = found.trust / found.sigma**2
    away = -(found.projected + target.offset_m / found.depth_m[..., None]) / found.depth_m[..., None]
    inverse, none = 1 / found.depth_m, torch.zeros_like(found.depth_m)
    along_x = torch.stack([inverse, none, away[..., 0]], -1)
    along_y = torch.stack([none, inverse, away[..., 1]], -1)
    # d error / d point of both axes, in the world; where a point has no picture its gradient is none.
    seen = (found.trust > 0)[..., None, None]
    gradient = torch.where(seen, torch.stack([along_x, along_y], -2) @ target.rotation[..., None, :, :], 0.0)
    weighted = gradient * weight[..., None, None]
    information = weighted.mT @ gradient
    pull = (weighted * torch.where(seen, found.error[..., None], 0.0)).sum(-2)
    if target.normalised.ndim > state.curves.ndim + 1:
        information, pull = information.sum(-4), pull.sum(-3)
    root, residual = _as_rows(information, pull)
    return Rows(residual.flatten(-2), *chain_rule(points, state, centre, root.mT, modes=modes))


def _as_rows(
    information: Float[Tensor, "*b 3 3"], pull: Float[Tensor, "*b 3"]
) -> tuple[Float[Tensor, "*b 3 3"], Float[Tensor, "*b 3"]]:
    """L and y with L L^T the information and L y the pull: rows L^T with the residuals y.

    By Cholesky's factorisation, in which a direction that nothing measured (along the ray of a single view) gets no
    row.
    """
    rest, right, columns, residuals = information, pull, [], []
    scale = information.diagonal(dim1=-2, dim2=-1).sum(-1) * RELATIVE_NOTHING
    for k in range(3):
        pivot = rest[..., k, k]
        root = torch.where(pivot > scale, pivot, 1.0).rsqrt() * (pivot > scale)
        column = rest[..., :, k] * root[..., None]
        residual = right[..., k] * root
        rest = rest - column[..., :, None] * column[..., None, :]
        right = right - column * residual[..., None]
        columns.append(column)
        residuals.append(residual)
    return torch.stack(columns, -1), torch.stack(residuals, -1)
