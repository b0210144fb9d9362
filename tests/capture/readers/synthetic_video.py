"""Small videos whose pixels, times and sound are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

SIZE_HW = (48, 64)
RATE_HZ = 48_000


@dataclass(frozen=True)
class Encoding:
    """How to write a video."""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    time_base: Fraction = Fraction(1, 90_000)
    options: dict[str, str] = field(default_factory=lambda: {"crf": "4", "preset": "ultrafast"})
    gop: int = 5
    b_frames: int = 0
    rotation: int = 0
    colorspace: int | None = None
    color_range: int | None = None
    timecode: str = ""


def picture(number: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """A smooth picture whose brightness tells its number, so that lossy codecs keep it apart."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    base = 40 + (number * 37) % 150
    return np.stack([base + rows // 2, base + columns // 3, np.full(size_hw, base)], -1).astype(np.uint8)


def even_pts(count: int, rate_hz: int = 30, time_base: Fraction = Fraction(1, 90_000)) -> list[int]:
    """Presentation times of an even rate."""
    return [round(Fraction(frame, rate_hz) / time_base) for frame in range(count)]


def write_video(
    path: Path,
    pts: Sequence[int],
    encoding: Encoding = Encoding(),
    pictures: Sequence[np.ndarray] | None = None,
    sound: np.ndarray | None = None,
) -> Path:
    """Write pictures at presentation times; 16-bit grey ones where they are uint16. Sound is (sample, channel)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = pictures if pictures is not None else [picture(number) for number in range(len(pts))]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoding.codec, options=dict(encoding.options))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = encoding.pix_fmt
        stream.time_base = encoding.time_base
        context = stream.codec_context
        context.time_base = encoding.time_base
        context.gop_size, context.max_b_frames = encoding.gop, encoding.b_frames
        if encoding.colorspace is not None:
            context.colorspace = encoding.colorspace
        if encoding.color_range is not None:
            context.color_range = encoding.color_range
        if encoding.rotation:
            stream.set_display_rotation(encoding.rotation)
        if encoding.timecode:
            stream.metadata["timecode"] = encoding.timecode
        voice = _voice(container, "aac" if path.suffix == ".mp4" else "pcm_s16le", sound)
        for time, image in zip(pts, images, strict=True):
            frame = _frame(image, encoding)
            frame.pts, frame.time_base = time, encoding.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None and sound is not None:
            _mux_sound(container, voice, sound)
    return path


def write_sound(path: Path, sound: np.ndarray) -> Path:
    """A WAV file of (sample, channel) int16."""
    with av.open(str(path), "w") as container:
        voice = _voice(container, "pcm_s16le", sound)
        assert voice is not None
        _mux_sound(container, voice, sound)
    return path


def _voice(container: OutputContainer, codec: str, sound: np.ndarray | None) -> av.AudioStream | None:
    if sound is None:
        return None
    voice = container.add_stream(codec, rate=RATE_HZ)
    assert isinstance(voice, av.AudioStream)
    voice.codec_context.layout = "stereo" if sound.shape[1] == 2 else "mono"
    return voice


def _frame(image: np.ndarray, encoding: Encoding) -> av.VideoFrame:
    if image.dtype == np.uint16:
        return av.VideoFrame.from_ndarray(image, format="gray16le")
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    matrix, value_range = encoding.colorspace or 5, encoding.color_range or 1
    if encoding.pix_fmt.startswith("yuv"):
        full = 2 if encoding.pix_fmt.startswith("yuvj") else value_range
        frame = frame.reformat(
            format=encoding.pix_fmt, dst_colorspace=matrix, src_color_range=2, dst_color_range=full,
            interpolation=2 | 0x2000 | 0x40000,
        )  # fmt: skip
        if encoding.colorspace is not None:
            frame.colorspace = matrix
        if encoding.color_range is not None:
            frame.color_range = value_range
    return frame


def _mux_sound(container: OutputContainer, voice: av.AudioStream, sound: np.ndarray) -> None:
    layout = "stereo" if sound.shape[1] == 2 else "mono"
    for start in range(0, len(sound), 1024):
        block = np.ascontiguousarray(sound[start : start + 1024])
        frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
        container.mux(voice.encode(frame))
    container.mux(voice.encode(None))
