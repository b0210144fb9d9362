"""Who is recorded: which frames tell it, and what comes out of them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from flame_fitting.evidence import ColourImage, DepthImage, EvidenceCameras, ViewLandmarks
from flame_fitting.fit import HeadFit
from flame_fitting.losses.linear_head import LinearPoints
from flame_fitting.person import (
    CURVE_PRIOR,
    PersonConfig,
    as_indices,
    choose_key_frames,
    fit_person,
    prior_of_few,
    stage_of_few,
)
from flame_fitting.personal import PersonalPrior
from flame_fitting.segments import TrackConfig, track_segment
from flame_fitting.stages import IDENTITY_STAGES
from geometry.errors import InputError
from geometry.rigs import Rig
from tests.flame_fitting.exact_heads import COLOUR, DEPTH, POINTS, ExactTake, head, named, noisy, scene, state

KINDS = 5


@dataclass(frozen=True, eq=False)
class DrawnFaces:
    """Faces of a few kinds, each drawn in many sizes and places with a little noise; frame n shows kind[n]."""

    kind: tuple[int | None, ...]
    """None: no face."""
    views: tuple[int, ...]
    """In how many cameras each face is seen."""

    @property
    def cameras(self) -> EvidenceCameras:
        """The colour cameras."""
        return EvidenceCameras.of(Rig(COLOUR))

    @property
    def frame_count(self) -> int:
        """Of the take."""
        return len(self.kind)

    def landmarks(self, frame: int) -> tuple[ViewLandmarks, ...]:
        """The same kind is the same shape, turned, moved and scaled."""
        kind = self.kind[frame]
        if kind is None:
            return ()
        shape = np.random.default_rng(0).normal(size=(POINTS, 2)) * 30
        shape[263], shape[33] = (30, 0), (-30, 0)
        shape = shape + np.random.default_rng(1 + kind).normal(size=(POINTS, 2)) * 4
        random = np.random.default_rng(100 + frame)
        angle, scale = random.uniform(-0.5, 0.5), random.uniform(0.8, 1.2)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = shape @ turn.T + random.uniform(50, 100, 2) + random.normal(0, 0.05, (POINTS, 2))
        return tuple(ViewLandmarks(by, points, np.ones(POINTS)) for by in COLOUR[: self.views[frame]])

    def depth(self, frame: int) -> tuple[DepthImage, ...]:
        """None."""
        return ()

    def colours(self, frame: int, views: tuple[ViewLandmarks, ...] | None = None) -> tuple[ColourImage, ...]:
        """None."""
        return ()


def test_key_frames_show_every_kind_of_face():
    kind = tuple(0 if frame % 10 else 1 + frame // 10 for frame in range(10 * (KINDS - 1)))
    take = DrawnFaces(kind, (3,) * len(kind))
    chosen = choose_key_frames(take, KINDS)
    assert {kind[frame] for frame in chosen} == set(range(KINDS))
    assert chosen == sorted(set(chosen)) == choose_key_frames(take, KINDS)


def test_key_frames_prefer_faces_that_most_cameras_see():
    take = DrawnFaces((0, 0, 0, 0), (1, 2, 3, 2))
    assert choose_key_frames(take, 1) == [2]


def test_key_frames_have_faces():
    kind = (None, 0, None, 1, 2, None, 0)
    take = DrawnFaces(kind, (3,) * len(kind))
    assert choose_key_frames(take, 3) == sorted({3, 4} | set(choose_key_frames(take, 3)))
    assert None not in {kind[frame] for frame in choose_key_frames(take, 3)}
    assert choose_key_frames(take, 100) == [1, 3, 4, 6], "fewer than asked for"


QUICK = PersonConfig(key_frames=3, rounds=1, personal=PersonalPrior(shape_modes=30, expression_modes=6))


def known_person(depth: bool, blind: tuple[int, ...] = ()) -> tuple[ExactTake, np.ndarray]:
    """A take of a drawn identity, and the true neutral head."""
    of = scene(20)
    identity = torch.randn(20, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    faces = ({}, {"jawOpen": 0.5}, {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6}, {"browInnerUp": 0.7}, {})
    states = tuple(
        state(named(**face), (0.0, 0.06 * n - 0.1, 0.0), (0.003 * n, 0.0, 0.0), identity)
        for n, face in enumerate(faces)
    )
    noise = noisy(0.1)
    take = ExactTake(
        of,
        states,
        depth_cameras=DEPTH if depth else (),
        disturb=lambda frame, view: None if frame in blind else noise(frame, view),
    )
    return take, (of.surface.mean + torch.tensordot(identity, of.surface.identity_basis, 1)).numpy()


def shape_error_m(found: np.ndarray, true: np.ndarray) -> float:
    """Median over the face, without alignment: both heads stand in the model's frame."""
    return float(np.median(np.linalg.norm(found - true, axis=1)[scene(0).face]))


