"""A ROS 1 bag (version 2.0) as a file: topics, and where each message lies; contents are read when asked for.

The whole structure is followed record by record first, so that a bag that is cut off, or whose index and chunks
contradict each other, is an error before anything of it is believed. `rosbags`, whose reader trusts the sizes that
a file declares, writes the bags that the tests read back.
Source: wiki.ros.org/Bags/Format/2.0; rosbags, rosbag1/reader.py.
"""

from __future__ import annotations

import bz2
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import lz4.frame
import numpy as np
from jaxtyping import Int64

from capture.readers.ebml import first_bytes
from geometry.errors import InputError

MAGIC = b"#ROSBAG V2.0\n"
MESSAGE, BAG_HEADER, INDEX, CHUNK, CHUNK_INFO, CONNECTION = 2, 3, 4, 5, 6, 7
LARGEST_HEADER_BYTES = 1 << 16
"""Of one record's fields; a message's definition is in the data of a connection."""
LARGEST_RECORD_BYTES = 1 << 20
"""Data of a connection or a chunk's info."""
LARGEST_CHUNK_BYTES = 256 << 20
"""Uncompressed; recorders close a chunk at 1 MB, but one message may be a whole picture."""
MOST_CONNECTIONS = 100_000
MOST_MESSAGES = 8_000_000
"""An hour of three pictures at 30 Hz with twenty facts about each."""
HEAD_BYTES = 512
COPY_AGAIN = "copy the bag again from the recorder, or record again"
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Chunk:
    """Where a chunk's data lie."""

    start: int
    """First byte in the file."""
    stored_bytes: int
    """In the file."""
    size: int
    """Uncompressed."""
    compression: str


@dataclass(frozen=True, eq=False)
class Messages:
    """The messages of one connection in the order of the file."""

    connection: int
    """Number in the bag."""
    type: str
    """Such as sensor_msgs/Image."""
    time_ns: Int64[np.ndarray, "message"]
    """When each was recorded."""
    chunk: Int64[np.ndarray, "message"]
    """Index into `BagFile.chunks`."""
    offset: Int64[np.ndarray, "message"]
    """In the chunk's uncompressed data."""


@dataclass(frozen=True, eq=False)
class BagFile:
    """The index of a bag."""

    path: Path
    chunks: tuple[Chunk, ...]
    topics: Mapping[str, Messages]
    """By topic."""

    def message(self, messages: Messages, index: int) -> bytes:
        """One message; InputError if it is not what the index says."""
        with self._open() as file:
            chunk = self.chunks[int(messages.chunk[index])]
            offset = int(messages.offset[index])
            if chunk.compression == "none":
                return file.message_at(chunk.start + offset, chunk.start + chunk.stored_bytes, messages, index)[0]
            return _within(file.decompressed(chunk), file).message_at(offset, chunk.size, messages, index)[0]

    def every(self, wanted: Mapping[str, int]) -> Iterator[tuple[str, int, bytes, int]]:
        """All messages of some topics in the file's order: topic, index, their first bytes, and their size.

        `wanted` gives how many bytes of each topic's messages to read. A compressed chunk is decompressed once.
        """
        names = list(wanted)
        counts = [len(self.topics[name].time_ns) for name in names]
        topic = np.repeat(np.arange(len(names)), counts)
        index = np.concatenate([np.arange(count) for count in counts]) if names else np.zeros(0, np.int64)
        chunk = np.concatenate([self.topics[name].chunk for name in names]) if names else index
        offset = np.concatenate([self.topics[name].offset for name in names]) if names else index
        number, unpacked = -1, None
        with self._open() as file:
            for row in np.lexsort((offset, chunk)).tolist():
                name, k, place = names[topic[row]], int(index[row]), self.chunks[int(chunk[row])]
                start, end, source = int(offset[row]), place.size, unpacked
                if place.compression == "none":
                    start, end, source = place.start + start, place.start + place.stored_bytes, file
                elif number != int(chunk[row]) or source is None:
                    number = int(chunk[row])
                    source = unpacked = _within(file.decompressed(place), file)
                data, size = source.message_at(start, end, self.topics[name], k, wanted[name])
                yield name, k, data, size

    def _open(self) -> _Source:
        return _open(self.path)


def is_rosbag(path: Path) -> bool:
    """Whether a file starts as a bag of version 2.0 does; never raises."""
    return first_bytes(path, len(MAGIC)) == MAGIC


def read_rosbag(path: Path) -> BagFile:
    """The index of a bag. Raises InputError: no bag, cut off, damaged, or never closed by its recorder."""
    if not is_rosbag(path):
        raise InputError("a ROS bag of version 2.0", f"{path}, which is none", "name the recording itself")
    with _open(path) as file:
        try:
            return _Walk(file).walk()
        except (struct.error, ValueError, KeyError, UnicodeError) as error:
            raise file.damaged(f"{type(error).__name__} {error}") from error


