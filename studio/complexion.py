"""What a person's skin, hair and eyes are made of, drawn by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rendering.colour import srgb_to_linear

SKIN_LAB = np.array(
    [
        [70.0, 9.0, 13.0],
        [66.0, 10.0, 15.5],
        [62.0, 11.0, 17.5],
        [56.5, 12.0, 19.0],
        [46.0, 12.5, 18.0],
        [36.0, 10.5, 13.5],
    ]
)
"""CIELAB of Fitzpatrick's types I to VI: individual typology angles 57, 46, 34, 19, -13 and -46 degrees, one in each
class from very light to dark. Source of the classes: Del Bino & Bernerd 2013, "Variations in skin colour"."""
MELANIN_ABSORBANCE = np.array([0.42, 0.68, 1.0], np.float32)
BLOOD_ABSORBANCE = np.array([0.10, 0.62, 0.46], np.float32)
"""How the two pigments absorb red, green and blue, up to their amounts; shaped after Jacques 2013, figs. 2 and 8."""
# sRGB; the more melanin, the later in the list.
HAIR_SRGB = np.array([[146, 116, 80], [118, 78, 50], [84, 56, 36], [52, 36, 26], [32, 24, 20], [24, 20, 18]], np.uint8)
IRIS_SRGB = np.array(
    [[110, 140, 160], [120, 140, 112], [126, 104, 60], [94, 60, 32], [66, 42, 26], [52, 34, 24]], np.uint8
)


@dataclass(frozen=True, eq=False)
class Complexion:
    """Colours are linear RGB reflectances."""

    fitzpatrick: int
    """Skin type, 1..6."""
    skin: Float[np.ndarray, "3"]
    """Mean skin."""
    hair: Float[np.ndarray, "3"]
    """Scalp hair and brows."""
    iris: Float[np.ndarray, "3"]
    """Middle of the iris."""
    blood: float
    """How far blood shows through: 1 in fair skin, less under melanin."""
    hair_cover: float
    """Of the scalp, 0..1."""
    stubble: float
    """0 where the chin is smooth, up to 1."""
    freckles: int
    """How many."""
    moles: int
    """How many."""
    brow_thickness: float
    """Relative to the average."""


def draw_complexion(random: np.random.Generator, fitzpatrick: int | None = None) -> Complexion:
    """A complexion of a skin type, uniform over Fitzpatrick's six where none is named."""
    kind = int(random.integers(6))
    kind = kind if fitzpatrick is None else fitzpatrick - 1
    lab = SKIN_LAB[kind] + random.normal(size=3) * [1.5, 0.8, 1.0]
    freckled = kind < 3 and random.random() < 0.6
    bearded = random.random() < 0.4
    shaven = random.random() < 0.15
    shade = int(np.clip(kind + random.integers(-1, 2), 0, 5))
    iris = int(np.clip(kind + random.integers(-1, 2), 0, 5))
    return Complexion(
        fitzpatrick=kind + 1,
        skin=lab_to_linear(lab),
        hair=srgb_to_linear(HAIR_SRGB[shade]),
        iris=srgb_to_linear(IRIS_SRGB[iris]),
        blood=[1.0, 1.0, 0.9, 0.8, 0.6, 0.45][kind],
        hair_cover=random.uniform(0.4, 0.55) if shaven else random.uniform(0.88, 0.97),
        stubble=random.uniform(0.3, 1.0) if bearded else 0.0,
        freckles=int(random.integers(300, 1400)) if freckled else int(random.integers(20, 100)),
        moles=int(random.integers(3, 12)),
        brow_thickness=random.uniform(0.8, 1.25),
    )


def lab_to_linear(lab: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """Linear sRGB of a CIELAB colour under D65. Source: CIE 15:2004; IEC 61966-2-1."""
    lightness = (lab[0] + 16) / 116
    f = np.array([lightness + lab[1] / 500, lightness, lightness - lab[2] / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    rgb_from_xyz = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    return np.clip(rgb_from_xyz @ xyz, 0.01, 0.95).astype(np.float32)
