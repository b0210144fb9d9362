"""What triangles share: which lie across each edge, and which corners meet at each vertex."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int, Int32
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True, eq=False)
class Topology:
    """Neighbourhoods of a triangle mesh, on the device of its faces."""

    faces: Int32[Tensor, "f 3"]
    """The triangles, contiguous."""
    across: Int32[Tensor, "f 3"]
    """The triangle across the edge from corner k to corner k + 1; -1 at a border, and where more than two meet."""
    corners: Int32[Tensor, "corners"]
    """Corners 3 f + k in the order of their vertices, those of one vertex in the order of their faces."""
    first_corner: Int32[Tensor, "starts"]
    """Where each vertex's share of `corners` begins, and the end of the last."""


_KNOWN = WeakTensorKeyDictionary()


def topology(faces: Int[Tensor, "f 3"], vertex_count: int) -> Topology:
    """The neighbourhoods of these triangles, worked out once for a tensor that is passed again unchanged.

    Sorting alone, with shapes known beforehand: nothing stops a CUDA stream. Changes are seen that torch counts; who
    writes into the memory of `faces` past torch (from NumPy) passes a new tensor.
    """
    capturing = faces.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    if faces.is_inference():  # which does not count its changes
        return _work_out(faces, vertex_count)
    state = faces._version, faces.data_ptr(), faces.shape, faces.dtype, faces.device, vertex_count
    known = _KNOWN.get(faces)
    if known is not None and known[0] == state:
        return known[1]
    found = _work_out(faces.detach(), vertex_count)
    if not capturing:  # what a graph works out is there only while it is replayed
        _KNOWN[faces] = state, found
    return found


def _work_out(faces: Int[Tensor, "f 3"], vertex_count: int) -> Topology:
    faces = faces.long()
    ordered, corners = torch.sort(faces.reshape(-1), stable=True)
    bounds = torch.arange(vertex_count + 1, device=faces.device, dtype=ordered.dtype)
    return Topology(
        faces=faces.to(torch.int32).contiguous(),
        across=_across(faces),
        corners=corners.to(torch.int32),
        first_corner=torch.searchsorted(ordered, bounds).to(torch.int32),
    )


def _across(faces: Int[Tensor, "f 3"]) -> Int32[Tensor, "f 3"]:
    if len(faces) == 0:
        return faces.to(torch.int32)
    ends = torch.stack([faces, faces.roll(-1, 1)], -1).reshape(-1, 2)
    names = ends.amin(1) * (2**31) + ends.amax(1)
    # A triangle with a repeated vertex has no area to share: its edges get names that no other has.
    flat = (ends[:, 0] == ends[:, 1]).reshape(-1, 3).any(1, keepdim=True).expand(-1, 3).reshape(-1)
    names = torch.where(flat, -1 - torch.arange(len(names), device=faces.device), names)
    ordered, place = torch.sort(names, stable=True)
    # Runs of equal names are the triangles of one edge; a run of two makes them neighbours.
    same = ordered[1:] == ordered[:-1]
    no = same.new_zeros(1)
    with_next, with_last = torch.cat([same, no]), torch.cat([no, same])
    after_next, before_last = torch.cat([with_next[1:], no]), torch.cat([no, with_last[:-1]])
    forward = with_next & ~with_last & ~after_next
    backward = with_last & ~with_next & ~before_last
    partner = torch.where(forward, place.roll(-1), torch.where(backward, place.roll(1), -3))
    across = torch.empty_like(partner)
    across[place] = torch.div(partner, 3, rounding_mode="floor")
    return across.reshape(-1, 3).to(torch.int32)
