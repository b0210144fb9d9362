"""A recording may be deleted only if every bit of it is in the take; every reason against it is named."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capture import verification
from capture.readers.image_folder import read_image_folder
from capture.readers.recording import AudioTrack, ImuTrack, Recording
from capture.verification import NAMED_OF_EACH_KIND, VerificationReport, verify_recording
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.take import Take
from tests.capture.ingested import stored
from tests.capture.synthetic_recording import CAMERAS, Script, plain_script, png_bytes, write_recording

FRAMES = 20


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording and its take, to be copied."""
    folder = tmp_path_factory.mktemp("verification")
    write_recording(folder / "card", plain_script(FRAMES), jpeg=("right_rgb",))
    stored(read_image_folder(folder / "card"), folder / "take.zarr")
    return folder


@pytest.fixture
def card(recorded: Path, tmp_path: Path) -> Path:
    shutil.copytree(recorded / "card", tmp_path / "card")
    shutil.copytree(recorded / "take.zarr", tmp_path / "take.zarr")
    return tmp_path / "card"


def verified(card: Path) -> VerificationReport:
    return verify_recording(card, Take.open(card.parent / "take.zarr"))


def faults(report: VerificationReport) -> set[tuple[str, str]]:
    """Kind and place of every fault."""
    assert report.safe == (not report.faults)
    return {(fault.kind, fault.where) for fault in report.faults}


