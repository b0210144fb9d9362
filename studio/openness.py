"""How much of the ambient light reaches each vertex: crude ambient occlusion of the template."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from flame_fitting.models.head_model import HeadModel
from geometry.meshes import vertex_normals
from rendering.arrays import rasterize_arrays


def ambient_openness(model: HeadModel, directions: int = 64, size_px: int = 384) -> Float[np.ndarray, "v"]:
    """Share of the ambient light that reaches each vertex of the template, in [0, 1].

    The cosine-weighted share of directions from which a vertex is seen, by depth maps from far away (crude ambient
    occlusion, after Landis 2002); softened over neighbours and bounded below where expressions open what the neutral
    face hides: lids, eyeballs and the lips' inner edge. The mouth's inside stays dark.
    """
    vertices = model.template.numpy().astype(np.float64)
    faces = model.faces.numpy()
    normals = vertex_normals(vertices, faces)
    centred = vertices - (vertices.min(0) + vertices.max(0)) / 2
    scale = size_px * 0.48 / np.linalg.norm(centred, axis=1).max()
    far, seen, total = 10.0, np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    # A Fibonacci sphere: even directions.
    height = 1 - (2 * np.arange(directions) + 1) / directions
    turn = np.arange(directions) * np.pi * (3 - np.sqrt(5))
    ring = np.sqrt(1 - height**2)
    for towards in np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], 1):
        right = np.cross([0.0, 1.0, 0.0], towards)
        right /= np.linalg.norm(right)
        up = np.cross(towards, right)
        offset = centred + 0.0008 * normals  # off the surface, so that it does not hide itself
        screen = np.stack([centred @ right * scale, -centred @ up * scale, far - centred @ towards], 1)
        screen[:, :2] += size_px / 2
        depth = rasterize_arrays(screen, faces, (size_px, size_px)).depth
        column = np.clip((offset @ right * scale + size_px / 2).astype(int), 0, size_px - 1)
        row = np.clip((-offset @ up * scale + size_px / 2).astype(int), 0, size_px - 1)
        nearest = np.where(depth[row, column] > 0, depth[row, column], np.inf)
        weight = np.clip(normals @ towards, 0, 1)
        total += weight
        seen += weight * (far - offset @ towards < nearest + 0.0015)
    openness = seen / total
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    for _ in range(2):
        mean = np.bincount(edges[:, 0], openness[edges[:, 1]], len(vertices))
        openness = (openness + mean / np.maximum(np.bincount(edges[:, 0], minlength=len(vertices)), 1)) / 2
    least = np.full(len(vertices), 0.25)
    least[model.region("mouth_interior").numpy() & ~model.region("skin").numpy()] = 0.22
    eyes = model.region("eyes").numpy()
    joints = model.joints.numpy()[[model.joint_names.index("eye_left"), model.joint_names.index("eye_right")]]
    near_eye = np.linalg.norm(vertices[:, None] - joints, axis=2).min(1) < 0.026
    least[near_eye] = 0.6
    least[eyes] = 0.8
    return np.maximum(openness, least)
