"""A small recording for every reader, to be damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.capture.readers.synthetic_kinect import KinectScript, write_kinect
from tests.capture.readers.synthetic_realsense import BagScript, write_bag
from tests.capture.readers.synthetic_video import even_pts, write_video
from tests.capture.readers.test_easymocap import write_folder as write_easymocap
from tests.capture.readers.test_layout import write_studio
from tests.capture.readers.test_livescan3d import write_take as write_livescan3d
from tests.capture.readers.test_nersemble import write_sequence
from tests.capture.readers.test_truedepth_board import write_board_folder
from tests.capture.synthetic_recording import plain_script, write_recording


def write_portrait(folder: Path) -> Path:
    data = Path(os.environ.get("MIEN_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
    source = data / "rgbd" / "truedepth_portraits" / "jpeg_depth_data.jpg"
    if not source.is_file():
        pytest.skip("no real recordings: set MIEN_DATA to the data folder")
    folder.mkdir(parents=True)
    return Path(shutil.copyfile(source, folder / source.name))


def _bag(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return write_bag(folder / "small.bag", BagScript(2))


def _compressed_bag(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return write_bag(folder / "small.bag", BagScript(2, compression="lz4"))


def _kinect(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return write_kinect(folder / "small.mkv", KinectScript(2))


def _unchecked_kinect(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return write_kinect(folder / "small.mkv", KinectScript(2, checksums=False, closed=False))


def _video(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return write_video(folder / "small.mp4", even_pts(6, 25))


def _nersemble(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return write_sequence(folder)


def _board(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return write_board_folder(folder)


SMALL: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "layout": ("layout", lambda folder: write_studio(folder, ("M1", "M2"), 2)),
    "truedepth": ("truedepth", write_portrait),
    "kinect_mkv": ("kinect_mkv", _kinect),
    "kinect_mkv, no checksums": ("kinect_mkv", _unchecked_kinect),
    "truedepth_board": ("truedepth_board", _board),
    "realsense_bag": ("realsense_bag", _bag),
    "realsense_bag, lz4": ("realsense_bag", _compressed_bag),
    "livescan3d": ("livescan3d", lambda folder: write_livescan3d(folder, (0, 1))),
    "nersemble": ("nersemble", _nersemble),
    "easymocap": ("easymocap", lambda folder: write_easymocap(folder, (0, 1))),
    "video": ("video", _video),
    "image_folder": ("image_folder", lambda folder: write_recording(folder, plain_script(2), jpeg=("left_rgb",))),
}
"""A reader and what writes a small recording of it, by a name for the test."""
