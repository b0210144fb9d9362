"""Curves that move together: both eyes look the same way, and both sides of a face do about the same.

Where the pictures tell the two apart they win; where they do not, one side's curve is not left to stand for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.losses.linear_head import HeadState, Rows
from flame_fitting.models.contours import symmetric_curves

GAZE_SIGMA = 0.03
"""Difference of two eyes that look at the same thing, in curves: a degree, as for something a few metres away."""
SIDE_SIGMA = 0.25
"""Difference of a face's two sides."""
EYES_TOGETHER = (("eyeLookInLeft", "eyeLookOutRight"), ("eyeLookOutLeft", "eyeLookInRight"))
ONE_SIDED = ("eyeBlink", "eyeLookIn", "eyeLookOut")
"""Winks are common; eyes turn to the same side, not to mirrored ones."""


@dataclass(frozen=True, eq=False)
class CurvePairs:
    """Which curves go together, and how closely."""

    rows: Int[Tensor, "p 2"]
    """Indices of the two curves."""
    sigma: Float[Tensor, "p"]
    """Standard deviation of their difference."""

    def to(self, device: torch.device | str) -> CurvePairs:
        """The same pairs on another device."""
        return CurvePairs(self.rows.to(device), self.sigma.to(device))

    @classmethod
    def of(cls, names: tuple[str, ...]) -> CurvePairs:
        """Pairs of a model's curves; none where it has none of ARKit's names."""
        pairs = [
            (left, right, GAZE_SIGMA if names[left].startswith("eyeLook") else SIDE_SIGMA)
            for left, right in symmetric_curves(names)
            if not names[left].startswith(ONE_SIDED)
        ]
        pairs += [
            (names.index(left), names.index(right), GAZE_SIGMA)
            for left, right in EYES_TOGETHER
            if left in names and right in names
        ]
        rows = torch.tensor([(left, right) for left, right, _ in pairs], dtype=torch.int64).reshape(-1, 2)
        return cls(rows, torch.tensor([sigma for *_, sigma in pairs], dtype=torch.float64))


def pair_rows(pairs: CurvePairs, state: HeadState, modes: int | None = None) -> Rows:
    """Differences of the pairs in sigmas; no identity and no pose enters."""
    count = len(pairs.rows)
    d_curves = state.curves.new_zeros(count, state.curves.shape[-1])
    index = torch.arange(count, device=d_curves.device)
    d_curves[index, pairs.rows[:, 0]] = 1 / pairs.sigma
    d_curves[index, pairs.rows[:, 1]] = -1 / pairs.sigma
    batch, modes = state.curves.shape[:-1], state.identity.shape[-1] if modes is None else modes
    none = lambda columns: d_curves.new_zeros(*batch, count, columns)  # noqa: E731
    return Rows(state.curves @ d_curves.T, none(modes), d_curves.expand(*batch, -1, -1), none(6))
