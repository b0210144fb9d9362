"""Boards: their text, their corners in pictures, and what can be guessed of them."""

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from capture.calibration.board import BoardSpec, detect_board, grey_picture
from capture.calibration.board_guess import guess_board
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.transforms import RigidTransform
from tests.capture.calibration.board_pictures import draw_board

CHARUCO = BoardSpec.parse("charuco:8x6:30mm:22mm:DICT_4X4_50")
LEGACY = BoardSpec.parse("charuco:8x6:30mm:20mm:DICT_5X5_100:legacy")
CHECKERS = BoardSpec.parse("checkerboard:8x5:30mm")


def camera(size_hw=(360, 480)):
    K = np.array([[520.0, 0, size_hw[1] / 2 + 1.3], [0, 520.0, size_hw[0] / 2 - 0.8], [0, 0, 1]])
    lens = np.array([0.08, -0.12, 4e-4, -3e-4, 0.03])
    return Camera("a", "a", "rgb", size_hw, K, lens, RigidTransform.identity())


def pose(spec, angles, distance_m=0.42):
    rotation = Rotation.from_euler("xyz", angles).as_matrix()
    middle = np.array([*spec.squares_xy, 0]) * spec.square_m / 2
    return RigidTransform(rotation, np.array([0.004, -0.003, distance_m]) - rotation @ middle)


@pytest.mark.parametrize("spec", [CHARUCO, LEGACY, CHECKERS], ids=str)
@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.1), (-0.4, 0.5, 3.0)])
def test_corners_are_where_geometry_puts_them(spec, angles):
    """Against analytic positions, in a picture drawn without OpenCV: no half pixel hides here."""
    seen_from, camera_from_board = camera(), pose(spec, angles)
    found = detect_board(draw_board(seen_from, spec, camera_from_board), spec)
    expected, _ = seen_from.project(camera_from_board @ spec.corners_m)
    error = found.pixels - expected[found.ids]
    assert len(found) >= 0.8 * len(spec.corners_m)
    assert np.abs(np.median(error, axis=0)).max() < 0.02
    assert np.sqrt((error**2).mean()) < 0.08


def test_what_is_no_board_gives_no_corners():
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    for spec in (CHARUCO, CHECKERS):
        found = detect_board(noise, spec)
        assert len(found) == 0 and found.pixels.shape == (0, 2) and found.image_size_hw == (240, 320)


def test_infrared_counts_show_the_same_corners_as_grey():
    grey = draw_board(camera(), CHARUCO, pose(CHARUCO, (0.2, 0.3, 0.2)))
    counts = (grey.astype(np.uint16) * 5 + 40).astype(np.uint16)
    of_grey, of_counts = detect_board(grey, CHARUCO), detect_board(counts, CHARUCO)
    np.testing.assert_array_equal(of_grey.ids, of_counts.ids)
    assert np.median(np.abs(of_grey.pixels - of_counts.pixels)) < 0.01  # grey levels are rounded
    assert grey_picture(counts).dtype == np.uint8


def test_a_checkerboard_turned_by_half_keeps_its_corner_ids():
    upright, turned = (pose(CHECKERS, (0.1, 0.2, roll)) for roll in (0.0, np.pi))
    for camera_from_board in (upright, turned):
        found = detect_board(draw_board(camera(), CHECKERS, camera_from_board), CHECKERS)
        expected, _ = camera().project(camera_from_board @ CHECKERS.corners_m)
        assert np.abs(found.pixels - expected[found.ids]).max() < 0.5


@pytest.mark.parametrize("spec", [CHARUCO, LEGACY], ids=str)
def test_the_board_is_guessed_from_pictures_of_it(spec):
    pictures = [
        draw_board(camera(), spec, pose(spec, angles), samples=3) for angles in ((0.1, 0.1, 0.0), (0.3, -0.3, 1.5))
    ]
    guessed = guess_board(pictures, spec.square_m)
    assert guessed.squares_xy == spec.squares_xy and guessed.legacy == spec.legacy
    assert guessed.dictionary.rpartition("_")[0] == spec.dictionary.rpartition("_")[0]
    assert guessed.marker_m == pytest.approx(spec.marker_m, rel=0.08)
    assert len(detect_board(pictures[0], guessed)) == len(detect_board(pictures[0], spec))


def test_a_checkerboard_is_guessed_and_a_blank_wall_is_refused():
    picture = draw_board(camera(), CHECKERS, pose(CHECKERS, (0.1, 0.2, 0.0)), samples=3)
    assert set(guess_board([picture], 0.03).squares_xy) == set(CHECKERS.squares_xy)
    with pytest.raises(InputError, match="neither markers"):
        guess_board([np.full((240, 320), 128, np.uint8)], 0.03)


def test_the_board_of_real_pictures_is_guessed(real_data):
    folder = real_data / "rgbd" / "truedepth_charuco" / "DepthEvalDataset" / "iPhone11Pro_iOS14"
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("rgb_*.png"))]
    spec = guess_board(pictures, 0.020875)
    assert (spec.squares_xy, spec.dictionary, spec.legacy) == ((10, 8), "DICT_ARUCO_ORIGINAL", True)
    assert all(len(detect_board(picture, spec)) >= 45 for picture in pictures)


@pytest.mark.parametrize("spec", [CHARUCO, LEGACY, CHECKERS], ids=str)
def test_text_goes_there_and_back(spec):
    assert BoardSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "charuco",
        "charuco:8x6:30mm",
        "charuco:8x6:30mm:22mm:DICT_9X9_1",
        "charuco:8x6:30mm:40mm:DICT_4X4_50",
        "charuco:8x600:30mm:22mm:DICT_4X4_50",
        "charuco:8x6:30:22:DICT_4X4_50",
        "checkerboard:8x6:-3mm",
        "checkerboard:8x6:0mm",
        "checkerboard:8x6:..mm",
        "poster:8x6:30mm",
    ],
)
def test_wrong_text_is_refused_with_the_form(text):
    with pytest.raises(InputError):
        BoardSpec.parse(text)
