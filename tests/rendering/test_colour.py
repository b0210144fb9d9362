"""The sRGB transfer: tables against the curve, the curve against numbers of IEC 61966-2-1, arrays against tensors."""

import numpy as np
import pytest
import torch

from rendering.colour import linear_to_srgb, srgb_decode, srgb_encode, srgb_to_linear

COUNTS = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
LEVELS = np.linspace(0, 1, 4001)


def test_counts_survive_the_round_trip_and_light_clips():
    np.testing.assert_array_equal(linear_to_srgb(srgb_to_linear(COUNTS)), COUNTS)
    np.testing.assert_array_equal(linear_to_srgb(np.array([[-1.0, 0.2140, 7.0]])), [[0, 127, 255]])


def test_tables_are_the_curve():
    np.testing.assert_array_equal(srgb_to_linear(COUNTS), srgb_decode(COUNTS / 255).astype(np.float32))
    light = LEVELS[:, None].repeat(3, 1)
    assert np.abs(linear_to_srgb(light) - srgb_encode(light) * 255).max() < 0.55


def test_the_curve_joins_its_line_to_its_power():
    np.testing.assert_allclose(srgb_decode(srgb_encode(LEVELS)), LEVELS, atol=1e-7)
    np.testing.assert_allclose(srgb_encode(np.array([0.0, 0.0031308, 0.18, 1.0])), [0, 0.04045, 0.461356, 1], atol=1e-6)
    assert (np.diff(srgb_encode(LEVELS)) > 0).all() and (np.diff(srgb_decode(LEVELS)) > 0).all()
    single = LEVELS.astype(np.float32)
    assert srgb_encode(single).dtype == srgb_decode(single).dtype == np.float32


@pytest.mark.parametrize("curve", [srgb_encode, srgb_decode])
def test_tensors_take_the_same_curve_and_have_its_slope(curve, device: str):
    levels = torch.tensor([-0.1, 0.0, 1e-4, 0.002, 0.03, 0.06, 0.5, 1.0, 3.0], dtype=torch.float64, device=device)
    np.testing.assert_allclose(curve(levels).cpu(), curve(levels.cpu().numpy()), rtol=1e-14)
    assert torch.autograd.gradcheck(curve, levels.requires_grad_())
    zero = torch.zeros((), requires_grad=True, device=device)
    curve(zero).backward()
    assert zero.grad is not None
    assert float(zero.grad) == pytest.approx(12.92 if curve is srgb_encode else 1 / 12.92)
