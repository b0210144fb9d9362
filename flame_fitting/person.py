"""Who is recorded: identity, and everything about the head that does not change from frame to frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from flame_fitting.appearance import relit
from flame_fitting.chain import TemporalPrior
from flame_fitting.evidence import Evidence, ViewLandmarks
from flame_fitting.first_distance import placed_by_depth
from flame_fitting.key_frames import KeyFrames, first_states, in_threads
from flame_fitting.landmark_offsets import OffsetsByCamera, learn_offsets
from flame_fitting.losses.closure import learn_lip_gap
from flame_fitting.losses.linear_head import HeadState, LinearPoints
from flame_fitting.losses.photometric import Appearance, ColourViews
from flame_fitting.losses.response import Biases, learn_biases, without_biases
from flame_fitting.models.plain_model import Head
from flame_fitting.personal import PersonalFields, PersonalPrior, learn_person
from flame_fitting.scene import FrameObservations, HeadScene
from flame_fitting.solver import HeadPrior
from flame_fitting.stages import COUPLED_STAGE, IDENTITY_STAGES, TRACKING_STAGES, Stage
from flame_fitting.tracking import Tracker

CURVE_PRIOR = HeadPrior(rate=20.0, sigma=0.7, identity=1.0, knee=0.1)
"""Tuned on simulated subjects 101 and 102."""
RATE_WITHOUT_DEPTH = 0.3
"""How steep the prior is where landmarks alone tell curves: their noise says by itself how little they know."""
FEW_FRAMES = 20.0
"""The prior counts this many times over the number of key frames: what the basis cannot express is the same in
every pixel of a frame, and taken as independent it would bend a single portrait into a caricature."""


@dataclass(frozen=True)
class PersonConfig:
    """How to find out who is recorded."""

    key_frames: int = 24
    """Frames that are solved together; more cost time in proportion and tell less and less."""
    rounds: int = 4
    """Turns of learning the person's own shapes and solving the frames again."""
    colour_rounds: int = 2
    """Turns after these in which colour tells, too."""
    steps_a_round: int = 2
    """Gauss-Newton steps in each."""
    stages: tuple[Stage, ...] = IDENTITY_STAGES
    """The plan before the first round; its last stage is repeated in each."""
    prior: HeadPrior = CURVE_PRIOR
    """What is known before anything is measured."""
    personal: PersonalPrior = field(default_factory=PersonalPrior)
    """How far people differ from the model."""


@dataclass(frozen=True, eq=False)
class Person:
    """A head that needs only curves and a pose."""

    identity: Float[np.ndarray, "k"]
    """Standard deviations under the model's prior."""
    rest: Float[np.ndarray, "v 3"]
    """The neutral head in the head's frame, metres; identity and the person's own remainder."""
    expressions: Float[np.ndarray, "e v 3"]
    """The person's own expression shapes, metres at a curve's full value."""
    landmark_offsets: dict[str, Float[np.ndarray, "l 2"]]
    """By camera: where the network sees each landmark beside its surface point, metres along the camera's x and y."""
    key_frames: tuple[int, ...]
    """The frames it was learnt from."""
    curve_biases: dict[str, Float[np.ndarray, "e"]] = field(default_factory=dict)
    """By camera without depth: the curves that the person's landmarks at rest look like (`losses.response`)."""
    lip_gap: float = 0.0
    """How much wider than others' the gap between shut lips is drawn, in widths of the mouth (`losses.closure`)."""
    albedo: Float[np.ndarray, "p 3"] | None = None
    """Of points of the skin (`HeadScene.points`), linear; negative where not seen; None without pictures."""
    light: dict[str, Float[np.ndarray, "9 3"]] = field(default_factory=dict)
    """By camera: the radiance about the person, in harmonics of the world frame."""

    def surface(self) -> LinearPoints:
        """The head as the residuals want it: no identity left to find."""
        none = torch.zeros(0, *self.rest.shape, dtype=torch.float64)
        return LinearPoints(torch.from_numpy(self.rest), none, torch.from_numpy(self.expressions))

    def scene(self, general: HeadScene) -> HeadScene:
        """The person in a scene of the same head model."""
        known = general.with_surface(self.surface())
        if self.albedo is None or len(self.albedo) != len(general.points.barycentric):
            return known
        light = {camera: torch.from_numpy(harmonics) for camera, harmonics in self.light.items()}
        return replace(known, appearance=Appearance(general.points, torch.from_numpy(self.albedo), light))

    def with_appearance(self, appearance: Appearance | None) -> Person:
        """The same person, known by looks."""
        if appearance is None:
            return self
        light = {camera: harmonics.cpu().numpy() for camera, harmonics in appearance.light.items()}
        return replace(self, albedo=appearance.albedo.cpu().numpy(), light=light)

    def offsets(self) -> OffsetsByCamera:
        """The landmarks' offsets as tensors."""
        return {camera: torch.from_numpy(offset) for camera, offset in self.landmark_offsets.items()}

    def in_head(self, curves: Float[np.ndarray, "e"]) -> Float[np.ndarray, "v 3"]:
        """The head with an expression, in its own frame, metres."""
        return self.rest + np.tensordot(curves, self.expressions, 1)


