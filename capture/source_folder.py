"""Everything that lies where a recording lies, so that nothing is overlooked when it is deleted."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from capture.media_hash_list import HISTORY_FOLDER
from geometry.errors import InputError

LITTER = {"._": b"\x00\x05\x16\x07", ".DS_Store": b"\x00\x00\x00\x01Bud1"}
"""Files that macOS leaves on every card, by how their names and their bytes start (AppleDouble, RFC 1740; Finder)."""
LARGEST_LITTER_BYTES = 2**20
HISTORY_SUFFIXES = (".mhl", ".xml")
"""Files of an ASC MHL history; anything else in its folder is looked at like any file."""


@dataclass(frozen=True)
class SourceListing:
    """What lies under a folder, by path relative to it with slashes."""

    base: Path
    """The folder; for a recording that is a file, the one it lies in."""
    files: frozenset[str]
    """Every file, behind links too."""
    odd: tuple[tuple[str, str], ...]
    """What is neither file nor folder, or cannot be looked into: path and what it is."""
    litter: tuple[str, ...]
    """Files of macOS that hold nothing of a recording; in neither of the others."""


def base_of(source: Path) -> Path:
    """The folder that a recording's file names are relative to."""
    return source if source.is_dir() else source.parent


def list_source(source: Path) -> SourceListing:
    """What lies in a recording's folder, ASC MHL histories aside; for a recording that is a file, that file alone.

    Raises InputError if there is nothing.
    """
    if not source.exists():
        raise InputError(
            "a recording", f"{source}, which does not exist", "check the path and that the card is mounted"
        )
    if not source.is_dir():
        return SourceListing(source.parent, frozenset({source.name}), (), ())
    files: list[str] = []
    odd: list[tuple[str, str]] = []
    litter: list[str] = []
    entered: set[tuple[int, int]] = set()
    folders = [source]
    while folders:
        folder = folders.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:  # a link that leads back, or to what is listed already
                odd.append((folder.relative_to(source).as_posix(), "a link to a folder that is listed already"))
                continue
            entered.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            odd.append((folder.relative_to(source).as_posix(), f"a folder that cannot be read ({error.strerror})"))
            continue
        for entry in entries:
            path = Path(entry.path)
            name = path.relative_to(source).as_posix()
            if entry.is_dir():
                folders.append(path)
            elif entry.is_file():
                if folder.name != HISTORY_FOLDER or path.suffix not in HISTORY_SUFFIXES:
                    (litter if _is_litter(path) else files).append(name)
            else:
                odd.append((name, _kind_of(path)))
    return SourceListing(source, frozenset(files), tuple(sorted(odd)), tuple(sorted(litter)))


def _is_litter(path: Path) -> bool:
    start = next((start for name, start in LITTER.items() if path.name.startswith(name)), None)
    if start is None:
        return False
    try:
        if path.stat().st_size > LARGEST_LITTER_BYTES:
            return False
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def _kind_of(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "a link to nothing"
    try:
        return f"no file and no folder (mode {stat.filemode(path.stat().st_mode)})"
    except OSError as error:
        return f"something that cannot be read ({error.strerror})"
