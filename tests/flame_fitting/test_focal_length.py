"""The focal length of an uncalibrated camera: found where perspective shows it, and said to be a guess where not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from flame_fitting.focal_length import (
    FOCAL,
    SIGMA,
    USUAL_FOCAL,
    estimate_focal_length,
    fitted_cameras,
    lens_metrics,
    lenses_named,
    most_probable,
)
from flame_fitting.person import CURVE_PRIOR
from geometry.cameras import UNCALIBRATED, Camera
from tests.flame_fitting.exact_heads import COLOUR, ExactTake, head, scene, state

FOCAL_PX = 310.0
"""Of the camera that saw the heads, about: 2.15 picture widths."""
MEDIAN, SPREAD = np.log(USUAL_FOCAL[0] * 144), USUAL_FOCAL[1]


def unknown(camera: Camera) -> Camera:
    """The same sensor, of which only the picture's size is known."""
    return Camera.uncalibrated(camera.id, camera.module, "rgb", camera.image_size_hw)


def turning_head() -> ExactTake:
    """A near head that turns from side to side."""
    none = torch.zeros(len(head().model.expression_names), dtype=torch.float64)
    states = tuple(state(none, (0.1 * n - 0.1, 0.5 * n - 0.5, 0.0), (0.0, 0.0, 0.15)) for n in range(3))
    return ExactTake(scene(0), states)


@pytest.mark.slow
def test_a_head_that_turns_tells_the_focal_length():
    take = turning_head()
    views = [replace(take.landmarks(frame)[0], camera=unknown(COLOUR[0])) for frame in range(3)]
    found = estimate_focal_length(head(), views, CURVE_PRIOR)
    guess = USUAL_FOCAL[0] * 144
    assert found.low_px < found.focal_px < found.high_px
    assert abs(np.log(found.focal_px / FOCAL_PX)) < 0.5 * abs(np.log(guess / FOCAL_PX)), "nearer than the guess"
    assert found.from_prior < 0.9


def test_without_a_word_from_the_pictures_the_usual_lens_stands():
    logs = MEDIAN + np.linspace(-2.5, 2.5, 9) * SPREAD
    found = most_probable(logs, np.zeros(9), MEDIAN, SPREAD)
    np.testing.assert_allclose(found.focal_px, np.exp(MEDIAN), rtol=1e-6)
    assert found.from_prior == pytest.approx(1.0)
    assert 0.25 < found.uncertainty < 0.45


def test_clear_pictures_overrule_what_is_usual():
    logs = MEDIAN + np.linspace(-2.5, 2.5, 9) * SPREAD
    true = logs[6]
    found = most_probable(logs, 400 * np.abs(logs - true), MEDIAN, SPREAD)
    np.testing.assert_allclose(found.focal_px, np.exp(true), rtol=0.01)
    assert found.from_prior < 0.01 and found.uncertainty < 0.02


def test_only_uncalibrated_cameras_are_asked_for():
    assert lens_metrics(head(), turning_head(), COLOUR, CURVE_PRIOR) == {}


def test_named_focal_lengths_reach_their_cameras_alone():
    cameras = (unknown(COLOUR[0]), COLOUR[1])
    metrics = {FOCAL + cameras[0].id: 250.0, SIGMA + cameras[0].id: 20.0, "key_frames": 3.0, "model": "anny"}
    fitted = fitted_cameras(cameras, metrics)
    assert fitted[0].K[0, 0] == fitted[0].K[1, 1] == 250.0
    assert fitted[0].calibration_source == UNCALIBRATED, "an estimate is no calibration"
    assert fitted[1] is cameras[1]
    assert lenses_named(metrics) == {name: metrics[name] for name in (FOCAL + cameras[0].id, SIGMA + cameras[0].id)}
