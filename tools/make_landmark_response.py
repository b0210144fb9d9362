"""Learn how MediaPipe's landmarks answer to ARKit's curves, from drawn heads: anny_landmark_response.npz.

    .venv/bin/python tools/make_landmark_response.py [--heads 140] [--seed 200] [--keep FOLDER]

One colour camera sees each head 24 times, from up to 25 degrees aside: half the faces are from the studio's script,
half combine curves at random. Every face's landmarks are brought into the head's frame by those that expressions
hardly move. Then a linear answer to the curves is learnt with the average shapes as its prior, and what it leaves
over becomes the noise of the landmarks: leading components, because a network errs in whole regions, and a rest. The
spread over heads of what a face at rest looks like becomes the prior of a person's own bias. Takes half an hour on
one core; no figure is reported on these seeds.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int
from measure_landmarks import _stage
from scipy.spatial import KDTree

from flame_fitting.landmarks.landmarker import FaceLandmarker
from flame_fitting.landmarks.response import RESPONSE_FILE, head_displacements, stable_landmarks
from flame_fitting.models.contours import mirrored_curve_rows
from flame_fitting.models.registry import load_head
from geometry.cameras import Camera
from geometry.rigs import Rig
from studio.presets import colour_camera, on_sphere
from studio.recorder import render_colour
from studio.sensors import sense_colour

FACES = 24
PRIOR_FACES = 10.0
"""The average shapes count as much as so many full curves."""
COMPONENTS = 150
"""Of the landmarks' noise."""
REST_SHARE = 1.3
"""Of the noise beside these: estimated from the same faces, it comes out too small."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Landmarks of drawn heads in the head's frame, and what the heads did."""

    displacement: Float[np.ndarray, "n l 2"]
    """Metres, beside where the mean head has them."""
    curves: Float[np.ndarray, "n e"]
    """ARKit's."""
    head: Int[np.ndarray, "n"]
    """Whose."""


def main() -> None:
    """Draw, look, learn and store."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--heads", type=int, default=140)
    arguments.add_argument("--seed", type=int, default=200)
    arguments.add_argument("--keep", type=Path)
    chosen = arguments.parse_args()
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")
    looks = [look(seed, chosen.keep) for seed in range(chosen.seed, chosen.seed + chosen.heads)]
    learn(with_mirrored(answers(looks)))


def look(seed: int, keep: Path | None) -> dict[str, np.ndarray]:
    """What one camera sees of one head; read back where it is kept."""
    kept = None if keep is None else keep / f"{seed}.npz"
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("points", "curves", "K")}
    model = load_head().model
    random, stage, landmarker = np.random.default_rng([seed, 77]), _stage(model, seed), FaceLandmarker.load()
    by = _camera(random.uniform(-25, 25), random.uniform(-18, 18), random.uniform(0.45, 0.8))
    stage = replace(stage, rig=Rig((by,)), sensors=stage.sensors[2:3])
    curves = stage.performance.curves.copy()
    script = random.choice(60, FACES // 2, replace=False).tolist()
    points, faces = [], []
    for number in range(FACES):
        drawn = number >= len(script)
        frame = int(random.integers(60)) if drawn else script[number]
        if drawn:
            curves[frame] = drawn_curves(random, model.expression_names)
        posed = replace(stage, performance=replace(stage.performance, curves=curves))
        picture = render_colour(posed, by, posed.vertices_world(frame))[0]
        found = landmarker.faces(sense_colour(picture, posed.sensors[0], random))
        if found:
            points.append(found[0].points_px)
            faces.append(curves[frame].copy())
    seen = {"points": np.stack(points), "curves": np.stack(faces), "K": by.K}
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **seen)
    print(f"{seed}: {len(points)} faces", flush=True)
    return seen


def _camera(azimuth_deg: float, elevation_deg: float, distance_m: float) -> Camera:
    return colour_camera("m1_rgb", "m1", on_sphere(azimuth_deg, elevation_deg, distance_m), (720, 1280), 1150.0)


def drawn_curves(random: np.random.Generator, names: tuple[str, ...]) -> Float[np.ndarray, "e"]:
    """One to five expressions at random strengths, about the same on both sides; often a jaw or a blink besides."""
    curves = np.zeros(len(names))
    groups = _groups(names)
    for group in random.choice(len(groups), random.integers(1, 6), replace=False):
        strength = random.uniform(0.1, 1.0)
        for row in groups[group]:
            both = random.random() < 0.85 or len(groups[group]) == 1
            one_sided = random.uniform(0, 1) * (random.random() < 0.6)
            curves[row] = np.clip(strength * random.uniform(0.75, 1.25) if both else one_sided, 0, 1)
    if random.random() < 0.35:
        curves[[names.index(f"eyeBlink{side}") for side in ("Left", "Right")]] = random.uniform(0, 1)
    jaw, close = names.index("jawOpen"), names.index("mouthClose")
    if random.random() < 0.35:
        curves[jaw] = random.uniform(0, 0.8)
    curves[close] = min(curves[close], curves[jaw])
    aside, up = random.uniform(-0.6, 0.6, 2)
    for side, sign in (("Left", 1), ("Right", -1)):
        looks = {"Out": sign * aside, "In": -sign * aside, "Up": up, "Down": -up}
        for way, amount in looks.items():
            curves[names.index(f"eyeLook{way}{side}")] = max(amount, 0)
    return curves


def _groups(names: tuple[str, ...]) -> list[list[int]]:
    """Curves that go together; the eyes' directions and the tongue are drawn apart or not at all."""
    groups = []
    for name in names:
        twin = name.removesuffix("Right") + "Left"
        if (name.endswith("Right") and twin in names) or name.startswith("eyeLook") or name == "tongueOut":
            continue
        both = name.endswith("Left") and name.removesuffix("Left") + "Right" in names
        stem = name.removesuffix("Left") if both else name
        groups.append([row for row, other in enumerate(names) if other in (stem, stem + "Left", stem + "Right")])
    return groups


