"""PNG pixels are those that Pillow reads, whatever filter or compression; damage never gives pixels."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from capture.readers.png_pixels import PNG_SIGNATURE, DamagedPng, png_parts, png_pixels

CHANNELS = {2: 3, 6: 4, 0: 1}


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(samples: bytes, size_hw: tuple[int, int], bits: int, colour_type: int, cut: int = 8192) -> bytes:
    """A PNG of filtered rows, each with its filter's number in front, cut into IDAT chunks."""
    header = struct.pack(">IIBBBBB", size_hw[1], size_hw[0], bits, colour_type, 0, 0, 0)
    data = zlib.compress(samples, 1)
    pieces = [chunk(b"IDAT", data[start : start + cut]) for start in range(0, len(data), cut)]
    return PNG_SIGNATURE + chunk(b"IHDR", header) + b"".join(pieces) + chunk(b"IEND", b"")


def pixels_by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


@given(
    size_hw=st.tuples(st.integers(1, 40), st.integers(1, 90)),
    kind=st.sampled_from([(8, 2), (8, 6), (16, 0)]),
    filters=st.lists(st.integers(0, 4), min_size=40, max_size=40),
    seed=st.integers(0, 99),
    cut=st.sampled_from([1, 7, 8192]),
)
@settings(deadline=None, max_examples=60)
def test_every_filter_gives_pillows_pixels(
    size_hw: tuple[int, int], kind: tuple[int, int], filters: list[int], seed: int, cut: int
) -> None:
    rows, columns = size_hw
    row_bytes = columns * CHANNELS[kind[1]] * kind[0] // 8
    random = np.random.default_rng(seed).integers(0, 256, (rows, row_bytes), dtype=np.uint8)
    samples = b"".join(bytes([filters[row]]) + random[row].tobytes() for row in range(rows))
    data = png_of(samples, size_hw, *kind, cut=cut)
    assert np.array_equal(png_pixels(png_parts(data)), pixels_by_pillow(data))


def test_more_pixels_than_a_stored_block_holds() -> None:
    pixels = np.random.default_rng(1).integers(0, 2**16, (300, 400), dtype=np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    assert np.array_equal(png_pixels(png_parts(buffer.getvalue())), pixels)


def test_an_interlaced_picture_is_read_too() -> None:
    """Of 1 x 1 px: Adam7 then has one pass of one pixel, so that its data are a plain picture's."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1)
    data = zlib.compress(bytes([0, 7, 8, 9]))
    whole = PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    assert png_pixels(png_parts(whole)).tolist() == [[[7, 8, 9]]]


SAMPLES = b"".join(bytes([row % 5]) + bytes(range(60)) for row in range(10))


@pytest.mark.parametrize(
    "samples",
    [SAMPLES[:-1], SAMPLES[:61], b"", bytes([9]) + SAMPLES[1:]],
    ids=["a byte missing", "a row", "nothing", "an unknown filter"],
)
def test_whole_chunks_of_a_broken_picture_are_refused(samples: bytes) -> None:
    with pytest.raises(DamagedPng):
        png_pixels(png_parts(png_of(samples, (10, 20), 8, 2)))


def test_a_wrong_adler32_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 20, 10, 8, 2, 0, 0, 0)
    data = bytearray(zlib.compress(SAMPLES))
    data[-1] ^= 1
    whole = PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(data)) + chunk(b"IEND", b"")
    with pytest.raises(DamagedPng):
        png_pixels(png_parts(whole))


def test_two_headers_are_refused() -> None:
    data = png_of(SAMPLES, (10, 20), 8, 2)
    twice = data[:33] + chunk(b"IHDR", struct.pack(">IIBBBBB", 20, 10, 8, 2, 0, 0, 0)) + data[33:]
    with pytest.raises(DamagedPng, match="two headers"):
        png_parts(twice)


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_damage_anywhere_is_noticed(data: st.DataObject) -> None:
    whole = png_of(SAMPLES, (10, 20), 8, 2)
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(whole) - 1))
    for broken in (bytes(damaged), whole[:cut]):
        with pytest.raises(DamagedPng):
            png_pixels(png_parts(broken))
