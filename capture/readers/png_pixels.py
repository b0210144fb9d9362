"""The pixels of a PNG in two thirds of the time that libpng takes: libdeflate inflates, libspng undoes the filters.

libpng's and libspng's time goes into zlib. What libdeflate has inflated is wrapped again as stored blocks, which they
pass through; interlaced and odd files take the usual way.
Source: PNG specification, 3rd edition, sections 5.3, 7.2, 9, 10 and 11.2; RFC 1950 and 1951 (3.2.4, stored blocks).
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass

import imagecodecs
import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
STORED_BYTES = 65535
"""The most that a stored block holds."""
SAMPLES = {0: 1, 2: 3, 6: 4}
"""In a pixel, by colour type: grey, RGB, RGB with alpha."""


class DamagedPng(ValueError):
    """Bytes that are not one whole PNG picture."""


@dataclass(frozen=True, eq=False)
class PngParts:
    """What of a PNG's chunks pixels depend on."""

    header: bytes
    """Contents of the IHDR chunk."""
    data: tuple[memoryview, ...]
    """Contents of the IDAT chunks, in order."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns, pixels."""
        columns, rows = struct.unpack(">II", self.header[:8])
        return rows, columns

    @property
    def bits(self) -> int:
        """Of a sample."""
        return self.header[8]

    @property
    def colour_type(self) -> int:
        """0: grey; 2: RGB; 3: palette; 4 and 6: grey and RGB with alpha."""
        return self.header[9]


def png_parts(data: bytes) -> PngParts:
    """Follow the chunks from IHDR to IEND, every checksum verified; DamagedPng if one is missing or wrong."""
    view = memoryview(data)
    position, header, contents = len(PNG_SIGNATURE), b"", []
    if not data.startswith(PNG_SIGNATURE):
        raise DamagedPng("no PNG")
    while True:
        if position + 12 > len(data):
            raise DamagedPng(f"the file ends after {len(data)} bytes, before the PNG's end")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise DamagedPng(f"the file ends after {len(data)} bytes, within the PNG")
        checksum = imagecodecs.deflate_crc32(view[position + 4 : end])  # pyright: ignore[reportArgumentType]
        if checksum != struct.unpack_from(">I", data, end)[0]:
            raise DamagedPng(f"a wrong checksum at byte {position}")
        if (name == b"IHDR") == bool(header) or (name == b"IHDR" and length != 13):
            raise DamagedPng("a PNG without its header" if not header else "a PNG with two headers")
        if name == b"IHDR":
            header = data[position + 8 : end]
        elif name == b"IDAT":
            contents.append(view[position + 8 : end])
        elif name == b"IEND":
            return PngParts(header, tuple(contents))
        position = end + 4


def png_pixels(parts: PngParts) -> np.ndarray:
    """Pixels of an 8-bit RGB or RGBA (h w channel) or 16-bit grey PNG (h w, in this machine's byte order).

    Check the size before: this allocates what the header says. Raises DamagedPng for data that do not decode.
    """
    rows, columns = parts.size_hw
    compressed = b"".join(parts.data)
    if not parts.header[12]:  # not interlaced
        inflated_size = rows * (1 + columns * SAMPLES[parts.colour_type] * parts.bits // 8)
        # Where this fails, the usual way knows better what is wrong, or that nothing is.
        with suppress(RuntimeError, ValueError):
            inflated = bytes(imagecodecs.deflate_decode(compressed, out=inflated_size))
            compressed = _stored(inflated, inflated_size)
    chunks = (_chunk(b"IHDR", parts.header), _chunk(b"IDAT", compressed), _chunk(b"IEND", b""))
    decode = imagecodecs.spng_decode if parts.bits == 8 else imagecodecs.png_decode
    try:
        return decode(b"".join([PNG_SIGNATURE, *chunks]))
    except (RuntimeError, ValueError) as error:
        raise DamagedPng(str(error)) from error


def _stored(inflated: bytes, size: int) -> bytes:
    """A zlib stream that holds the bytes as they are."""
    if len(inflated) != size:
        raise ValueError(f"{len(inflated)} bytes of pixels, not {size}")
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    view = memoryview(inflated)
    for start in range(0, size, STORED_BYTES):
        block = view[start : start + STORED_BYTES]
        parts += [struct.pack("<BHH", start + STORED_BYTES >= size, len(block), len(block) ^ 0xFFFF), block]
    parts.append(struct.pack(">I", imagecodecs.zlibng_adler32(inflated)))
    return b"".join(parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = imagecodecs.deflate_crc32(content, imagecodecs.deflate_crc32(name))
    return b"".join([struct.pack(">I", len(content)), name, content, struct.pack(">I", checksum)])
