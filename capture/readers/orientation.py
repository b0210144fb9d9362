"""EXIF's eight orientations, applied alike to pixels, to positions and to intrinsics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Orientation:
    """How a stored picture becomes an upright one: swap rows with columns first, then flip the result."""

    swap: bool
    """Transpose."""
    flip_x: bool
    """Then reverse the columns."""
    flip_y: bool
    """And the rows."""

    @property
    def mirrored(self) -> bool:
        """Whether left and right change places, so that geometry from the picture is a mirror image."""
        return (self.swap + self.flip_x + self.flip_y) % 2 == 1

    def size_hw(self, stored_hw: tuple[int, int]) -> tuple[int, int]:
        """Size of the upright picture."""
        return (stored_hw[1], stored_hw[0]) if self.swap else stored_hw

    def pixels(self, stored: np.ndarray) -> np.ndarray:
        """The upright picture, (h w) or (h w 3), contiguous."""
        upright = stored.swapaxes(0, 1) if self.swap else stored
        upright = upright[:, ::-1] if self.flip_x else upright
        return np.ascontiguousarray(upright[::-1] if self.flip_y else upright)

    def matrix(self, stored_hw: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
        """Homogeneous map of stored to upright pixel positions, (x, y) from the picture's corner."""
        height, width = self.size_hw(stored_hw)
        swap = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]) if self.swap else np.eye(3)
        flip = np.eye(3)
        if self.flip_x:
            flip[0, 0], flip[0, 2] = -1, width
        if self.flip_y:
            flip[1, 1], flip[1, 2] = -1, height
        return flip @ swap

    def intrinsics(self, stored_K: Float[np.ndarray, "3 3"], stored_hw: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
        """K of the upright picture; the camera turns with its picture, so that focal lengths stay positive."""
        upright_from_stored = self.matrix(stored_hw)
        turn = np.eye(3)
        turn[:2, :2] = upright_from_stored[:2, :2]
        return upright_from_stored @ stored_K @ turn.T


UPRIGHT = Orientation(False, False, False)
EXIF_ORIENTATIONS = {
    1: UPRIGHT,
    2: Orientation(False, True, False),
    3: Orientation(False, True, True),
    4: Orientation(False, False, True),
    5: Orientation(True, False, False),
    6: Orientation(True, True, False),
    7: Orientation(True, True, True),
    8: Orientation(True, False, True),
}
"""Source: EXIF 2.32 (CIPA DC-008), tag 0x0112."""
