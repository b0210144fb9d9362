"""JPEG bitstreams as cameras write them: checked to be whole, stripped of what they tell of people, decoded.

libjpeg fills what a cut-off file lacks with grey and says nothing, so the structure is followed to its end first.
Source: ITU-T T.81 (JPEG), annex B; JFIF 1.02 (APP0); ITU-T T.872 (Adobe's APP14).
"""

from __future__ import annotations

from dataclasses import dataclass

import imagecodecs
import numpy as np
from jaxtyping import Int, UInt8

LARGEST_PICTURE_PX = 2**26
"""67 megapixels: a progressive one takes 600 MB to decode."""

MOST_SCANS = 128
"""Progressive encoders make about ten; each more is another pass over the whole picture."""

STARTS_OF_FRAME = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""Lossless, hierarchical and arithmetic processes, which cameras do not write."""

SOI, EOI, SOS, DRI, COM, APP0, APP14 = 0xD8, 0xD9, 0xDA, 0xDD, 0xFE, 0xE0, 0xEE


class DamagedJpeg(ValueError):
    """Bytes that are not one whole JPEG picture."""


@dataclass(frozen=True)
class JpegOutline:
    """Where a bitstream's parts lie."""

    size_hw: tuple[int, int]
    """Rows and columns, pixels."""
    channel_count: int
    """1: grey; 3: colour."""
    metadata: tuple[tuple[int, int], ...]
    """Start and end of the segments that pixels do not depend on: APPn and COM."""
    end: int
    """One past the end-of-image marker; cameras put more pictures behind it."""