def test_a_person_is_found_with_depth_and_the_same_twice():
    take, true = known_person(depth=True, blind=(4,))
    calls: list[tuple[int, int]] = []
    person = fit_person(head(), take, QUICK, lambda done, total: calls.append((done, total)))
    template = scene(0).surface.mean.numpy()
    assert shape_error_m(person.rest, true) < 0.25 * shape_error_m(template, true)
    assert len(person.key_frames) == 3 and 4 not in person.key_frames, "the last frame shows no face"
    assert set(person.landmark_offsets) == {by.id for by in COLOUR}
    assert calls[-1][0] == calls[-1][1] == len(calls) and [done for done, _ in calls] == sorted(
        done for done, _ in calls
    )
    again = fit_person(head(), take, QUICK)
    np.testing.assert_array_equal(again.rest, person.rest)
    np.testing.assert_array_equal(again.expressions, person.expressions)
    np.testing.assert_allclose(person.in_head(np.zeros(person.expressions.shape[0])), person.rest)
    assert as_indices(person.key_frames).dtype == np.int64


def test_landmarks_alone_find_most_of_a_person():
    take, true = known_person(depth=False)
    person = fit_person(head(), take, QUICK)
    assert shape_error_m(person.rest, true) < 0.7 * shape_error_m(scene(0).surface.mean.numpy(), true)
    average = scene(0).surface.expression_basis.numpy()
    np.testing.assert_array_equal(person.expressions, average, "without depth expressions are the average ones")


def test_two_calibrated_views_know_how_large_a_head_is_and_where():
    """A head that is 6 % larger than the mean one, seen by two cameras without depth and by one."""
    mean = scene(0).surface
    large = LinearPoints(1.06 * mean.mean, mean.identity_basis, 1.06 * mean.expression_basis)
    of = scene(0).with_surface(large)
    states = tuple(state(named(jawOpen=jaw), (0.02, turn, 0.0)) for jaw, turn in ((0.0, -0.2), (0.5, 0.0), (0.0, 0.15)))
    face = of.face
    sizes, away_m = [], []
    for cameras in (COLOUR[1:], COLOUR[:1]):
        take = ExactTake(of, states, cameras, disturb=noisy(0.2))
        person = fit_person(head(), take, QUICK)
        sizes.append(np.linalg.norm(np.ptp(person.rest[face], 0)) / np.linalg.norm(np.ptp(large.mean.numpy()[face], 0)))
        track = track_segment(head(), person, take, range(3), TrackConfig())
        found = HeadFit(person, track).vertices_world(1)[face].mean(0)
        away_m.append(np.linalg.norm(found - of.surface.in_world(states[1]).numpy()[face].mean(0)))
    print("size over the true one, and metres away:", sizes, away_m)
    assert abs(sizes[0] - 1) < 0.01 and away_m[0] < 0.002
    assert away_m[1] > 5 * away_m[0], "perspective alone tells one view far less of the distance"


def test_a_take_without_any_face_is_refused():
    take, _ = known_person(depth=False, blind=tuple(range(5)))
    with pytest.raises(InputError, match="a face"):
        fit_person(head(), take, QUICK)


def test_what_a_landmark_says_wrongly_it_says_in_every_frame():
    """Without depth few frames tell of a head about what many do: each counts for more. With depth they do not."""
    plan = IDENTITY_STAGES[-1]
    seen = ExactTake(scene(0), (state(named()),))
    few, many = (stage_of_few(plan, seen, frames) for frames in (4, 24))
    assert many == replace(plan, landmark_alone=plan.landmark)
    assert few.landmark_alone == pytest.approx(25 * plan.landmark) and few.contour == pytest.approx(25 * plan.contour)
    assert few.landmark == plan.landmark, "where a frame has depth"
    assert stage_of_few(IDENTITY_STAGES[0], seen, 1).landmark_alone == 1.0
    assert stage_of_few(plan, replace(seen, depth_cameras=DEPTH), 1) == plan


def test_a_person_of_few_frames_is_held_by_all_priors_alike():
    one, many = prior_of_few(CURVE_PRIOR, 1), prior_of_few(CURVE_PRIOR, 24)
    assert many == CURVE_PRIOR
    scale = one.identity / CURVE_PRIOR.identity
    assert scale > 1
    assert one.rate == pytest.approx(CURVE_PRIOR.rate * scale)
    assert one.sigma**-2 == pytest.approx(CURVE_PRIOR.sigma**-2 * scale)
