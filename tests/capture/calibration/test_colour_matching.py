"""Colours of several cameras made one: gains from a board's paper and ink, a whole matrix from a chart."""

import cv2
import numpy as np
import pytest

from capture.calibration.board import BoardSpec, detect_board
from capture.calibration.chart_footage import find_charts, match_charts
from capture.calibration.colour_matching import (
    board_greys,
    chart_patches,
    linear_rgb,
    match_chart,
    match_greys,
)
from capture.calibration.footage import Sensor
from capture.readers.recording import Recording, StreamClock
from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from tests.capture.calibration.board_pictures import draw_board

GAINS = np.array([[1.0, 1.0, 1.0], [1.1, 0.95, 0.9], [0.92, 1.0, 1.08], [1.05, 1.04, 0.97]])
OFFSETS = np.array([0.0, 0.01, -0.004, 0.002])


def greys(seen, seed=0, noise=0.0):
    """Paper and ink of cameras (camera, moment) under light that changes from moment to moment."""
    random = np.random.default_rng(seed)
    light = random.uniform(0.4, 0.8, 20)
    found = {}
    for camera, moment in seen:
        true = light[moment] * np.array([[0.9], [0.04]]) * np.ones(3)
        found[camera, moment] = true * GAINS[camera] + OFFSETS[camera] + random.normal(0, noise, (2, 3))
    return found


def test_gains_and_offsets_come_back_through_cameras_that_share_nothing_with_the_reference():
    chain = [(c, m) for c in range(4) for m in range(12) if m // 3 in (c - 1, c)]
    matches = match_greys(greys(chain), 4, reference=0)
    for camera, match in enumerate(matches):
        assert match is not None
        np.testing.assert_allclose(np.diag(match.matrix[:, :3]), GAINS[0] / GAINS[camera], rtol=1e-3)
        assert match.matrix[0, 1] == 0
        assert match.after < 0.1 * match.before or match.before < 1e-6


def test_one_bad_picture_does_not_spoil_a_camera():
    everywhere = [(c, m) for c in range(4) for m in range(12)]
    found = greys(everywhere, noise=0.002)
    found[2, 5] = found[2, 5] * [[0.5], [1.0]]
    match = match_greys(found, 4, reference=0)[2]
    assert match is not None
    np.testing.assert_allclose(np.diag(match.matrix[:, :3]), GAINS[0] / GAINS[2], rtol=0.01)


def test_a_camera_apart_is_left_unmatched():
    apart = [(c, m) for c in range(2) for m in range(6)] + [(c, m) for c in (2, 3) for m in range(6, 12)]
    matches = match_greys(greys(apart), 4, reference=0)
    assert [match is None for match in matches] == [False, False, True, True]
    assert match_greys({}, 3, reference=0) == [None] * 3


def test_paper_and_ink_are_found_in_a_picture():
    spec = BoardSpec.parse("charuco:8x6:30mm:20mm:DICT_4X4_50")
    K = np.array([[520.0, 0, 241.3], [0, 520.0, 179.2], [0, 0, 1]])
    camera = Camera("a", "a", "rgb", (360, 480), K, np.zeros(0), RigidTransform.identity())
    pose = RigidTransform.from_rotvec(np.array([0.3, 0.2, 0.1]), np.array([-0.12, -0.09, 0.42]))
    grey = draw_board(camera, spec, pose, samples=3)
    picture = np.stack([grey, (grey * 0.9).astype(np.uint8), grey], axis=2)
    found = board_greys(picture, detect_board(grey, spec), spec)
    assert found is not None
    wanted = linear_rgb(np.array([[220, 198, 220], [25, 22, 25]], np.uint8))
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=1e-3)


def chart_picture(patches, size_hw=(720, 1080)):
    """A chart of 6 x 4 patches (sRGB grey levels) on its black card, as a camera in front of it sees it."""
    rows, columns = size_hw
    picture = np.full((rows, columns, 3), 160, np.uint8)
    left, top, side, gap = 180, 110, 100, 20
    picture[top - 30 : top + 4 * (side + gap) + 10, left - 30 : left + 6 * (side + gap) + 10] = 20
    for number, colour in enumerate(patches):
        row, column = divmod(number, 6)
        y, x = top + row * (side + gap), left + column * (side + gap)
        picture[y : y + side, x : x + side] = colour
    return cv2.GaussianBlur(picture, (0, 0), 1.0)


CHART = np.array(
    [
        [115, 82, 68], [194, 150, 130], [98, 122, 157], [87, 108, 67], [133, 128, 177], [103, 189, 170],
        [214, 126, 44], [80, 91, 166], [193, 90, 99], [94, 60, 108], [157, 188, 64], [224, 163, 46],
        [56, 61, 150], [70, 148, 73], [175, 54, 60], [231, 199, 31], [187, 86, 149], [8, 133, 161],
        [243, 243, 242], [200, 200, 200], [160, 160, 160], [122, 122, 121], [85, 85, 85], [52, 52, 52],
    ],
    np.uint8,
)  # fmt: skip
"""sRGB of the 24 patches, as the chart's maker prints them (D65)."""


def test_a_chart_is_found_and_its_patches_are_read():
    found = chart_patches(chart_picture(CHART))
    assert found is not None
    np.testing.assert_allclose(found, linear_rgb(CHART), atol=0.01)
    assert chart_patches(np.full((240, 320, 3), 128, np.uint8)) is None


def test_two_cameras_that_saw_the_chart_agree_after_matching():
    truth = np.array([[0.9, 0.06, 0.02, 0.004], [0.03, 0.95, -0.02, 0.002], [0.0, 0.08, 1.05, 0.006]])
    reference = linear_rgb(CHART) * 0.8
    mine = (reference - truth[:, 3]) @ np.linalg.inv(truth[:, :3]).T
    match = match_chart(mine, reference)
    assert match is not None
    assert match.before > 0.02 and match.after < 0.002
    np.testing.assert_allclose(match.matrix, truth, atol=0.02)
    assert match_chart(np.ones((24, 3)), reference) is None


@pytest.mark.parametrize("value, linear", [(0, 0.0), (255, 1.0), (128, 0.21586)])
def test_grey_levels_are_linearised_as_srgb(value, linear):
    assert linear_rgb(np.array([[value] * 3], np.uint8))[0, 0] == pytest.approx(linear, abs=1e-4)


def test_charts_of_a_recording_match_cameras_that_saw_one_at_the_same_moment():
    names = ("a", "b", "c")
    cameras = tuple(Camera.uncalibrated(name, name, "rgb", (720, 1080)) for name in names)
    blank = np.full((720, 1080, 3), 128, np.uint8)
    tinted = np.clip(CHART * np.array([0.9, 1.0, 0.8]), 0, 255).astype(np.uint8)
    frames = {
        "a": [chart_picture(CHART), blank, blank],
        "b": [chart_picture(tinted), blank, blank],
        "c": [blank, chart_picture(CHART), blank],
    }
    clocks = {name: StreamClock(np.arange(3, dtype=np.int64)) for name in names}
    recording = Recording("", "", Rig(cameras), clocks, lambda camera, index: frames[camera][index], ())
    sensors = [Sensor(camera) for camera in cameras]
    charts = find_charts(recording, sensors, np.repeat(np.arange(3)[:, None], 3, axis=1))
    assert sorted(charts) == [(0, 0), (1, 0), (2, 1)]
    same, tint, alone = match_charts(charts, 3, reference=0)
    assert same is not None and tint is not None and alone is None
    assert tint.before > 0.03 and tint.after < 0.01
    np.testing.assert_allclose(same.matrix[:, :3], np.eye(3), atol=1e-3)
