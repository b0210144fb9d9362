"""Sound tracks of media files, with their clock: each decoded piece's presentation time.

Samples are counted by decoding, because headers leave out what encoders add at the start and what a recorder lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64

from capture.readers.media_container import REMEDY, libav_errors, opened_media
from capture.readers.recording import AudioTrack
from geometry.errors import InputError

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

MOST_CHANNELS = 64
MOST_PIECES = 50_000_000
ANCHOR_EVERY_S = 1.0
JUMP_S = 2e-3
"""Presentation times are rounded to the container's unit, 1 ms in Matroska; beyond it samples are missing."""
PREROLL_PIECES = 8
"""Pieces decoded and thrown away before the wanted one: codecs overlap them (Opus asks for 80 ms, RFC 7845, 4.6)."""
SCALES = {"u8": 2**7, "s16": 2**15, "s32": 2**31, "flt": 1, "dbl": 1, "s64": 2**63}


@dataclass(frozen=True, eq=False)
class SoundSamples:
    """Reads samples of one track; pickles and keeps no file open."""

    path: Path
    """The file."""
    track: int
    """Which of its sound tracks."""
    channel_count: int
    """Channels."""
    pts: Int64[np.ndarray, "piece"]
    """Presentation time of each decoded piece, in the track's unit."""
    starts: Int64[np.ndarray, "piece_and_end"]
    """Number of each piece's first sample, and of all samples."""

    def __call__(self, start: int, stop: int) -> Float[np.ndarray, "sample channel"]:
        """Samples from start to stop, float32 from -1 to 1; InputError for others than there are."""
        count = int(self.starts[-1])
        if not 0 <= start <= stop <= count:
            expected = f"samples from 0 to {count} of {self.path}"
            raise InputError(expected, f"{start} to {stop}", "choose samples that were recorded")
        if start == stop:
            return np.zeros((0, self.channel_count), np.float32)
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        pieces, position = [], int(self.starts[first])
        for samples in self._pieces_from(first):
            pieces.append(samples[max(0, start - position) : stop - position])
            position += len(samples)
            if position >= stop:
                return np.concatenate(pieces)
        raise InputError(f"{count} samples", f"{position} in {self.path}", REMEDY)

    def _pieces_from(self, first: int) -> Iterator[Float[np.ndarray, "sample channel"]]:
        early = int(self.pts[max(0, first - PREROLL_PIECES)])
        wanted = int(self.pts[first])
        for seek_to in (early, None):
            found = False
            with opened_media(self.path) as container:
                stream = _stream(container, self.track, self.path)
                if seek_to is not None and first > PREROLL_PIECES:
                    container.seek(seek_to, stream=stream)
                for frame in _decoded(container, stream, self.path):
                    if not found and (frame.pts is None or frame.pts > wanted):
                        break  # the seek went too far: once more, from the start
                    if frame.pts == wanted or found:
                        found = True
                        yield _samples(frame, self.channel_count, self.path)
            if found:
                return
        raise InputError("the sound that was there before", f"none at {wanted} in {self.path}", REMEDY)


def sound_tracks(path: Path, camera: str, name: str) -> tuple[AudioTrack, ...]:
    """Every sound track of a media file, named `name`, `name-2` and so on; `camera` is whose clock it shares.

    Raises InputError: a track that does not decode to its end.
    """
    with opened_media(path) as container:
        count = len(container.streams.audio)
    return tuple(_track(path, number, camera, f"{name}-{number + 1}" if number else name) for number in range(count))


def _track(path: Path, number: int, camera: str, name: str) -> AudioTrack:
    pts: list[int] = []
    starts = [0]
    with opened_media(path) as container:
        stream = _stream(container, number, path)
        rate_hz, channel_count, unit_s = (
            stream.codec_context.sample_rate,
            stream.codec_context.channels,
            stream.time_base,
        )
        if not (0 < rate_hz <= 10_000_000 and 0 < channel_count <= MOST_CHANNELS) or unit_s is None:
            raise InputError("a possible sound track", f"{channel_count} channels at {rate_hz} Hz in {path}", REMEDY)
        for frame in _decoded(container, stream, path):
            if frame.pts is None or (pts and frame.pts <= pts[-1]):
                raise InputError("sound with increasing times", f"{frame.pts} in {path}", REMEDY)
            pts.append(frame.pts)
            starts.append(starts[-1] + frame.samples)
            if len(pts) > MOST_PIECES:
                raise InputError(f"at most {MOST_PIECES} pieces of sound", f"more in {path}", "split the file")
    if not pts:
        raise InputError("sound", f"an empty track in {path}", "remove the track, or record again")
    times, numbers = np.array(pts, np.int64), np.array(starts, np.int64)
    samples = SoundSamples(path, number, channel_count, times, numbers)
    anchors = _anchors(times, numbers, unit_s, rate_hz)
    return AudioTrack(name, camera, float(rate_hz), starts[-1], channel_count, anchors, samples)


def _anchors(
    pts: Int64[np.ndarray, "piece"], starts: Int64[np.ndarray, "piece_and_end"], unit_s: Fraction, rate_hz: int
) -> Int64[np.ndarray, "anchor 2"]:
    """First and last piece, one a second, and both sides of every jump in time."""
    time_ns = [round(int(value) * unit_s * 1_000_000_000) for value in pts]
    kept = [0]
    for piece in range(1, len(pts)):
        since = int(starts[piece] - starts[kept[-1]]) / rate_hz
        step = int(starts[piece] - starts[piece - 1]) / rate_hz
        jumped = abs((time_ns[piece] - time_ns[piece - 1]) * 1e-9 - step) > JUMP_S
        if jumped and kept[-1] != piece - 1:
            kept.append(piece - 1)
        if jumped or since >= ANCHOR_EVERY_S or piece == len(pts) - 1:
            kept.append(piece)
    return np.array([[int(starts[piece]), time_ns[piece]] for piece in kept], np.int64)


def _stream(container: InputContainer, number: int, path: Path) -> AudioStream:
    streams = container.streams.audio
    if number >= len(streams):
        raise InputError(f"sound track {number}", f"{len(streams)} tracks in {path}", REMEDY)
    if streams[number].codec_context is None:
        raise InputError("sound that can be decoded", f"an unknown codec in {path}", "convert it, to PCM or FLAC")
    streams[number].codec_context.thread_count = 1
    streams[number].codec_context.options = {"err_detect": "explode"}
    return streams[number]


def _decoded(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[AudioFrame]:
    for packet in container.demux(stream):
        with libav_errors(path):
            frames = packet.decode()
        yield from (frame for frame in frames if frame.samples)


def _samples(frame: AudioFrame, channel_count: int, path: Path) -> Float[np.ndarray, "sample channel"]:
    """A decoded piece as float32 from -1 to 1, whatever its format."""
    scale = SCALES.get(frame.format.name.removesuffix("p"))
    if scale is None:
        raise InputError(f"samples of {', '.join(SCALES)}", f"{frame.format.name} in {path}", "convert the sound")
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, channel_count)
    if values.shape != (frame.samples, channel_count):
        raise InputError(f"{channel_count} channels", f"samples of shape {values.shape} in {path}", REMEDY)
    centred = values.astype(np.float64) - (128 if values.dtype == np.uint8 else 0)
    return np.clip(centred / scale, -1, 1).astype(np.float32)
