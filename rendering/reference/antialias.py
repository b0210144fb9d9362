"""Silhouettes blended by where they cross between pixel centres, which gives them a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from rendering.fragments import Fragments
from rendering.reference.rasterize import NEAR_M

_MOST_STEPS = 64
"""Triangles that are walked through from a pixel's centre to the next one's; more lie there only in slivers."""


@dataclass(frozen=True, eq=False)
class EdgeTable:
    """What lies across the edges of each triangle; edge k runs from corner k to corner k + 1."""

    edges: Int64[Tensor, "f 3"]
    """A number for each edge, the same in all triangles that have it."""
    neighbours: Int64[Tensor, "f 3"]
    """The triangle across the edge; -1 where there is none or more than one."""


@dataclass(frozen=True, eq=False)
class PixelPairs:
    """Adjacent pixels of which one, the inner, shows a nearer triangle than the other, the outer."""

    axis: int
    """0: the outer pixel is to the left or right of the inner one; 1: it is above or below."""
    step: int
    """Direction from the inner to the outer pixel, +1 or -1 along the axis."""
    view: tuple[Int64[Tensor, "n"], ...]
    """Index of the view, an entry for each axis of the batch."""
    row: Int64[Tensor, "n"]
    """Row of the inner pixel."""
    column: Int64[Tensor, "n"]
    """Column of the inner pixel."""

    @property
    def inner(self) -> tuple[Int64[Tensor, "n"], ...]:
        """Index of the inner pixels in a picture."""
        return (*self.view, self.row, self.column)

    @property
    def outer(self) -> tuple[Int64[Tensor, "n"], ...]:
        """Index of the outer pixels in a picture."""
        if self.axis == 0:
            return (*self.view, self.row, self.column + self.step)
        return (*self.view, self.row + self.step, self.column)

    def distance(self, p: Float[Tensor, "n *k 3"], q: Float[Tensor, "n *k 3"]) -> Float[Tensor, "n *k"]:
        """How far from the inner towards the outer centre the line from p to q crosses, in pixels.

        For a horizontal pair in the row at y it crosses at x = p_x + (y - p_y) (q_x - p_x) / (q_y - p_y).
        """
        along, across = self.axis, 1 - self.axis
        centre = torch.stack([self.column, self.row]).double() + 0.5
        centre = centre.reshape(*centre.shape, *[1] * (p.ndim - 2))
        slope = (q[..., along] - p[..., along]) / (q[..., across] - p[..., across])
        return self.step * (p[..., along] + (centre[across] - p[..., across]) * slope - centre[along])

    def crosses(self, p: Float[Tensor, "n 3 3"], q: Float[Tensor, "n 3 3"]) -> Bool[Tensor, "n 3"]:
        """Whether p and q lie on two sides of the line through both centres; on the line counts as above or left.

        With this rule the line crosses none or two edges of a triangle, also where it meets a corner.
        """
        across = 1 - self.axis
        line = (self.row if self.axis == 0 else self.column).double()[:, None] + 0.5
        return (p[..., across] > line) != (q[..., across] > line)


def antialias(
    image: Float[Tensor, "*b h w c"],
    fragments: Fragments,
    vertices_screen: Float[Tensor, "*b v 3"],
    faces: Int[Tensor, "f 3"],
) -> Float[Tensor, "*b h w c"]:
    """The picture with its silhouettes blended by how much of each pixel they cover.

    A silhouette that crosses between two pixel centres, at distance d of the nearer surface's pixel, moves (d - 0.5) of
    the difference of their colours from one to the other: to the outer pixel from d = 0.5 on, to the inner one before.
    d is a function of the edge's two ends, so gradients flow to x and y of the vertices and to the picture.
    Source: Laine et al. 2020, Modular primitives for high-performance differentiable rendering, section 3.6; here the
    silhouette is searched beyond the first triangle.
    """
    colours, vertices, table = image.double(), vertices_screen.double(), edge_table(faces)
    blended = colours
    for axis in (0, 1):
        for step in (1, -1):
            pairs = _differing_pairs(fragments, axis, step)
            with torch.no_grad():
                found, silhouette = _find_silhouettes(pairs, fragments, vertices, faces.long(), table)
            p, q = (vertices[(*pairs.view, end)] for end in silhouette.unbind(-1))
            pairs, p, q = _selected(pairs, found), p[found], q[found]
            excess = pairs.distance(p, q)[:, None] - 0.5
            difference = colours[pairs.inner] - colours[pairs.outer]
            blended = blended.index_put(pairs.outer, excess.clamp(min=0) * difference, accumulate=True)
            blended = blended.index_put(pairs.inner, excess.clamp(max=0) * difference, accumulate=True)
    return blended.to(image.dtype)


def edge_table(faces: Int[Tensor, "f 3"]) -> EdgeTable:
    """Which triangles share which edges; which way round a triangle is listed does not matter."""
    ends = torch.stack([faces, faces.roll(-1, 1)], -1).long().sort(-1).values
    _, edges, counts = ends.reshape(-1, 2).unique(dim=0, return_inverse=True, return_counts=True)
    edges = edges.reshape(-1, 3)
    number = torch.arange(len(faces), device=faces.device)[:, None].expand(-1, 3)
    both = torch.zeros_like(counts).index_put((edges,), number, accumulate=True)
    return EdgeTable(edges, torch.where(counts[edges] == 2, both[edges] - number, -1))


def _differing_pairs(fragments: Fragments, axis: int, step: int) -> PixelPairs:
    """Pixels whose neighbour in one direction shows another triangle, farther away; nothing is infinitely far."""
    dimension = -1 if axis == 0 else -2
    depth = torch.where(fragments.mask, fragments.depth.detach(), torch.inf)
    differs = fragments.face_index != fragments.face_index.roll(-step, dimension)
    differs &= depth < depth.roll(-step, dimension)
    differs.select(dimension, -1 if step == 1 else 0).fill_(False)  # the last pixels have no such neighbour
    *view, row, column = differs.nonzero(as_tuple=True)
    return PixelPairs(axis, step, tuple(view), row, column)


def _selected(pairs: PixelPairs, chosen: Bool[Tensor, "n"]) -> PixelPairs:
    view = tuple(index[chosen] for index in pairs.view)
    return PixelPairs(pairs.axis, pairs.step, view, pairs.row[chosen], pairs.column[chosen])


def _find_silhouettes(
    pairs: PixelPairs,
    fragments: Fragments,
    vertices: Float[Tensor, "*b v 3"],
    faces: Int64[Tensor, "f 3"],
    table: EdgeTable,
) -> tuple[Bool[Tensor, "n"], Int64[Tensor, "n 2"]]:
    """Whether each pair has a silhouette between its centres, and the two ends of that edge, as rows of the vertices.

    From the inner pixel's triangle the walk leaves through the edge that lies in the outer pixel's direction, into the
    triangle across it, until the edge is a silhouette or lies beyond the outer pixel's centre.
    """
    corners = vertices[..., faces, :]
    drawable = (corners[..., 2] >= NEAR_M).all(-1) & corners.isfinite().all(-1).all(-1)
    orientation = _signed_area(corners).sign()

    face = fragments.face_index[pairs.inner].long()
    entered = torch.full_like(face, -1)
    found = torch.zeros_like(face, dtype=torch.bool)
    silhouette = torch.zeros_like(face)[:, None].repeat(1, 2)
    walking = drawable[(*pairs.view, face)]
    for _ in range(_MOST_STEPS):
        p = corners[(*pairs.view, face)]
        q = p.roll(-1, 1)
        leaves = pairs.crosses(p, q) & (table.edges[face] != entered[:, None])
        distance, k = torch.where(leaves, pairs.distance(p, q), -torch.inf).max(1)
        walking = walking & leaves.any(1) & (distance <= 1)

        across = table.neighbours[face, k]
        open_edge = across == -1
        walking = walking & (open_edge | drawable[(*pairs.view, across)])
        folds = orientation[(*pairs.view, face)] * orientation[(*pairs.view, across)] <= 0
        arrived = walking & (open_edge | folds)

        ends = torch.stack([faces[face, k], faces[face, (k + 1) % 3]], -1)
        silhouette = torch.where(arrived[:, None], ends, silhouette)
        found = found | arrived
        walking = walking & ~arrived
        entered = torch.where(walking, table.edges[face, k], entered)
        face = torch.where(walking, across, face)
        if not walking.any():
            break
    p, q = (vertices[(*pairs.view, end)] for end in silhouette.unbind(-1))
    return found & _belongs_to_axis(pairs.axis, p, q), silhouette


def _belongs_to_axis(axis: int, p: Float[Tensor, "n 3"], q: Float[Tensor, "n 3"]) -> Bool[Tensor, "n"]:
    """Steep edges are blended along rows and flat ones along columns, so that each is counted once."""
    dx, dy = (q - p)[:, :2].abs().unbind(-1)
    return dy >= dx if axis == 0 else dx > dy


def _signed_area(corners: Float[Tensor, "*b f 3 3"]) -> Float[Tensor, "*b f"]:
    """Twice the area on the screen; negative for front faces."""
    a, b, c = corners[..., :2].unbind(-2)
    return (b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0]
