"""Every codec keeps what it promises, reads back through zarr-python, and notices any flipped bit."""

import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import zarr

from storage.array_spec import ArraySpec
from storage.arrays import StoredArray, encode_file, write_metadata
from storage.chunks import DamagedChunk, join_shard, with_crc
from storage.codecs import CODECS, JpegCodec, codec_for
from storage.jpeg import decode_jpeg
from storage.places import place_of
from tests.storage.zarr_registration import NAMES, register_codecs

register_codecs()
ROOT = Path(__file__).resolve().parents[2]
COLOUR, GREY = (1, 33, 47, 3), (1, 33, 47)
CASES = [
    ("blosc", COLOUR, "uint8"),
    ("blosc", GREY, "uint16"),
    ("jpegxl", COLOUR, "uint8"),
    ("jpegxl", GREY, "uint16"),
    ("jpegxl", GREY, "uint8"),
    ("jpegxl_lossy", COLOUR, "uint8"),
    ("residual", COLOUR, "uint8"),
    ("jpeg", COLOUR, "uint8"),
]


def picture(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """A chunk with a ramp and noise over the type's whole range."""
    top = np.iinfo(dtype).max
    ramp = np.linspace(0, top, int(np.prod(shape))).reshape(shape)
    noise = np.random.default_rng(seed).normal(0, top / 50, shape)
    return (ramp + noise).clip(0, top).astype(dtype)


def encoded(name: str, values: np.ndarray) -> bytes:
    codec = CODECS[name]
    if isinstance(codec, JpegCodec):
        return codec.store(bitstream(values[0]), values.shape)
    return codec.encode(values)


def bitstream(values: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", values)[1].tobytes()


@pytest.mark.parametrize(("name", "shape", "dtype"), CASES)
def test_lossless_codecs_give_back_every_bit(name: str, shape: tuple[int, ...], dtype: str) -> None:
    values = picture(shape, dtype)
    expected = decode_jpeg(bitstream(values[0]))[None] if name == "jpeg" else values
    decoded = CODECS[name].decode(encoded(name, values), shape, np.dtype(dtype))
    assert decoded.dtype == dtype
    if CODECS[name].is_lossless:
        np.testing.assert_array_equal(decoded, expected)
    else:
        error = np.sqrt(np.mean((decoded.astype(float) - cv2.GaussianBlur(values[0], (5, 5), 0)) ** 2))
        assert 0 < error < 10


@pytest.mark.parametrize(("name", "shape", "dtype"), CASES)
def test_any_flipped_bit_of_a_chunk_is_noticed_without_decoding(name: str, shape: tuple[int, ...], dtype: str) -> None:
    data = encoded(name, picture(shape, dtype))
    rng = np.random.default_rng(1)
    for position in {*range(20), *range(len(data) - 20, len(data)), *rng.integers(0, len(data), 200).tolist()}:
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        with pytest.raises(DamagedChunk):
            CODECS[name].check(bytes(damaged), shape, np.dtype(dtype))
    for length in (0, 3, 4, 20, len(data) // 2, len(data) - 1):
        with pytest.raises(DamagedChunk):
            CODECS[name].decode(data[:length], shape, np.dtype(dtype))


@pytest.mark.parametrize(("name", "shape", "dtype"), CASES)
def test_a_chunk_of_another_size_is_refused_before_anything_is_allocated(
    name: str, shape: tuple[int, ...], dtype: str
) -> None:
    data = encoded(name, picture(shape, dtype))
    for other in ((1, 34, *shape[2:]), (1, 33, 46, *shape[3:]), (1, 2**15, 2**15, *shape[3:])):
        for step in (CODECS[name].check, CODECS[name].decode):
            with pytest.raises(DamagedChunk, match=r"declares|picture of"):
                step(data, other, np.dtype(dtype))


def test_jpeg_xl_of_other_channels_or_types_is_refused() -> None:
    codec = CODECS["jpegxl"]
    grey, deep = codec.encode(picture(GREY, "uint8")), codec.encode(picture(GREY, "uint16"))
    for data, shape, dtype in ((grey, COLOUR, "uint8"), (grey, GREY, "uint16"), (deep, GREY, "uint8")):
        with pytest.raises(DamagedChunk):
            codec.decode(data, shape, np.dtype(dtype))


def test_garbage_behind_a_right_checksum_is_refused_in_words() -> None:
    rng = np.random.default_rng(2)
    for name, shape, dtype in CASES:
        whole = encoded(name, picture(shape, dtype))[:-4]
        for garbage in (b"", b"\xff\x0a", b"\xff\xd8\xff", whole[:-9], whole[: len(whole) // 2], rng.bytes(500)):
            with pytest.raises(DamagedChunk):
                CODECS[name].decode(with_crc(garbage), shape, np.dtype(dtype))


@pytest.mark.parametrize("name", ["blosc", "jpegxl", "jpegxl_lossy", "residual"])
def test_the_same_values_make_the_same_bytes_in_every_thread(name: str) -> None:
    values = picture((1, 480, 640, 3), "uint8")
    here = CODECS[name].encode(values)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(CODECS[name].encode, [values] * 4)) == {here}


@pytest.mark.parametrize("per_shard", [0, 4])
@pytest.mark.parametrize(("name", "shape", "dtype"), CASES)
def test_zarr_python_reads_what_mien_writes(
    tmp_path: Path, name: str, shape: tuple[int, ...], dtype: str, per_shard: int
) -> None:
    axes = ("frame", "y", "x", "rgb")[: len(shape)]
    spec = ArraySpec((6, *shape[1:]), dtype, axes, "1", 1, per_shard, codec=name)
    chunks = [encoded(name, picture(shape, dtype, t)) for t in range(6)]
    place, rows = place_of(tmp_path), range(spec.file_count)
    for number in rows:
        held = [chunks[t] for t in spec.rows_of_file(number)]
        place.write(f"array/{spec.file_key(number)}", join_shard(held, per_shard) if per_shard else held[0])
    write_metadata(place, "array", spec)
    ours = StoredArray.open(place, "array")
    theirs = zarr.open_array(tmp_path / "array", mode="r")
    assert ours.spec == spec and theirs.dtype == spec.numpy_dtype
    np.testing.assert_array_equal(theirs[...], ours[...])
    np.testing.assert_array_equal(theirs[4], ours[4])
    damaged = tmp_path / "array" / spec.file_key(0)
    data = bytearray(damaged.read_bytes())
    data[9] ^= 4
    damaged.write_bytes(data)
    with pytest.raises(ValueError, match=r"crc32c|checksum"):
        _ = zarr.open_array(tmp_path / "array", mode="r")[0]


@pytest.mark.parametrize(("name", "shape", "dtype"), [case for case in CASES if case[0] != "jpeg"])
def test_mien_reads_what_zarr_python_writes(tmp_path: Path, name: str, shape: tuple[int, ...], dtype: str) -> None:
    axes = ("frame", "y", "x", "rgb")[: len(shape)]
    spec = ArraySpec((3, *shape[1:]), dtype, axes, "1", 1, 2, codec=name)
    values = np.concatenate([picture(shape, dtype, t) for t in range(3)])
    write_metadata(place_of(tmp_path), "array", spec)
    zarr.open_array(tmp_path / "array", mode="r+")[...] = values
    data = (tmp_path / "array" / spec.file_key(0)).read_bytes()
    assert data == encode_file(spec, values[:2])
    ours = StoredArray.open(place_of(tmp_path), "array")
    np.testing.assert_array_equal(ours[...], zarr.open_array(tmp_path / "array", mode="r")[...])


def test_jpegs_are_kept_and_never_made(tmp_path: Path) -> None:
    spec = ArraySpec((2, *COLOUR[1:]), "uint8", ("frame", "y", "x", "rgb"), codec="jpeg")
    values = np.concatenate([picture(COLOUR, "uint8")] * 2)
    with pytest.raises(ValueError, match="own JPEGs"):
        encode_file(spec, values[:1])
    write_metadata(place_of(tmp_path), "array", spec)
    with pytest.raises(ValueError, match="own JPEGs"):
        zarr.open_array(tmp_path / "array", mode="r+")[...] = values
    camera = bitstream(values[0])
    codec = CODECS["jpeg"]
    assert isinstance(codec, JpegCodec)
    assert codec.store(camera, COLOUR)[:-4] == camera
    for wrong in (camera[:-2], camera[:900], bitstream(values[0, :-1]), b""):
        with pytest.raises(DamagedChunk):
            codec.store(wrong, COLOUR)


def test_what_may_be_lost_stands_in_the_metadata() -> None:
    def inner(name: str) -> Any:
        return ArraySpec((1, 4, 4, 3), "uint8", ("t", "y", "x", "rgb"), codec=name).to_metadata()["codecs"]

    assert inner("jpegxl") == [
        {"name": "mien.jpegxl", "configuration": {"lossless": True, "effort": 1}},
        {"name": "crc32c"},
    ]
    assert inner("jpegxl_lossy")[0]["configuration"] == {"lossless": False, "effort": 3, "distance": 1.0}
    assert inner("jpeg") == [{"name": "mien.jpeg"}, {"name": "crc32c"}]


def test_codecs_take_only_what_they_can_keep() -> None:
    def spec(name: str, dtype: str, *sides: int) -> ArraySpec:
        return ArraySpec((2, *sides), dtype, tuple("abcd"[: 1 + len(sides)]), codec=name)

    for name, dtype, sides in (
        ("jpegxl", "float32", (4, 4)),
        ("jpegxl", "uint16", (4, 4, 3)),
        ("jpegxl", "uint8", (4, 4, 4)),
        ("jpegxl", "int64", ()),
        ("jpegxl_lossy", "uint16", (4, 4)),
        ("jpeg", "uint16", (4, 4)),
        ("residual", "uint16", (4, 4)),
        ("nothing", "uint8", (4, 4)),
    ):
        with pytest.raises(ValueError, match="codec"):
            spec(name, dtype, *sides)


def test_the_codec_of_a_stream_is_lossless_unless_asked() -> None:
    assert {kind: codec_for(kind) for kind in ("rgb", "depth", "infrared", "light_field")} == dict.fromkeys(
        ("rgb", "depth", "infrared", "light_field"), "jpegxl"
    )
    assert codec_for("rgb", camera_jpegs=True) == codec_for("rgb", camera_jpegs=True, lossy_colour=True) == "jpeg"
    assert codec_for("rgb", lossy_colour=True) == "jpegxl_lossy"
    assert codec_for("depth", lossy_colour=True) == "jpegxl"
    for kind in ("rgb", "depth"):
        assert codec_for(kind, portable=True, camera_jpegs=True, lossy_colour=True) == "blosc"


def declared_entry_points() -> dict[str, str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["zarr.codecs"]


def test_a_program_that_knows_only_zarr_opens_an_array_beside_an_installed_mien(tmp_path: Path) -> None:
    """Run outside of the checkout; an installation is its modules and the entry points that pyproject declares."""
    spec = ArraySpec((2, *COLOUR[1:]), "uint8", ("t", "y", "x", "rgb"), codec="jpegxl")
    for t in range(2):
        data = encode_file(spec, picture(COLOUR, "uint8", t))
        place_of(tmp_path).write(f"array/{spec.file_key(t)}", data)
    write_metadata(place_of(tmp_path), "array", spec)
    installed = tmp_path / "site" / "mien_as_installed-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mien-as-installed\nVersion: 0\n")
    lines = [f"{name} = {target}" for name, target in declared_entry_points().items()]
    (installed / "entry_points.txt").write_text("\n".join(["[zarr.codecs]", *lines]))
    program = f"import zarr; print(zarr.open_array({str(tmp_path / 'array')!r}, mode='r')[...].astype(int).sum())"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"}
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert int(answer.stdout) == sum(int(picture(COLOUR, "uint8", t).astype(int).sum()) for t in range(2))


def test_zarr_finds_the_codecs_by_entry_point() -> None:
    declared = declared_entry_points()
    assert set(declared) == set(NAMES)
    for name, target in declared.items():
        module, _, attribute = target.partition(":")
        # The run-time checks of the tests wrap classes: names say which one it is.
        assert getattr(import_module(module), attribute).__name__ == NAMES[name].__name__
    installed = {point.name: point for point in entry_points(group="zarr.codecs") if point.name in NAMES}
    for name, point in installed.items():
        assert point.value == declared[name] and point.load().__name__ == NAMES[name].__name__
