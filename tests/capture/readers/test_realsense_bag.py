"""RealSense bags as `rosbags` writes them: pixels, times, cameras, lens models, and bags that are not whole."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Reader

from capture.readers import open_recording
from capture.readers.realsense_bag import read_realsense_bag, recognises_realsense_bag
from capture.readers.realsense_lens import modified_brown_conrady, opencv_distortion
from capture.readers.rosbag_file import read_rosbag
from geometry.cameras import distort
from geometry.errors import InputError
from tests.capture.readers.contract import ReaderContract
from tests.capture.readers.synthetic_realsense import (
    ARRIVAL_NS,
    COLOUR_FROM_DEPTH,
    COLOUR_INTRINSICS,
    DEPTH_INTRINSICS,
    BagScript,
    colour_picture,
    depth_picture,
    device_ns,
    infrared_picture,
    write_bag,
)


class TestBag(ReaderContract):
    reader = "realsense_bag"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_bag(tmp_path / "device.bag")


class TestCompressedBag(ReaderContract):
    reader = "realsense_bag"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_bag(tmp_path / "device.bag", BagScript(compression="lz4"))


class TestFolderOfBags(ReaderContract):
    reader = "realsense_bag"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        for seed, name in enumerate(("left", "right")):
            write_bag(tmp_path / f"{name}.bag", BagScript(seed=seed))
        return tmp_path


@pytest.mark.parametrize("compression", ["none", "lz4", "bz2"])
@pytest.mark.parametrize("padding_bytes", [0, 10])
def test_pixels_are_those_that_were_written(tmp_path: Path, compression: str, padding_bytes: int) -> None:
    script = BagScript(compression=compression, padding_bytes=padding_bytes)
    recording = read_realsense_bag(write_bag(tmp_path / "a.bag", script))
    assert recording.rig.ids == ("depth", "rgb", "infrared_1", "infrared_2")
    for index in range(script.frames):
        assert np.array_equal(recording.read_frame("depth", index), depth_picture(script, index))
        assert np.array_equal(recording.read_frame("rgb", index), colour_picture(script, index))
        for number in (1, 2):
            found = recording.read_frame(f"infrared_{number}", index)
            assert np.array_equal(found, infrared_picture(script, index, number))


@pytest.mark.parametrize(
    ("colour", "most"), [("rgb8", 0), ("bgr8", 0), ("rgba8", 0), ("bgra8", 0), ("YUYV", 3), ("yuv422", 3)]
)
def test_colour_of_each_encoding_is_rgb(tmp_path: Path, colour: str, most: int) -> None:
    script = BagScript(1, colour=colour)
    found = read_realsense_bag(write_bag(tmp_path / "a.bag", script)).read_frame("rgb", 0)
    assert np.abs(found.astype(int) - colour_picture(script, 0).astype(int)).max() <= most


def test_infrared_of_16_bits(tmp_path: Path) -> None:
    script = BagScript(1, infrared="16UC1")
    found = read_realsense_bag(write_bag(tmp_path / "a.bag", script)).read_frame("infrared_2", 0)
    assert np.array_equal(found, infrared_picture(script, 0, 2))


def test_clocks_are_the_device_s_the_arrival_and_the_counter(tmp_path: Path) -> None:
    script = BagScript()
    for clock in read_realsense_bag(write_bag(tmp_path / "a.bag", script)).clocks.values():
        assert clock.device_ns.tolist() == [device_ns(script, index) for index in range(4)]
        assert clock.host_ns is not None and clock.frame_counter is not None
        assert clock.host_ns.tolist() == [ARRIVAL_NS + index * 33_000_000 for index in range(4)]
        assert clock.frame_counter.tolist() == [700, 701, 702, 703]


def test_without_metadata_the_header_and_the_message_s_time_stand_in_and_it_is_said(tmp_path: Path) -> None:
    script = BagScript(metadata=False)
    recording = read_realsense_bag(write_bag(tmp_path / "a.bag", script))
    clock = recording.clocks["depth"]
    assert clock.host_ns is not None and clock.frame_counter is not None
    assert clock.host_ns.tolist() == [1_000_000_000 + index * script.period_ns for index in range(4)]
    assert clock.frame_counter.tolist() == [100, 101, 102, 103]
    assert any("messages' own times" in note for note in recording.notes)


def test_notes_name_the_device_its_exposure_and_a_clock_that_is_not_its_own(tmp_path: Path) -> None:
    recording = read_realsense_bag(write_bag(tmp_path / "a.bag", BagScript(domain="Global Time")))
    notes = " | ".join(recording.notes)
    assert "D435I" in notes and "5.12" in notes and "exposure 8.50 ms" in notes and "Global Time" in notes
    assert {camera.serial for camera in recording.rig.cameras} == {"840"}
    assert {camera.rate_hz for camera in recording.rig.cameras} == {30.0}
    plain = read_realsense_bag(write_bag(tmp_path / "b.bag"))
    assert not any("device times are" in note for note in plain.notes)


def test_principal_points_move_by_half_a_pixel_and_the_unit_is_the_option_s(tmp_path: Path) -> None:
    rig = read_realsense_bag(write_bag(tmp_path / "a.bag")).rig
    for camera_id, (fx, fy, ppx, ppy) in (("depth", DEPTH_INTRINSICS), ("rgb", COLOUR_INTRINSICS)):
        assert rig[camera_id].K.tolist() == [[fx, 0, ppx + 0.5], [0, fy, ppy + 0.5], [0, 0, 1]]
    assert rig["depth"].depth_unit_m == 0.00025


def test_extrinsics_take_points_from_depth_to_colour(tmp_path: Path) -> None:
    rig = read_realsense_bag(write_bag(tmp_path / "a.bag")).rig
    points = np.array([[0.1, -0.05, 0.6], [-0.2, 0.1, 1.0]])
    rotation, translation = COLOUR_FROM_DEPTH
    world = rig["depth"].world_from_camera @ points
    assert np.allclose(world, points * [1, -1, -1])
    in_colour = rig["rgb"].world_from_camera.inverse() @ world
    assert np.allclose(in_colour, rotation.apply(points) + translation, atol=1e-9)
    assert np.allclose((rig["infrared_2"].world_from_camera.inverse() @ world)[:, 0], points[:, 0] - 0.05)
    assert rig["infrared_1"].module == rig["depth"].module == rig["rgb"].module
    assert rig["infrared_2"].module != rig["depth"].module  # another sensor of the same picture size
    assert np.array_equal(rig["infrared_1"].K, rig["depth"].K)


def test_what_the_file_does_not_say_is_noted(tmp_path: Path) -> None:
    script = BagScript(extrinsics=False, depth_unit=None)
    recording = read_realsense_bag(write_bag(tmp_path / "a.bag", script))
    notes = " | ".join(recording.notes)
    assert "rgb: its place on the device is not in the file" in notes and "no depth unit" in notes
    assert recording.rig["depth"].depth_unit_m == 1e-3


def test_a_stream_without_pictures_is_left_out_and_named(tmp_path: Path) -> None:
    recording = read_realsense_bag(write_bag(tmp_path / "a.bag", BagScript(lost=("Infrared_2",))))
    assert recording.rig.ids == ("depth", "rgb", "infrared_1")
    assert any("Infrared_2 was set up but has no pictures" in note for note in recording.notes)
    with pytest.raises(InputError, match="pictures of Depth"):
        streams = ("Depth_0", "Color_0", "Infrared_1", "Infrared_2")
        read_realsense_bag(write_bag(tmp_path / "b.bag", BagScript(lost=streams)))


@pytest.mark.parametrize("model", ["Brown Conrady", "Modified Brown Conrady", "Inverse Brown Conrady", "Brown_Conrady"])
def test_lenses_project_as_librealsense_does(tmp_path: Path, model: str) -> None:
    k = np.array([-0.055, 0.066, 4e-4, -3e-4, -0.021])
    rgb = read_realsense_bag(write_bag(tmp_path / "a.bag", BagScript(1, model=model, coefficients=tuple(k)))).rig["rgb"]
    x, y = np.meshgrid(np.linspace(-0.45, 0.45, 9), np.linspace(-0.35, 0.35, 7))
    points = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)])
    ours, _ = rgb.project(rgb.world_from_camera @ points)
    fx, fy, ppx, ppy = COLOUR_INTRINSICS
    for (px, py), (a, b) in zip(ours, points[:, :2], strict=True):  # rs2_project_point_to_pixel
        r2 = a * a + b * b
        f = 1 + k[0] * r2 + k[1] * r2 * r2 + k[4] * r2 * r2 * r2
        u, v = (a, b) if model.replace("_", " ") == "Brown Conrady" else (a * f, b * f)
        dx = a * f + 2 * k[2] * u * v + k[3] * (r2 + 2 * u * u)
        dy = b * f + 2 * k[3] * u * v + k[2] * (r2 + 2 * v * v)
        assert abs(px - 0.5 - (dx * fx + ppx)) < 2e-3 and abs(py - 0.5 - (dy * fy + ppy)) < 2e-3


@pytest.mark.parametrize("model", ["Ftheta", "Kannala Brandt4", "None"])
def test_lens_models_that_opencv_lacks_are_refused_by_name(tmp_path: Path, model: str) -> None:
    path = write_bag(tmp_path / "a.bag", BagScript(1, model=model, coefficients=(0.1, 0, 0, 0, 0)))
    with pytest.raises(InputError, match=f"{model}.*--rig"):
        read_realsense_bag(path)
    assert opencv_distortion(model, np.zeros(5), np.eye(3), (48, 64)).size == 0


def test_a_tangential_lens_too_strong_for_opencv_is_refused() -> None:
    K = np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]])
    mild = opencv_distortion("modified brown conrady", np.array([-0.05, 0.06, 1e-3, -1e-3, 0.0]), K, (720, 1280))
    x = np.array([[0.3, 0.2], [-0.5, 0.3]])
    assert np.allclose(distort(x, mild), modified_brown_conrady(x, np.array([-0.05, 0.06, 1e-3, -1e-3, 0])), atol=5e-5)
    with pytest.raises(ValueError, match="misses by"):
        opencv_distortion("inverse brown conrady", np.array([0.8, 0.5, 0.05, 0.05, 0.3]), K, (720, 1280))


def test_inertial_readings_are_merged_with_their_device_times(tmp_path: Path) -> None:
    script = BagScript(3)
    (track,) = read_realsense_bag(write_bag(tmp_path / "a.bag", script)).imu
    times = [device_ns(script, index) + k * 5_000_000 for index in range(3) for k in range(2)]
    assert track.time_ns.tolist() == times
    assert np.allclose(track.values[::2, 0], [0, 0.1, 0.2]) and np.isnan(track.values[1::2, :3]).all()
    assert np.allclose(track.values[:, 5], [0, 0.01] * 3)


def test_a_folder_of_bags_is_one_recording(tmp_path: Path) -> None:
    for seed, name in enumerate(("cam2", "cam10")):
        write_bag(tmp_path / f"{name}.bag", BagScript(2, seed=seed))
    recording = open_recording(tmp_path)
    assert recording.rig.ids[0] == "cam2_depth" and recording.rig.ids[4] == "cam10_depth"
    assert np.array_equal(recording.read_frame("cam10_rgb", 1), colour_picture(BagScript(seed=1), 1))
    assert recording.rig["cam10_rgb"].module == "cam10" and recording.rig["cam10_rgb"].serial == "841"
    assert any("own origin" in note for note in recording.notes)


def test_the_index_is_the_one_that_rosbags_reads(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a.bag", BagScript(compression="lz4"))
    ours = read_rosbag(path)
    with Reader(path) as reader:
        assert {connection.topic: connection.msgcount for connection in reader.connections} == {
            topic: len(messages.time_ns) for topic, messages in ours.topics.items()
        }
        theirs: dict[str, list[bytes]] = {}
        for connection, _, data in reader.messages():
            theirs.setdefault(connection.topic, []).append(bytes(data))
    for topic, messages in ours.topics.items():
        assert [ours.message(messages, index) for index in range(len(messages.time_ns))] == theirs[topic]


def test_a_bag_that_was_never_closed_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a.bag")
    data = path.read_bytes()
    place = data.index(b"index_pos=") + 10
    path.write_bytes(data[:place] + bytes(8) + data[place + 8 :])
    with pytest.raises(InputError, match="rosbag reindex"):
        read_realsense_bag(path)


def test_a_bag_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    data = write_bag(tmp_path / "a.bag").read_bytes()
    cut = tmp_path / "cut.bag"
    for end in (*range(20, 6000, 397), *range(6000, len(data), len(data) // 60), len(data) - 1):
        cut.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"cut\.bag"):
            read_realsense_bag(cut)


def test_other_bags_and_versions_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="librealsense wrote"):
        read_realsense_bag(write_bag(tmp_path / "ros.bag", BagScript(1, version=None)))
    with pytest.raises(InputError, match="version 2"):
        read_realsense_bag(write_bag(tmp_path / "old.bag", BagScript(1, version=1)))
    with pytest.raises(InputError, match="MJPE"):
        bag = write_bag(tmp_path / "jpeg.bag", BagScript(1))
        bag.write_bytes(bag.read_bytes().replace(struct.pack("<I4s", 4, b"rgb8"), struct.pack("<I4s", 4, b"MJPE")))
        read_realsense_bag(bag)
    text = tmp_path / "text.bag"
    text.write_text("not a bag")
    assert recognises_realsense_bag(text) is None
    with pytest.raises(InputError, match=r"text\.bag"):
        read_realsense_bag(text)


def test_absurd_sizes_in_headers_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    data = write_bag(tmp_path / "a.bag", BagScript(1)).read_bytes()
    wrong = tmp_path / "wrong.bag"
    huge = struct.pack("<I", 2**32 - 1)
    places = [
        data.index(b"size=") + 5,
        data.index(b"count=") + 6,
        data.index(b"conn_count=") + 11,
        data.index(b"chunk_count=") + 12,
        13,
        data.index(struct.pack("<I6s", 6, b"mono16")) - 8,
    ]
    for place in places:
        wrong.write_bytes(data[:place] + huge + data[place + 4 :])
        with pytest.raises(InputError, match=r"wrong\.bag"):
            read_realsense_bag(wrong)


def test_a_compressed_chunk_that_swells_is_refused(tmp_path: Path) -> None:
    data = write_bag(tmp_path / "a.bag", BagScript(1, compression="bz2")).read_bytes()
    place = data.index(b"size=") + 5
    wrong = tmp_path / "wrong.bag"
    wrong.write_bytes(data[:place] + struct.pack("<I", 100) + data[place + 4 :])
    with pytest.raises(InputError, match=r"wrong\.bag"):
        read_realsense_bag(wrong)


def test_depth_units_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "a.bag", BagScript(1))
    data = path.read_bytes()
    unit = struct.pack("<f", 0.00025)
    assert data.count(unit) == 2  # the option, and behind the picture
    place = data.rindex(unit)
    path.write_bytes(data[:place] + struct.pack("<f", 0.001) + data[place + 4 :])
    with pytest.raises(InputError, match="depth unit"):
        read_realsense_bag(path)


def test_opencv_undistorts_what_the_reader_says(tmp_path: Path) -> None:
    script = BagScript(1, model="Brown Conrady", coefficients=(-0.05, 0.06, 4e-4, -3e-4, -0.02))
    rgb = read_realsense_bag(write_bag(tmp_path / "a.bag", script)).rig["rgb"]
    points = np.array([[0.2, 0.1, 1.0], [-0.3, 0.2, 1.0]])
    ours, _ = rgb.project(rgb.world_from_camera @ points)
    theirs, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), rgb.opencv_K(), rgb.distortion)
    assert np.allclose(ours - 0.5, theirs.reshape(-1, 2))
