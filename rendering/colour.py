"""The sRGB transfer, the only one of the project: counts and levels of stored colours to linear light and back.

A *count* is 0 to 255, a *level* 0 to 1. Source of the curve: IEC 61966-2-1.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

Levels = TypeVar("Levels", np.ndarray, Tensor)

ENCODED_TOE, LINEAR_TOE = 0.04045, 0.0031308
"""Up to these levels the curve is a straight line."""


def srgb_to_linear(image: UInt8[np.ndarray, "*n 3"]) -> Float32[np.ndarray, "*n 3"]:
    """Linear RGB in [0, 1] of sRGB counts."""
    return LINEAR_OF_COUNT[image]


def linear_to_srgb(image: Float[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "*n 3"]:
    """sRGB counts of linear RGB; light outside [0, 1] is clipped, as a sensor's is."""
    # A table of 16 bits: the power of 10 million values would cost a fifth of a second.
    return COUNT_OF_LINEAR[(np.clip(image, 0.0, 1.0) * 65535 + 0.5).astype(np.uint16)]


def srgb_decode(encoded: Float[Levels, "*n"]) -> Float[Levels, "*n"]:
    """Linear levels of sRGB levels, array or tensor; differentiable, and a straight line below 0."""
    power = ((encoded.clip(min=ENCODED_TOE) + 0.055) / 1.055) ** 2.4
    return _where(encoded <= ENCODED_TOE, encoded / 12.92, power)


def srgb_encode(linear: Float[Levels, "*n"]) -> Float[Levels, "*n"]:
    """sRGB levels of linear levels, array or tensor; differentiable, and a straight line below 0."""
    # Where the line is taken, the power must still have a finite slope: 0 times infinity would be the gradient at 0.
    power = 1.055 * linear.clip(min=LINEAR_TOE) ** (1 / 2.4) - 0.055
    return _where(linear <= LINEAR_TOE, 12.92 * linear, power)


def _where(condition: Any, chosen: Any, other: Any) -> Any:
    return (torch if isinstance(chosen, Tensor) else np).where(condition, chosen, other)


LINEAR_OF_COUNT = srgb_decode(np.arange(256) / 255).astype(np.float32)
COUNT_OF_LINEAR = np.rint(srgb_encode(np.arange(65536) / 65535) * 255).astype(np.uint8)
