"""Visibility of the canonical face under known rotations, and its topology against the model it comes from."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from flame_fitting.landmarks.visibility import canonical_triangles, point_visibility

LEFT_CHEEK, RIGHT_CHEEK, NOSE_TIP, CHIN = 50, 280, 1, 152
SIZE_HW = (1000, 1000)


@pytest.fixture(scope="module")
def canonical_obj(real_data: Path) -> list[list[str]]:
    text = (real_data / "rigs" / "mediapipe_canonical" / "canonical_face_model.obj").read_text()
    return [line.split() for line in text.splitlines()]


@pytest.fixture(scope="module")
def canonical_points(canonical_obj: list[list[str]]) -> Float[np.ndarray, "468 3"]:
    return np.array([[float(value) for value in line[1:4]] for line in canonical_obj if line[:1] == ["v"]])


def _seen(points: Float[np.ndarray, "468 3"], rotation: Rotation) -> Float[np.ndarray, "468"]:
    """Visibility of the canonical face (y up, +z to the viewer) turned and put into the middle of an image."""
    turned = rotation.apply(points)
    points_px = 500 + 20 * turned[:, :2] * (1, -1)
    return point_visibility(points_px, -20 * turned[:, 2], SIZE_HW)


def test_the_triangles_are_those_of_the_canonical_model(canonical_obj: list[list[str]]) -> None:
    faces = [[int(corner.split("/")[0]) - 1 for corner in line[1:]] for line in canonical_obj if line[:1] == ["f"]]
    np.testing.assert_array_equal(canonical_triangles(), faces)


def test_the_topology_is_one_oriented_surface_over_all_points() -> None:
    triangles = canonical_triangles()
    assert triangles.shape == (898, 3) and np.array_equal(np.unique(triangles), np.arange(468))
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed), "an edge is walked twice in one direction"
    edges = np.unique(np.sort(directed, axis=1), axis=0)
    assert 468 - len(edges) + len(triangles) == 1, "not a disc"
    assert not triangles.flags.writeable


def test_a_frontal_face_is_seen_and_its_back_is_not(canonical_points: Float[np.ndarray, "468 3"]) -> None:
    frontal = _seen(canonical_points, Rotation.identity())
    assert frontal.min() >= 0 and frontal.max() == 1 and frontal.mean() > 0.8
    assert frontal[[LEFT_CHEEK, RIGHT_CHEEK, NOSE_TIP]].min() == 1
    from_behind = _seen(canonical_points, Rotation.from_euler("y", 180, degrees=True))
    assert from_behind[[LEFT_CHEEK, RIGHT_CHEEK, NOSE_TIP]].max() == 0 and from_behind.mean() < 0.1


def test_the_cheek_that_turns_away_vanishes(canonical_points: Float[np.ndarray, "468 3"]) -> None:
    # A positive turn about y moves the face's front towards image right, so the cheek on the right turns away.
    turned = _seen(canonical_points, Rotation.from_euler("y", 70, degrees=True))
    assert turned[RIGHT_CHEEK] == 0 and turned[LEFT_CHEEK] == 1
    mirrored = _seen(canonical_points, Rotation.from_euler("y", -70, degrees=True))
    assert mirrored[LEFT_CHEEK] == 0 and mirrored[RIGHT_CHEEK] == 1


@pytest.mark.parametrize("angle_deg", [30, 90, 180])
def test_turning_the_picture_changes_nothing(canonical_points: Float[np.ndarray, "468 3"], angle_deg: float) -> None:
    head = Rotation.from_euler("yx", [25, 10], degrees=True)
    rolled = Rotation.from_euler("z", angle_deg, degrees=True) * head
    np.testing.assert_allclose(_seen(canonical_points, rolled), _seen(canonical_points, head), atol=1e-9)


def test_points_outside_the_image_count_nothing(canonical_points: Float[np.ndarray, "468 3"]) -> None:
    points_px = 500 + 20 * canonical_points[:, :2] * (1, -1)
    seen = point_visibility(points_px, -20 * canonical_points[:, 2], (500, 1000))
    below = points_px[:, 1] > 500
    assert below.any() and seen[below].max() == 0 and seen[~below].mean() > 0.7
