"""Which recording this is: known from names, sizes and small files before any pixel is read; hashes prove it later."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from capture.readers.recording import Recording
from capture.source_folder import base_of
from geometry.errors import InputError
from storage.provenance import digest_of_file
from storage.sources import SourceFile

LARGEST_SMALL_FILE_BYTES = 2**24
"""Tables, cards, rigs and layouts are smaller; what is larger is told apart by its size, and hashed as it is read."""

REMEDY = "copy the recording again and check its permissions"


@dataclass(frozen=True)
class FileState:
    """What the file system says of a file."""

    size: int
    """Bytes."""
    modified_ns: int
    """Time of its last change, Unix nanoseconds; kept under `log/` only, because copies have times of their own."""


@dataclass(frozen=True)
class SourceStates:
    """Every file of a recording at one moment."""

    base: Path
    """The folder that names are relative to."""
    files: Mapping[str, FileState]
    """By name relative to the base, with slashes, in order."""
    others: tuple[str, ...]
    """Names of those that are not one frame each: tables, cards, videos; in order."""

    def stamp(self, names: Iterable[str]) -> str:
        """Changes when one of these files does, for all that names, sizes and times tell."""
        sha256 = hashlib.sha256()
        for name in names:
            state = self.files[name]
            sha256.update(f"{state.size} {state.modified_ns} {name}\n".encode(errors="surrogateescape"))
        return sha256.hexdigest()


def source_states(recording: Recording) -> SourceStates:
    """Sizes and times of every source file now; InputError if one is missing or lies outside of the recording."""
    base = base_of(Path(recording.address))
    frames = {source_name(base, path) for paths in recording.frame_files.values() for path in paths}
    files = {}
    try:
        for path in recording.source_files:
            status = path.stat()
            files[source_name(base, path)] = FileState(status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError("every file of the recording", str(error), REMEDY) from error
    files = dict(sorted(files.items()))
    return SourceStates(base, files, tuple(name for name in files if name not in frames))


def source_name(base: Path, path: Path) -> str:
    """A source file's name in the take's list; InputError if it lies outside of the recording."""
    try:
        return path.relative_to(base).as_posix()
    except ValueError as error:
        raise InputError(f"files of the recording in {base}", str(path), "move them into the recording") from error


def source_digest(states: SourceStates) -> str:
    """SHA-256 that tells recordings apart without reading their pictures.

    Over the names and sizes of all files, and the contents of those that are no frames and small. That the others'
    contents are the same is proved by `changed_file`.
    """
    others = set(states.others)
    sha256 = hashlib.sha256()
    for name, state in states.files.items():
        content = ""
        if name in others and state.size <= LARGEST_SMALL_FILE_BYTES:
            content = hashed_file(states.base, name).sha256
        sha256.update(f"{state.size} {content} {name}\n".encode(errors="surrogateescape"))
    return sha256.hexdigest()


def hashed_file(base: Path, name: str) -> SourceFile:
    """A source file's size and SHA-256 as it is now; InputError if it cannot be read."""
    try:
        return SourceFile(name, (base / name).stat().st_size, digest_of_file(base / name))
    except OSError as error:
        raise InputError("every file of the recording", str(error), REMEDY) from error


def changed_file(states: SourceStates, stored: Iterable[SourceFile]) -> str:
    """What differs between a recording and the files that a take was made of; empty if they hold the same bytes.

    Reads all of the recording.
    """
    before = {file.path: file for file in stored}
    if odd := sorted(set(before) ^ set(states.files)):
        return odd[0]
    for name in states.files:
        if hashed_file(states.base, name) != before[name]:
            return name
    return ""
