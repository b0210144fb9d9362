"""One person followed over frame sets: found, followed, lost, found again, told from others, and never a NaN."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from flame_fitting.landmarks.head_direction import agreed_direction, angle_between, direction_in_world
from flame_fitting.landmarks.landmarker import FaceLandmarker, FaceLandmarks
from flame_fitting.landmarks.tracking import LANDMARKS, FaceTracker, ViewMarks
from flame_fitting.landmarks.view_states import ViewState
from flame_fitting.landmarks.weights import LandmarkWeights
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.transforms import look_at
from studio.presets import FACE_CENTRE
from studio.recorder import render_colour
from studio.sensors import SensorNoise, sense_colour
from tests.flame_fitting.landmarks.simulated import both, cameras, head, scene, stage, true_landmarks

NO_PICTURE, NO_FACE, SEARCHED, FOLLOWED, PROFILE = ViewState
BESIDE = (0.24, 0.02, -0.05)
"""Where another person stands: a little behind the subject and at the shoulder, seen by all cameras."""
BLACK = np.zeros((720, 1280, 3), np.uint8)


@pytest.fixture
def tracker(weights: LandmarkWeights) -> FaceTracker:
    return FaceTracker.load(cameras(), weights=weights)


def _states(marks: Sequence[ViewMarks]) -> list[ViewState]:
    for view in marks:
        assert view.points_px.shape == (LANDMARKS, 2) and np.isfinite(view.points_px).all()
        assert np.isfinite(view.confidence).all() and view.confidence.min() >= 0 and view.confidence.max() <= 1
        votes = view.confidence.any()
        assert votes == (view.state in (SEARCHED, FOLLOWED)), f"{view.state.name} with votes: {votes}"
    return [view.state for view in marks]


def _error_px(marks: ViewMarks, camera: Camera, vertices: np.ndarray) -> float:
    """Median distance of the voting points from where the true ones project."""
    index, points = true_landmarks(vertices)
    pixels, _ = camera.project(points)
    voting = marks.confidence[index] > 0.5
    return float(np.median(np.linalg.norm(marks.points_px[index] - pixels, axis=1)[voting]))


def test_a_face_is_searched_for_once_and_followed_from_then_on(tracker: FaceTracker) -> None:
    assert _states(tracker.track(scene().pictures)) == [SEARCHED] * 4
    moved = scene((0.004, -0.003, 0.002))
    marks = tracker.track(moved.pictures)
    assert _states(marks) == [FOLLOWED] * 4
    for camera, view in zip(cameras(), marks, strict=True):
        assert _error_px(view, camera, moved.vertices) < 8, camera.id


def test_a_run_that_starts_anew_gives_the_same_to_the_last_bit(tracker: FaceTracker) -> None:
    pictures = [scene().pictures, scene((0.004, -0.003, 0.002)).pictures]
    first = [tracker.track(frame) for frame in pictures]
    tracker.track((BLACK,) * 4)
    tracker.start_run()
    again = [tracker.track(frame) for frame in pictures]
    for before, after in zip(first, again, strict=True):
        for one, other in zip(before, after, strict=True):
            assert one.state == other.state
            np.testing.assert_array_equal(one.points_px, other.points_px)
            np.testing.assert_array_equal(one.confidence, other.confidence)


def test_a_dropped_frame_is_named_and_the_face_followed_over_it(tracker: FaceTracker) -> None:
    pictures = scene().pictures
    tracker.track(pictures)
    assert _states(tracker.track((None, *pictures[1:]))) == [NO_PICTURE, FOLLOWED, FOLLOWED, FOLLOWED]
    assert _states(tracker.track(pictures)) == [FOLLOWED] * 4


@pytest.mark.parametrize("grey", [0, 17, 255])
def test_a_view_that_goes_blank_is_named_and_found_again(tracker: FaceTracker, grey: int) -> None:
    pictures = scene().pictures
    noise = np.random.default_rng(grey).normal(0, 2, BLACK.shape)
    blank = np.clip(grey + noise, 0, 255).astype(np.uint8)
    tracker.track(pictures)
    assert _states(tracker.track((*pictures[:2], blank, pictures[3]))) == [FOLLOWED, FOLLOWED, NO_FACE, FOLLOWED]
    assert _states(tracker.track(pictures)) == [FOLLOWED, FOLLOWED, SEARCHED, FOLLOWED]


def test_black_and_empty_views_end_without_a_face(tracker: FaceTracker) -> None:
    assert _states(tracker.track((BLACK,) * 4)) == [NO_FACE] * 4
    empty = np.random.default_rng(4).integers(60, 120, (45, 80, 3), dtype=np.uint8)
    room = np.asarray(cv2.resize(empty, (1280, 720), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert _states(tracker.track((room,) * 4)) == [NO_FACE] * 4


def test_an_empty_room_is_not_searched_through_in_every_frame(weights: LandmarkWeights) -> None:
    landmarker = FaceLandmarker.load(weights)
    thorough, quick = [], []
    whole, glance = landmarker.detect, landmarker.faces
    landmarker.detect = lambda *a, **k: (thorough.append(1), whole(*a, **k))[1]  # type: ignore[method-assign]
    landmarker.faces = lambda *a, **k: (quick.append(1), glance(*a, **k))[1]  # type: ignore[method-assign]
    tracker = FaceTracker(cameras()[:1], landmarker, FaceTracker.load(cameras()[:1], weights=weights)._irises)
    empty = np.random.default_rng(4).integers(60, 120, (18, 32, 3), dtype=np.uint8)
    room = np.asarray(cv2.resize(empty, (640, 360), interpolation=cv2.INTER_CUBIC), np.uint8)
    for _ in range(10):
        tracker.track((room,))
    assert len(quick) == 10 and len(thorough) == 2


def test_of_two_people_all_views_follow_the_one_at_the_rigs_centre(tracker: FaceTracker) -> None:
    subject, other = scene(), scene(BESIDE)
    pictures = both(subject, other)
    found = [FaceLandmarker.load().faces(picture) for picture in pictures]
    assert sum(len(faces) == 2 for faces in found) >= 2, "the test needs two faces in some views"
    for _ in range(2):
        marks = tracker.track(pictures)
        assert all(state in (SEARCHED, FOLLOWED) for state in _states(marks))
        for camera, view in zip(cameras(), marks, strict=True):
            assert _error_px(view, camera, subject.vertices) < 8, camera.id


def test_face_chooses_the_other_of_two_people(weights: LandmarkWeights) -> None:
    subject, other = scene(), scene(BESIDE)
    pictures = both(subject, other)
    marks = FaceTracker.load(cameras(), face=1, weights=weights).track(pictures)
    seen = [view for view, state in enumerate(_states(marks)) if state in (SEARCHED, FOLLOWED)]
    assert len(seen) >= 2
    for view in seen:
        assert _error_px(marks[view], cameras()[view], other.vertices) < 6, cameras()[view].id
    nobody = FaceTracker.load(cameras(), face=5, weights=weights).track(pictures)
    assert set(_states(nobody)) == {NO_FACE}
    with pytest.raises(InputError, match="--face"):
        FaceTracker.load(cameras(), face=-1, weights=weights)


def test_the_subject_is_not_lost_to_another_when_covered(tracker: FaceTracker) -> None:
    """Where only the other person shows, the view has no face."""
    subject, other = scene(), scene(BESIDE)
    pictures = list(both(subject, other))
    tracker.track(pictures)
    pictures[2] = other.pictures[2]
    states = _states(tracker.track(pictures))
    assert states[2] == NO_FACE and states.count(FOLLOWED) == 3


def test_a_half_covered_face_is_named_or_marked_where_it_shows(tracker: FaceTracker) -> None:
    vertices = scene().vertices
    covered = []
    for camera, picture in zip(cameras(), scene().pictures, strict=True):
        (x, y), _ = camera.project(FACE_CENTRE[None])[0][0], None
        hand = picture.copy()
        hand[int(y) + 15 : int(y) + 200, int(x) - 160 : int(x) + 160] = (120, 90, 75)
        covered.append(hand)
    for _ in range(2):
        marks = tracker.track(covered)
        for camera, view, state in zip(cameras(), marks, _states(marks), strict=True):
            if state in (SEARCHED, FOLLOWED):
                index, points = true_landmarks(vertices)
                upper = points[:, 1] > FACE_CENTRE[1] + 0.01
                pixels, _ = camera.project(points)
                error = np.linalg.norm(view.points_px[index] - pixels, axis=1)[upper & (view.confidence[index] > 0.5)]
                assert np.median(error) < 12, camera.id


def _side_camera(azimuth_deg: float) -> Camera:
    angle = np.radians(azimuth_deg)
    place = FACE_CENTRE + 0.65 * np.array([np.sin(angle), 0.0, np.cos(angle)])
    base = cameras()[0]
    here = look_at(place, FACE_CENTRE, np.array([0.0, 1.0, 0.0]))
    return Camera("side", "side", "rgb", base.image_size_hw, base.K, base.distortion, here, calibration_source="test")


def test_profiles_are_named_by_what_other_views_agree_on(weights: LandmarkWeights) -> None:
    side = [_side_camera(angle) for angle in (72, 90, 180)]
    random = np.random.default_rng(6)
    profile = [sense_colour(render_colour(stage(), camera, head())[0], SensorNoise(), random) for camera in side]
    for number, expected in ((0, PROFILE), (1, PROFILE), (2, NO_FACE)):
        tracker = FaceTracker.load((*cameras()[1:3], side[number]), weights=weights)
        for _ in range(2):
            states = _states(tracker.track((*scene().pictures[1:3], profile[number])))
            assert states[2] == expected and NO_FACE not in states[:2]


def test_views_agree_on_where_the_face_looks(simulated_faces: tuple[FaceLandmarks, ...]) -> None:
    views = list(zip(cameras(), simulated_faces, strict=True))
    agreed = agreed_direction(views)
    assert agreed is not None
    ahead = np.array([0.0, 0.0, 1.0])
    assert np.rad2deg(angle_between(agreed, ahead)) < 10
    for camera, face in views:
        assert np.rad2deg(angle_between(direction_in_world(camera, face), ahead)) < 16, camera.id
    assert agreed_direction(views[:1]) is None


def test_a_single_view_without_calibration_is_followed(weights: LandmarkWeights) -> None:
    camera = Camera.uncalibrated("phone", "phone", "rgb", (720, 1280))
    tracker = FaceTracker.load((camera,), weights=weights)
    assert _states(tracker.track(scene().pictures[2:3])) == [SEARCHED]
    assert _states(tracker.track(scene().pictures[2:3])) == [FOLLOWED]
