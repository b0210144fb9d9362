"""Sizes that JPEG XL headers declare are those of the pictures, whatever the encoder chose to write."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.jpegxl import DamagedJpegXl, decode_jpegxl, encode_jpegxl, size_of_jpegxl

SIDES = st.one_of(st.integers(1, 40), st.sampled_from([8, 64, 120, 160, 256, 257, 320, 512, 520, 1080, 1920]))


@given(rows=SIDES, columns=SIDES, deep=st.booleans(), lossy=st.booleans())
@settings(max_examples=150, deadline=None)
def test_declared_sizes_are_real_ones(rows: int, columns: int, deep: bool, lossy: bool) -> None:
    if rows * columns > 200_000:
        columns = 200_000 // rows
    shape = (rows, columns) if deep else (rows, columns, 3)
    picture = np.zeros(shape, np.uint16 if deep else np.uint8)
    data = encode_jpegxl(picture, 1.0 if lossy and not deep else None, 1)
    assert size_of_jpegxl(data) == (rows, columns)
    np.testing.assert_array_equal(decode_jpegxl(data, shape, picture.dtype), picture)


@pytest.mark.parametrize(
    "size_hw", [(9, 12), (10, 12), (30, 40), (20, 30), (90, 160), (40, 50), (20, 40), (8200, 3), (3, 8300)]
)
def test_every_ratio_and_length_of_the_header(size_hw: tuple[int, int]) -> None:
    assert size_of_jpegxl(encode_jpegxl(np.zeros(size_hw, np.uint8), None, 1)) == size_hw


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"]))
def test_garbage_is_refused_and_allocates_nothing(garbage: bytes, prefix: bytes) -> None:
    with pytest.raises(DamagedJpegXl):
        decode_jpegxl(prefix + garbage, (2**15 - 1, 2**15 - 3, 3), np.dtype(np.uint8))
