"""What one view without depth tells of the curves: exact where its answer holds, freed of a bias, none in profile."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.landmarks.response import LandmarkResponse, landmark_response
from flame_fitting.losses.landmarks import LandmarkTargets
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.losses.response import CurveTargets, ToldCurves, learn_biases, response_rows, without_biases
from flame_fitting.scene import FrameObservations
from flame_fitting.segments import TrackConfig
from flame_fitting.solver import HeadPrior, bounded_curves
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.transforms import RigidTransform
from tests.flame_fitting.exact_heads import COLOUR, DEPTH, ExactTake, head, model, named, scene, state

PRIOR = HeadPrior(rate=6.0, sigma=0.7, knee=0.1)
UNIT = Camera("c", "m", "rgb", (4, 4), np.eye(3), np.zeros(0), RigidTransform(np.eye(3), np.zeros(3)))
"""Its pixels are the plane at z = 1."""


@cache
def response() -> LandmarkResponse:
    """The shipped one."""
    found = landmark_response(model().expression_names)
    assert found is not None
    return found


@cache
def posed() -> LandmarkResponse:
    """The shipped one as if no expression moved the landmarks that pose the head: then it is exact."""
    still = lambda moves: np.where(response().stable[:, None], 0.0, moves)  # noqa: E731
    return replace(response(), **{name: still(getattr(response(), name)) for name in ("rest", "answer", "people")})


def seen(
    curves: Float[Tensor, "e"], yaw_deg: float = 0.0, camera: str = "c", person: int | None = None
) -> LandmarkTargets:
    """The mean person, or one drawn as people differ, 0.6 m ahead, as the network is known to see such a face."""
    told, turn = posed(), np.radians(yaw_deg)
    beside = told.rest + np.tensordot(curves.numpy(), told.answer, 1)
    if person is not None:
        beside = beside + np.tensordot(np.random.default_rng(person).normal(0, 0.5, len(told.people)), told.people, 1)
    place = told.template + np.pad(beside, ((0, 0), (0, 1)))
    rotate = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    in_camera = (place - told.template.mean(0)) @ rotate.T * [1, -1, -1] + [0, 0, 0.6]
    points = in_camera[:, :2] / in_camera[:, 2:]
    view = ViewLandmarks(replace(UNIT, id=camera), points, np.ones(len(points)))
    return LandmarkTargets.of(view, np.arange(len(points)))


def told_of(target: LandmarkTargets) -> CurveTargets:
    """What the view tells; it must tell something."""
    told = CurveTargets.of(target, posed())
    assert told is not None
    return told


SMILE = named(mouthSmileLeft=0.8, mouthSmileRight=0.6, jawOpen=0.3)
BLINK = named(eyeBlinkLeft=1.0, eyeBlinkRight=0.9)


@pytest.mark.parametrize("yaw_deg", [0.0, 20.0, -30.0])
@pytest.mark.parametrize("curves", [SMILE, BLINK], ids=["smile", "blink"])
def test_a_face_that_answers_as_learnt_is_told_exactly(curves, yaw_deg):
    told = told_of(seen(curves, yaw_deg))
    torch.testing.assert_close(told.pull, told.information @ curves, rtol=1e-6, atol=1e-6)


def test_solved_with_its_prior_a_blink_and_a_smile_come_out():
    for curves in (SMILE, BLINK):
        told = told_of(seen(curves))
        found = torch.zeros(1, len(curves), dtype=torch.float64)
        for _ in range(12):
            found = bounded_curves(told.information[None], told.pull[None], found, PRIOR)
        assert (found[0] - curves).abs().max() < 0.15
        assert (found >= 0).all() and (found <= 1).all()


@pytest.mark.parametrize("yaw_deg", [45.0, -60.0])
def test_from_aside_it_tells_nothing(yaw_deg):
    assert CurveTargets.of(seen(SMILE, yaw_deg), posed()) is None


def test_of_two_views_the_one_from_ahead_has_the_say():
    """A view of two from aside changes little of what one from ahead tells; alone it is told as it is."""
    ahead, aside = told_of(seen(SMILE)), told_of(seen(named(), 31.0, "aside"))
    assert ahead.vote == 1.0 and 0 < aside.vote < 0.5
    assert told_of(seen(SMILE, 15.0)).vote == 1.0
    both, alone = ToldCurves.stacked([[ahead, aside], [aside]]), ToldCurves.stacked([[aside]])
    assert both is not None and alone is not None
    share = ahead.vote / (ahead.vote + aside.vote)
    torch.testing.assert_close(both.pull[0], share * ahead.pull + (1 - share) * aside.pull)
    torch.testing.assert_close(both.pull[1], alone.pull[0])
    torch.testing.assert_close(both.information[1], aside.information)


def test_a_head_with_other_curves_has_no_answer():
    assert landmark_response(("jawOpen", "smile")) is None


@pytest.mark.parametrize("person", range(3))
def test_a_face_that_never_rests_as_the_mean_is_freed_of_its_bias(person):
    faces = [named(), SMILE, named(), BLINK, named(jawOpen=0.7), named()] * 4
    frames = [[told_of(seen(face, person=person))] for face in faces]
    biases = learn_biases(frames, posed(), PRIOR)
    freed = [without_biases(each, biases) for each in frames]
    told, found = ToldCurves.stacked(freed), torch.zeros(len(faces), len(SMILE), dtype=torch.float64)
    raw = ToldCurves.stacked(frames)
    assert told is not None and raw is not None
    untaught = torch.zeros_like(found)
    for _ in range(12):
        found = bounded_curves(told.information, told.pull, found, PRIOR)
        untaught = bounded_curves(raw.information, raw.pull, untaught, PRIOR)
    true = torch.stack(faces)
    assert (found - true).abs().mean() < 0.5 * (untaught - true).abs().mean()


def test_views_of_unknown_bias_take_no_part_once_biases_are_known():
    views = [told_of(seen(SMILE, camera="a")), told_of(seen(SMILE, camera="b"))]
    none = np.zeros(len(SMILE))
    assert [each.camera_id for each in without_biases(views, {"b": none})] == ["b"]
    assert without_biases(views, {}) == ()


def test_rows_are_the_evidence_and_their_derivatives_the_factor():
    targets = [[told_of(seen(SMILE))], [], [told_of(seen(BLINK, camera=c)) for c in "ab"]]
    told = ToldCurves.stacked(targets)
    assert told is not None and told.known.tolist() == [True, False, True]
    curves = torch.rand(3, len(SMILE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turn, shift = torch.eye(3).double().expand(3, 3, 3), torch.zeros(3, 3).double()
    at = lambda these: HeadState(torch.zeros(3, 5).double(), these, turn, shift)  # noqa: E731
    rows = response_rows(told, at(curves))
    assert not rows.d_identity.any() and not rows.d_pose.any() and not rows.residual[1].any()
    # The sum of squares falls as the information says: J^T r is M c - y, J^T J is M.
    gradient = (rows.d_curves.mT @ rows.residual[..., None])[..., 0]
    expected = (told.information @ curves[..., None])[..., 0] - told.pull
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-3 * float(told.pull.abs().max()))
    twin = lambda these: response_rows(told, at(these)).residual[0]  # noqa: E731
    auto = torch.as_tensor(torch.autograd.functional.jacobian(twin, curves))
    torch.testing.assert_close(rows.d_curves[0], auto[:, 0], rtol=1e-6, atol=1e-6)


def test_only_takes_without_depth_ask_for_it():
    with_depth = ExactTake(scene(0), (state(named()),), depth_cameras=DEPTH)
    without = ExactTake(scene(0), (state(named()),), colour=COLOUR[:1])
    observed = [FrameObservations.of(take, head().landmarks, 0, response()) for take in (with_depth, without)]
    assert not observed[0].told and len(observed[1].told) == 1


def test_a_skull_keeps_still_while_its_mouth_opens():
    shut, opened = (HeadState.stacked([state(curves)]) for curves in (named(), named(jawOpen=1.0)))
    assert torch.equal(scene(0).centre(shut), scene(0).centre(opened))


def test_one_view_alone_lets_motion_have_the_last_word():
    config, told = TrackConfig(), ExactTake(scene(0), (state(named()),), colour=COLOUR[:1])
    assert config.for_take(told).temporal.pose_robust > 10 * config.temporal.pose_robust
    assert config.for_take(ExactTake(scene(0), (state(named()),), depth_cameras=DEPTH)) == config


@pytest.mark.parametrize("harm", ["absent", "cut", "other", "pickled"])
def test_a_file_that_is_not_whole_is_refused(tmp_path, harm):
    path = tmp_path / "response.npz"
    if harm == "other":
        np.savez(path, names=np.array(["jawOpen"]))
    elif harm == "pickled":
        np.savez(path, names=np.array([{}], object))
    elif harm == "cut":
        np.savez(path, names=np.array(["jawOpen"]))
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="response"):
        LandmarkResponse.load(path)
