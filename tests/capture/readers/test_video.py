"""Videos: every frame with its own time, in its own colours, or an error."""

import re
import struct
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.calibration.formats import write_calibration
from capture.readers import open_recording
from capture.readers.layout import read_layout
from capture.readers.recording import Recording
from capture.readers.video import read_video, recognises_video
from capture.readers.video_file import read_video_file
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.jpeg import decode_jpeg
from tests.capture.calibration.formats.rigs import rig_of
from tests.capture.readers.contract import ReaderContract
from tests.capture.readers.synthetic_video import (
    RATE_HZ,
    SIZE_HW,
    Encoding,
    even_pts,
    picture,
    write_sound,
    write_video,
)

MJPEG = Encoding("mjpeg", "yuvj420p", Fraction(1, 1000), {"qmin": "2", "qmax": "2"})
LOSSLESS = Encoding("ffv1", "bgr0", Fraction(1, 1000), {})
DEPTH = Encoding("ffv1", "gray16le", Fraction(1, 1000), {})


def tone(seconds: float, channels: int = 2) -> np.ndarray:
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    waves = [12_000 * np.sin(2 * np.pi * (330 + 110 * channel) * time_s) for channel in range(channels)]
    return np.stack(waves, 1).astype(np.int16)


def write_folder(folder: Path) -> Path:
    write_video(folder / "cam2.mp4", even_pts(12), sound=tone(0.4))
    write_video(folder / "cam10.mkv", [0, 33, 67, 150, 183, 217], LOSSLESS)
    write_video(folder / "cam1.avi", list(range(6)), replace(MJPEG, time_base=Fraction(1, 25)))
    write_sound(folder / "boom.wav", tone(0.5, 1))
    return folder


class TestFolderOfVideos(ReaderContract):
    reader = "video"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_folder(tmp_path / "recording")


class TestOneVideo(ReaderContract):
    reader = "video"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_video(tmp_path / "talk.mov", even_pts(7, 24), Encoding(b_frames=2), sound=tone(0.3))


def _refusal(source: Path) -> str:
    with pytest.raises(InputError) as caught:
        recording = read_video(source)
        for camera in recording.rig.cameras:
            for _ in recording.frames(camera.id, range(len(recording.clocks[camera.id].device_ns))):
                pass
    return str(caught.value)


def _times(recording: Recording, camera: str) -> list[int]:
    return recording.clocks[camera].device_ns.tolist()


def test_a_folder_gives_a_camera_a_file_in_natural_order(tmp_path: Path) -> None:
    recording = read_video(write_folder(tmp_path))
    assert recording.rig.ids == ("cam1", "cam2", "cam10")
    assert [camera.image_size_hw for camera in recording.rig.cameras] == [SIZE_HW] * 3
    assert [track.id for track in recording.audio] == ["cam2", "boom"]
    assert [track.camera for track in recording.audio] == ["cam2", ""]
    assert recording.rig["cam2"].rate_hz == pytest.approx(30, abs=0.01)
    notes = " | ".join(recording.notes)
    assert "cam10: a variable rate, from 33.0 to 83.0 ms" in notes and "uncalibrated" in notes


