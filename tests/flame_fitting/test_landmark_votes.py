"""Landmarks behind something that depth measured have no vote; a face with nothing before it keeps all of them."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch

from flame_fitting.blind_frames import lost_frames, with_blind_frames
from flame_fitting.evidence import DepthImage, ViewLandmarks
from flame_fitting.key_frames import KeyFrames
from flame_fitting.landmark_votes import DEPTHS_A_VIEW, MOST_COVERED, LandmarkVotes, nearest_depth
from flame_fitting.landmarks.head_visibility import covered_by_depth, visibility_from_head
from flame_fitting.losses.gaze import IRIS_CENTRES
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.scene import FrameObservations
from flame_fitting.segments import FITTED, FROM_DEPTH, Track, TrackConfig, bridged, track_segment
from flame_fitting.tracking import Tracker
from geometry.cameras import Camera
from tests.flame_fitting.exact_heads import (
    COLOUR,
    DEPTH,
    FACE_WORLD,
    NO_PRIOR,
    ExactTake,
    depth_of,
    head,
    named,
    neutral_person,
    noisy,
    scene,
    state,
    view_of,
)

AHEAD_M = 0.1
"""Of the plate before the middle of the face; the tip of the nose is some four centimetres nearer."""
PLATE_M = np.array([0.09, 0.045])
"""Half the width and half the height of a plate that is held before the face."""
UP = {"headset": 0.055, "mask": -0.045}
"""Its middle over the middle of the face: before the eyes, before the mouth."""


EDGE_M = 0.012
"""About the plate's outline, where pixels of two millimetres leave it open what is hidden."""


