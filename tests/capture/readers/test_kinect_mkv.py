"""Kinect recordings, real and synthetic: pixels, times, the calibration's three silent traps, files not whole."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.k4a_reference import PlainCamera
from capture.readers import Recording, open_recording
from capture.readers.inertial import merged_inertial
from capture.readers.kinect_mkv import read_kinect_mkv, recognises_kinect_mkv
from capture.readers.lacing import laced_frames
from geometry.errors import InputError
from storage.jpeg import decode_jpeg
from tests.capture.readers.contract import ReaderContract
from tests.capture.readers.synthetic_kinect import (
    COLOUR_PARAMETERS,
    DEPTH_PARAMETERS,
    KinectScript,
    coded_colour,
    colour_picture,
    depth_picture,
    element,
    imu_sample,
    infrared_picture,
    size,
    write_kinect,
)

COLOUR_720P = ((1280, 960), (0, 120))
NFOV_UNBINNED, NFOV_BINNED = ((1024, 1024), (192, 180)), ((512, 512), (96, 90))


@pytest.fixture(scope="module")
def mug(real_data: Path) -> Path:
    return real_data / "rgbd" / "azure_kinect" / "recording.mkv"


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kinect(tmp_path_factory.mktemp("kinect") / "synthetic.mkv")


class TestRealRecording(ReaderContract):
    reader = "kinect_mkv"

    @pytest.fixture
    def source(self, mug: Path) -> Path:
        return mug


class TestSyntheticRecording(ReaderContract):
    reader = "kinect_mkv"

    @pytest.fixture
    def source(self, synthetic: Path) -> Path:
        return synthetic


class TestFolderOfDevices(ReaderContract):
    reader = "kinect_mkv"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        for seed, name in enumerate(("left", "right")):
            write_kinect(tmp_path / f"{name}.mkv", KinectScript(frames=2, seed=seed, serial=name))
        return tmp_path


def _plain(parameters: tuple[float, ...], mode: tuple[tuple[int, int], tuple[int, int]]) -> PlainCamera:
    return PlainCamera(tuple(parameters), *mode)


def _real_parameters(mug: Path, location: str) -> tuple[float, ...]:
    document = json.loads((mug.parent / "calibration.json").read_text())
    for camera in document["CalibrationInformation"]["Cameras"]:
        if camera["Location"].endswith(location):
            return tuple(camera["Intrinsics"]["ModelParameters"])
    raise AssertionError(location)


def _pixels(recording: Recording, camera_id: str, step: int) -> np.ndarray:
    """A grid of pixel centres of a camera."""
    rows, columns = recording.rig[camera_id].image_size_hw
    x, y = np.meshgrid(np.arange(step // 2, columns, step) + 0.5, np.arange(step // 2, rows, step) + 0.5)
    return np.stack([x.ravel(), y.ravel()], 1)


def test_depth_projected_into_colour_and_back_follows_the_14_parameter_model(mug: Path) -> None:
    recording = read_kinect_mkv(mug)
    rgb, depth = recording.rig["rgb"], recording.rig["depth"]
    plain_depth = _plain(_real_parameters(mug, "D0"), NFOV_UNBINNED)
    plain_rgb = _plain(_real_parameters(mug, "PV0"), COLOUR_720P)
    document = json.loads((mug.parent / "calibration.json").read_text())
    rt = document["CalibrationInformation"]["Cameras"][1]["Rt"]
    rotation, translation = np.array(rt["Rotation"]).reshape(3, 3), np.array(rt["Translation"])
    counts = recording.read_frame("depth", 0)
    pixels = _pixels(recording, "depth", 23)
    z = counts[pixels[:, 1].astype(int), pixels[:, 0].astype(int)] * 1e-3
    pixels, z = pixels[z > 0], z[z > 0]
    assert len(pixels) > 200

    rays = np.column_stack([depth.pixels_to_normalised(pixels), np.ones(len(pixels))])
    in_rgb, rgb_z = rgb.project(depth.world_from_camera @ (rays * z[:, None]))
    back_rays = np.column_stack([rgb.pixels_to_normalised(in_rgb), np.ones(len(pixels))])
    back, _ = depth.project(rgb.world_from_camera @ (back_rays * rgb_z[:, None]))

    plain_in_rgb, plain_back = np.zeros_like(pixels), np.zeros_like(pixels)
    for row, (pixel, distance) in enumerate(zip(pixels, z, strict=True)):
        ray = plain_depth.unproject(pixel[0] - 0.5, pixel[1] - 0.5)
        point = rotation @ (np.array([*ray, 1.0]) * distance) + translation
        plain_in_rgb[row] = plain_rgb.project(*point)
        x, y = plain_rgb.unproject(*plain_in_rgb[row])
        again = rotation.T @ (np.array([x, y, 1.0]) * point[2] - translation)
        plain_back[row] = plain_depth.project(*again)
    assert np.abs(in_rgb - (plain_in_rgb + 0.5)).max() <= 1e-3
    assert np.abs(back - (plain_back + 0.5)).max() <= 1e-3
    assert np.abs(back - pixels).max() <= 1e-3


def test_trap_one_p2_stands_before_p1(synthetic: Path) -> None:
    recording = read_kinect_mkv(synthetic)
    assert recording.rig["depth"].distortion[2:4].tolist() == [DEPTH_PARAMETERS[13], DEPTH_PARAMETERS[12]]
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.35, 0.35, 7))
    points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 1.1)])
    mode = _plain(COLOUR_PARAMETERS, COLOUR_720P)
    swapped = _plain((*COLOUR_PARAMETERS[:12], COLOUR_PARAMETERS[13], COLOUR_PARAMETERS[12]), COLOUR_720P)
    rgb = recording.rig["rgb"]
    ours, _ = rgb.project(rgb.world_from_camera @ points)
    right = np.array([mode.project(*point) for point in points]) + 0.5
    wrong = np.array([swapped.project(*point) for point in points]) + 0.5
    assert np.abs(ours - right).max() <= 1e-3 < 5e-3 < np.abs(ours - wrong).max()


def test_trap_two_the_principal_point_is_measured_from_the_corner(synthetic: Path) -> None:
    recording = read_kinect_mkv(synthetic)
    # The SDK's pixel of the optical axis is cx W - crop - 0.5 with centres at integers; ours is half a pixel more.
    for camera_id, parameters, mode in (
        ("rgb", COLOUR_PARAMETERS, COLOUR_720P),
        ("depth", DEPTH_PARAMETERS, NFOV_BINNED),
    ):
        sdk = _plain(parameters, mode).project(0.0, 0.0, 1.0)
        assert np.allclose(recording.rig[camera_id].K[:2, 2], np.array(sdk) + 0.5, atol=1e-9)
        assert np.allclose(recording.rig[camera_id].opencv_K()[:2, 2], sdk, atol=1e-9)


@pytest.mark.parametrize(("mode", "window"), [("NFOV_2X2BINNED", NFOV_BINNED), ("PASSIVE_IR", ((1024, 1024), (0, 0)))])
def test_trap_three_each_mode_shows_its_own_window(tmp_path: Path, mode: str, window: tuple) -> None:
    recording = read_kinect_mkv(write_kinect(tmp_path / "mode.mkv", KinectScript(1, depth_mode=mode)))
    plain = _plain(DEPTH_PARAMETERS, window)
    infrared = recording.rig["infrared"]
    pixels = _pixels(recording, "infrared", 50)
    pixels = pixels[np.linalg.norm(pixels - infrared.K[:2, 2], axis=1) < 0.9 * infrared.K[0, 0]]
    ours = infrared.pixels_to_normalised(pixels)
    right = np.array([plain.unproject(*(pixel - 0.5)) for pixel in pixels])
    assert np.abs((ours - right) * np.diag(infrared.K)[:2]).max() <= 1e-3


def test_the_mug_s_outline_in_depth_falls_on_its_outline_in_colour(mug: Path) -> None:
    recording = read_kinect_mkv(mug)
    depth, rgb = recording.rig["depth"], recording.rig["rgb"]
    counts = recording.read_frame("depth", 0)
    near = (counts > 0) & (counts < 350)
    rows = np.arange(340, 470)  # between the mug's rim and the table
    left, right = near[rows].argmax(1), 639 - near[rows, ::-1].argmax(1)
    pixels = np.column_stack([np.concatenate([left, right + 1]), np.concatenate([rows, rows]) + 0.5]).astype(float)
    z = np.concatenate([counts[rows, left], counts[rows, right]]) * 1e-3
    rays = np.column_stack([depth.pixels_to_normalised(pixels), np.ones(len(pixels))])
    in_rgb, _ = rgb.project(depth.world_from_camera @ (rays * z[:, None]))
    grey = cv2.cvtColor(recording.read_frame("rgb", 0), cv2.COLOR_RGB2GRAY).astype(np.float32)
    gradient = np.abs(cv2.Sobel(cv2.GaussianBlur(grey, (0, 0), 1.5), cv2.CV_32F, 1, 0))

    def strength(shift: int) -> float:
        x, y = in_rgb.astype(int).T
        return float(np.median(gradient[y, x + shift]))

    best = max(range(-20, 21), key=strength)
    assert abs(best) <= 3, f"the outline in colour is {best} px from that in depth"
    assert strength(best) > 3 * np.median([strength(shift) for shift in range(-20, 21)])


def test_pixels_are_those_that_were_written(synthetic: Path) -> None:
    recording, script = read_kinect_mkv(synthetic), KinectScript()
    for index in range(script.frames):
        assert np.array_equal(recording.read_frame("depth", index), depth_picture(script, index))
        assert np.array_equal(recording.read_frame("infrared", index), infrared_picture(script, index))
        assert np.array_equal(recording.read_frame("rgb", index), decode_jpeg(coded_colour(script, index)))
        jpeg = recording.read_jpeg("rgb", index) if recording.read_jpeg else None
        assert jpeg and b"must not be copied" not in jpeg


@pytest.mark.parametrize(("coding", "most"), [("NV12", 3), ("YUY2", 3), ("BGRA", 0)])
def test_raw_colour_is_decoded(tmp_path: Path, coding: str, most: int) -> None:
    script = KinectScript(1, coding=coding)
    recording = read_kinect_mkv(write_kinect(tmp_path / "raw.mkv", script))
    error = np.abs(recording.read_frame("rgb", 0).astype(int) - colour_picture(script, 0).astype(int))
    assert error[:, 100:].max() <= most  # the blue edge at column 40 mixes in shared chroma
    assert recording.read_jpeg is None


def test_real_depth_and_infrared_are_what_ffmpeg_reads(mug: Path) -> None:
    import av

    recording = read_kinect_mkv(mug)
    with av.open(str(mug)) as container:
        for camera_id, number in (("depth", 1), ("infrared", 2)):
            frames = [frame.to_ndarray() for frame in container.decode(video=number)]
            container.seek(0)
            assert len(frames) == 1 and np.array_equal(frames[0], recording.read_frame(camera_id, 0))


def test_times_are_exact_on_the_device_s_clock(mug: Path, synthetic: Path) -> None:
    real, script = read_kinect_mkv(mug), KinectScript()
    assert {clock.device_ns.tolist()[0] for clock in real.clocks.values()} == {336_277_000 + 463_945_000}
    for clock in read_kinect_mkv(synthetic).clocks.values():
        expected = [script.offset_ns + index * script.period_ns // 1000 * 1000 for index in range(script.frames)]
        assert clock.device_ns.tolist() == expected
        assert clock.host_ns is None and clock.frame_counter is None


def test_the_real_device_is_named_and_its_facts_are_in_the_notes(mug: Path) -> None:
    recording = open_recording(mug)
    assert {camera.serial for camera in recording.rig.cameras} == {"001514394512"}
    assert {camera.rate_hz for camera in recording.rig.cameras} == {5.0}
    notes = " | ".join(recording.notes)
    assert "STANDALONE" in notes and "colour firmware 1.6.110" in notes and "depth firmware 1.6.79" in notes
    assert recording.rig["infrared"].module == recording.rig["depth"].module
    assert np.array_equal(recording.rig["infrared"].K, recording.rig["depth"].K)


def test_the_real_inertial_sample_is_gravity(mug: Path) -> None:
    (track,) = read_kinect_mkv(mug).imu
    assert track.time_ns.tolist() == [336_277_000]
    assert np.linalg.norm(track.values[0, :3]) == pytest.approx(9.81, abs=0.15)
    assert np.abs(track.values[0, 3:6]).max() < 0.05 and np.isnan(track.values[0, 6])


@pytest.mark.parametrize("lacing", [0, 1, 2, 3])
def test_inertial_samples_are_those_that_were_written(tmp_path: Path, lacing: int) -> None:
    script = KinectScript(3, lacing=lacing)
    (track,) = read_kinect_mkv(write_kinect(tmp_path / "imu.mkv", script)).imu
    indices = range(0, 30, 10) if lacing == 0 else range(30)
    for row, index in enumerate(indices):
        time_ns, acceleration, rotation = imu_sample(script, index)
        assert track.time_ns[row] == time_ns
        assert np.allclose(track.values[row, :6], [*acceleration, *rotation], atol=1e-6)
    assert len(track.time_ns) == len(indices)


def test_wired_synchronisation_is_told_and_leaves_times_as_they_are(tmp_path: Path) -> None:
    sync = (
        ("K4A_WIRED_SYNC_MODE", "SUBORDINATE"),
        ("K4A_SUBORDINATE_DELAY_NS", "160000"),
        ("K4A_DEPTH_DELAY_NS", "-500"),
    )
    recording = read_kinect_mkv(write_kinect(tmp_path / "sub.mkv", KinectScript(1, sync=sync)))
    notes = " | ".join(recording.notes)
    assert "SUBORDINATE" in notes and "160000 ns after its master" in notes and "-500 ns after colour" in notes
    assert recording.clocks["depth"].device_ns.tolist() == [KinectScript().offset_ns]


def test_without_colour_or_without_a_calibration_the_rest_is_read(tmp_path: Path) -> None:
    recording = read_kinect_mkv(write_kinect(tmp_path / "dark.mkv", KinectScript(1, coding="OFF")))
    assert recording.rig.ids == ("depth", "infrared") and recording.read_jpeg is None
    guessed = read_kinect_mkv(write_kinect(tmp_path / "guess.mkv", KinectScript(1, calibrated=False)))
    assert not any(camera.is_calibrated for camera in guessed.rig.cameras)
    assert any("--rig" in note for note in guessed.notes)


def test_a_folder_of_devices_is_one_recording_of_modules_at_their_own_origins(tmp_path: Path) -> None:
    for seed, name in enumerate(("cam2", "cam10")):
        write_kinect(tmp_path / f"{name}.mkv", KinectScript(2, seed=seed, serial=name, offset_ns=1000 * (seed + 1)))
    recording = open_recording(tmp_path)
    assert recording.reader == "kinect_mkv"
    assert recording.rig.ids[:3] == ("cam2_rgb", "cam2_depth", "cam2_infrared")
    assert [camera.module for camera in recording.rig.cameras] == 3 * ["cam2"] + 3 * ["cam10"]
    assert recording.clocks["cam10_rgb"].device_ns[0] == 2000
    assert all("place in the rig unknown" in camera.calibration_source for camera in recording.rig.cameras)
    assert any("own origin" in note and "--rig" in note for note in recording.notes)
    assert np.array_equal(recording.read_frame("cam10_depth", 1), depth_picture(KinectScript(seed=1), 1))
    assert {track.id for track in recording.imu} == {"cam2_imu", "cam10_imu"}
    (tmp_path / "other.mkv").write_bytes(b"no matroska")
    assert recognises_kinect_mkv(tmp_path) is None
    with pytest.raises(InputError, match=r"other\.mkv"):
        read_kinect_mkv(tmp_path)


def test_what_a_crashed_recorder_left_is_read_and_its_shortness_is_said(tmp_path: Path) -> None:
    script = KinectScript(4, closed=False)
    whole = write_kinect(tmp_path / "crashed.mkv", script)
    recording = read_kinect_mkv(whole)
    assert len(recording.clocks["rgb"].device_ns) == 4
    assert recording.clocks["rgb"].device_ns[0] == script.offset_ns  # the tag is missing: from the inertial samples
    notes = " | ".join(recording.notes)
    assert "did not close" in notes and "taken from the inertial samples" in notes
    data = whole.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[:-100_000])
    short = read_kinect_mkv(cut)
    assert len(short.clocks["rgb"].device_ns) == 3
    assert any("ends after 0.0" in note and "unfinished data are left out" in note for note in short.notes)
    cut.write_bytes(data + bytes(5000))  # what a disk fills up with
    assert len(read_kinect_mkv(cut).clocks["rgb"].device_ns) == 4
    marker = data.index(bytes.fromhex("18538067")) + 4
    cut.write_bytes(data[:marker] + b"\x01" + b"\xff" * 7 + data[marker + 8 :])  # size unknown, as in live streams
    assert len(read_kinect_mkv(cut).clocks["rgb"].device_ns) == 4


def test_a_closed_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path, synthetic: Path) -> None:
    data = synthetic.read_bytes()
    cut = tmp_path / "cut.mkv"
    for end in (*range(1, 3000, 131), *range(3000, len(data), len(data) // 40), len(data) - 1):
        cut.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"cut\.mkv"):
            read_kinect_mkv(cut)


def test_a_flipped_bit_anywhere_in_a_picture_is_found_by_its_checksum(tmp_path: Path, synthetic: Path) -> None:
    data = bytearray(synthetic.read_bytes())
    copy = tmp_path / "flipped.mkv"
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    recording = read_kinect_mkv(copy)
    with pytest.raises(InputError, match="checksum"):
        for camera_id in recording.rig.ids:
            for index in range(len(recording.clocks[camera_id].device_ns)):
                recording.read_frame(camera_id, index)


def test_sizes_that_contradict_each_other_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    data = write_kinect(tmp_path / "plain.mkv", KinectScript(1)).read_bytes()
    wrong = tmp_path / "wrong.mkv"
    bitmap = data.index(b"b16g") - 12
    huge = (2**31 - 1).to_bytes(4, "little")
    for changed in (
        data[:bitmap] + huge + data[bitmap + 4 :],
        data.replace(element(0xB0, (320).to_bytes(2)), element(0xB0, (321).to_bytes(2))),
        data.replace(b"V_MS/VFW/FOURCC", b"V_MPEG4/ISO/AVC"),
        data.replace(b"b16g", b"b32g"),
        data.replace(b"NFOV_2X2BINNED", b"NFOV_3X3BINNED"),
        data.replace(b"DEPTH", b"COLOR"),
    ):
        assert changed != data
        wrong.write_bytes(changed)
        with pytest.raises(InputError):
            recording = read_kinect_mkv(wrong)
            recording.read_frame("depth", 0)


def test_a_named_pipe_and_a_folder_named_like_a_file_do_not_hang(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.mkv")
    (tmp_path / "folder.mkv").mkdir()
    for name in ("pipe.mkv", "folder.mkv", "a\0b.mkv"):
        assert recognises_kinect_mkv(tmp_path / name) is None
        with pytest.raises(InputError):
            read_kinect_mkv(tmp_path / name)


def test_a_file_that_shrinks_after_opening_is_an_error(tmp_path: Path, synthetic: Path) -> None:
    copy = shutil.copy(synthetic, tmp_path / "copy.mkv")
    recording = read_kinect_mkv(Path(copy))
    Path(copy).write_bytes(synthetic.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"copy\.mkv"):
        recording.read_frame("depth", 4)


@pytest.mark.parametrize("lacing", [1, 2, 3])
@pytest.mark.parametrize("data", [b"", b"\xff", b"\x05\x00", b"\x02\xff\xff\xff", b"\x03" + b"\x81\x80\xff" + b"abc"])
def test_laces_never_hold_more_than_their_block(lacing: int, data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert sum(map(len, laced_frames(data, lacing))) <= len(data)


def test_ebml_laces_of_different_sizes_come_back() -> None:
    frames = (b"a" * 500, b"b" * 3, b"c" * 700, b"d" * 10)
    differences = [(-497, 2), (697, 2)]
    coded = b"".join((value + (1 << 7 * n - 1) - 1 | 1 << 7 * n).to_bytes(n) for value, n in differences)
    assert laced_frames(bytes([3]) + size(500) + coded + b"".join(frames), 3) == frames


def test_readings_of_two_sensors_are_merged_by_their_times() -> None:
    times, values = merged_inertial(
        np.array([30, 10, 10]), np.arange(9.0).reshape(3, 3), np.array([10, 20]), 10 + np.arange(6.0).reshape(2, 3)
    )
    assert times.tolist() == [10, 10, 20, 30]
    assert values[0, :6].tolist() == [3, 4, 5, 10, 11, 12]
    assert values[1, :3].tolist() == [6, 7, 8] and np.isnan(values[1, 3:]).all()
    assert np.isnan(values[2, :3]).all() and values[2, 3:6].tolist() == [13, 14, 15]
    assert values[3, :3].tolist() == [0, 1, 2] and np.isnan(values[:, 6]).all()


def test_ten_times_the_frames_take_no_more_memory_to_open(tmp_path: Path) -> None:
    import tracemalloc

    short, long = (write_kinect(tmp_path / f"{n}.mkv", replace(KinectScript(), frames=n)) for n in (2, 20))
    peaks = []
    for path in (short, short, long):  # the first also pays for imports
        tracemalloc.start()
        read_kinect_mkv(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 500_000
