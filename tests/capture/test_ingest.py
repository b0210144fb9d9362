"""What an ingest plans before it reads pictures: every frame once, in whole shards, and nothing that is done."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capture import ingest as module
from capture.ingest import FilePortion, FramePortion, IngestConfig, IngestPlan, plan_ingest
from capture.ingest_finish import finish_ingest
from capture.ingest_portions import Stopped, run_portion
from capture.readers import Recording
from capture.readers.image_folder import read_image_folder
from capture.readers.recording import AudioTrack, ImuTrack
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.codecs import CODECS
from storage.documents import read_group
from storage.integrity import verify_take
from storage.jpeg import decode_jpeg
from storage.take import Take
from tests.capture.synthetic_recording import CAMERAS, SIZE_HW, plain_script, png_bytes, write_recording

FRAMES = 37
CONFIG = IngestConfig()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "recording", plain_script(FRAMES), jpeg=("right_rgb",))


def planned(source: Path, path: Path, config: IngestConfig = CONFIG) -> IngestPlan:
    plan = plan_ingest(source, path, config)
    assert isinstance(plan, IngestPlan)
    return plan


def all_of(source: Path, path: Path, config: IngestConfig = CONFIG) -> Take:
    with planned(source, path, config) as plan:
        for portion in plan.portions:
            run_portion(plan, portion)
        return finish_ingest(plan)


def given(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the ingest open this recording."""
    monkeypatch.setattr(module, "open_recording", lambda source, reader: recording)


def frames_in(plan: IngestPlan) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for portion in plan.portions:
        if isinstance(portion, FramePortion):
            found.setdefault(portion.camera_id, []).extend(t for shard in portion.shards for t in shard)
    return found


