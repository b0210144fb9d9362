"""A Matroska file as a recorder wrote it: tracks, tags, attachments, and where each block lies; no pixels in memory.

Every size is compared with the file's before anything is read. A file that was closed must be there to its last byte.
One that its recorder never closed (it crashed, or the disk was full) is read up to its last whole cluster, and says so.
Source: RFC 8794 (EBML) and RFC 9559 (Matroska); libmatroska's checksums, EBML's CRC-32 element.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from capture.readers.ebml import (
    COPY_AGAIN,
    UNKNOWN,
    Cut,
    Element,
    OpenFile,
    children,
    first_bytes,
    text,
    unsigned,
    vint,
)
from geometry.errors import InputError

EBML, SEGMENT, INFO, TRACKS, CLUSTER, TAGS, ATTACHMENTS = (
    0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1254C367, 0x1941A469,
)  # fmt: skip
SEEK_HEAD, CUES, CHAPTERS, VOID, CRC = 0x114D9B74, 0x1C53BB6B, 0x1043A770, 0xEC, 0xBF
LEVEL_1 = frozenset({INFO, TRACKS, CLUSTER, TAGS, ATTACHMENTS, SEEK_HEAD, CUES, CHAPTERS, VOID, CRC})
TIMECODE, SIMPLE_BLOCK, BLOCK_GROUP, BLOCK, POSITION, PREVIOUS_SIZE = 0xE7, 0xA3, 0xA0, 0xA1, 0xA7, 0xAB
BLOCK_DURATION, REFERENCE, DISCARD_PADDING = 0x9B, 0xFB, 0x75A2

LARGEST_HEADER_BYTES = 4 << 20
"""Tracks, tags or one attachment; a Kinect's have 4 kB."""
LARGEST_CLUSTER_BYTES = 256 << 20
"""A cluster lasts a frame's time at most a few; four uncompressed 12-megapixel pictures are 200 MB."""
MOST_BLOCKS = 4_000_000
"""Ten hours of three pictures at 30 Hz."""
NANOSECONDS_PER_TICK = 1_000_000
"""Matroska's own default of the time scale."""
LARGEST_NS = 2**62


@dataclass(frozen=True)
class Track:
    """What a file declares of one of its tracks."""

    number: int
    """How blocks refer to it."""
    uid: int
    """How tags refer to it."""
    name: str
    codec: str
    codec_private: bytes
    """The codec's own header."""
    size_hw: tuple[int, int]
    """Rows and columns, (0, 0) for what is no video."""
    frame_ns: int
    """Nominal time between frames, 0 if the file does not say."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Where the blocks of one track lie, in the order of the file."""

    time_ns: Int64[np.ndarray, "block"]
    """On the file's own clock."""
    start: Int64[np.ndarray, "block"]
    """First byte of the contents."""
    end: Int64[np.ndarray, "block"]
    """One past the last."""
    cluster: Int64[np.ndarray, "block"]
    """Index into `MatroskaFile.cluster_start`."""
    lacing: Int64[np.ndarray, "block"]
    """0: the contents are one frame; 1: Xiph's, 2: equal sizes, 3: EBML's way of several in one block."""