def test_a_variable_rate_stays_and_times_are_exact(tmp_path: Path) -> None:
    pts = [0, 1, 3, 1001, 1_000_000_007]
    path = write_video(tmp_path / "a.mp4", pts, Encoding(time_base=Fraction(1, 90_000), gop=1))
    expected = [(2 * time * 10**9 + 90_000) // 180_000 for time in pts]
    assert _times(read_video(path), "a") == expected
    video = replace(read_video_file(path), pts=np.array([2**53 + 1]), time_base_s=Fraction(1, 10**9))
    assert video.device_ns.tolist() == [2**53 + 1]


@pytest.mark.parametrize(
    "encoding",
    [
        Encoding(),
        Encoding(b_frames=3, gop=6),
        Encoding(b_frames=3, gop=6, options={"crf": "4", "x264-params": "open-gop=1:keyint=6:min-keyint=6"}),
        Encoding(gop=1000),
        Encoding("libx265", options={"crf": "4", "x265-params": "log-level=none:keyint=5:open-gop=1:bframes=2"}),
        Encoding("mpeg4", options={"qmin": "1", "qmax": "2"}, b_frames=2, time_base=Fraction(1, 1000)),
    ],
    ids=["ip", "b", "open-gop", "one-keyframe", "hevc", "mpeg4"],
)
def test_any_frame_alone_is_the_frame_of_the_sequence(tmp_path: Path, encoding: Encoding) -> None:
    pts = [round(Fraction(frame, 30) / encoding.time_base) for frame in range(20)]
    recording = read_video(write_video(tmp_path / "a.mp4", pts, encoding))
    in_a_row = list(recording.frames("a", range(20)))
    assert len(in_a_row) == 20
    for number, frame in enumerate(in_a_row):
        assert np.abs(frame.astype(int) - picture(number)).mean() < 3, number
    for index in (19, 0, 7, 6, 13, 5):
        assert np.array_equal(recording.read_frame("a", index), in_a_row[index])
    later = list(recording.frames("a", range(8, 15)))
    assert all(np.array_equal(a, b) for a, b in zip(later, in_a_row[8:15], strict=True))
    assert recording.frames_per_portion == (
        20 if encoding.gop == 1000 else read_video_file(tmp_path / "a.mp4").longest_group
    )


def test_a_lossless_video_gives_the_very_pixels(tmp_path: Path) -> None:
    recording = read_video(write_video(tmp_path / "a.mkv", [0, 40, 80], replace(LOSSLESS, gop=1)))
    assert all(np.array_equal(recording.read_frame("a", i), picture(i)) for i in range(3))
    assert recording.frames_per_portion == 0


@pytest.mark.parametrize("matrix", [1, 5], ids=["709", "601"])
@pytest.mark.parametrize("value_range", [1, 2], ids=["limited", "full"])
def test_colours_are_those_that_matrix_and_range_say(tmp_path: Path, matrix: int, value_range: int) -> None:
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114)}[matrix]
    colours = np.random.default_rng(4).integers(20, 236, (8, 3))
    frames = []
    for red, green, blue in colours / 255:
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        cb, cr = (blue - luma) / 2 / (1 - kb), (red - luma) / 2 / (1 - kr)
        scale = (255, 0, 255) if value_range == 2 else (219, 16, 224)
        frames.append((scale[0] * luma + scale[1], scale[2] * cb + 128, scale[2] * cr + 128))
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, value_range
        for values in frames:
            planes = np.stack([np.full((32, 32), round(value)) for value in values]).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv444p", channel_last=False)
            frame.colorspace, frame.color_range = matrix, value_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    recording = read_video(path)
    assert not any("is not stated" in note for note in recording.notes)
    for index, colour in enumerate(colours):
        assert np.abs(recording.read_frame("a", index)[16, 16] - colour).max() <= 2


def test_colours_that_are_not_stated_are_noted(tmp_path: Path) -> None:
    recording = read_video(write_video(tmp_path / "a.mp4", even_pts(2)))
    notes = " | ".join(recording.notes)
    assert "the colour matrix is not stated, BT.601 is taken" in notes and "the range is not stated" in notes


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le", "bgra", "yuv420p10le", "yuv444p16le", "yuva420p"])
def test_other_pixel_formats_show_the_same_colour(tmp_path: Path, pix_fmt: str) -> None:
    grey = [np.full((*SIZE_HW, 3), 100, np.uint8)]
    recording = read_video(write_video(tmp_path / "a.mkv", [0], replace(LOSSLESS, pix_fmt=pix_fmt), grey))
    assert np.abs(recording.read_frame("a", 0).astype(int) - 100).max() <= 1
    assert any("are reduced to 8" in note for note in recording.notes) == pix_fmt.endswith("le")


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_turn_in_the_file_is_applied_as_opencv_does_and_noted(tmp_path: Path, angle: int) -> None:
    path = write_video(tmp_path / "a.mp4", even_pts(3), Encoding(rotation=angle))
    recording = read_video(path)
    frame = recording.read_frame("a", 1)
    capture = cv2.VideoCapture(str(path))
    capture.read()
    shown = capture.read()[1][..., ::-1]
    assert recording.rig["a"].image_size_hw == frame.shape[:2] == shown.shape[:2]
    assert np.abs(frame.astype(int) - shown).mean() < 2
    assert any("turned" in note for note in recording.notes)


