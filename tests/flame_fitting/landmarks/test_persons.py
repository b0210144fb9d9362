"""Who is who over several views, with faces made of points at known places."""

import dataclasses

import numpy as np
import pytest

from flame_fitting.landmarks.landmarker import FaceLandmarks
from flame_fitting.landmarks.persons import (
    choose_subject,
    find_persons,
    place_person,
    rig_centre,
    with_lone_views,
)
from geometry.cameras import UNCALIBRATED, Camera
from studio.presets import FACE_CENTRE, desk, vocap

CAMERAS = desk(30.0).rgb
NOBODY = np.zeros(len(CAMERAS), bool)


def _cloud(centre: np.ndarray, size_m: float = 0.18) -> np.ndarray:
    """468 points about a place, higher than wide as faces are; eyes and mouth have their mean on it."""
    points = np.random.default_rng(2).uniform(-0.5, 0.5, (468, 3)) * np.array([0.7, 1.0, 0.6]) * size_m
    points[[33, 133, 362, 263, 13]] = np.array([[-0.25, 0.1], [-0.1, 0.1], [0.1, 0.1], [0.25, 0.1], [0, -0.4]]) @ (
        np.eye(2, 3) * size_m
    )
    return points + centre


def _face(camera: Camera, centre: np.ndarray, size_m: float = 0.18) -> FaceLandmarks:
    pixels, depth = camera.project(_cloud(centre, size_m))
    seen = np.ones(468)
    return FaceLandmarks(pixels, (depth - depth.mean()) * camera.K[0, 0] / depth.mean(), 1.0, 1.0, seen)


def _scene(centres: list[np.ndarray], cameras=CAMERAS) -> list[list[FaceLandmarks]]:
    """Everyone in every view, in an order that differs from view to view."""
    order = [np.random.default_rng(view).permutation(len(centres)) for view in range(len(cameras))]
    return [[_face(camera, centres[k]) for k in order[view]] for view, camera in enumerate(cameras)]


SUBJECT = FACE_CENTRE + np.array([0.02, 0.01, -0.03])
ASSISTANT = FACE_CENTRE + np.array([0.33, 0.02, 0.12])
VISITOR = FACE_CENTRE + np.array([-0.2, 0.05, -0.6])


def test_the_rigs_centre_is_where_the_axes_meet() -> None:
    centre = rig_centre(CAMERAS)
    assert centre is not None
    np.testing.assert_allclose(centre, FACE_CENTRE, atol=1e-9)


def test_faces_of_one_person_come_together_in_every_view() -> None:
    centres = [SUBJECT, ASSISTANT, VISITOR]
    persons = find_persons(CAMERAS, _scene(centres))
    assert len(persons) == 3
    for person in persons:
        assert person.centre_world is not None and all(face is not None for face in person.faces)
        assert min(np.linalg.norm(person.centre_world - centre) for centre in centres) < 0.01


def test_the_nearer_to_the_rigs_centre_is_the_subject_though_another_is_larger() -> None:
    persons = find_persons(CAMERAS, _scene([ASSISTANT, SUBJECT, VISITOR]))
    subject = choose_subject(CAMERAS, persons, NOBODY, None)
    assert subject is not None and subject.centre_world is not None
    np.testing.assert_allclose(subject.centre_world, SUBJECT, atol=0.01)
    assert max(persons, key=lambda person: person.size_px) is not subject


def test_a_face_asked_for_is_counted_by_size() -> None:
    persons = find_persons(CAMERAS, _scene([ASSISTANT, SUBJECT, VISITOR]))
    chosen = [choose_subject(CAMERAS, persons, NOBODY, face) for face in range(3)]
    sizes = [person.size_px for person in chosen if person is not None]
    assert len(sizes) == 3 and sizes == sorted(sizes, reverse=True)
    assert choose_subject(CAMERAS, persons, NOBODY, 3) is None


