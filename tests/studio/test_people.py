"""Six seeds running are people of every kind; asked for adults, every seed is who it was."""

from itertools import pairwise

import numpy as np
import pytest

from flame_fitting.models.anny import ADULT_AGES, ALL_AGES, RawAnny
from studio.complexion import draw_complexion
from studio.people import KINDS, Person, choose_person


@pytest.mark.parametrize("first", [0, 96, 102])
def test_six_seeds_running_hold_all_ages_sexes_and_skin_types(first):
    people = [choose_person("all", seed) for seed in range(first, first + KINDS)]
    assert sorted(person.fitzpatrick or 0 for person in people) == [1, 2, 3, 4, 5, 6]
    ages = sorted(person.ages for person in people)
    assert ages[0][0] == ALL_AGES[0] and ages[-1][1] == pytest.approx(ALL_AGES[1])
    assert all(low[1] == pytest.approx(high[0]) for low, high in pairwise(ages))
    assert sum(person.genders[0] > 0.5 for person in people) == 3
    assert all(person.smooth_chin for person in people if person.ages[0] < 0.5 or person.genders[0] > 0.5)


def test_kinds_are_mixed_anew_in_every_six():
    mixes = {tuple(choose_person("all", 6 * block + place).fitzpatrick for place in range(6)) for block in range(5)}
    assert len(mixes) > 1


def test_adults_are_drawn_as_ever():
    assert choose_person("adults", 7) == Person(ADULT_AGES, (0.0, 1.0), None, False)


def test_naming_the_skin_type_leaves_the_other_draws_alone():
    drawn = draw_complexion(np.random.default_rng([3, 1]))
    named = draw_complexion(np.random.default_rng([3, 1]), drawn.fitzpatrick)
    assert named.moles == drawn.moles and (named.skin == drawn.skin).all()
    assert draw_complexion(np.random.default_rng([3, 1]), 6).fitzpatrick == 6


def test_children_are_smaller_than_adults():
    raw = RawAnny()
    eyes_apart_m = {}
    for name, ages in (("child", (0.33, 0.40)), ("adult", (0.65, 0.72))):
        joints = raw.sample(24, np.random.default_rng(1), ages).joints
        eyes_apart_m[name] = np.linalg.norm(joints[:, 3] - joints[:, 4], axis=1).mean()
    assert eyes_apart_m["child"] < eyes_apart_m["adult"] - 2e-3
