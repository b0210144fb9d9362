"""One picture of a recording, decoded only when its headers say what the rig says and all of it is there."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from capture.readers.png_pixels import PNG_SIGNATURE, PngParts, png_parts, png_pixels
from geometry.cameras import Camera
from geometry.errors import InputError
from storage.jpeg import decode_jpeg, outline_of_jpeg, strip_jpeg_metadata
from storage.rig_json import LARGEST_SIDE_PX

TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
TIFF_KINDS = {"I;16": "16-bit grey", "I;16B": "16-bit grey", "RGB": "8-bit RGB", "L": "8-bit grey"}
"""By Pillow's mode."""
PNG_KINDS = {(8, 2): "8-bit RGB", (8, 6): "8-bit RGB", (16, 0): "16-bit grey"}
"""What is read, by bit depth and colour type; an alpha channel (6) must be opaque."""
MOST_OVERHEAD_BYTES = 2**20
"""Metadata and encoding of noise, beyond the size of the pixels themselves."""
LARGEST_PICTURE_PX = 2**27
"""134 megapixels: 400 MB of colour."""
LARGEST_FILE_BYTES = 2**29
"""Of a picture whose size is not known yet."""
DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error,
    Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises on broken pictures."""
REMEDY = "copy the file again from the recorder, or record again"


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's own header says."""

    size_hw: tuple[int, int]
    """Rows and columns, pixels."""
    kind: str
    """8-bit RGB, 16-bit grey, or what else it is in words."""


def read_picture_header(path: Path) -> PictureHeader:
    """Size and kind of a picture whose structure is whole; InputError that names the file otherwise."""
    header, _ = _looked_at(_bytes_of(path, "a picture", LARGEST_FILE_BYTES), path)
    rows, columns = header.size_hw
    if not (0 < rows <= LARGEST_SIDE_PX and 0 < columns <= LARGEST_SIDE_PX and rows * columns <= LARGEST_PICTURE_PX):
        expected = f"a picture of at most {LARGEST_PICTURE_PX} px, {LARGEST_SIDE_PX} a side"
        raise InputError(expected, f"{columns} x {rows} px in {path}", REMEDY)
    return header


def read_picture(path: Path, camera: Camera) -> np.ndarray:
    """A frame as its camera recorded it: uint8 (h, w, 3) sRGB, or uint16 (h, w) counts of a PNG or TIFF.

    Raises InputError that names the file: missing, truncated or damaged (every checksum of a PNG is verified), of
    another size or type than the camera's. Sizes are compared before pixels are decoded.
    """
    data, png = _checked(path, camera)
    dtype = np.uint8 if camera.kind == "rgb" else np.uint16
    shape = (*camera.image_size_hw, 3) if camera.kind == "rgb" else camera.image_size_hw
    try:
        if png is not None:
            pixels = png_pixels(png)
        elif data.startswith(TIFF_SIGNATURES):
            with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
                if image.size != camera.image_size_hw[::-1]:
                    raise ValueError("two headers that contradict each other")
                pixels = np.array(image)
        else:
            return decode_jpeg(data)
    except DECODER_ERRORS as error:
        raise _undecodable(path, str(error)) from error
    if pixels.shape[2:] == (4,):
        if (pixels[..., 3] != 255).any():
            raise _undecodable(path, "an alpha channel that is not opaque (colour type 6)")
        pixels = np.ascontiguousarray(pixels[..., :3])
    if pixels.shape != shape:
        raise _undecodable(path, f"pixels of shape {pixels.shape}")
    return pixels.astype(dtype, copy=False)


def read_picture_jpeg(path: Path, camera: Camera) -> bytes | None:
    """The JPEG bitstream that a frame is stored as, without its metadata; None if it is no JPEG.

    `storage.jpeg.decode_jpeg` of it gives what `read_picture` gives. Raises InputError as `read_picture` does.
    """
    data, _ = _checked(path, camera)
    if data.startswith((PNG_SIGNATURE, *TIFF_SIGNATURES)):
        return None
    try:
        return strip_jpeg_metadata(data)
    except ValueError as error:
        raise _undecodable(path, str(error)) from error


def _checked(path: Path, camera: Camera) -> tuple[bytes, PngParts | None]:
    """The bytes of a whole picture of the camera's size and kind, and their parts if it is a PNG."""
    rows, columns = camera.image_size_hw
    most = 4 * rows * columns + MOST_OVERHEAD_BYTES
    data = _bytes_of(path, f"a picture of {columns} x {rows} px", most)
    expected = PictureHeader((rows, columns), "8-bit RGB" if camera.kind == "rgb" else "16-bit grey")
    found, png = _looked_at(data, path)
    if found != expected:
        got = f"{found.size_hw[1]} x {found.size_hw[0]} px, {found.kind}, in {path}"
        remedy = f"restore the picture, or correct image_size_hw of {camera.id} in the rig file"
        raise InputError(f"{columns} x {rows} px, {expected.kind}, from {camera.id}", got, remedy)
    return data, png


def _bytes_of(path: Path, what: str, most: int) -> bytes:
    try:
        size = path.stat().st_size
        if not 0 < size <= most:
            raise InputError(f"{what} in at most {most} bytes", f"{size} bytes in {path}", REMEDY)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(what, f"{path} ({reason})", REMEDY) from error


def _looked_at(data: bytes, path: Path) -> tuple[PictureHeader, PngParts | None]:
    """What the headers declare, of a file whose structure is whole; and its parts if it is a PNG."""
    if data.startswith(TIFF_SIGNATURES):
        return _declared_by_tiff(data, path), None
    try:
        if data.startswith(PNG_SIGNATURE):
            parts = png_parts(data)
            other = f"{parts.bits}-bit colour type {parts.colour_type}"
            return PictureHeader(parts.size_hw, PNG_KINDS.get((parts.bits, parts.colour_type), other)), parts
        outline = outline_of_jpeg(data)
    except ValueError as error:
        raise _undecodable(path, str(error)) from error
    return PictureHeader(outline.size_hw, "8-bit RGB" if outline.channel_count == 3 else "8-bit grey"), None


def _declared_by_tiff(data: bytes, path: Path) -> PictureHeader:
    try:
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise ValueError("several pictures in one file")
            return PictureHeader((image.height, image.width), TIFF_KINDS.get(image.mode, f"TIFF mode {image.mode}"))
    except DECODER_ERRORS as error:
        raise _undecodable(path, str(error)) from error


def _undecodable(path: Path, reason: str) -> InputError:
    return InputError("a whole JPEG, PNG or TIFF picture", f"{path}, which does not decode: {reason}", REMEDY)
