"""Smooth random functions over a head: a squared-exponential Gaussian process by its leading eigenfunctions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

KERNEL_POINTS = 900
"""Points that stand for all of them in the kernel (Nystrom)."""


def kernel_functions(points: Float[np.ndarray, "n 3"], length_m: float, count: int) -> Float[np.ndarray, "n c"]:
    """Leading eigenfunctions of a squared-exponential kernel, scaled so that their coefficients are standard normal.

    Source: Williams & Seeger 2001, eq. 9.
    """
    some = points[np.random.default_rng(0).permutation(len(points))[:KERNEL_POINTS]]
    values, vectors = np.linalg.eigh(_kernel(some, some, length_m))
    leading = np.argsort(-values)[:count]
    return _kernel(points, some, length_m) @ vectors[:, leading] / np.sqrt(values[leading])


def _kernel(left: np.ndarray, right: np.ndarray, length_m: float) -> np.ndarray:
    squared = (left**2).sum(1)[:, None] - 2 * left @ right.T + (right**2).sum(1)
    return np.exp(-np.maximum(squared, 0) / (2 * length_m**2))
