"""A focal length that a device states wrongly shows as soon as a board of known size is in view of its depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from capture.calibration.board import BoardSpec
from capture.ingest import IngestConfig
from capture.quality import Check, check_take
from capture.quality.board import board_named
from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from storage.image_folder import FrameTable, RecordingCard
from tests.capture.synthetic_recording import png_bytes, write_rig_json
from workflows.ingesting import ingest

SIZE_HW = (360, 480)
FOCAL_PX = 430.0
BOARD = BoardSpec("charuco", (8, 6), 0.03, 0.022, "DICT_4X4_50")
PX_PER_M = 4000
DEVICES = ("iPadPro12_4gen_iOS15", "iPadPro12_5gen_iOS15", "iPhone11Pro_iOS14")


def _cameras(focal_px: float) -> tuple[Camera, Camera]:
    K = np.array([[focal_px, 0, 241.0], [0, focal_px, 178.0], [0, 0, 1]])
    here = RigidTransform(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
    rgb = Camera("rgb", "phone", "rgb", SIZE_HW, K, np.zeros(0), here, 30.0, calibration_source="the device")
    return rgb, replace(rgb, id="depth", kind="depth", depth_unit_m=1e-4)


def _seen(camera: Camera, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A board that the camera sees at some 0.35 m, nearly parallel to the sensor, and its depth counts."""
    random = np.random.default_rng([number, 2])
    turn = RigidTransform.from_rotvec(random.normal(0, 0.06, 3), np.array([-0.12, -0.09, 0.35 + 0.01 * number]))
    columns, rows = BOARD.squares_xy
    drawn = BOARD.charuco_board().generateImage((round(columns * 0.03 * PX_PER_M), round(rows * 0.03 * PX_PER_M)))
    # A point (x, y) of the board's plane to a pixel centre, from and to OpenCV's integers.
    plane = camera.K @ np.column_stack([turn.rotation[:, 0], turn.rotation[:, 1], turn.translation])
    to_metres = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, PX_PER_M]]) / PX_PER_M
    to_opencv = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    grey = cv2.warpPerspective(
        drawn, to_opencv @ plane @ to_metres, SIZE_HW[::-1], flags=cv2.INTER_AREA, borderValue=200
    )
    rays = np.concatenate([camera.pixel_grid_normalised(), np.ones((*SIZE_HW, 1))], -1)
    normal = turn.rotation[:, 2]
    depth_m = (normal @ turn.translation) / (rays @ normal) + random.normal(0, 5e-4, SIZE_HW)
    return np.repeat(cv2.GaussianBlur(grey, (0, 0), 0.7)[..., None], 3, 2), np.round(depth_m * 1e4).astype(np.uint16)


def _focal_checks(tmp_path: Path, stated_px: float, notes: str) -> list[Check]:
    true_rgb, _ = _cameras(FOCAL_PX)
    folder = tmp_path / "recording"
    pictures = [_seen(true_rgb, number) for number in range(3)]
    device_ns = np.arange(3) * 33_333_333
    for name, column in (("rgb", 0), ("depth", 1)):
        FrameTable(tuple(f"{k}.png" for k in range(3)), device_ns, device_ns + 10**9, np.arange(3)).write(folder / name)
        for k, pair in enumerate(pictures):
            (folder / name / f"{k}.png").write_bytes(png_bytes(pair[column]))
    rig = Rig(_cameras(stated_px))
    write_rig_json(folder, rig)
    RecordingCard("subject-7", "CC0-1.0", "research", rig.ids).write(folder)
    report = check_take(ingest(folder, tmp_path / "take", IngestConfig(notes=notes)))
    return [check for check in report.checks if check.name == "focal_length"]


@pytest.mark.parametrize(("stated", "verdict"), [(1.0, "pass"), (1.02, "pass"), (1.06, "fail"), (0.95, "fail")])
def test_the_stated_focal_length_is_judged_at_three_per_cent(tmp_path: Path, stated: float, verdict: str) -> None:
    (check,) = _focal_checks(tmp_path, FOCAL_PX * stated, f"board {BOARD}")
    assert (check.camera, check.verdict, check.limit) == ("rgb", verdict, 0.03)
    assert check.value == pytest.approx(abs(1 / stated - 1), abs=0.006)


@pytest.mark.slow
def test_which_board_it_is_need_not_be_said(tmp_path: Path) -> None:
    (check,) = _focal_checks(tmp_path, FOCAL_PX * 1.06, "board squares: 30 mm")
    assert check.verdict == "fail" and check.value == pytest.approx(1 - 1 / 1.06, abs=0.006)


def test_without_a_size_nothing_is_claimed(tmp_path: Path) -> None:
    (check,) = _focal_checks(tmp_path, FOCAL_PX * 1.06, "a board, somewhere")
    assert check.verdict == "unknown" and check.value is None and "board" in check.message


@pytest.mark.parametrize(
    ("notes", "named"),
    [
        ("the board's squares are 2.0875 cm wide", 0.020875),
        ("Board square = 30mm, second attempt", 0.03),
        (f"wave of {BOARD}.", BOARD),
        ("charuco:rubbish", None),
        ("board squares: 0 mm", None),
        ("board squares: 1..2 mm", None),
        ("no board", None),
        ("", None),
    ],
)
def test_what_notes_say_about_a_board(notes: str, named: BoardSpec | float | None) -> None:
    assert board_named(notes) == (pytest.approx(named) if isinstance(named, float) else named)


@pytest.mark.slow
def test_of_three_real_devices_only_the_faulty_one_is_flagged(real_data: Path, tmp_path: Path) -> None:
    recordings = real_data / "rgbd" / "truedepth_charuco" / "DepthEvalDataset"
    flagged = []
    for name in DEVICES:
        report = check_take(ingest(recordings / name, tmp_path / name, IngestConfig()))
        (check,) = (check for check in report.checks if check.name == "focal_length")
        flagged += [name] if check.verdict == "fail" else []
        assert report.passed == (check.verdict != "fail")
    assert flagged == ["iPadPro12_5gen_iOS15"]
