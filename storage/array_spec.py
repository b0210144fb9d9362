"""What one array of a take is (shape, type, axes, unit, chunks), to and from Zarr v3 metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from storage.codecs import CODECS, LARGEST_CHUNK_BYTES, Codec, codec_named_in

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES += ("float16", "float32", "float64")
"""Zarr v3 and NumPy call these by the same names."""


@dataclass(frozen=True)
class ArraySpec:
    """One array, cut along its first axis only: rows make chunks, and chunks may share a shard file."""

    shape: tuple[int, ...]
    """Length of each axis."""
    dtype: str
    """One of DTYPES."""
    axes: tuple[str, ...]
    """Dimension names, one per axis."""
    unit: str = ""
    """Of the values: "m", "ns", "px", "1" ...; empty where a unit makes no sense."""
    rows_per_chunk: int = 1
    """Steps along the first axis in a chunk."""
    chunks_per_shard: int = 0
    """Chunks in a shard file; 0: every chunk is a file."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the steps along an axis (expression curves, cameras), by axis."""
    codec: str = "blosc"
    """Name in `CODECS` of how chunks become bytes."""

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape) or len(set(self.axes)) != len(self.axes):
            raise ValueError(f"{len(self.shape)} dimensions need as many different names, not {self.axes}")
        _require_known(self.dtype)
        if min(self.shape, default=0) < 0 or self.rows_per_chunk < 1 or self.chunks_per_shard < 0:
            raise ValueError(f"shape {self.shape} in chunks of {self.rows_per_chunk} rows is not possible")
        if self.chunk_bytes > LARGEST_CHUNK_BYTES:
            raise ValueError(f"a chunk of {self.chunk_bytes} bytes is over the limit of {LARGEST_CHUNK_BYTES}")
        if self.codec not in CODECS:
            raise ValueError(f"no codec {self.codec!r}; known are {', '.join(CODECS)}")
        if not self.bytes_codec.accepts(self.chunk_shape, self.numpy_dtype):
            raise ValueError(f"codec {self.codec} does not take chunks of {self.dtype} {self.chunk_shape}")
        for axis, names in self.labels.items():
            if axis not in self.axes or len(names) != self.shape[self.axes.index(axis)]:
                raise ValueError(
                    f"{len(names)} labels do not fit axis {axis} of {dict(zip(self.axes, self.shape, strict=True))}"
                )

    @property
    def bytes_codec(self) -> Codec:
        """What makes bytes of a chunk."""
        return CODECS[self.codec]

    @property
    def numpy_dtype(self) -> np.dtype:
        """As NumPy has it, in this machine's byte order."""
        return np.dtype(self.dtype)

    @property
    def row_count(self) -> int:
        """Steps along the first axis; 1 for a single value."""
        return self.shape[0] if self.shape else 1

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Of a chunk in memory; the last chunk is filled up to it."""
        return (self.rows_per_chunk, *(max(1, length) for length in self.shape[1:])) if self.shape else ()

    @property
    def chunk_bytes(self) -> int:
        """Of a chunk in memory."""
        return math.prod(self.chunk_shape) * np.dtype(self.dtype).itemsize

    @property
    def rows_per_file(self) -> int:
        """Steps along the first axis in a chunk or shard file."""
        return self.rows_per_chunk * max(1, self.chunks_per_shard)

    @property
    def file_count(self) -> int:
        """Files of chunks or shards that a complete array has."""
        return -(-self.row_count // self.rows_per_file) if math.prod(self.shape) else 0

    def rows_of_file(self, number: int) -> range:
        """Steps along the first axis that a file holds."""
        return range(number * self.rows_per_file, min((number + 1) * self.rows_per_file, self.row_count))

    def file_key(self, number: int) -> str:
        """The file's name under the array's folder."""
        return "/".join(["c", str(number), *("0" for _ in self.shape[1:])]) if self.shape else "c"

    def to_metadata(self) -> dict[str, Any]:
        """The array's `zarr.json`, as the Zarr v3 specification defines it."""
        codecs = self.bytes_codec.metadata(self.numpy_dtype.itemsize)
        grid_shape = list(self.chunk_shape)
        if self.chunks_per_shard:
            index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
            shard = {"chunk_shape": grid_shape, "codecs": codecs, "index_codecs": index_codecs, "index_location": "end"}
            codecs = [{"name": "sharding_indexed", "configuration": shard}]
            grid_shape = [self.rows_per_file, *grid_shape[1:]]
        labels = {"labels": {axis: list(names) for axis, names in self.labels.items()}} if self.labels else {}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": grid_shape}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": False if self.dtype == "bool" else 0.0 if self.dtype.startswith("float") else 0,
            "codecs": codecs,
            "dimension_names": list(self.axes),
            "attributes": {"unit": self.unit} | labels,
            "storage_transformers": [],
        }

    @classmethod
    def from_metadata(cls, metadata: Any) -> ArraySpec:
        """The array that a `zarr.json` describes; ValueError unless `to_metadata` could have written it."""
        try:
            grid_shape = metadata["chunk_grid"]["configuration"]["chunk_shape"]
            codecs, chunk_shape, dtype = metadata["codecs"], grid_shape, str(metadata["data_type"])
            if codecs[0]["name"] == "sharding_indexed":
                shard = codecs[0]["configuration"]
                codecs, chunk_shape = shard["codecs"], shard["chunk_shape"]
            _require_known(dtype)
            spec = cls(
                shape=tuple(_whole(length) for length in metadata["shape"]),
                dtype=dtype,
                axes=tuple(str(axis) for axis in metadata["dimension_names"]),
                unit=str(metadata["attributes"]["unit"]),
                rows_per_chunk=_whole(chunk_shape[0]) if chunk_shape else 1,
                chunks_per_shard=_whole(grid_shape[0]) // _whole(chunk_shape[0])
                if chunk_shape is not grid_shape
                else 0,
                labels={str(axis): tuple(names) for axis, names in metadata["attributes"].get("labels", {}).items()},
                codec=codec_named_in(codecs, np.dtype(dtype).itemsize),
            )
        except (KeyError, IndexError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise ValueError(f"not the metadata of an array that mien wrote ({error!r})") from error
        written = spec.to_metadata()
        different = sorted(key for key in written if metadata.get(key) != written[key])
        if different:
            raise ValueError(f"array metadata that mien did not write: {', '.join(different)}")
        return spec


def rows_per_chunk(shape: tuple[int, ...], dtype: str, target_bytes: int = 2**20) -> int:
    """How many rows make a chunk of about `target_bytes`: at least one, at most the whole array."""
    _require_known(dtype)
    row_bytes = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    return max(1, min(target_bytes // max(row_bytes, 1), shape[0] if shape else 1))


def _require_known(dtype: str) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"values of type {dtype} cannot be stored; known are {', '.join(DTYPES)}")


def _whole(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{number!r} is not a whole number")
    return number
