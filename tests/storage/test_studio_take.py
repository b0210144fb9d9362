"""A take of everything a studio records: written, killed, read, checked, opened by zarr-python."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from geometry.errors import InputError
from storage.ingest_writer import SourceFile, TakeWriter
from storage.integrity import verify_take
from storage.places import LocalPlace
from storage.provenance import Provenance
from storage.schema import ResultArray
from storage.sources import read_sources, write_sources
from storage.take import Take
from tests.storage.synthetic_studio import (
    CODECS_OF_CAMERAS,
    FRAMES,
    PLANS,
    RATE_HZ,
    SAMPLE_COUNT,
    SYNC_ATTRIBUTES,
    bitstreams,
    pictures,
    sound,
    source_files,
    studio_rig,
    write_studio,
)
from tests.storage.synthetic_take import HEADER, Killed, tree
from tests.storage.zarr_registration import register_codecs

register_codecs()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("studio") / "take.zarr"
    assert write_studio(path)
    return path


@pytest.fixture
def take_path(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "take.zarr"))


def test_every_kind_of_camera_and_codec_gives_its_pictures_back(whole: Path) -> None:
    take = Take.open(whole)
    for name, codec in CODECS_OF_CAMERAS.items():
        stream = take.stream(name)
        assert len(stream) == FRAMES and stream.frames.spec.codec == codec
        if codec == "jpegxl_lossy":
            assert 0 < np.abs(stream.frames[...].astype(int) - pictures(name)).mean() < 4
        else:
            np.testing.assert_array_equal(stream.frames[...], pictures(name))
    assert take.stream("lenslets").frames.folder == "light_field/lenslets"
    assert take.stream("infrared").frame(3).dtype == np.uint16
    with pytest.raises(InputError, match="depth camera"):
        take.stream("infrared").depth_m(0)


def test_zarr_python_opens_all_of_it(whole: Path) -> None:
    take, group = Take.open(whole), zarr.open_group(whole, mode="r")
    for name in CODECS_OF_CAMERAS:
        frames: Any = group["light_field/lenslets" if name == "lenslets" else f"streams/{name}/frames"]
        np.testing.assert_array_equal(frames[...], take.stream(name).frames[...])
    np.testing.assert_array_equal(np.asarray(group["audio/boom/samples"]), sound())
    assert group["audio/boom"].attrs["rate_hz"] == RATE_HZ and group["sync"].attrs["reference"] == "colour"
    assert group["sources/sizes"].metadata.dimension_names == ("file",)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_portable_stream_needs_nothing_of_mien(whole: Path) -> None:
    (shard,) = json.loads((whole / "streams/portable/frames/zarr.json").read_text())["codecs"]
    assert shard["name"] == "sharding_indexed"
    inner = [*shard["configuration"]["codecs"], *shard["configuration"]["index_codecs"]]
    assert {codec["name"] for codec in inner} == {"bytes", "blosc", "crc32c"}


def test_a_jpeg_lies_in_the_take_as_the_camera_sent_it(whole: Path) -> None:
    shard = (whole / "streams/jpegs/frames/c/0/0/0/0").read_bytes()
    assert all(bitstream in shard for bitstream in bitstreams()[:16])
    assert len(shard) == sum(map(len, bitstreams()[:16])) + 16 * (4 + 16) + 4


def test_sound_inertial_sensors_sources_and_sync_come_back(whole: Path) -> None:
    take = Take.open(whole)
    assert take.audio_ids == ("boom", "silence") and take.imu_ids == ("imu-0",)
    audio = take.audio("boom")
    assert (audio.rate_hz, audio.camera, audio.samples.shape) == (RATE_HZ, "colour", (SAMPLE_COUNT, 2))
    np.testing.assert_array_equal(audio.samples[...], sound())
    np.testing.assert_array_equal(audio.samples[262_000:262_300], sound()[262_000:262_300])
    assert audio.anchors.tolist() == [[0, 1_000_000_000], [48_000, 2_000_010_000]]
    assert take.audio("silence").samples.shape == (0, 1) and take.audio("silence").camera == ""
    imu = take.imu("imu-0")
    assert imu.camera == "depth" and imu.values.shape == (90, 7) and np.isnan(imu.values[...][:, 6]).all()
    np.testing.assert_array_equal(imu.time_ns[...], np.arange(90) * 5_000_000)
    assert take.sources == tuple(sorted(source_files())) and take.sync_attributes == SYNC_ATTRIBUTES
    with pytest.raises(InputError, match="a track of the take"):
        take.audio("absent")
    with pytest.raises(InputError, match="a name"):
        take.imu("../rig")


@pytest.mark.parametrize("shards", [0, 1, 5, 13, 14])
def test_a_kill_and_another_order_of_tasks_change_no_byte(whole: Path, tmp_path: Path, shards: int) -> None:
    path = tmp_path / "take.zarr"
    if shards < 14:
        with pytest.raises(Killed):
            write_studio(path, kill_after_shards=shards)
        assert any("ingest is not finished" in fault.problem for fault in verify_take(path))
    assert write_studio(path, backwards=True)
    assert tree(path) == tree(whole)


def test_a_shard_without_its_record_is_pending_and_a_record_without_its_shard_too(tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    with pytest.raises(Killed):
        write_studio(path, kill_after_shards=5)
    (path / "progress/colour/0.json").unlink()
    (path / "progress/jpegs/1.json").write_bytes(b'{"exposure": [0.')
    (path / "streams/lossy/frames/c/0/0/0/0").unlink()
    writer = TakeWriter.begin(path, HEADER, studio_rig(), PLANS, {})
    assert writer is not None
    with writer:
        pending = {
            name: [frames.start for frames in writer.pending_shards(name)] for name in ("colour", "jpegs", "lossy")
        }
        assert pending == {"colour": [0], "jpegs": [16], "lossy": [0, 16]}
        assert writer.read_progress("colour") == {1: {"exposure": [0.5, 0.5]}}
        assert writer.all_shards("colour") == [range(16), range(16, 18)]


def test_a_kill_after_the_last_write_leaves_nothing_behind(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "take.zarr"))
    (path / "progress/colour").mkdir(parents=True)
    (path / "progress/colour/0.json").write_text("{}")
    assert not write_studio(path)
    assert tree(path) == tree(whole)


def test_the_same_recording_with_another_codec_is_another_take(take_path: Path) -> None:
    plans = PLANS | {"colour": replace(PLANS["colour"], codec="blosc")}
    with pytest.raises(InputError, match="other settings"):
        write_studio(take_path, streams=plans)


def test_metadata_are_consolidated_where_they_no_longer_change(whole: Path, take_path: Path) -> None:
    for part in ("streams", "sync", "audio", "imu", "sources", "light_field"):
        group = zarr.open_consolidated(whole / part, mode="r")
        plain = zarr.open_group(whole / part, mode="r", use_consolidated=False)
        found, copied = (dict(opened.members(max_depth=None)) for opened in (plain, group))
        assert found.keys() == copied.keys() and found
        for name, member in found.items():
            same = member.metadata == copied[name].metadata if isinstance(member, zarr.Array) else True
            assert same and dict(member.attrs) == dict(copied[name].attrs)
    frames: Any = zarr.open_consolidated(whole / "streams", mode="r")["colour/frames"]
    np.testing.assert_array_equal(frames[2], pictures("colour")[2])
    take = Take.open(take_path)
    assert list(zarr.open_group(take_path, mode="r")["results"]) == []  # pyright: ignore[reportArgumentType]
    take.results.write("fit", "default", {"a": ResultArray(np.arange(5), ("x",))}, Provenance({}, {}))
    root = zarr.open_group(take_path, mode="r")
    assert np.asarray(root["results/fit/default/a"]).tolist() == [0, 1, 2, 3, 4]
    assert root.metadata.consolidated_metadata is None
    assert verify_take(take_path) == []


def test_any_damage_to_any_part_is_found(take_path: Path) -> None:
    assert verify_take(take_path) == []
    rng = np.random.default_rng(4)
    # The other cameras' files are of the same kinds.
    skipped = ("results/", *(f"streams/{name}/" for name in CODECS_OF_CAMERAS if name not in ("colour", "jpegs")))
    files = {name: data for name, data in tree(take_path).items() if not name.startswith(skipped)}
    for turn, (name, data) in enumerate(sorted(files.items())):
        flipped = bytearray(data)
        flipped[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        garbage = (bytes(flipped), data[: len(data) // 2]) if "/c/" in name else (b"{}", b'{"a": [1]}')
        damages = (*garbage, b"", None)
        if (damage := damages[turn % len(damages)]) is None:
            (take_path / name).unlink()
        else:
            (take_path / name).write_bytes(damage)
        assert verify_take(take_path) != [], f"{name} with {damage!r:.50}"
        (take_path / name).write_bytes(data)
    assert verify_take(take_path) == []


@pytest.mark.parametrize("part", ["audio", "audio/boom", "imu", "light_field", "sources", "streams/depth"])
def test_a_part_that_is_gone_is_missed(take_path: Path, part: str) -> None:
    shutil.rmtree(take_path / part)
    assert any(fault.path.startswith(part.split("/")[0]) for fault in verify_take(take_path))


def test_a_part_that_was_added_is_no_part_of_the_take(whole: Path, take_path: Path) -> None:
    shutil.copytree(whole / "audio/silence", take_path / "audio/extra")
    assert [fault.path for fault in verify_take(take_path)] == ["audio/zarr.json"] * 3


def test_wrong_tracks_and_sources_are_refused_in_words(take_path: Path) -> None:
    for path, attributes in (("audio/boom", {"rate_hz": "48k", "camera": ""}), ("imu/imu-0", {})):
        document = json.loads((take_path / path / "zarr.json").read_text())
        (take_path / path / "zarr.json").write_text(json.dumps(document | {"attributes": attributes}))
    take = Take.open(take_path)
    with pytest.raises(InputError, match="camera and rate"):
        take.audio("boom")
    with pytest.raises(InputError, match="camera"):
        take.imu("imu-0")
    for wrong in ("", "/etc/passwd", "../x", "a/../../b", "a\0b"):
        with pytest.raises(ValueError, match="no path"):
            SourceFile(wrong, 1, "0" * 64)
    for size, sha256 in ((-1, "0" * 64), (1, "0" * 62), (1, "not hex")):
        with pytest.raises(ValueError):
            SourceFile("a", size, sha256)
    with pytest.raises(ValueError, match="named twice"):
        write_sources(LocalPlace(take_path), [SourceFile("a", 1, "0" * 64), SourceFile("a", 2, "0" * 64)])


def test_hundreds_of_thousands_of_sources_fit_and_no_document_grows(tmp_path: Path) -> None:
    files = [SourceFile(f"module_{n % 31:02d}/rgb_{n % 2}/{n:08d}.png", 10**6 + n, f"{n:064x}") for n in range(40_000)]
    place = LocalPlace(tmp_path)
    write_sources(place, reversed(files))
    assert read_sources(place, {}) == tuple(sorted(files))
    sizes = place.sizes("sources")
    assert max(size for key, size in sizes.items() if key.endswith("zarr.json")) < 2000
    assert sum(sizes.values()) < 60 * len(files)


def test_file_names_that_are_not_utf8_survive_documents(tmp_path: Path) -> None:
    writer = TakeWriter.begin(tmp_path / "take.zarr", HEADER, studio_rig(), PLANS, {"path": "latin-\udce9"})
    assert writer is not None
    with writer:
        writer.write_progress("colour", 1, {"file": "latin-\udce9.png"})
        assert writer.read_progress("colour") == {1: {"file": "latin-\udce9.png"}}


def test_sound_is_stored_in_bounded_memory(tmp_path: Path) -> None:
    import tracemalloc

    writer = TakeWriter.begin(tmp_path / "take.zarr", HEADER, studio_rig(), PLANS, {})
    assert writer is not None
    with writer:
        tracemalloc.start()
        writer.write_audio("long", np.array([[0, 0]]), (np.full((48_000, 2), t, np.float32) for t in range(120)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 20 * 2**20
    assert json.loads((tmp_path / "take.zarr/audio/long/samples/zarr.json").read_text())["shape"] == [5_760_000, 2]


def test_no_exif_reaches_a_take(tmp_path: Path) -> None:
    from tests.storage.test_jpeg import PIXELS, telling

    rig = studio_rig()
    camera = replace(rig["jpegs"], image_size_hw=(101, 203))
    rig = type(rig)((camera,))
    writer = TakeWriter.begin(
        tmp_path / "take.zarr", HEADER, rig, {"jpegs": replace(PLANS["jpegs"], frame_count=1)}, {}
    )
    assert writer is not None
    with writer:
        writer.write_shard("jpegs", range(1), [telling()])
        with pytest.raises(InputError, match="a whole JPEG"):
            writer.write_shard("jpegs", range(1), [telling()[:5000]])
        with pytest.raises(ValueError, match="own JPEGs"):
            writer.write_shard("jpegs", range(1), [PIXELS])
    everything = b"".join(tree(tmp_path / "take.zarr").values())
    assert not any(word in everything for word in (b"Exif", b"Jane", b"Maker", b"thumbs", b"adobe.com"))
