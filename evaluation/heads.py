"""How near a fitted head comes to the truth, and to the depth that was measured.

The words are those of docs/conventions.md: the face is the exterior triangles of the face region that at least one
camera sees; vertex error takes no alignment, because the rig is metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from evaluation.gaze import BLINKS, find_eyes, gaze_figures, open_eyes
from evaluation.motion import blink_figures, jitter_figures, lag_figures, silent_gaps, still_parts
from evaluation.truth import Truth
from evaluation.worlds import truth_from_take
from flame_fitting.evidence import DepthImage
from geometry.cameras import Camera
from geometry.distance import point_to_mesh_distance
from geometry.meshes import Mesh, face_normals
from geometry.transforms import RigidTransform
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
    frame_state: UInt8[np.ndarray, "t"] | None = None
    """0 and 2 where the frame was fitted, 2 to depth alone; other values: it was not. None: the fit does not say."""

    @classmethod
    def read(cls, take: Take) -> FittedHead:
        """Raises InputError naming `mien fit` when there is none."""
        result = take.results.read("fit")
        state = np.asarray(result["frame_state"]) if "frame_state" in result.arrays else None
        vertices, faces, region, curves = (
            np.asarray(result[name]) for name in ("vertices", "faces", "face_region", "curves")
        )
        return cls(vertices, faces, region.astype(bool), curves, result["curves"].labels("curve"), state)


def head_figures(take: Take, head: FittedHead, truth: Truth) -> dict[str, float]:
    """Errors of vertices, expression, gaze and motion against a drawn subject; none for a scan.

    Vertices, and what is measured by them, only where the model's topology is the subject's. A take whose rig has a
    world of its own is brought into the truth's by its cameras.
    """
    if not truth.has_curves:
        return {}
    triggers = [truth.trigger_of(take, frame) for frame in range(take.frame_count)]
    curves = np.asarray(truth.curves[triggers])
    figures: dict[str, float] = {}
    if head.vertices.shape[1:] == truth.vertices.shape[1:]:
        figures |= mesh_figures(head, truth, triggers, truth_from_take(take.rig, truth.rig))
    figures |= expression_figures(head.curves, curves, truth.curve_names)
    counted = _counted(truth.curve_names)
    figures |= lag_figures(head.curves[:, counted], curves[:, counted])
    blinking = [column for column, name in enumerate(truth.curve_names) if name in BLINKS]
    return figures | blink_figures(head.curves[:, blinking], curves[:, blinking])


def mesh_figures(
    head: FittedHead, truth: Truth, triggers: list[int], truth_from_take: RigidTransform
) -> dict[str, float]:
    """What the vertices tell, in the truth's world: their error, gaze, jitter, and gaps that nobody named."""
    fitted = truth_from_take @ head.vertices.astype(np.float64)
    true = truth.vertices[triggers].astype(np.float64)
    seen = np.stack([seen_vertices(shape, truth.faces, truth.face_mask, truth.rig.cameras) for shape in true])
    apart_mm = np.linalg.norm(fitted - true, axis=2) * 1000
    figures = {
        "vertex_error_mm_median": float(np.median(apart_mm[seen])),
        "vertex_error_mm_p95": float(np.percentile(apart_mm[seen], 95)),
        "vertex_error_mm_worst_frame": float(np.max([np.median(a[s]) for a, s in zip(apart_mm, seen, strict=True)])),
    }
    in_head = np.stack([truth.in_head(trigger) for trigger in triggers])
    eyes = find_eyes(in_head[int(truth.curves[triggers].sum(1).argmin())], truth.faces)
    if eyes is not None:
        is_open = open_eyes(truth.curves[triggers], truth.curve_names)
        figures |= gaze_figures(eyes.gaze(fitted), eyes.gaze(true), is_open)
    figures |= jitter_figures(fitted, true, still_parts(in_head) & seen)
    return figures | {"silent_gaps": float(silent_gaps(head.vertices, true, head.frame_state))}


def expression_figures(
    fitted: Float[np.ndarray, "t e"], true: Float[np.ndarray, "t e"], names: tuple[str, ...]
) -> dict[str, float]:
    """Error of the curves against the all-zero predictor's, and over the curve-frames that are active."""
    counted = _counted(names)
    error, size = np.abs(fitted - true)[:, counted], np.abs(true)[:, counted]
    active = true[:, counted] > ACTIVE
    return {
        "expression_ratio": float(error.mean() / max(size.mean(), 1e-12)),
        "expression_mae_active": float(error[active].mean()) if active.any() else float("nan"),
        "expression_mae": float(error.mean()),
    }


def _counted(names: tuple[str, ...]) -> list[int]:
    """Columns of the curves that move the skin."""
    return [column for column, name in enumerate(names) if not name.startswith(NOT_COUNTED)]


def seen_vertices(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    face_mask: Bool[np.ndarray, "f"],
    cameras: tuple[Camera, ...],
) -> Bool[np.ndarray, "v"]:
    """Corners of the face's triangles that at least one camera sees from outside."""
    seen = np.zeros(len(vertices), bool)
    seen[np.unique(faces[seen_triangles(vertices, faces, cameras) & face_mask])] = True
    return seen


def seen_triangles(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], cameras: Sequence[Camera]
) -> Bool[np.ndarray, "f"]:
    """Triangles that at least one camera sees from outside."""
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
    return seen_faces


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
