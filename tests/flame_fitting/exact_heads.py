"""Known heads before small cameras: landmarks and depth without any error, or with one that is planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import cv2
import numpy as np
import torch
from jaxtyping import Float

from flame_fitting.evidence import ColourImage, DepthImage, EvidenceCameras, ViewLandmarks
from flame_fitting.losses.gaze import IRIS_CENTRES
from flame_fitting.losses.linear_head import HeadState, LinearPoints
from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.plain_model import Head
from flame_fitting.models.registry import load_head
from flame_fitting.person import Person
from flame_fitting.scene import HeadScene
from flame_fitting.solver import HeadPrior
from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, look_at
from rendering.arrays import rasterize_arrays

NO_PRIOR = HeadPrior(rate=0.0, sigma=1e6, identity=0.0)
"""Nothing but what was measured."""
MODES = 12
"""Of identity: as many as landmarks alone tell apart quickly."""
POINTS = 478
"""The detector's points, irises included."""
FACE_WORLD = np.array([0.0, 0.1, 0.1])
"""Where the middle of the face is, about, when the head stands at the origin."""
LENSES = (np.zeros(0), np.array([0.08, -0.05, 1e-3, -2e-3, 0.01]), np.array([0.3, 0.1, -1e-3, 1e-3, 0, 0.28, 0.1, 0]))


@cache
def head() -> Head:
    """The default head."""
    return load_head()


def model() -> HeadModel:
    """Its linear model."""
    return head().model


@cache
def scene(modes: int = MODES) -> HeadScene:
    """The default head with its first modes of identity."""
    whole = HeadScene.of(load_head())
    surface = whole.surface
    return whole.with_surface(LinearPoints(surface.mean, surface.identity_basis[:modes], surface.expression_basis))


def neutral_person() -> Person:
    """The model's mean head, of which nothing is left to find."""
    surface = scene(0).surface
    return Person(np.zeros(0), surface.mean.numpy(), surface.expression_basis.numpy(), {}, (0,))


def camera(number: int, eye: tuple[float, float, float], kind: str = "rgb") -> Camera:
    """A camera of 180 x 144 pixels that looks at the face; lenses differ in their number of coefficients."""
    K = np.array([[310.0, 0.0, 71.0], [0.0, 312.0, 92.0], [0.0, 0.0, 1.0]])
    pose = look_at(FACE_WORLD + np.array(eye), FACE_WORLD, np.array([0.0, 1.0, 0.0]))
    assert kind in ("rgb", "depth")
    lens = LENSES[number % len(LENSES)] if kind == "rgb" else np.zeros(5)
    unit = 0.001 if kind == "depth" else None
    return Camera(f"{kind}{number}", f"m{number}", kind, (180, 144), K, lens, pose, depth_unit_m=unit)  # pyright: ignore[reportArgumentType]


COLOUR = (camera(0, (0.05, 0.02, 0.6)), camera(1, (-0.3, 0.05, 0.5)), camera(2, (0.33, -0.08, 0.5)))
DEPTH = (camera(0, (-0.2, 0.1, 0.5), "depth"), camera(1, (0.25, 0.0, 0.5), "depth"))


def named(**curves: float) -> Float[torch.Tensor, "e"]:
    """Curves by name, the others at rest."""
    values = torch.zeros(len(model().expression_names), dtype=torch.float64)
    for name, value in curves.items():
        values[model().expression_names.index(name)] = value
    return values


def state(
    curves: Float[torch.Tensor, "e"],
    rotvec: tuple[float, float, float] = (0.05, -0.1, 0.03),
    shift: tuple[float, float, float] = (0.004, -0.006, 0.003),
    identity: Float[torch.Tensor, "k"] | None = None,
) -> HeadState:
    """A head in front of the cameras."""
    rotation = torch.from_numpy(cv2.Rodrigues(np.array(rotvec))[0])
    nobody = torch.zeros(0, dtype=torch.float64)
    translation = torch.tensor(shift, dtype=torch.float64)
    return HeadState(nobody if identity is None else identity, curves, rotation, translation)


@lru_cache(maxsize=512)
def view_of(of: HeadScene, at: HeadState, by: Camera) -> ViewLandmarks:
    """Where a camera sees the embedded landmarks and the irises, to the last bit."""
    points, confidence = np.zeros((POINTS, 2)), np.zeros(POINTS)
    rows = np.concatenate([of.embedding.source_index.numpy(), IRIS_CENTRES])
    places = torch.cat([of.marks.in_world(at), of.irises.on(of.surface).in_world(at)]).numpy()
    points[rows], confidence[rows] = by.project(places)[0], 1.0
    # Points that nothing stands for lie inside the face, so that they say nothing about its size.
    points[confidence == 0] = points[rows].mean(0)
    return ViewLandmarks(by, points, confidence)


@lru_cache(maxsize=512)
def depth_of(of: HeadScene, at: HeadState, by: Camera) -> DepthImage:
    """The depth of the head as the rasterizer has it, without quantisation."""
    pixels, depth = by.project(of.surface.in_world(at).numpy())
    shown = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), of.faces, by.image_size_hw)
    return DepthImage.cleaned(by, np.where(shown.face_index >= 0, shown.depth, 0).astype(np.float32))


Disturb = Callable[[int, ViewLandmarks], ViewLandmarks | None]


@dataclass(frozen=True, eq=False)
class ExactTake:
    """Evidence of known heads."""

    of: HeadScene
    """Whose."""
    states: tuple[HeadState, ...]
    """What they do."""
    colour: tuple[Camera, ...] = COLOUR
    """Cameras with landmarks."""
    depth_cameras: tuple[Camera, ...] = ()
    """Cameras with depth."""
    disturb: Disturb = lambda frame, view: view
    """What becomes of a view's landmarks; None: no face was found."""

    @property
    def cameras(self) -> EvidenceCameras:
        """In their order."""
        return EvidenceCameras.of(Rig((*self.colour, *self.depth_cameras)))

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.states)

    def landmarks(self, frame: int) -> tuple[ViewLandmarks, ...]:
        """All views of a frame."""
        views = [self.disturb(frame, view_of(self.of, self.states[frame], by)) for by in self.colour]
        return tuple(view for view in views if view is not None)

    def depth(self, frame: int) -> tuple[DepthImage, ...]:
        """All depth pictures of a frame."""
        return tuple(depth_of(self.of, self.states[frame], by) for by in self.depth_cameras)

    def colours(self, frame: int, views: tuple[ViewLandmarks, ...] | None = None) -> tuple[ColourImage, ...]:
        """None."""
        return ()


def noisy(sigma_px: float) -> Disturb:
    """White noise on every landmark, the same for the same frame and camera."""

    def disturb(frame: int, view: ViewLandmarks) -> ViewLandmarks:
        random = np.random.default_rng([frame, sum(view.camera.id.encode())])
        return replace(view, points_px=view.points_px + random.normal(0, sigma_px, view.points_px.shape))

    return disturb


def moved_camera(by: Camera, world_from_old: RigidTransform) -> Camera:
    """The same camera in a world that was moved."""
    return replace(by, world_from_camera=world_from_old.compose(by.world_from_camera))


def scaled_camera(by: Camera, factor: int) -> Camera:
    """The same camera with a finer sensor."""
    K = by.K.copy()
    K[:2] *= factor
    return replace(by, K=K, image_size_hw=(by.image_size_hw[0] * factor, by.image_size_hw[1] * factor))
