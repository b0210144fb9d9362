"""Checksums and shards as bytes, exactly as Zarr's crc32c and sharding_indexed codecs define them.

Joining a whole shard here costs a fraction of assignment through zarr-python (which rewrites a shard for each chunk),
and reading its index here makes a missing or damaged chunk an error where zarr-python gives zeros.
Source: Zarr v3 specification, codecs crc32c and sharding_indexed (version 1.0).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import google_crc32c
import numpy as np
from jaxtyping import Int

MISSING = 2**64 - 1
"""Offset and length of a chunk that a shard does not hold."""


class DamagedChunk(ValueError):
    """Bytes that are not what the writer stored."""


def with_crc(data: bytes) -> bytes:
    """The bytes, followed by their crc32c."""
    return data + struct.pack("<I", google_crc32c.value(data))


def without_crc(data: bytes) -> bytes:
    """The bytes before a crc32c that matches them, else DamagedChunk."""
    body, stored = data[:-4], data[-4:]
    if len(stored) != 4 or struct.unpack("<I", stored)[0] != google_crc32c.value(body):
        raise DamagedChunk("its crc32c does not match")
    return body


def join_shard(chunks: Sequence[bytes], chunks_per_shard: int) -> bytes:
    """A shard file: its chunks one after the other, then the index of offsets and lengths with its crc32c."""
    index = np.full((chunks_per_shard, 2), MISSING, "<u8")
    lengths = np.array([len(chunk) for chunk in chunks], np.uint64)
    index[: len(chunks), 1] = lengths
    index[: len(chunks), 0] = np.cumsum(lengths) - lengths
    return b"".join([*chunks, with_crc(index.tobytes())])


def index_size(chunks_per_shard: int) -> int:
    """Bytes of the index at the end of a shard file."""
    return 16 * chunks_per_shard + 4


def split_index(data: bytes, chunks_per_shard: int, shard_size: int) -> Int[np.ndarray, "chunk 2"]:
    """Start and end of each chunk in its shard file, -1 where the shard lacks it; DamagedChunk if wrong."""
    if len(data) != index_size(chunks_per_shard):
        raise DamagedChunk(f"the shard is cut off ({shard_size} bytes)")
    index = np.frombuffer(without_crc(data), "<u8").reshape(chunks_per_shard, 2)
    held = (index != MISSING).all(1)
    offsets, lengths = (np.where(held, column, 0).astype(np.uint64) for column in index.T)
    end_of_chunks = shard_size - len(data)
    if (offsets > end_of_chunks).any() or (lengths > end_of_chunks - offsets).any():
        raise DamagedChunk("the shard's index points outside of it")
    spans = np.stack([offsets, offsets + lengths], 1).astype(np.int64)
    spans[~held] = -1
    return spans
