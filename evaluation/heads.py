"""How near a fitted head comes to the truth, and to the depth that was measured.

The words are those of docs/conventions.md: the face is the exterior triangles of the face region that at least one
camera sees; vertex error takes no alignment, because the rig is metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from evaluation.truth import Truth
from flame_fitting.evidence import DepthImage
from geometry.cameras import Camera
from geometry.distance import point_to_mesh_distance
from geometry.meshes import Mesh, face_normals
from rendering.arrays import rasterize_arrays
from storage.take import Take

NOT_COUNTED = ("eyeLook", "tongueOut")
"""Gaze and tongue hardly move the skin: `expression_ratio` leaves them out."""
ACTIVE = 0.1
FACE_REACH_M = 0.03
"""Depth farther than this from the fitted face is hair, hand or backdrop."""
POINTS_A_PICTURE = 4000
"""Evenly spread pixels of each depth picture that are compared: the median does not change with more."""


@dataclass(frozen=True, eq=False)
class FittedHead:
    """What `mien fit` stored, as evaluation needs it."""

    vertices: Float[np.ndarray, "t v 3"]
    """World, metres, for each frame set."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    face_region: Bool[np.ndarray, "v"]
    """Vertices of the face."""
    curves: Float[np.ndarray, "t e"]
    """ARKit curves."""
    curve_names: tuple[str, ...]
    """Their names."""

    @classmethod
    def read(cls, take: Take) -> FittedHead:
        """Raises InputError naming `mien fit` when there is none."""
        result = take.results.read("fit")
        vertices, faces, region, curves = (
            np.asarray(result[name]) for name in ("vertices", "faces", "face_region", "curves")
        )
        return cls(vertices, faces, region.astype(bool), curves, result["curves"].labels("curve"))


def head_figures(take: Take, head: FittedHead, truth: Truth) -> dict[str, float]:
    """Vertex and expression errors against a drawn subject of the same topology; none for a scan."""
    if not truth.has_curves:
        return {}
    triggers = [truth.trigger_of(take, frame) for frame in range(take.frame_count)]
    errors = []
    for frame, trigger in enumerate(triggers):
        seen = seen_vertices(truth.vertices[trigger].astype(float), truth.faces, truth.face_mask, truth.rig.cameras)
        distance = np.linalg.norm(head.vertices[frame] - truth.vertices[trigger], axis=1)
        errors.append(distance[seen] * 1000)
    error_mm = np.concatenate(errors)
    figures = {
        "vertex_error_mm_median": float(np.median(error_mm)),
        "vertex_error_mm_p95": float(np.percentile(error_mm, 95)),
    }
    return figures | expression_figures(head.curves, truth.curves[triggers], truth.curve_names)


def expression_figures(
    fitted: Float[np.ndarray, "t e"], true: Float[np.ndarray, "t e"], names: tuple[str, ...]
) -> dict[str, float]:
    """Error of the curves against the all-zero predictor's, and over the curve-frames that are active."""
    counted = [column for column, name in enumerate(names) if not name.startswith(NOT_COUNTED)]
    error, size = np.abs(fitted - true)[:, counted], np.abs(true)[:, counted]
    active = true[:, counted] > ACTIVE
    return {
        "expression_ratio": float(error.mean() / max(size.mean(), 1e-12)),
        "expression_mae_active": float(error[active].mean()) if active.any() else float("nan"),
        "expression_mae": float(error.mean()),
    }


def seen_vertices(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    face_mask: Bool[np.ndarray, "f"],
    cameras: tuple[Camera, ...],
) -> Bool[np.ndarray, "v"]:
    """Corners of the face's triangles that at least one camera sees from outside."""
    seen_faces = np.zeros(len(faces), bool)
    normals, middles = face_normals(vertices, faces), vertices[faces].mean(1)
    for camera in cameras:
        pixels, depth = camera.project(vertices)
        if depth.min() <= 0:
            continue
        fragments = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), faces, camera.image_size_hw)
        shown = np.zeros(len(faces), bool)
        shown[np.unique(fragments.face_index[fragments.mask])] = True
        seen_faces |= shown & (((camera.centre_world - middles) * normals).sum(1) > 0)
    seen = np.zeros(len(vertices), bool)
    seen[np.unique(faces[seen_faces & face_mask])] = True
    return seen


def depth_figures(take: Take, head: FittedHead) -> dict[str, float]:
    """Distance of the measured depth to the fitted face, points to triangles; needs no truth."""
    triangles = np.asarray(head.face_region[head.faces].all(1))
    distances = []
    for frame in range(take.frame_count):
        vertices = head.vertices[frame].astype(np.float64)
        for camera in take.rig.depth:
            depth = take.depth_m(camera.id, frame)
            if depth is None:
                continue
            points = face_points(DepthImage.cleaned(camera, depth), vertices, head.faces, triangles)
            points = points[:: max(1, len(points) // POINTS_A_PICTURE)]
            if len(points):
                distances.append(point_to_mesh_distance(points, vertices, head.faces).distance * 1000)
    if not distances:
        return {}
    distance_mm = np.concatenate(distances)
    return {
        "depth_to_mesh_mm_median": float(np.median(distance_mm)),
        "depth_to_mesh_mm_p95": float(np.percentile(distance_mm, 95)),
    }


def face_points(
    image: DepthImage,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    face_triangles: Bool[np.ndarray, "f"],
) -> Float[np.ndarray, "n 3"]:
    """World points of the depth pixels that show the face, metres."""
    camera = image.camera
    pixels, depth = camera.project(vertices)
    fragments = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), faces, camera.image_size_hw)
    near = np.abs(image.depth_m - fragments.depth) < FACE_REACH_M
    usable = fragments.mask & face_triangles[fragments.face_index] & (image.depth_m > 0) & near
    row, column = np.nonzero(usable)
    ray = camera.pixels_to_normalised(np.stack([column + 0.5, row + 0.5], 1).astype(float))
    points_camera = np.concatenate([ray, np.ones((len(row), 1))], 1) * image.depth_m[usable][:, None].astype(float)
    return camera.world_from_camera @ points_camera


def surface_figures(surface: Mesh, true: Mesh, seen: Bool[np.ndarray, "v"]) -> dict[str, float]:
    """Fused surface to truth (accuracy) and seen true vertices to surface (completeness), millimetres and shares."""
    accuracy = point_to_mesh_distance(surface.vertices, true.vertices, true.faces).distance * 1000
    completeness = point_to_mesh_distance(true.vertices[seen], surface.vertices, surface.faces).distance * 1000
    precision, recall = float((accuracy < 1).mean()), float((completeness < 1).mean())
    return {
        "surface_accuracy_mm_median": float(np.median(accuracy)),
        "surface_completeness_mm_median": float(np.median(completeness)),
        "surface_f_score_1mm": 2 * precision * recall / max(precision + recall, 1e-12),
    }