def fit_person(
    head: Head,
    evidence: Evidence,
    config: PersonConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: str = "cpu",
) -> Person:
    """The most probable person, from a few frames that show different faces; their equations are made on `device`.

    Raises InputError when no picture of the take shows a face.
    """
    config = config or PersonConfig()
    chosen = choose_key_frames(evidence, config.key_frames)
    scene = HeadScene.of(head).to(device)
    observe = lambda frame: FrameObservations.of(evidence, head.landmarks, frame, scene.response)  # noqa: E731
    # Without depth the surface is known too roughly to carry an albedo: colour would move curves that are at rest.
    with_depth = bool(evidence.cameras.depth)
    seen = [replace(observe(frame), colours=evidence.colours(frame) if with_depth else ()) for frame in chosen]
    prior = prior_of_few(prior_by(evidence, config.prior), len(chosen))
    biases: Biases = {}
    if scene.response is not None and any(each.told for each in seen):
        biases = learn_biases([each.told for each in seen], scene.response, prior)
        seen = [replace(each, told=without_biases(each.told, biases)) for each in seen]
    frames = KeyFrames(scene, seen, prior)
    states = first_states(scene, seen)
    stages = tuple(stage_of_few(stage, evidence, len(chosen)) for stage in config.stages)
    rounds = config.rounds + config.colour_rounds
    total = sum(stage.steps for stage in stages) + rounds * config.steps_a_round
    done, placed = 0, False

    def step(stage: Stage) -> None:
        nonlocal states, done
        states = frames.step(states, stage)
        done += 1
        if progress:
            progress(done, total)

    for stage in stages:
        if stage.depth and not placed:
            states, placed = placed_by_depth(scene, states, seen), True
        for _ in range(stage.steps):
            step(stage)
    last = stages[-1]
    if any(each.depth for each in seen):
        frames = frames.voting(states)
        fields = PersonalFields.of(scene, config.personal)
        coloured = replace(last, identity_modes=0, colour=COUPLED_STAGE.colour)
        for stage in [last] * config.rounds + [coloured] * config.colour_rounds:
            if stage.colour:
                frames = frames.with_scene(replace(frames.scene, appearance=frames.appearance(states)))
            told = frames.told(states, stage)
            learnt = learn_person(scene.surface, frames.scene.surface, told, fields, config.personal)
            frames = frames.with_scene(frames.scene.with_surface(learnt))
            for _ in range(config.steps_a_round):
                step(stage)
    person = replace(_person(frames, states, tuple(chosen)), curve_biases=biases)
    person = replace(person, lip_gap=learn_lip_gap(evidence.landmarks(f) for f in range(evidence.frame_count)))
    return person.with_appearance(frames.appearance(states))


def relit_person(head: Head, person: Person, evidence: Evidence, config: PersonConfig | None = None) -> Person:
    """The person of another take in this take's light, told from its key frames; albedo and shape stay as they are."""
    general = HeadScene.of(head)
    scene = person.scene(general)
    if scene.appearance is None:
        return person
    config = config or PersonConfig()
    chosen = choose_key_frames(evidence, config.key_frames)
    tracker = Tracker(scene, config.prior, TemporalPrior(), TRACKING_STAGES, COUPLED_STAGE)
    observe = lambda frame: FrameObservations.of(evidence, head.landmarks, frame)  # noqa: E731
    states = in_threads(lambda frame: tracker.frame(observe(frame)), chosen)
    posed = [(state, frame) for state, frame in zip(states, chosen, strict=True) if state is not None]
    pictures = [(state, ColourViews.stacked([evidence.colours(frame)])) for state, frame in posed]
    shown = [(scene.surface.in_world(HeadState.stacked([state])), views) for state, views in pictures if views]
    return person.with_appearance(relit(scene.appearance, scene.skin, shown))


def prior_by(evidence: Evidence, prior: HeadPrior) -> HeadPrior:
    """The prior for a take with or without depth cameras."""
    return prior if evidence.cameras.depth else replace(prior, rate=prior.rate * RATE_WITHOUT_DEPTH)


