"""Pictures as JPEG XL: what one declares itself to be is read before any of it is decoded.

Source: ISO/IEC 18181-1:2024, annex D.2 (SizeHeader), and 18181-2 (boxes).
"""

from __future__ import annotations

from collections.abc import Callable

import imagecodecs
import numpy as np

SIGNATURE_BOX = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
CODESTREAM = b"\xff\x0a"

SIDE_BITS = (9, 13, 18, 30)
"""How many bits a side takes, by its selector."""
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width over height, by its selector less one; selector 0: the width is written out."""


class DamagedJpegXl(ValueError):
    """Bytes that are no JPEG XL picture of what they should be."""


def encode_jpegxl(picture: np.ndarray, distance: float | None, effort: int) -> bytes:
    """A picture (h w 3 uint8, h w uint8 or uint16) as JPEG XL, the same bytes for the same pixels in any thread.

    `distance` is libjxl's visual distance (1: no difference is seen); None keeps every bit.
    """
    if distance is None:
        return bytes(imagecodecs.jpegxl_encode(picture, lossless=True, effort=effort, numthreads=1))
    return bytes(imagecodecs.jpegxl_encode(picture, distance=distance, effort=effort, numthreads=1))


def decode_jpegxl(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The pixels; DamagedJpegXl unless they are of this shape and type, which is known before any is allocated."""
    if (declared := size_of_jpegxl(data)) != shape[:2]:
        raise DamagedJpegXl(f"a picture of {declared}, not {shape[:2]}")
    picture = np.empty(shape, dtype)
    try:
        imagecodecs.jpegxl_decode(data, out=picture, numthreads=1)
    except (RuntimeError, ValueError) as error:
        raise DamagedJpegXl(f"JPEG XL that does not decode ({error})") from error
    return picture


def size_of_jpegxl(data: bytes) -> tuple[int, int]:
    """Rows and columns that the header declares; DamagedJpegXl if there is no header."""
    start = 0 if data.startswith(CODESTREAM) else _codestream_in_boxes(data)
    if not data.startswith(CODESTREAM, start):
        raise DamagedJpegXl("no JPEG XL codestream")
    header = data[start + 2 : start + 14]
    if len(header) < 12:
        raise DamagedJpegXl(f"{len(data)} bytes are too few for a JPEG XL picture")
    bits = int.from_bytes(header, "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    in_eights = take(1)
    rows = _side(take, in_eights)
    ratio = take(3)
    return rows, rows * RATIOS[ratio - 1][0] // RATIOS[ratio - 1][1] if ratio else _side(take, in_eights)


def _side(take: Callable[[int], int], in_eights: int) -> int:
    return 8 * (1 + take(5)) if in_eights else 1 + take(SIDE_BITS[take(2)])


def _codestream_in_boxes(data: bytes) -> int:
    """Where the codestream starts in a file of boxes; the end of the data if it has none in one piece."""
    if not data.startswith(SIGNATURE_BOX):
        return len(data)
    position = len(SIGNATURE_BOX)
    while position + 8 <= len(data):
        size, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if name == b"jxlc":
            return position + 8
        if size < 8:
            break
        position += size
    return len(data)