@pytest.mark.parametrize("together", [0, 1, 16, 17, 1000])
def test_every_frame_is_in_one_portion_of_whole_shards(
    source: Path, tmp_path: Path, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(replace(read_image_folder(source), frames_per_portion=together), monkeypatch)
    with planned(source, tmp_path / "take") as plan:
        assert plan.frame_count == plan.frames_left == 4 * FRAMES
        assert frames_in(plan) == {name: list(range(FRAMES)) for name in CAMERAS}
        for portion in plan.portions:
            if isinstance(portion, FramePortion):
                assert set(portion.shards) <= set(plan.writer.all_shards(portion.camera_id))
                assert portion.frame_count == FRAMES - portion.shards[0].start or portion.frame_count >= together
        assert [p.names for p in plan.portions if isinstance(p, FilePortion)] == [plan.states.others]


def test_what_is_done_is_not_planned_again_unless_its_files_were_written_since(source: Path, tmp_path: Path) -> None:
    with planned(source, tmp_path / "take") as plan:
        for portion in plan.portions[:4]:
            run_portion(plan, portion)
        left = plan.portions[4:]
    with planned(source, tmp_path / "take") as plan:
        assert plan.portions == left
    picture = source / "left_rgb" / "000001.png"
    picture.write_bytes(png_bytes(np.full((*SIZE_HW, 3), 9, np.uint8)).ljust(picture.stat().st_size, b"\0"))
    os.utime(picture, ns=(1, 1))
    with planned(source, tmp_path / "take") as plan:
        assert set(frames_in(plan)["left_rgb"]) - set(range(16)) == {
            t for p in left if isinstance(p, FramePortion) and p.camera_id == "left_rgb" for s in p.shards for t in s
        }
        assert set(range(16)) <= set(frames_in(plan)["left_rgb"])
        for portion in plan.portions:
            run_portion(plan, portion)
        take = finish_ingest(plan)
    assert verify_take(take.path) == [] and (take.stream("left_rgb").frame(1) == 9).all()


def test_a_plan_crosses_process_borders(source: Path, tmp_path: Path) -> None:
    with planned(source, tmp_path / "take") as plan:
        elsewhere = pickle.loads(pickle.dumps(plan))
        for portion in pickle.loads(pickle.dumps(plan.portions)):
            run_portion(elsewhere, portion)
        assert verify_take(finish_ingest(plan).path) == []


def test_a_portion_stops_between_shards(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(replace(read_image_folder(source), frames_per_portion=1000), monkeypatch)
    answers = iter([False, False, True])
    with planned(source, tmp_path / "take") as plan:
        portion = next(p for p in plan.portions if isinstance(p, FramePortion))
        with pytest.raises(Stopped):
            run_portion(plan, portion, lambda: next(answers))
        assert set(plan.writer.read_progress(portion.camera_id)) == {0}


def test_codecs_follow_what_cameras_recorded(source: Path, tmp_path: Path) -> None:
    take = all_of(source, tmp_path / "auto")
    codecs = {name: plan.codec for name, plan in take.root.streams.items()}
    assert codecs["right_rgb"] == "jpeg" and codecs["left_depth"] == codecs["right_depth"] == "jpegxl"
    recording = read_image_folder(source)
    frame = recording.read_frame("left_rgb", 0)[None]
    sizes = {name: len(CODECS[name].encode(frame)) for name in ("jpegxl", "residual")}
    assert sizes[codecs["left_rgb"]] == min(sizes.values())
    portable = all_of(source, tmp_path / "portable", IngestConfig(codec="portable"))
    assert {plan.codec for plan in portable.root.streams.values()} == {"blosc"}
    lossy = all_of(source, tmp_path / "lossy", IngestConfig(lossy_colour=True))
    assert {name: plan.codec for name, plan in lossy.root.streams.items()} == {
        "left_rgb": "jpegxl_lossy", "left_depth": "jpegxl", "right_rgb": "jpeg", "right_depth": "jpegxl",
    }  # fmt: skip
    assert lossy.root.config["lossy_colour"] is True and take.root.config["lossy_colour"] is False
    for name in CAMERAS:
        for t in (0, 20):
            assert np.array_equal(portable.stream(name).frame(t), take.stream(name).frame(t))
            assert np.array_equal(take.stream(name).frame(t), recording.read_frame(name, t))


def test_a_cameras_jpegs_are_stored_as_they_are(source: Path, tmp_path: Path) -> None:
    for path in (source / "right_rgb").glob("*.jpg"):
        image = Image.open(path)
        exif = image.getexif()
        exif[0x010E] = "a tell-tale"
        image.save(path, quality=90, exif=exif)
    take, recording = all_of(source, tmp_path / "take"), read_image_folder(source)
    files = sorted(path for path in (tmp_path / "take/streams/right_rgb/frames").rglob("*") if path.is_file())
    stored = b"".join(path.read_bytes() for path in files)
    assert b"tell-tale" not in stored and recording.read_jpeg is not None
    for t in range(FRAMES):
        bitstream = recording.read_jpeg("right_rgb", t)
        assert bitstream is not None and bitstream in stored
        assert np.array_equal(take.stream("right_rgb").frame(t), decode_jpeg(bitstream))


def test_a_picture_that_is_no_jpeg_among_jpegs_is_refused_by_number(source: Path, tmp_path: Path) -> None:
    (source / "right_rgb" / "000020.jpg").write_bytes((source / "left_rgb" / "000020.png").read_bytes())
    with pytest.raises(InputError, match="frame 20 in another format"):
        all_of(source, tmp_path / "take")


def test_cameras_without_calibration_are_recorded_all_the_same(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = read_image_folder(source)
    cameras = tuple(Camera.uncalibrated(c.id, c.module, c.kind, c.image_size_hw) for c in recording.rig.cameras)
    given(replace(recording, rig=Rig(cameras)), monkeypatch)
    take = all_of(source, tmp_path / "take")
    assert not any(camera.is_calibrated for camera in take.rig.cameras)
    assert verify_take(take.path) == [] and take.frame_count == FRAMES


class Sound:
    """Samples that are their own number."""

    def __call__(self, start: int, stop: int) -> np.ndarray:
        ramp = np.arange(start, stop, dtype=np.float32)[:, None] / 2**20
        return np.concatenate([ramp, -ramp], 1)


def test_sound_and_inertial_sensors_come_along_with_their_clocks(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 300_000
    anchors = np.array([[0, 5], [count - 1, 6_250_000_000]], np.int64)
    sound = AudioTrack("boom", "left_rgb", 48000.0, count, 2, anchors, Sound())
    motion = np.arange(70, dtype=np.float32).reshape(10, 7)
    imu = ImuTrack("left", "left_depth", np.arange(10, dtype=np.int64) * 5_000_000, motion)
    given(replace(read_image_folder(source), audio=(sound,), imu=(imu,)), monkeypatch)
    take = all_of(source, tmp_path / "take")
    assert take.audio_ids == ("boom",) and take.imu_ids == ("left",)
    stored = take.audio("boom")
    assert (stored.rate_hz, stored.camera, stored.anchors.tolist()) == (48000.0, "left_rgb", anchors.tolist())
    assert np.array_equal(stored.samples[...], Sound()(0, count))
    assert np.array_equal(take.imu("left").values[...], motion)
    assert verify_take(take.path) == []


class Row:
    """Frames read in a row, one short of what is promised."""

    def __init__(self, recording: Recording, missing: int) -> None:
        self.read, self.missing = recording.read_frame, missing

    def __call__(self, camera_id: str, frames: range) -> Iterator[np.ndarray]:
        for frame in frames:
            if frame != self.missing:
                yield self.read(camera_id, frame)


def test_a_video_that_ends_early_is_never_a_short_take(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = read_image_folder(source)
    given(replace(recording, read_frames=Row(recording, FRAMES - 1), frame_files={}, read_jpeg=None), monkeypatch)
    with pytest.raises(InputError, match=f"{FRAMES} frames of .*; got {FRAMES - 1} that can be read"):
        all_of(source, tmp_path / "take")
    given(replace(recording, read_frames=Row(recording, -1), frame_files={}, read_jpeg=None), monkeypatch)
    take = all_of(source, tmp_path / "take")
    assert {file.path for file in take.sources} == {p.relative_to(source).as_posix() for p in recording.source_files}


def test_slate_take_number_and_notes_stand_in_the_take(source: Path, tmp_path: Path) -> None:
    config = IngestConfig(slate="12A", take_number="3", notes="looked away at the end")
    header = all_of(source, tmp_path / "take", config).header
    assert (header.slate, header.take_number, header.notes) == ("12A", "3", "looked away at the end")
    attributes = read_group(Take.open(tmp_path / "take").place, "")
    assert attributes is not None and attributes["slate"] == "12A"
    with pytest.raises(InputError, match="another notes"):
        plan_ingest(source, tmp_path / "take", replace(config, notes="good"))


def test_a_persons_name_is_no_subject(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pseudonym"):
        plan_ingest(source, tmp_path / "take", IngestConfig(subject_id="Jane Doe"))
    assert not (tmp_path / "take").exists()
