"""Irises against the eyeballs of the head: they turn the eyes and nothing else.

What a picture shows of an iris is its rim, the limbus, a circle whose middle lies about a millimetre behind the front
of the eyeball. Seen from 40 degrees aside, that is half a millimetre, or two degrees of gaze.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.losses.landmarks import LandmarkResiduals, LandmarkViews, landmark_residuals, landmark_rows
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows
from flame_fitting.models.contours import HeadContours
from geometry.spheres import sphere_through

LIMBUS_RADIUS_M = 5.9e-3
"""Of the visible iris; people hardly differ. Source: Rufer, Schroder & Erb 2005, "White-to-white corneal diameter"."""
IRIS_CENTRES = np.array([473, 468])
"""The left and the right iris among the detector's points."""
IRIS_SIGMA, IRIS_ROBUST_SIGMAS = 5e-4, 20.0
"""Noise of an iris' centre in units of the face's size, beside what its own scatter says; and a kernel so wide that an
eye that looks aside still draws the head's own, which at first looks ahead."""
FRONTAL_COSINE, UNSEEN_COSINE = 0.9, 0.65
"""Of the angle between the face and a view: from 25 degrees on an iris is a narrow ellipse beside the nose or the lids'
corner, and counts less and less; from 50 degrees on not at all."""
IRIS_SPREAD_M = 1.8e-4
"""Scatter of an iris whose rim was found, 0.03 of its radius; the confidence tells how much larger others' is."""


@dataclass(frozen=True, eq=False)
class IrisAnchors:
    """Where the limbus' middle lies in each eyeball, as a mixture of vertices, so that it moves linearly with them."""

    pupils: Int[Tensor, "2 p"]
    """Rings about the left and the right pupil."""
    eyeballs: tuple[Int[Tensor, "a"], Int[Tensor, "b"]]
    """Vertices of the eyeballs."""
    depth: tuple[float, float]
    """How far behind each pupil's ring, as a share of the way to the mean of the eyeball's vertices."""

    def to(self, device: torch.device | str) -> IrisAnchors:
        """The same anchors on another device."""
        left, right = self.eyeballs
        return IrisAnchors(self.pupils.to(device), (left.to(device), right.to(device)), self.depth)

    @classmethod
    def of(cls, contours: HeadContours, template: Float[Tensor, "v 3"]) -> IrisAnchors:
        """Anchors of a model."""
        shares = []
        for ring, ball in zip(contours.pupils, contours.eyeballs, strict=True):
            # By NumPy: the last bits of torch's least squares change from run to run, and a fit's would with them.
            centre, radius = sphere_through(template[ball].numpy())
            front, middle = template[ring].mean(0), template[ball].mean(0)
            limbus_m = float(np.sqrt(max(float(radius) ** 2 - LIMBUS_RADIUS_M**2, 0.0)))
            behind = float(np.linalg.norm(front.numpy() - centre)) - limbus_m
            shares.append(float(np.clip(behind / float((front - middle).norm()), 0, 0.5)))
        return cls(contours.pupils, contours.eyeballs, (shares[0], shares[1]))

    def on(self, surface: LinearPoints) -> LinearPoints:
        """The middle of the left and of the right limbus."""
        parts = []
        for part in (surface.mean, surface.identity_basis, surface.expression_basis):
            eyes = [
                (1 - depth) * part[..., ring, :].mean(-2) + depth * part[..., ball, :].mean(-2)
                for ring, ball, depth in zip(self.pupils, self.eyeballs, self.depth, strict=True)
            ]
            parts.append(torch.stack(eyes, -2))
        return LinearPoints(*parts)


def gaze_residuals(
    anchors: LinearPoints, state: HeadState, centre: Float[Tensor, "*b 3"], target: LandmarkViews
) -> LandmarkResiduals:
    """Errors of both irises in each view, trusted as far as the face is seen from in front."""
    return landmark_residuals(anchors, _spread(anchors), state, _from_in_front(state, centre, target))


def gaze_rows(
    anchors: LinearPoints,
    state: HeadState,
    centre: Float[Tensor, "*b 3"],
    target: LandmarkViews,
    modes: int | None = None,
) -> Rows:
    """Reprojection of both irises in all views; identity and pose have no part in it."""
    target = _from_in_front(state, centre, target)
    rows = landmark_rows(anchors, _spread(anchors), state, centre, target, modes)
    return replace(rows, d_identity=torch.zeros_like(rows.d_identity), d_pose=torch.zeros_like(rows.d_pose))


def _spread(anchors: LinearPoints) -> Float[Tensor, "2"]:
    return anchors.mean.new_full((2,), IRIS_SPREAD_M)


def _from_in_front(state: HeadState, centre: Float[Tensor, "*b 3"], target: LandmarkViews) -> LandmarkViews:
    """Irises with less confidence the more aside the face is seen."""
    views = target.translation.ndim > centre.ndim
    centre, ahead = (part[..., None, :] if views else part for part in (centre, state.rotation[..., 2]))
    towards = -(target.translation[..., None, :] @ target.rotation)[..., 0, :] - centre
    facing = (towards * ahead).sum(-1) / torch.linalg.vector_norm(towards, dim=-1)
    frontal = ((facing - UNSEEN_COSINE) / (FRONTAL_COSINE - UNSEEN_COSINE)).clamp(0, 1)
    return replace(target, confidence=target.confidence * frontal[..., None])
