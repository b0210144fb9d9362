"""Lips and lids that touch in the picture touch in the mesh.

A landmark network draws a narrow gap between shut lips, some people's wider than others', and what it draws the head
would follow: 2 to 3 mm of open mouth on a speaker who pauses. So where the gap is as narrow as a shut mouth's, lips may
not stand apart. They may press each other or overlap, as lids do: an inequality, which a mouth that is shut does not
feel. Curves alone shut a mouth; no part of identity does, or a shut rest would be the answer to an open mouth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows
from flame_fitting.losses.view_batches import side_by_side
from flame_fitting.models.contours import HeadContours

GAPS = np.array([(13, 14), (386, 374), (159, 145)])
"""MediaPipe's points above and below the middle of the gap between lips, left lids and right lids."""
ACROSS = np.array([(61, 291), (362, 263), (33, 133)])
"""The corners of the mouth, of the left and of the right eye."""
SHUT = np.array([0.03, 0.15, 0.15])
"""Gap over width, up to which they touch for sure."""
APART = np.array([0.06, 0.20, 0.20])
"""The same, from which on they may be apart. Measured on 236 pictures of four drawn people, seen by the network: of
mouths under 0.03, 98 of 100 are open by less than a millimetre; of those from 0.06 to 0.09, four of five by more."""
SHUT_PERCENTILE, WIDE_PERCENTILE, TIMES = 5, 95, 3
"""Of a take's gaps between the lips. A mouth that opens `TIMES` as wide as its narrowest speaks, and so shuts, too."""
MOST_ALLOWED = 0.03
"""How much wider than others' a person's gap may be drawn."""
FRONTAL_COSINE, UNSEEN_COSINE = 0.94, 0.82
"""Of the angle between the face and a view: up to 20 degrees a gap has its full vote, from 35 on none, because it
looks narrower from above and wider from aside."""
CONTACT_SIGMA_M = 3e-4
"""Of a gap between lips that touch."""


@dataclass(frozen=True, eq=False)
class ClosureViews:
    """What touches in views of a face, side by side."""

    rotation: Float[Tensor, "*v 3 3"]
    """Camera from world."""
    translation: Float[Tensor, "*v 3"]
    """Camera from world, metres."""
    gap: Float[Tensor, "*v 3"]
    """Between lips, left lids and right lids, over the widths of mouth and eyes; infinite where a point of them has no
    vote."""
    confidence: Float[Tensor, "*v"]
    """1; 0 where there is no such view, or something stands before it."""

    @classmethod
    def of(cls, view: ViewLandmarks) -> ClosureViews:
        """Of one view's landmarks."""
        from_world = view.camera.world_from_camera.inverse()
        tensor = lambda array: torch.from_numpy(np.array(array, np.float64))  # noqa: E731
        told = (view.confidence[np.concatenate([GAPS, ACROSS], 1)] > 0).all(1)
        gaps = tensor(np.where(told, gaps_over_widths(view.undistorted()), np.inf))
        return cls(tensor(from_world.rotation), tensor(from_world.translation), gaps, tensor(1.0))

    def of_person(self, lip_gap: float) -> ClosureViews:
        """The same of a person whose lips' gap is drawn so much wider than others' (`learn_lip_gap`)."""
        return replace(self, gap=self.gap - self.gap.new_tensor([lip_gap, 0.0, 0.0]))

    @staticmethod
    def stacked(frames: Sequence[Sequence[ClosureViews]], device: torch.device | str = "cpu") -> ClosureViews | None:
        """All views of a batch of frames, with axes frame and view; None where no frame has any."""
        return side_by_side(ClosureViews, frames, device)

    def agreed(self, state: HeadState, centre: Float[Tensor, "t 3"]) -> Float[Tensor, "t 3"]:
        """How surely each part touches, by the views that see the head from ahead; 0 where none does."""
        towards = -(self.translation[..., None, :] @ self.rotation)[..., 0, :] - centre[..., None, :]
        facing = (towards * state.rotation[..., None, :, 2]).sum(-1) / torch.linalg.vector_norm(towards, dim=-1)
        vote = self.confidence * ((facing - UNSEEN_COSINE) / (FRONTAL_COSINE - UNSEEN_COSINE)).clamp(0, 1) ** 2
        shut = ((self.gap.new_tensor(APART) - self.gap) / self.gap.new_tensor(APART - SHUT)).clamp(0, 1)
        mean = (shut * vote[..., None]).sum(-2) / vote.sum(-1, keepdim=True).clamp_min(1e-12)
        return mean * vote.amax(-1, keepdim=True)


def gaps_over_widths(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "3"]:
    """The gaps between lips, left lids and right lids in a view, over the widths of mouth and eyes."""
    length = lambda ends: np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)  # noqa: E731
    return length(GAPS) / np.maximum(length(ACROSS), 1e-12)


def learn_lip_gap(frames: Iterable[Sequence[ViewLandmarks]]) -> float:
    """How much wider than others' the network draws a person's gap between shut lips, in widths of the mouth.

    From the narrowest of a take, where the person speaks; 0 of others, whose mouths may have stood ajar all along. Of
    several views the narrowest counts, because the others look from aside.
    """
    narrowest = [min(gaps_over_widths(view.points_px)[0] for view in views) for views in frames if views]
    if not narrowest:
        return 0.0
    shut, wide = np.percentile(narrowest, (SHUT_PERCENTILE, WIDE_PERCENTILE))
    return float(np.clip(shut - SHUT[0], 0, MOST_ALLOWED)) if wide > TIMES * shut else 0.0


@dataclass(frozen=True, eq=False)
class ClosurePairs:
    """Vertices that meet, upper and lower."""

    vertices: Int[Tensor, "p 2"]
    """Of lips, left lids and right lids, in this order."""
    part: Int[Tensor, "p"]
    """Of which of the three."""
    rest_m: Float[Tensor, "p"]
    """Height of the upper vertex over the lower one where they touch, metres."""

    @classmethod
    def of(cls, contours: HeadContours) -> ClosurePairs:
        """All that a head's contours know."""
        parts = (contours.lip_pairs, contours.lid_pairs_left, contours.lid_pairs_right)
        rest = (contours.lip_rest_m, contours.lid_rest_m, contours.lid_rest_m)
        number = torch.cat([torch.full((len(pairs),), part) for part, pairs in enumerate(parts)])
        return cls(torch.cat(parts), number, torch.cat(rest).double())

    def to(self, device: torch.device | str) -> ClosurePairs:
        """The same pairs on another device."""
        return ClosurePairs(*(getattr(self, field.name).to(device) for field in fields(self)))


def closure_rows(
    pairs: ClosurePairs, surface: LinearPoints, state: HeadState, shut: Float[Tensor, "t 3"], modes: int | None = None
) -> Rows:
    """A row a pair: how far it is open, in deviations; nothing where it touches, or nothing says that it should."""
    upper, lower = (surface.at(pairs.vertices[:, side]) for side in (0, 1))
    opening = upper.in_head(state)[..., 1] - lower.in_head(state)[..., 1] - pairs.rest_m
    root = torch.where(opening > 0, shut[:, pairs.part], 0.0).sqrt() / CONTACT_SIGMA_M
    along = (upper.expression_basis - lower.expression_basis)[..., 1].T
    identity = state.identity.shape[-1] if modes is None else modes
    zeros = lambda columns: opening.new_zeros(*opening.shape, columns)  # noqa: E731
    return Rows(root * opening, zeros(identity), root[..., None] * along, zeros(6))
