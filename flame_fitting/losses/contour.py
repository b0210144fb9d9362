"""The outline of a face in a view: landmarks that slide along the model's own occluding contour.

A landmark network's points on jaw and cheeks stand for no place on the skin: they follow the line where the face turns
away from the camera, another one in every view. So each is compared, along the outline's normal alone, with the nearest
visible edge between a triangle that faces the camera and one that does not. Which edge that is is asked anew in every
step (projective association); within a step it stands.
Source: Cao, Hou & Zhou 2014, "Displaced dynamic expression regression" (contour landmarks that slide); edges of the
occluding boundary as in Bas, Smith, Bolkart & Wuhrer 2016, "Fitting a 3D morphable model to edges".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.losses.landmarks import FACE_POINTS, NEAREST_M
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows, chain_rule, geman_mcclure
from flame_fitting.losses.view_batches import side_by_side
from rendering.rasterize import rasterize
from rendering.topology import topology

RIGHT_OUTLINE = (21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148)
LEFT_OUTLINE = (251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377)
OUTLINE = np.array([*RIGHT_OUTLINE, 152, *LEFT_OUTLINE[::-1]])
"""MediaPipe's face oval from the right temple over the chin to the left one. The forehead is left out: between the
temples its points lie on the hairline, which is no contour (measured: 10 to 50 mm beside one)."""
SIDE = np.array([-1] * len(RIGHT_OUTLINE) + [0] + [1] * len(LEFT_OUTLINE))
"""-1 the subject's right, 1 the left, 0 the chin."""
OUTLINE_SIGMA_M = 3e-3
"""Scatter of a point about the true contour along its normal, between people and from view to view."""
INSIDE_M = 2e-3
"""How far inside the contour the network draws the outline; both measured on simulated people with their true heads."""
ROBUST_SIGMAS = 3.0
REACH_M = 0.02
"""A contour farther than this from a point is another one."""
AGREEING = 0.7
"""Cosine between the outline's normal and the contour's, at least."""
BOTH_SIDES, FAR_SIDE = 0.17, 0.30
"""Of the sine of the head's turn in the view: up to 10 degrees both sides are outlines, from 17 degrees on the far one
alone."""
TRUSTED, TOO_FAR = 0.50, 0.64
"""The same: from 30 degrees on the far side counts less, from 40 on not at all (its points scatter by a centimetre)."""
WINDOW, FACE_SHARE = 160, 0.6
"""Pixels of the picture that tells which contours are hidden, and how much of it the face fills."""
BEHIND_M = 0.004
"""An edge this far behind what is drawn there is hidden."""


@dataclass(frozen=True, eq=False)
class OutlineViews:
    """Outlines that were seen in views, side by side."""

    rotation: Float[Tensor, "*v 3 3"]
    """Camera from world."""
    translation: Float[Tensor, "*v 3"]
    """Camera from world, metres."""
    points: Float[Tensor, "*v o 2"]
    """Of `OUTLINE`, undistorted, at z = 1."""
    normals: Float[Tensor, "*v o 2"]
    """Unit vectors across the outline, outwards."""
    confidence: Float[Tensor, "*v o"]
    """1 where the picture holds the point, 0 where it does not, or there is no such view."""
    face_size: Float[Tensor, "*v"]
    """Of the face at z = 1."""

    @staticmethod
    def stacked(frames: Sequence[Sequence[OutlineViews]], device: torch.device | str = "cpu") -> OutlineViews | None:
        """All views of a batch of frames, with axes frame and view; None where no frame has any."""
        return side_by_side(OutlineViews, frames, device)

    @classmethod
    def of(cls, view: ViewLandmarks) -> OutlineViews:
        """Of one view. Points near an outline hide from the camera, so that their confidence says nothing here."""
        normalised = view.undistorted()
        points, middle = normalised[OUTLINE], normalised[:FACE_POINTS].mean(0)
        along = np.gradient(points, axis=0)
        across = np.stack([along[:, 1], -along[:, 0]], 1)
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
        across *= np.where(((points - middle) * across).sum(1) < 0, -1.0, 1.0)[:, None]
        height, width = view.camera.image_size_hw
        pixels = view.points_px[OUTLINE]
        inside = ((pixels >= 0) & (pixels <= (width, height))).all(1)
        camera_from_world = view.camera.world_from_camera.inverse()
        size = float(np.sqrt(np.prod(np.ptp(normalised[:FACE_POINTS], axis=0))))
        tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array, np.float64))  # noqa: E731
        return cls(
            tensor(camera_from_world.rotation),
            tensor(camera_from_world.translation),
            tensor(points),
            tensor(across),
            tensor(inside),
            torch.tensor(size, dtype=torch.float64),
        )


