"""Every file that a take was made of, with its size and SHA-256, in arrays that three hundred thousand files fit in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geometry.errors import InputError
from storage.arrays import StoredArray, write_array
from storage.documents import write_group
from storage.places import Place
from storage.schema import SCHEMA
from storage.tracks import require_spec

FOLDER = "sources"


@dataclass(frozen=True, order=True)
class SourceFile:
    """One file of the recording, as the ingest read it."""

    path: str
    """Relative to the recording's folder, with slashes."""
    size: int
    """Bytes."""
    sha256: str
    """Of its contents, 64 hexadecimal digits."""

    def __post_init__(self) -> None:
        if not self.path or self.path.startswith("/") or "\0" in self.path or ".." in self.path.split("/"):
            raise ValueError(f"{self.path!r} is no path inside a recording")
        if self.size < 0 or len(bytes.fromhex(self.sha256)) != 32:
            raise ValueError(f"{self.path} with {self.size} bytes and SHA-256 {self.sha256!r}")


def write_sources(place: Place, files: Iterable[SourceFile]) -> None:
    """Store the list in the order of paths, so that it is the same whatever order the files were read in."""
    ordered = sorted(set(files))
    if len({file.path for file in ordered}) != len(ordered):
        raise ValueError("a file is named twice with different sizes or hashes")
    paths = b"".join(file.path.encode("utf-8", "surrogateescape") + b"\0" for file in ordered)
    hashes = b"".join(bytes.fromhex(file.sha256) for file in ordered)
    write_group(place, FOLDER, {})
    _write(place, "source_paths", np.frombuffer(paths, np.uint8))
    _write(place, "source_sizes", np.array([file.size for file in ordered], np.int64))
    _write(place, "source_sha256", np.frombuffer(hashes, np.uint8).reshape(-1, 32))


def _write(place: Place, name: str, values: np.ndarray) -> None:
    write_array(place, SCHEMA[name].path, values, SCHEMA[name].spec(values.shape))


def read_sources(place: Place, metadata: Mapping[str, Any]) -> tuple[SourceFile, ...]:
    """The list in the order of paths; InputError if it is damaged. `metadata` as `consolidated_metadata` gives it."""
    values = {}
    for name in ("source_paths", "source_sizes", "source_sha256"):
        array = StoredArray.open(place, SCHEMA[name].path, metadata)
        require_spec(array, SCHEMA[name].spec(array.shape))
        values[name] = array.read()
    paths = values["source_paths"].tobytes().split(b"\0")
    sizes, hashes = values["source_sizes"].tolist(), values["source_sha256"]
    try:
        if paths.pop() or len(paths) != len(sizes) or hashes.shape != (len(sizes), 32):
            raise ValueError(f"{len(paths)} paths, {len(sizes)} sizes and {len(hashes)} hashes")
        rows = zip(paths, sizes, hashes, strict=True)
        return tuple(
            SourceFile(path.decode("utf-8", "surrogateescape"), size, digest.tobytes().hex())
            for path, size, digest in rows
        )
    except ValueError as error:
        remedy = "ingest the recording again with --overwrite"
        raise InputError("a list of source files", f"{error} at {place.address}/{FOLDER}", remedy) from error