@dataclass(frozen=True, eq=False)
class MatroskaFile:
    """Everything but the blocks' contents, which `block` reads."""

    path: Path
    tracks: tuple[Track, ...]
    tags: Mapping[tuple[int, str], str]
    """By UID of the track or attachment (0: the whole file) and name."""
    attachments: Mapping[str, bytes]
    """By file name."""
    blocks: Mapping[int, Blocks]
    """By track number, one for each track."""
    cluster_start: Int64[np.ndarray, "cluster"]
    """First byte that a cluster's checksum covers."""
    cluster_end: Int64[np.ndarray, "cluster"]
    """One past the last."""
    cluster_crc: Int64[np.ndarray, "cluster"]
    """CRC-32 of these bytes; -1: the recorder wrote none."""
    left_out_bytes: int
    """Bytes of a cluster that the recorder did not finish writing; 0 where there are none."""
    closed: bool
    """Whether the recorder finished the file."""
    tick_ns: int
    """What the file's own times are multiples of."""

    def block(self, number: int, index: int) -> bytes:
        """The contents of a track's block; InputError if they are not as they were written."""
        blocks = self.blocks[number]
        cluster = int(blocks.cluster[index])
        start, end = int(blocks.start[index]), int(blocks.end[index])
        if self.cluster_crc[cluster] < 0:
            with OpenFile(self.path) as file:
                return file.read(start, end)
        data, first = self._checked_cluster(cluster), int(self.cluster_start[cluster])
        return data[start - first : end - first]

    def contents(self, number: int) -> Iterator[bytes]:
        """The contents of all of a track's blocks, small ones, without a look at checksums."""
        blocks = self.blocks[number]
        with OpenFile(self.path) as file:
            for start, end in zip(blocks.start.tolist(), blocks.end.tolist(), strict=True):
                yield file.read(start, end)

    def check_cluster(self, cluster: int) -> None:
        """InputError if a cluster's bytes do not have the checksum that was written with them."""
        if self.cluster_crc[cluster] >= 0:
            self._checked_cluster(cluster)

    def tag(self, name: str, uid: int = 0) -> str:
        """A tag's text, empty if there is none."""
        return self.tags.get((uid, name), "")

    def _checked_cluster(self, cluster: int) -> bytes:
        start, end = int(self.cluster_start[cluster]), int(self.cluster_end[cluster])
        with OpenFile(self.path) as file:
            data = file.read(start, end)
        if zlib.crc32(data) != self.cluster_crc[cluster]:
            raise InputError(
                "data with the checksum they were written with",
                f"other bytes from {start} to {end} in {self.path}",
                COPY_AGAIN,
            )
        return data


def is_matroska(path: Path) -> bool:
    """Whether a file starts as Matroska does; never raises."""
    start = first_bytes(path, 4096)
    return start.startswith(EBML.to_bytes(4)) and b"matroska" in start[:64]


def read_matroska(path: Path) -> MatroskaFile:
    """The index of a file. Raises InputError: no such file, cut off, damaged, or of a kind that no recorder writes."""
    with OpenFile(path) as file:
        return _Walk(file).walk()


@dataclass
class _Growing:
    """The blocks of one track while the file is walked."""

    time: array[int] = field(default_factory=lambda: array("q"))
    start: array[int] = field(default_factory=lambda: array("q"))
    end: array[int] = field(default_factory=lambda: array("q"))
    cluster: array[int] = field(default_factory=lambda: array("q"))
    lacing: array[int] = field(default_factory=lambda: array("q"))

    def whole(self) -> Blocks:
        return Blocks(
            *(np.array(column, np.int64) for column in (self.time, self.start, self.end, self.cluster, self.lacing))
        )