def decode_jpeg(data: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of a JPEG as sRGB, its EXIF orientation not applied. The one JPEG decoder of the project.

    Sizes are read before anything is allocated. Raises DamagedJpeg (a ValueError) for what is cut off, no JPEG, or
    of another process than 8-bit baseline or progressive. Bytes that are missing within the entropy-coded data, with
    all markers in place, cannot be told from a picture: checksums are for those.
    """
    outline = outline_of_jpeg(data)
    try:
        # What lies behind the picture never reaches the decoder.
        pixels = imagecodecs.jpeg8_decode(data[: outline.end])
    except (RuntimeError, ValueError) as error:
        raise DamagedJpeg(f"a JPEG that does not decode ({error})") from error
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape != (*outline.size_hw, 3):
        raise DamagedJpeg(f"a JPEG of {outline.size_hw} that decodes to {pixels.shape}")
    return pixels


def strip_jpeg_metadata(data: bytes) -> bytes:
    """The bitstream without EXIF, GPS, XMP, comments, thumbnails and what follows the picture; the same pixels.

    Of the metadata only JFIF's version and density and Adobe's colour transform stay, which say how colours are coded.
    Raises DamagedJpeg (a ValueError) when it is no whole JPEG.
    """
    outline = outline_of_jpeg(data)
    parts, position = [], 0
    for start, end in outline.metadata:
        parts += [data[position:start], _colour_segment(data[start:end])]
        position = end
    return b"".join([*parts, data[position : outline.end]])


def size_of_jpeg(data: bytes) -> tuple[int, int]:
    """Rows and columns of a whole JPEG; DamagedJpeg if it is none."""
    return outline_of_jpeg(data).size_hw


def outline_of_jpeg(data: bytes) -> JpegOutline:
    """Follow the markers from the start to the end of the image; DamagedJpeg if one is missing or out of place."""
    if data[:3] != b"\xff\xd8\xff":
        raise DamagedJpeg("no JPEG")
    ends_of_scan, restart_markers = _markers_in_scans(data)
    position, scan_count, coded_bytes, restart_interval, restarts = 2, 0, 0, 0, 0
    metadata: list[tuple[int, int]] = []
    frame = b""
    while True:
        start = position
        marker, position = _marker_at(data, position)
        if marker == EOI:
            break
        if marker == SOI or 0xD0 <= marker <= 0xD7 or marker in (0x00, 0x01):
            raise DamagedJpeg(f"marker {marker:#x} out of place at byte {start}")
        length = int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : position + length]
        if length < 2 or len(segment) != length - 2:
            raise DamagedJpeg(f"it ends after {len(data)} bytes, within a segment")
        position += length
        if APP0 <= marker <= 0xEF or marker == COM:
            metadata.append((start, position))
        elif marker in OTHER_FRAMES:
            raise DamagedJpeg(f"a coding process ({marker:#x}) that no camera uses")
        elif marker in STARTS_OF_FRAME:
            if frame:
                raise DamagedJpeg("two frame headers")
            frame = segment
        elif marker == DRI:
            restart_interval = int.from_bytes(segment[:2], "big")
        elif marker == SOS:
            if not frame or (scan_count := scan_count + 1) > MOST_SCANS:
                raise DamagedJpeg("a scan without a frame header" if not frame else f"over {MOST_SCANS} scans")
            following = int(np.searchsorted(ends_of_scan, position))
            if following == len(ends_of_scan):
                raise DamagedJpeg(f"it ends after {len(data)} bytes, within the picture")
            end = int(ends_of_scan[following])
            coded_bytes += end - position
            restarts += int(np.diff(np.searchsorted(restart_markers, (position, end)))[0])
            position = end
    if not scan_count:
        raise DamagedJpeg("a JPEG without a picture")
    size_hw, channel_count, mcu_count = _frame_header(frame)
    # Each block of 8 x 8 pixels takes a bit at least.
    if size_hw[0] * size_hw[1] > 64 * 8 * coded_bytes:
        raise DamagedJpeg(f"{coded_bytes} bytes are too few for {size_hw[1]} x {size_hw[0]} px")
    sequential = scan_count == 1 and channel_count > 1
    if sequential and restart_interval and restarts != (mcu_count - 1) // restart_interval:
        raise DamagedJpeg(f"{restarts} restart markers, not {(mcu_count - 1) // restart_interval}")
    return JpegOutline(size_hw, channel_count, tuple(metadata), position)


def _markers_in_scans(data: bytes) -> tuple[Int[np.ndarray, "end"], Int[np.ndarray, "restart"]]:
    """Where entropy-coded data could end (any marker but a stuffed zero and a restart), and where it restarts."""
    values = np.frombuffer(data, np.uint8)
    positions = np.flatnonzero(values[:-1] == 0xFF)
    following = values[positions + 1]
    restarts = (following >= 0xD0) & (following <= 0xD7)
    return positions[~restarts & (following != 0x00) & (following != 0xFF)], positions[restarts]


def _marker_at(data: bytes, position: int) -> tuple[int, int]:
    """The marker at a position, behind any fill bytes, and where it ends."""
    end = position
    while data[end : end + 1] == b"\xff":
        end += 1
    if end >= len(data):
        raise DamagedJpeg(f"it ends after {len(data)} bytes, before the end of the image")
    if end == position:
        raise DamagedJpeg(f"no marker at byte {position}")
    return data[end], end + 1


def _frame_header(segment: bytes) -> tuple[tuple[int, int], int, int]:
    """Rows and columns, components, and coded units (MCU) of an interleaved scan."""
    if len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
        raise DamagedJpeg("a broken frame header")
    bits, rows, columns, count = segment[0], *(int.from_bytes(segment[i : i + 2], "big") for i in (1, 3)), segment[5]
    if bits != 8 or count not in (1, 3):
        raise DamagedJpeg(f"{count} components of {bits} bits, not 1 or 3 of 8")
    if not rows or not columns or rows * columns > LARGEST_PICTURE_PX:
        raise DamagedJpeg(f"a picture of {columns} x {rows} px; at most {LARGEST_PICTURE_PX} px are read")
    factors = [(segment[7 + 3 * i] >> 4, segment[7 + 3 * i] & 15) for i in range(count)]
    if any(not 1 <= factor <= 4 for pair in factors for factor in pair):
        raise DamagedJpeg("impossible sampling factors")
    across, down = (8 * max(pair[axis] for pair in factors) for axis in (0, 1))
    return (rows, columns), count, -(-columns // across) * -(-rows // down)


def _colour_segment(segment: bytes) -> bytes:
    """What of a metadata segment says how colours are coded: JFIF without its thumbnail, Adobe's transform."""
    body = segment.lstrip(b"\xff")[3:]
    marker = segment.lstrip(b"\xff")[0]
    if marker == APP0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        return b"\xff\xe0\x00\x10" + body[:12] + b"\0\0"
    if marker == APP14 and body.startswith(b"Adobe") and len(body) >= 12:
        return b"\xff\xee\x00\x0e" + body[:12]
    return b""
