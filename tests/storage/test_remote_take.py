"""A take in S3 is the take on disk: written, killed, resumed, checked and read over HTTP."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from geometry.errors import InputError
from geometry.rigs import Rig
from storage.ingest_writer import StreamPlan, TakeWriter
from storage.integrity import verify_take
from storage.places import place_of
from storage.provenance import Provenance
from storage.schema import ResultArray
from storage.take import Sync, Take
from tests.storage.s3_server import counted_requests
from tests.storage.synthetic_studio import (
    CODECS_OF_CAMERAS,
    FRAMES,
    pictures,
    sound,
    source_files,
    studio_rig,
    write_studio,
)
from tests.storage.synthetic_take import HEADER, Killed, tree, write_take
from tests.storage.zarr_registration import register_codecs

register_codecs()


def remote_tree(path: str) -> dict[str, bytes]:
    place = place_of(path)
    return {key: place.read(key) for key in place.sizes() if not key.startswith("log/")}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("local") / "take.zarr"
    write_studio(path)
    return tree(path)


@pytest.fixture(scope="module")
def remote(bucket: str) -> str:
    write_studio(f"{bucket}/whole.zarr")
    return f"{bucket}/whole.zarr"


def test_a_killed_ingest_into_s3_resumes_to_the_bytes_on_disk(s3_path: str, local: dict[str, bytes]) -> None:
    for shards in (5, 4):
        with pytest.raises(Killed):
            write_studio(s3_path, kill_after_shards=shards)
        with pytest.raises(InputError, match="resumes"):
            Take.open(s3_path)
    writer = TakeWriter.begin(
        s3_path, HEADER, studio_rig(), {n: StreamPlan(FRAMES, codec=c) for n, c in CODECS_OF_CAMERAS.items()}, {}
    )
    assert writer is not None
    assert sum(len(writer.pending_shards(name)) for name in CODECS_OF_CAMERAS) == 14 - 9
    writer.close()
    assert write_studio(s3_path) and not write_studio(s3_path)
    assert remote_tree(s3_path) == local
    assert verify_take(s3_path) == []


def test_everything_is_read_back(remote: str) -> None:
    take = pickle.loads(pickle.dumps(Take.open(remote)))
    wanted = [(name, t) for name in CODECS_OF_CAMERAS if name != "lossy" for t in range(FRAMES)]
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(lambda item: take.stream(item[0]).frame(item[1]), wanted))
    for frame, (name, t) in zip(frames, wanted, strict=True):
        np.testing.assert_array_equal(frame, pictures(name)[t])
    np.testing.assert_array_equal(take.audio("boom").samples[1000:2000], sound()[1000:2000])
    assert take.audio_ids == ("boom", "silence") and take.imu_ids == ("imu-0",)
    assert take.sources == tuple(sorted(source_files()))
    assert take.stream("colour").quality.exposure is None
    frames_in_zarr: Any = zarr.open_group(remote, mode="r")["streams/jpegs/frames"]
    np.testing.assert_array_equal(frames_in_zarr[5], pictures("jpegs")[5])


def test_another_process_reads_it_too(remote: str) -> None:
    program = f"from storage.take import Take; print(Take.open({remote!r}).stream('depth').frame(7).sum())"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(answer.stdout) == pictures("depth")[7].sum()


def test_results_are_written_and_seen(s3_path: str) -> None:
    write_take(s3_path)
    take = Take.open(s3_path)
    take.results.write("fit", "default", {"a": ResultArray(np.arange(5), ("x",))}, Provenance({}, {}))
    assert Take.open(s3_path).results.read("fit")["a"][...].tolist() == [0, 1, 2, 3, 4]
    array: Any = zarr.open_group(s3_path, mode="r")["results/fit/default/a"]
    assert array[...].tolist() == [0, 1, 2, 3, 4]
    take.results.remove("fit")
    assert take.results.steps() == [] and verify_take(s3_path) == []


def test_damage_is_found_and_named(s3_path: str) -> None:
    write_take(s3_path)
    place = place_of(s3_path)
    flipped, gone = "streams/depth/frames/c/1/0/0", "sync/index/c/0/0"
    data = place.read(flipped)
    place.write(flipped, data[:7] + bytes([data[7] ^ 1]) + data[8:])
    place.remove(gone)
    assert {fault.path for fault in verify_take(s3_path)} == {flipped, gone}


@pytest.fixture(scope="module")
def large(bucket: str) -> str:
    """A take of 93 cameras."""
    path = f"{bucket}/large.zarr"
    camera = studio_rig()["colour"]
    rig = Rig(tuple(replace(camera, id=f"camera-{number:02d}") for number in range(93)))
    writer = TakeWriter.begin(path, HEADER, rig, {name: StreamPlan(2, codec="jpegxl") for name in rig.ids}, {})
    assert writer is not None
    with writer:
        for name in rig.ids:
            writer.write_shard(name, range(2), pictures("colour")[:2])
            writer.write_clock(name, np.arange(2))
        writer.write_sync(Sync(np.arange(2), np.zeros((2, 93), np.int32)))
        writer.finish()
    return path


def test_opening_a_take_of_93_cameras_costs_few_requests(large: str) -> None:
    with counted_requests() as counts:
        take = Take.open(large)
        assert len(take.rig.cameras) == 93
    assert counts.total() == 2, counts
    with counted_requests() as counts:
        assert all(take.stream(name).frames.shape == (2, 24, 40, 3) for name in take.rig.ids)
        assert take.frame_count == 2
    # All streams' metadata at once; of the sync its metadata, its times and its index.
    assert counts.total() == 1 + 3, counts


def test_a_frame_costs_one_request_and_its_shards_index_two_more(large: str) -> None:
    stream = Take.open(large).stream("camera-50")
    assert stream.frames.shape[0] == 2
    with counted_requests() as counts:
        stream.frame(0)
    assert counts.total() == 3, counts
    with counted_requests() as counts:
        stream.frame(1)
    assert counts.total() == 1, counts


def test_a_shard_costs_one_request_to_write(s3_path: str) -> None:
    rig = Rig((studio_rig()["colour"],))
    writer = TakeWriter.begin(s3_path, HEADER, rig, {"colour": StreamPlan(FRAMES)}, {})
    assert writer is not None
    with writer, counted_requests() as counts:
        writer.write_shard("colour", range(16), pictures("colour")[:16])
    assert counts["put_object"] == 1 and counts.total() - counts["get_object"] - counts["delete_objects"] <= 3, counts


def test_what_does_not_answer_is_named_and_nothing_is_made(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="make the bucket"):
        write_studio("s3://nobodys-bucket/take.zarr")
    with pytest.raises(InputError, match="a take"):
        Take.open(f"{bucket}/absent.zarr")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    import s3fs

    from storage import remote_place

    s3fs.S3FileSystem.clear_instance_cache()
    remote_place._file_system.cache_clear()
    try:
        with pytest.raises(InputError, match=r"a place that answers.*EndpointConnectionError.*resumes"):
            Take.open("s3://takes/take.zarr")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        remote_place._file_system.cache_clear()


def test_a_local_folder_by_url_is_a_local_take(tmp_path: Path) -> None:
    assert write_studio(f"file://{tmp_path}/take.zarr")
    assert Take.open(tmp_path / "take.zarr").frame_count == FRAMES
