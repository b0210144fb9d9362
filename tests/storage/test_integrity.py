"""Every damage to a take is found and named, and none of it crashes the check."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from storage.integrity import IntegrityFault, verify_take
from storage.take import Take
from tests.storage.synthetic_take import tree, write_take


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("take") / "take.zarr"
    write_take(path)
    return path


@pytest.fixture
def take(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "take.zarr"))


def _chunk_files(path: Path) -> list[str]:
    return sorted(name for name in tree(path) if "/c/" in name)


def test_a_whole_take_has_no_faults(whole: Path) -> None:
    assert verify_take(whole) == []
    assert len(_chunk_files(whole)) == 15


def test_any_flipped_bit_of_any_chunk_is_found(take: Path) -> None:
    rng = np.random.default_rng(3)
    for name in _chunk_files(take):
        data = (take / name).read_bytes()
        # The last shard's index also has unused entries, which its checksum covers.
        for position in {0, len(data) - 1, *rng.integers(0, len(data), 5).tolist()}:
            damaged = bytearray(data)
            damaged[position] ^= 1 << int(rng.integers(8))
            (take / name).write_bytes(damaged)
            assert [fault.path for fault in verify_take(take)] == [name], f"byte {position} of {len(data)} in {name}"
        (take / name).write_bytes(data)
    assert verify_take(take) == []


def test_missing_cut_and_surplus_files_are_found(take: Path) -> None:
    for name in _chunk_files(take):
        data = (take / name).read_bytes()
        (take / name).write_bytes(data[: len(data) // 2])
        assert [fault.path for fault in verify_take(take)] == [name]
        (take / name).unlink()
        assert verify_take(take) == [IntegrityFault(name, "missing")]
        (take / name).write_bytes(data)
    surplus = take / "streams/colour/frames/c/7/0/0/0"
    surplus.parent.mkdir(parents=True)
    surplus.write_bytes(b"")
    assert [fault.path for fault in verify_take(take)] == ["streams/colour/frames/c/7/0/0/0"]


def test_swapped_shards_of_equal_size_are_not_taken_for_each_other(take: Path) -> None:
    """A checksum knows its chunk, not its place; sizes and shapes do not differ within a stream."""
    colour, depth = (take / f"streams/{name}/frames/c/0/0/0" for name in ("colour", "depth"))
    shutil.copy(depth, colour / "0")
    assert {fault.path for fault in verify_take(take)} == {"streams/colour/frames/c/0/0/0/0"}


GARBAGE = (b"", b"\x00" * 64, b"{", b"[]", b"null", b'{"a": 1}', b"\xff\xfe" * 50, b"[" * 200_000, b'{"shape": [1e99]}')


def test_garbage_in_any_file_is_a_fault_and_never_a_crash(take: Path) -> None:
    essential = [name for name in tree(take) if name != "results/zarr.json"]
    for name in essential:
        data = (take / name).read_bytes()
        for garbage in GARBAGE:
            (take / name).write_bytes(garbage)
            assert verify_take(take) != [], f"{garbage[:9]!r} in {name}"
        (take / name).unlink()
        (take / name).mkdir()
        assert verify_take(take) != []
        (take / name).rmdir()
        (take / name).write_bytes(data)
    assert verify_take(take) == []


@pytest.mark.parametrize(
    ("folder", "key", "value"),
    [
        ("streams/colour/frames", "shape", [36, 12, 20, 3]),
        ("streams/colour/frames", "shape", [10**12, 12, 20, 3]),
        ("streams/colour/frames", "data_type", "int8"),
        ("streams/depth/frames", "data_type", "int16"),
        ("streams/depth/frames", "dimension_names", ["frame", "x", "y"]),
        ("streams/depth/frames", "attributes", {"unit": "0.01 m"}),
        ("streams/depth/device_ns", "shape", [True]),
        ("streams/depth/device_ns", "codecs", [{"name": "bytes"}]),
        ("streams/depth/quality/hole_rate", "data_type", "float64"),
        ("sync/index", "shape", [37, 3]),
        ("sync/time_ns", "shape", [10**12]),
        ("sync/time_ns", "shape", [-1]),
    ],
)
def test_metadata_unlike_the_schema_is_found(take: Path, folder: str, key: str, value: object) -> None:
    path = take / folder / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    faults = verify_take(take)
    assert f"{folder}/zarr.json" in {fault.path for fault in faults}
    assert len(faults) < 30


def test_claims_of_damaged_results_are_bounded(take: Path) -> None:
    from storage.provenance import Provenance
    from storage.schema import ResultArray

    Take.open(take).results.write("fit", "default", {"a": ResultArray(np.zeros(5), ("x",))}, Provenance({}, {}))
    path = take / "results/fit/default/a/zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shape": [10**15]}))
    faults = verify_take(take)
    assert len(faults) == 21
    assert faults[-1].problem == f"{2 * 10**14 - 21} more files are missing"


def test_streams_and_rig_must_agree(take: Path) -> None:
    (take / "streams/odd").mkdir()
    assert [fault.path for fault in verify_take(take)] == ["streams/odd"]
    shutil.rmtree(take / "streams/depth")
    assert {fault.path.split("/")[1] for fault in verify_take(take)} == {"odd", "depth"}


def test_no_take_is_a_fault(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", "memory://nothing/here", "nosuch://x"):
        (fault,) = verify_take(path)
        assert fault.path == ""