def flip(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position if position >= 0 else len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_whole_recording_is_safe_to_delete(card: Path) -> None:
    report = verified(card)
    assert report.safe and report.faults == () and report.fault_counts == {}
    files = [path for path in card.rglob("*") if path.is_file()]
    assert report.file_count == len(files) and report.byte_count == sum(path.stat().st_size for path in files)
    assert report.frame_count == FRAMES * len(CAMERAS)
    assert report.lossy_streams == () and report.sources_whole


def test_a_copy_elsewhere_is_verified_alike(card: Path) -> None:
    moved = card.rename(card.with_name("moved"))
    assert verified(moved).safe


def test_nothing_is_written(card: Path) -> None:
    def states() -> dict[str, tuple[int, int]]:
        files = [path for path in card.parent.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    before = states()
    verified(card)
    assert states() == before


def test_a_flipped_byte_of_a_source_is_named(card: Path) -> None:
    flip(card / "left_depth" / "000007.png")
    report = verified(card)
    assert not report.safe and not report.sources_whole
    assert {("source", "left_depth/000007.png"), ("reading", "left_depth frame 7")} <= faults(report)


def test_a_change_that_no_pixel_shows_is_found_by_its_hash(card: Path) -> None:
    path = card / "rig.json"
    path.write_text(path.read_text() + "\n")
    assert faults(verified(card)) == {("source", "rig.json")}


def test_another_picture_of_the_same_size_is_found_by_its_pixels_too(card: Path) -> None:
    recording = read_image_folder(card)
    pixels = recording.read_frame("left_rgb", 3).copy()
    pixels[5, 6, 1] ^= 64
    (card / "left_rgb" / "000003.png").write_bytes(png_bytes(pixels))
    report = verified(card)
    assert faults(report) == {("source", "left_rgb/000003.png"), ("pixels", "left_rgb frame 3")}
    problem = next(fault.problem for fault in report.faults if fault.kind == "pixels")
    assert problem == f"1 of {pixels.size} values differ, by 64 at most"


def test_a_missing_file_is_named(card: Path) -> None:
    (card / "right_depth" / "000004.png").unlink()
    assert ("source", "right_depth/000004.png") in faults(verified(card))


@pytest.mark.parametrize(
    "name",
    ["notes.txt", ".hidden/take2.mov", "left_rgb/000099.png", "truth/mesh.npz", "._fake"],
)
def test_a_file_that_the_take_does_not_know_is_named(card: Path, name: str) -> None:
    (card / name).parent.mkdir(exist_ok=True)
    (card / name).write_bytes(b"something")
    assert faults(verified(card)) == {("extra", name)}


def test_nothing_hides_in_the_folder_of_a_hash_list(card: Path) -> None:
    (card / "ascmhl").mkdir()
    (card / "ascmhl" / "take2.mov").write_bytes(b"something")
    assert ("extra", "ascmhl/take2.mov") in faults(verified(card))


def test_another_take_on_the_card_is_named(card: Path) -> None:
    write_recording(card / "A002", Script(plain_script(2).cameras, seed=3))
    report = verified(card)
    assert set(report.fault_counts) == {"extra"}
    assert report.fault_counts["extra"] == sum(path.is_file() for path in (card / "A002").rglob("*"))
    assert all(fault.where.startswith("A002/") for fault in report.faults)


def test_many_faults_of_a_kind_are_counted_and_do_not_hide_others(card: Path) -> None:
    for number in range(3 * NAMED_OF_EACH_KIND):
        (card / f"stray{number:03d}").write_bytes(b"x")
    flip(card / "left_rgb" / "frames.csv", 0)
    report = verified(card)
    assert report.fault_counts["extra"] == 3 * NAMED_OF_EACH_KIND
    assert sum(fault.kind == "extra" for fault in report.faults) == NAMED_OF_EACH_KIND
    assert ("source", "left_rgb/frames.csv") in faults(report)


def test_links_pipes_and_loops_are_named_and_not_followed_for_ever(card: Path) -> None:
    (card / "loop").symlink_to(card)
    (card / "nothing").symlink_to(card / "nowhere")
    os.mkfifo(card / "pipe")
    assert faults(verified(card)) == {("extra", "loop"), ("extra", "nothing"), ("extra", "pipe")}


def test_a_recording_behind_a_link_is_verified(card: Path) -> None:
    elsewhere = (card / "left_rgb").rename(card.parent / "left_rgb")
    (card / "left_rgb").symlink_to(elsewhere)
    assert verified(card).safe


def test_what_macos_leaves_is_no_recording(card: Path) -> None:
    (card / "left_rgb" / "._000001.png").write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    (card / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1" + bytes(100))
    report = verified(card)
    assert report.safe and report.litter == (".DS_Store", "left_rgb/._000001.png")
    assert "macOS" in " ".join(report.notes)


def test_a_flipped_chunk_of_the_take_is_named(card: Path) -> None:
    shard = next(path for path in (card.parent / "take.zarr/streams/right_depth/frames/c").rglob("*") if path.is_file())
    flip(shard, 50)
    report = verified(card)
    assert not report.safe and report.sources_whole
    assert {fault.kind for fault in report.faults} == {"take"}
    assert any("right_depth" in fault.where for fault in report.faults)


def test_a_clock_that_is_not_the_recordings_is_named(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that once read another column, or a take that was tampered with."""

    def other(source: Path, reader: str) -> Recording:
        recording = read_image_folder(source)
        clock = recording.clocks["left_rgb"]
        later = replace(clock, device_ns=clock.device_ns + (np.arange(FRAMES) == 6), host_ns=None)
        return replace(recording, clocks={**recording.clocks, "left_rgb": later})

    monkeypatch.setattr(verification, "open_recording", other)
    problems = {fault.problem for fault in verified(card).faults}
    assert problems == {"device_ns: 1 of 20 values differ, the first in row 6", "host_ns: only in the take"}


def test_a_reader_that_finds_more_or_less_is_named(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shorter(source: Path, reader: str) -> Recording:
        recording = read_image_folder(source)
        clock = recording.clocks["left_rgb"]
        cut = replace(clock, device_ns=clock.device_ns[:9], host_ns=None, frame_counter=None)
        return replace(recording, clocks={**recording.clocks, "left_rgb": cut})

    monkeypatch.setattr(verification, "open_recording", shorter)
    report = verified(card)
    assert not report.safe and ("clock", "left_rgb") in faults(report)


def test_a_broken_picture_does_not_hide_those_behind_it(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the reader decodes in a row."""
    for number in (3, 5):
        (card / "left_rgb" / f"{number:06d}.png").write_bytes(b"no picture")

    def in_a_row(source: Path, reader: str) -> Recording:
        recording = read_image_folder(source)
        return replace(recording, read_frames=lambda camera, frames: (recording.read_frame(camera, t) for t in frames))

    for _ in range(2):
        broken = {where for kind, where in faults(verified(card)) if kind == "reading"}
        assert broken == {"left_rgb frame 3", "left_rgb frame 5"}
        monkeypatch.setattr(verification, "open_recording", in_a_row)


def test_an_interruption_stops_every_thread_and_leaves_nothing(card: Path) -> None:
    calls = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))
        if len(calls) == 3:
            raise KeyboardInterrupt

    before = set(card.parent.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        verify_recording(card, Take.open(card.parent / "take.zarr"), progress)
    assert len(calls) == 3 and threading.active_count() < 20
    assert set(card.parent.rglob("*")) == before


def test_progress_ends_at_its_total(card: Path) -> None:
    calls: list[tuple[int, int]] = []
    verify_recording(card, Take.open(card.parent / "take.zarr"), lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1] and [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_a_file_that_changes_meanwhile_is_named(card: Path) -> None:
    def progress(done: int, total: int) -> None:
        if done == total:
            os.utime(card / "rig.json", (5, 5))

    report = verify_recording(card, Take.open(card.parent / "take.zarr"), progress)
    assert faults(report) == {("source", "rig.json")}


def test_what_is_no_recording_or_another_is_refused(card: Path, tmp_path: Path) -> None:
    take = Take.open(card.parent / "take.zarr")
    with pytest.raises(InputError, match="does not exist"):
        verify_recording(tmp_path / "nowhere", take)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="is or holds none of its"):
        verify_recording(tmp_path / "other", take)


def test_another_recording_of_the_same_names_is_not_safe(card: Path) -> None:
    shutil.rmtree(card)
    write_recording(card, Script(plain_script(FRAMES).cameras, seed=5), jpeg=("right_rgb",))
    report = verified(card)
    assert report.fault_counts["source"] == 4  # the tables of times; the pictures are alike
    assert report.fault_counts["clock"] == 8


def with_tracks(card: Path) -> Recording:
    """The recording with a sound track and an inertial sensor, as a Kinect's file has them."""
    rng = np.random.default_rng(5)
    sound = rng.uniform(-1, 1, (5000, 2)).astype(np.float32)
    motion = rng.normal(size=(30, 7)).astype(np.float32)
    motion[3, 6] = np.nan
    anchors = np.array([[0, 10**9], [4800, 2 * 10**9]])
    audio = AudioTrack("mic", "left_rgb", 4800.0, 5000, 2, anchors, lambda start, stop: sound[start:stop])
    imu = ImuTrack("imu", "left_rgb", np.arange(30) * 10**6, motion)
    return replace(read_image_folder(card), audio=(audio,), imu=(imu,))


def against_tracks(card: Path, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> set[tuple[str, str]]:
    """Faults of a recording with tracks that reads otherwise than when it was ingested."""
    recording = with_tracks(card)
    stored(recording, card.parent / "tracks.zarr")
    monkeypatch.setattr(verification, "open_recording", lambda source, reader: replace(recording, **changed))
    return faults(verify_recording(card, Take.open(card.parent / "tracks.zarr")))


def test_sound_and_motion_are_compared(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert against_tracks(card, monkeypatch) == set()


@pytest.mark.parametrize("what", ["sample", "anchor", "length", "rate", "missing"])
def test_sound_that_differs_is_named(card: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    (track,) = with_tracks(card).audio

    def read(start: int, stop: int) -> np.ndarray:
        samples = track.read(start, stop).copy()
        samples[-1, 1] += np.float32(2**-15)
        return samples

    changed = {
        "sample": replace(track, read=read),
        "anchor": replace(track, anchors=np.add(track.anchors, [[0, 0], [0, 1]])),
        "length": replace(track, sample_count=4999),
        "rate": replace(track, rate_hz=4801.0),
    }
    audio = () if what == "missing" else (changed[what],)
    assert against_tracks(card, monkeypatch, audio=audio) == {("audio", "mic")}


@pytest.mark.parametrize("what", ["time", "value", "camera", "missing"])
def test_motion_that_differs_is_named(card: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    (track,) = with_tracks(card).imu
    changed = {
        "time": replace(track, time_ns=track.time_ns + (np.arange(30) == 7)),
        "value": replace(track, values=np.nan_to_num(track.values)),
        "camera": replace(track, camera="right_rgb"),
    }
    imu = () if what == "missing" else (changed[what],)
    assert against_tracks(card, monkeypatch, imu=imu) == {("imu", "imu")}


def test_triggers_and_timecode_are_compared(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = read_image_folder(card)
    clock = replace(recording.clocks["left_rgb"], trigger_id=np.arange(FRAMES), timecode_ns=np.arange(FRAMES) * 40)
    stored(replace(recording, clocks={**recording.clocks, "left_rgb": clock}), card.parent / "triggers.zarr")
    report = verify_recording(card, Take.open(card.parent / "triggers.zarr"))
    assert {fault.problem for fault in report.faults} == {
        "trigger_id: only in the take",
        "timecode_ns: only in the take",
    }


def test_a_calibration_that_is_not_the_recordings_is_named(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = read_image_folder(card)
    cameras = [replace(camera, rate_hz=camera.rate_hz + 1) for camera in recording.rig.cameras]
    stored(replace(recording, rig=Rig(tuple(cameras))), card.parent / "rig.zarr")
    report = verify_recording(card, Take.open(card.parent / "rig.zarr"))
    assert report.fault_counts == {"rig": len(CAMERAS)} and "rate_hz" in report.faults[0].problem


def test_a_figure_that_the_ingest_measured_is_no_difference(card: Path) -> None:
    recording = read_image_folder(card)
    measured = Rig(tuple(replace(camera, reprojection_px=0.25) for camera in recording.rig.cameras))
    stored(replace(recording, rig=measured), card.parent / "rig.zarr")
    assert verify_recording(card, Take.open(card.parent / "rig.zarr")).safe


def test_lossy_colour_is_never_safe_and_says_which_streams(card: Path) -> None:
    stored(read_image_folder(card), card.parent / "lossy.zarr", {"left_rgb": "jpegxl_lossy"})
    report = verify_recording(card, Take.open(card.parent / "lossy.zarr"))
    assert not report.safe and report.lossy_streams == ("left_rgb",)
    assert faults(report) == {("lossy", "left_rgb")}
    assert f"{FRAMES} frames differ" in report.faults[0].problem and report.sources_whole


def test_lossless_codecs_are_safe(card: Path) -> None:
    codecs = {"left_rgb": "jpegxl", "left_depth": "jpegxl"}
    stored(read_image_folder(card), card.parent / "jpegxl.zarr", codecs)
    assert verify_recording(card, Take.open(card.parent / "jpegxl.zarr")).safe


def test_a_take_without_a_list_of_sources_is_not_safe(card: Path) -> None:
    take = Take.open(card.parent / "take.zarr")
    replace(take.root, parts=()).write(take.place)
    report = verified(card)
    assert ("take", "sources") in faults(report) and not report.sources_whole


def test_memory_stays_bounded_by_frames_and_not_by_the_recording(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, most, lock = [0], [0], threading.Lock()
    usual = verification.frame_differences

    def counted(*arguments: Any) -> Any:
        with lock:
            held[0] += 1
            most[0] = max(most[0], held[0])
        try:
            return usual(*arguments)
        finally:
            with lock:
                held[0] -= 1

    monkeypatch.setattr(verification, "frame_differences", counted)
    assert verified(card).safe
    assert most[0] <= (os.cpu_count() or 1)