class _Walk:
    """One pass over a file's element headers."""

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        self.scale_ns = NANOSECONDS_PER_TICK
        self.tracks: tuple[Track, ...] = ()
        self.tags: dict[tuple[int, str], str] = {}
        self.attachments: dict[str, bytes] = {}
        self.growing: dict[int, _Growing] = {}
        self.clusters = (array("q"), array("q"), array("q"))
        self.block_count = 0
        self.left_out_bytes = 0

    def walk(self) -> MatroskaFile:
        position, declared_end = self._segment()
        closed = declared_end == self.file.size
        while position < self.file.size:
            within = declared_end != UNKNOWN and position < declared_end
            try:
                element = self.file.element(position, declared_end if within else self.file.size)
            except Cut as cut:
                if within or (cut.identity != CLUSTER and not self._unfinished_tail(position)):
                    raise self.file.damaged("an element that reaches beyond the file", position) from cut
                self.left_out_bytes = self.file.size - position
                break
            if element.id not in LEVEL_1 or element.end == UNKNOWN:
                if not within and self._unfinished_tail(position):
                    self.left_out_bytes = self.file.size - position
                    break
                raise self.file.damaged(f"an unexpected element {element.id:X}", position)
            self._level_1(element, position)
            position = element.end
        if not self.tracks:
            raise self.file.damaged("no tracks", self.file.size)
        starts, ends, checksums = (np.array(column, np.int64) for column in self.clusters)
        blocks = {number: growing.whole() for number, growing in self.growing.items()}
        return MatroskaFile(
            self.file.path, self.tracks, self.tags, self.attachments, blocks, starts, ends, checksums,
            self.left_out_bytes, closed, self.scale_ns,
        )  # fmt: skip

    def _segment(self) -> tuple[int, int]:
        """Where the segment's contents start, and where they end by its header (UNKNOWN: not said)."""
        try:
            header = self.file.element(0, self.file.size)
            if header.id != EBML or header.end == UNKNOWN or header.end > 4096:
                raise self.file.damaged("no EBML header", 0)
            if b"matroska" not in self.file.read(header.start, header.end):
                raise self.file.damaged("EBML of another kind", 0)
            segment = self.file.element(header.end, LARGEST_NS)
        except Cut as cut:
            raise self.file.damaged("an incomplete header", 0) from cut
        if segment.id != SEGMENT:
            raise self.file.damaged("no segment", header.end)
        if segment.end > self.file.size:
            got = f"{self.file.size} of its {segment.end} bytes in {self.file.path}"
            raise InputError("the whole file", got, "copy the file again from the recorder")
        return segment.start, segment.end

    def _unfinished_tail(self, position: int) -> bool:
        """Whether nothing follows but the beginning of an element's header, or zeros that a disk put there."""
        if self.file.size - position < 16:
            return True
        for start in range(position, self.file.size, 1 << 20):
            if any(self.file.read(start, min(start + (1 << 20), self.file.size))):
                return False
        return True

    def _level_1(self, element: Element, position: int) -> None:
        if element.id == CLUSTER:
            self._cluster(element)
            return
        if element.id not in (INFO, TRACKS, TAGS, ATTACHMENTS):
            return
        if element.end - element.start > LARGEST_HEADER_BYTES:
            raise self.file.damaged(f"{element.end - element.start} bytes of headers", position)
        data = self.file.read(element.start, element.end)
        try:
            self._header(element.id, _without_checksum(data))
        except (Cut, ValueError) as error:
            raise self.file.damaged(f"a header that contradicts itself ({error})", position) from error

    def _header(self, identity: int, data: bytes) -> None:
        if identity == INFO:
            if self.clusters[0]:
                raise ValueError("a time scale behind what it scales")
            for child, value in children(data):
                if child == 0x2AD7B1:
                    self.scale_ns = unsigned(value)
            if not 0 < self.scale_ns <= 10**9:
                raise ValueError(f"a time scale of {self.scale_ns} ns")
        elif identity == TRACKS:
            if self.tracks:
                raise ValueError("tracks twice")
            self.tracks = tuple(_track(value) for child, value in children(data) if child == 0xAE)
            self.growing = {track.number: _Growing() for track in self.tracks}
            if len(self.growing) != len(self.tracks):
                raise ValueError("a track's number twice")
        elif identity == TAGS:
            for child, value in children(data):
                if child == 0x7373:
                    self.tags.update(_tag(value))
        else:
            for child, value in children(data):
                if child == 0x61A7:
                    parts = dict(children(value))
                    self.attachments[text(parts.get(0x466E, b""))] = parts.get(0x465C, b"")

    def _cluster(self, cluster: Element) -> None:
        if cluster.end - cluster.start > LARGEST_CLUSTER_BYTES:
            raise self.file.damaged(f"a cluster of {cluster.end - cluster.start} bytes", cluster.start)
        number = len(self.clusters[0])
        covered_from, checksum, base = cluster.start, -1, None
        position = cluster.start
        while position < cluster.end:
            try:
                element = self.file.element(position, cluster.end)
            except Cut as cut:
                raise self.file.damaged("a block that reaches beyond its cluster", position) from cut
            size = element.end - element.start
            if element.end == UNKNOWN:
                raise self.file.damaged("a block of unknown size", position)
            if element.id == CRC and position == cluster.start and size == 4:
                checksum = int.from_bytes(self.file.read(element.start, element.end), "little")
                covered_from = element.end
            elif element.id == TIMECODE and size <= 8 and base is None:
                base = int.from_bytes(self.file.read(element.start, element.end))
            elif element.id in (SIMPLE_BLOCK, BLOCK_GROUP) and base is not None:
                self._block(element, base, number)
            elif not (element.id in (POSITION, PREVIOUS_SIZE) and size <= 8):
                # Anything else could be a block whose first byte was damaged: skipping it would lose a frame silently.
                raise self.file.damaged(f"an element {element.id:X} in a cluster", position)
            position = element.end
        for column, value in zip(self.clusters, (covered_from, cluster.end, checksum), strict=True):
            column.append(value)

    def _block(self, element: Element, base: int, cluster: int) -> None:
        if element.id == BLOCK_GROUP:
            element = self._block_of_group(element)
        head = self.file.read(element.start, min(element.start + 12, element.end))
        try:
            number, after = vint(head, 0, 8, keep_marker=False)
        except Cut as cut:
            raise self.file.damaged("a block without a track", element.start) from cut
        if number not in self.growing or len(head) < after + 3:
            raise self.file.damaged(f"a block of track {number}, which is none,", element.start)
        time_ns = (base + int.from_bytes(head[after : after + 2], signed=True)) * self.scale_ns
        self.block_count += 1
        if not 0 <= time_ns < LARGEST_NS or self.block_count > MOST_BLOCKS:
            raise self.file.damaged(
                "an impossible time" if self.block_count <= MOST_BLOCKS else "too many blocks", element.start
            )
        growing = self.growing[number]
        growing.time.append(time_ns)
        growing.start.append(element.start + after + 3)
        growing.end.append(element.end)
        growing.cluster.append(cluster)
        growing.lacing.append(head[after + 2] >> 1 & 3)

    def _block_of_group(self, group: Element) -> Element:
        found = None
        position = group.start
        while position < group.end:
            try:
                element = self.file.element(position, group.end)
            except Cut as cut:
                raise self.file.damaged("a block that reaches beyond its group", position) from cut
            if element.id == BLOCK and element.end != UNKNOWN and found is None:
                found = element
            elif element.id not in (BLOCK_DURATION, REFERENCE, DISCARD_PADDING) or element.end - element.start > 8:
                raise self.file.damaged(f"an element {element.id:X} in a block group", position)
            position = element.end
        if found is None:
            raise self.file.damaged("a group without a block", group.start)
        return found


