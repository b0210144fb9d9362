"""What sensors do to a perfect picture: depth noise, colour noise, exposure."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8, UInt16

from rendering.colour import srgb_encode

DEPTH_SIGMA_M, DEPTH_SIGMA_AT_M = 1.5e-3, 0.8
CORRELATION_PX = 2.0
FLYING_SHARE, FLYING_REACH_M, EDGE_JUMP_M = 0.5, 0.06, 0.02
GRAZING_COSINE, GRAZING_LOSS = 0.2, 0.7
BIAS_SIGMA_M = 5e-4
COLOUR_SIGMA = 2.0
"""The pinned Kinect-like noise; see docs/conventions.md."""


@dataclass(frozen=True)
class SensorNoise:
    """One camera's own errors, constant over a take."""

    depth_bias_m: float = 0.0
    """Added to every depth."""
    gain_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Exposure and white balance against the rig's mean."""
    blur_px: float = 0.0
    """Standard deviation of the lens' blur."""
    noisy: bool = False
    """Whether random noise applies at all."""


def draw_sensor_noise(noise: str, seed: int, camera_number: int) -> SensorNoise:
    """A camera's own errors: `none` gives a perfect sensor, `kinect` the pinned noise."""
    if noise == "none":
        return SensorNoise()
    random = np.random.default_rng([seed, 3, camera_number])
    exposure = random.normal(1.0, 0.04)
    gains = exposure * random.normal(1.0, 0.015, 3)
    return SensorNoise(random.normal(0, BIAS_SIGMA_M), tuple(gains.tolist()), random.uniform(0.4, 0.7), True)


def sense_depth(
    depth_m: Float[np.ndarray, "h w"],
    incidence_cosine: Float[np.ndarray, "h w"],
    unit_m: float,
    sensor: SensorNoise,
    random: np.random.Generator,
) -> UInt16[np.ndarray, "h w"]:
    """Counts of a depth camera that looks at a perfect depth image (0 = nothing there)."""
    measured = depth_m.astype(np.float64)
    seen = depth_m > 0
    if sensor.noisy:
        white = random.normal(size=depth_m.shape)
        smooth = cv2.GaussianBlur(random.normal(size=depth_m.shape), (0, 0), CORRELATION_PX)
        smooth *= 2 * np.sqrt(np.pi) * CORRELATION_PX  # back to unit variance
        sigma = DEPTH_SIGMA_M * (measured / DEPTH_SIGMA_AT_M) ** 2
        measured = measured + sensor.depth_bias_m + sigma * (white + smooth) * np.sqrt(0.5)
        far = np.where(seen, depth_m, depth_m.max() + 1).astype(np.float32)
        edge = seen & (cv2.dilate(far, np.ones((3, 3))) - far > EDGE_JUMP_M)
        flying = edge & (random.random(depth_m.shape) < FLYING_SHARE)
        measured = np.where(flying, measured + FLYING_REACH_M * random.random(depth_m.shape), measured)
        lost = (incidence_cosine < GRAZING_COSINE) & (random.random(depth_m.shape) < GRAZING_LOSS)
        seen = seen & ~lost
    counts = np.round(measured / unit_m)
    return np.where(seen, np.clip(counts, 1, 65535), 0).astype(np.uint16)


def sense_colour(
    radiance: Float[np.ndarray, "h w 3"], sensor: SensorNoise, random: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """sRGB of a colour camera that looks at linear radiance (1 = white)."""
    image = radiance * np.array(sensor.gain_rgb, np.float32)
    if sensor.blur_px:
        image = cv2.GaussianBlur(image, (0, 0), sensor.blur_px)
    srgb = srgb_encode(np.clip(image, 0, 1, out=image))
    srgb *= 255
    if sensor.noisy:
        srgb = srgb + random.normal(0, COLOUR_SIGMA, srgb.shape)
    return np.clip(np.round(srgb), 0, 255).astype(np.uint8)
