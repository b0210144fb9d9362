"""Distance of every depth pixel to the head along the head's normals, gathered at the vertices.

Association is projective: a pixel belongs to the triangle that the head shows there (Blais & Levine 1995; Newcombe et
al. 2011). A pixel's row has the derivative sum_k b_k n.J_k over its triangle's corners; instead of one row a pixel, its
residual and weight are shared out to the corners by the barycentric weights b_k. The gradient stays exact, and by
Jensen's inequality ( (sum b x)^2 <= sum b x^2 ) the gathered Hessian lies above the true one: each step descends, and
100,000 pixels cost as much as 2,000 vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flame_fitting.evidence import DepthImage
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows, chain_rule
from geometry.meshes import vertex_normals
from rendering.arrays import rasterize_arrays
from rendering.screen import screen_window

SENSOR_SIGMA_M, SENSOR_SIGMA_AT_M = 1.5e-3, 0.8
"""Depth noise of a time-of-flight camera, growing with distance squared."""
CORRELATED_PIXELS = 25.0
"""Noise is correlated over neighbours: so many pixels tell as much as one independent one."""
MODEL_SIGMA_M = 4e-4
"""What the model cannot express, per vertex."""
MIN_COSINE = 0.25
"""Pixels that graze the surface say little about it and more about the sensor's faults."""
MARGIN_PX = 4


@dataclass(frozen=True)
class DepthGate:
    """Which pixels count."""

    reach_m: float
    """Pixels farther than this from the head belong to something else (hair, hands, backdrop)."""
    robust_m: float
    """Scale of the Geman-McClure kernel."""


@dataclass(frozen=True, eq=False)
class GatheredDepth:
    """All depth cameras' residuals of one frame, at the vertices."""

    weight: Float[np.ndarray, "v"]
    """Sum of inverse variances of the pixels about a vertex, 1/m^2."""
    residual_m: Float[np.ndarray, "v"]
    """Their weighted mean distance outside the head, along its normal, metres."""
    normals: Float[np.ndarray, "v 3"]
    """Normals of the head, in the world."""
    pixels: int
    """How many pixels took part."""


def gather_depth(
    vertices_world: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    counted_faces: Bool[np.ndarray, "f"],
    images: tuple[DepthImage, ...],
    gate: DepthGate,
) -> GatheredDepth:
    """Residuals of every depth pixel against the head as it is now.

    `counted_faces` are those a depth pixel may attach to; the others only hide what is behind them.
    """
    normals = vertex_normals(vertices_world, faces)
    weight, moment = np.zeros(len(vertices_world)), np.zeros(len(vertices_world))
    pixels = 0
    for image in images:
        window = screen_window(image.camera, vertices_world, MARGIN_PX)
        if window is None:
            continue
        fragments = rasterize_arrays(window.vertices_screen, faces, (window.height, window.width))
        observed = image.depth_m[window.place]
        index = fragments.face_index
        usable = (index >= 0) & (observed > 0)
        usable &= counted_faces[index] & (np.abs(observed - fragments.depth) < gate.reach_m)
        row, column = np.nonzero(usable)
        if not len(row):
            continue
        corners = faces[index[usable]]
        barycentric = fragments.barycentric[usable].astype(np.float64)
        normal = np.einsum("pk,pkc->pc", barycentric, normals[corners])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        centre = np.stack([column + window.left + 0.5, row + window.top + 0.5], 1)
        ray_camera = np.concatenate([image.camera.pixels_to_normalised(centre), np.ones((len(row), 1))], 1)
        along = np.einsum("pc,pc->p", normal, image.camera.world_from_camera.rotate(ray_camera))
        cosine = -along / np.linalg.norm(ray_camera, axis=1)
        z = observed[usable].astype(np.float64)
        distance = along * (z - fragments.depth[usable])
        sigma = SENSOR_SIGMA_M * (z / SENSOR_SIGMA_AT_M) ** 2 * np.maximum(cosine, MIN_COSINE)
        robust = 1 / (1 + (distance / gate.robust_m) ** 2) ** 2
        w = np.where(cosine > MIN_COSINE, robust / sigma**2, 0) / CORRELATED_PIXELS
        for k in range(3):
            share = barycentric[:, k] * w
            weight += np.bincount(corners[:, k], share, len(weight))
            moment += np.bincount(corners[:, k], share * distance, len(weight))
        pixels += int((cosine > MIN_COSINE).sum())
    return GatheredDepth(weight, moment / np.maximum(weight, 1e-12), normals, pixels)


def depth_rows(
    points: LinearPoints,
    state: HeadState,
    centre: Float[Tensor, "3"],
    gathered: GatheredDepth,
    trust: Float[Tensor, "v"],
) -> Rows:
    """Rows of the gathered distances; `trust` scales what each vertex counts (0 leaves it out)."""
    information = torch.from_numpy(gathered.weight)
    precision = trust / (1 / information.clamp_min(1e-9) + MODEL_SIGMA_M**2)
    rows = torch.nonzero((information > 1) & (trust > 0)).squeeze(1)
    weight = precision[rows].sqrt()
    gradient = torch.from_numpy(gathered.normals)[rows] * weight[:, None]
    residual = -torch.from_numpy(gathered.residual_m)[rows] * weight
    return Rows(residual, *chain_rule(points, state, centre, gradient, rows))
