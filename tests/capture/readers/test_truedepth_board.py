"""TrueDepth folders of boards: the real devices, and folders whose files contradict each other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from capture.readers import open_recording
from capture.readers.truedepth_board import DEPTH, RGB, read_truedepth_board
from geometry.errors import InputError
from tests.capture.readers.contract import ReaderContract

FACTORY_FOCAL_PX = {
    "iPhone11Pro_iOS14": 436.77585,
    "iPadPro12_4gen_iOS15": 595.33997,
    "iPadPro12_5gen_iOS15": 565.12317,
}
SIZE_HW = (48, 64)


@pytest.fixture(scope="module")
def devices(real_data: Path) -> Path:
    return real_data / "rgbd" / "truedepth_charuco" / "DepthEvalDataset"


class TestRealDevice(ReaderContract):
    reader = "truedepth_board"

    @pytest.fixture
    def source(self, devices: Path) -> Path:
        return devices / "iPadPro12_5gen_iOS15"


class TestSyntheticDevice(ReaderContract):
    reader = "truedepth_board"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_board_folder(tmp_path / "device")


def write_board_folder(folder: Path, frames: int = 3) -> Path:
    """A small folder as the app writes it."""
    folder.mkdir()
    times = [1000 + 42 * index for index in range(frames)]
    rows, columns = SIZE_HW
    camera = [{"Timestamp": time, "Height": rows, "Width": columns} for time in times]
    depth = [
        {
            "Timestamp": time,
            "Height": rows,
            "Width": columns,
            "Accuracy": 1,
            "DepthDataFiltered": False,
            "IntrinsicMatrix.0": "(60.0, 0.0, 31.5)",
            "IntrinsicMatrix.1": "(0.0, 60.0, 24.25)",
            "IntrinsicMatrix.2": "(0.0, 0.0, 1.0)",
            "IntrinsicMatrixReferenceDimensions": "(3200.0, 2400.0)",
        }
        for time in times
    ]
    (folder / "CameraMetadata.json").write_text(json.dumps(camera))
    (folder / "DepthMetadata.json").write_text(json.dumps(depth))
    for index, time in enumerate(times):
        random = np.random.default_rng(index)
        colour = np.dstack([random.integers(0, 256, (*SIZE_HW, 3)), np.full(SIZE_HW, 255)]).astype(np.uint8)
        Image.fromarray(colour).save(folder / f"rgb_{time}.png")
        Image.fromarray(random.integers(1900, 2100, SIZE_HW).astype(np.uint16)).save(folder / f"depth_{time}.png")
    (folder / "Accelerometer.txt").write_text("1000 0.5 -9.75 0.25\n1010 0.5 -9.75 0.5\n\n")
    (folder / "Gyroscope.txt").write_text("1010 0.125 0.25 0.5\n")
    (folder / "checkersize.txt").write_text("2.0875")
    return folder


@pytest.mark.parametrize("device", list(FACTORY_FOCAL_PX))
def test_factory_intrinsics_and_times_of_the_real_devices(devices: Path, device: str) -> None:
    recording = open_recording(devices / device)
    rgb, depth = recording.rig[RGB], recording.rig[DEPTH]
    assert rgb.K[0, 0] == rgb.K[1, 1] == FACTORY_FOCAL_PX[device] and np.array_equal(rgb.K, depth.K)
    assert rgb.image_size_hw == depth.image_size_hw == (480, 640) and rgb.serial == device
    assert np.array_equal(rgb.world_from_camera.matrix, depth.world_from_camera.matrix)
    times = sorted(int(path.stem.partition("_")[2]) for path in (devices / device).glob("rgb_*.png"))
    for camera_id in (RGB, DEPTH):
        assert recording.clocks[camera_id].device_ns.tolist() == [time * 1_000_000 for time in times]
    assert any("2.0875 cm" in note for note in recording.notes)


@pytest.mark.parametrize("device", list(FACTORY_FOCAL_PX))
def test_k_is_that_of_the_picture_whose_distortion_centre_is_given_for_the_sensor(devices: Path, device: str) -> None:
    entry = json.loads((devices / device / "DepthMetadata.json").read_text())[0]
    centre = np.array([float(part) for part in entry["LensDistortionCenter"].strip("()").split(",")])
    size = np.array([float(part) for part in entry["IntrinsicMatrixReferenceDimensions"].strip("()").split(",")])
    K = read_truedepth_board(devices / device).rig[DEPTH].K
    # A pure scale: with a half-pixel term it would be off by half a pixel of 640.
    assert np.abs(K[:2, 2] - centre / size * [640, 480]).max() < 0.1


@pytest.mark.parametrize("device", list(FACTORY_FOCAL_PX))
def test_real_depth_is_in_tenths_of_millimetres_and_gravity_points_down(devices: Path, device: str) -> None:
    recording = read_truedepth_board(devices / device)
    unit = recording.rig[DEPTH].depth_unit_m
    assert unit is not None
    for index in range(5):
        counts = recording.read_frame(DEPTH, index)
        assert 0.18 < np.median(counts[counts > 0]) * unit < 0.22  # held 200 mm from the board
    (track,) = recording.imu
    acceleration = track.values[:, :3]
    assert np.linalg.norm(np.nanmean(acceleration, axis=0)) == pytest.approx(9.81, abs=0.1)
    steps_ms = np.diff(track.time_ns[np.isfinite(acceleration[:, 0])]) / 1e6
    assert np.median(steps_ms) == 10  # 100 Hz: the numbers are milliseconds


def test_pixels_times_and_inertial_samples_are_those_that_were_written(tmp_path: Path) -> None:
    recording = read_truedepth_board(write_board_folder(tmp_path / "device"))
    assert recording.clocks[RGB].device_ns.tolist() == [1_000_000_000, 1_042_000_000, 1_084_000_000]
    for index in range(3):
        random = np.random.default_rng(index)
        assert np.array_equal(recording.read_frame(RGB, index), random.integers(0, 256, (*SIZE_HW, 3)))
        assert np.array_equal(recording.read_frame(DEPTH, index), random.integers(1900, 2100, SIZE_HW))
    (track,) = recording.imu
    assert track.time_ns.tolist() == [1_000_000_000, 1_010_000_000]
    assert track.values[1, :6].tolist() == [0.5, -9.75, 0.5, 0.125, 0.25, 0.5]
    assert track.values[0, :3].tolist() == [0.5, -9.75, 0.25] and np.isnan(track.values[0, 3:]).all()


def _change(name: str, change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        entries = json.loads((folder / name).read_text())
        change(entries)
        (folder / name).write_text(json.dumps(entries))

    return apply


def test_intrinsics_in_the_sensor_s_pixels_are_scaled_to_the_picture(tmp_path: Path) -> None:
    folder = write_board_folder(tmp_path / "device")

    def in_sensor_pixels(entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            entry["IntrinsicMatrix.0"] = "(3000.0, 0.0, 1575.0)"
            entry["IntrinsicMatrix.1"] = "(0.0, 3000.0, 1212.5)"

    _change("DepthMetadata.json", in_sensor_pixels)(folder)
    K = read_truedepth_board(folder).rig[DEPTH].K
    assert np.allclose(K, [[60, 0, 31.5], [0, 60, 24.25], [0, 0, 1]])


def test_a_focus_that_moved_is_said(tmp_path: Path) -> None:
    folder = write_board_folder(tmp_path / "device")
    _change("DepthMetadata.json", lambda entries: entries[1].update({"IntrinsicMatrix.0": "(61.0, 0.0, 31.5)"}))(folder)
    recording = read_truedepth_board(folder)
    assert any("focus moved" in note for note in recording.notes) and recording.rig[DEPTH].K[0, 0] == 60


def test_the_phone_s_filter_relative_depth_and_spare_pictures_are_said(tmp_path: Path) -> None:
    folder = write_board_folder(tmp_path / "device")
    facts = {"DepthDataFiltered": True, "Accuracy": 0}
    _change("DepthMetadata.json", lambda entries: [entry.update(facts) for entry in entries])(folder)
    shutil.copy(folder / "rgb_1000.png", folder / "rgb_9000.png")
    notes = " | ".join(read_truedepth_board(folder).notes)
    assert "filtered" in notes and "relative" in notes and "rgb: 1 pictures" in notes


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "depth_1042.png").unlink(), r"depth_1042\.png"),
        (lambda f: (f / "DepthMetadata.json").write_text("[{"), "DepthMetadata"),
        (lambda f: (f / "DepthMetadata.json").write_text("[]"), "not a list"),
        (lambda f: (f / "DepthMetadata.json").write_text("[" * 100_000), "DepthMetadata"),
        (lambda f: (f / "CameraMetadata.json").unlink(), "CameraMetadata"),
        (_change("DepthMetadata.json", lambda e: e[0].update(Timestamp=1042)), "twice"),
        (_change("DepthMetadata.json", lambda e: e[0].update(Timestamp="1000")), "whole milliseconds"),
        (_change("DepthMetadata.json", lambda e: e[0].update(Width=10**9)), "Width"),
        (_change("DepthMetadata.json", lambda e: e[0].update({"IntrinsicMatrix.0": "(0, 0, 31)"})), "intrinsics"),
        (_change("DepthMetadata.json", lambda e: e[0].update({"IntrinsicMatrix.0": "(60, 0, 3)"})), "principal point"),
        (_change("DepthMetadata.json", lambda e: e[0].update({"IntrinsicMatrix.0": "(nan, 0, 3)"})), "3 numbers"),
        (
            _change("DepthMetadata.json", lambda e: e[0].update(IntrinsicMatrixReferenceDimensions="(0, 0)")),
            "intrinsics",
        ),
        (_change("CameraMetadata.json", lambda e: e[0].update(Width=65)), "one size"),
        (lambda f: (f / "Gyroscope.txt").write_text("1000 0 0\n"), "line 1 of"),
        (lambda f: (f / "Gyroscope.txt").write_text("1000.5 0 0 0\n"), "line 1 of"),
        (lambda f: (f / "checkersize.txt").write_text("two"), "side of a square"),
    ],
)
def test_files_that_contradict_each_other_are_refused_by_name(
    tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    folder = write_board_folder(tmp_path / "device")
    spoil(folder)
    with pytest.raises(InputError, match=words):
        read_truedepth_board(folder)


def test_a_colour_picture_with_holes_in_it_is_refused(tmp_path: Path) -> None:
    folder = write_board_folder(tmp_path / "device")
    Image.fromarray(np.zeros((*SIZE_HW, 4), np.uint8)).save(folder / "rgb_1000.png")
    with pytest.raises(InputError, match=r"rgb_1000\.png"):
        read_truedepth_board(folder).read_frame(RGB, 0)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write_board_folder(tmp_path / "device")
    (folder / "depth_1000.png").rename(tmp_path / "elsewhere.png")
    (folder / "depth_1000.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match=r"inside"):
        read_truedepth_board(folder)
