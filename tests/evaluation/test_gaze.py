"""Gaze is what the eyeballs do, in any frame, and a planted turn comes out in degrees."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from evaluation.gaze import find_eyes, gaze_figures, open_eyes
from flame_fitting.models.registry import load_head_model
from geometry.meshes import Mesh
from geometry.spheres import sphere_through

MODEL = load_head_model()
TEMPLATE = MODEL.template.numpy().astype(np.float64)


def eyes():
    found = find_eyes(TEMPLATE, MODEL.faces.numpy())
    assert found is not None
    return found


def turned(vertices: np.ndarray, ball: np.ndarray, turn: Rotation) -> np.ndarray:
    centre = sphere_through(vertices[ball])[0]
    moved = vertices.copy()
    moved[ball] = turn.apply(vertices[ball] - centre) + centre
    return moved


def test_the_default_head_has_two_eyes_left_first_that_look_ahead():
    left, right = eyes().balls
    assert TEMPLATE[left, 0].min() > 0 > TEMPLATE[right, 0].max()
    assert MODEL.region("eyes").numpy()[np.concatenate([left, right])].all()
    for look in eyes().gaze(TEMPLATE):
        assert np.degrees(np.arccos(look[2])) < 5


def test_a_scan_has_no_eyes():
    ball = trimesh.creation.icosphere(3, 0.1)
    mesh = Mesh(np.asarray(ball.vertices), np.asarray(ball.faces))
    assert find_eyes(mesh.vertices, mesh.faces) is None


@pytest.mark.parametrize("degrees", [0.5, 3.0, 20.0])
def test_a_planted_turn_is_measured(degrees):
    found = eyes()
    across = np.cross(found.gaze(TEMPLATE)[0], [1.0, 0.0, 0.0])
    turn = Rotation.from_rotvec(across / np.linalg.norm(across) * degrees, degrees=True)
    fitted = np.stack([turned(TEMPLATE, found.balls[0], turn)] * 3)
    true = np.stack([TEMPLATE] * 3)
    only_left = np.array([[True, False]] * 3)
    figures = gaze_figures(found.gaze(fitted), found.gaze(true), only_left)
    assert figures["gaze_deg"] == pytest.approx(degrees, rel=1e-4)
    assert gaze_figures(found.gaze(fitted), found.gaze(true), ~only_left)["gaze_deg"] < 1e-5


def test_gaze_turns_with_the_head_and_does_not_move_with_it():
    found, turn = eyes(), Rotation.from_rotvec([0.3, -0.8, 0.2])
    moved = turn.apply(TEMPLATE) + np.array([0.4, 1.2, -3.0])
    np.testing.assert_allclose(found.gaze(moved), turn.apply(found.gaze(TEMPLATE)), atol=1e-9)


def test_shut_eyes_tell_nothing():
    names = ("eyeBlinkRight", "jawOpen", "eyeBlinkLeft")
    curves = np.array([[0.0, 1.0, 0.0], [0.9, 0.0, 0.1]])
    assert open_eyes(curves, names).tolist() == [[True, True], [True, False]], "left comes first"
    nobody = np.zeros((2, 2), bool)
    look = np.zeros((2, 2, 3)) + np.array([0, 0, 1])
    assert gaze_figures(look, look, nobody) == {}
