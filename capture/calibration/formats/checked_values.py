"""Values of calibration files, checked: finite numbers, possible sizes, rotations; all raise ValueError."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from geometry.cameras import DISTORTION_SIZES
from geometry.transforms import RigidTransform
from storage.rig_json import LARGEST_SIDE_PX

ROTATION_TOLERANCE = 1e-3
"""Files print rotations with as few as four digits; more is another kind of matrix."""
LARGEST_NUMBER = 1e12
"""Beyond it no pixel, metre or coefficient lies; smaller ones can be multiplied without overflow."""


def number(value: Any) -> float:
    """A finite number, from a number or its text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{str(value)[:40]!r} is no number") from None
    if not abs(found) <= LARGEST_NUMBER:
        raise ValueError(f"{found} is no possible value")
    return found


def numbers(values: Any, count: int | None = None) -> Float[np.ndarray, "n"]:
    """A list of finite numbers, of a given length if one is given."""
    if not isinstance(values, list | tuple) or (count is not None and len(values) != count):
        got = f"{len(values)} values" if isinstance(values, list | tuple) else f"a {type(values).__name__}"
        raise ValueError(f"{got} instead of {'' if count is None else f'{count} '}numbers")
    return np.array([number(value) for value in values], np.float64)


def matrix(rows: Any, shapes: Sequence[tuple[int, int]]) -> Float[np.ndarray, "r c"]:
    """A matrix as a list of rows, of one of the shapes."""
    if not isinstance(rows, list | tuple) or not rows:
        raise ValueError("no matrix")
    found = [numbers(row) for row in rows]
    if len({len(row) for row in found}) != 1 or (len(found), len(found[0])) not in shapes:
        raise ValueError(f"a matrix of {len(found)} rows, not of shape {' or '.join(map(str, shapes))}")
    return np.stack(found)


def side(value: Any) -> int:
    """The side of a picture, pixels."""
    found = number(value)
    if found != int(found) or not 0 < found <= LARGEST_SIDE_PX:
        raise ValueError(f"a picture side of {str(value)[:40]} px, not from 1 to {LARGEST_SIDE_PX}")
    return int(found)


def intrinsics(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    """K; focal lengths must be positive."""
    if not (fx > 0 and fy > 0):
        raise ValueError(f"focal lengths {fx} and {fy}")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def rotation(values: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "3 3"]:
    """The nearest rotation of a matrix that is nearly one."""
    if np.abs(values @ values.T - np.eye(3)).max() > ROTATION_TOLERANCE or np.linalg.det(values) < 0:
        raise ValueError("a 3x3 matrix that is no rotation")
    if np.abs(values @ values.T - np.eye(3)).max() < 1e-9:
        return values
    u, _, vt = np.linalg.svd(values)
    return u @ vt


def pose(values: Float[np.ndarray, "r c"]) -> RigidTransform:
    """A rigid transform of a 3x4 or 4x4 matrix."""
    if values.shape[0] == 4 and not np.allclose(values[3], [0, 0, 0, 1]):
        raise ValueError("a 4x4 matrix whose last row is not 0 0 0 1")
    return RigidTransform(rotation(values[:3, :3]), np.ascontiguousarray(values[:3, 3]))


def lens(coefficients: Float[np.ndarray, "n"]) -> Float[np.ndarray, "d"]:
    """OpenCV's coefficients, in the shortest of its models that has all those that are not 0."""
    used = int(np.flatnonzero(coefficients)[-1]) + 1 if coefficients.any() else 0
    size = next((size for size in DISTORTION_SIZES if size >= used), None)
    if size is None:
        raise ValueError(f"{used} distortion coefficients, more than OpenCV's {DISTORTION_SIZES[-1]}")
    padded = np.zeros(size)
    padded[:used] = coefficients[:used]
    return padded
