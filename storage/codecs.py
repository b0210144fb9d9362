"""How chunks become bytes: the table of codecs, each with its checksum and its Zarr v3 metadata.

`blosc` is what plain zarr-python reads. The others are small and fast for pictures; `storage.zarr_codecs` teaches them
to zarr-python. Every chunk ends in its crc32c. A new codec is a class here and a line in `CODECS`.
"""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numcodecs.blosc
import numpy as np
from numcodecs.blosc import Blosc
from typing_extensions import override

from geometry.cameras import CameraKind
from storage.chunks import DamagedChunk, with_crc, without_crc
from storage.jpeg import DamagedJpeg, decode_jpeg, size_of_jpeg, strip_jpeg_metadata
from storage.jpegxl import DamagedJpegXl, decode_jpegxl, encode_jpegxl, size_of_jpegxl
from storage.residual import DamagedResidual, decode_residual, encode_residual, shape_of_residual

# With threads of its own, Blosc lays blocks out in the order they are done: the same picture, other bytes.
numcodecs.blosc.use_threads = False

LARGEST_CHUNK_BYTES = 2**31 - 17
"""Blosc's own limit on uncompressed bytes."""

JPEG_NAME, JPEGXL_NAME, RESIDUAL_NAME = "mien.jpeg", "mien.jpegxl", "mien.residual"
"""What Zarr metadata call the codecs of ours."""

VISUALLY_LOSSLESS = 1.0
"""libjxl's distance at which nobody sees a difference."""


