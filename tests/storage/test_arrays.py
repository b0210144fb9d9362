"""mien's bytes are Zarr's bytes: the plain twin is zarr-python itself."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from geometry.errors import InputError
from storage.array_spec import DTYPES, ArraySpec, rows_per_chunk
from storage.arrays import StoredArray, write_array, write_metadata
from storage.chunks import DamagedChunk
from storage.codecs import CODECS
from storage.places import place_of

SPECS = [
    ArraySpec((), "float64", (), "m"),
    ArraySpec((7,), "int64", ("frame",), "ns", 3),
    ArraySpec((0,), "int64", ("frame",), "ns", 3),
    ArraySpec((5, 0), "float32", ("frame", "xyz"), "m", 2),
    ArraySpec((9, 4, 3), "uint16", ("frame", "y", "x"), "1", 2),
    ArraySpec((9, 4, 3), "uint16", ("frame", "y", "x"), "1", 1, 4),
    ArraySpec((9, 4, 3), "uint8", ("frame", "y", "x"), "1", 2, 2),
    ArraySpec((3, 2), "float32", ("frame", "curve"), "", 1, 16, {"curve": ("jawOpen", "blink")}),
    *(ArraySpec((6, 5), dtype, ("a", "b"), "", 4) for dtype in DTYPES),
]


def _values(spec: ArraySpec) -> np.ndarray:
    return np.asarray(np.random.default_rng(1).random(spec.shape) * 100).astype(spec.dtype)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_zarr_reads_what_mien_writes(tmp_path: Path, spec: ArraySpec) -> None:
    write_array(place_of(tmp_path), "array", _values(spec), spec)
    array = zarr.open_array(tmp_path / "array", mode="r")
    np.testing.assert_array_equal(array[...], _values(spec))
    assert array.dtype == spec.numpy_dtype and array.attrs["unit"] == spec.unit
    assert array.metadata.dimension_names == (spec.axes if spec.shape else ())  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_mien_reads_what_zarr_writes(tmp_path: Path, spec: ArraySpec) -> None:
    write_metadata(place_of(tmp_path), "array", spec)
    with zarr.config.set({"array.write_empty_chunks": True}):
        zarr.open_array(tmp_path / "array", mode="r+")[...] = _values(spec)
    array = StoredArray.open(place_of(tmp_path), "array")
    assert array.spec == spec
    np.testing.assert_array_equal(array[...], _values(spec))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.shape], ids=str)
def test_rows_are_read_like_numpy_reads_them(tmp_path: Path, spec: ArraySpec) -> None:
    write_array(place_of(tmp_path), "array", _values(spec), spec)
    array, values = StoredArray.open(place_of(tmp_path), "array"), _values(spec)
    assert len(array) == len(values)
    for rows in (slice(None), slice(1, 4), slice(2, 2), slice(0, 99), slice(-2, None), slice(None, None, 2)):
        np.testing.assert_array_equal(array[rows], values[rows])
    for row in range(-len(values), len(values)):
        np.testing.assert_array_equal(array[row], values[row])
    for row in (len(values), -len(values) - 1):
        with pytest.raises(IndexError):
            _ = array[row]


def test_the_same_values_make_the_same_bytes_in_every_thread() -> None:
    """Large enough that Blosc would use its own threads."""
    from concurrent.futures import ThreadPoolExecutor

    values = np.random.default_rng(0).integers(0, 60, (1, 720, 1280, 3), dtype=np.uint8)
    here = CODECS["blosc"].encode(values)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(CODECS["blosc"].encode, [values] * 6)) == {here}
    np.testing.assert_array_equal(CODECS["blosc"].decode(here, values.shape, values.dtype), values)


def test_a_chunk_knows_its_size_before_anything_is_allocated() -> None:
    data = CODECS["blosc"].encode(np.zeros(1000, np.uint8))
    for shape, dtype in (((10**9,), "uint8"), ((1000,), "uint16"), ((999,), "uint8")):
        with pytest.raises(DamagedChunk, match="declares 1000 bytes"):
            CODECS["blosc"].decode(data, shape, np.dtype(dtype))
    for short in (b"", b"abc", data[:16], data[:-1], data + b"\x00"):
        with pytest.raises(DamagedChunk):
            CODECS["blosc"].decode(short, (1000,), np.dtype("uint8"))


def test_impossible_arrays_are_refused() -> None:
    for shape, dtype, axes, rows in (
        ((3,), "float32", (), 1),
        ((3, 3), "float32", ("x", "x"), 1),
        ((3,), "object", ("x",), 1),
        ((-3,), "float32", ("x",), 1),
        ((3,), "float32", ("x",), 0),
        ((10**10,), "float32", ("x",), 10**10),
    ):
        with pytest.raises(ValueError):
            ArraySpec(shape, dtype, axes, "", rows)
    with pytest.raises(ValueError, match="labels"):
        ArraySpec((3,), "float32", ("x",), labels={"x": ("one",)})


def test_arrays_of_other_writers_are_refused_in_words(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "array", shape=(4,), dtype="f4", dimension_names=["x"], attributes={"unit": "m"})
    with pytest.raises(InputError, match="codecs"):
        StoredArray.open(place_of(tmp_path), "array")


def test_chunks_are_about_a_megabyte() -> None:
    assert rows_per_chunk((3000, 4538, 3), "float32") == 19
    assert rows_per_chunk((10, 3), "float32") == 10
    assert rows_per_chunk((100, 4096, 4096), "float32") == 1
    assert rows_per_chunk((0, 3), "float32") == 1
