"""Batches: frames side by side on any device say what each says alone."""

import cv2
import numpy as np
import pytest
import torch

from flame_fitting.chain import TemporalPrior
from flame_fitting.key_frames import (
    FRAMES_AT_ONCE,
    KeyFrames,
    first_states,
    frame_equations,
    moved,
    rotvec_to_matrix,
)
from flame_fitting.losses.linear_head import HeadState, Rows
from flame_fitting.person import CURVE_PRIOR
from flame_fitting.scene import FrameObservations, SeenFrames
from flame_fitting.solver import Step
from flame_fitting.stages import CLOSE, TRACKING_STAGES, Stage
from flame_fitting.tracking import Tracker
from tests.flame_fitting.exact_heads import COLOUR, DEPTH, MODES, ExactTake, named, scene, state

EVERYTHING = Stage("all", 1, MODES, True, 1.0, 1.0, CLOSE, landmark_alone=2.0, gaze=1.0)
FACES = ({"jawOpen": 0.4}, {"mouthSmileLeft": 0.6, "eyeBlinkLeft": 0.3}, {"browInnerUp": 0.5})


def mixed(modes: int = MODES) -> tuple[list[FrameObservations], list[HeadState]]:
    """Three frames of one person: all cameras, one view of two without depth, and one depth camera."""
    generator = torch.Generator().manual_seed(4)
    identity = 0.3 * torch.randn(modes, generator=generator, dtype=torch.float64)
    true = tuple(state(named(**face), identity=identity) for face in FACES)
    takes = [
        ExactTake(scene(modes), true, depth_cameras=DEPTH),
        ExactTake(scene(modes), true, COLOUR[1:2]),
        ExactTake(scene(modes), true, COLOUR, DEPTH[1:]),
    ]
    seen = [FrameObservations.of(take, take.of.embedding, frame) for frame, take in enumerate(takes)]
    return seen, first_states(scene(modes), seen)


@pytest.mark.parametrize("modes", [0, 5, MODES])
def test_a_batch_has_the_equations_of_its_frames(modes, device):
    seen, states = mixed()
    of = scene(MODES)
    stage = Stage("all", 1, modes, True, 1.0, 1.0, CLOSE, landmark_alone=2.0, contour=1.0, gaze=1.0)
    batch = HeadState.stacked(states, device), SeenFrames.of(seen, device)
    together = frame_equations(of.to(device), *batch, stage, CURVE_PRIOR)
    for frame, (at, each) in enumerate(zip(states, seen, strict=True)):
        alone = frame_equations(of, HeadState.stacked([at]), SeenFrames.of([each]), stage, CURVE_PRIOR)
        for name in ("identity", "coupling", "own", "gradient_identity", "gradient_own"):
            want = getattr(alone, name)[0]
            atol = 1e-9 * float(want.abs().max()) if want.numel() else 0.0
            torch.testing.assert_close(getattr(together, name)[frame].cpu(), want, rtol=1e-9, atol=atol)


def test_without_depth_landmarks_alone_count_more():
    seen, states = mixed()
    batch = HeadState.stacked(states), SeenFrames.of(seen)
    (term,) = (term for term in scene(MODES).terms(*batch, EVERYTHING) if term.name == "landmark")
    assert torch.as_tensor(term.weight).tolist() == [1.0, 2.0, 1.0]


def test_a_batch_is_tracked_as_its_frames_are(device):
    seen, _ = mixed(0)
    blind = FrameObservations((), (), ())
    tracker = Tracker(scene(0).to(device), CURVE_PRIOR, TemporalPrior(), TRACKING_STAGES)
    together = tracker.frames([seen[0], blind, *seen[1:]])
    assert together[1] is None
    plain = Tracker(scene(0), CURVE_PRIOR, TemporalPrior(), TRACKING_STAGES)
    for found, each in zip((together[0], *together[2:]), seen, strict=True):
        alone = plain.frame(each)
        assert found is not None and alone is not None
        apart = scene(0).surface.in_world(found) - scene(0).surface.in_world(alone)
        assert apart.norm(dim=1).max() < 1e-6
        assert (found.curves - alone.curves).abs().max() < 1e-5


def test_key_frames_side_by_side_step_as_those_one_by_one(monkeypatch, device):
    seen, states = mixed()
    plain = KeyFrames(scene(MODES), seen, CURVE_PRIOR).step(states, EVERYTHING)
    monkeypatch.setitem(FRAMES_AT_ONCE, device, 2)
    frames = KeyFrames(scene(MODES).to(device), seen, CURVE_PRIOR)
    assert [len(each.frames) for each in frames.stacked] == [2, 1]
    for found, want in zip(frames.step(states, EVERYTHING), plain, strict=True):
        assert torch.allclose(found.identity, want.identity, atol=1e-7)
        apart = scene(MODES).surface.in_world(found) - scene(MODES).surface.in_world(want)
        assert apart.norm(dim=1).max() < 1e-7
    (at, told), alone = frames.told(states, EVERYTHING), KeyFrames(scene(MODES), seen, CURVE_PRIOR)
    assert at.curves.device.type == device
    want = alone.told(states, EVERYTHING)[1].information
    torch.testing.assert_close(told.information.cpu(), want, rtol=1e-6, atol=1e-6 * float(want.max()))
    assert not told.information[1].any(), "a frame without depth"


def test_rows_of_single_frames_make_a_batch_that_says_the_same():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    single = [Rows(draw(count), draw(count, 2), draw(count, 4), draw(count, 6)) for count in (5, 0, 3)]
    batch = Rows.stacked(single)
    assert batch.residual.shape == (3, 5) and batch.measured.sum(1).tolist() == [5, 0, 3]
    for frame, rows in enumerate(single):
        assert torch.equal(batch.d_curves[frame, : len(rows.residual)], rows.d_curves)
        assert torch.equal(batch.d_curves[frame].T @ batch.residual[frame], rows.d_curves.T @ rows.residual)


def test_a_step_is_cut_and_turns_about_the_centre():
    states = HeadState.stacked([state(named(jawOpen=0.9)), state(named())])
    centre = scene(0).centre(states)
    own = torch.zeros(2, states.curves.shape[1] + 6, dtype=torch.float64)
    own[:, : states.curves.shape[1]] = 0.2
    own[0, -6:] = torch.tensor([3.0, 4.0, 0.0, 0.0, 0.5, 0.0])
    own[1, -6:] = torch.tensor([0.1, 0.0, 0.0, 0.0, 0.0, 0.02])
    after = moved(states, centre, Step(torch.zeros(0).double(), own))
    assert after.curves.max() == 1 and after.curves.min() >= 0.2
    turn = (after.rotation @ states.rotation.mT).numpy()
    lengths = [np.linalg.norm(cv2.Rodrigues(each)[0]) for each in turn]
    np.testing.assert_allclose(lengths, [0.3, 0.1], atol=1e-12)
    still = states.rotation.mT @ (centre - states.translation)[..., None]
    there = (after.rotation @ still)[..., 0] + after.translation
    np.testing.assert_allclose(there - centre, [[0, 0.1, 0], [0, 0, 0.02]], atol=1e-12)


def test_rotation_vectors_are_opencvs():
    vectors = np.random.default_rng(1).normal(size=(20, 3)) * np.logspace(-9, 0.3, 20)[:, None]
    found = rotvec_to_matrix(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(found, [cv2.Rodrigues(each)[0] for each in vectors], atol=1e-14)
