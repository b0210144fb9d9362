"""One picture of a recording, decoded only when its headers say what the rig says and all of it is there."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from geometry.cameras import Camera
from geometry.errors import InputError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_KINDS = {(8, 2): "8-bit RGB", (16, 0): "16-bit grey"}
"""What is read, by bit depth and colour type."""
MOST_OVERHEAD_BYTES = 2**20
"""Metadata and encoding of noise, beyond the size of the pixels themselves."""
DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises on broken pictures."""
REMEDY = "copy the file again from the recorder, or record again"


def read_picture(path: Path, camera: Camera) -> np.ndarray:
    """A frame as its camera recorded it: uint8 (h, w, 3) sRGB of a JPEG or PNG, or uint16 (h, w) counts of a PNG.

    Raises InputError that names the file: missing, truncated or damaged (every checksum of a PNG is verified, which
    Pillow does not), of another size or type than the camera's. Sizes are compared before pixels are decoded.
    """
    data = _read_bytes(path, camera)
    rows, columns = camera.image_size_hw
    kind = "16-bit grey" if camera.kind == "depth" else "8-bit RGB"
    found = _declared(data, path)
    if found != (rows, columns, kind):
        got = f"{found[1]} x {found[0]} px, {found[2]}, in {path}"
        remedy = f"restore the picture, or correct image_size_hw of {camera.id} in the rig file"
        raise InputError(f"{columns} x {rows} px, {kind}, from {camera.id}", got, remedy)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.size != (columns, rows):
                raise ValueError("two headers that contradict each other")
            pixels = np.array(image)
    except DECODER_ERRORS as error:
        raise _undecodable(path, str(error)) from error
    expected = (rows, columns) if camera.kind == "depth" else (rows, columns, 3)
    if pixels.shape != expected:
        raise _undecodable(path, f"pixels of shape {pixels.shape}")
    return pixels.astype(np.uint16 if camera.kind == "depth" else np.uint8, copy=False)


def _read_bytes(path: Path, camera: Camera) -> bytes:
    rows, columns = camera.image_size_hw
    most = 4 * rows * columns + MOST_OVERHEAD_BYTES
    try:
        size = path.stat().st_size
        if not 0 < size <= most:
            got = f"{size} bytes in {path}"
            raise InputError(f"a picture of {columns} x {rows} px in at most {most} bytes", got, REMEDY)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"a picture of {camera.id}", f"{path} ({reason})", REMEDY) from error


def _declared(data: bytes, path: Path) -> tuple[int, int, str]:
    """Rows, columns and kind that the headers declare, of a file whose structure is whole."""
    if data.startswith(PNG_SIGNATURE):
        return _declared_by_png(data, path)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return image.height, image.width, {"RGB": "8-bit RGB", "L": "8-bit grey"}.get(image.mode, image.mode)
    except DECODER_ERRORS as error:
        raise _undecodable(path, str(error)) from error


def _declared_by_png(data: bytes, path: Path) -> tuple[int, int, str]:
    """Follow the chunks from IHDR to IEND. Source: PNG specification, 3rd edition, sections 5.3 and 11.2.1."""
    position, header = len(PNG_SIGNATURE), b""
    while True:
        if position + 12 > len(data):
            raise _undecodable(path, f"the file ends after {len(data)} bytes, before the PNG's end")
        length = int.from_bytes(data[position : position + 4], "big")
        name, end = data[position + 4 : position + 8], position + 8 + length
        checksum = int.from_bytes(data[end : end + 4], "big")
        if end + 4 > len(data):
            raise _undecodable(path, f"the file ends after {len(data)} bytes, within the PNG")
        if zlib.crc32(data[position + 4 : end]) != checksum:
            raise _undecodable(path, f"a wrong checksum at byte {position}")
        if not header:
            if name != b"IHDR" or length != 13:
                raise _undecodable(path, "a PNG without its header")
            header = data[position + 8 : end]
        if name == b"IEND":
            break
        position = end + 4
    columns, rows, bits, colour_type = struct.unpack(">IIBB", header[:10])
    return rows, columns, PNG_KINDS.get((bits, colour_type), f"{bits}-bit colour type {colour_type}")


def _undecodable(path: Path, reason: str) -> InputError:
    return InputError("a whole JPEG or PNG picture", f"{path}, which does not decode: {reason}", REMEDY)