class _Source:
    """Bytes by position, from a file or a decompressed chunk."""

    def __init__(self, path: Path, size: int, read: Callable[[int, int], bytes], close: Callable[[], None]) -> None:
        self.path, self.size, self._read, self._close = path, size, read, close

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, start: int, end: int) -> bytes:
        data = self._read(start, end) if start <= end <= self.size else b""
        if len(data) != end - start:
            raise self.damaged(f"it ends before byte {end}")
        return data

    def record(self, position: int, end: int) -> tuple[dict[str, bytes], int, int]:
        """A record's fields, and where its data start and end; all of it lies before `end`."""
        head = self.read(position, min(position + HEAD_BYTES, end))
        (length,) = struct.unpack_from("<I", head)
        if length > LARGEST_HEADER_BYTES or position + 8 + length > end:
            raise self.damaged(f"{length} bytes of fields at byte {position}")
        if len(head) < 8 + length:
            head = self.read(position, position + 8 + length)
        (data_bytes,) = struct.unpack_from("<I", head, 4 + length)
        start = position + 8 + length
        if start + data_bytes > end:
            raise self.damaged(f"a record of {data_bytes} bytes at byte {position}, which are not there")
        return _fields(head[4 : 4 + length]), start, start + data_bytes

    def message_at(
        self, position: int, end: int, messages: Messages, index: int, most_bytes: int | None = None
    ) -> tuple[bytes, int]:
        """A message's data (or their first bytes) and size, checked against its entry in the index."""
        try:
            fields, start, stop = self.record(position, end)
            same = (
                fields["op"] == bytes([MESSAGE])
                and struct.unpack("<I", fields["conn"])[0] == messages.connection
                and _time_ns(fields["time"]) == messages.time_ns[index]
            )
        except (struct.error, ValueError, KeyError) as error:
            raise self.damaged(f"no record at byte {position}") from error
        if not same:
            raise self.damaged(f"another message than the index says at byte {position}")
        return self.read(start, stop if most_bytes is None else min(stop, start + most_bytes)), stop - start

    def decompressed(self, chunk: Chunk) -> bytes:
        """A compressed chunk's data, of just the size that it declares."""
        data = self.read(chunk.start, chunk.start + chunk.stored_bytes)
        decompressor = lz4.frame.LZ4FrameDecompressor() if chunk.compression == "lz4" else bz2.BZ2Decompressor()
        try:
            unpacked = decompressor.decompress(data, max_length=chunk.size + 1)
        except (RuntimeError, OSError, ValueError, EOFError) as error:
            raise self.damaged(f"a chunk that does not decompress ({error})") from error
        if len(unpacked) != chunk.size or not decompressor.eof:
            raise self.damaged(f"a chunk of {chunk.size} bytes that is of another size")
        return unpacked

    def damaged(self, reason: str) -> InputError:
        return InputError("a whole ROS bag", f"{reason} in {self.path}", COPY_AGAIN)


def _open(path: Path) -> _Source:
    try:
        descriptor = os.open(path, os.O_RDONLY)
        size = os.fstat(descriptor).st_size
    except (OSError, ValueError) as error:
        raise InputError("a ROS bag", f"{path} ({error})", "check the path and its permissions") from error

    def read(start: int, end: int) -> bytes:
        try:
            return os.pread(descriptor, end - start, start)
        except OSError as error:
            raise InputError(f"to read {path}", str(error), "check the disk, then copy the bag again") from error

    return _Source(path, size, read, lambda: os.close(descriptor))


def _within(data: bytes, file: _Source) -> _Source:
    return _Source(file.path, len(data), lambda start, end: data[start:end], lambda: None)


def _fields(data: bytes) -> dict[str, bytes]:
    """Fields such as `op=\\x02`, each behind its size; ValueError if they do not fill their space."""
    fields, position = {}, 0
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position)
        name, equals, value = data[position + 4 : position + 4 + length].partition(b"=")
        position += 4 + length
        if not equals or position > len(data):
            raise ValueError("a field that is cut off")
        fields[name.decode("ascii")] = value
    return fields


def _time_ns(value: bytes) -> int:
    seconds, nanoseconds = struct.unpack("<II", value)
    return seconds * NANOSECONDS + nanoseconds


def _number(fields: Mapping[str, bytes], name: str, code: str = "<I") -> int:
    return struct.unpack(code, fields[name])[0]


@dataclass(frozen=True)
class _Connection:
    number: int
    topic: str
    type: str


