"""A made-up head with everything that exporters have to carry."""

from __future__ import annotations

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from export.gltf import AssetMetadata, HeadAnimation, HeadAsset

N_TARGETS = 52
N_FRAMES = 9


def rigid(rotvec: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Rigid 4x4 matrices from rows of axis-angle vectors and of translations."""
    matrices = np.tile(np.eye(4), (len(rotvec), 1, 1))
    matrices[:, :3, :3], matrices[:, :3, 3] = Rotation.from_rotvec(rotvec).as_matrix(), translation
    return matrices


def _texture() -> np.ndarray:
    """Every texel is its own colour: red counts columns, green counts rows, the top left corner is blue."""
    rows, columns = np.mgrid[0:64, 0:128]
    texture = np.stack([columns * 2, rows * 4, np.zeros_like(rows)], axis=2).astype(np.uint8)
    texture[:8, :8, 2] = 255
    return texture


def _animation(rng: np.random.Generator) -> HeadAnimation:
    """Uneven frame times, sparse curves with exact ends, and a head that turns by more than a full turn."""
    time_s = np.cumsum(rng.uniform(0.01, 0.05, N_FRAMES)) - 0.01
    weights = rng.uniform(0, 1, (N_FRAMES, N_TARGETS)) * (rng.uniform(size=(N_FRAMES, N_TARGETS)) > 0.6)
    weights[0], weights[3, 7] = 0.0, 1.0
    turns = np.linspace(0, 2.5 * np.pi, N_FRAMES)[:, None] * np.array([0.1, 1.0, 0.2])
    return HeadAnimation(time_s, weights, rigid(turns, rng.normal(0, 0.03, (N_FRAMES, 3))))


def synthetic_head() -> HeadAsset:
    """An egg with a UV seam down its back, 50 local targets, a global one and one that does nothing."""
    rng = np.random.default_rng(2)
    sphere = trimesh.creation.icosphere(subdivisions=3)
    directions, faces = np.asarray(sphere.vertices), np.asarray(sphere.faces)
    vertices = directions * [0.08, 0.12, 0.1] + [0.0, 0.1, 0.02]

    # Seen from +z: longitude grows to the right, the seam is at the back.
    turn = np.arctan2(directions[:, 0], directions[:, 2]) / (2 * np.pi) + 0.5
    height = np.arcsin(directions[:, 1].clip(-1, 1)) / np.pi + 0.5
    corner_turn = turn[faces]
    corner_turn += (corner_turn < 0.25) & (corner_turn.max(axis=1, keepdims=True) > 0.75)
    corners = np.stack([0.05 + 0.7 * corner_turn, 0.05 + 0.9 * height[faces]], axis=2)
    uv, uv_faces = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    assert len(uv) > len(vertices)

    centres = vertices[rng.choice(len(vertices), N_TARGETS, replace=False)]
    distance = np.linalg.norm(vertices - centres[:, None], axis=2)
    falloff = (1 - (distance / 0.05) ** 2).clip(0) ** 2
    falloff[50] = 1 + distance[50]
    falloff[51] = 0
    offsets = falloff[..., None] * rng.normal(0, 0.01, (N_TARGETS, 1, 3))
    return HeadAsset(
        vertices=vertices,
        faces=faces,
        uv=uv,
        uv_faces=uv_faces.reshape(-1, 3),
        morph_names=tuple(f"target{i:02d}" for i in range(N_TARGETS)),
        morph_offsets=offsets,
        base_colour=_texture(),
        metadata=AssetMetadata(
            subject="subject-Ä7",
            licence="CC0-1.0",
            tool_version="0.1.0",
            world_from_origin=rigid(np.array([[0.0, 0.3, 0.0]]), np.array([[0.2, 1.35, -0.4]]))[0],
            provenance=(("take", "t1"), ("fit", "sha256:00")),
        ),
        animation=_animation(rng),
    )
