"""Heads whose size nobody knows yet, moved to where depth was measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flame_fitting.first_distance import LARGEST_SHIFT_M, TOO_FAR_M, placed_by_depth
from flame_fitting.losses.linear_head import HeadState, LinearPoints
from flame_fitting.person import PersonConfig, fit_person
from flame_fitting.scene import FrameObservations, HeadScene
from flame_fitting.segments import TrackConfig, track_segment
from tests.flame_fitting.exact_heads import COLOUR, DEPTH, ExactTake, camera, head, named, scene, state

TRUE = state(named())


def farther(by: float) -> HeadState:
    """The head where one colour camera would see it as well, were it larger or smaller."""
    along = torch.from_numpy(COLOUR[0].world_from_camera.rotation[:, 2])
    return replace(TRUE, translation=TRUE.translation + by * along)


def placed(start: HeadState, depth: tuple) -> HeadState:
    take = ExactTake(scene(0), (TRUE,), COLOUR[:1], depth)
    seen = FrameObservations.of(take, head().landmarks, 0)
    return placed_by_depth(scene(0), [start], [seen])[0]


@pytest.mark.parametrize("by", [-0.07, -0.03, 0.05, 0.1])
def test_a_head_at_another_distance_comes_back(by):
    found = placed(farther(by), (DEPTH[0], DEPTH[1]))
    assert float((found.translation - TRUE.translation).norm()) < 0.3 * abs(by)
    assert torch.equal(found.rotation, TRUE.rotation)


@pytest.mark.parametrize("start", [farther(0.5 * TOO_FAR_M), farther(1.5 * LARGEST_SHIFT_M)])
def test_what_stands_near_its_depth_or_before_something_else_stays(start):
    assert placed(start, DEPTH) is start


def test_cameras_behind_the_head_have_no_say():
    """They measure its back, a head's depth from where its landmarks are."""
    behind = tuple(camera(number, (x, 0.0, -0.7), "depth") for number, x in enumerate((-0.2, 0.0, 0.2), 7))
    assert placed(TRUE, behind) is TRUE
    assert placed(TRUE, (*behind, *DEPTH)) is TRUE


def test_without_depth_nothing_moves():
    start = farther(0.1)
    assert placed(start, ()) is start


def test_a_child_before_one_camera_with_depth_is_found_where_it_is():
    """Landmarks alone take the small head for an average one, fifteen centimetres farther away than it is."""
    whole = HeadScene.of(head())
    centre = whole.marks.mean.mean(0)
    surface = whole.surface
    small = LinearPoints(
        centre + 0.8 * (surface.mean - centre), surface.identity_basis[:0], 0.8 * surface.expression_basis
    )
    take = ExactTake(whole.with_surface(small), (TRUE,), COLOUR[:1], DEPTH[:1])
    person = fit_person(head(), take, PersonConfig(rounds=1, colour_rounds=0))
    track = track_segment(head(), person, take, range(1), TrackConfig())
    found = person.in_head(track.curves[0]) @ track.rotation[0].T + track.translation[0]
    face = whole.face
    error = np.linalg.norm(found - small.in_world(TRUE).numpy(), axis=1)[face]
    assert np.median(error) < 3e-3
