"""LiveScan3D takes: Kinects placed by the log, device times by frame number."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from capture.readers.livescan3d import read_livescan3d, recognises_livescan3d
from geometry.errors import InputError
from geometry.transforms import RigidTransform
from tests.capture.calibration.formats.test_k4a_json import ROTATION, SHIFT_M, _document
from tests.capture.readers.contract import ReaderContract
from tests.capture.synthetic_recording import jpeg_bytes

COLOUR_HW, DEPTH_HW = (720, 1280), (288, 320)
PLACE = RigidTransform.from_rotvec(np.array([0.1, -0.7, 0.2]), np.array([0.4, 1.1, 0.9]))


def depth(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(600, 900, DEPTH_HW).astype(np.uint16)


def write_take(folder: Path, frames: tuple[int, ...] = (0, 1, 3)) -> Path:
    rows = np.linspace(30, 220, COLOUR_HW[0] * COLOUR_HW[1] * 3).reshape(*COLOUR_HW, 3).astype(np.uint8)
    jpeg = jpeg_bytes(rows)
    for client in (0, 1):
        inner = folder / f"client_{client}"
        inner.mkdir(parents=True)
        for frame in frames:
            (inner / f"Color_{frame}.jpg").write_bytes(jpeg)
            cv2.imwrite(str(inner / f"Depth_{frame}.tiff"), depth(10 * client + frame))
        (inner / f"Intrinsics_Calib_{client}.json").write_bytes(json.dumps(_document()).encode() + b"\0")
        lines = "".join(f"{frame}\t{1_000_000 + 33_333 * frame + client}\n" for frame in range(max(frames) + 1))
        (inner / f"Timestamps_Client{client}.txt").write_text(lines)
    log = "".join(
        f"0\t00{client}\t{client}\r\n" + "".join(f"{value:.11g}\t" for value in matrix.ravel()) + "\r\n"
        for client, matrix in enumerate((np.eye(4), PLACE.matrix))
    )
    (folder / "Extrinsics_Open3D.log").write_text(log)
    return folder


class TestLiveScan3D(ReaderContract):
    reader = "livescan3d"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_take(tmp_path / "take", (0, 1))


def _refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_livescan3d(folder)
    return str(caught.value)


def test_cameras_times_and_depth_are_those_of_the_take(tmp_path: Path) -> None:
    recording = read_livescan3d(write_take(tmp_path))
    assert recording.rig.ids == ("client_0_rgb", "client_0_depth", "client_1_rgb", "client_1_depth")
    assert recording.clocks["client_1_depth"].device_ns.tolist() == [1_000_001_000, 1_033_334_000, 1_100_000_000]
    assert np.array_equal(recording.read_frame("client_1_depth", 2), depth(13))
    assert recording.rig["client_1_depth"].depth_unit_m == 1e-3
    notes = " | ".join(recording.notes)
    assert "client_0_depth: 1 frames with a time have no picture" in notes
    # A point before the colour camera goes to the world by the log's matrix, and into depth by the factory's.
    in_colour = np.array([[0.05, -0.02, 0.8]])
    in_world = PLACE @ in_colour
    pixels, z = recording.rig["client_1_rgb"].project(in_world)
    assert np.allclose(z, 0.8)
    in_depth = (in_colour - SHIFT_M) @ np.array(ROTATION).reshape(3, 3)
    assert np.allclose(recording.rig["client_1_depth"].project(in_world)[1], in_depth[:, 2], atol=1e-9)
    assert np.allclose(pixels, recording.rig["client_0_rgb"].project(in_colour)[0], atol=1e-6)


def test_without_log_or_times_it_says_what_it_does(tmp_path: Path) -> None:
    write_take(tmp_path)
    (tmp_path / "Extrinsics_Open3D.log").unlink()
    (tmp_path / "client_0" / "Timestamps_Client0.txt").unlink()
    recording = read_livescan3d(tmp_path)
    assert recording.clocks["client_0_rgb"].device_ns.tolist() == [0, 33_333_333, 100_000_000]
    notes = " | ".join(recording.notes)
    assert "client_0_rgb: the client wrote no times" in notes and "client_1: no place in Extrinsics_Open3D.log" in notes


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("client_0/Timestamps_Client0.txt", b"0\t5\n", "none for frame 1"),
        ("client_0/Timestamps_Client0.txt", b"0\t5\n0\t6\n", "line 2"),
        ("client_0/Timestamps_Client0.txt", b"0 -5\n", "line 1"),
        ("client_0/Timestamps_Client0.txt", b"0 99999999999999999999\n", "64 bits"),
        ("Extrinsics_Open3D.log", b"0 001 0 1 0 0", "6 words"),
        ("Extrinsics_Open3D.log", b"0 001 0 " + b"2 " * 16, "pose of client 0"),
        ("client_0/Intrinsics_Calib_0.json", b"{}", "CalibrationInformation"),
        ("client_0/Color_0.jpg", b"no jpeg", "whole JPEG"),
        ("client_0/Depth_0.tiff", b"II*\0broken", "does not decode"),
        ("client_0/Color_00.jpg", b"twice", "one picture of each"),
    ],
)
def test_a_broken_part_is_refused_by_name(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    write_take(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert re.search(words, _refusal(tmp_path))


def test_a_truncated_depth_picture_is_an_error(tmp_path: Path) -> None:
    recording = read_livescan3d(write_take(tmp_path))
    path = tmp_path / "client_0" / "Depth_1.tiff"
    data = path.read_bytes()
    for cut in (0, 4, 9, len(data) // 3, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match=r"Depth_1\.tiff"):
            recording.read_frame("client_0_depth", 1)


def test_a_folder_without_depth_or_clients_is_refused(tmp_path: Path) -> None:
    write_take(tmp_path)
    for path in (tmp_path / "client_1").glob("Depth*"):
        path.unlink()
    assert "no depth pictures" in _refusal(tmp_path)
    (tmp_path / "other").mkdir()
    assert recognises_livescan3d(tmp_path / "other") is None and "none in" in _refusal(tmp_path / "other")
