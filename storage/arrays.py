"""Arrays of a take: stored whole, read lazily, never more memory than the files on disk account for."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import EllipsisType, MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Int

from geometry.errors import InputError
from storage import chunks
from storage.array_spec import ArraySpec
from storage.documents import GROUP_KEY, read_document, to_bytes
from storage.places import Place


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array on disk. `array[5]`, `array[3:9]` and `np.asarray(array)` read the chunks they need, from any thread."""

    place: Place
    """The take."""
    folder: str
    """The array's own folder."""
    spec: ArraySpec
    """Its shape, type, axes and chunks."""
    _indexes: dict[int, Int[np.ndarray, "chunk 2"]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, place: Place, folder: str, known: Mapping[str, Any] = MappingProxyType({})) -> StoredArray:
        """The array in a folder; InputError if there is none or its metadata is damaged.

        `known` metadata (by folder, as `consolidated_metadata` gives them) are not read again.
        """
        key = f"{folder}/{GROUP_KEY}"
        metadata = known.get(folder) or read_document(place, key)
        if metadata is None:
            raise InputError("an array", f"no {place.address}/{key}", "run `mien check` and make the take anew")
        try:
            return cls(place, folder, ArraySpec.from_metadata(metadata))
        except ValueError as error:
            raise InputError(f"array metadata in {place.address}/{key}", str(error), "restore the file") from error

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.spec.numpy_dtype

    @property
    def axes(self) -> tuple[str, ...]:
        """Dimension names."""
        return self.spec.axes

    @property
    def unit(self) -> str:
        """Of the values."""
        return self.spec.unit

    def labels(self, axis: str) -> tuple[str, ...]:
        """Names of the steps along an axis; empty if they have none."""
        return tuple(self.spec.labels.get(axis, ()))

    def __len__(self) -> int:
        return self.spec.row_count

    def __getitem__(self, key: int | np.integer | slice | EllipsisType) -> np.ndarray:
        """One row, a slice of rows, or all (`...`); InputError for a missing or damaged chunk."""
        if isinstance(key, EllipsisType):
            return self.read()
        if not self.shape:
            raise IndexError("a single value has no rows; use array[...]")
        if isinstance(key, slice):
            rows = range(*key.indices(self.shape[0]))
            if rows.step == 1:
                return self.read_rows(rows)
            return np.stack([self[row] for row in rows]) if rows else np.empty((0, *self.shape[1:]), self.dtype)
        row = operator.index(key)
        if not -self.shape[0] <= row < self.shape[0]:
            raise IndexError(f"row {row} of {self.shape[0]}")
        row %= self.shape[0]
        return self.read_rows(range(row, row + 1))[0, ...]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("values on disk can only be copied")
        return self.read().astype(dtype or self.dtype, copy=False)

    def read(self) -> np.ndarray:
        """All values; InputError if files are missing or damaged."""
        if not self.shape:
            return self._chunk(0)
        return self.read_rows(range(self.shape[0]))

    def read_rows(self, rows: range) -> np.ndarray:
        """The values of consecutive rows inside the array."""
        if not rows or not self.spec.file_count:
            return np.empty((len(rows), *self.shape[1:]), self.dtype)
        self._require_files(rows)
        size = self.spec.rows_per_chunk
        first, last = rows[0] // size, rows[-1] // size
        if first == last:
            return self._chunk(first)[rows[0] - first * size : rows[-1] + 1 - first * size]
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for number in range(first, last + 1):
            start, stop = max(rows[0], number * size), min(rows[-1] + 1, (number + 1) * size)
            values[start - rows[0] : stop - rows[0]] = self._chunk(number)[start - number * size : stop - number * size]
        return values

    def _require_files(self, rows: range) -> None:
        """Metadata may claim any number of rows: believe only what files stand for, before allocating."""
        first, last = rows[0] // self.spec.rows_per_file, rows[-1] // self.spec.rows_per_file
        if last > first and len(self.place.children(f"{self.folder}/c")) < last - first + 1:
            raise self._damage(f"fewer chunk files than its {self.shape[0]} rows need")

    def _chunk(self, number: int) -> np.ndarray:
        """A whole chunk's values."""
        per_shard = self.spec.chunks_per_shard
        file_number = number // per_shard if per_shard else number
        key = f"{self.folder}/{self.spec.file_key(file_number)}"
        try:
            if not per_shard:
                data = self.place.read(key)
            else:
                start, stop = self._index(file_number, key)[number % per_shard]
                if start < 0:
                    raise chunks.DamagedChunk("the shard does not hold it")
                data = self.place.read(key, int(start), int(stop))
            return self.spec.bytes_codec.decode(data, self.spec.chunk_shape, self.dtype)
        except FileNotFoundError:
            raise self._damage(f"{key} is missing") from None
        except chunks.DamagedChunk as error:
            raise self._damage(f"chunk {number} in {key}: {error}") from error

    def _index(self, file_number: int, key: str) -> Int[np.ndarray, "chunk 2"]:
        """Where a shard's chunks lie. Threads may both read it; they store the same."""
        if file_number not in self._indexes:
            self._indexes[file_number] = read_shard_index(self.place, key, self.spec.chunks_per_shard)
        return self._indexes[file_number]

    def _damage(self, what: str) -> InputError:
        remedy = "`mien check` lists all damage; make the data anew from its source"
        return InputError(f"the values of {self.place.address}/{self.folder}", what, remedy)