class Codec(ABC):
    """One way to store a chunk."""

    @property
    @abstractmethod
    def is_lossless(self) -> bool:
        """Whether decoding gives back every bit that was given."""

    @abstractmethod
    def accepts(self, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        """Whether chunks of this shape and type can be stored."""

    @abstractmethod
    def encode(self, values: np.ndarray) -> bytes:
        """A chunk's bytes, its crc32c at the end; the same for the same values in any thread and process."""

    @abstractmethod
    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The chunk's values; DamagedChunk if its checksum, its declared size or its compression is wrong."""

    @abstractmethod
    def check(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> bytes:
        """The bytes without their checksum, if that and the declared size are right, else DamagedChunk; no decoding."""

    @abstractmethod
    def metadata(self, item_bytes: int) -> list[dict[str, Any]]:
        """The chain of codecs as a `zarr.json` names it, for values of so many bytes each."""


@dataclass(frozen=True)
class BloscCodec(Codec):
    """Bit planes through zstd level 1: any array, read by plain zarr-python."""

    @property
    @override
    def is_lossless(self) -> bool:
        return True

    @override
    def accepts(self, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        return math.prod(shape) * dtype.itemsize <= LARGEST_CHUNK_BYTES

    @override
    def encode(self, values: np.ndarray) -> bytes:
        return with_crc(bytes(_BLOSC.encode(np.ascontiguousarray(values, values.dtype.newbyteorder("<")))))

    @override
    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        compressed = self.check(data, shape, dtype)
        values = np.empty(shape, dtype.newbyteorder("<"))
        try:
            _BLOSC.decode(compressed, values.reshape(-1).view(np.uint8))
        except (RuntimeError, ValueError) as error:
            raise DamagedChunk(f"blosc cannot decode it ({error})") from error
        return values.astype(dtype, copy=False)

    @override
    def check(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> bytes:
        compressed = without_crc(data)
        # Blosc's header: four bytes of flags, then uncompressed, block and compressed size.
        if len(compressed) < 16:
            raise DamagedChunk(f"{len(compressed)} bytes are too few for a blosc chunk")
        uncompressed_size, _, compressed_size = struct.unpack("<3I", compressed[4:16])
        expected_size = math.prod(shape) * dtype.itemsize
        if uncompressed_size != expected_size or compressed_size != len(compressed):
            raise DamagedChunk(f"it declares {uncompressed_size} bytes, not {expected_size}")
        return compressed

    @override
    def metadata(self, item_bytes: int) -> list[dict[str, Any]]:
        little_endian = {"configuration": {"endian": "little"}} if item_bytes > 1 else {}
        blosc = {"typesize": item_bytes, "cname": "zstd", "clevel": 1, "shuffle": "bitshuffle", "blocksize": 0}
        return [{"name": "bytes", **little_endian}, {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}]


_BLOSC = Blosc(cname="zstd", clevel=1, shuffle=Blosc.BITSHUFFLE)
"""Level 1 with bit planes: on real 720p video 1.25 of PNG's size at 9 ms a frame, the least of blosc's filters."""


@dataclass(frozen=True)
class JpegXlCodec(Codec):
    """One picture a chunk as JPEG XL: 8-bit colour, 8- or 16-bit grey."""

    distance: float | None = None
    """libjxl's visual distance; None: lossless."""
    effort: int = 1
    """libjxl's effort, 1 to 9; its first has a lossless coder of its own, over seven times as fast as the second."""

    @property
    @override
    def is_lossless(self) -> bool:
        return self.distance is None

    @override
    def accepts(self, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        # With a distance only colour: counts of depth are no brightness.
        colour = len(shape) == 4 and shape[3] == 3 and dtype == np.uint8
        grey = len(shape) == 3 and dtype in (np.uint8, np.uint16)
        return shape[:1] == (1,) and (colour or (grey and self.is_lossless))

    @override
    def encode(self, values: np.ndarray) -> bytes:
        return with_crc(encode_jpegxl(np.ascontiguousarray(values[0]), self.distance, self.effort))

    @override
    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        try:
            return decode_jpegxl(without_crc(data), shape[1:], dtype)[None]
        except DamagedJpegXl as error:
            raise DamagedChunk(str(error)) from error

    @override
    def check(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> bytes:
        return _checked(without_crc(data), size_of_jpegxl, shape)

    @override
    def metadata(self, item_bytes: int) -> list[dict[str, Any]]:
        configuration: dict[str, Any] = {"lossless": self.is_lossless, "effort": self.effort}
        if self.distance is not None:
            configuration["distance"] = self.distance
        return [{"name": JPEGXL_NAME, "configuration": configuration}, {"name": "crc32c"}]


@dataclass(frozen=True)
class ResidualCodec(Codec):
    """One 8-bit colour picture a chunk, as its residual to the smoothed row above: for noisy cameras."""

    @property
    @override
    def is_lossless(self) -> bool:
        return True

    @override
    def accepts(self, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        return len(shape) == 4 and shape[0] == 1 and shape[3] == 3 and dtype == np.uint8

    @override
    def encode(self, values: np.ndarray) -> bytes:
        return with_crc(encode_residual(values[0]))

    @override
    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        try:
            return decode_residual(without_crc(data), shape[1:])[None]
        except DamagedResidual as error:
            raise DamagedChunk(str(error)) from error

    @override
    def check(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> bytes:
        return _checked(without_crc(data), lambda body: shape_of_residual(body)[:2], shape)

    @override
    def metadata(self, item_bytes: int) -> list[dict[str, Any]]:
        return [{"name": RESIDUAL_NAME}, {"name": "crc32c"}]


@dataclass(frozen=True)
class JpegCodec(Codec):
    """One picture a chunk as the camera's own JPEG bitstream: nothing is coded again, nothing grows."""

    @property
    @override
    def is_lossless(self) -> bool:
        return True

    @override
    def accepts(self, shape: tuple[int, ...], dtype: np.dtype) -> bool:
        return len(shape) == 4 and shape[0] == 1 and shape[3] == 3 and dtype == np.uint8

    @override
    def encode(self, values: np.ndarray) -> bytes:
        raise ValueError("this stream holds the camera's own JPEGs; to code pixels as JPEG again would lose some")

    def store(self, bitstream: bytes, shape: tuple[int, ...]) -> bytes:
        """A chunk of a camera's JPEG without its metadata (EXIF, GPS, comments); DamagedChunk if it is no such one."""
        try:
            return with_crc(_checked(strip_jpeg_metadata(bitstream), size_of_jpeg, shape))
        except DamagedJpeg as error:
            raise DamagedChunk(str(error)) from error

    @override
    def decode(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        bitstream = self.check(data, shape, dtype)
        try:
            return decode_jpeg(bitstream)[None]
        except DamagedJpeg as error:
            raise DamagedChunk(str(error)) from error

    @override
    def check(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> bytes:
        return _checked(without_crc(data), size_of_jpeg, shape)

    @override
    def metadata(self, item_bytes: int) -> list[dict[str, Any]]:
        return [{"name": JPEG_NAME}, {"name": "crc32c"}]


def _checked(data: bytes, size_of: Callable[[bytes], tuple[int, int]], shape: tuple[int, ...]) -> bytes:
    try:
        size_hw = size_of(data)
    except (DamagedJpeg, DamagedJpegXl, DamagedResidual) as error:
        raise DamagedChunk(str(error)) from error
    if size_hw != shape[1:3]:
        raise DamagedChunk(f"it declares a picture of {size_hw}, not {shape[1:3]}")
    return data


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "blosc": BloscCodec(),
        "jpegxl": JpegXlCodec(),
        "jpegxl_lossy": JpegXlCodec(VISUALLY_LOSSLESS, 3),
        "residual": ResidualCodec(),
        "jpeg": JpegCodec(),
    }
)
"""By the name that `StreamPlan.codec` and `ArraySpec.codec` have."""


def codec_for(
    kind: CameraKind, *, portable: bool = False, lossy_colour: bool = False, camera_jpegs: bool = False
) -> str:
    """The codec of a stream by what was measured (docs/design/2026-11-24-storage.md).

    `portable`: only what plain zarr-python reads. `camera_jpegs`: every frame is a JPEG already, and is kept as it is.
    """
    if portable:
        return "blosc"
    if kind == "rgb" and (camera_jpegs or lossy_colour):
        return "jpeg" if camera_jpegs else "jpegxl_lossy"
    return "jpegxl"


def codec_named_in(metadata: Any, item_bytes: int) -> str:
    """The name in `CODECS` of the chain of codecs in a `zarr.json`; ValueError for one of other programs."""
    for name, codec in CODECS.items():
        if codec.metadata(item_bytes) == metadata:
            return name
    raise ValueError("array metadata that mien did not write: codecs")
