"""Studio light, as spherical harmonics in the order of `rendering.shading`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from rendering.shading import irradiance, spherical_harmonics


def directional_light(direction: Float[np.ndarray, "3"], colour: Float[np.ndarray, "3"]) -> Float[np.ndarray, "9 3"]:
    """Radiance of a far lamp that gives a facing surface the irradiance `pi * colour` (before order 2 smooths it)."""
    return np.pi * spherical_harmonics(direction)[:, None] * colour


def studio_light(random: np.random.Generator) -> tuple[Float[np.ndarray, "9 3"], Float[np.ndarray, "3"]]:
    """Radiance of a soft frontal studio with a key light, and the unit direction towards the key.

    The level is set so that a surface that faces +z sends out its albedo: exposures stay comparable over seeds.
    """
    azimuth = random.choice([-1.0, 1.0]) * np.radians(random.uniform(20, 50))
    elevation = np.radians(random.uniform(20, 45))
    key = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    warm = random.uniform(-0.06, 0.06)
    key_colour = np.array([1 + warm, 1.0, 1 - 1.3 * warm]) * random.uniform(0.4, 0.7)
    fill_colour = np.array([1 - 0.4 * warm, 1.0, 1 + 0.5 * warm])
    ambient = np.zeros((9, 3))
    ambient[0] = fill_colour * 0.30 / 0.282095
    front = directional_light(np.array([0.0, 0.29, 0.957]), 0.35 * fill_colour)
    # Behind the subject a weak rim, on the side away from the key, separates the head from the background.
    rim = directional_light(np.array([-np.sign(azimuth) * 0.8, 0.2, -0.566]), random.uniform(0.1, 0.25) * fill_colour)
    light = ambient + front + rim + directional_light(key, key_colour)
    level = irradiance(light, np.array([0.0, 0.0, 1.0])).mean()
    return light / level, key