def read_shard_index(place: Place, key: str, chunks_per_shard: int) -> Int[np.ndarray, "chunk 2"]:
    """Start and end of each chunk of a shard file; FileNotFoundError, or DamagedChunk if the index is wrong."""
    size = place.size(key)
    if size is None:
        raise FileNotFoundError(key)
    start = max(0, size - chunks.index_size(chunks_per_shard))
    return chunks.split_index(place.read(key, start, size), chunks_per_shard, size)


def write_metadata(place: Place, folder: str, spec: ArraySpec) -> None:
    """Declare an array; its chunks follow."""
    place.write(f"{folder}/{GROUP_KEY}", to_bytes(spec.to_metadata()))


def encode_file(spec: ArraySpec, values: np.ndarray) -> bytes:
    """The bytes of one chunk or shard file from its rows; a last chunk is filled up with zeros."""
    encode = spec.bytes_codec.encode
    if not spec.shape:
        return encode(values)
    size = spec.rows_per_chunk
    encoded = [encode(_padded(values[row : row + size], size)) for row in range(0, len(values), size)]
    return chunks.join_shard(encoded, spec.chunks_per_shard) if spec.chunks_per_shard else encoded[0]


def write_array(place: Place, folder: str, values: np.ndarray, spec: ArraySpec) -> str:
    """Store an array: its files, then its metadata, so that an array which opens has all its rows.

    Returns its `content_digest`.
    """
    if values.shape != spec.shape or values.dtype != spec.numpy_dtype:
        raise ValueError(f"{folder}: {values.dtype} {values.shape} is not the {spec.dtype} {spec.shape} declared")
    sha256 = hashlib.sha256(to_bytes(spec.to_metadata()))
    for number in range(spec.file_count):
        rows = spec.rows_of_file(number)
        data = encode_file(spec, values[rows.start : rows.stop] if spec.shape else values)
        sha256.update(data)
        place.write(f"{folder}/{spec.file_key(number)}", data)
    write_metadata(place, folder, spec)
    return sha256.hexdigest()


def content_digest(place: Place, folder: str, spec: ArraySpec) -> str:
    """SHA-256 over an array's metadata and files, in order."""
    sha256 = hashlib.sha256(to_bytes(spec.to_metadata()))
    for number in range(spec.file_count):
        sha256.update(place.read(f"{folder}/{spec.file_key(number)}"))
    return sha256.hexdigest()


def _padded(rows: np.ndarray, count: int) -> np.ndarray:
    if len(rows) == count:
        return rows
    return np.concatenate([rows, np.zeros((count - len(rows), *rows.shape[1:]), rows.dtype)])