def on_plate(origin: np.ndarray, towards: np.ndarray, kind: str, wider_m: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Where rays from a camera's centre meet the plate, in units of the rays, and whether they do."""
    reach = (FACE_WORLD[2] + AHEAD_M - origin[2]) / towards[..., 2]
    at = origin + towards * reach[..., None]
    inside = np.abs(at[..., :2] - FACE_WORLD[:2] - (0, UP[kind])) < PLATE_M + wider_m
    return reach, inside.all(-1) & (reach > 0)


def with_plate(image: DepthImage, kind: str) -> DepthImage:
    """The depth picture with the plate in it."""
    world, _ = image.camera.unproject_depth(np.ones(image.depth_m.shape, np.float32))
    origin = image.camera.centre_world
    reach, hit = on_plate(origin, world - origin, kind)
    return replace(image, depth_m=np.where(hit, reach, image.depth_m).astype(np.float32))


def hidden(points: np.ndarray, by: Camera, kind: str, wider_m: float = 0.0) -> np.ndarray:
    """Whether the plate is before points as a camera sees them."""
    reach, hit = on_plate(by.centre_world, points - by.centre_world, kind, wider_m)
    return hit & (reach < 1)


def seen_from(depth: tuple[DepthImage, ...]) -> FrameObservations:
    views = tuple(view_of(scene(0), state(named()), by) for by in COLOUR)

    class One(ExactTake):
        def landmarks(self, frame: int) -> tuple[ViewLandmarks, ...]:
            return views

        def depth(self, frame: int) -> tuple[DepthImage, ...]:
            return depth

    take = One(scene(0), (state(named()),), depth_cameras=DEPTH)
    return FrameObservations.of(take, head().landmarks, 0)


@cache
def bare() -> tuple[DepthImage, ...]:
    return tuple(depth_of(scene(0), state(named()), by) for by in DEPTH)


@pytest.mark.parametrize("kind", ["headset", "mask"])
def test_what_is_behind_a_plate_has_no_vote_and_the_rest_has(kind):
    seen = seen_from(tuple(with_plate(image, kind) for image in bare()))
    votes = LandmarkVotes.of(scene(0), state(named()), seen)
    given = votes.given(seen)
    points, vertices = (part.in_world(state(named())).numpy() for part in (scene(0).marks, scene(0).surface))
    for by, target in zip(COLOUR, given.landmarks, strict=True):
        shown = visibility_from_head(points, vertices, scene(0).faces, by, ())
        covered, free = hidden(points, by, kind, -EDGE_M), shown & ~hidden(points, by, kind, EDGE_M)
        kept = target.confidence.numpy() > 0
        assert covered.sum() > 40 and free.sum() > 60
        assert kept[covered].mean() < 0.05 and kept[free].mean() > 0.95, by.id
    eyes = scene(0).irises.on(scene(0).surface).in_world(state(named())).numpy()
    for by, target in zip(COLOUR, given.irises, strict=True):
        np.testing.assert_array_equal(target.confidence.numpy() > 0, ~hidden(eyes, by, kind))


def test_a_bare_face_keeps_every_vote_without_being_drawn(monkeypatch):
    monkeypatch.setattr("flame_fitting.landmark_votes.visibility_from_head", None)
    seen = seen_from(bare())
    votes = LandmarkVotes.of(scene(0), state(named()), seen)
    assert votes.landmarks == {} and votes.given(seen).landmarks == seen.landmarks
    nothing_measured = seen_from(())
    assert LandmarkVotes.of(scene(0), state(named()), nothing_measured).landmarks == {}


@pytest.mark.parametrize("kind", ["headset", "mask"])
def test_the_quick_question_finds_the_plate_without_the_head(kind):
    points, vertices = (part.in_world(state(named())).numpy() for part in (scene(0).marks, scene(0).surface))
    for by in COLOUR:
        quick = covered_by_depth(points, by, with_plate(nearest_depth(by, bare())[0], kind))
        shown = visibility_from_head(points, vertices, scene(0).faces, by, ())
        covered, free = hidden(points, by, kind, -EDGE_M), shown & ~hidden(points, by, kind, EDGE_M)
        assert quick[covered].mean() > 0.85 and quick[free].mean() < MOST_COVERED, by.id


def test_a_flying_pixel_covers_nothing():
    image = bare()[0]
    depth = image.depth_m.copy()
    rows, columns = np.nonzero(depth)
    some = np.random.default_rng(1).choice(len(rows), 40, replace=False)
    depth[rows[some], columns[some]] -= 0.06
    points = scene(0).marks.in_world(state(named())).numpy()
    flying = covered_by_depth(points, COLOUR[1], replace(image, depth_m=depth))
    assert (flying <= covered_by_depth(points, COLOUR[1], image)).all()


def test_only_the_sensors_beside_a_camera_are_asked():
    images = bare() * 3
    assert len(nearest_depth(COLOUR[1], images)) == DEPTHS_A_VIEW
    assert nearest_depth(COLOUR[1], bare())[0].camera.id == "depth0"
    assert nearest_depth(COLOUR[2], bare())[0].camera.id == "depth1"


def test_a_hidden_eye_does_not_turn_and_key_frames_do_not_hear_it():
    """Irises are told far aside in all views, from behind the plate."""
    seen = seen_from(tuple(with_plate(image, "headset") for image in bare()))
    aside = torch.tensor([0.012, 0.0], dtype=torch.float64)
    lied = replace(seen, irises=tuple(replace(each, normalised=each.normalised + aside) for each in seen.irises))
    look = [n for n, name in enumerate(head().model.expression_names) if name.startswith("eyeLook")]
    turned = {}
    for name, frame in (("behind a plate", lied), ("in the open", replace(lied, depth=bare()))):
        config = TrackConfig()
        found = Tracker(scene(0), config.prior, config.temporal, config.stages).frame(frame)
        assert found is not None
        turned[name] = float(found.curves[look].max())
    assert turned["behind a plate"] < 0.05 < 0.2 < turned["in the open"], turned
    frames = KeyFrames(scene(0), [lied], NO_PRIOR).voting([state(named())])
    assert len(IRIS_CENTRES) == 2 and all((each.confidence == 0).all() for each in frames.seen[0].irises)


@dataclass(frozen=True, eq=False)
class Misled(ExactTake):
    """Landmarks that a network drew beside and askew of a face that it could not see."""

    wrong: frozenset[int] = frozenset()
    """In these frames."""

    def landmarks(self, frame: int) -> tuple[ViewLandmarks, ...]:
        """Those of a head that stands elsewhere."""
        if frame not in self.wrong:
            return super().landmarks(frame)
        elsewhere = moved_away(self.states[frame])
        return tuple(view_of(self.of, elsewhere, by) for by in self.colour)


def moved_away(at: HeadState) -> HeadState:
    away = state(at.curves, (0.1, 0.6, 0.15), (0.045, 0.01, 0.02))
    return replace(away, curves=at.curves)


def test_depth_overrules_landmarks_that_lead_to_another_head():
    wrong = frozenset({4, 5, 6})
    states = tuple(state(named(jawOpen=0.04 * k), (0.0, 0.03 * k, 0.0), (0.002 * k, 0, 0)) for k in range(10))
    take = Misled(scene(0), states, depth_cameras=DEPTH, disturb=noisy(0.3), wrong=wrong)
    config = replace(TrackConfig(), coupled_steps=1)
    raw = track_segment(head(), neutral_person(), take, range(10), config)
    assert set(np.flatnonzero(lost_frames(raw))) == wrong and (raw.frame_state == FITTED).all()
    track = with_blind_frames(head(), neutral_person(), take, raw, config)
    assert track.frame_state.tolist() == [FROM_DEPTH if frame in wrong else FITTED for frame in range(10)]
    seen = sorted(set(range(10)) - wrong)
    np.testing.assert_array_equal(track.curves[seen], raw.curves[seen])
    assert errors_mm(raw, states)[sorted(wrong)].min() > 5 and errors_mm(bridged(track), states).max() < 0.4


def errors_mm(track: Track, states: tuple[HeadState, ...]) -> np.ndarray:
    """Median distance of the face's vertices to the truth, frame by frame."""
    apart = []
    for frame, true in enumerate(states):
        posed = neutral_person().in_head(track.curves[frame]) @ track.rotation[frame].T + track.translation[frame]
        off = np.linalg.norm(posed - scene(0).surface.in_world(true).numpy(), axis=1)
        apart.append(np.median(off[scene(0).face]))
    return np.array(apart) * 1000
