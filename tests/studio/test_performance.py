"""The performance stays within what a face can do, and differs from person to person."""

import numpy as np
import pytest

from flame_fitting.models.registry import load_head_model
from studio.performance import EMOTIONS, VISEMES, perform, stand_still

NAMES = load_head_model().expression_names
PLACE = np.array([0.0, 1.1, 0.0])


def test_curves_are_bounded_named_and_mostly_at_rest():
    times = np.arange(360) / 30
    done = perform(times, NAMES, PLACE, 3)
    assert done.curves.shape == (360, 52)
    assert done.curves.min() == 0 and done.curves.max() <= 1
    assert (done.curves < 0.02).mean() > 0.6
    spoken = {"jawOpen", "mouthSmileLeft", "browDownRight", "eyeBlinkLeft", "mouthPucker", "noseSneerLeft"}
    for name in spoken:
        assert done.curves[:, NAMES.index(name)].max() > 0.3, name


def test_every_shape_it_asks_for_exists():
    stems = {stem for shape in (*EMOTIONS.values(), *VISEMES.values()) for stem in shape}
    for stem in stems:
        assert stem in NAMES or f"{stem}Left" in NAMES, stem


def test_it_starts_neutral_and_plays_whole_in_a_short_take():
    short = perform(np.arange(30) / 30, NAMES, PLACE, 0)
    assert short.curves[0, [NAMES.index("jawOpen"), NAMES.index("mouthSmileLeft")]].max() < 0.05
    assert short.curves[:, NAMES.index("mouthPucker")].max() > 0.3, "the sentence at the end is played too"


def test_motion_is_smooth_at_a_natural_pace_and_stays_in_place():
    done = perform(np.arange(720) / 60, NAMES, PLACE, 5)
    step = np.abs(np.diff(done.rotvec, axis=0)).max()
    assert np.degrees(step) < 1.0
    assert np.linalg.norm(done.translation - PLACE, axis=1).max() < 0.02
    assert np.degrees(np.abs(done.rotvec).max()) > 4


def test_seeds_differ_and_repeat():
    times = np.arange(30) / 30
    one, again, other = (perform(times, NAMES, PLACE, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.curves, again.curves)
    assert np.abs(one.curves - other.curves).max() > 0.1
    assert stand_still(times, PLACE, 1).curves.shape == (30, 0)


@pytest.mark.parametrize("frames", [1, 2])
def test_a_take_of_one_or_two_frames(frames):
    assert np.isfinite(perform(np.arange(frames) / 30, NAMES, PLACE, 0).rotvec).all()
