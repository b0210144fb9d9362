"""Residual pictures come back bit for bit, are what the formula says, and are smaller than PNG where there is noise."""

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.residual import HEADER, DamagedResidual, decode_residual, encode_residual, shape_of_residual


def residual_by_formula(picture: np.ndarray) -> np.ndarray:
    """The plain twin: each pixel less (left + 2 * above + right + 2) // 4 of the row above, modulo 256."""
    wide = np.pad(picture.astype(int), ((0, 0), (1, 1), (0, 0)), mode="edge")
    predicted = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:] + 2) // 4
    residual = picture.astype(int)
    residual[1:] -= predicted[:-1]
    return (residual % 256).astype(np.uint8)


@given(st.integers(1, 30), st.integers(1, 70), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_every_shape_comes_back_and_holds_what_the_formula_says(rows: int, columns: int, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    data = encode_residual(picture)
    assert shape_of_residual(data) == picture.shape
    assert np.array_equal(decode_residual(data, picture.shape), picture)
    held = np.frombuffer(imagecodecs.zstd_decode(data[HEADER.size :]), np.uint8)
    assert np.array_equal(held.reshape(picture.shape), residual_by_formula(picture))


@pytest.mark.parametrize("noise", [1.0, 2.0, 5.0])
def test_noisy_pictures_take_less_room_than_as_png(noise: float) -> None:
    ramp = np.linspace(40, 200, 480)[:, None, None] * np.linspace(0.7, 1, 640)[:, None]
    picture = np.rint(ramp + np.random.default_rng(3).normal(0, noise, (480, 640, 3))).astype(np.uint8)
    assert len(encode_residual(picture)) < 0.97 * len(cv2.imencode(".png", picture)[1])


def test_other_shapes_and_odd_lengths_are_refused() -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    data = encode_residual(picture)
    with pytest.raises(DamagedResidual, match=r"\(4, 5, 3\), not \(40000, 50000, 3\)"):
        decode_residual(data, (40000, 50000, 3))
    for count in (59, 61, 0):
        wrong = data[: HEADER.size] + imagecodecs.zstd_encode(bytes(count))
        with pytest.raises(DamagedResidual):
            decode_residual(wrong, picture.shape)
    for cut in range(len(data)):
        with pytest.raises(DamagedResidual):
            decode_residual(data[:cut], picture.shape)
