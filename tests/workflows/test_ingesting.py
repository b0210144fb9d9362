"""A recording becomes a take bit for bit, whatever interrupts it; what is wrong with it is said in words."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from distributed import LocalCluster

from capture import ingest_portions
from capture.ingest import IngestConfig
from capture.readers.image_folder import read_image_folder
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.image_folder import FrameTable, RecordingCard
from storage.integrity import verify_take
from storage.take import Take
from tests.capture.synthetic_recording import (
    CAMERAS,
    Script,
    jpeg_bytes,
    picture,
    plain_script,
    png_bytes,
    synthetic_rig,
    write_recording,
    write_rig_json,
)
from tests.storage.s3_server import s3_server
from tests.storage.synthetic_take import tree
from workflows.ingesting import ingest

FRAMES = 20
CONFIG = IngestConfig()
ROOT = Path(__file__).resolve().parents[2]


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "recording", plain_script(FRAMES), jpeg=("right_rgb",))


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """One camera late, one with a drop and a doubled frame."""
    cameras = dict(plain_script(FRAMES).cameras)
    cameras["left_depth"] = replace(cameras["left_depth"], triggers=tuple(range(3, FRAMES)))
    cameras["right_rgb"] = replace(cameras["right_rgb"], triggers=(0, 1, 1, 2, *range(4, FRAMES)))
    return write_recording(tmp_path / "recording", Script(cameras))


def _refusal(source: Path, take_path: Path, config: IngestConfig = CONFIG, overwrite: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        ingest(source, take_path, config, overwrite=overwrite)
    return str(caught.value)


def test_the_take_holds_every_pixel_and_every_clock(source: Path, tmp_path: Path) -> None:
    take = ingest(source, tmp_path / "take.zarr", CONFIG)
    recording = read_image_folder(source)
    assert verify_take(take.path) == []
    for number, camera in enumerate(take.rig.cameras):
        stream, table = take.stream(camera.id), FrameTable.read(source / camera.id)
        assert len(stream) == FRAMES
        for t in range(FRAMES):
            truth = recording.read_frame(camera.id, t) if camera.id == "right_rgb" else picture(camera, number, t)
            assert np.array_equal(stream.frame(t), truth)
        assert np.array_equal(stream.device_ns, table.device_ns)
        for stored, listed in ((stream.host_ns, table.host_ns), (stream.frame_counter, table.frame_counter)):
            assert stored is not None and listed is not None and np.array_equal(stored, listed)
    assert take.sync.index.tolist() == [[k] * 4 for k in range(FRAMES)]


def test_the_header_says_where_it_comes_from(source: Path, tmp_path: Path) -> None:
    header = ingest(source, tmp_path / "take.zarr", CONFIG).header
    assert header.source == str(source) and header.reader == "image_folder"
    assert (header.subject_id, header.consent, header.licence) == ("subject-7", "research", "CC0-1.0")
    assert header.take_id == f"subject-7-{header.source_digest[:8]}"
    config = IngestConfig(take_id="t1", subject_id="s1", consent="c1", licence="l1")
    header = ingest(source, tmp_path / "other.zarr", config).header
    assert (header.take_id, header.subject_id, header.consent, header.licence) == ("t1", "s1", "c1", "l1")


def test_measures_are_those_of_the_frames(source: Path, tmp_path: Path) -> None:
    take = ingest(source, tmp_path / "take.zarr", CONFIG)
    for camera in take.rig.cameras:
        quality, stream = take.stream(camera.id).quality, take.stream(camera.id)
        for t in range(FRAMES):
            frame = stream.frame(t)
            if camera.kind == "depth":
                assert quality.exposure is None and quality.blur is None and quality.hole_rate is not None
                assert quality.hole_rate[t] == pytest.approx((frame == 0).mean()) == pytest.approx(4 / 48)
            else:
                assert quality.hole_rate is None and quality.exposure is not None and quality.blur is not None
                grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
                assert quality.exposure[t] == pytest.approx(grey.mean() / 255, rel=1e-6)
                assert quality.blur[t] == pytest.approx(cv2.Laplacian(grey, cv2.CV_64F).var(), rel=1e-6)


def test_faulty_streams_are_stored_whole_and_paired_by_time(faulty: Path, tmp_path: Path) -> None:
    take = ingest(faulty, tmp_path / "take.zarr", CONFIG)
    assert [len(take.stream(name)) for name in CAMERAS] == [20, 17, 20, 20]
    for frame_set in range(FRAMES):
        for number, camera in enumerate(take.rig.cameras):
            frame = take.frame(camera.id, frame_set)
            missing = (camera.id == "left_depth" and frame_set < 3) or (camera.id == "right_rgb" and frame_set == 3)
            if missing:
                assert frame is None
            else:
                assert frame is not None and np.array_equal(frame, picture(camera, number, frame_set))


@pytest.mark.parametrize("frames", [0, 1, 15, 16, 17, 40, 79])
def test_a_killed_ingest_resumes_to_the_same_bytes(
    source: Path, tmp_path: Path, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(source, tmp_path / "whole.zarr", CONFIG)
    path = tmp_path / "take.zarr"
    budget = iter(range(frames))
    measured = ingest_portions.measure_frame

    def killing(frame: np.ndarray, kind: str) -> object:
        if next(budget, None) is None:
            raise Killed
        return measured(frame, kind)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patch:
        patch.setattr(ingest_portions, "measure_frame", killing)
        with pytest.raises(Killed):
            ingest(source, path, CONFIG)
    assert verify_take(path) != []
    with pytest.raises(InputError, match="unfinished"):
        Take.open(path)
    kept = {file: file.stat().st_mtime_ns for file in path.glob("streams/*/frames/c/**/*") if file.is_file()}
    ingest(source, path, CONFIG)
    assert all(file.stat().st_mtime_ns == before for file, before in kept.items())
    assert tree(path) == tree(tmp_path / "whole.zarr")


def test_every_scheduler_makes_the_same_bytes(source: Path, tmp_path: Path) -> None:
    ingest(source, tmp_path / "threads", CONFIG)
    ingest(source, tmp_path / "processes", CONFIG, scheduler="processes")
    assert tree(tmp_path / "processes") == tree(tmp_path / "threads")
    options: dict[str, Any] = {"processes": False, "dashboard_address": None, "protocol": "tcp"}
    with LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster:
        address = cluster.scheduler_address  # pyright: ignore[reportAttributeAccessIssue]
        ingest(source, tmp_path / "cluster", CONFIG, scheduler=address)
    assert tree(tmp_path / "cluster") == tree(tmp_path / "threads")


def test_a_take_on_s3_that_is_killed_resumes_to_the_bytes_of_one_on_a_disk(source: Path, tmp_path: Path) -> None:
    whole = ingest(source, tmp_path / "whole.zarr", CONFIG)
    with s3_server() as bucket, pytest.MonkeyPatch.context() as patch:
        url, measured = f"{bucket}/take.zarr", ingest_portions.measure_frame
        seen = []

        def killing(frame: np.ndarray, kind: str) -> object:
            seen.append(frame)
            if len(seen) > FRAMES:
                raise Killed
            return measured(frame, kind)  # pyright: ignore[reportArgumentType]

        patch.setattr(ingest_portions, "measure_frame", killing)
        with pytest.raises(Killed):
            ingest(source, url, CONFIG)
        patch.undo()
        take = ingest(source, url, CONFIG)
        assert verify_take(take.path) == []
        keys = [key for key in take.place.keys() if not key.startswith("log/")]  # noqa: SIM118 - a place is no mapping
        assert keys == [key for key in whole.place.keys() if not key.startswith("log/")]  # noqa: SIM118
        assert all(take.place.read(key) == whole.place.read(key) for key in keys)


COMMAND = "import sys; from workflows.cli import main; main(['ingest', *sys.argv[1:]])"
SLOWLY = (
    "import time; import capture.ingest_portions as module; measure = module.measure_frame\n"
    "module.measure_frame = lambda *frame: (time.sleep(0.03), measure(*frame))[1]\n"
)
VERY_SLOWLY = SLOWLY.replace("0.03", "0.2")
"""So that a busy machine interrupts it before it is done, too."""


def _command(source: Path, path: Path, before: str = "") -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", before + COMMAND, str(source), str(path)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _wait_for(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


def test_a_command_that_is_killed_three_times_ends_with_the_same_bytes(source: Path, tmp_path: Path) -> None:
    """Killed as the first, the third and the sixth shard appear."""
    ingest(source, tmp_path / "whole.zarr", CONFIG)
    path = tmp_path / "take.zarr"
    for shards in (1, 3, 6):
        child = _command(source, path, SLOWLY)
        _wait_for(lambda count=shards: len(list(path.glob("progress/*_*/*.json"))) >= count, child)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        with pytest.raises(InputError, match="unfinished"):
            Take.open(path)
    child = _command(source, path)
    assert child.wait() == 0
    assert tree(path) == tree(tmp_path / "whole.zarr")


def test_an_interrupted_command_ends_at_once_and_resumes(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    child = _command(source, path, VERY_SLOWLY)
    _wait_for(lambda: any(path.glob("progress/*_*/*.json")), child)
    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, message = child.communicate(timeout=60)
    assert child.returncode == 130 and b"continues where this one stopped" in message
    assert time.monotonic() - started < 10
    assert verify_take(ingest(source, path, CONFIG).path) == []


def test_two_ingests_into_one_take_do_not_run_at_once(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    refusals = []

    def second(done: int, total: int) -> None:
        if not refusals:
            refusals.append(_refusal(source, path))
            refusals.append(_refusal(source, path, overwrite=True))

    take = ingest(source, path, CONFIG, progress=second)
    assert all("a take that nobody is writing; got another ingest" in message for message in refusals)
    assert verify_take(take.path) == []


def test_a_disk_that_is_full_is_reported_and_the_command_resumes(source: Path, tmp_path: Path) -> None:
    """The system refuses files beyond a limit as it refuses them on a full disk."""
    ingest(source, tmp_path / "whole.zarr", CONFIG)
    path = tmp_path / "take.zarr"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    child = _command(source, path, limit)
    _, message = child.communicate(timeout=60)
    assert child.returncode == 2 and b"expected room on the disk" in message and b"it resumes" in message
    ingest(source, path, CONFIG)
    assert tree(path) == tree(tmp_path / "whole.zarr")


def test_touched_files_are_compared_and_changed_ones_refused(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    ingest(source, path, CONFIG)
    before, picture_path = tree(path), source / "left_rgb" / "000003.png"
    os.utime(picture_path, ns=(5, 5))
    ingest(source, path, CONFIG)
    assert tree(path) == before
    log = len(list((path / "log").iterdir()))
    ingest(source, path, CONFIG)
    assert len(list((path / "log").iterdir())) == log  # known to be the same now
    data = bytearray(picture_path.read_bytes())
    data[-20] ^= 1
    picture_path.write_bytes(data)
    assert "another recording" in _refusal(source, path)
    assert tree(path) == before


def test_two_ingests_make_the_same_bytes_and_a_finished_one_is_a_no_op(source: Path, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    first = ingest(source, tmp_path / "a.zarr", CONFIG, progress=lambda done, total: progress.append((done, total)))
    ingest(source, tmp_path / "b.zarr", IngestConfig(reader="image_folder"))
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")
    assert progress[0] == (0, 4 * FRAMES) and progress[-1] == (4 * FRAMES, 4 * FRAMES) and progress == sorted(progress)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "a.zarr").rglob("*")}
    again = ingest(source, tmp_path / "a.zarr", CONFIG)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "a.zarr").rglob("*")} == before
    assert again.digest == first.digest


def test_truth_changes_nothing_and_every_other_file_does(source: Path, tmp_path: Path) -> None:
    digest = ingest(source, tmp_path / "take.zarr", CONFIG).header.source_digest
    (source / "truth").mkdir()
    (source / "truth" / "rig.json").write_text("{}")
    before = tree(tmp_path / "take.zarr")
    assert ingest(source, tmp_path / "take.zarr", CONFIG).header.source_digest == digest
    assert tree(tmp_path / "take.zarr") == before
    seen = {digest}
    for name, content in (
        ("right_rgb/000004.jpg", jpeg_bytes(np.full((48, 64, 3), 77, np.uint8))),
        ("left_depth/000004.png", png_bytes(np.full((48, 64), 640, np.uint16))),
        ("left_rgb/frames.csv", (source / "left_rgb" / "frames.csv").read_bytes().replace(b",19\n", b",20\n")),
        ("recording.json", (source / "recording.json").read_bytes().replace(b"CC0-1.0", b"CC-BY-4")),
        ("rig.json", (source / "rig.json").read_bytes() + b" "),
    ):
        (source / name).write_bytes(content)
        message = _refusal(source, tmp_path / "take.zarr")
        assert "another recording" in message and "--overwrite" in message
        seen.add(ingest(source, tmp_path / f"{len(seen)}.zarr", CONFIG).header.source_digest)
    assert len(seen) == 6
    assert tree(tmp_path / "take.zarr") == before


def test_what_is_in_the_way_is_only_replaced_when_allowed(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    ingest(source, path, CONFIG)
    other = write_recording(tmp_path / "other", replace(plain_script(5), seed=1))
    assert "--overwrite" in _refusal(other, path)
    assert "--overwrite" in _refusal(source, path, replace(CONFIG, licence="another"))
    assert ingest(other, path, CONFIG, overwrite=True).frame_count == 5
    assert verify_take(path) == []
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("x")
    for overwrite in (False, True):
        assert "another path" in _refusal(source, tmp_path / "precious", overwrite=overwrite)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "x"


def test_a_take_of_another_schema_version_is_refused(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    ingest(source, path, CONFIG)
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["schema_version"] = 99
    (path / "zarr.json").write_text(json.dumps(document))
    message = _refusal(source, path)
    assert "schema version 2; got version 99" in message and "--overwrite" in message
    ingest(source, path, CONFIG, overwrite=True)
    assert verify_take(path) == []


def _broken(source: Path, fault: str) -> tuple[Path, str]:
    """Break a recording; the words that the message must hold."""
    picture_path = source / "left_rgb" / "000013.png"
    if fault == "missing picture":
        picture_path.unlink()
    elif fault == "truncated picture":
        picture_path.write_bytes(picture_path.read_bytes()[:500])
    elif fault == "undecodable picture":
        picture_path.write_bytes(b"not a picture")
    elif fault == "empty folder":
        shutil.rmtree(source)
        source.mkdir()
        return source, "empty folder"
    elif fault == "no such folder":
        return source.parent / "absent", "absent, which does not exist"
    elif fault == "unknown camera":
        RecordingCard("s", "l", "c", (*CAMERAS, "ceiling")).write(source)
        return source, "ceiling"
    elif fault == "truncated rig":
        (source / "rig.json").write_bytes((source / "rig.json").read_bytes()[:200])
        return source, "rig.json"
    return source, str(picture_path)


@pytest.mark.parametrize(
    "fault",
    [
        "missing picture",
        "truncated picture",
        "undecodable picture",
        "empty folder",
        "no such folder",
        "unknown camera",
        "truncated rig",
    ],
)
def test_each_fault_is_named_and_leaves_nothing_that_passes_for_a_take(
    source: Path, tmp_path: Path, fault: str
) -> None:
    broken, words = _broken(source, fault)
    path = tmp_path / "take.zarr"
    assert words in _refusal(broken, path)
    with pytest.raises(InputError):
        Take.open(path)
    assert verify_take(path) != []


def test_a_repaired_picture_lets_the_ingest_go_on(source: Path, tmp_path: Path) -> None:
    picture_path = source / "left_rgb" / "000013.png"
    whole = picture_path.read_bytes()
    picture_path.write_bytes(whole[:500])
    _refusal(source, tmp_path / "take.zarr")
    picture_path.write_bytes(whole)
    # The broken file was another recording: its unfinished take is in the way, not silently mixed in.
    assert "--overwrite" in _refusal(source, tmp_path / "take.zarr")
    assert verify_take(ingest(source, tmp_path / "take.zarr", CONFIG, overwrite=True).path) == []


@pytest.mark.parametrize(("unit_m", "got"), [(1.0, r"65\d m"), (1e-2, r"6\.\d+ m"), (1e-5, r"0\.006\d+ m")])
def test_a_wrong_depth_unit_is_refused_with_the_one_that_fits(
    source: Path, tmp_path: Path, unit_m: float, got: str
) -> None:
    rig = synthetic_rig()
    cameras = tuple(
        replace(camera, depth_unit_m=unit_m) if camera.kind == "depth" else camera for camera in rig.cameras
    )
    write_rig_json(source, Rig(cameras))
    message = _refusal(source, tmp_path / "take.zarr")
    assert re.search(f"from 0.1 to 3.0 m; got {got} for left_depth", message)
    assert re.search(r"depth_unit_m of left_depth in the rig file: 0\.001 would put it at 0\.65\d? m", message)
    assert not (tmp_path / "take.zarr").exists()


def test_a_rig_file_replaces_the_calibration(source: Path, tmp_path: Path) -> None:
    rig = synthetic_rig()
    # In another order, which stays the recording's.
    better = Rig(tuple(replace(camera, K=camera.K * [[1.01], [1.01], [1]]) for camera in reversed(rig.cameras)))
    config = IngestConfig(rig=write_rig_json(tmp_path / "rigs", better))
    take = ingest(source, tmp_path / "take.zarr", config)
    assert take.rig.ids == rig.ids
    for camera_id in rig.ids:
        assert np.array_equal(take.rig[camera_id].K, better[camera_id].K)
    moved = IngestConfig(rig=write_rig_json(tmp_path / "moved", better))
    assert ingest(source, tmp_path / "take.zarr", moved).digest == take.digest
    assert "other settings" in _refusal(source, tmp_path / "take.zarr")


def test_a_rig_file_of_other_cameras_is_refused(source: Path, tmp_path: Path) -> None:
    rig, path = synthetic_rig(), tmp_path / "take.zarr"
    cases = {
        "without right_rgb": Rig(tuple(camera for camera in rig.cameras if camera.id != "right_rgb")),
        "64 x 48 px for left_rgb; got 48 x 64 px": Rig(
            (replace(rig.cameras[0], image_size_hw=(64, 48)), *rig.cameras[1:])
        ),
        "a rgb camera left_rgb; got a depth camera": Rig(
            (replace(rig.cameras[0], kind="depth", depth_unit_m=1e-3), *rig.cameras[1:])
        ),
        "a calibration of the recorded cameras": Rig((replace(rig.cameras[0], id="ceiling"),)),
    }
    for words, other in cases.items():
        assert words in _refusal(source, path, IngestConfig(rig=write_rig_json(tmp_path / "rigs", other)))
    assert "absent.json" in _refusal(source, path, IngestConfig(rig=tmp_path / "absent.json"))
    assert not path.exists()


def test_a_rig_of_a_larger_studio_serves_and_says_what_was_not_recorded(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("workflows.ingesting.say", said.append)
    rig = synthetic_rig()
    larger = Rig((*rig.cameras, replace(rig.cameras[0], id="ceiling")))
    take = ingest(source, tmp_path / "take.zarr", IngestConfig(rig=write_rig_json(tmp_path / "rigs", larger)))
    assert take.rig.ids == rig.ids and "  in rig.json but not recorded: ceiling" in said


def test_a_recording_that_changes_meanwhile_is_refused(source: Path, tmp_path: Path) -> None:
    def change(done: int, total: int) -> None:
        if done == total:
            (source / "left_rgb" / "000000.png").write_bytes(png_bytes(np.zeros((48, 64, 3), np.uint8)))

    with pytest.raises(InputError, match="changes in"):
        ingest(source, tmp_path / "take.zarr", CONFIG, progress=change)
    with pytest.raises(InputError, match="unfinished"):
        Take.open(tmp_path / "take.zarr")


def test_a_full_disk_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from storage.places import LocalPlace

    write = LocalPlace.write

    def full(self: LocalPlace, key: str, data: bytes, durable: bool = False) -> None:
        if "/c/" in key and "left_depth" in key:
            raise InputError(f"room to write {key}", "no space left on device", "free some space")
        write(self, key, data, durable)

    with monkeypatch.context() as patch:
        patch.setattr(LocalPlace, "write", full)
        assert "no space left" in _refusal(source, tmp_path / "take.zarr")
    assert verify_take(ingest(source, tmp_path / "take.zarr", CONFIG).path) == []


def test_a_real_portrait_becomes_a_take_of_one_frame_set(real_data: Path, tmp_path: Path) -> None:
    portrait = real_data / "rgbd" / "truedepth_portraits" / "jpeg_depth_data.jpg"
    take = ingest(portrait, tmp_path / "take.zarr", CONFIG)
    assert take.frame_count == 1 and take.sync.index.tolist() == [[0, 0]]
    assert take.header.reader == "truedepth" and take.header.device_model == "iPhone XS"
    assert (take.header.subject_id, take.header.licence) == ("unknown", "not stated")
