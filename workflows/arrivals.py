"""Recordings that arrive in a folder: which are there, what they look like now, and which are still being copied."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from capture.media_hash_list import HISTORY_FOLDER

TEMPORARY_SUFFIXES = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".filepart", "~", ".swp")
"""How copying programs and browsers name files that are not whole."""


@dataclass(frozen=True)
class Arrival:
    """What one recording looks like at one moment."""

    fingerprint: str
    """Changes with any of its files' names, sizes or times."""
    unfinished: str
    """A file in it whose name says that it is still being copied; empty if there is none."""


def arrival_names(folder: Path, takes_folder: Path) -> list[str]:
    """What lies in a folder now: the folder of the takes, takes, hidden and temporary names left out.

    Raises OSError if the folder cannot be read.
    """
    names = []
    for path in sorted(folder.iterdir()):
        ours = path.suffix == ".zarr" or path.name == HISTORY_FOLDER or path.absolute() == takes_folder.absolute()
        if not (ours or path.name.startswith(".") or _is_temporary(path.name)):
            names.append(path.name)
    return names


def look_at(path: Path) -> Arrival:
    """What a recording looks like now; never raises, because files may vanish while it looks.

    Hidden files and ASC MHL histories do not count: systems and `mien verify` add them afterwards. A hidden file whose
    name is a temporary one counts as unfinished all the same: that is how rsync copies.
    """
    sha256, unfinished = hashlib.sha256(path.suffix.encode(errors="surrogateescape")), ""
    folders = [path]
    if not path.is_dir():
        sha256.update(_state_of(path))
        return Arrival(sha256.hexdigest(), "")
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            sha256.update(f"{folder} {error.errno}".encode(errors="surrogateescape"))
            continue
        for entry in entries:
            name = Path(entry.path).relative_to(path).as_posix()
            if _is_temporary(entry.name) or _is_rsyncs(entry.name):
                unfinished = unfinished or name
            elif entry.name.startswith(".") or entry.name == HISTORY_FOLDER:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
                continue
            sha256.update(name.encode(errors="surrogateescape") + b"\0" + _state_of(Path(entry.path)))
    return Arrival(sha256.hexdigest(), unfinished)


def _state_of(path: Path) -> bytes:
    try:
        status = path.stat()
    except OSError as error:
        return f"{error.errno}\n".encode()
    return f"{status.st_size} {status.st_mtime_ns}\n".encode()


def _is_temporary(name: str) -> bool:
    return name.lower().endswith(TEMPORARY_SUFFIXES) or name.startswith("~$")


def _is_rsyncs(name: str) -> bool:
    """rsync writes `.picture.png.Xk3f9a` and renames it at the end."""
    return name.startswith(".") and name.count(".") >= 3 and len(name.rpartition(".")[2]) == 6