def test_a_slanted_turn_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", even_pts(3), Encoding(rotation=90))
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", 46341, 46341, 0, -46341, 46341, 0, 0, 0, 2**30)
    path.write_bytes(bytes(data))
    assert "multiple of 90 degrees" in _refusal(path)


def test_mjpeg_hands_on_the_bitstreams(tmp_path: Path) -> None:
    recording = read_video(write_video(tmp_path / "a.mkv", [0, 40, 80], MJPEG))
    assert recording.read_jpeg is not None and recording.frames_per_portion == 0
    for index in range(3):
        jpeg = recording.read_jpeg("a", index)
        assert jpeg is not None and np.array_equal(decode_jpeg(jpeg), recording.read_frame("a", index))
        assert np.abs(decode_jpeg(jpeg).astype(int) - picture(index)).mean() < 3
    turned = read_video(write_video(tmp_path / "b.mp4", [0, 40, 80], replace(MJPEG, rotation=90)))
    assert turned.read_jpeg is not None and turned.read_jpeg("b", 0) is None
    assert turned.read_frame("b", 0).shape == (64, 48, 3)


def test_depth_and_lenslets_as_video_in_a_layout(tmp_path: Path) -> None:
    depths = [np.random.default_rng(i).integers(0, 2**16, SIZE_HW).astype(np.uint16) for i in range(4)]
    write_video(tmp_path / "M1" / "depth.mkv", [0, 33, 67, 100], DEPTH, depths)
    write_video(tmp_path / "lytro.mkv", [5], DEPTH, depths[:1])
    write_video(tmp_path / "M1" / "rgb.mp4", even_pts(4), sound=tone(0.2))
    streams = [
        "{kind: rgb, videos: '{m}/rgb.mp4', camera: '{m}_rgb', module: '{m}'}",
        "{kind: depth, videos: '{m}/depth.mkv', camera: '{m}_depth', module: '{m}', depth_unit_m: 0.0001}",
        "{kind: light_field, videos: lytro.mkv, camera: lytro}",
    ]
    (tmp_path / "layout.yaml").write_text("layout: 1\nstreams:\n" + "".join(f"  - {line}\n" for line in streams))
    recording = read_layout(tmp_path)
    assert recording.rig.ids == ("M1_rgb", "M1_depth", "lytro")
    assert all(np.array_equal(recording.read_frame("M1_depth", i), depths[i]) for i in range(4))
    assert np.array_equal(recording.read_frame("lytro", 0), depths[0])
    assert _times(recording, "M1_depth") == [0, 33_000_000, 67_000_000, 100_000_000]
    assert [track.camera for track in recording.audio] == ["M1_rgb"]
    (tmp_path / "layout.yaml").write_text("layout: 1\nstreams:\n  - " + streams[2].replace("lytro.mkv", "M1/rgb.mp4"))
    with pytest.raises(InputError, match="16-bit counts"):
        read_layout(tmp_path)