def answers(looks: list[dict[str, np.ndarray]]) -> Answers:
    """All faces in the head's frame."""
    head = load_head()
    embedding, template = head.landmarks, head.landmarks.on(head.model.template.double()).numpy()
    stable = stable_landmarks(head)
    displacement, curves, heads = [], [], []
    for number, seen in enumerate(looks):
        by = replace(_camera(0, 0, 0.6), K=seen["K"])
        for points, face in zip(seen["points"], seen["curves"], strict=True):
            normalised = by.pixels_to_normalised(points[embedding.source_index.numpy()].astype(np.float64))
            displacement.append(head_displacements(normalised, template, stable)[0])
            curves.append(face)
            heads.append(number)
    return Answers(np.stack(displacement), np.stack(curves), np.array(heads))


def with_mirrored(seen: Answers) -> Answers:
    """Every face's mirror image, too: what holds for the left holds for the right."""
    head = load_head()
    template = head.landmarks.on(head.model.template.double()).numpy()
    _, twin = KDTree(template).query(template * [-1, 1, 1])
    rows = np.array(mirrored_curve_rows(head.model.expression_names))
    mirrored = seen.displacement[:, twin] * [-1, 1]
    return Answers(
        np.concatenate([seen.displacement, mirrored]),
        np.concatenate([seen.curves, seen.curves[:, rows]]),
        np.concatenate([seen.head, seen.head + seen.head.max() + 1]),
    )


def learn(seen: Answers) -> None:
    """The linear answer, the noise beside it and the spread of people's biases, stored."""
    head = load_head()
    faces, landmarks = len(seen.curves), seen.displacement.shape[1]
    moved, curves = seen.displacement.reshape(faces, -1).copy(), seen.curves.copy()
    of = [seen.head == one for one in np.unique(seen.head)]
    for own in of:
        moved[own] -= moved[own].mean(0)
        curves[own] -= curves[own].mean(0)
    average = head.landmarks.on(head.model.expression_basis.double()).numpy()[:, :, :2].reshape(curves.shape[1], -1)
    ridge = curves.T @ curves + PRIOR_FACES * np.eye(curves.shape[1])
    answer = average + np.linalg.solve(ridge, curves.T @ (moved - curves @ average))
    left = moved - curves @ answer
    freedom = faces - len(of) - curves.shape[1]
    flat = seen.displacement.reshape(faces, -1)
    rest = np.stack([flat[own].mean(0) - seen.curves[own].mean(0) @ answer for own in of])
    _, sizes, directions = np.linalg.svd(left / np.sqrt(freedom), full_matrices=False)
    noise = directions[:COMPONENTS] * sizes[:COMPONENTS, None]
    scatter = np.maximum((left**2).sum(0) / freedom - (noise**2).sum(0), 0) * REST_SHARE + 1e-4**2
    arrays = {
        "names": np.array(head.model.expression_names),
        "source_index": head.landmarks.source_index.numpy(),
        "template": head.landmarks.on(head.model.template.double()).numpy(),
        "stable": stable_landmarks(head),
        "rest": rest.mean(0).reshape(landmarks, 2),
        "answer": answer.reshape(-1, landmarks, 2),
        "noise": noise.reshape(-1, landmarks, 2),
        "scatter": np.sqrt(scatter).reshape(landmarks, 2),
        "people": (rest - rest.mean(0)).reshape(len(rest), landmarks, 2),
    }
    small = {name: value.astype(np.float32) if value.dtype == np.float64 else value for name, value in arrays.items()}
    small["people"] = _leading(small["people"])
    np.savez_compressed(RESPONSE_FILE, **small)
    print(f"{RESPONSE_FILE.name}: {faces} faces of {len(of)} heads, noise {np.sqrt((left**2).mean()) * 1e3:.2f} mm")


def _leading(people: Float[np.ndarray, "h l 2"], components: int = 60) -> Float[np.ndarray, "k l 2"]:
    """Components of how people at rest differ from the mean, each of one deviation."""
    flat = people.reshape(len(people), -1) / np.sqrt(len(people) - 1)
    _, sizes, directions = np.linalg.svd(flat, full_matrices=False)
    return (directions[:components] * sizes[:components, None]).reshape(-1, *people.shape[1:]).astype(np.float32)


if __name__ == "__main__":
    main()
