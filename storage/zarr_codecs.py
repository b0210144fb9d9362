"""The codecs of ours for zarr-python, which finds them by entry point: any program beside mien opens a take.

Nothing in mien calls this: `storage.arrays` reads chunks itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.common import parse_named_configuration

from storage.codecs import JPEG_NAME, JPEGXL_NAME, RESIDUAL_NAME
from storage.jpeg import decode_jpeg, size_of_jpeg
from storage.jpegxl import decode_jpegxl, encode_jpegxl
from storage.residual import decode_residual, encode_residual

if TYPE_CHECKING:
    from typing import Self

    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.common import JSON


class _PictureCodec(ArrayBytesCodec):
    """One picture a chunk; its coding happens in a thread, so that chunks overlap."""

    is_fixed_size = False

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known before encoding."""
        raise NotImplementedError("a compressed picture's size is known once it is compressed")

    def encode_picture(self, picture: np.ndarray) -> bytes:
        """The bytes of one picture."""
        raise NotImplementedError

    def decode_picture(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The picture of these bytes."""
        raise NotImplementedError

    @override
    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        shape, dtype = tuple(chunk_spec.shape), chunk_spec.dtype.to_native_dtype()
        picture = await asyncio.to_thread(self.decode_picture, chunk_data.to_bytes(), shape[1:], dtype)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(picture.reshape(shape))

    @override
    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        picture = np.ascontiguousarray(chunk_data.as_numpy_array()[0])
        data = await asyncio.to_thread(self.encode_picture, picture)
        return chunk_spec.prototype.buffer.from_bytes(data)


@dataclass(frozen=True)
class JpegXlCodec(_PictureCodec):
    """`mien.jpegxl`: lossless, or with a visual distance."""

    lossless: bool = True
    """Whether every bit comes back."""
    effort: int = 1
    """libjxl's effort."""
    distance: float = 0.0
    """libjxl's visual distance where it is not lossless."""

    def __post_init__(self) -> None:
        if not 1 <= self.effort <= 9 or not (self.lossless or 0 < self.distance <= 25):
            raise ValueError(f"codec {JPEGXL_NAME} with effort {self.effort} and distance {self.distance}")

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """The codec of its metadata."""
        _, configuration = parse_named_configuration(data, JPEGXL_NAME, require_configuration=False)
        return cls(**(configuration or {}))  # pyright: ignore[reportArgumentType]

    def to_dict(self) -> dict[str, JSON]:
        """Its metadata."""
        configuration: dict[str, JSON] = {"lossless": self.lossless, "effort": self.effort}
        if not self.lossless:
            configuration["distance"] = self.distance
        return {"name": JPEGXL_NAME, "configuration": configuration}

    @override
    def encode_picture(self, picture: np.ndarray) -> bytes:
        return encode_jpegxl(picture, None if self.lossless else self.distance, self.effort)

    @override
    def decode_picture(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return decode_jpegxl(data, shape, dtype)


@dataclass(frozen=True)
class JpegCodec(_PictureCodec):
    """`mien.jpeg`: the camera's own bitstreams, to read only."""

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """The codec of its metadata."""
        parse_named_configuration(data, JPEG_NAME, require_configuration=False)
        return cls()

    def to_dict(self) -> dict[str, JSON]:
        """Its metadata."""
        return {"name": JPEG_NAME}

    @override
    def encode_picture(self, picture: np.ndarray) -> bytes:
        raise ValueError("this array holds a camera's own JPEGs and is to be read only: JPEG coding loses pixels")

    @override
    def decode_picture(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if (declared := size_of_jpeg(data)) != shape[:2]:
            raise ValueError(f"a JPEG of {declared}, not {shape[:2]}")
        return decode_jpeg(data)


@dataclass(frozen=True)
class ResidualCodec(_PictureCodec):
    """`mien.residual`: what the smoothed row above does not predict."""

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """The codec of its metadata."""
        parse_named_configuration(data, RESIDUAL_NAME, require_configuration=False)
        return cls()

    def to_dict(self) -> dict[str, JSON]:
        """Its metadata."""
        return {"name": RESIDUAL_NAME}

    @override
    def encode_picture(self, picture: np.ndarray) -> bytes:
        return encode_residual(picture)

    @override
    def decode_picture(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return decode_residual(data, shape)
