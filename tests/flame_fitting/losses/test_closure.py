"""Lips and lids that touch in the picture touch in the mesh; those that stand apart are left alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.key_frames import moved
from flame_fitting.losses.closure import (
    ACROSS,
    APART,
    CONTACT_SIGMA_M,
    GAPS,
    MOST_ALLOWED,
    SHUT,
    ClosurePairs,
    ClosureViews,
    closure_rows,
    gaps_over_widths,
    learn_lip_gap,
)
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.scene import FrameObservations
from flame_fitting.segments import TrackConfig
from flame_fitting.solver import HeadPrior, normal_equations, solve_arrow
from flame_fitting.tracking import Tracker
from tests.flame_fitting.exact_heads import COLOUR, NO_PRIOR, ExactTake, head, named, scene, state

LIPS = 0
LOOSE = HeadPrior(rate=0.0, sigma=10.0)


def drawn(lips: float, left: float = 0.3, right: float = 0.3, camera=COLOUR[0]) -> ViewLandmarks:
    """A view whose landmarks have gaps so wide, in widths of mouth and eyes of 60 pixels."""
    points = np.random.default_rng(0).uniform(200, 400, (478, 2))
    for row, ((above, below), (one, other), gap) in enumerate(zip(GAPS, ACROSS, (lips, left, right), strict=True)):
        middle = np.array([320.0, 200 + 60 * row])
        points[[one, other]] = middle + np.array([[-30, 0], [30, 0]])
        points[[above, below]] = middle + np.array([[0, -30 * gap], [0, 30 * gap]])
    return ViewLandmarks(camera, points, np.ones(478))


def batch(**curves: float) -> tuple[HeadState, torch.Tensor]:
    """One frame of the head with some curves, and its centre."""
    at = HeadState.stacked([state(curves=named(**curves))])
    return at, scene(0).centre(at)


def pairs() -> ClosurePairs:
    return ClosurePairs.of(head().contours)


def rows_of(at: HeadState, shut: tuple[float, float, float]):
    return closure_rows(pairs(), scene(0).surface, at, torch.tensor([shut], dtype=torch.float64))


def test_an_open_mouth_that_is_drawn_shut_is_shut_by_curves_alone():
    at, centre = batch(jawOpen=0.2)
    rows = rows_of(at, (1, 0, 0))
    lips = head().contours.lip_opening(scene(0).surface.in_head(at))[0]
    torch.testing.assert_close(rows.residual[0, : len(lips)], lips.clamp_min(0) / CONTACT_SIGMA_M)
    assert lips.max() > 2e-3
    equations = normal_equations([(1.0, rows)], 0, at.curves, LOOSE)
    step = solve_arrow(equations, at.identity[0][:0], at.curves, LOOSE, True)
    after = moved(at, centre, step)
    assert head().contours.lip_opening(scene(0).surface.in_head(after))[0].max() < 3e-4
    assert not rows.d_identity.any()
    assert not rows.d_pose.any()


@pytest.mark.parametrize("seed", range(4))
def test_derivatives_are_those_of_automatic_differentiation(seed):
    generator = torch.Generator().manual_seed(seed)
    at, _ = batch(jawOpen=0.3)
    at = replace(at, curves=torch.rand(at.curves.shape, generator=generator, dtype=torch.float64))
    shut = torch.rand(1, 3, generator=generator, dtype=torch.float64)
    rows = closure_rows(pairs(), scene(0).surface, at, shut)
    residual = lambda curves: closure_rows(pairs(), scene(0).surface, replace(at, curves=curves), shut).residual  # noqa: E731
    whole = torch.autograd.functional.jacobian(residual, at.curves)
    torch.testing.assert_close(rows.d_curves[0], torch.as_tensor(whole)[0, :, 0], rtol=1e-6, atol=1e-6)


def test_lips_that_touch_or_press_and_eyes_that_are_shut_feel_nothing():
    at, _ = batch(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    rows = rows_of(at, (1, 1, 1))
    opening = scene(0).surface.in_head(at)
    shut = [head().contours.lip_opening(opening)[0], *(lid[0] for lid in head().contours.lid_opening(opening))]
    assert torch.cat(shut).max() <= 1e-6, "the head's rest has touching lips, and these eyes are shut"
    assert not rows.residual.any()
    assert not rows.measured.any()


@pytest.mark.parametrize(
    ("gap", "expected"), [(0.0, 1.0), (SHUT[0], 1.0), (sum((SHUT[0], APART[0])) / 2, 0.5), (0.2, 0)]
)
def test_a_narrow_gap_is_a_shut_mouth_and_lids_have_measures_of_their_own(gap, expected):
    at, centre = batch()
    views = ClosureViews.stacked([[ClosureViews.of(drawn(gap, left=0.1, right=0.3, camera=ahead(at, centre)))]])
    assert views is not None
    np.testing.assert_allclose(views.agreed(at, centre)[0].numpy(), [expected, 1, 0], atol=0.02)


def ahead(at: HeadState, centre: torch.Tensor, aside: float = 0.0):
    """The first camera, moved to look at the face from ahead, or so many degrees aside."""
    angle = np.radians(aside)
    out = at.rotation[0].numpy() @ np.array([np.sin(angle), 0, np.cos(angle)])
    pose = COLOUR[0].world_from_camera
    return replace(
        COLOUR[0], distortion=np.zeros(0), world_from_camera=replace(pose, translation=centre[0].numpy() + 0.8 * out)
    )


def test_views_from_aside_have_no_say():
    at, centre = batch()
    front, side = ClosureViews.of(drawn(0.3, camera=ahead(at, centre))), drawn(0.0, camera=ahead(at, centre, 50))
    both = ClosureViews.stacked([[front, ClosureViews.of(side)]])
    alone = ClosureViews.stacked([[ClosureViews.of(side)]])
    assert both is not None
    assert alone is not None
    assert not both.agreed(at, centre)[0, LIPS]
    assert not alone.agreed(at, centre).any()
    hidden = ClosureViews.stacked([[replace(ClosureViews.of(drawn(0.0)), confidence=torch.zeros(()).double())]])
    assert hidden is not None
    assert not hidden.agreed(at, centre).any()


def test_a_speaker_whose_shut_lips_are_drawn_apart_is_known_by_the_narrowest_gap():
    speaker = [[drawn(gap)] for gap in np.linspace(0.05, 0.35, 50)]
    assert 0.02 < learn_lip_gap(speaker) <= MOST_ALLOWED
    assert learn_lip_gap([[drawn(gap)] for gap in np.linspace(0.0, 0.35, 50)]) == 0, "others' gap is his"
    assert learn_lip_gap([[drawn(gap)] for gap in np.linspace(0.07, 0.1, 50)]) == 0, "a mouth that stood ajar"
    assert learn_lip_gap([]) == learn_lip_gap([()]) == 0
    own = ClosureViews.of(drawn(0.07)).of_person(0.025)
    np.testing.assert_allclose(own.gap.numpy(), [0.045, 0.3, 0.3], atol=2e-3)


def test_gaps_are_shares_of_widths_whatever_the_size_of_the_picture():
    view = drawn(0.1, 0.2, 0.3)
    np.testing.assert_allclose(gaps_over_widths(view.points_px), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(gaps_over_widths(3 * view.points_px + 7), [0.1, 0.2, 0.3])


def test_a_tracked_mouth_is_shut_where_the_network_draws_a_speakers_shut_lips_apart():
    talking = state(curves=named(jawOpen=0.1))
    seen = FrameObservations.of(ExactTake(scene(0), (talking,), colour=COLOUR[:1]), head().landmarks, 0)
    own = replace(seen, closures=tuple(view.of_person(MOST_ALLOWED) for view in seen.closures))
    config = TrackConfig()
    opening = {}
    for name, frame in {"others": seen, "speaker": own}.items():
        found = Tracker(scene(0), NO_PRIOR, config.temporal, config.stages).frame(frame)
        assert found is not None
        opening[name] = float(head().contours.lip_opening(scene(0).surface.in_head(found)).max())
    assert opening["speaker"] < 4e-4 < 1e-3 < opening["others"], opening
