"""Find where MediaPipe's landmarks sit on a head model, by looking at many heads.

    .venv/bin/python tools/make_landmark_embedding.py [--heads 60] [--seed 9000]

Heads drawn from the raw model are rendered from several sides with painted skin and mild expressions; each detection is
carried back through the picture to the template's surface, and a landmark's place is the median over all heads. Writes
`flame_fitting/models/anny_landmarks.json`, which is committed. The seeds are far from those that tests and figures use.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from flame_fitting.landmarks.landmarker import FaceLandmarker
from flame_fitting.models.anny import RawAnny
from flame_fitting.models.registry import load_head_model
from geometry.cameras import Camera
from geometry.transforms import look_at
from rendering.arrays import rasterize_arrays
from studio.appearance import paint_appearance
from studio.sensors import SensorNoise, sense_colour
from studio.shading import TexturedMesh, shade

TARGET = Path("flame_fitting/models/anny_landmarks.json")
VIEWS_DEG = ((0, 0), (22, 4), (-22, 4), (38, -3), (-38, -3), (8, 14), (-8, -12))
OPENING = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "mouthFunnel", "browInnerUp")
SIZE_HW = (560, 560)
LEAST_HEADS = 0.5
"""A landmark seen well on fewer of the pictures than this share of the best one's is left out."""


def main() -> None:
    """Render, detect, carry back, and write the file."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--heads", type=int, default=60)
    arguments.add_argument("--seed", type=int, default=9000)
    chosen = arguments.parse_args()
    model, raw, landmarker = load_head_model(), RawAnny(), FaceLandmarker.load()
    places: list[list[np.ndarray]] = [[] for _ in range(468)]
    detected = 0
    for head in range(chosen.heads):
        random = np.random.default_rng([chosen.seed, head])
        vertices = raw.sample(1, random).vertices[0]
        curves = np.zeros(len(raw.expression_names))
        if head % 2:
            for name in OPENING:
                curves[raw.expression_names.index(name)] = random.uniform(0, 0.45)
        vertices = vertices + np.tensordot(curves, raw.expressions, 1)
        appearance = paint_appearance(model, chosen.seed + head)
        centre = vertices[model.region("face").numpy()].mean(0)
        for azimuth, elevation in VIEWS_DEG:
            camera = _camera(centre, azimuth, elevation, random)
            pixels, depth = camera.project(vertices)
            fragments = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), raw.faces, SIZE_HW)
            mesh = TexturedMesh(vertices, raw.faces, model.uv.numpy().astype(float), model.uv_faces.numpy())
            picture = sense_colour(shade(fragments, mesh, camera, appearance, np.full(3, 0.05)), SensorNoise(), random)
            found = landmarker.detect(picture)
            if found is None:
                continue
            detected += 1
            column, row = np.floor(found.points_px).astype(int).T
            inside = (row >= 0) & (row < SIZE_HW[0]) & (column >= 0) & (column < SIZE_HW[1]) & (found.visibility > 0.3)
            for landmark in np.flatnonzero(inside):
                face = fragments.face_index[row[landmark], column[landmark]]
                if face >= 0:
                    weights = fragments.barycentric[row[landmark], column[landmark]]
                    places[landmark].append(weights @ model.template.numpy()[raw.faces[face]])
    print(f"{detected} faces found in {chosen.heads * len(VIEWS_DEG)} pictures")
    _write(places, model.template.numpy().astype(float), raw.faces)


def _camera(centre: np.ndarray, azimuth_deg: float, elevation_deg: float, random: np.random.Generator) -> Camera:
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg]) + random.normal(0, 0.05, 2)
    level = np.cos(elevation)
    direction = np.array([np.sin(azimuth) * level, np.sin(elevation), np.cos(azimuth) * level])
    here = look_at(centre + direction * 0.7, centre, np.array([0.0, 1.0, 0.0]))
    K = np.array([[1050.0, 0, SIZE_HW[1] / 2], [0, 1050.0, SIZE_HW[0] / 2], [0, 0, 1]])
    return Camera("view", "view", "rgb", SIZE_HW, K, np.zeros(0), here)


def _write(places: list[list[np.ndarray]], template: np.ndarray, faces: np.ndarray) -> None:
    """Median place of each landmark, put onto the nearest triangle of the template."""
    most = max(len(seen) for seen in places)
    centroids = template[faces].mean(1)
    tree = KDTree(centroids)
    rows = []
    for landmark, seen in enumerate(places):
        if len(seen) < LEAST_HEADS * most:
            continue
        points = np.array(seen)
        middle = np.median(points, axis=0)
        distances = np.linalg.norm(points - middle, axis=1)
        # The median of a chi distribution with two degrees of freedom is 1.18 standard deviations.
        spread = float(np.median(distances) / 1.18)
        face, barycentric = _onto_surface(middle, np.asarray(tree.query(middle, 24)[1]), template, faces)
        rows.append([landmark, faces[face].tolist(), [round(float(b), 5) for b in barycentric], round(spread, 5)])
    columns = "MediaPipe index, vertices of the triangle, barycentric weights, spread in metres"
    lines = ",\n".join(json.dumps(row) for row in rows)
    TARGET.write_text(f'{{"columns": "{columns}",\n"landmarks": [\n{lines}\n]}}\n')
    spreads = np.array([row[3] for row in rows]) * 1000
    print(f"{len(rows)} landmarks, spread {np.median(spreads):.2f} mm median, {spreads.max():.2f} mm at most")


def _onto_surface(
    point: np.ndarray, candidates: np.ndarray, template: np.ndarray, faces: np.ndarray
) -> tuple[int, np.ndarray]:
    """The candidate triangle whose clamped projection of the point is nearest."""
    best = (np.inf, 0, np.zeros(3))
    for face in candidates:
        a, b, c = template[faces[face]]
        solved, *_ = np.linalg.lstsq(np.stack([b - a, c - a], 1), point - a, rcond=None)
        weights = np.clip([1 - solved.sum(), *solved], 0, 1)
        weights = weights / weights.sum()
        distance = float(np.linalg.norm(weights @ template[faces[face]] - point))
        if distance < best[0]:
            best = (distance, int(face), weights)
    return best[1], best[2]


if __name__ == "__main__":
    main()
