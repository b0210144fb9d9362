"""The pictures of a Kinect's Matroska file: colour, depth and infrared tracks, found, checked and read."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from jaxtyping import UInt8

from capture.readers.ebml import COPY_AGAIN
from capture.readers.matroska import MatroskaFile, Track
from geometry.cameras import CameraKind
from geometry.errors import InputError
from storage.jpeg import decode_jpeg, strip_jpeg_metadata

RGB, DEPTH, INFRARED = "rgb", "depth", "infrared"
KINDS: Mapping[str, CameraKind] = {"COLOR": RGB, "DEPTH": DEPTH, "IR": INFRARED}
"""By the name of the track."""
IMU_TRACK = "IMU"
POSSIBLE_TICKS_NS = (1_000, 1_000_000)
"""k4arecord's, and Matroska's usual one, which editing programs leave; any other is damage that no checksum covers."""
FOURCC_CODEC = "V_MS/VFW/FOURCC"
BITMAP_HEADER_BYTES = 40
LARGEST_SIDE_PX = 16_384
Format = Literal["MJPG", "NV12", "YUY2", "BGRA", "b16g"]
YUV_TO_RGB = {"NV12": cv2.COLOR_YUV2RGB_NV12, "YUY2": cv2.COLOR_YUV2RGB_YUY2}


@dataclass(frozen=True)
class KinectStream:
    """A video track of a Kinect."""

    track: Track
    kind: CameraKind
    format: Format
    """How its pictures are coded, as four letters."""
    mode: str
    """The tag that names the device's mode, such as MJPG_720P; empty if the file has none."""


def kinect_streams(file: MatroskaFile) -> dict[CameraKind, KinectStream]:
    """What a file's tracks hold. InputError: unknown coding, sizes that contradict each other or the blocks."""
    tracks = [track for track in file.tracks if track.name in KINDS]
    streams: dict[CameraKind, KinectStream] = {KINDS[track.name]: _stream(file, track) for track in tracks}
    if not streams or len(streams) != len(tracks):
        raise unfit(file, "one track each of COLOR, DEPTH and IR", f"{len(tracks)} of them")
    for name in (*KINDS, IMU_TRACK):
        for uid in (uid for uid, tag in file.tags if tag == f"K4A_{name}_TRACK"):
            if not any(track.uid == uid and track.name == name for track in file.tracks):
                raise unfit(file, f"the track {name} that a tag names", "none")
    if file.tick_ns not in POSSIBLE_TICKS_NS:
        raise unfit(file, "times in microseconds", f"ticks of {file.tick_ns} ns")
    return streams


def _stream(file: MatroskaFile, track: Track) -> KinectStream:
    kind = KINDS[track.name]
    header = track.codec_private
    if track.codec != FOURCC_CODEC or len(header) < BITMAP_HEADER_BYTES:
        raise unfit(file, f"{track.name} coded as a bitmap's four letters", f"{track.codec[:40]!r}")
    columns, rows = struct.unpack_from("<ii", header, 4)
    rows = abs(rows)
    coding = header[16:20].decode("latin-1")
    allowed = ("b16g",) if kind != RGB else ("MJPG", "NV12", "YUY2", "BGRA")
    if coding not in allowed:
        raise unfit(file, f"{track.name} as {' or '.join(allowed)}", repr(coding))
    if (rows, columns) != track.size_hw or not (0 < rows <= LARGEST_SIDE_PX and 0 < columns <= LARGEST_SIDE_PX):
        got = f"{columns} x {rows} and {track.size_hw[1]} x {track.size_hw[0]} px"
        raise unfit(file, f"one possible picture size of {track.name}", got)
    tags = {RGB: "K4A_COLOR_MODE", DEPTH: "K4A_DEPTH_MODE", INFRARED: "K4A_DEPTH_MODE"}
    mode = file.tag(tags[kind], track.uid) or file.tag(tags[kind])
    stream = KinectStream(track, kind, cast(Format, coding), mode)
    _check_blocks(file, stream)
    return stream


