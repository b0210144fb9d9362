"""Of two ingests into one remote take, one gets in; one that died does not keep others out."""

import json
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from geometry.errors import InputError
from storage import place_lock
from storage.documents import to_bytes
from storage.ingest_writer import TakeWriter
from storage.place_lock import LOCK_KEY, PlaceLock, _machine, _started
from storage.places import LocalPlace, place_of
from tests.storage.synthetic_studio import PLANS, pictures, studio_rig, write_studio
from tests.storage.synthetic_take import HEADER, Killed, tree


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Touches and patience that a test can wait for."""
    monkeypatch.setattr(place_lock, "TOUCH_SECONDS", 0.05)
    monkeypatch.setattr(place_lock, "PATIENCE_SECONDS", 0.4)


def foreign(touches: int = 0) -> bytes:
    """The lock of an ingest on another machine."""
    return to_bytes(
        {"owner": "them", "host": "elsewhere", "machine": "m", "pid": 1, "started": "1", "touches": touches}
    )


def test_a_second_ingest_into_s3_is_refused_until_the_first_ends(s3_path: str) -> None:
    place = place_of(s3_path)
    first = PlaceLock(place)
    with pytest.raises(InputError, match=r"another ingest at s3://.*on this machine"):
        write_studio(s3_path)
    assert list(place.sizes()) == [LOCK_KEY]
    first.close()
    first.close()
    assert list(place.sizes()) == []
    assert write_studio(s3_path)
    assert LOCK_KEY not in place.sizes()


def test_of_many_at_once_one_gets_in(s3_path: str) -> None:
    def attempt(_: int) -> PlaceLock | None:
        try:
            return PlaceLock(place_of(s3_path))
        except InputError:
            return None

    with ThreadPoolExecutor(6) as pool:
        locks = [lock for lock in pool.map(attempt, range(6)) if lock is not None]
    assert len(locks) == 1
    locks[0].close()


def _hold_and_wait(folder: Path) -> None:
    PlaceLock(LocalPlace(folder))
    time.sleep(60)


def test_a_killed_owner_on_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    context: Any = multiprocessing.get_context("spawn")
    process = context.Process(target=_hold_and_wait, args=(tmp_path,))
    process.start()
    while not (tmp_path / LOCK_KEY).exists():
        time.sleep(0.02)
    with pytest.raises(InputError, match="on this machine"):
        PlaceLock(LocalPlace(tmp_path))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    started = time.monotonic()
    PlaceLock(LocalPlace(tmp_path)).close()
    assert time.monotonic() - started < 2


def test_an_owner_elsewhere_is_believed_as_long_as_it_touches_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_lock, "TOUCH_SECONDS", 0.05)
    place = LocalPlace(tmp_path)
    place.write(LOCK_KEY, foreign())
    touches = 0
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(PlaceLock, place)
        while not other.done():
            time.sleep(0.05)
            place.write(LOCK_KEY, foreign(touches := touches + 1))
        with pytest.raises(InputError, match="running on elsewhere"):
            other.result()
    place.write(LOCK_KEY, foreign())
    monkeypatch.setattr(place_lock, "PATIENCE_SECONDS", 0.4)
    lock = PlaceLock(place)
    assert json.loads(place.read(LOCK_KEY))["machine"] == _machine()
    lock.close()


def test_a_reused_process_number_is_not_the_old_owner(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    mine = {"owner": "x", "host": "h", "machine": _machine(), "pid": os.getpid(), "touches": 0}
    place.write(LOCK_KEY, to_bytes(mine | {"started": "1"}))
    PlaceLock(place).close()
    place.write(LOCK_KEY, to_bytes(mine | {"started": _started(os.getpid())}))
    with pytest.raises(InputError):
        PlaceLock(place)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"{}"])
def test_a_damaged_lock_is_watched_like_any_other(tmp_path: Path, garbage: bytes) -> None:
    place = LocalPlace(tmp_path)
    place.write(LOCK_KEY, garbage)
    PlaceLock(place).close()
    assert list(place.sizes()) == []


@pytest.mark.usefixtures("quick")
def test_a_writer_that_lost_its_lock_stops(s3_path: str) -> None:
    """It was cut off for so long that another took over."""
    writer = TakeWriter.begin(s3_path, HEADER, studio_rig(), PLANS, {})
    assert writer is not None
    writer.write_shard("colour", range(16), pictures("colour")[:16])
    stop = time.monotonic() + 20
    with pytest.raises(InputError, match="took it over"):
        while time.monotonic() < stop:
            # A touch that was under way may win once over what the other wrote.
            writer.place.write(LOCK_KEY, foreign())
            time.sleep(0.1)
            writer.write_shard("colour", range(16, 18), pictures("colour")[16:])
    with pytest.raises(InputError, match="took it over"):
        writer.finish()
    writer.close()
    assert json.loads(writer.place.read(LOCK_KEY))["owner"] == "them"


def test_what_a_dead_ingest_left_is_resumed(s3_path: str, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        write_studio(s3_path, kill_after_shards=3)
    place = place_of(s3_path)
    dead = {"owner": "x", "host": "h", "machine": _machine(), "pid": 2**22 + 1, "started": "7", "touches": 3}
    place.write(LOCK_KEY, to_bytes(dead))
    assert write_studio(s3_path)
    write_studio(tmp_path / "local.zarr")
    remote = {key: place.read(key) for key in place.sizes() if not key.startswith("log/")}
    assert remote == tree(tmp_path / "local.zarr")
