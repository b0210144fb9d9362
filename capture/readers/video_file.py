"""One video file: every frame's presentation time by demuxing, any frame by seeking to the picture that starts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from capture.readers.media_container import REMEDY, libav_errors, opened_media, require_whole
from capture.readers.orientation import UPRIGHT
from capture.readers.recording import StreamClock
from capture.readers.timecode import timecodes_ns
from capture.readers.video_colour import VideoColour, video_colour
from geometry.cameras import CameraKind
from geometry.errors import InputError
from storage.jpeg import LARGEST_PICTURE_PX, decode_jpeg, outline_of_jpeg, strip_jpeg_metadata
from storage.rig_json import LARGEST_SIDE_PX

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

MOST_FRAMES = 20_000_000
DECODER_OPTIONS = {"err_detect": "explode", "max_pixels": str(LARGEST_PICTURE_PX)}
"""A broken picture is an error, and not concealed with pieces of its neighbours."""
HIDDEN_FRAMES = frozenset({"vp8"})
"""Codecs of which some packets show no picture, so that only decoding counts them."""


@dataclass(frozen=True, eq=False)
class VideoFile:
    """The frames of a video file, in order of presentation; pickles and keeps no file open."""

    path: Path
    """The file."""
    size_hw: tuple[int, int]
    """Rows and columns of the upright picture, pixels."""
    pts: Int64[np.ndarray, "t"]
    """Presentation times in units of `time_base_s`, strictly increasing."""
    keyframes: Int64[np.ndarray, "k"]
    """Numbers of the frames that decoding can start at, in order; the first is 0."""
    time_base_s: Fraction
    """Seconds per unit of `pts`."""
    colour: VideoColour
    """How decoded pictures become pixels."""
    is_jpeg: bool
    """Whether every frame is a whole JPEG."""
    codec: str
    """libav's name of the codec."""
    timecode: tuple[str, Fraction] | None
    """The first frame's SMPTE timecode, if the file carries one, and the rate that it is counted at."""
    notes: tuple[str, ...]
    """What a user should know about the file."""

    @property
    def frame_count(self) -> int:
        """Frames that the file shows."""
        return len(self.pts)

    @property
    def device_ns(self) -> Int64[np.ndarray, "t"]:
        """Presentation times in nanoseconds, rounded from exact fractions."""
        scale = self.time_base_s * 1_000_000_000
        times = [(2 * int(pts) * scale.numerator + scale.denominator) // (2 * scale.denominator) for pts in self.pts]
        if times and not -(2**63) <= times[0] <= times[-1] < 2**63:
            raise InputError("presentation times of 64 bits", f"{times[-1]} ns in {self.path}", REMEDY)
        return np.array(times, np.int64)

    @property
    def timecode_ns(self) -> Int64[np.ndarray, "t"] | None:
        """Timecode of each frame, nanoseconds since midnight; None if the file carries none."""
        if self.timecode is None:
            return None
        start, rate_hz = self.timecode
        numbers = [round(int(pts - self.pts[0]) * self.time_base_s * rate_hz) for pts in self.pts]
        return timecodes_ns(start, rate_hz, numbers)

    @property
    def clock(self) -> StreamClock:
        """Presentation times and timecode."""
        return StreamClock(self.device_ns, timecode_ns=self.timecode_ns)

    @property
    def longest_group(self) -> int:
        """Most frames from one keyframe to the next."""
        return int(np.diff([*self.keyframes, self.frame_count]).max())

    def frames(self, frames: range) -> Iterator[np.ndarray]:
        """Frames of a range in order, decoded from the keyframe before the first, one in memory at a time."""
        if self.is_jpeg:
            for index, data in zip(frames, self._jpegs(frames), strict=True):
                yield self._decoded_jpeg(data, index)
            return
        if len(frames):
            for frame in self._decoded(frames):
                yield self._pixels(frame)

    def jpeg(self, index: int) -> bytes | None:
        """The JPEG bitstream of a frame, without metadata; None if the video is no MJPEG or its pictures are turned."""
        if not self.is_jpeg or self.colour.orientation != UPRIGHT:
            return None
        return next(self._jpegs(range(index, index + 1)))

    def _pixels(self, frame: VideoFrame) -> np.ndarray:
        if frame.is_corrupt or frame.format.name != self.colour.pixel_format:
            got = f"a broken one at {frame.pts} in {self.path}"
            raise InputError(f"pictures in {self.colour.pixel_format}", got, REMEDY)
        pixels = self.colour.pixels(frame)
        if pixels.shape[:2] != self.size_hw:
            got = f"{pixels.shape[1]} x {pixels.shape[0]} px within {self.path}"
            raise InputError(f"pictures of {self.size_hw[1]} x {self.size_hw[0]} px", got, "split the video")
        return pixels

    def _decoded_jpeg(self, data: bytes, index: int) -> np.ndarray:
        try:
            pixels = self.colour.orientation.pixels(decode_jpeg(data))
        except ValueError as error:
            raise InputError("a whole JPEG", f"{error} in frame {index} of {self.path}", REMEDY) from error
        if pixels.shape[:2] != self.size_hw:
            got = f"{pixels.shape[1]} x {pixels.shape[0]} px in frame {index} of {self.path}"
            raise InputError(f"pictures of {self.size_hw[1]} x {self.size_hw[0]} px", got, "split the video")
        return pixels

    def _jpegs(self, frames: range) -> Iterator[bytes]:
        wanted = [int(self.pts[index]) for index in frames]
        if not wanted:
            return
        for packet in self._packets_from(wanted[0]):
            if packet.pts is not None and packet.pts == wanted[0]:
                try:
                    yield strip_jpeg_metadata(bytes(packet))
                except ValueError as error:
                    raise InputError("a whole JPEG", f"{error} at {wanted[0]} of {self.path}", REMEDY) from error
                del wanted[0]
                if not wanted:
                    return
        raise self._missing(wanted[0])

    def _decoded(self, frames: range) -> Iterator[VideoFrame]:
        first = int(self.pts[frames.start])
        index = frames.start
        for packet in self._packets_from(first):
            with libav_errors(self.path):
                decoded = packet.decode()
            for frame in decoded:
                wanted = int(self.pts[index])
                if frame.pts is None or (frame.pts < wanted and index > frames.start) or frame.pts > wanted:
                    raise self._missing(wanted)
                if frame.pts == wanted:
                    yield frame
                    index += 1
                    if index == frames.stop:
                        return
        raise self._missing(int(self.pts[index]))

    def _packets_from(self, first_pts: int) -> Iterator[Packet]:
        """Packets from a keyframe at or before a time on, those that flush the decoder included."""
        key = int(self.pts[self.keyframes[np.searchsorted(self.pts[self.keyframes], first_pts, "right") - 1]])
        with opened_video(self.path) as (container, stream):
            if key > int(self.pts[0]):
                container.seek(key, stream=stream)
                packet = next((packet for packet in container.demux(stream)), None)
                arrived = packet is not None and packet.is_keyframe and packet.pts is not None and packet.pts <= key
                container.seek(key if arrived else min(int(self.pts[0]), 0), stream=stream)
            yield from container.demux(stream)

    def _missing(self, pts: int) -> InputError:
        got = f"none at {float(pts * self.time_base_s):.6f} s in {self.path}"
        return InputError("a picture at each presentation time", got, REMEDY)


@contextmanager
def opened_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its one video stream, decoding in the calling thread alone; InputError if there are more."""
    from av.stream import Disposition

    with opened_media(path) as container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if len(streams) != 1:
            expected = "one video track in each file"
            raise InputError(expected, f"{len(streams)} in {path}", "split the tracks into files, one a camera")
        stream = streams[0]
        context = stream.codec_context
        if context is None:
            raise InputError(
                "a video that can be decoded", f"an unknown codec in {path}", "convert it, to FFV1 or H.264"
            )
        sides = (context.width, context.height)
        if not (min(sides) > 0 and max(sides) <= LARGEST_SIDE_PX and sides[0] * sides[1] <= LARGEST_PICTURE_PX):
            got = f"{sides[0]} x {sides[1]} px in {path}"
            raise InputError(f"pictures of at most {LARGEST_PICTURE_PX} px, {LARGEST_SIDE_PX} a side", got, REMEDY)
        context.thread_count = 1
        context.options = dict(DECODER_OPTIONS)
        yield container, stream


def read_video_file(path: Path, kind: CameraKind = "rgb") -> VideoFile:
    """The index of a video file: every frame that it shows, with its time; pictures are decoded when asked for.

    Frames before the first keyframe, which nothing can decode, are left out and noted.
    Raises InputError: no video, one that is cut off or holds fewer frames than its header says, times that are missing
    or come twice, and what `video_colour` refuses.
    """
    notes = list(require_whole(path))
    with opened_video(path) as (container, stream):
        name = stream.codec_context.name
        first, first_packet, entries, dropped = _index(container, stream, path, name in HIDDEN_FRAMES)
        declared = stream.frames
        if declared > len(entries) + dropped:
            got = f"{len(entries) + dropped} of them in {path}"
            raise InputError(f"the {declared} frames that the header names", got, REMEDY)
        time_base_s = stream.time_base
        assert time_base_s is not None
        aspect = stream.sample_aspect_ratio
        label = stream.metadata.get("timecode") or container.metadata.get("timecode") or ""
        rate_hz = stream.guessed_rate  # the average counts lost frames out
        timecode = (label, rate_hz) if label and rate_hz else None
    colour, colour_notes = video_colour(first, kind, path.name)
    if dropped:
        notes.append(f"{path.name}: {dropped} frames that nothing can decode (before the first keyframe) are left out")
    if aspect not in (None, 0, 1):
        notes.append(f"{path.name}: pixels are not square ({aspect}); they are kept as stored")
    order = sorted(entries)
    pts = np.array([pts for pts, _ in order], np.int64)
    if (np.diff(pts) <= 0).any():
        got = f"two at {float(pts[:-1][np.diff(pts) <= 0][0] * time_base_s):.6f} s in {path}"
        raise InputError("one picture at each presentation time", got, "write the video anew with correct times")
    keyframes = np.flatnonzero([is_key for _, is_key in order])
    is_jpeg = name == "mjpeg" and kind == "rgb" and _is_whole_jpeg(first_packet, (first.height, first.width))
    size_hw = colour.orientation.size_hw((first.height, first.width))
    return VideoFile(
        path=path,
        size_hw=size_hw,
        pts=pts,
        keyframes=keyframes,
        time_base_s=time_base_s,
        colour=colour,
        is_jpeg=is_jpeg,
        codec=name,
        timecode=timecode,
        notes=(*notes, *colour_notes),
    )


def _index(
    container: InputContainer, stream: VideoStream, path: Path, by_decoding: bool
) -> tuple[VideoFrame, bytes, list[tuple[int, bool]], int]:
    """First picture, its packet, time and keyframe mark of every frame, and frames before the first keyframe."""
    entries: list[tuple[int, bool]] = []
    first: VideoFrame | None = None
    first_packet = b""
    dropped = 0
    for packet in container.demux(stream):
        if packet.dts is None and not packet.size:
            frames = packet.decode() if first is None or by_decoding else []
        else:
            if packet.is_corrupt:
                raise InputError("whole packets", f"a broken one at byte {packet.pos} of {path}", REMEDY)
            if not entries and not first_packet and not packet.is_keyframe:
                dropped += 1
                continue
            first_packet = first_packet or bytes(packet)
            if not by_decoding and not packet.is_discard:
                if packet.pts is None:
                    raise InputError("a presentation time for every frame", f"none in {path}", "write the video anew")
                entries.append((packet.pts, packet.is_keyframe))
            frames = packet.decode() if first is None or by_decoding else []
        for frame in frames:
            first = first or frame
            if by_decoding and frame.pts is not None:
                entries.append((frame.pts, bool(frame.key_frame)))
        if len(entries) > MOST_FRAMES:
            raise InputError(f"at most {MOST_FRAMES} frames", f"more in {path}", "split the video")
    if first is None or not entries:
        raise InputError("a video with at least one picture", f"none that decodes in {path}", REMEDY)
    if not min(entries)[1]:
        # Pictures shown before the keyframe that they are decoded after belong to a group that is not there.
        first_key = min(pts for pts, is_key in entries if is_key)
        dropped += sum(pts < first_key for pts, _ in entries)
        entries = [(pts, is_key) for pts, is_key in entries if pts >= first_key]
    return first, first_packet, entries, dropped


def _is_whole_jpeg(data: bytes, size_hw: tuple[int, int]) -> bool:
    """Some recorders leave the Huffman tables out, or write two half-height fields."""
    try:
        outline = outline_of_jpeg(data)
    except ValueError:
        return False
    return outline.size_hw == size_hw and outline.channel_count == 3