def _check_blocks(file: MatroskaFile, stream: KinectStream) -> None:
    """Raw pictures have one size: any other is damage, found before anything is allocated."""
    blocks = file.blocks[stream.track.number]
    if not len(blocks.time_ns):
        raise unfit(file, f"frames of {stream.track.name}", "none")
    if blocks.lacing.any():
        raise unfit(file, f"one picture of {stream.track.name} a block", "several")
    expected = _raw_bytes(stream)
    sizes = blocks.end - blocks.start
    rows, columns = stream.track.size_hw
    wrong = (sizes > 4 * rows * columns + 65536) | (sizes < 4) if expected is None else sizes != expected
    if wrong.any():
        index = int(wrong.argmax())
        got = f"{sizes[index]} bytes in frame {index}"
        raise unfit(file, f"pictures of {columns} x {rows} px {stream.format} in {stream.track.name}", got)


def _raw_bytes(stream: KinectStream) -> int | None:
    """Size of a picture, None where it varies."""
    rows, columns = stream.track.size_hw
    if stream.format == "MJPG":
        return None
    if stream.format == "NV12":
        return rows * columns * 3 // 2
    return rows * columns * (4 if stream.format == "BGRA" else 2)


@dataclass(frozen=True, eq=False)
class KinectFrames:
    """Reads a frame from its block each time it is asked; holds no pixels and no open file."""

    file: MatroskaFile
    streams: Mapping[str, KinectStream]
    """By camera."""

    def __call__(self, camera_id: str, index: int) -> np.ndarray:
        """As `Recording.read_frame`."""
        stream = self._stream(camera_id, index)
        data = self.file.block(stream.track.number, index)
        rows, columns = stream.track.size_hw
        if stream.format == "MJPG":
            pixels = self._decoded(data, camera_id, index)
            if pixels.shape[:2] != (rows, columns):
                raise self._wrong(camera_id, index, f"a picture of {pixels.shape[1]} x {pixels.shape[0]} px")
            return pixels
        return _raw_pixels(data, stream.format, (rows, columns))

    def read_jpeg(self, camera_id: str, index: int) -> bytes | None:
        """The JPEG of a colour frame, its metadata stripped; None for any other."""
        stream = self._stream(camera_id, index)
        if stream.format != "MJPG":
            return None
        try:
            return strip_jpeg_metadata(self.file.block(stream.track.number, index))
        except ValueError as error:
            raise self._wrong(camera_id, index, str(error)) from error

    def _stream(self, camera_id: str, index: int) -> KinectStream:
        if camera_id not in self.streams:
            expected = f"a camera of {self.file.path} ({', '.join(self.streams)})"
            raise InputError(expected, repr(camera_id), "correct the camera's name")
        stream = self.streams[camera_id]
        count = len(self.file.blocks[stream.track.number].time_ns)
        if not 0 <= index < count:
            expected = f"a frame from 0 to {count - 1} of {camera_id}"
            raise InputError(expected, f"frame {index}", "choose a frame that was recorded")
        return stream

    def _decoded(self, data: bytes, camera_id: str, index: int) -> UInt8[np.ndarray, "h w 3"]:
        try:
            return decode_jpeg(data)
        except ValueError as error:
            raise self._wrong(camera_id, index, str(error)) from error

    def _wrong(self, camera_id: str, index: int, reason: str) -> InputError:
        return InputError(
            f"a whole picture in frame {index} of {camera_id}", f"{reason} in {self.file.path}", COPY_AGAIN
        )


def _raw_pixels(data: bytes, coding: Format, size_hw: tuple[int, int]) -> np.ndarray:
    rows, columns = size_hw
    if coding == "b16g":
        return np.frombuffer(data, ">u2").reshape(rows, columns).astype(np.uint16)
    values = np.frombuffer(data, np.uint8)
    if coding == "BGRA":
        return np.ascontiguousarray(values.reshape(rows, columns, 4)[..., 2::-1])
    shape = (rows * 3 // 2, columns) if coding == "NV12" else (rows, columns, 2)
    return cv2.cvtColor(values.reshape(shape), YUV_TO_RGB[coding])


def unfit(file: MatroskaFile, expected: str, got: str) -> InputError:
    """An error that names the file."""
    return InputError(expected, f"{got} in {file.path}", COPY_AGAIN)