def fewness(key_frames: int) -> float:
    """How many times over the priors count: 1 from `FEW_FRAMES` on."""
    return max(1.0, FEW_FRAMES / max(key_frames, 1))


def prior_of_few(prior: HeadPrior, key_frames: int) -> HeadPrior:
    """The prior of a person who is known from so few frames, of curves and identity alike.

    Were identity alone held, curves would stand in for it: opposite ones, each at its full value.
    """
    few = fewness(key_frames)
    return replace(prior, identity=prior.identity * few, rate=prior.rate * few, sigma=prior.sigma / float(np.sqrt(few)))


def stage_of_few(stage: Stage, evidence: Evidence, key_frames: int) -> Stage:
    """The plan for a person without depth who is known from so few frames.

    What a landmark and an outline say wrongly of a head they say in every frame: fewer frames tell hardly less, and so
    each counts for more, beside a prior that counts for more itself (`prior_of_few`).
    """
    if evidence.cameras.depth:
        return stage
    few = fewness(key_frames) ** 2
    alone = min(few * max(stage.landmark, stage.landmark_alone), 1.0)
    return replace(stage, landmark_alone=alone, contour=few * stage.contour)


def _person(frames: KeyFrames, states: list[HeadState], chosen: tuple[int, ...]) -> Person:
    """What is left when identity is put into the head, with the landmarks' offsets on it."""
    identity, surface = states[0].identity, frames.scene.on_cpu.surface
    rest = surface.mean + torch.tensordot(identity, surface.identity_basis, 1)
    person = Person(identity.numpy(), rest.numpy(), surface.expression_basis.numpy(), {}, chosen)
    scene = frames.scene.on_cpu.with_surface(person.surface())
    fixed = [replace(state, identity=torch.zeros(0, dtype=torch.float64)) for state in states]
    offsets = learn_offsets(scene, list(zip(fixed, frames.seen, strict=True)))
    return replace(person, landmark_offsets={camera: offset.numpy() for camera, offset in offsets.items()})


def choose_key_frames(evidence: Evidence, count: int) -> list[int]:
    """Frames that show the most different faces, in order; those in which most views have one come first.

    Each next frame is the one whose landmarks, freed of place, size and roll, are farthest from all chosen so far.
    """
    faces = {frame: _shapes(evidence.landmarks(frame)) for frame in range(evidence.frame_count)}
    usable = [frame for frame, shapes in faces.items() if shapes]
    if len(usable) <= count:
        return usable or list(range(min(count, evidence.frame_count)))
    chosen = [max(usable, key=lambda frame: (len(faces[frame]), -frame))]
    distance = {frame: _distance(faces[frame], faces[chosen[0]]) for frame in usable}
    while len(chosen) < count:
        farthest = max(usable, key=lambda frame: (distance[frame], -frame))
        chosen.append(farthest)
        distance = {frame: min(distance[frame], _distance(faces[frame], faces[farthest])) for frame in usable}
    return sorted(chosen)


def what_key_frames_tell(evidence: Evidence, count: int) -> tuple[int, float]:
    """How good a take is for learning a person from, larger is better: first the views of its key frames.

    Colour views with a face count, and so do the depth cameras of frames that have one. Second, how different the faces
    are: mean distance of each key frame's landmarks to its most alike other, in units of a face's size.
    """
    faces = [_shapes(evidence.landmarks(frame)) for frame in choose_key_frames(evidence, count)]
    views = sum(len(shapes) + len(evidence.cameras.depth) for shapes in faces if shapes)
    apart = [min((_distance(shapes, other) for other in faces if other is not shapes), default=0.0) for shapes in faces]
    return views, float(np.mean(apart or [0.0]))


def _shapes(views: tuple[ViewLandmarks, ...]) -> dict[str, Float[np.ndarray, "n 2"]]:
    """Each view's landmarks with their mean at the origin, their size one and their eyes level."""
    shapes = {}
    for view in views:
        points = view.points_px - view.points_px.mean(0)
        points = points / np.sqrt((points**2).sum(1).mean())
        along = points[263] - points[33]
        turn = np.arctan2(along[1], along[0])
        rotate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        shapes[view.camera.id] = points @ rotate.T
    return shapes


def _distance(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> float:
    """Mean over the views that both have, times the share they share; without one, nothing is known."""
    both = sorted(left.keys() & right.keys())
    if not both:
        return 0.0
    return float(np.mean([np.sqrt(((left[view] - right[view]) ** 2).sum(1).mean()) for view in both]))


def as_indices(frames: tuple[int, ...]) -> Int[np.ndarray, "n"]:
    """Key frames as an array, for storage."""
    return np.array(frames, dtype=np.int64)
