"""A take is written whole or not at all, whatever ends the ingest."""

import errno
import os
import pickle
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry.errors import InputError
from geometry.rigs import Rig
from storage.ingest_writer import StreamPlan, TakeWriter
from storage.integrity import verify_take
from storage.places import LocalPlace
from storage.take import FrameQuality, Sync, Take
from storage.take_header import TakeRoot
from tests.storage.synthetic_take import (
    CONFIG,
    FRAME_COUNT,
    HEADER,
    PLANS,
    Killed,
    pixels,
    synchrony,
    synthetic_rig,
    tree,
    write_take,
)


def _begin(path: Path, **changes: Any) -> TakeWriter | None:
    arguments = {"header": HEADER, "rig": synthetic_rig(), "streams": PLANS, "config": CONFIG} | changes
    return TakeWriter.begin(path, **arguments)


@pytest.fixture
def uninterrupted(tmp_path: Path) -> dict[str, bytes]:
    write_take(tmp_path / "uninterrupted.zarr")
    return tree(tmp_path / "uninterrupted.zarr")


@pytest.mark.parametrize("frames", [0, 1, 16, 17, 36, 37, 60, 73])
def test_a_killed_ingest_resumes_to_the_same_bytes(
    tmp_path: Path, uninterrupted: dict[str, bytes], frames: int
) -> None:
    path = tmp_path / "take.zarr"
    with pytest.raises(Killed):
        write_take(path, kill_after_frames=frames)
    with pytest.raises(InputError, match="mien ingest /recordings/1"):
        Take.open(path)
    assert verify_take(path) != []
    writer = _begin(path)
    assert writer is not None
    # Whole shards stay; 37 frames make shards of 16, 16 and 5.
    done = sum(1 for last in (16, 32, 37, 53, 69) if frames >= last)
    assert sum(len(writer.pending_shards(camera_id)) for camera_id in writer.rig.ids) == 6 - done
    writer.close()
    assert write_take(path) is not None
    assert tree(path) == uninterrupted
    assert verify_take(path) == []


