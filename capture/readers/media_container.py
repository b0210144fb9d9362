"""Media files opened safely: whole, of a container that is named, bounded in threads, closed again.

A demuxer takes the end of a truncated file for the end of the recording, so the containers' own lengths are compared
with the file first. Source: ISO/IEC 14496-12, 4.2 (boxes); RFC 8794 (EBML) and RFC 9559 (Matroska); OpenDML AVI 1.02.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from geometry.errors import InputError

if TYPE_CHECKING:
    from av.container import InputContainer

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
SOUND_SUFFIXES = (".wav", ".m4a", ".mka", ".flac", ".mp3", ".ogg", ".opus")
EBML_ID, SEGMENT_ID = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
"""What an ISO or QuickTime file may start with."""
SOUND_MAGIC = {b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3", b"\xff\xfb": "mp3", b"\xff\xf3": "mp3"}
MOST_BOXES = 10_000_000
REMEDY = "copy the file again from the recorder, or record again"


def format_of(path: Path) -> str | None:
    """libav's name of the container that the first bytes show, or None; never raises."""
    try:
        if not path.is_file():  # a pipe would wait for someone to write
            return None
        with path.open("rb") as file:
            start = file.read(16)
    except (OSError, ValueError):
        return None
    if start[4:8] in BOXES:
        return "mov"
    if start.startswith(EBML_ID):
        return "matroska"
    if start[:4] == b"RIFF" and start[8:12] in (b"AVI ", b"WAVE"):
        return "avi" if start[8:12] == b"AVI " else "wav"
    return next((name for magic, name in SOUND_MAGIC.items() if start.startswith(magic)), None)


def require_whole(path: Path) -> tuple[str, ...]:
    """Notes on a media file whose container is whole as far as it says; InputError for one that is cut off."""
    name = format_of(path)
    if name is None:
        expected = f"a media file ({', '.join(VIDEO_SUFFIXES)})"
        raise InputError(expected, f"other bytes in {path}", "name a video, or copy the file again")
    checks = {"mov": _check_boxes, "matroska": _check_segment, "avi": _check_riff, "wav": _check_riff}
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return checks[name](file, size, path) if name in checks else ()
    except OSError as error:
        raise InputError("a media file", f"{path} ({error.strerror})", REMEDY) from error


@contextmanager
def opened_media(path: Path) -> Iterator[InputContainer]:
    """The container of a media file, closed at the end; every error of libav's becomes an InputError."""
    import av

    # The format is given, because probing would also try playlists that name other files and URLs.
    with (
        libav_errors(path),
        av.open(str(path.absolute()), format=format_of(path), options={"fflags": "+genpts"}) as container,
    ):
        yield container


@contextmanager
def libav_errors(path: Path) -> Iterator[None]:
    """Turns what libav raises about a file into an InputError that names it."""
    from av.error import FFmpegError

    try:
        yield
    except (FFmpegError, OSError, ValueError, OverflowError, MemoryError) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError("a media file that decodes", f"{path} ({said})", REMEDY) from error


def _check_boxes(file: BinaryIO, size: int, path: Path) -> tuple[str, ...]:
    position, names = 0, []
    while position < size:
        file.seek(position)
        head = file.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = size - position
        if length < 8 or position + length > size or len(names) > MOST_BOXES:
            raise _cut_off(path, position, size)
        names.append(name)
        position += length
    if b"moov" not in names:
        raise InputError("a video with its index (moov)", f"{path} without one: it was never finished", REMEDY)
    return ()


def _check_segment(file: BinaryIO, size: int, path: Path) -> tuple[str, ...]:
    file.seek(4)
    header_bytes, start = _ebml_length(file)
    position = start + (header_bytes or 0)
    file.seek(position)
    if header_bytes is None or header_bytes > 2**16 or file.read(4) != SEGMENT_ID:
        raise InputError("a Matroska file", f"{path} without its segment", REMEDY)
    length, start = _ebml_length(file)
    if length is None:
        return (f"{path.name}: its recorder never wrote how long it is; if it was cut off, nothing shows it",)
    if start + length > size:
        raise _cut_off(path, start, size)
    return ()


def _ebml_length(file: BinaryIO) -> tuple[int | None, int]:
    """A length (None: unknown) and where it ends. Source: RFC 8794, 4 and 6.2."""
    first = file.read(1)
    width = 9 - first[0].bit_length() if first and first[0] else 9
    if width > 8:
        return None, file.tell()
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + file.read(width - 1), "big")
    return (None if value == 2 ** (7 * width) - 1 else value), file.tell()


def _check_riff(file: BinaryIO, size: int, path: Path) -> tuple[str, ...]:
    position = 0
    while size - position >= 8:
        file.seek(position)
        head = file.read(8)
        if head[:4] != b"RIFF":
            break  # what programs leave behind the last list
        length = int.from_bytes(head[4:8], "little")
        if length < 4 or position + 8 + length > size:
            raise _cut_off(path, position, size)
        position += 8 + length + length % 2
    return ()


def _cut_off(path: Path, position: int, size: int) -> InputError:
    got = f"{path}, which ends after {size} bytes, within the part that starts at byte {position}"
    return InputError("a whole media file", got, REMEDY)
