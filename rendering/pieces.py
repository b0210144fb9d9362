"""Work per triangle, with large ones in pieces: on a GPU one thread must not walk a triangle that fills the screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int16, Int32
from torch import Tensor

from rendering.runtime import launch, scalars, vectors

LARGE_PIXELS = 2048
"""Pixels of a box from which a triangle is cut."""
PIECES = 64
"""Bands of rows that a large triangle is cut into."""
MOST_LARGE = 4096
"""Triangles of one call that are cut; what is larger in number is small in pixels, and one thread walks it."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Boxes to walk, and whose they are."""

    boxes: Int16[Tensor, "n 4"]
    """First row and column and one past the last; zeros where there is nothing to do."""
    owners: Int32[Tensor, "owners"]
    """View * faces + face of each piece, -1 for none; empty where the pieces are the triangles themselves, in order."""

    def inputs(self) -> list[Any]:
        """As kernels take them."""
        return [vectors(self.boxes), scalars(self.owners)]


def in_pieces(boxes: Int16[Tensor, "b f 4"]) -> list[Pieces]:
    """The triangles' boxes, and on CUDA in a second list the bands of those that are large.

    Shapes are fixed and choices by prefix sums, so that nothing waits for the host and runs repeat to the bit.
    """
    flat = boxes.reshape(-1, 4)
    nobody = torch.empty(0, dtype=torch.int32, device=boxes.device)
    if not _cuts(boxes.device) or len(flat) == 0:
        return [Pieces(flat, nobody)]
    first_row, first_column, row_end, column_end = flat.int().unbind(1)
    most = min(MOST_LARGE, len(flat))
    large = (row_end - first_row) * (column_end - first_column) >= LARGE_PIXELS
    place = torch.cumsum(large, 0) - 1
    cut = large & (place < most)
    # A row more takes what is not cut.
    owners = torch.full((most + 1,), -1, dtype=torch.int64, device=boxes.device)
    owners.scatter_(0, torch.where(cut, place, most), torch.arange(len(flat), device=boxes.device))
    owners = owners[:most]
    whole = flat[owners.clamp(min=0)].int() * (owners >= 0)[:, None]
    number = torch.arange(PIECES + 1, device=boxes.device)
    bounds = whole[:, :1] + torch.div((whole[:, 2:3] - whole[:, :1]) * number, PIECES, rounding_mode="floor")
    sides = whole[:, 1:2].expand(-1, PIECES), whole[:, 3:].expand(-1, PIECES)
    bands = torch.stack([bounds[:, :-1], sides[0], bounds[:, 1:], sides[1]], -1).to(torch.int16)
    small = torch.where(cut[:, None], torch.zeros_like(flat), flat)
    return [
        Pieces(small, nobody),
        Pieces(bands.reshape(-1, 4).contiguous(), owners.repeat_interleave(PIECES).to(torch.int32)),
    ]


def sum_over_pixels(
    kernel: Any, boxes: Int16[Tensor, "b f 4"], inputs: Sequence[Any], like: Tensor, wrap: Callable[[Tensor], Any]
) -> Float[Tensor, "b f 3 c"]:
    """What a kernel sums over each triangle's pixels for its corners, as many channels as `like` has last.

    The kernel writes array `wrap(corners)` of one row for each piece; rows of one triangle's pieces are added in order.
    """
    views, faces = boxes.shape[:2]
    corners = like.new_empty((views * faces, 3, like.shape[-1]))
    for pieces in in_pieces(boxes):
        if len(pieces.owners) == 0:
            launch(kernel, len(corners), [*pieces.inputs(), *inputs, wrap(corners)], like.device)
            continue
        parts = like.new_empty((len(pieces.owners), 3, like.shape[-1]))
        launch(kernel, len(parts), [*pieces.inputs(), *inputs, wrap(parts)], like.device)
        # Each triangle comes once and its row is zero; nobody's rows add zeros to the first.
        owners = pieces.owners[::PIECES].clamp(min=0)
        corners.index_add_(0, owners, parts.reshape(-1, PIECES, 3, like.shape[-1]).sum(1))
    return corners.reshape(views, faces, 3, like.shape[-1])


def _cuts(device: torch.device) -> bool:
    return device.type == "cuda"
