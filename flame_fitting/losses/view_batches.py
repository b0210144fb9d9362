"""What was seen of a batch of frames, whatever their number of views: side by side, or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

Views = TypeVar("Views")


def side_by_side(kind: type[Views], frames: Sequence[Sequence[Views]], device: torch.device | str) -> Views | None:
    """All views of a batch of frames, with axes frame and view; None where no frame has any.

    `kind` is a dataclass of tensors, one of them the confidence: a frame with fewer views has views without any.
    """
    most = max((len(views) for views in frames), default=0)
    if most == 0:
        return None
    some: Any = next(views[0] for views in frames if views)
    nothing = replace(some, confidence=torch.zeros_like(some.confidence))
    padded = [[*views, *[nothing] * (most - len(views))] for views in frames]
    whole: Any = kind
    parts = []
    for field in fields(whole):
        parts.append(torch.stack([torch.stack([getattr(view, field.name) for view in views]) for views in padded]))
    return whole(*(part.to(device) for part in parts))


@dataclass(frozen=True, eq=False)
class PictureOrder:
    """The pictures of a batch of frames, those of one frame after those of the frame before."""

    mesh_of_view: Int[Tensor, "n"]
    """The frame of each."""
    turns: tuple[tuple[Int[Tensor, "_"], Int[Tensor, "_"]], ...]
    """The frames that have an n-th picture, and which that is, for every n: a frame's sums are added in this order."""

    @classmethod
    def of(cls, counts: Sequence[int], device: torch.device | str) -> PictureOrder:
        """Of frames with so many pictures each."""
        firsts = np.cumsum([0, *counts])
        integers = lambda values: torch.tensor(values, dtype=torch.int64, device=device)  # noqa: E731
        turns = []
        for turn in range(max(counts)):
            own = [frame for frame, count in enumerate(counts) if count > turn]
            turns.append((integers(own), integers([int(firsts[frame]) + turn for frame in own])))
        return cls(integers(np.repeat(np.arange(len(counts)), counts).tolist()), tuple(turns))
