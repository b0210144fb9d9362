"""How near a fused surface comes to the face that the depth cameras saw, by area and not by vertices.

Vertices crowd in lips and lids, and a mesh of another resolution would be another measure: so both surfaces are
sampled evenly. Accuracy is measured of the fused surface's samples whose nearest true triangle is one of the face's,
completeness of the face's samples. Only triangles that some depth camera sees take part, because no fusion of depth
shows others.
Source: Knapitsch et al. 2017, "Tanks and Temples", section 4 (precision, recall and F-score at a distance).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from evaluation.heads import seen_triangles
from geometry.cameras import Camera
from geometry.distance import point_to_mesh_distance
from geometry.meshes import Mesh, face_normals

SAMPLES = 20_000
"""Of either surface: the median repeats to a hundredth."""
WITHIN_MM = (0.5, 1.0, 2.0)
"""Distances of the F-scores."""


def face_figures(
    surface: Mesh, true: Mesh, face_mask: Bool[np.ndarray, "f"], cameras: Sequence[Camera], seed: int = 0
) -> dict[str, float]:
    """Accuracy, completeness and normals of a fused surface over the face; both meshes in the same frame, metres.

    `face_mask` tells the true triangles of the face, `cameras` are those whose depth was fused, as they truly stood.
    """
    random = np.random.default_rng(seed)
    shown = seen_triangles(true.vertices, true.faces, cameras) & face_mask
    wanted, _ = sample_evenly(true.vertices, true.faces[shown], SAMPLES, random)
    completeness = point_to_mesh_distance(wanted, surface.vertices, surface.faces).distance * 1000
    fused, normals = sample_evenly(surface.vertices, surface.faces, SAMPLES, random)
    nearest = point_to_mesh_distance(fused, true.vertices, true.faces)
    on_face = shown[nearest.face_index]
    accuracy = nearest.distance[on_face] * 1000
    true_normals = face_normals(true.vertices, true.faces)[nearest.face_index[on_face]]
    alike = (normals[on_face] * true_normals).sum(1) / np.maximum(np.linalg.norm(true_normals, axis=1), 1e-20)
    figures = {
        "accuracy_mm_median": float(np.median(accuracy)),
        "accuracy_mm_p95": float(np.percentile(accuracy, 95)),
        "completeness_mm_median": float(np.median(completeness)),
        "normal_deg_median": float(np.degrees(np.arccos(np.clip(np.median(alike), -1, 1)))),
    }
    for within in WITHIN_MM:
        precision, recall = float((accuracy < within).mean()), float((completeness < within).mean())
        name = f"{within:g}".replace(".", "_")
        figures[f"fscore_{name}mm"] = 2 * precision * recall / max(precision + recall, 1e-12)
    return figures


def sample_evenly(
    vertices: Float[np.ndarray, "v 3"], faces: np.ndarray, count: int, random: np.random.Generator
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Points on a mesh, as many on any two areas alike, and the unit normals there."""
    normals = face_normals(vertices, faces)
    doubled = np.linalg.norm(normals, axis=1)
    chosen = random.choice(len(faces), count, p=doubled / doubled.sum())
    cuts = np.sort(random.random((count, 2)), axis=1)
    shares = np.stack([cuts[:, 0], cuts[:, 1] - cuts[:, 0], 1 - cuts[:, 1]], 1)
    points = (vertices[faces[chosen]] * shares[..., None]).sum(1)
    return points, normals[chosen] / np.maximum(doubled[chosen, None], 1e-20)
