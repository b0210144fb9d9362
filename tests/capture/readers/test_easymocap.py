"""EasyMocap's folders: names with leading zeros, counted times, its calibration put on its pictures."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capture.calibration.formats import write_calibration
from capture.readers import open_recording
from capture.readers.easymocap import read_easymocap, recognises_easymocap
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.jpeg import decode_jpeg
from tests.capture.calibration.formats.rigs import apart_px, rig_of
from tests.capture.readers.contract import ReaderContract
from tests.capture.synthetic_recording import jpeg_bytes, png_bytes

SIZE_HW = (24, 32)


def colour(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE_HW, 3)).astype(np.uint8)


def write_folder(folder: Path, frames: tuple[int, ...] = (0, 1, 3), cameras: tuple[str, ...] = ("01", "02")) -> Path:
    for place, camera in enumerate(cameras):
        (folder / "images" / camera).mkdir(parents=True)
        for frame in frames:
            path = folder / "images" / camera / f"{frame:06d}{'.jpg' if place else '.png'}"
            path.write_bytes((jpeg_bytes if place else png_bytes)(colour(100 * place + frame)))
    write_calibration(folder, rig_of((5, 0), 3, (SIZE_HW,)), "opencv")
    return folder


class TestEasyMocap(ReaderContract):
    reader = "easymocap"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_folder(tmp_path / "recording")


def _refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_easymocap(folder)
    return str(caught.value)


def test_names_times_pixels_and_cameras_are_the_folder_s(tmp_path: Path) -> None:
    recording = read_easymocap(write_folder(tmp_path))
    assert recording.rig.ids == ("01", "02")
    assert recording.clocks["02"].device_ns.tolist() == [0, 33_333_333, 100_000_000]
    assert np.array_equal(recording.read_frame("01", 2), colour(3))
    assert np.array_equal(recording.read_frame("02", 1), decode_jpeg(jpeg_bytes(colour(101))))
    assert apart_px(recording.rig, rig_of((5, 0), 3, (SIZE_HW,))) < 1e-6
    notes = " | ".join(recording.notes)
    assert "01: 1 frame numbers are missing" in notes and "counted at 30 frames a second, not measured" in notes
    assert "world axes and unit are those of extri.yml" in notes
    assert recording.rig["01"].rate_hz == 30


def test_a_calibration_without_sizes_takes_them_from_the_pictures(tmp_path: Path) -> None:
    write_folder(tmp_path)
    path = tmp_path / "intri.yml"
    path.write_text(re.sub(r"^[HW]_.*\n", "", path.read_text(), flags=re.MULTILINE))
    assert read_easymocap(tmp_path).rig["01"].image_size_hw == SIZE_HW


@pytest.mark.parametrize("change", ["intri.yml", "extri.yml", "images"])
def test_a_folder_without_one_of_its_parts_is_not_recognised(tmp_path: Path, change: str) -> None:
    write_folder(tmp_path)
    assert recognises_easymocap(tmp_path)
    (tmp_path / change).rename(tmp_path / "elsewhere")
    assert recognises_easymocap(tmp_path) is None
    assert change in _refusal(tmp_path)


def test_pictures_and_calibration_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    rig = rig_of((5, 0), 3, (SIZE_HW,))
    three = write_folder(tmp_path / "three", cameras=("01", "02", "03"))
    assert "none of 03" in _refusal(three)
    other = write_folder(tmp_path / "other", cameras=("1", "2"))
    assert "recorded cameras (1, 2)" in _refusal(other)
    smaller = write_folder(tmp_path / "smaller")
    write_calibration(smaller, Rig(tuple(replace(c, image_size_hw=(48, 64)) for c in rig.cameras)), "opencv")
    assert "64 x 48" in _refusal(smaller)


def test_other_names_are_refused_or_counted(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "images" / "01" / "readme.txt").write_text("x")
    assert any("1 files that are no pictures" in note for note in read_easymocap(tmp_path).notes)
    (tmp_path / "images" / "01" / "1.jpg").write_bytes(b"x")
    assert "one picture of each frame number" in _refusal(tmp_path)
    (tmp_path / "images" / "01" / "1.jpg").rename(tmp_path / "images" / "01" / "first.jpg")
    assert "first.jpg" in _refusal(tmp_path)
    (tmp_path / "images" / "01" / "first.jpg").unlink()
    (tmp_path / "images" / "03").symlink_to("/usr", target_is_directory=True)
    assert "stay in the folder" in _refusal(tmp_path)


def test_it_wins_over_videos_beside_it_and_says_so(tmp_path: Path) -> None:
    from tests.capture.readers.synthetic_video import even_pts, write_video

    folder = write_folder(tmp_path)
    write_video(folder / "preview.mp4", even_pts(2))
    recording = open_recording(folder)
    assert recording.reader == "easymocap" and "video (a folder with 1 video file)" in recording.notes[0]
