"""Studio light as spherical harmonics, and the sRGB transfer that separates stored colours from light.

The nine real harmonics of order 2 come, everywhere in `studio`, in this order of (l, m):
(0,0), (1,-1), (1,0), (1,1), (2,-2), (2,-1), (2,0), (2,1), (2,2), which are, up to their constants,
1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2 of a unit direction in the world frame.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

IRRADIANCE_BANDS = np.pi * np.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5)
"""How a clamped cosine weighs bands 0, 1 and 2. Source: Ramamoorthi & Hanrahan 2001, eqs. 7-9."""


def spherical_harmonics(directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 9"]:
    """The nine real harmonics at unit directions, in the order of this file.

    Source: Ramamoorthi & Hanrahan 2001, eq. 3.
    """
    x, y, z = np.moveaxis(directions, -1, 0)
    bands = [np.full_like(x, 0.282095), 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y, 1.092548 * y * z]
    bands += [0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y)]
    return np.stack(bands, -1)


def irradiance(light: Float[np.ndarray, "9 3"], normals: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Irradiance over pi that a surface with these unit normals receives: its radiance is that times its albedo.

    Never negative: order 2 rings a little behind a strong light.
    """
    return np.maximum(spherical_harmonics(normals) @ (light * IRRADIANCE_BANDS[:, None] / np.pi), 0.0)


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


def srgb_to_linear(image: UInt8[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Linear RGB in [0, 1], float32, of sRGB counts. Source: IEC 61966-2-1."""
    return LINEAR_OF_COUNT[image]


def linear_to_srgb(image: Float[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "*n 3"]:
    """sRGB counts of linear RGB; light outside [0, 1] is clipped, as a sensor's is. Source: IEC 61966-2-1."""
    # A table of 16 bits: the power of 10 million values would cost a fifth of a second.
    return COUNT_OF_LINEAR[(np.clip(image, 0.0, 1.0) * 65535 + 0.5).astype(np.uint16)]


def _decode(encoded: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encode(linear: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


LINEAR_OF_COUNT = _decode(np.arange(256) / 255).astype(np.float32)
COUNT_OF_LINEAR = np.rint(_encode(np.arange(65536) / 65535) * 255).astype(np.uint8)