def _without_checksum(data: bytes) -> bytes:
    """A master's contents; ValueError if it starts with a checksum that they do not have."""
    if data[:2] != b"\xbf\x84":
        return data
    if zlib.crc32(data[6:]) != int.from_bytes(data[2:6], "little"):
        raise ValueError("a wrong checksum")
    return data[6:]


def _track(data: bytes) -> Track:
    parts = dict(children(data))
    video = dict(children(parts.get(0xE0, b"")))
    number = unsigned(parts.get(0xD7, b""))
    if not number:
        raise ValueError("a track without a number")
    if 0x6D80 in parts:
        raise ValueError("a compressed or encrypted track")
    return Track(
        number=number,
        uid=unsigned(parts.get(0x73C5, b"")),
        name=text(parts.get(0x536E, b"")),
        codec=text(parts.get(0x86, b"")),
        codec_private=parts.get(0x63A2, b""),
        size_hw=(unsigned(video.get(0xBA, b"")), unsigned(video.get(0xB0, b""))),
        frame_ns=unsigned(parts.get(0x23E383, b"")),
    )


def _tag(data: bytes) -> dict[tuple[int, str], str]:
    uid, found = 0, {}
    for child, value in children(data):
        if child == 0x63C0:
            targets = dict(children(value))
            uid = unsigned(targets.get(0x63C5, targets.get(0x63C6, b"")))
        elif child == 0x67C8:
            simple = dict(children(value))
            found[text(simple.get(0x45A3, b""))] = text(simple.get(0x4487, b""))
    return {(uid, name): text for name, text in found.items()}
