"""What became of each recording that a watch has seen, on disk, so that a restart neither repeats nor forgets."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from geometry.errors import InputError
from storage.places import write_errors_named

JOURNAL = "watch-journal.jsonl"
"""In the folder of the takes: one JSON object a line."""

Event = Literal["started", "usable", "shoot again", "not a recording", "changed", "repeated", "name taken", "waiting"]
"""started: being ingested; changed: no longer what its take was made of; repeated: what another take was made of; name
taken: its take would have the name of another; waiting: the disk, the rights or the copy were not ready."""

FINAL: tuple[Event, ...] = ("usable", "shoot again", "not a recording", "changed", "repeated", "name taken")
"""After these nothing is left to do until the recording changes."""


@dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    name: str
    """The recording: its name in the watched folder."""
    fingerprint: str
    """Of its files' names, sizes and times."""
    event: Event
    """What became of it."""
    take: str
    """File name of its take; empty where there is none."""
    message: str
    """The line that the operator saw."""
    time_ns: int
    """When."""


class Journal:
    """The journal of one folder of takes, held by one watch at a time."""

    def __init__(self, takes_folder: Path) -> None:
        """Open or start it; InputError if another watch holds it or the folder cannot be written."""
        self.path = takes_folder / JOURNAL
        with write_errors_named(str(self.path)):
            takes_folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            got = f"another watch that writes {self.path}"
            raise InputError("a folder of takes that no other watch fills", got, "stop it, or name another") from error
        except OSError:
            pass  # some network file systems have no locks
        data = self.path.read_bytes()
        if data and not data.endswith(b"\n"):
            os.write(self._descriptor, b"\n")  # a line that a kill or a full disk cut off
        found = [entry for line in data.splitlines() if (entry := _entry_of(line)) is not None]
        self.last: dict[str, Entry] = {entry.name: entry for entry in found}
        """The last line about each recording."""
        self.ingested: dict[str, Entry] = {e.name: e for e in found if e.event in ("usable", "shoot again")}
        """The last line about each recording that became a take."""
        self.started: dict[str, Entry] = {entry.name: entry for entry in found if entry.event == "started"}
        """The last time that each recording's ingest was begun."""

    def write(self, name: str, fingerprint: str, event: Event, take: str = "", message: str = "") -> Entry:
        """Add a line; it is on disk when this returns. InputError on a full disk."""
        entry = Entry(name, fingerprint, event, take, message, time.time_ns())
        with write_errors_named(str(self.path)):
            os.write(self._descriptor, (json.dumps(asdict(entry)) + "\n").encode())
            os.fsync(self._descriptor)
        self.last[name] = entry
        if event in ("usable", "shoot again"):
            self.ingested[name] = entry
        if event == "started":
            self.started[name] = entry
        return entry

    def close(self) -> None:
        """Let another watch have it."""
        os.close(self._descriptor)


def _entry_of(line: bytes) -> Entry | None:
    """None for a line that is damaged: what it said is found out again."""
    try:
        values = json.loads(line)
        entry = Entry(**{item.name: values[item.name] for item in fields(Entry)})
    except (ValueError, KeyError, TypeError):
        return None
    texts = (entry.name, entry.fingerprint, entry.take, entry.message)
    whole = all(isinstance(text, str) for text in texts) and isinstance(entry.time_ns, int)
    return entry if whole and entry.event in get_args(Event) else None