class _Walk:
    """One pass over a bag's records."""

    def __init__(self, file: _Source) -> None:
        self.file = file
        self.chunks: list[Chunk] = []
        self.chunk_positions: list[int] = []
        self.connections: dict[int, _Connection] = {}
        self.entries: dict[int, list[tuple[int, np.ndarray]]] = {}
        self.counts: list[dict[int, int]] = []
        """Of each chunk: messages by connection, as the indexes behind it say."""
        self.infos: dict[int, dict[int, int]] = {}
        """The same by the chunk's position, as the bag's end says."""
        self.message_count = 0

    def walk(self) -> BagFile:
        fields, _, position = self.file.record(len(MAGIC), self.file.size)
        if fields.get("op") != bytes([BAG_HEADER]):
            raise self.file.damaged("no header")
        index_position = _number(fields, "index_pos", "<Q")
        if fields.get("encryptor"):
            raise InputError("a bag that is not encrypted", str(self.file.path), "decrypt it first")
        if index_position == 0:
            remedy = "close it with `rosbag reindex`, which finds the messages again, or record again"
            raise InputError("a bag that its recorder closed", f"{self.file.path} without an index", remedy)
        if index_position > self.file.size:
            raise self.file.damaged(f"it ends after {self.file.size} bytes, before its index")
        while position < self.file.size:
            if position < index_position:
                position = self._data_record(position, index_position)
            else:
                position = self._index_record(position)
        if len(self.connections) != _number(fields, "conn_count") or len(self.chunks) != _number(fields, "chunk_count"):
            raise self.file.damaged("another number of topics or chunks than its header says")
        found = dict(zip(self.chunk_positions, self.counts, strict=True))
        if found != self.infos:
            raise self.file.damaged("an index that contradicts the chunks")
        return BagFile(self.file.path, tuple(self.chunks), self._topics())

    def _data_record(self, position: int, end: int) -> int:
        fields, start, stop = self.file.record(position, end)
        operation = _number(fields, "op", "<B")
        if operation == CHUNK:
            self._chunk(fields, start, stop)
            self.chunk_positions.append(position)
        elif operation == INDEX and self.chunks:
            self._index(fields, start, stop)
        else:
            raise self.file.damaged(f"a record of kind {operation} among the chunks")
        return stop

    def _index_record(self, position: int) -> int:
        fields, start, stop = self.file.record(position, self.file.size)
        operation = _number(fields, "op", "<B")
        if stop - start > LARGEST_RECORD_BYTES or len(self.connections) > MOST_CONNECTIONS:
            raise self.file.damaged("an index of absurd size")
        data = self.file.read(start, stop)
        if operation == CONNECTION:
            number = _number(fields, "conn")
            if number in self.connections:
                raise self.file.damaged(f"connection {number} twice")
            described = _fields(data)
            topic = "/" + "/".join(part for part in fields["topic"].decode().split("/") if part)
            self.connections[number] = _Connection(number, topic, described["type"].decode())
        elif operation == CHUNK_INFO:
            place, count = _number(fields, "chunk_pos", "<Q"), _number(fields, "count")
            pairs = np.frombuffer(data, "<u4").reshape(-1, 2)
            if len(pairs) != count or place in self.infos or _number(fields, "ver") != 1:
                raise self.file.damaged("a chunk's description that contradicts itself")
            self.infos[place] = {int(number): int(messages) for number, messages in pairs}
        else:
            raise self.file.damaged(f"a record of kind {operation} in the index")
        return stop

    def _chunk(self, fields: Mapping[str, bytes], start: int, stop: int) -> None:
        compression, size = fields["compression"].decode(), _number(fields, "size")
        if compression not in ("none", "lz4", "bz2"):
            raise InputError(
                "chunks without compression, lz4 or bz2", f"{compression[:20]!r} in {self.file.path}", COPY_AGAIN
            )
        if (
            size > LARGEST_CHUNK_BYTES
            or stop - start > LARGEST_CHUNK_BYTES
            or (compression == "none" and size != stop - start)
        ):
            raise self.file.damaged(f"a chunk of {size} bytes, {stop - start} of them stored")
        self.chunks.append(Chunk(start, stop - start, size, compression))
        self.counts.append({})

    def _index(self, fields: Mapping[str, bytes], start: int, stop: int) -> None:
        number, count = _number(fields, "conn"), _number(fields, "count")
        self.message_count += count
        if (stop - start) != 12 * count or _number(fields, "ver") != 1 or number in self.counts[-1]:
            raise self.file.damaged("a chunk's index that contradicts itself")
        if self.message_count > MOST_MESSAGES:
            raise self.file.damaged(f"over {MOST_MESSAGES} messages")
        entries = np.frombuffer(self.file.read(start, stop), "<u4").reshape(-1, 3)
        if (entries[:, 2] >= self.chunks[-1].size).any() or (entries[:, 1] >= NANOSECONDS).any():
            raise self.file.damaged("an index that points out of its chunk")
        self.counts[-1][number] = count
        self.entries.setdefault(number, []).append((len(self.chunks) - 1, entries))

    def _topics(self) -> dict[str, Messages]:
        topics: dict[str, Messages] = {}
        for number, connection in self.connections.items():
            entries = self.entries.pop(number, [])
            if connection.topic in topics:
                raise self.file.damaged(f"topic {connection.topic} twice")
            rows = np.concatenate([rows for _, rows in entries]) if entries else np.zeros((0, 3), np.uint32)
            chunk = np.concatenate([np.full(len(rows), chunk) for chunk, rows in entries]) if entries else np.zeros(0)
            time_ns = rows[:, 0].astype(np.int64) * NANOSECONDS + rows[:, 1]
            order = np.lexsort((rows[:, 2], chunk))
            topics[connection.topic] = Messages(
                number, connection.type, time_ns[order], chunk[order].astype(np.int64), rows[order, 2].astype(np.int64)
            )
        if self.entries:
            raise self.file.damaged("messages of a topic that is none")
        return topics