def test_a_table_gives_the_times_that_a_video_lacks(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", even_pts(3))
    layout = "layout: 1\nstreams:\n  - {kind: rgb, videos: '{c}.mp4', camera: '{c}', times: %s}\n"
    (tmp_path / "layout.yaml").write_text(layout % "{table: '{c}.csv', frame: n, device_us: t, trigger_id: k}")
    (tmp_path / "a.csv").write_text("n,t,k\n2,900,7\n0,500,5\n1,700,6\n")
    clock = read_layout(tmp_path).clocks["a"]
    assert clock.device_ns.tolist() == [500_000, 700_000, 900_000]
    assert clock.trigger_id is not None and clock.trigger_id.tolist() == [5, 6, 7]
    (tmp_path / "layout.yaml").write_text(layout % "{table: '{c}.csv', trigger_id: k}")
    clock = read_layout(tmp_path).clocks["a"]
    assert clock.device_ns.tolist() == [0, 33_333_333, 66_666_667]
    assert clock.trigger_id is not None and clock.trigger_id.tolist() == [7, 5, 6]
    (tmp_path / "a.csv").write_text("n,t,k\n2,900,7\n")
    with pytest.raises(InputError, match="1 lines for 3"):
        read_layout(tmp_path)


def test_timecode_of_the_first_frame_is_counted_on(tmp_path: Path) -> None:
    pts = [0, 3003, 9009, 12012]
    encoding = Encoding(timecode="10:00:00:12", options={"crf": "4", "preset": "ultrafast"})
    recording = read_video(write_video(tmp_path / "a.mov", pts, encoding))
    timecode = recording.clocks["a"].timecode_ns
    assert timecode is not None
    labels = [36_000 + frame / 30 for frame in (12, 13, 15, 16)]
    assert np.allclose(timecode / 1e9, labels, rtol=0, atol=1e-6)


def test_a_calibration_beside_a_single_video_may_be_of_others(tmp_path: Path) -> None:
    path = write_video(tmp_path / "talk.mp4", even_pts(2))
    write_calibration(tmp_path / "rig.json", rig_of((0,), 3, (SIZE_HW,)), "mien")
    recording = read_video(path)
    assert not recording.rig["talk"].is_calibrated and recording.source_files == (path,)
    assert any("other cameras" in note for note in recording.notes)
    assert "recorded cameras" in _refusal(tmp_path)


def test_sound_is_what_was_recorded_from_any_sample_on(tmp_path: Path) -> None:
    sound = tone(0.9)
    recording = read_video(write_video(tmp_path / "a.mkv", [0, 40, 80], LOSSLESS, sound=sound))
    (track,) = recording.audio
    assert (track.rate_hz, track.sample_count, track.channel_count) == (RATE_HZ, len(sound), 2)
    for start, stop in ((0, len(sound)), (1, 2), (1023, 1025), (30_000, 40_001), (len(sound) - 3, len(sound))):
        assert np.array_equal(track.read(start, stop), sound[start:stop].astype(np.float32) / 2**15)
    assert track.anchors[0].tolist() == [0, 0]
    expected_ns = track.anchors[:, 0] / RATE_HZ * 1e9
    assert np.abs(track.anchors[:, 1] - expected_ns).max() <= 1e6  # Matroska counts milliseconds


def test_compressed_sound_starts_with_its_picture(tmp_path: Path) -> None:
    sound = np.zeros((RATE_HZ, 1), np.int16)
    sound[RATE_HZ // 2 : RATE_HZ // 2 + 400] = 20_000  # a clap
    recording = read_video(write_video(tmp_path / "a.mp4", even_pts(30), sound=sound))
    (track,) = recording.audio
    assert abs(track.sample_count - RATE_HZ) <= 2048
    samples = track.read(0, track.sample_count)
    heard = int(np.argmax(np.abs(samples[:, 0]) > 0.3))
    numbers, times_ns = track.anchors.T
    assert np.interp(heard, numbers, times_ns) == pytest.approx(5e8, abs=3e6)
    assert np.array_equal(track.read(9000, 9500), track.read(9000, 9500))
    assert np.abs(track.read(23_000, 26_000) - samples[23_000:26_000]).max() < 1e-3


@pytest.mark.parametrize("name", ["opencv", "colmap", "nerfstudio", "mien"])
def test_a_calibration_beside_the_videos_is_used(tmp_path: Path, name: str) -> None:
    for camera in ("01", "02"):
        write_video(tmp_path / f"{camera}.mp4", even_pts(2))
    rig = rig_of((5, 0), 3, (SIZE_HW,))
    place = {"opencv": ".", "colmap": "sparse/0", "nerfstudio": "transforms.json", "mien": "rig.json"}[name]
    write_calibration(tmp_path / place, rig, name)
    recording = read_video(tmp_path)
    assert recording.rig.ids == ("01", "02") and all(camera.is_calibrated for camera in recording.rig.cameras)
    assert np.allclose(recording.rig["01"].K, rig["01"].K)
    assert recording.rig["01"].rate_hz == pytest.approx(30, abs=0.01)
    assert len(recording.source_files) > 2
    smaller = Rig(tuple(replace(camera, image_size_hw=(24, 32)) for camera in rig.cameras))
    write_calibration(tmp_path / place, smaller, name)
    assert "64 x 48" in _refusal(tmp_path)


def test_names_become_cameras_and_must_stay_apart(tmp_path: Path) -> None:
    write_video(tmp_path / "Go Pro.mp4", even_pts(2))
    assert read_video(tmp_path).rig.ids == ("Go_Pro",)
    write_video(tmp_path / "Go_Pro.mkv", [0, 40], LOSSLESS)
    assert "one video for camera Go_Pro" in _refusal(tmp_path)


def test_a_folder_with_a_recording_s_card_is_not_taken_for_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "preview.mp4", even_pts(2))
    assert recognises_video(tmp_path) == "a folder with 1 video file"
    (tmp_path / "recording.json").write_text("{}")
    assert recognises_video(tmp_path) is None
    (tmp_path / "text.mp4").write_text("no video at all, just text")
    assert recognises_video(tmp_path / "text.mp4") is None


def test_two_tracks_no_track_and_nothing_are_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = [container.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for stream in streams:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
            container.mux(stream.encode(None))
    assert "one video track" in _refusal(tmp_path / "two.mkv")
    assert "one video track" in _refusal(write_sound(tmp_path / "a.wav", tone(0.1)).rename(tmp_path / "a.mp4"))
    (tmp_path / "empty").mkdir()
    assert "none in" in _refusal(tmp_path / "empty")
    assert "absent" in _refusal(tmp_path / "absent.mp4")


WHOLE = {
    "a.mp4": Encoding(),
    "a.mkv": LOSSLESS,
    "a.avi": replace(MJPEG, time_base=Fraction(1, 25)),
    "a.webm": Encoding(
        "libvpx-vp9", options={"crf": "10", "b": "0", "cpu-used": "8", "threads": "1"}, time_base=Fraction(1, 1000)
    ),
}


def _whole(folder: Path, name: str) -> Path:
    encoding = WHOLE[name]
    pts = [round(Fraction(frame, 25) / encoding.time_base) for frame in range(8)]
    return write_video(folder / name, pts, encoding)


@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path: Path, name: str) -> None:
    path = _whole(tmp_path, name)
    data = path.read_bytes()
    assert len(_times(read_video(path), "a")) == 8
    for cut in {*range(0, len(data), max(1, len(data) // 23)), len(data) - 1, 1, 8, 40}:
        path.write_bytes(data[:cut])
        assert str(path) in _refusal(path)


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bytes_give_every_frame_or_an_input_error(tmp_path: Path, name: str, data: st.DataObject) -> None:
    original = tmp_path / "whole" / name
    if not original.exists():
        _whole(original.parent, name)
    content = bytearray(original.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / name
    path.write_bytes(bytes(content))
    with suppress(InputError):
        recording = read_video(path)
        count = len(_times(recording, "a"))
        assert sum(1 for _ in recording.frames("a", range(count))) == count


def test_the_real_talk_is_whole(real_data: Path) -> None:
    path = real_data / "video" / "obama_weekly_address_720p.mp4"
    recording = open_recording(path)
    assert recording.reader == "video" and recording.rig.ids == ("obama_weekly_address_720p",)
    camera = recording.rig.cameras[0]
    assert camera.image_size_hw == (720, 1280) and camera.rate_hz == 25 and not camera.is_calibrated
    times = recording.clocks[camera.id].device_ns
    assert len(times) == 501 and np.array_equal(times, np.arange(501) * 40_000_000)
    (track,) = recording.audio
    assert (track.rate_hz, track.channel_count) == (44_100, 2)
    assert track.sample_count / track.rate_hz == pytest.approx(20.04, abs=0.05)
    heard = track.read(0, track.sample_count)
    assert 0.01 < heard.std() < 0.5
    # The last picture of one group and the first of the next: 25 frames a second show the same scene.
    frames = list(recording.frames(camera.id, range(248, 252)))
    assert all(np.abs(a.astype(int) - b).mean() < 4 for a, b in pairwise(frames))
    assert np.array_equal(recording.read_frame(camera.id, 251), frames[3])
    assert isinstance(camera, Camera) and re.search("BT.709 is taken", " ".join(recording.notes))
