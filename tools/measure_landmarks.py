"""Measure how far MediaPipe's landmarks are from where they belong on drawn heads, and how much they tremble.

    .venv/bin/python tools/measure_landmarks.py [--heads 12] [--seed 100] [--frames 4] [--json]

Prints for the simulated desk: the irises' bias and scatter in each view, by the network alone and by the rim in the
picture, in pixels and as degrees of gaze where all views meet; the mesh's trembling over a slowly moving head; and the
systematic offset of each landmark from the place where it is embedded on the model. The seeds are those for tuning,
apart from those that tests and figures use.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.eyes import find_irises
from flame_fitting.landmarks.iris import IrisNetwork
from flame_fitting.landmarks.landmarker import FaceLandmarker, FaceLandmarks
from flame_fitting.landmarks.weights import landmark_weights
from flame_fitting.models.contours import load_contours
from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.registry import load_head_model, load_landmark_embedding
from geometry.cameras import Camera
from geometry.meshes import vertex_normals
from geometry.transforms import RigidTransform
from studio.appearance import paint_appearance
from studio.people import choose_person
from studio.performance import perform
from studio.presets import FACE_CENTRE, desk
from studio.recorder import SimulationConfig, Stage, render_colour
from studio.sensors import draw_sensor_noise, sense_colour
from studio.skin_layers import IRIS_RADIUS_M
from studio.subject import draw_subject

OPEN_BELOW = 0.5
"""Eyes with a stronger eyeBlink are not measured."""
TREMBLING_FRAMES = 16


@dataclass(frozen=True, eq=False)
class Seen:
    """One picture of one head, and what was found in it."""

    head: int
    frame: int
    view: int
    camera: Camera
    vertices: Float[np.ndarray, "v 3"]
    face: FaceLandmarks
    network_px: Float[np.ndarray, "2 2"]
    rim_px: Float[np.ndarray, "2 2"]
    vote: Float[np.ndarray, "2"]
    is_open: tuple[bool, bool]


def main() -> None:
    """Render, find, compare and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--heads", type=int, default=12)
    arguments.add_argument("--seed", type=int, default=100)
    arguments.add_argument("--frames", type=int, default=4)
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    cv2.setNumThreads(1)
    model = load_head_model()
    rims = [_iris_rim(model, eye) for eye in (1, 0)]
    landmarker, network = FaceLandmarker.load(), IrisNetwork(landmark_weights().iris)
    seen: list[Seen] = []
    for head in range(chosen.seed, chosen.seed + chosen.heads):
        stage = _stage(model, head)
        picked = np.random.default_rng([head, 3]).choice(60, chosen.frames, replace=False)
        for frame in np.sort(picked).tolist():
            seen += _look(stage, frame, landmarker, network)
    figures = _iris_figures(seen, rims) | _offset_figures(seen, model)
    figures |= _trembling_figures(_stage(model, chosen.seed), landmarker)
    if chosen.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:44} {value:8.3f}")


def _stage(model: HeadModel, seed: int) -> Stage:
    person = choose_person("all", seed)
    subject = draw_subject(model, seed, person=person)
    face = model.region("face").numpy()
    place = FACE_CENTRE - subject.neutral[face].mean(0)
    performance = perform(np.arange(60) / 30.0, subject.expression_names, place, seed)
    rig = desk(30.0)
    noise = tuple(draw_sensor_noise("kinect", seed, number) for number in range(len(rig.cameras)))
    mask = np.asarray(face[subject.faces].all(1))
    appearance = paint_appearance(model, seed, person)
    return Stage(SimulationConfig(subject=seed), model, subject, appearance, performance, rig, noise, mask)