@dataclass(frozen=True, eq=False)
class ContourEdges:
    """Edges of the head that may become a contour, on one device."""

    ends: Int[Tensor, "e 2"]
    """Their vertices."""
    sides: Int[Tensor, "e 2"]
    """The triangles on both sides."""
    faces: Int[Tensor, "f 3"]
    """All triangles of the head."""

    @classmethod
    def of(cls, faces: Int[Tensor, "f 3"], chosen: Bool[Tensor, "v"]) -> ContourEdges:
        """Edges between chosen vertices that two triangles share."""
        across = topology(faces, len(chosen)).across.long()
        first = torch.arange(len(faces), device=faces.device)[:, None].expand(-1, 3)
        ends = torch.stack([faces.long(), faces.long().roll(-1, 1)], -1)
        keep = (across > first) & chosen[ends].all(-1)
        return cls(ends[keep], torch.stack([first[keep], across[keep]], -1), faces)

    def to(self, device: torch.device | str) -> ContourEdges:
        """The same edges on another device."""
        return ContourEdges(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class ContourFeet:
    """Where each point of the outlines meets the contour; within a step this stands."""

    ends: Int[Tensor, "*b o 2"]
    """Vertices of its edge."""
    share: Float[Tensor, "*b o"]
    """How far along the edge, from the first vertex in [0, 1]."""
    normals: Float[Tensor, "*b o 2"]
    """Unit vectors across the contour, outwards, at z = 1."""
    confidence: Float[Tensor, "*b o"]
    """Of the points; 0 where no contour is near."""


def outline_confidence(state: HeadState, centre: Float[Tensor, "*b 3"], seen: OutlineViews) -> Float[Tensor, "*b w o"]:
    """Of each point, by how the head is turned in the view: of a turned head the far side alone is an outline."""
    towards = -(seen.translation[..., None, :] @ seen.rotation)[..., 0, :] - centre[..., None, :]
    direction = towards / torch.linalg.vector_norm(towards, dim=-1, keepdim=True)
    turn = (direction * state.rotation[..., None, :, 0]).sum(-1)[..., None]
    side = torch.from_numpy(SIDE).to(turn)
    # The camera on the subject's left (+x) sees the left cheek from ahead: its outline is the right one's.
    near = (turn * side).clamp_min(0)
    of_side = ((FAR_SIDE - near) / (FAR_SIDE - BOTH_SIDES)).clamp(0, 1)
    of_turn = ((TOO_FAR - turn.abs()) / (TOO_FAR - TRUSTED)).clamp(0, 1)
    return seen.confidence * of_side * of_turn


def find_feet(
    vertices_world: Float[Tensor, "t v 3"],
    edges: ContourEdges,
    seen: OutlineViews,
    confidence: Float[Tensor, "t w o"],
) -> ContourFeet:
    """The nearest visible contour of each point in each view, for heads as they are now."""
    in_camera = vertices_world[:, None] @ seen.rotation.mT + seen.translation[..., None, :]
    depth = in_camera[..., 2].clamp_min(NEAREST_M)
    plane = in_camera[..., :2] / depth[..., None]
    corners = plane[..., edges.faces.long(), :]
    ab, ac = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    # Counter-clockwise from outside; the picture's y points down.
    front = ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0] < 0
    of_edge = front[..., edges.sides]
    visible = _visible(plane, depth, edges, seen) & (of_edge[..., 0] != of_edge[..., 1])
    found = [
        _nearest(plane[t, w], front[t, w], edges, visible[t, w], (seen.points[t, w], seen.normals[t, w], depth[t, w]))
        for t in range(len(vertices_world))
        for w in range(seen.points.shape[1])
    ]
    shape = seen.points.shape[:2]
    ends, share, normals, near = (torch.stack(part).unflatten(0, shape) for part in zip(*found, strict=True))
    return ContourFeet(ends, share, normals, confidence * near)


def _visible(
    plane: Float[Tensor, "t w v 2"], depth: Float[Tensor, "t w v"], edges: ContourEdges, seen: OutlineViews
) -> Bool[Tensor, "t w e"]:
    """Edges whose middle nothing of the head hides."""
    scale = (WINDOW * FACE_SHARE / seen.face_size)[..., None, None]
    middle = (seen.points.amin(-2) + seen.points.amax(-2))[..., None, :] / 2
    screen = torch.cat([(plane - middle) * scale + WINDOW / 2, depth[..., None]], -1)
    drawn = rasterize(screen.flatten(0, 1).float(), edges.faces, (WINDOW, WINDOW))
    surface = torch.where(drawn.face_index >= 0, drawn.depth, torch.inf)[:, None]
    # At the very contour a middle is half beside its triangle: the farthest of the pixels about it counts.
    surface = torch.nn.functional.max_pool2d(surface, 3, 1, 1)[:, 0].unflatten(0, depth.shape[:2])
    at = screen[..., edges.ends, :].mean(-2)
    column, row = (at[..., axis].floor().long() for axis in (0, 1))
    inside = (column >= 0) & (column < WINDOW) & (row >= 0) & (row < WINDOW)
    index = (row.clamp(0, WINDOW - 1) * WINDOW + column.clamp(0, WINDOW - 1)).flatten(2)
    there = surface.flatten(2).gather(2, index)
    return inside & (at[..., 2] <= there + BEHIND_M)


