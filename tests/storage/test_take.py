"""What a finished take gives back, to mien and to plain zarr-python."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

from geometry.errors import InputError
from storage.schema import SCHEMA_VERSION
from storage.take import Take
from tests.storage.synthetic_take import FRAME_COUNT, HEADER, pixels, synchrony, synthetic_rig, tree, write_take


@pytest.fixture(scope="module", params=["local", "memory"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = "memory://takes/one.zarr" if request.param == "memory" else str(tmp_path_factory.mktemp("take") / "one.zarr")
    write_take(path)
    return path


def test_every_pixel_and_clock_comes_back(address: str) -> None:
    take = Take.open(address)
    assert take.header == HEADER
    assert take.rig.ids == synthetic_rig().ids
    assert take.stream("colour").frame(0).flags.writeable
    for camera_id in take.rig.ids:
        stream = take.stream(camera_id)
        assert len(stream) == FRAME_COUNT
        np.testing.assert_array_equal(stream.frames[...], pixels(camera_id))
        for t in (0, 15, 16, FRAME_COUNT - 1):
            assert stream.frame(t).dtype == pixels(camera_id).dtype
            np.testing.assert_array_equal(stream.frame(t), pixels(camera_id)[t])
        np.testing.assert_array_equal(stream.frames[14:18], pixels(camera_id)[14:18])
    colour, depth = take.stream("colour"), take.stream("depth")
    assert colour.device_ns.dtype == np.int64 and colour.device_ns[2] == 66_666_666
    assert colour.host_ns is not None and depth.quality.hole_rate is not None
    np.testing.assert_array_equal(colour.host_ns, colour.device_ns + 5)
    np.testing.assert_array_equal(depth.frame_counter, np.arange(FRAME_COUNT))
    assert colour.frame_counter is None and depth.host_ns is None and depth.trigger_id is None
    assert colour.quality.hole_rate is None and depth.quality.exposure is None
    np.testing.assert_allclose(depth.quality.hole_rate, np.linspace(0, 1, FRAME_COUNT), atol=1e-7)


def test_depth_is_in_metres(address: str) -> None:
    depth = Take.open(address).stream("depth").depth_m(3)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, pixels("depth")[3] * 0.001, rtol=1e-6)
    with pytest.raises(InputError, match="depth camera"):
        Take.open(address).stream("colour").depth_m(3)


def test_frame_sets_go_through_the_sync_index(address: str) -> None:
    take = Take.open(address)
    assert take.frame_count == FRAME_COUNT
    assert take.sync.index.dtype == np.int32 and take.sync.time_ns.dtype == np.int64
    np.testing.assert_array_equal(take.sync.index, synchrony().index)
    np.testing.assert_array_equal(take.frame("depth", 3), pixels("depth")[3])
    assert take.frame("depth", 4) is None and take.depth_m("depth", 4) is None
    np.testing.assert_array_equal(take.frame("depth", 9), pixels("depth")[8])
    np.testing.assert_array_equal(take.frame("colour", 9), pixels("colour")[9])


@pytest.mark.parametrize("t", [-1, FRAME_COUNT])
def test_frames_that_do_not_exist_are_named(address: str, t: int) -> None:
    take = Take.open(address)
    with pytest.raises(InputError, match=f"frame {t}"):
        take.stream("colour").frame(t)
    with pytest.raises(InputError, match=f"frame set {t}"):
        take.frame("colour", t)
    with pytest.raises(InputError, match="'nose'"):
        take.frame("nose", 0)


@pytest.mark.filterwarnings("error::zarr.errors.ZarrUserWarning")
def test_plain_zarr_reads_the_take(address: str) -> None:
    group = zarr.open_group(address, mode="r")
    for camera_id in ("colour", "depth"):
        array = group[f"streams/{camera_id}/frames"]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(array[...], pixels(camera_id))
        assert array.shards == (16, *array.shape[1:]) and array.chunks == (1, *array.shape[1:])
    arrays = {name: node for name, node in group.members(max_depth=None) if isinstance(node, zarr.Array)}
    assert len(arrays) == 11
    named = {name: array.metadata.dimension_names for name, array in arrays.items()}  # pyright: ignore[reportAttributeAccessIssue]
    assert all(None not in (names or [None]) for names in named.values())
    assert named["streams/colour/frames"] == ("frame", "y", "x", "rgb")
    assert group.attrs["subject_id"] == "subject-1" and group.attrs["schema_version"] == SCHEMA_VERSION
    assert arrays["sync/index"].attrs["labels"] == {"camera": ["colour", "depth"]}


def test_a_take_is_read_by_many_threads_and_crosses_processes(address: str) -> None:
    take = pickle.loads(pickle.dumps(Take.open(address)))
    wanted = [(camera_id, t) for t in range(FRAME_COUNT) for camera_id in take.rig.ids] * 3
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda item: take.stream(item[0]).frame(item[1]), wanted))
    expected = {camera_id: pixels(camera_id) for camera_id in take.rig.ids}
    assert all(
        np.array_equal(frame, expected[camera_id][t]) for frame, (camera_id, t) in zip(frames, wanted, strict=True)
    )


def test_a_frame_costs_one_chunk(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Take.open(address).stream("colour")
    stream.frame(0)
    read = []
    place = type(stream.place)
    original = place.read
    monkeypatch.setattr(place, "read", lambda self, *span: read.append(span) or original(self, *span))
    stream.frame(5)
    ((_, start, stop),) = read
    assert 0 < stop - start < 2 * stream.frame(5).nbytes


def test_what_is_no_finished_take_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mien ingest"):
        Take.open(tmp_path / "absent.zarr")
    with pytest.raises(InputError):
        Take.open("nosuchprotocol://bucket/take")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(InputError, match="other Zarr data"):
        Take.open(tmp_path / "other.zarr")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="expected a take"):
        Take.open(tmp_path / "file")


def _edit_root(path: Path, **changes: object) -> None:
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"] |= changes
    (path / "zarr.json").write_text(json.dumps(root))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 99}, f"schema version {SCHEMA_VERSION}"),
        ({"state": "ingesting"}, "mien ingest /recordings/1"),
        ({"state": "clearing"}, "mien ingest /recordings/1"),
        ({"state": "fine"}, "state 'fine'"),
        ({"take_id": 3}, "damage"),
        ({"ingest": {"config": {}, "streams": {"colour": {"frame_count": -1}}}}, "damage"),
        ({"ingest": {"config": {}, "streams": {"colour": {"frame_count": "9"}}}}, "damage"),
        ({"ingest": {"config": {}, "parts": [], "streams": {"colour": {"frame_count": 9}}}}, "for depth"),
        ({"ingest": {"config": {}, "parts": ["odd"], "streams": {}}}, "damage"),
        ({"ingest": {"config": {}, "parts": [], "streams": {"colour": {"frame_count": 9, "codec": "mp3"}}}}, "codec"),
        ({"ingest": None}, "damage"),
    ],
)
def test_a_wrong_root_is_refused_in_words(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write_take(tmp_path / "take.zarr")
    _edit_root(tmp_path / "take.zarr", **changes)
    with pytest.raises(InputError, match=message):
        Take.open(tmp_path / "take.zarr")


def test_claims_of_damaged_metadata_allocate_nothing(tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    write_take(path)
    rows = 10**12
    for folder in ("sync/time_ns", "sync/index", "streams/colour/device_ns"):
        metadata = json.loads((path / folder / "zarr.json").read_text())
        metadata["shape"][0] = rows
        (path / folder / "zarr.json").write_text(json.dumps(metadata))
    take = Take.open(path)
    with pytest.raises(InputError):
        _ = take.sync
    with pytest.raises(InputError):
        _ = take.stream("colour").device_ns


def test_a_missing_or_damaged_chunk_is_an_error_and_never_zeros(tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    write_take(path)
    shard = path / "streams/colour/frames/c/1/0/0/0"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    stream = Take.open(path).stream("colour")
    np.testing.assert_array_equal(stream.frame(17), pixels("colour")[17])
    with pytest.raises(InputError, match="crc32c"):
        stream.frame(16)
    shard.write_bytes(whole[:-40])
    with pytest.raises(InputError):
        Take.open(path).stream("colour").frame(17)
    shard.unlink()
    with pytest.raises(InputError, match="missing"):
        Take.open(path).stream("colour").frame(17)


def test_the_digest_follows_source_and_settings(tmp_path: Path) -> None:
    write_take(tmp_path / "a.zarr")
    write_take(tmp_path / "b.zarr")
    write_take(tmp_path / "c.zarr", config={"limit": 3})
    a, b, c = (Take.open(tmp_path / f"{name}.zarr").digest for name in "abc")
    assert a == b != c
    assert tree(tmp_path / "a.zarr") == tree(tmp_path / "b.zarr")