def test_what_a_dead_writer_or_a_power_cut_left_is_made_anew(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    path = tmp_path / "take.zarr"
    with pytest.raises(Killed):
        write_take(path, kill_after_frames=40)
    shard = path / "streams/colour/frames/c/0/0/0/0"
    (shard.parent / "0.0123.partial").write_bytes(shard.read_bytes()[:500])
    shard.write_bytes(shard.read_bytes()[:700])
    (path / "streams/colour/frames/c/1/0/0/0").write_bytes(b"")
    write_take(path)
    assert tree(path) == uninterrupted


def test_a_kill_before_the_first_shard_cannot_mix_two_takes(
    tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old take's shards lie where the new one's will; the state tells them apart."""
    path = tmp_path / "take.zarr"
    write_take(path, header=replace(HEADER, source_digest="older"))

    def killed(self: LocalPlace, key: str) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LocalPlace, "remove", killed)
        with pytest.raises(Killed):
            write_take(path, overwrite=True)
    with pytest.raises(InputError, match="unfinished"):
        Take.open(path)
    writer = _begin(path)
    assert writer is not None
    assert [len(writer.pending_shards(camera_id)) for camera_id in writer.rig.ids] == [3, 3]
    writer.close()
    write_take(path)
    assert tree(path) == uninterrupted


def test_shards_may_be_written_by_many_hands_in_any_order(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    path = tmp_path / "take.zarr"
    writer = _begin(path)
    assert writer is not None
    shards = [(camera_id, frames) for camera_id in writer.rig.ids for frames in writer.pending_shards(camera_id)]
    hands = [pickle.loads(pickle.dumps(writer)) for _ in shards]
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(hand.write_shard, camera_id, frames, pixels(camera_id)[frames.start : frames.stop])
            for hand, (camera_id, frames) in zip(hands, reversed(shards), strict=True)
        ]
    assert [job.result() for job in jobs] == [None] * 6
    writer.close()
    write_take(path)
    assert tree(path) == uninterrupted


def test_the_same_ingest_again_is_a_no_op(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    path = tmp_path / "uninterrupted.zarr"
    assert write_take(path) is None
    assert tree(path) == uninterrupted
    assert write_take(path, overwrite=True) is not None
    assert tree(path) == uninterrupted


@pytest.mark.parametrize(
    "changes", [{"header": replace(HEADER, source_digest="other")}, {"config": CONFIG | {"limit": 5}}]
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_take_is_in_the_way_until_overwrite(tmp_path: Path, changes: dict[str, Any], finished: bool) -> None:
    path = tmp_path / "take.zarr"
    if finished:
        write_take(path)
    else:
        with pytest.raises(Killed):
            write_take(path, kill_after_frames=20)
    before = tree(path)
    with pytest.raises(InputError, match="--overwrite"):
        write_take(path, **changes)
    assert tree(path) == before
    write_take(path, overwrite=True, **changes)
    write_take(tmp_path / "fresh.zarr", **changes)
    assert tree(path) == tree(tmp_path / "fresh.zarr")


def test_a_finished_take_of_another_rig_or_consent_is_no_no_op(tmp_path: Path) -> None:
    write_take(tmp_path / "take.zarr")
    moved = Rig(tuple(replace(camera, serial="B8") for camera in synthetic_rig().cameras))
    with pytest.raises(InputError, match=r"another rig.*--overwrite"):
        write_take(tmp_path / "take.zarr", rig=moved)
    with pytest.raises(InputError, match=r"another consent.*--overwrite"):
        write_take(tmp_path / "take.zarr", header=replace(HEADER, consent="none"))
    assert write_take(tmp_path / "take.zarr", header=replace(HEADER, source="/moved", commit="c2")) is None


def test_an_unfinished_ingest_of_other_code_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    with pytest.raises(Killed):
        write_take(path, kill_after_frames=20)
    newer = replace(HEADER, commit="c2")
    writer = _begin(path, header=newer)
    assert writer is not None and len(writer.pending_shards("colour")) == 3
    writer.close()
    write_take(path, header=newer)
    assert Take.open(path).header.commit == "c2"


@pytest.mark.parametrize("overwrite", [True, False])
def test_what_is_no_take_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_bytes(b"dear")
    with pytest.raises(InputError, match="choose another path"):
        write_take(tmp_path / "holiday", overwrite=overwrite)
    assert [path.name for path in (tmp_path / "holiday").rglob("*")] == ["photo.jpg"]
    (tmp_path / "file").write_text("dear")
    with pytest.raises(InputError):
        write_take(tmp_path / "file", overwrite=overwrite)
    assert (tmp_path / "file").read_text() == "dear"


def test_two_ingests_never_write_one_take(tmp_path: Path) -> None:
    first = _begin(tmp_path / "take.zarr")
    assert first is not None
    with pytest.raises(InputError, match="another ingest"):
        _begin(tmp_path / "take.zarr")
    first.close()
    second = _begin(tmp_path / "take.zarr")
    assert second is not None
    second.close()


def test_a_full_disk_is_told_and_the_take_stays_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "take.zarr"
    synced: list[int] = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="free space there"):
            write_take(path)
    assert [name for name in tree(path) if name.endswith(".partial")] == []
    with pytest.raises(InputError, match="unfinished"):
        Take.open(path)
    assert write_take(path) is not None
    assert verify_take(path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_disk_that_is_really_full_is_told_and_resumed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write_take(tmp_path_factory.mktemp("large") / "take.zarr")
    uninterrupted = tree(tmp_path_factory.getbasetemp() / "large0" / "take.zarr")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        with pytest.raises(InputError, match="No space left"):
            write_take(tmp_path / "take.zarr")
        with pytest.raises(InputError):
            Take.open(tmp_path / "take.zarr")
        subprocess.run(["mount", "-o", "remount,size=4m", str(tmp_path)], check=True)
        with (
            TakeWriter.begin(tmp_path / "take.zarr", HEADER, synthetic_rig(), PLANS, CONFIG) or nullcontext() as writer
        ):
            assert writer is not None
            assert 0 < sum(len(writer.pending_shards(name)) for name in writer.rig.ids) < 6
        write_take(tmp_path / "take.zarr")
        assert tree(tmp_path / "take.zarr") == uninterrupted
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_images_unlike_the_rig_are_named(tmp_path: Path) -> None:
    writer = _begin(tmp_path / "take.zarr")
    assert writer is not None
    frames = writer.pending_shards("colour")[1]
    images = list(pixels("colour")[frames.start : frames.stop])
    images[2] = images[2].transpose(1, 0, 2)
    with pytest.raises(InputError, match="frame 18 of colour"):
        writer.write_shard("colour", frames, images)
    with pytest.raises(InputError, match="uint16"):
        writer.write_shard("depth", frames, pixels("depth")[frames.start : frames.stop].astype(np.int32))
    with pytest.raises(ValueError, match="15 images"):
        writer.write_shard("colour", frames, images[:2] + images[3:])
    with pytest.raises(ValueError, match="no shard"):
        writer.write_shard("colour", range(3, 9), images)
    assert len(writer.pending_shards("colour")) == 3
    writer.close()


def test_nothing_unfinished_is_called_finished(tmp_path: Path) -> None:
    writer = _begin(tmp_path / "take.zarr")
    assert writer is not None
    for camera_id in writer.rig.ids:
        for frames in writer.pending_shards(camera_id):
            writer.write_shard(camera_id, frames, pixels(camera_id)[frames.start : frames.stop])
    clock = np.arange(FRAME_COUNT)
    writer.write_clock("colour", clock, clock)
    with pytest.raises(ValueError, match=r"device_ns.*sync/index"):
        writer.finish()
    with pytest.raises(ValueError, match="frame_counter"):
        writer.write_clock("depth", clock)
    with pytest.raises(ValueError, match="host_ns"):
        writer.write_clock("depth", clock, clock, clock)
    wrong = synchrony().index.copy()
    wrong[5, 1] = FRAME_COUNT
    with pytest.raises(ValueError, match="frame 37 of depth in frame set 5"):
        writer.write_sync(Sync(synchrony().time_ns, wrong))
    assert TakeRoot.read(writer.place).state == "ingesting"
    writer.close()


def test_a_camera_that_recorded_nothing_has_an_empty_stream(tmp_path: Path) -> None:
    rig = Rig(synthetic_rig().cameras[:1])
    writer = _begin(tmp_path / "take.zarr", rig=rig, streams={"colour": StreamPlan(0)})
    assert writer is not None and writer.pending_shards("colour") == []
    writer.write_clock("colour", np.zeros(0, np.int64))
    writer.write_quality("colour", FrameQuality())
    writer.write_sync(Sync(np.zeros(2, np.int64), np.full((2, 1), -1, np.int32)))
    writer.finish()
    take = Take.open(tmp_path / "take.zarr")
    assert len(take.stream("colour")) == 0 and take.frame("colour", 1) is None
    assert verify_take(tmp_path / "take.zarr") == []


def test_names_that_would_leave_the_take_are_refused(tmp_path: Path) -> None:
    camera = replace(synthetic_rig().cameras[0], id="../../etc")
    with pytest.raises(InputError, match="a name for a camera"):
        _begin(tmp_path / "take.zarr", rig=Rig((camera,)), streams={"../../etc": StreamPlan(1)})
    with pytest.raises(InputError, match="a stream for each camera"):
        _begin(tmp_path / "take.zarr", streams={"colour": StreamPlan(1)})
    assert list(tmp_path.iterdir()) == []
