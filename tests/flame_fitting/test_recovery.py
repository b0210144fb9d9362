"""Known heads before known cameras are found again, wherever the world's origin and however fine the pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flame_fitting.chain import TemporalPrior
from flame_fitting.key_frames import KeyFrames, first_states
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.losses.pairs import CurvePairs
from flame_fitting.person import CURVE_PRIOR
from flame_fitting.scene import FrameObservations, HeadScene
from flame_fitting.solver import HeadPrior
from flame_fitting.stages import FAR, NEAR, TRACKING_STAGES, Stage
from flame_fitting.tracking import Tracker
from geometry.cameras import Camera
from geometry.transforms import RigidTransform
from tests.flame_fitting.exact_heads import (
    COLOUR,
    DEPTH,
    MODES,
    NO_PRIOR,
    ExactTake,
    moved_camera,
    named,
    scaled_camera,
    scene,
    state,
)

MICROMETRE = 1e-6
FACES = (
    {"jawOpen": 0.4, "mouthSmileLeft": 0.5, "mouthSmileRight": 0.3, "eyeLookInLeft": 0.3, "eyeLookOutRight": 0.3},
    {"browInnerUp": 0.6, "mouthPucker": 0.5, "eyeBlinkLeft": 0.3, "cheekPuff": 0.4},
    {},
    {"mouthFrownLeft": 0.7, "noseSneerRight": 0.5, "jawLeft": 0.3, "eyeWideLeft": 1.0},
)
POSES = (((0.05, -0.1, 0.03), (0.004, -0.006, 0.003)), ((-0.08, 0.15, 0.0), (-0.01, 0.006, 0.01)))


def plain(of: HeadScene) -> HeadScene:
    """Without the prior that both sides of a face do about the same: these do not."""
    return replace(of, pairs=CurvePairs.of(()))


def stages(depth: bool, modes: int = 0, steps: int = 20) -> tuple[Stage, ...]:
    """Pose first, then everything at once."""
    return (
        Stage("pose", 3, 0, False, 1.0, 0.0, FAR),
        Stage("all", steps, modes, True, 1.0, float(depth), NEAR, gaze=1.0),
    )


def face_error_m(of: HeadScene, found: HeadState, true: HeadState) -> float:
    """Largest distance over the face."""
    distance = (of.surface.in_world(found) - of.surface.in_world(true)).norm(dim=1)
    return float(distance[torch.from_numpy(of.face)].max())


def fitted(take: ExactTake, prior: HeadPrior, plan: tuple[Stage, ...], frame: int = 0) -> HeadState:
    """A frame of a known person."""
    seen = FrameObservations.of(take, take.of.embedding, frame)
    found = Tracker(take.of, prior, TemporalPrior(), plan).frame(seen)
    assert found is not None
    return found


@pytest.mark.parametrize("cameras", [(), DEPTH], ids=["landmarks", "landmarks and depth"])
@pytest.mark.parametrize("face", range(len(FACES)))
def test_a_known_person_is_tracked_exactly(face, cameras):
    of = plain(scene(0))
    true = state(named(**FACES[face]), *POSES[face % 2])
    found = fitted(ExactTake(of, (true,), depth_cameras=cameras), NO_PRIOR, stages(bool(cameras)))
    assert face_error_m(of, found, true) < MICROMETRE
    assert (found.curves - true.curves).abs().max() < 1e-4
    assert (found.rotation - true.rotation).abs().max() < 1e-6


@pytest.mark.parametrize("cameras", [(), DEPTH], ids=["landmarks", "landmarks and depth"])
def test_an_identity_is_found_exactly_from_a_few_frames(cameras):
    of = plain(scene(MODES))
    identity = torch.randn(MODES, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    true = tuple(state(named(**face), *POSES[n % 2], identity) for n, face in enumerate(FACES))
    take = ExactTake(of, true, depth_cameras=cameras)
    seen = [FrameObservations.of(take, of.embedding, frame) for frame in range(len(true))]
    frames, states = KeyFrames(of, seen, NO_PRIOR), first_states(of, seen)
    for stage in stages(bool(cameras), MODES, 16):
        for _ in range(stage.steps):
            states = frames.step(states, stage)
    assert all(torch.equal(each.identity, states[0].identity) for each in states)
    assert (states[0].identity - identity).abs().max() < 1e-3
    for found, want in zip(states, true, strict=True):
        assert face_error_m(of, found, want) < MICROMETRE
        assert (found.curves - want.curves).abs().max() < 1e-4


def test_the_default_plan_is_near_on_perfect_input():
    """Priors and weights are made for noise; without any they cost less than a tenth of a millimetre."""
    of = scene(0)
    for n, face in enumerate(FACES):
        true = state(named(**face), *POSES[n % 2])
        found = fitted(ExactTake(of, (true,), depth_cameras=DEPTH), CURVE_PRIOR, TRACKING_STAGES)
        distance = (of.surface.in_world(found) - of.surface.in_world(true)).norm(dim=1)[torch.from_numpy(of.face)]
        assert distance.median() < 1e-4
        assert distance.quantile(0.95) < 1e-3


TRUE = state(named(**FACES[0]), *POSES[0])


def default_fit(colour: tuple[Camera, ...], depth: tuple[Camera, ...], true: HeadState = TRUE) -> HeadState:
    return fitted(ExactTake(scene(0), (true,), colour, depth), CURVE_PRIOR, TRACKING_STAGES)


def test_the_order_of_the_cameras_does_not_matter():
    here, there = default_fit(COLOUR, DEPTH), default_fit(COLOUR[::-1], DEPTH[::-1])
    assert face_error_m(scene(0), here, there) < 1e-9
    assert (here.curves - there.curves).abs().max() < 1e-7


@pytest.mark.parametrize("with_depth", [False, True])
def test_the_origin_and_the_axes_of_the_world_do_not_matter(with_depth):
    """The fitted head moves with the world, whatever way up that is."""
    world = RigidTransform.from_rotvec(np.array([0.7, -1.9, 0.4]), np.array([3.0, -2.0, 5.0]))
    rotation, shift = torch.from_numpy(world.rotation), torch.from_numpy(world.translation)
    moved = replace(TRUE, rotation=rotation @ TRUE.rotation, translation=rotation @ TRUE.translation + shift)
    depth = DEPTH if with_depth else ()
    here = default_fit(COLOUR, depth)
    there = default_fit(
        tuple(moved_camera(by, world) for by in COLOUR), tuple(moved_camera(by, world) for by in depth), moved
    )
    back = replace(there, rotation=rotation.T @ there.rotation, translation=rotation.T @ (there.translation - shift))
    # Depth pictures differ where a pixel's centre meets an edge of a triangle to the last bit.
    assert face_error_m(scene(0), here, back) < (1e-5 if with_depth else 1e-8)
    assert (here.curves - back.curves).abs().max() < (2e-3 if with_depth else 1e-7)


def test_the_scale_of_colour_pictures_does_not_matter():
    here = default_fit(COLOUR, DEPTH)
    there = default_fit(tuple(scaled_camera(by, 2) for by in COLOUR), DEPTH)
    assert face_error_m(scene(0), here, there) < 1e-8
    assert (here.curves - there.curves).abs().max() < 1e-6


def test_finer_depth_of_the_same_head_gives_the_same_head():
    """Four times the pixels weigh more beside the priors, and that is all that they do."""
    here = default_fit(COLOUR, DEPTH)
    there = default_fit(COLOUR, tuple(scaled_camera(by, 2) for by in DEPTH))
    distance = (scene(0).surface.in_world(here) - scene(0).surface.in_world(there)).norm(dim=1)
    assert distance[torch.from_numpy(scene(0).face)].median() < 2e-5
    assert (here.curves - there.curves).abs().max() < 0.03


def test_one_view_with_too_few_landmarks_is_no_start():
    of = scene(0)
    take = ExactTake(of, (TRUE,), disturb=lambda frame, view: replace(view, confidence=view.confidence * 0.1))
    seen = FrameObservations.of(take, of.embedding, 0)
    assert Tracker(of, CURVE_PRIOR, TemporalPrior(), TRACKING_STAGES).frame(seen) is None
