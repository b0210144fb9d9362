"""Chunks and shards as bytes, exactly as Zarr's bytes, blosc, crc32c and sharding_indexed codecs define them.

Encoding them here, one whole shard at a time, costs a fraction of assignment through zarr-python (which rewrites a
shard for each chunk), and reading them here makes a missing or damaged chunk an error where zarr-python gives zeros.
Source: Zarr v3 specification, codecs crc32c and sharding_indexed (version 1.0).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import google_crc32c
import numcodecs.blosc
import numpy as np
from jaxtyping import Int
from numcodecs.blosc import Blosc

# With threads of its own, Blosc lays blocks out in the order they are done: the same picture, other bytes.
numcodecs.blosc.use_threads = False

CODEC = Blosc(cname="zstd", clevel=1, shuffle=Blosc.BITSHUFFLE)
"""Level 1 with bit planes: on real 720p video 1.25 of PNG's size at 9 ms a frame, the least of blosc's filters."""

MISSING = 2**64 - 1
"""Offset and length of a chunk that a shard does not hold."""

LARGEST_CHUNK_BYTES = 2**31 - 17
"""Blosc's own limit on uncompressed bytes."""


class DamagedChunk(ValueError):
    """Bytes that are not what the writer stored."""


def encode_chunk(values: np.ndarray) -> bytes:
    """Blosc bytes of a C-ordered little-endian chunk, followed by their crc32c."""
    compressed = CODEC.encode(np.ascontiguousarray(values, values.dtype.newbyteorder("<")))
    return _with_crc(bytes(compressed))


def decode_chunk(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The chunk's values; DamagedChunk if its checksum, its size or its compression is wrong."""
    compressed = check_chunk(data, shape, dtype)
    values = np.empty(shape, dtype.newbyteorder("<"))
    try:
        CODEC.decode(compressed, values.reshape(-1).view(np.uint8))
    except (RuntimeError, ValueError) as error:
        raise DamagedChunk(f"blosc cannot decode it ({error})") from error
    return values.astype(dtype, copy=False)


def check_chunk(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The compressed bytes of a chunk whose checksum and declared size are right, else DamagedChunk."""
    compressed = _without_crc(data)
    # Blosc's header: four bytes of flags, then uncompressed, block and compressed size.
    if len(compressed) < 16:
        raise DamagedChunk(f"{len(compressed)} bytes are too few for a blosc chunk")
    uncompressed_size, _, compressed_size = struct.unpack("<3I", compressed[4:16])
    expected_size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if uncompressed_size != expected_size or compressed_size != len(compressed):
        raise DamagedChunk(f"it declares {uncompressed_size} bytes, not {expected_size}")
    return compressed


def join_shard(chunks: Sequence[bytes], chunks_per_shard: int) -> bytes:
    """A shard file: its chunks one after the other, then the index of offsets and lengths with its crc32c."""
    index = np.full((chunks_per_shard, 2), MISSING, "<u8")
    lengths = np.array([len(chunk) for chunk in chunks], np.uint64)
    index[: len(chunks), 1] = lengths
    index[: len(chunks), 0] = np.cumsum(lengths) - lengths
    return b"".join([*chunks, _with_crc(index.tobytes())])


def index_size(chunks_per_shard: int) -> int:
    """Bytes of the index at the end of a shard file."""
    return 16 * chunks_per_shard + 4


def split_index(data: bytes, chunks_per_shard: int, shard_size: int) -> Int[np.ndarray, "chunk 2"]:
    """Start and end of each chunk in its shard file, -1 where the shard lacks it; DamagedChunk if wrong."""
    if len(data) != index_size(chunks_per_shard):
        raise DamagedChunk(f"the shard is cut off ({shard_size} bytes)")
    index = np.frombuffer(_without_crc(data), "<u8").reshape(chunks_per_shard, 2)
    held = (index != MISSING).all(1)
    offsets, lengths = (np.where(held, column, 0).astype(np.uint64) for column in index.T)
    end_of_chunks = shard_size - len(data)
    if (offsets > end_of_chunks).any() or (lengths > end_of_chunks - offsets).any():
        raise DamagedChunk("the shard's index points outside of it")
    spans = np.stack([offsets, offsets + lengths], 1).astype(np.int64)
    spans[~held] = -1
    return spans


def _with_crc(data: bytes) -> bytes:
    return data + struct.pack("<I", google_crc32c.value(data))


def _without_crc(data: bytes) -> bytes:
    body, stored = data[:-4], data[-4:]
    if len(stored) != 4 or struct.unpack("<I", stored)[0] != google_crc32c.value(body):
        raise DamagedChunk("its crc32c does not match")
    return body