def test_who_was_followed_stays_the_subject() -> None:
    found = _scene([ASSISTANT, SUBJECT])
    followed = np.array([False, True, True, False])
    wanted = _scene([ASSISTANT])
    found[1], found[2] = wanted[1], wanted[2]
    subject = choose_subject(CAMERAS, find_persons(CAMERAS, found), followed, None)
    assert subject is not None and subject.centre_world is not None
    np.testing.assert_allclose(subject.centre_world, ASSISTANT, atol=0.01)


def test_the_order_of_cameras_does_not_matter() -> None:
    turned = CAMERAS[::-1]
    here = choose_subject(CAMERAS, find_persons(CAMERAS, _scene([VISITOR, SUBJECT])), NOBODY, None)
    there = choose_subject(turned, find_persons(turned, _scene([VISITOR, SUBJECT], turned)), NOBODY, None)
    assert here and there and here.centre_world is not None and there.centre_world is not None
    np.testing.assert_allclose(here.centre_world, there.centre_world, atol=1e-9)


def test_one_view_alone_takes_its_larger_face() -> None:
    found = [[_face(CAMERAS[0], VISITOR), _face(CAMERAS[0], SUBJECT)], [], [], []]
    subject = choose_subject(CAMERAS, find_persons(CAMERAS, found), NOBODY, None)
    assert subject is not None and subject.centre_world is None and subject.faces[0] is found[0][1]


def test_nobody_is_nobody() -> None:
    persons = find_persons(CAMERAS, [[], [], [], []])
    assert persons == [] and choose_subject(CAMERAS, persons, NOBODY, None) is None
    assert place_person(CAMERAS, [None] * 4) is None


def test_a_wrongly_calibrated_view_keeps_its_face_where_there_is_no_other() -> None:
    found = [[_face(camera, SUBJECT)] for camera in CAMERAS]
    away = dataclasses.replace(found[3][0], points_px=found[3][0].points_px + np.array([0.0, 400.0]))
    persons = find_persons(CAMERAS, [*found[:3], [away]])
    subject = persons[0]
    assert subject.faces[3] is None
    assert with_lone_views(subject, persons, CAMERAS, None).faces[3] is away
    crowd = find_persons(CAMERAS, [[*found[0], _face(CAMERAS[0], ASSISTANT)], *found[1:3], [away]])
    assert with_lone_views(crowd[0], crowd, CAMERAS, None).faces[3] is None, "it may be the other's"


def test_views_without_calibration_take_their_largest_face() -> None:
    blind = dataclasses.replace(CAMERAS[3], calibration_source=UNCALIBRATED)
    cameras = (*CAMERAS[:3], blind)
    found = _scene([SUBJECT, VISITOR])
    persons = find_persons(cameras, found)
    subject = choose_subject(cameras, persons, NOBODY, None)
    assert subject is not None
    joined = with_lone_views(subject, persons, cameras, None)
    assert joined.faces[3] is max(found[3], key=lambda face: face.crop.side_px)


def test_two_people_who_are_each_alone_in_their_views_stay_two() -> None:
    found = [[_face(camera, SUBJECT if view % 2 else VISITOR)] for view, camera in enumerate(CAMERAS)]
    persons = find_persons(CAMERAS, found)
    subject = choose_subject(CAMERAS, persons, NOBODY, None)
    assert subject is not None and len(persons) == 2
    joined = with_lone_views(subject, persons, CAMERAS, None)
    assert [face is not None for face in joined.faces] == [False, True, False, True]


@pytest.mark.parametrize("people", [1, 4])
def test_a_studio_of_62_cameras_tells_people_apart(people: int) -> None:
    cameras = vocap(30.0).rgb
    centres = [
        FACE_CENTRE + np.array(shift) for shift in ((0, 0, 0.02), (0.4, 0, 0), (-0.35, 0.1, 0.1), (0, 0.05, -0.4))
    ]
    persons = find_persons(cameras, _scene(centres[:people], cameras))
    assert [sum(face is not None for face in person.faces) for person in persons] == [62] * people
