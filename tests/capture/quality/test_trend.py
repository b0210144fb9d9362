"""A creep and a jump are told apart, and noise is neither."""

from __future__ import annotations

import numpy as np
import pytest

from capture.quality.trend import fit_trend

TIME_S = np.linspace(0, 60, 24)


@pytest.mark.parametrize("seed", range(40))
def test_noise_alone_has_no_step(seed: int) -> None:
    values = np.random.default_rng([seed, 11]).normal(0, 0.02, (24, 2))
    trend = fit_trend(TIME_S, values)
    assert trend is not None and trend.step_at == 0 and not trend.step.any()
    assert np.linalg.norm(trend.drift) < 0.08 and trend.noise == pytest.approx(0.02, rel=0.6)


@pytest.mark.parametrize("at", [2, 7, 12, 22])
@pytest.mark.parametrize("drift", [0.0, 0.4])
def test_a_step_and_a_creep_are_each_found(at: int, drift: float) -> None:
    values = np.random.default_rng(at).normal(0, 0.02, (24, 2))
    values[:, 0] += drift * TIME_S / 60
    values[at:] += (0.9, -1.2)
    trend = fit_trend(TIME_S, values)
    assert trend is not None and trend.step_at == at
    assert trend.step == pytest.approx([0.9, -1.2], abs=0.12)
    assert trend.drift == pytest.approx([drift, 0], abs=0.12)


def test_one_wild_sample_is_no_step() -> None:
    values = np.random.default_rng(3).normal(0, 0.02, (24, 2))
    values[9] += 3.0
    trend = fit_trend(TIME_S, values)
    assert trend is not None and trend.step_at == 0


def test_missing_samples_are_left_out_and_too_few_say_nothing() -> None:
    values = np.full((24, 1), np.nan)
    values[::2] = 0.5 * TIME_S[::2, None]
    trend = fit_trend(TIME_S, values)
    assert trend is not None and trend.drift == pytest.approx([0.5 * np.ptp(TIME_S[::2])])
    assert fit_trend(TIME_S[:5], np.zeros((5, 1))) is None
    assert fit_trend(np.zeros(24), np.zeros((24, 1))) is None