def _nearest(
    plane: Float[Tensor, "v 2"],
    front: Bool[Tensor, "f"],
    edges: ContourEdges,
    visible: Bool[Tensor, "e"],
    outline: tuple[Float[Tensor, "o 2"], Float[Tensor, "o 2"], Float[Tensor, "v"]],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of one view: ends, share, normal and whether there is any near, of each point's foot."""
    points, normals, depth = outline
    chosen = visible.nonzero()[:, 0]
    if len(chosen) == 0:
        none = points.new_zeros(len(points))
        return none.long()[:, None].expand(-1, 2), none, normals, none
    ends, sides = edges.ends[chosen], edges.sides[chosen]
    a, b = plane[ends[:, 0]], plane[ends[:, 1]]
    along = b - a
    square = (along**2).sum(1).clamp_min(1e-18)
    across = torch.stack([along[:, 1], -along[:, 0]], 1) / square.sqrt()[:, None]
    facing = torch.where(front[sides[:, 0]], sides[:, 0], sides[:, 1])
    inwards = plane[edges.faces[facing].long()].mean(1) - a
    across = across * torch.where((inwards * across).sum(1) > 0, -1.0, 1.0)[:, None]
    share = (((points[:, None] - a) * along).sum(-1) / square).clamp(0, 1)
    foot = a + share[..., None] * along
    distance = torch.linalg.vector_norm(points[:, None] - foot, dim=-1)
    distance = torch.where(normals @ across.T > AGREEING, distance, torch.inf)
    least, edge = distance.min(1)
    near = least * depth[ends[edge, 0]] < REACH_M
    return ends[edge], share.gather(1, edge[:, None])[:, 0], across[edge], near.to(points)


def contour_rows(
    points: LinearPoints,
    state: HeadState,
    centre: Float[Tensor, "t 3"],
    seen: OutlineViews,
    feet: ContourFeet,
    modes: int | None = None,
) -> Rows:
    """One row a point and view: how far it lies from its contour, along the contour's normal."""
    frames = [_rows_of_frame(points, state, centre, seen, feet, (frame, modes)) for frame in range(len(state.curves))]
    return Rows.stacked(frames, state.curves.device)


def _rows_of_frame(
    points: LinearPoints,
    state: HeadState,
    centre: Float[Tensor, "t 3"],
    seen: OutlineViews,
    feet: ContourFeet,
    which: tuple[int, int | None],
) -> Rows:
    frame, modes = which
    at = HeadState(*(getattr(state, field.name)[frame] for field in fields(state)))
    ends, share = feet.ends[frame].flatten(0, 1), feet.share[frame].flatten()[:, None]
    first, second = points.at(ends[:, 0]), points.at(ends[:, 1])
    on_edge = LinearPoints(
        *((1 - share) * getattr(first, f.name) + share * getattr(second, f.name) for f in fields(LinearPoints))
    )
    rotation, translation = seen.rotation[frame], seen.translation[frame]
    world = on_edge.in_world(at).unflatten(0, feet.share.shape[1:])
    in_camera = world @ rotation.mT + translation[:, None]
    depth = in_camera[..., 2]
    usable = (depth > NEAREST_M) & (feet.confidence[frame] > 0)
    depth = depth.clamp_min(NEAREST_M)
    projected = in_camera[..., :2] / depth[..., None]
    normals = feet.normals[frame]
    across = ((projected - seen.points[frame]) * normals).sum(-1) - INSIDE_M / depth
    sigma = OUTLINE_SIGMA_M / depth
    kernel = geman_mcclure(across / sigma, ROBUST_SIGMAS)
    root = torch.where(usable, feet.confidence[frame] * kernel, 0.0).sqrt() / sigma
    # d (n.(x/z, y/z) - inside / z) / d point; sigma and the kernel stand within a step.
    slope = -((projected * normals).sum(-1) - INSIDE_M / depth) / depth
    gradient = torch.cat([normals / depth[..., None], slope[..., None]], -1) @ rotation
    gradient = (gradient * root[..., None]).flatten(0, 1)
    return Rows((across * root).flatten(), *chain_rule(on_edge, at, centre[frame], gradient, modes=modes))
