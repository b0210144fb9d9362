"""How the simulated studio's subject looks: painted skin, lips, eyes and hair, and the light that falls on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.models.head_model import HeadModel
from rendering.colour import linear_to_srgb
from studio.complexion import draw_complexion
from studio.light import studio_light
from studio.openness import ambient_openness
from studio.people import Person
from studio.skin_layers import (
    Brushes,
    hair_cover,
    lip_cover,
    paint_brows,
    paint_eyes,
    paint_hair,
    paint_insides,
    paint_lids,
    paint_lips,
    paint_skin,
    paint_stubble,
)
from studio.texels import EYEBALL, MOUTH, SKIN, TONGUE, head_texels

SIZE_PX = 2048


@dataclass(frozen=True, eq=False)
class Appearance:
    """Surface and light of one subject."""

    albedo: UInt8[np.ndarray, "h w 3"]
    """sRGB base colour on the head's texture coordinates (v up: row 0 of the image is v = 1)."""
    specular: Float[np.ndarray, "h w"]
    """Strength of the highlight per texel; 1 is dry skin, above 1 is wet: stronger and narrower."""
    roughness: float
    """Of dry skin, 0..1."""
    light: Float[np.ndarray, "9 3"]
    """Radiance of the surroundings in `rendering.shading`'s spherical harmonics, linear RGB, world frame."""
    key_direction: Float[np.ndarray, "3"]
    """Unit vector towards the key light, world frame."""
    fitzpatrick: int
    """Skin type, 1..6; 0 where it is not known."""
    openness: Float[np.ndarray, "v"] | None = None
    """Share of the light that reaches each vertex; None: all of it."""


def paint_appearance(model: HeadModel, seed: int, person: Person | None = None) -> Appearance:
    """The look of the subject with this seed, painted on the default head's texture, 2048x2048.

    Deterministic. Raises InputError for a model whose texture islands are not the default head's.
    """
    random = np.random.default_rng([seed, 1])
    settled = person or Person()
    look = draw_complexion(random, settled.fitzpatrick)
    if settled.smooth_chin:
        look = replace(look, stubble=0.0)
    light, key = studio_light(random)
    roughness = random.uniform(0.52, 0.62)
    texels = head_texels(model, SIZE_PX)
    brushes = Brushes(texels, random)

    lips = lip_cover(brushes)
    hair = hair_cover(brushes, look)
    skin = paint_skin(brushes, look)
    skin = paint_stubble(skin, lips, brushes, look)
    skin = paint_lips(skin, lips, brushes, look)
    skin = paint_lids(skin, brushes, look)
    skin = paint_brows(skin, brushes, look)
    skin = paint_hair(skin, hair, brushes, look)
    colours = paint_insides(paint_eyes(skin, brushes, look), brushes)

    x, y, z = texels.position.T
    zone = np.exp(-((x / 0.018) ** 2)) * (z > 0.1) * (y > texels.mouth[1] + 0.015)
    strength = 0.55 + 0.3 * zone + 0.10 * brushes.grain(2)
    strength = strength * (1 - 0.7 * hair) + 0.5 * lips
    for part, wet in ((EYEBALL, 2.5), (MOUTH, 1.2), (TONGUE, 1.3)):
        strength = np.where(texels.part == part, wet, strength)
    strength = np.where((texels.part == SKIN) & (texels.lid_ring < 1.5), 1.6, strength)
    return Appearance(
        albedo=linear_to_srgb(texels.image(colours)),
        specular=np.clip(texels.image(strength[:, None])[..., 0], 0, 4),
        roughness=float(roughness),
        light=light,
        key_direction=key,
        fitzpatrick=look.fitzpatrick,
        openness=ambient_openness(model),
    )
