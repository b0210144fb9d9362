"""The iris network on drawn eyes whose irises are known, and the mirror that its two eyes share."""

import dataclasses

import numpy as np
import pytest

from flame_fitting.landmarks.iris import EYE_CORNERS, IrisNetwork, square_from_corners
from flame_fitting.landmarks.landmarker import FaceLandmarks
from flame_fitting.landmarks.weights import LandmarkWeights
from tests.flame_fitting.landmarks.simulated import cameras, head, scene, true_irises


@pytest.fixture(scope="module")
def network(weights: LandmarkWeights) -> IrisNetwork:
    return IrisNetwork(weights.iris)


def test_both_irises_are_found_in_every_view(network: IrisNetwork, simulated_faces: tuple[FaceLandmarks, ...]) -> None:
    irises = true_irises(head())
    for camera, picture, face in zip(cameras(), scene().pictures, simulated_faces, strict=True):
        expected, _ = camera.project(irises)
        for eye, outline in enumerate(network.outline(picture, face.points_px)):
            assert outline is not None
            error_px = np.linalg.norm(outline.iris_px[0] - expected[eye])
            assert error_px < 4.5, f"{camera.id}, eye {eye}: {error_px:.2f} px"
            assert np.linalg.norm(outline.iris_px[1:].mean(0) - outline.iris_px[0]) < 1.5, "the rim is about the centre"


def test_the_first_contour_points_are_the_corners_and_lower_lid(
    network: IrisNetwork, simulated_faces: tuple[FaceLandmarks, ...]
) -> None:
    for eye, outline in enumerate(network.outline(scene().pictures[2], simulated_faces[2].points_px)):
        assert outline is not None
        corners = simulated_faces[2].points_px[list(EYE_CORNERS[eye])]
        ends = outline.contour_px[[0, 8]][:: -1 if eye else 1]
        assert np.linalg.norm(ends - corners, axis=1).max() < 8
        assert outline.contour_px[1:8, 1].mean() > outline.contour_px[9:16, 1].mean() + 3, "lower is lower"


def test_a_mirrored_picture_has_mirrored_eyes(network: IrisNetwork, simulated_faces: tuple[FaceLandmarks, ...]) -> None:
    picture, points = scene().pictures[2], simulated_faces[2].points_px
    mirrored_points = points.copy()
    for here, there in ((33, 263), (133, 362)):
        mirrored_points[[here, there]] = points[[there, here]]
    mirrored_points[:, 0] = picture.shape[1] - mirrored_points[:, 0]
    right, left = network.outline(picture, points)
    mirrored_right, mirrored_left = network.outline(np.ascontiguousarray(picture[:, ::-1]), mirrored_points)
    assert right and left and mirrored_right and mirrored_left
    for seen, mirrored in ((right, mirrored_left), (left, mirrored_right)):
        expected = seen.iris_px * (-1, 1) + (picture.shape[1], 0)
        np.testing.assert_allclose(mirrored.iris_px, expected, atol=0.05)


def test_the_crop_holds_the_eye_level_in_its_middle(simulated_faces: tuple[FaceLandmarks, ...]) -> None:
    points = simulated_faces[1].points_px
    for eye, corners in enumerate(EYE_CORNERS):
        square = square_from_corners(points, eye)
        assert square is not None
        inside = square.from_image(points[list(corners)])
        np.testing.assert_allclose(inside[:, 1], 0.5, atol=1e-9)
        np.testing.assert_allclose(inside[:, 0], [0.5 - 0.5 / 2.3, 0.5 + 0.5 / 2.3], atol=1e-9)


def test_an_eye_seen_from_the_side_is_left_out(
    network: IrisNetwork, simulated_faces: tuple[FaceLandmarks, ...]
) -> None:
    face = simulated_faces[2]
    points = face.points_px.copy()
    points[133] = points[33] + (2.0, 0.5)
    right, left = network.outline(scene().pictures[2], dataclasses.replace(face, points_px=points).points_px)
    assert right is None and left is not None
