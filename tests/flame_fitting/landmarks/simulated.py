"""A drawn head before the simulated desk, rendered once a session: pictures whose every landmark is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int, UInt8

from evaluation.gaze import find_eyes
from flame_fitting.evidence import DepthImage
from flame_fitting.models.contours import load_contours
from flame_fitting.models.registry import load_head_model, load_landmark_embedding
from geometry.cameras import Camera
from studio.appearance import paint_appearance
from studio.performance import Performance
from studio.presets import FACE_CENTRE, desk
from studio.recorder import SimulationConfig, Stage, render_colour, render_depth
from studio.sensors import SensorNoise, sense_colour
from studio.skin_layers import IRIS_RADIUS_M
from studio.subject import draw_subject

SEED = 101


@dataclass(frozen=True, eq=False)
class Scene:
    """One frame set of one head."""

    vertices: Float[np.ndarray, "v 3"]
    """World, metres."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    pictures: tuple[UInt8[np.ndarray, "h w 3"], ...]
    """Of the four colour cameras."""
    masks: tuple[UInt8[np.ndarray, "h w"], ...]
    """Above 0 where the head is."""


@cache
def stage() -> Stage:
    """Who, how they look and the desk around them."""
    model = load_head_model()
    subject = draw_subject(model, SEED)
    rig = desk(30.0)
    still = Performance(np.zeros((1, len(subject.expression_names))), np.zeros((1, 3)), np.zeros((1, 3)))
    config = SimulationConfig(subject=SEED, noise="none")
    mask = np.asarray(model.region("face").numpy()[subject.faces].all(1))
    noise = tuple(SensorNoise() for _ in rig.cameras)
    return Stage(config, model, subject, paint_appearance(model, SEED), still, rig, noise, mask)


def cameras() -> tuple[Camera, ...]:
    """The four colour cameras."""
    return stage().rig.rgb


@cache
def head(offset: tuple[float, float, float] = (0.0, 0.0, 0.0), **curves: float) -> Float[np.ndarray, "v 3"]:
    """The head's vertices with its face in the rig's centre, or beside it, metres."""
    subject = stage().subject
    values = np.zeros(len(subject.expression_names))
    for name, value in curves.items():
        values[subject.expression_names.index(name)] = value
    face = stage().model.region("face").numpy()
    return subject.vertices(values) - subject.neutral[face].mean(0) + FACE_CENTRE + np.array(offset)


@cache
def scene(offset: tuple[float, float, float] = (0.0, 0.0, 0.0), **curves: float) -> Scene:
    """Pictures of the head, with the cameras' own noise of colour and no error of their places."""
    vertices = head(offset, **curves)
    shots = [render_colour(stage(), camera, vertices) for camera in cameras()]
    random = np.random.default_rng(5)
    pictures = tuple(sense_colour(radiance, SensorNoise(), random) for radiance, _ in shots)
    return Scene(vertices, stage().subject.faces, pictures, tuple(mask for _, mask in shots))


def both(front: Scene, back: Scene) -> tuple[UInt8[np.ndarray, "h w 3"], ...]:
    """Two heads in the same pictures, the first one pasted over the second."""
    pairs = zip(front.pictures, front.masks, back.pictures, strict=True)
    return tuple(np.where(mask[..., None] > 0, near, far) for near, mask, far in pairs)


def depth_images(vertices: Float[np.ndarray, "v 3"]) -> tuple[DepthImage, ...]:
    """Perfect depth of a head by the desk's four depth cameras."""
    shots = [(camera, render_depth(stage(), camera, vertices)[0]) for camera in stage().rig.depth]
    return tuple(DepthImage.cleaned(camera, depth) for camera, depth in shots)


def true_landmarks(vertices: Float[np.ndarray, "v 3"]) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n 3"]]:
    """Which mesh landmarks are embedded in the model, and where they are in the world."""
    embedding = load_landmark_embedding()
    corners = vertices[embedding.faces.numpy()]
    return embedding.source_index.numpy(), (corners * embedding.barycentric.numpy()[:, :, None]).sum(1)


def true_irises(vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "2 3"]:
    """Middle of each painted iris's rim in the world, the subject's right first.

    The studio paints irises on the template about the middle of each pupil; the mesh carries their rims along.
    """
    template = stage().model.template.numpy().astype(float)
    left, right = template[load_contours("anny").pupils.numpy()].mean(1)
    rims = [_rim_on_template(tuple(pupil.tolist())) for pupil in (right, left)]
    return np.array([np.mean([weights @ vertices[face] for face, weights in rim], axis=0) for rim in rims])


@cache
def _rim_on_template(pupil: tuple[float, float, float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Triangles of an eyeball's front that the iris's rim crosses, and the weights of their corners."""
    template, faces = stage().model.template.numpy().astype(float), stage().model.faces.numpy()
    eyes = find_eyes(template, faces)
    assert eyes is not None
    front = faces[np.isin(faces, np.concatenate(eyes.balls)).all(1)]
    front = front[(template[front, 2] > pupil[2] - 0.01).all(1)]
    a, b, c = (template[front[:, corner], :2] for corner in range(3))
    inverse = np.linalg.pinv(np.stack([b - a, c - a], axis=-1))
    rim = []
    for angle in np.arange(24) * 2 * np.pi / 24:
        aim = np.array(pupil[:2]) + IRIS_RADIUS_M * np.array([np.cos(angle), np.sin(angle)])
        two = np.einsum("nij,nj->ni", inverse, aim - a)
        weights = np.column_stack([1 - two.sum(1), two])
        hit = int(weights.min(1).argmax())
        assert weights[hit].min() > -1e-6, "the iris lies on the eyeball"
        rim.append((front[hit], weights[hit]))
    return rim
