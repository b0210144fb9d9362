"""Known heads in colour: painted by a smooth pattern, lit by harmonics, seen by small cameras."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float

from flame_fitting.evidence import ColourImage
from flame_fitting.losses.linear_head import HeadState
from geometry.cameras import Camera
from geometry.meshes import vertex_normals
from rendering.arrays import interpolate_arrays, rasterize_arrays
from rendering.colour import linear_to_srgb
from rendering.shading import irradiance
from tests.flame_fitting.exact_heads import COLOUR, scaled_camera, scene

CAMERAS = tuple(scaled_camera(by, 2) for by in COLOUR)
WAVE_M = 0.02
"""Of the pattern on the skin."""


def studio(seed: int) -> Float[np.ndarray, "9 3"]:
    """Soft light, stronger from one side."""
    light = np.random.default_rng(seed).normal(0, 0.15, (9, 3))
    light[0] += 1 / 0.282095
    return light


@cache
def paint() -> Float[np.ndarray, "v 3"]:
    """Linear albedo of the head's vertices."""
    random = np.random.default_rng(0)
    waves = random.normal(0, 2 * np.pi / WAVE_M / 2, (3, 12))
    pattern = np.sin(scene(0).surface.mean.numpy() @ waves + random.uniform(0, 6, 12))
    return np.clip(0.35 + 0.06 * pattern @ random.normal(size=(12, 3)), 0.05, 0.8)


def pictures(at: HeadState, light: Float[np.ndarray, "9 3"], cameras: tuple[Camera, ...] = CAMERAS):
    """What the cameras see of the head, on grey."""
    of = scene(0)
    vertices = of.surface.in_world(at).numpy()
    normals = vertex_normals(vertices, of.faces)
    images = []
    for by in cameras:
        pixels, depth = by.project(vertices)
        shown = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), of.faces, by.image_size_hw)
        albedo, normal = (interpolate_arrays(shown, of.faces, each) for each in (paint(), normals))
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
        linear = albedo * irradiance(light, normal.reshape(-1, 3).astype(np.float64)).reshape(albedo.shape)
        linear = np.where(shown.mask[..., None], linear, 0.2)
        images.append(ColourImage(by, linear_to_srgb(linear)))
    return tuple(images)


def of_points(of_vertices: np.ndarray) -> torch.Tensor:
    """Values of vertices carried to the skin's points."""
    points = scene(0).points
    corners = torch.from_numpy(of_vertices)[points.faces[points.face_of_point.long()].long()]
    return (corners * points.barycentric[..., None]).sum(1)
