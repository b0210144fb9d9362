"""Folders of pictures: what every reader owes, and each way in which a copy can be broken."""

import json
import re
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capture.readers import open_recording
from capture.readers.image_folder import read_image_folder, recognises_image_folder
from capture.readers.recording import Recording
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.image_folder import FrameTable, RecordingCard
from tests.capture.readers.contract import ReaderContract
from tests.capture.synthetic_recording import (
    CAMERAS,
    SIZE_HW,
    Recorded,
    Script,
    jpeg_bytes,
    picture,
    plain_script,
    png_bytes,
    synthetic_rig,
    write_recording,
    write_rig_json,
)


class TestImageFolder(ReaderContract):
    reader = "image_folder"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_recording(tmp_path / "recording", plain_script(3), jpeg=("left_rgb",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "recording", plain_script(4), jpeg=("right_rgb",))


def _refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_image_folder(folder)
    return str(caught.value)


def _frame_refusal(recording: Recording, camera_id: str, index: int) -> str:
    with pytest.raises(InputError) as caught:
        recording.read_frame(camera_id, index)
    return str(caught.value)


def test_pixels_come_out_as_they_went_in(folder: Path) -> None:
    recording = read_image_folder(folder)
    for number, camera in enumerate(recording.rig.cameras):
        for trigger in range(4):
            frame, truth = recording.read_frame(camera.id, trigger), picture(camera, number, trigger)
            if camera.id == "right_rgb":
                assert (
                    np.abs(frame.astype(int) - np.array(Image.open(folder / "right_rgb" / f"{trigger:06d}.jpg"))).max()
                    == 0
                )
            else:
                assert frame.dtype == truth.dtype and np.array_equal(frame, truth)
    assert (recording.subject_id, recording.licence, recording.consent) == ("subject-7", "CC0-1.0", "research")
    table = FrameTable.read(folder / "left_rgb")
    assert np.array_equal(recording.clocks["left_rgb"].device_ns, table.device_ns)
    assert recording.notes == ()


def test_a_doubled_frame_is_two_frames_of_one_file(tmp_path: Path) -> None:
    cameras = {name: Recorded((0, 1, 1, 2)) for name in CAMERAS}
    recording = read_image_folder(write_recording(tmp_path / "r", Script(cameras)))
    assert np.array_equal(recording.read_frame("left_depth", 1), recording.read_frame("left_depth", 2))
    assert len(recording.source_files) == len(set(recording.source_files)) == 2 + 4 * (1 + 3)


def test_truth_is_never_looked_at(folder: Path) -> None:
    plain = read_image_folder(folder)
    (folder / "truth" / "left_rgb").mkdir(parents=True)
    (folder / "truth" / "rig.json").write_text("garbage")
    (folder / "truth" / "frames.csv").write_text("garbage")
    (folder / "truth").chmod(0)
    try:
        recording = read_image_folder(folder)
    finally:
        (folder / "truth").chmod(0o700)
    assert recording.source_files == plain.source_files and recording.notes == plain.notes


def test_what_the_tables_leave_out_is_noted(folder: Path) -> None:
    shutil.copy(folder / "left_rgb" / "000000.png", folder / "left_rgb" / "000099.png")
    shutil.copytree(folder / "left_rgb", folder / "extra_rgb")
    notes = " | ".join(read_image_folder(folder).notes)
    assert "left_rgb: 1 files" in notes and "extra_rgb" in notes


def test_reading_opens_no_picture(folder: Path) -> None:
    for path in folder.glob("*/0*.*"):
        path.write_bytes(b"no picture")
    assert len(read_image_folder(folder).source_files) == 2 + 4 * 5


@pytest.mark.parametrize("name", ["recording.json", "rig.json", "left_depth/frames.csv", "left_depth/000002.png"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert Path(name).name in _refusal(folder)


def test_a_missing_camera_folder_is_refused_by_name(folder: Path) -> None:
    shutil.rmtree(folder / "right_depth")
    assert re.search(r"no folder .*right_depth", _refusal(folder))


@pytest.mark.parametrize("name", ["recording.json", "rig.json", "left_depth/frames.csv"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe garbage", b"[1, 2]", b"{}", b"[" * 100_000, b"a,b\n1,2\n"])
def test_garbage_is_refused_by_name(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    assert str(folder) in _refusal(folder)


@pytest.mark.parametrize("line", ["000000.png,1,2", "000000.png,a,2,3", f"000000.png,{2**70},1,1", "../rig.json,1,2,3"])
def test_a_wrong_line_of_the_table_is_refused(folder: Path, line: str) -> None:
    path = folder / "left_depth" / "frames.csv"
    path.write_text(path.read_text() + line + "\n")
    assert str(folder) in _refusal(folder)


def test_an_unfinished_recording_is_recognised_and_says_what_is_missing(folder: Path) -> None:
    (folder / "recording.json").unlink()
    assert recognises_image_folder(folder) == "a folder with rig.json"
    with pytest.raises(InputError, match=r"a finished recording; got .* without recording\.json"):
        open_recording(folder)


def test_a_camera_that_the_rig_does_not_know_is_refused_by_name(folder: Path) -> None:
    RecordingCard("s", "l", "c", (*CAMERAS, "../../etc")).write(folder)
    assert re.search(r"expected cameras of the rig .*; got \.\./\.\./etc in .*recording\.json", _refusal(folder))


def test_a_rig_with_a_camera_that_was_not_recorded_is_refused_by_name(folder: Path) -> None:
    rig = synthetic_rig()
    write_rig_json(folder, Rig((*rig.cameras, replace(rig.cameras[0], id="ceiling_rgb"))))
    assert re.search(r"got ceiling_rgb in .*rig\.json", _refusal(folder))


@pytest.mark.parametrize("camera_id", ["left_rgb", "left_depth", "right_rgb"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.99, "last byte"])
def test_a_truncated_picture_is_refused_by_name(folder: Path, camera_id: str, share: float | str) -> None:
    recording = read_image_folder(folder)
    path = sorted((folder / camera_id).glob("000002.*"))[0]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 1 if isinstance(share, str) else int(share * len(data))])
    assert str(path) in _frame_refusal(recording, camera_id, 2)
    recording.read_frame(camera_id, 1)


def test_a_picture_that_vanishes_is_refused_by_name(folder: Path) -> None:
    recording = read_image_folder(folder)
    (folder / "left_rgb" / "000001.png").unlink()
    assert "000001.png (No such file" in _frame_refusal(recording, "left_rgb", 1)


def test_every_single_damaged_byte_of_a_png_is_noticed(folder: Path) -> None:
    recording = read_image_folder(folder)
    path = folder / "left_depth" / "000000.png"
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for place in [0, 1, 20, len(data) - 1, *random.integers(0, len(data), 40)]:
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << random.integers(8))]) + data[place + 1 :])
        assert str(path) in _frame_refusal(recording, "left_depth", 0)


@pytest.mark.parametrize(
    "content", [b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(100), b"GIF89a" + bytes(50)]
)
def test_what_does_not_decode_is_refused_by_name(folder: Path, content: bytes) -> None:
    recording = read_image_folder(folder)
    path = folder / "left_rgb" / "000000.png"
    path.write_bytes(content)
    assert re.search(f"whole JPEG, PNG or TIFF picture; got {path}", _frame_refusal(recording, "left_rgb", 0))


@pytest.mark.parametrize(
    ("camera_id", "pixels", "words"),
    [
        ("left_rgb", np.zeros((48, 60, 3), np.uint8), "64 x 48 px, 8-bit RGB, from left_rgb; got 60 x 48"),
        ("left_rgb", np.zeros((64, 48, 3), np.uint8), "got 48 x 64"),
        ("left_rgb", np.zeros(SIZE_HW, np.uint8), "got 64 x 48 px, 8-bit colour type 0"),
        ("left_rgb", np.zeros((*SIZE_HW, 4), np.uint8), "colour type 6"),
        ("left_rgb", np.zeros(SIZE_HW, np.uint16), "16-bit grey"),
        (
            "left_depth",
            np.zeros(SIZE_HW, np.uint8),
            "16-bit grey, from left_depth; got 64 x 48 px, 8-bit colour type 0",
        ),
        ("left_depth", np.zeros((*SIZE_HW, 3), np.uint8), "got 64 x 48 px, 8-bit RGB"),
    ],
)
def test_another_size_or_type_is_refused(folder: Path, camera_id: str, pixels: np.ndarray, words: str) -> None:
    recording = read_image_folder(folder)
    path = folder / camera_id / "000000.png"
    path.write_bytes(png_bytes(pixels))
    message = _frame_refusal(recording, camera_id, 0)
    assert words in message and str(path) in message


def test_a_grey_jpeg_and_depth_as_jpeg_are_refused(folder: Path) -> None:
    recording = read_image_folder(folder)
    (folder / "right_rgb" / "000000.jpg").write_bytes(jpeg_bytes(np.zeros(SIZE_HW, np.uint8)))
    assert "8-bit grey" in _frame_refusal(recording, "right_rgb", 0)
    (folder / "left_depth" / "000000.png").write_bytes(jpeg_bytes(np.zeros(SIZE_HW, np.uint8)))
    assert "16-bit grey, from left_depth; got 64 x 48 px, 8-bit grey" in _frame_refusal(recording, "left_depth", 0)


def test_a_declared_size_beyond_reason_is_refused_before_it_is_decoded(folder: Path) -> None:
    recording = read_image_folder(folder)
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = lambda name, body: struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))  # noqa: E731
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9**6))) + chunk(b"IEND", b"")
    )
    (folder / "left_rgb" / "000000.png").write_bytes(bomb)
    assert "60000 x 60000" in _frame_refusal(recording, "left_rgb", 0)
    jpeg = (folder / "right_rgb" / "000000.jpg").read_bytes()
    frame_header = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", *SIZE_HW)
    assert jpeg.count(frame_header) == 1
    (folder / "right_rgb" / "000000.jpg").write_bytes(
        jpeg.replace(frame_header, frame_header[:5] + b"\xff\xff\xff\xff")
    )
    assert "000000.jpg" in _frame_refusal(recording, "right_rgb", 0)
    with (folder / "left_rgb" / "000001.png").open("r+b") as file:
        file.truncate(2**40)  # sparse: takes no room
    assert f"{2**40} bytes" in _frame_refusal(recording, "left_rgb", 1)


def test_a_card_of_another_version_is_refused(folder: Path) -> None:
    card = json.loads((folder / "recording.json").read_text()) | {"version": 3}
    (folder / "recording.json").write_text(json.dumps(card))
    assert "version 1 or 2; got mien-image-folder version 3" in _refusal(folder)