def _picture(
    stage: Stage, camera: Camera, vertices: np.ndarray, random: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    radiance, _ = render_colour(stage, camera, vertices)
    return sense_colour(radiance, stage.sensors[stage.rig.index(camera.id)], random)


def _look(stage: Stage, frame: int, landmarker: FaceLandmarker, network: IrisNetwork) -> list[Seen]:
    """What is found in all views of one frame set."""
    vertices = stage.vertices_world(frame)
    random = np.random.default_rng([stage.config.subject, 4, frame])
    names = stage.subject.expression_names
    blinks = [float(stage.performance.curves[frame][names.index(f"eyeBlink{side}")]) for side in ("Right", "Left")]
    found = []
    for view, camera in enumerate(stage.rig.rgb):
        picture = _picture(stage, camera, vertices, random)
        # As a take is searched: the quick way, and the thorough one where it finds nothing.
        faces = landmarker.faces(picture)
        face = faces[0] if faces else landmarker.detect(picture)
        if face is None:
            continue
        outlines = network.outline(picture, face.points_px)
        raw = np.array([outline.iris_px[0] if outline else (np.nan, np.nan) for outline in outlines])
        marks = find_irises(picture, face, network)
        is_open = (blinks[0] < OPEN_BELOW, blinks[1] < OPEN_BELOW)
        rim, vote = marks.points_px[[0, 5]], marks.confidence[[0, 5]]
        found.append(Seen(stage.config.subject, frame, view, camera, vertices, face, raw, rim, vote, is_open))
    return found


def _iris_rim(model: HeadModel, eye: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Triangles under the rim of the painted iris (0 the left eye's) and the weights of their corners."""
    template, faces = model.template.numpy().astype(float), model.faces.numpy()
    centre = template[load_contours("anny").pupils.numpy()[eye]].mean(0)
    eyes = model.region("eyes").numpy()
    near = faces[eyes[faces].all(1) & (np.linalg.norm(template[faces].mean(1) - centre, axis=1) < 0.015)]
    near = near[template[near, 2].min(1) > centre[2] - 0.01]
    a, b, c = (template[near[:, corner], :2] for corner in range(3))
    inverse = np.linalg.pinv(np.stack([b - a, c - a], axis=-1))
    rim = []
    for angle in np.arange(24) * 2 * np.pi / 24:
        aim = centre[:2] + IRIS_RADIUS_M * np.array([np.cos(angle), np.sin(angle)])
        two = np.einsum("nij,nj->ni", inverse, aim - a)
        weights = np.column_stack([1 - two.sum(1), two])
        inside = np.flatnonzero(weights.min(1) > -1e-6)
        hit = inside[np.argmax(template[near[inside]].mean(1)[:, 2])]  # the eyeball, not what lies behind it
        rim.append((near[hit], weights[hit]))
    return rim


def _iris_figures(seen: Sequence[Seen], rims: Sequence[list[tuple[np.ndarray, np.ndarray]]]) -> dict[str, float]:
    """Bias and scatter in each view, and degrees of gaze where the views meet."""
    figures: dict[str, float] = {}
    errors: dict[tuple[int, str], list[np.ndarray]] = {}
    groups: dict[tuple[int, int, int], list[tuple[Seen, np.ndarray]]] = {}
    for one in seen:
        for eye, rim in enumerate(rims):
            if not one.is_open[eye]:
                continue
            middle = np.mean([weights @ one.vertices[corners] for corners, weights in rim], axis=0)
            expected = one.camera.project(middle[None])[0][0]
            if np.isfinite(one.network_px[eye]).all():
                errors.setdefault((one.view, "network"), []).append(one.network_px[eye] - expected)
            if one.vote[eye] > 0.05:
                errors.setdefault((one.view, "rim"), []).append(one.rim_px[eye] - expected)
            groups.setdefault((one.head, one.frame, eye), []).append((one, middle))
    for (view, how), values in sorted(errors.items()):
        error = np.array(values)
        figures |= {f"iris_{how}_view{view}_bias_{axis}_px": float(error[:, k].mean()) for k, axis in enumerate("xy")}
        figures[f"iris_{how}_view{view}_scatter_px"] = float(np.sqrt(error.var(0).sum()))
        figures[f"iris_{how}_view{view}_median_px"] = float(np.median(np.linalg.norm(error, axis=1)))
    for how in ("network", "rim"):
        angles = [_gaze_error_deg(group, eye, how, rims[eye]) for (_, _, eye), group in groups.items()]
        known = np.array([angle for angle in angles if angle is not None])
        figures[f"iris_{how}_gaze_deg_median"] = float(np.median(known))
        figures[f"iris_{how}_gaze_deg_p95"] = float(np.percentile(known, 95))
        figures[f"iris_{how}_gaze_share"] = len(known) / len(angles)
    return figures


def _gaze_error_deg(
    group: Sequence[tuple[Seen, np.ndarray]], eye: int, how: str, rim: list[tuple[np.ndarray, np.ndarray]]
) -> float | None:
    """Angle about the eyeball's centre between the true iris and where the views' rays meet, weighted by votes."""
    total, aim = np.zeros((3, 3)), np.zeros(3)
    views = 0
    for one, _ in group:
        pixel = one.network_px[eye] if how == "network" else one.rim_px[eye]
        weight = float(np.isfinite(pixel).all()) if how == "network" else float(one.vote[eye])
        if weight <= 0:
            continue
        ray = np.append(one.camera.pixels_to_normalised(pixel[None])[0], 1.0)
        ray = one.camera.world_from_camera.rotation @ (ray / np.linalg.norm(ray))
        across = weight * (np.eye(3) - np.outer(ray, ray))
        total, aim, views = total + across, aim + across @ one.camera.centre_world, views + 1
    if views < 2:
        return None
    vertices, middle = group[0][0].vertices, group[0][1]
    points = np.array([weights @ vertices[corners] for corners, weights in rim])
    ahead = np.linalg.svd(points - middle)[2][2]
    miss = np.linalg.solve(total, aim) - middle
    miss = miss - ahead * (miss @ ahead)
    # The model's irises lie 15.5 mm before the centre that its eyes turn about.
    return float(np.degrees(np.linalg.norm(miss) / 0.0155))


def _offset_figures(seen: Sequence[Seen], model: HeadModel) -> dict[str, float]:
    """Where landmarks lie beside their embedded places, in the surface's tangent plane, millimetres."""
    embedding = load_landmark_embedding()
    corners, weights = embedding.faces.numpy(), embedding.barycentric.numpy()
    index = embedding.source_index.numpy()
    offsets = np.full((len(seen), len(index), 2), np.nan)
    for row, one in enumerate(seen):
        points = (one.vertices[corners] * weights[:, :, None]).sum(1)
        normals = vertex_normals(one.vertices, model.faces.numpy())
        normal = (normals[corners] * weights[:, :, None]).sum(1)
        normal = normal / np.linalg.norm(normal, axis=1, keepdims=True)
        rays = np.column_stack([one.camera.pixels_to_normalised(one.face.points_px[index]), np.ones(len(index))])
        rays = rays @ one.camera.world_from_camera.rotation.T
        reach = ((points - one.camera.centre_world) * normal).sum(1) / (rays * normal).sum(1)
        hit = one.camera.centre_world + rays * reach[:, None] - points
        # Tangents along the face's right and up, the head being turned by a few degrees only.
        right = np.cross(np.array([0.0, 1.0, 0.0]), normal)
        right = right / np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-9)
        up = np.cross(normal, right)
        flat = np.stack([(hit * right).sum(1), (hit * up).sum(1)], axis=1) * 1000
        offsets[row] = np.where((one.face.visibility[index] > 0.8)[:, None], flat, np.nan)
    heads = np.array([one.head for one in seen])
    with warnings.catch_warnings():  # landmarks that no picture of a head shows well stay NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        per_head = np.array([np.nanmedian(offsets[heads == head], axis=0) for head in np.unique(heads)])
        common = np.nanmean(per_head, axis=0)
        between = np.nanstd(per_head, axis=0)
        spread = [np.abs(offsets[heads == head] - per_head[row]) for row, head in enumerate(np.unique(heads))]
        within = np.array([1.48 * np.nanmedian(values, axis=0) for values in spread])
    size = lambda values: np.linalg.norm(values, axis=-1)  # noqa: E731
    return {
        "offset_common_mm_median": float(np.nanmedian(size(common))),
        "offset_common_mm_p95": float(np.nanpercentile(size(common), 95)),
        "offset_between_heads_mm_median": float(np.nanmedian(size(between))),
        "offset_within_head_mm_median": float(np.nanmedian(size(within))),
        "offset_of_one_head_mm_median": float(np.nanmedian(size(per_head))),
    }


def _trembling_figures(stage: Stage, landmarker: FaceLandmarker) -> dict[str, float]:
    """The mesh's noise on a head that stays as it is and drifts by a third of a pixel a frame."""
    camera = stage.rig.rgb[2]
    still = replace(stage.performance, curves=np.zeros_like(stage.performance.curves))
    stage = replace(stage, performance=still)
    embedding = load_landmark_embedding()
    random, hint, errors = np.random.default_rng(8), None, []
    for frame in range(TREMBLING_FRAMES):
        drift = RigidTransform(np.eye(3), np.array([2e-4, -1.3e-4, 0.0]) * frame)
        vertices = drift @ stage.vertices_world(0)
        picture = _picture(stage, camera, vertices, random)
        hint = landmarker.follow(picture, hint) if hint else landmarker.detect(picture)
        if hint is None:
            return {}
        points = (vertices[embedding.faces.numpy()] * embedding.barycentric.numpy()[:, :, None]).sum(1)
        errors.append(hint.points_px[embedding.source_index.numpy()] - camera.project(points)[0])
    error = np.array(errors)[1:]  # the first one was searched for, in a crop of its own
    error = error - error.mean(0)
    together = error.mean(1, keepdims=True)
    sigma = error.std(0)
    white = (error[1:] * error[:-1]).mean(0) / np.maximum((error**2).mean(0), 1e-12)
    return {
        "tremble_sigma_px_median": float(np.median(sigma)),
        "tremble_of_all_together_px": float(together.std(0).mean()),
        "tremble_lag1_correlation": float(np.median(white)),
    }


if __name__ == "__main__":
    main()
