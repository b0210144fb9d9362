"""Planted jitter, lags, eaten blinks and frozen frames come out as what was planted."""

import numpy as np
import pytest

from evaluation.motion import (
    STILL_M,
    blink_figures,
    blinks,
    jitter_figures,
    lag_figures,
    lag_frames,
    silent_gaps,
    still_parts,
)

RANDOM = np.random.default_rng(5)


def smooth_curves(times: np.ndarray) -> np.ndarray:
    return np.stack([0.5 + 0.5 * np.sin(times * speed + phase) for speed, phase in ((0.5, 0), (0.31, 1), (0.8, 2))], 1)


def test_jitter_is_the_second_difference_of_what_shakes():
    true = np.zeros((20, 5, 3))
    fitted = true.copy()
    fitted[:, 2, 0] = 1e-3 * (-1.0) ** np.arange(20)  # one of five vertices, 1 mm to and fro: 4 mm per frame squared
    everything = still_parts(true)
    assert jitter_figures(fitted, true, everything)["jitter_mm_per_frame2"] == pytest.approx(4 / 5)


def test_what_the_true_head_does_is_no_jitter_and_neither_is_a_constant_error():
    true = np.cumsum(RANDOM.normal(size=(12, 1, 3)), 0) * 1e-2 + RANDOM.normal(size=(1, 6, 3))
    drifting = true + 2e-3 + 1e-3 * np.arange(12)[:, None, None]
    figures = jitter_figures(drifting, true, np.ones((12, 6), bool))
    assert figures["jitter_mm_per_frame2"] == pytest.approx(0, abs=1e-9)


def test_parts_that_move_are_not_still_nor_are_their_neighbours_in_time():
    head = np.zeros((7, 2, 3))
    head[3:, 1, 1] = 2 * STILL_M
    still = still_parts(head)
    assert still[:, 0].tolist() == [False, True, True, True, True, True, False]
    assert still[:, 1].tolist() == [False, True, False, False, True, True, False]
    assert jitter_figures(head, head, np.zeros((7, 2), bool)) == {}


@pytest.mark.parametrize("lag", [-3.0, -0.4, 0.0, 0.25, 1.0, 2.6])
def test_a_planted_lag_is_found_to_a_tenth_of_a_frame(lag):
    times = np.arange(60.0)
    found = lag_frames(smooth_curves(times - lag), smooth_curves(times))
    assert found == pytest.approx(lag, abs=0.1)
    noisy = smooth_curves(times - lag) * 0.8 + RANDOM.normal(0, 0.05, (60, 3))
    assert lag_frames(noisy, smooth_curves(times)) == pytest.approx(lag, abs=0.3)


def test_a_causal_filter_lags_and_a_symmetric_one_does_not():
    true = smooth_curves(np.arange(80.0))
    causal = true.copy()
    for frame in range(1, 80):
        causal[frame] = 0.6 * causal[frame - 1] + 0.4 * true[frame]
    both = true.copy()
    both[1:-1] = (true[:-2] + true[1:-1] + true[2:]) / 3
    assert lag_figures(causal, true)["lag_frames"] >= 1
    assert lag_figures(both, true)["lag_frames"] == 0


def test_curves_that_rest_have_no_lag():
    assert lag_figures(np.zeros((30, 2)), np.zeros((30, 2))) == {}
    assert lag_figures(np.zeros((3, 2)), smooth_curves(np.arange(3.0))[:, :2]) == {}


def test_smoothing_that_eats_blinks_is_caught():
    true = np.zeros((40, 2))
    for start in (5, 20, 33):
        true[start : start + 3] = [[0.6], [1.0], [0.6]]
    assert blinks(true[:, 0]) == [6, 21, 34]
    assert blink_figures(true * 0.9, true) == {"blink_amplitude_ratio": pytest.approx(0.9), "blinks": 6}
    smoothed = (np.roll(true, 1, 0) + true + np.roll(true, -1, 0)) / 3
    assert blink_figures(smoothed, true)["blink_amplitude_ratio"] == pytest.approx(2.2 / 3)
    late = np.roll(true, 2, 0)
    assert blink_figures(late, true)["blink_amplitude_ratio"] == pytest.approx(1), "a lag is told apart"
    assert blink_figures(true, true * 0.3) == {}


def test_frozen_and_broken_frames_do_not_pass_for_results():
    true = RANDOM.normal(size=(6, 4, 3))
    fitted = true + 1e-3
    assert silent_gaps(fitted, true, None) == 0
    fitted[2], fitted[4, 1, 1] = fitted[1], np.nan
    assert silent_gaps(fitted, true, None) == 2
    assert silent_gaps(fitted, true, np.array([0, 0, 1, 0, 0, 0], np.uint8)) == 1, "one names itself"
    from_depth = np.full(6, 2, np.uint8)
    assert silent_gaps(fitted, true, from_depth) == 2, "what depth alone told passes for fitted, and must be"
    still = np.repeat(true[:1], 6, 0)
    assert silent_gaps(still + 1e-3, still, None) == 0, "a face that keeps still may be fitted so"
