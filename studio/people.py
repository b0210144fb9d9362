"""Which people the simulated studio records: adults as before, or one of every kind in six seeds running."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flame_fitting.models.anny import ADULT_AGES, ALL_AGES

PEOPLE = ("adults", "all")
KINDS = 6
"""Slices of the ages and skin types; so many seeds running from a multiple of it have each of them once."""
GROWN_UP = 0.55
"""On Anny's scale of ages; younger faces grow no stubble."""


@dataclass(frozen=True)
class Person:
    """What is settled about a person before the rest is drawn."""

    ages: tuple[float, float] = ADULT_AGES
    """Between which ages, on Anny's scale (0 a baby, 0.33 a child, 0.67 a young adult, 1 an old one)."""
    genders: tuple[float, float] = (0.0, 1.0)
    """Between which values of Anny's phenotype: 0 is male, 1 female."""
    fitzpatrick: int | None = None
    """Skin type, 1..6; None: any."""
    smooth_chin: bool = False
    """No stubble, whatever is drawn."""


def choose_person(people: str, seed: int) -> Person:
    """The kind of person with this seed.

    Of `all`, the six seeds from a multiple of six on hold a child, an old person and four between, three men and three
    women, and all of Fitzpatrick's skin types; which goes with which changes from six to six.
    """
    if people == "adults":
        return Person()
    block, place = divmod(seed, KINDS)
    random = np.random.default_rng([block, 8])
    age, sex, skin = (int(random.permutation(KINDS)[place]) for _ in range(3))
    low, high = ALL_AGES
    ages = (low + age * (high - low) / KINDS, low + (age + 1) * (high - low) / KINDS)
    woman = sex < KINDS // 2
    return Person(
        ages=ages,
        genders=(0.7, 1.0) if woman else (0.0, 0.3),
        fitzpatrick=skin + 1,
        smooth_chin=woman or ages[0] < GROWN_UP,
    )
