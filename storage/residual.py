"""Noisy pictures as what the smoothed row above does not predict: smaller than PNG where noise outweighs detail.

Independent noise of a pixel cannot be predicted, but the predictor need not add as much of its own: JPEG XL's gradient
and PNG's neighbour bring one to three times the variance, the weighted mean of three pixels above 0.375 of it. What is
left repeats nothing, so that zstd's search for that is all but switched off and its entropy coder does the work.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping

import cv2
import imagecodecs
import numpy as np
from jaxtyping import UInt8

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"mres"
HEADER = struct.Struct("<4sIII")
"""Magic, rows, columns, channels."""
OPTIONS: Mapping[int, int] = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.strategy: zstd.Strategy.fast,
    # In noise, a short match costs more than its bytes would.
    zstd.CompressionParameter.hash_log: 6,
    zstd.CompressionParameter.min_match: 7,
}


class DamagedResidual(ValueError):
    """Bytes that are no picture of this kind."""


def encode_residual(picture: UInt8[np.ndarray, "h w c"]) -> bytes:
    """A picture (8 bits, up to four channels), the same bytes for the same pixels in any thread."""
    residual = picture.copy()
    if len(picture) > 1:
        residual[1:] -= _smoothed(picture[:-1])
    return HEADER.pack(MAGIC, *picture.shape) + zstd.compress(residual.data, options=OPTIONS)


def decode_residual(data: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w c"]:
    """The pixels; DamagedResidual unless they are of this shape, which is known before any is allocated."""
    if (declared := shape_of_residual(data)) != shape:
        raise DamagedResidual(f"a picture of {declared}, not {shape}")
    picture = np.empty(shape, np.uint8)
    try:
        frame = memoryview(data)[HEADER.size :]
        size = len(imagecodecs.zstd_decode(frame, out=picture.reshape(-1)))  # pyright: ignore[reportArgumentType]
    except (RuntimeError, ValueError) as error:
        raise DamagedResidual(f"zstd cannot decode it ({error})") from error
    if size != picture.size:
        raise DamagedResidual(f"it holds {size} values, not {picture.size}")
    for row in range(1, len(picture)):
        picture[row] += _smoothed(picture[row - 1 : row])[0]
    return picture


def shape_of_residual(data: bytes) -> tuple[int, int, int]:
    """Rows, columns and channels that the header declares; DamagedResidual if there is none."""
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise DamagedResidual("no picture of residuals")
    _, rows, columns, channels = HEADER.unpack_from(data)
    return rows, columns, channels


def _smoothed(rows: UInt8[np.ndarray, "n w c"]) -> UInt8[np.ndarray, "n w c"]:
    """(left + 2 * here + right + 2) // 4 in each row, edges repeated; OpenCV computes it exactly, in fixed point."""
    smooth = cv2.GaussianBlur(rows, (3, 1), 0, borderType=cv2.BORDER_REPLICATE, hint=cv2.ALGO_HINT_ACCURATE)
    return smooth.reshape(rows.shape)
