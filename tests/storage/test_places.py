"""One contract for every place where a take may lie."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import s3fs
from botocore.exceptions import ClientError

from geometry.errors import InputError
from storage.places import PARTIAL_SUFFIX, Place, place_of


@pytest.fixture(params=["local", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "s3":
        return place_of(request.getfixturevalue("s3_path"))
    return place_of(tmp_path / "take.zarr" if request.param == "local" else f"memory://{uuid4().hex}/take.zarr")


def test_what_is_written_is_read_whole_or_in_parts(place: Place) -> None:
    place.write("a/b/c", b"0123456789")
    place.write("a/b/c", b"abcdefghij", durable=True)
    assert place.read("a/b/c") == b"abcdefghij" and place.size("a/b/c") == 10
    for start, stop, expected in (
        (2, 5, b"cde"),
        (8, 99, b"ij"),
        (3, 3, b""),
        (5, 2, b""),
        (10, 20, b""),
        (4, None, b"efghij"),
    ):
        assert place.read("a/b/c", start, stop) == expected
    parts = [("a/b/c", 0, 3), ("absent", 0, 3), ("a/b/c", 8, 99), ("a/b", 0, 1)]
    assert place.read_parts(parts) == [b"abc", None, b"ij", None]
    assert place.read_parts([]) == []


def test_nothing_and_folders_are_no_bytes(place: Place) -> None:
    place.write("empty", b"")
    place.write("folder/key", b"1")
    assert place.read("empty") == b"" and place.size("empty") == 0 and place.read("empty", 0, 9) == b""
    for key in ("absent", "folder", "folder/absent", "absent/absent"):
        assert place.size(key) is None
        with pytest.raises(FileNotFoundError):
            place.read(key)
        with pytest.raises(FileNotFoundError):
            place.read(key, 0, 9)


def test_listings_are_sorted_and_fresh(place: Place) -> None:
    assert place.children("") == [] and place.sizes() == {} and list(place.keys("absent")) == []
    place.write("b/2", b"22")
    assert place.children("") == ["b"]
    place.write("a", b"1")
    place.write("b/1/x", b"")
    assert place.children("") == ["a", "b"] and place.children("b") == ["1", "2"] and place.children("nothing") == []
    assert place.sizes() == {"a": 1, "b/1/x": 0, "b/2": 2} and list(place.keys("b")) == ["b/1/x", "b/2"]
    place.remove("b")
    place.remove("b")
    assert place.sizes() == {"a": 1}
    place.remove("a")
    assert place.sizes() == {}


def test_a_key_is_created_once(place: Place) -> None:
    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(lambda n: place.create("log/x", str(n).encode()), range(4)))
    assert sum(created) == 1 and place.read("log/x") == str(created.index(True)).encode()
    place.remove("log/x")
    assert place.create("log/x", b"again")


def test_threads_write_and_read_at_once(place: Place) -> None:
    values = {f"c/{n % 7}/{n}": bytes([n]) * (1000 + n) for n in range(60)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: place.write(*item), values.items()))
        assert dict(zip(values, pool.map(place.read, values), strict=True)) == values
    assert place.sizes() == {key: len(values[key]) for key in sorted(values)}
    assert not any(key.endswith(PARTIAL_SUFFIX) for key in place.keys())  # noqa: SIM118


def _read_in_child(address: str, answers: Any) -> None:
    answers.put(place_of(address).read("key"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_a_process_have_connections_of_their_own(s3_path: str, method: str) -> None:
    place_of(s3_path).write("key", b"value")
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    child = context.Process(target=_read_in_child, args=(s3_path, answers))
    child.start()
    assert answers.get(timeout=30) == b"value"
    child.join()
    assert place_of(s3_path).read("key") == b"value"


def test_a_full_store_is_told(s3_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        raise ClientError(
            {"Error": {"Code": "XMinioStorageFull", "Message": "Storage backend has reached its minimum"}}, method
        )

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", full)
    with pytest.raises(InputError, match=r"room in the store.*XMinioStorageFull.*resumes"):
        place_of(s3_path).write("key", b"1")


def test_an_address_that_nothing_opens_is_named() -> None:
    with pytest.raises(InputError, match="that fsspec can open"):
        place_of("nosuch://x/y").read("key")
