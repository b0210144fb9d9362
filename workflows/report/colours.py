"""Colour scales of the report: what a millimetre and a metre look like."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

DIVERGING = np.array(
    [
        (23, 63, 138),
        (79, 134, 201),
        (169, 200, 230),
        (242, 240, 236),
        (242, 185, 156),
        (216, 106, 76),
        (156, 28, 36),
    ],
    np.float64,
)
"""Blue for behind, near white for on, red for in front; even steps in lightness, and safe for red-green blindness."""
UNMEASURED = (58, 62, 68)
"""What no distance is known of, and depth pixels without a measurement."""


def diverging(values: Float[np.ndarray, "n"], limit: float) -> UInt8[np.ndarray, "n 3"]:
    """sRGB of signed values; those past the limit get the scale's end, nan gets grey."""
    place = (np.nan_to_num(values) / limit).clip(-1, 1) / 2 + 0.5
    stops = np.linspace(0, 1, len(DIVERGING))
    colours = np.stack([np.interp(place, stops, DIVERGING[:, channel]) for channel in range(3)], 1)
    colours[~np.isfinite(values)] = UNMEASURED
    return np.round(colours).astype(np.uint8)


def diverging_css() -> str:
    """The same scale as a CSS gradient from left to right."""
    stops = (f"rgb({red:.0f} {green:.0f} {blue:.0f})" for red, green, blue in DIVERGING)
    return f"linear-gradient(90deg, {', '.join(stops)})"


def depth_colours(depth_m: Shaped[np.ndarray, "h w"], near_m: float, far_m: float) -> UInt8[np.ndarray, "h w 3"]:
    """Near is bright, far is dark (viridis); grey where there is no measurement."""
    level = ((far_m - depth_m) / max(far_m - near_m, 1e-6)).clip(0, 1)
    picture = cv2.applyColorMap(np.round(level * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    picture[depth_m <= 0] = UNMEASURED
    return picture


def nice_limit(value: float) -> float:
    """The next of 1, 2, 5, 10, 20 ... at or above a value, for the end of a scale."""
    if not np.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9)))
