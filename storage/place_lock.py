"""One writer at a time in a remote take: an object that only one can make, whose owner keeps touching it.

What it can and cannot do: two ingests that start at once cannot both get in where the store creates objects
conditionally (S3's If-None-Match; elsewhere a question and a write come one after the other). An owner that died is
found by watching its object for a while, not by anybody's clock; one that was merely cut off for so long finds at its
next touch that it lost the take and stops, but may have stored a shard in between. That does no harm to a take of the
same recording and settings, because both write the same bytes; the loser can never mark the take finished.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from geometry.errors import InputError
from storage.documents import parse, to_bytes
from storage.places import Place

LOCK_KEY = "log/writer.json"
"""Under `log/`, which byte comparisons skip."""

TOUCH_SECONDS = 10.0
"""How often the owner rewrites the object."""

PATIENCE_SECONDS = 45.0
"""How long an object must stay as it is before its owner counts as dead: four touches that did not come."""


class PlaceLock:
    """Held from its making until `close`, or until its process dies and another writer has waited long enough."""

    def __init__(self, place: Place) -> None:
        """Take the lock, after watching for a while if somebody seems to hold it; InputError if somebody does."""
        self._place = place
        self._owner: dict[str, Any] = {"owner": uuid.uuid4().hex, "host": os.uname().nodename, "machine": _machine()}
        self._owner |= {"pid": os.getpid(), "started": _started(os.getpid())}
        self._touches = 0
        self._closed = threading.Event()
        self._lost = threading.Event()
        while not place.create(LOCK_KEY, self._record()):
            self._wait_for_its_end()
        # Another who watched the same dead object may have removed ours, which it took for that one.
        self._require_ours()
        self._thread = threading.Thread(target=self._touch, name="place-lock", daemon=True)
        self._thread.start()

    def require_held(self) -> None:
        """InputError if another writer has taken over."""
        if self._lost.is_set():
            raise self._busy("took it over while this one could not be heard")

    def close(self) -> None:
        """Let others in; nothing happens the second time."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join()
        if not self._lost.is_set() and (self._read() or {}).get("owner") == self._owner["owner"]:
            self._place.remove(LOCK_KEY)

    def _wait_for_its_end(self) -> None:
        """Return when the object is gone or its owner dead; InputError as soon as it shows to be alive."""
        seen = self._read()
        if seen is None:
            return
        if seen.get("machine") == self._owner["machine"]:
            if seen.get("started") == _started(seen.get("pid")):
                raise self._busy("is running on this machine")
        else:
            stop = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < stop:
                time.sleep(min(TOUCH_SECONDS / 2, PATIENCE_SECONDS / 4))
                now = self._read()
                if now is None:
                    return
                if now != seen:
                    raise self._busy(f"is running on {now.get('host')}")
        if self._read() == seen:
            self._place.remove(LOCK_KEY)

    def _touch(self) -> None:
        """Rewrite the object now and then, as long as it is ours. A store that does not answer is asked again."""
        while not self._closed.wait(TOUCH_SECONDS):
            try:
                self._require_ours()
                self._touches += 1
                self._place.write(LOCK_KEY, self._record())
            except InputError:
                continue

    def _require_ours(self) -> None:
        found = self._read()
        if found is None or found.get("owner") != self._owner["owner"]:
            self._lost.set()
            self._closed.set()
            raise self._busy("came first")

    def _record(self) -> bytes:
        return to_bytes(self._owner | {"touches": self._touches})

    def _read(self) -> dict[str, Any] | None:
        try:
            data = self._place.read(LOCK_KEY)
        except FileNotFoundError:
            return None
        try:
            return parse(data, LOCK_KEY)
        except InputError:
            return {"damaged": data.hex()}

    def _busy(self, how: str) -> InputError:
        got = f"another ingest at {self._place.address}, which {how}"
        return InputError("a take that nobody is writing", got, "wait until it ends, or stop it")


def _machine() -> str:
    """This boot of this machine's kernel, and the process numbers that are known here (containers have their own)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return uuid.uuid4().hex


def _started(pid: Any) -> str:
    """When a process of this machine started, which tells it from a later one of the same number; empty: it ended."""
    if type(pid) is not int:
        return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # Source: proc(5); field 22, counted from the state behind the name, which may hold anything.
    return stat.rpartition(")")[2].split()[19]
