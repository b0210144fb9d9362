"""How far a head is, by depth, before anybody knows how large it is.

Landmarks of one picture tell a size over a distance: a child's head that is taken for the average one stands some
centimetres too far away, where the depth of its own face is another body's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from flame_fitting.evidence import DepthImage
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.losses.point_to_plane import MIN_COSINE
from flame_fitting.scene import FrameObservations, HeadScene
from rendering.distances import vertex_normals

TOO_FAR_M = 0.02
"""Heads that stand closer to their depth than this are left to the fit, whose gates are wider."""
LARGEST_SHIFT_M = 0.3
"""Depth farther away than this is not a face that was taken for a larger or a smaller one."""
LEAST_MEASURED = 0.3
"""Share of the landmarks that must face a camera and have a depth there."""
TURNS = 4
"""Moved heads cover other pixels."""


def placed_by_depth(
    scene: HeadScene, states: Sequence[HeadState], seen: Sequence[FrameObservations]
) -> list[HeadState]:
    """Heads moved along the depth cameras' rays to where depth was measured behind their landmarks."""
    return [_placed(scene, state, each.depth) for state, each in zip(states, seen, strict=True)]


def _placed(scene: HeadScene, state: HeadState, pictures: Sequence[DepthImage]) -> HeadState:
    moved = state
    for turn in range(TURNS):
        vertices = scene.surface.in_world(HeadState.stacked([moved]))
        normals = vertex_normals(vertices, scene.drawn.faces)[0]
        marks, facing = (scene.embedding.on(values).cpu().numpy() for values in (vertices[0], normals))
        told = [pair for pair in (_distance(marks, facing, picture) for picture in pictures) if pair is not None]
        if not told:
            return state
        # Least squares of least length: along the ray of a single camera.
        shift = np.linalg.lstsq(np.stack([ray for ray, _ in told]), np.array([far for _, far in told]), rcond=1e-3)[0]
        if turn == 0 and np.linalg.norm(shift) < TOO_FAR_M:
            return state
        moved = replace(moved, translation=moved.translation + torch.from_numpy(shift).to(moved.translation))
        if float(torch.linalg.vector_norm(moved.translation - state.translation)) > LARGEST_SHIFT_M:
            return state
    return moved


def _distance(
    marks: Float[np.ndarray, "l 3"], normals: Float[np.ndarray, "l 3"], picture: DepthImage
) -> tuple[Float[np.ndarray, "3"], float] | None:
    """Unit ray to the head and how much farther along it than the landmarks depth is; None where too few have any.

    A landmark on the far side has another surface before it: half of a studio's cameras see the back of the head.
    """
    camera = picture.camera
    pixels, depth = camera.project(marks)
    if (depth <= 0).any():
        return None
    column, row = np.floor(pixels).astype(int).T
    height, width = picture.depth_m.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    measured = np.zeros(len(marks))
    measured[inside] = picture.depth_m[row[inside], column[inside]]
    towards = camera.world_from_camera.translation - marks
    towards = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    known = (measured > 0) & ((normals * towards).sum(1) > MIN_COSINE)
    if known.mean() < LEAST_MEASURED:
        return None
    to_head = marks.mean(0) - camera.world_from_camera.translation
    ray = to_head / np.linalg.norm(to_head)
    along_axis = float(ray @ camera.world_from_camera.rotation[:, 2])
    return ray, float(np.median((measured - depth)[known])) / along_axis
