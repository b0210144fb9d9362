"""The rim of irises drawn exactly, in all colours and under lids, and of the simulated head's."""

from itertools import product

import cv2
import numpy as np
import pytest
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.eyes import FULL_VOTE_SIGMA, SHUT_OPENING, find_irises, opening
from flame_fitting.landmarks.iris import EyeOutline, IrisNetwork
from flame_fitting.landmarks.landmarker import FaceLandmarks
from flame_fitting.landmarks.limbus import IRIS_OVER_EYES, find_limbus
from flame_fitting.landmarks.weights import LandmarkWeights
from tests.flame_fitting.landmarks.simulated import cameras, head, scene, true_irises

RADIUS_PX = 10.0
FINE = 8
"""Drawn pixels a pixel: edges are then antialiased as a lens would."""
SKINS = ((224, 190, 170), (150, 105, 80), (70, 48, 38))
IRISES = ((110, 140, 165), (90, 60, 40), (40, 28, 22))


def _drawn_eye(
    centre: tuple[float, float],
    squeeze: float,
    iris: tuple[int, int, int],
    skin: tuple[int, int, int],
    lids: tuple[float, float] = (-6.5, 7.0),
) -> UInt8[np.ndarray, "60 100 3"]:
    """An eye whose iris has its middle at `centre` (pixels) and is narrowed to `squeeze` of its height."""
    y, x = (np.mgrid[: 60 * FINE, : 100 * FINE] + 0.5) / FINE
    image = np.full((*x.shape, 3), (222, 214, 206), float)
    inside = ((x - centre[0]) / (RADIUS_PX * squeeze)) ** 2 + ((y - centre[1]) / RADIUS_PX) ** 2
    image[inside < 1] = iris
    image[inside < 0.15] = (8, 8, 8)
    along = ((x - 50) / 26) ** 2
    upper, lower = 30 + lids[0] * (1 - along), 30 + lids[1] * (1 - along)
    lash = (y < upper + 0.7) & (y > upper - 0.8)
    image[(y < upper) | (y > lower) | (along > 1)] = skin
    image[lash & (along < 1)] = 0.4 * np.array(skin)
    small = cv2.resize(image, (100, 60), interpolation=cv2.INTER_AREA)
    noisy = cv2.GaussianBlur(small, (0, 0), 0.6) + np.random.default_rng(1).normal(0, 2, small.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _face_about_it() -> tuple[Float[np.ndarray, "468 2"], Float[np.ndarray, "468"]]:
    """Mesh points whose right eye is the drawn one, with irises of RADIUS_PX, looking straight at the camera."""
    points = np.zeros((468, 2))
    points[33], points[133] = (24.0, 30.0), (76.0, 30.0)
    points[263] = points[33] + (RADIUS_PX / IRIS_OVER_EYES, 0)
    points[10], points[152] = (100.0, -60.0), (100.0, 140.0)
    return points, np.zeros(468)


def _outline(centre: tuple[float, float], lids: tuple[float, float] = (-6.5, 7.0)) -> EyeOutline:
    contour = np.zeros((71, 2))
    x = np.linspace(24, 76, 9)
    contour[:9] = np.column_stack([x, 30 + lids[1] * (1 - ((x - 50) / 26) ** 2)])
    contour[9:16] = np.column_stack([x[1:-1], 30 + lids[0] * (1 - ((x[1:-1] - 50) / 26) ** 2)])
    return EyeOutline(iris_px=np.array(centre) + np.zeros((5, 2)), contour_px=contour)


@pytest.mark.parametrize(("skin", "iris"), list(product(SKINS, IRISES)))
def test_the_centre_of_an_iris_under_lids_is_found_to_a_fraction_of_a_pixel(
    skin: tuple[int, int, int], iris: tuple[int, int, int]
) -> None:
    points, depth = _face_about_it()
    for centre, squeeze in (((50.3, 30.7), 1.0), ((44.2, 29.4), 0.96), ((55.6, 32.1), 0.95)):
        picture = _drawn_eye(centre, squeeze, iris, skin)
        guess = (centre[0] + 1.6, centre[1] - 1.3)
        found = find_limbus(picture, points, depth, _outline(guess), 0)
        assert found is not None
        error = np.abs(found.centre_px - centre)
        assert error[0] < 0.12 and error[1] < 0.6, f"off by {error.round(2)} px"
        assert np.linalg.norm(error) < 3 * found.sigma_px + 0.05, "the deviation it states is honest"
        assert found.radius_px == pytest.approx(RADIUS_PX)


def test_the_rim_is_about_the_centre_where_the_picture_has_it() -> None:
    points, depth = _face_about_it()
    picture = _drawn_eye((50.3, 30.7), 1.0, IRISES[1], SKINS[1])
    found = find_limbus(picture, points, depth, _outline((50.0, 30.0)), 0)
    assert found is not None
    right, up, left, down = found.rim_px - found.centre_px
    np.testing.assert_allclose([right[0], -left[0]], RADIUS_PX, atol=0.3)
    np.testing.assert_allclose([-up[1], down[1]], RADIUS_PX, atol=0.8)


def test_one_free_side_is_less_sure_than_two() -> None:
    points, depth = _face_about_it()
    middle = find_limbus(_drawn_eye((50, 30), 1, IRISES[1], SKINS[1]), points, depth, _outline((50, 30)), 0)
    corner = find_limbus(_drawn_eye((66, 30), 0.85, IRISES[1], SKINS[1]), points, depth, _outline((65, 30)), 0)
    assert middle is not None
    assert corner is None or corner.sigma_px > 2 * middle.sigma_px


@pytest.mark.parametrize("lids", [(-0.4, 0.4), (0.0, 0.0)])
def test_a_shut_eye_has_no_rim(lids: tuple[float, float]) -> None:
    points, depth = _face_about_it()
    picture = _drawn_eye((50, 30), 1, IRISES[1], SKINS[1], lids)
    assert find_limbus(picture, points, depth, _outline((50, 30), lids), 0) is None
    assert opening(_outline((50, 30), lids)) < SHUT_OPENING < opening(_outline((50, 30)))


def test_blank_skin_and_guesses_that_are_no_number_have_no_rim() -> None:
    points, depth = _face_about_it()
    flat = np.full((60, 100, 3), 128, np.uint8)
    assert find_limbus(flat, points, depth, _outline((50, 30)), 0) is None
    assert find_limbus(flat, points, depth, _outline((float("nan"), 30)), 0) is None
    assert find_limbus(flat, np.zeros((468, 2)), depth, _outline((50, 30)), 0) is None


def test_the_simulated_head_looks_where_it_looks(
    weights: LandmarkWeights, simulated_faces: tuple[FaceLandmarks, ...]
) -> None:
    """Half a pixel is a degree of gaze at this distance; the network alone is off by three times as much."""
    network, irises = IrisNetwork(weights.iris), true_irises(head())
    errors, network_errors, votes = [], [], []
    for camera, picture, face in zip(cameras(), scene().pictures, simulated_faces, strict=True):
        expected, _ = camera.project(irises)
        marks = find_irises(picture, face, network)
        assert np.isfinite(marks.points_px).all() and marks.confidence.min() >= 0 and marks.confidence.max() <= 1
        assert not marks.confidence[[1, 2, 3, 4, 6, 7, 8, 9]].any(), "only centres vote"
        errors += np.linalg.norm(marks.points_px[[0, 5]] - expected, axis=1).tolist()
        votes += marks.confidence[[0, 5]].tolist()
        outlines = network.outline(picture, face.points_px)
        network_errors += [np.linalg.norm(o.iris_px[0] - e) for o, e in zip(outlines, expected, strict=True) if o]
    sure = np.array(votes) > 0.2
    assert sure.sum() >= 4
    assert np.median(np.array(errors)[sure]) < 0.5 < np.median(network_errors)
    assert np.array(errors)[sure].max() < 1.0
    assert 0 < FULL_VOTE_SIGMA < 0.1


def test_shut_eyes_have_no_vote(weights: LandmarkWeights, simulated_faces: tuple[FaceLandmarks, ...]) -> None:
    shut = scene(eyeBlinkLeft=1.0, eyeBlinkRight=1.0).pictures[2]
    marks = find_irises(shut, simulated_faces[2], IrisNetwork(weights.iris))
    assert np.isfinite(marks.points_px).all() and marks.confidence.max() < 0.05
