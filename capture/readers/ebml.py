"""EBML, the binary XML that Matroska is written in: elements by position, each size checked against what is there.

Source: RFC 8794.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geometry.errors import InputError

UNKNOWN = -1
"""End of an element whose size its header leaves open."""
COPY_AGAIN = "copy the file again from the recorder, or record again"


def first_bytes(path: Path, count: int) -> bytes:
    """The start of a file, empty if it is none; never raises and never waits."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(count)
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return b""


@dataclass(frozen=True)
class Element:
    """An EBML element's place; all of it lies within the file."""

    id: int
    start: int
    """First byte of its contents."""
    end: int


class OpenFile:
    """A file of known size, read by position."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():  # a pipe would wait for someone to write
                raise InputError("a Matroska file", f"no file {path}", "check the path and that the copy is complete")
            self.descriptor = os.open(path, os.O_RDONLY)
            self.size = os.fstat(self.descriptor).st_size
        except (OSError, ValueError) as error:
            raise InputError("a Matroska file", f"{path} ({error})", "check the path and its permissions") from error

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def read(self, start: int, end: int) -> bytes:
        """These bytes, all of them."""
        data = self._bytes(start, end) if end <= self.size else b""
        if len(data) != end - start:
            raise InputError(f"bytes {start} to {end} of {self.path}", f"{self.size} bytes in all", COPY_AGAIN)
        return data

    def _bytes(self, start: int, end: int) -> bytes:
        try:
            return os.pread(self.descriptor, end - start, start)
        except OSError as error:
            raise InputError(f"to read {self.path}", str(error), "check the disk, then copy the file again") from error

    def element(self, position: int, end: int) -> Element:
        """The element at a position, which must end by `end`. Raises Cut if it does not."""
        head = self._bytes(position, min(position + 16, end))
        identity, length = vint(head, 0, 4, keep_marker=True)
        size, next_at = vint(head, length, 8, keep_marker=False)
        if size == (1 << 7 * (next_at - length)) - 1:
            size = UNKNOWN
        start = position + next_at
        if size == UNKNOWN:
            return Element(identity, start, UNKNOWN)
        if start + size > end:
            raise Cut(identity, position, start + size)
        return Element(identity, start, start + size)

    def damaged(self, reason: str, position: int) -> InputError:
        """An error that names the file and the place."""
        return InputError("a whole Matroska file", f"{reason} at byte {position} of {self.path}", COPY_AGAIN)


class Cut(Exception):
    """An element reaches beyond what contains it."""

    def __init__(self, identity: int, position: int, end: int) -> None:
        super().__init__(identity, position, end)
        self.identity, self.position, self.end = identity, position, end


def vint(data: bytes, at: int, most: int, keep_marker: bool) -> tuple[int, int]:
    """A variable-length number and where it ends; Cut if it is not all there or longer than allowed."""
    if at >= len(data):
        raise Cut(0, at, at + 1)
    length = 9 - data[at].bit_length()
    if length > most or at + length > len(data):
        raise Cut(0, at, at + length)
    value = int.from_bytes(data[at : at + length])
    return (value if keep_marker else value & ((1 << 7 * length) - 1)), at + length


def children(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements that a small master holds; Cut if they do not fill it."""
    position = 0
    while position < len(data):
        identity, after = vint(data, position, 4, keep_marker=True)
        size, start = vint(data, after, 8, keep_marker=False)
        if start + size > len(data):
            raise Cut(identity, position, start + size)
        yield identity, data[start : start + size]
        position = start + size


def unsigned(data: bytes) -> int:
    """An unsigned integer's contents; ValueError if it has more than 8 bytes."""
    if len(data) > 8:
        raise ValueError(f"a number of {len(data)} bytes")
    return int.from_bytes(data)


def text(data: bytes) -> str:
    """A string's contents, its padding removed."""
    return data.rstrip(b"\0").decode(errors="replace")
