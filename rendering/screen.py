"""From the world to the screen: what the rasterizer takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from geometry.cameras import Camera


@dataclass(frozen=True, eq=False)
class ScreenWindow:
    """The part of a camera's picture that a mesh covers."""

    top: int
    """First row of the window in the picture."""
    left: int
    """First column."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    vertices_screen: Float[np.ndarray, "v 3"]
    """Pixels of the window (x, y) and depth in metres."""

    @property
    def place(self) -> tuple[slice, slice]:
        """The window as an index into the picture."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def screen_window(camera: Camera, vertices_world: Float[np.ndarray, "v 3"], margin_px: int) -> ScreenWindow | None:
    """The window about a mesh with a margin; None where no part of the picture shows it.

    Rasterizing a window instead of the picture saves most of its pixels: a head fills a tenth of a frame.
    """
    pixels, depth = camera.project(vertices_world)
    rows, columns = camera.image_size_hw
    left, top = np.maximum(np.floor(pixels.min(0)).astype(int) - margin_px, 0)
    right, bottom = np.minimum(np.ceil(pixels.max(0)).astype(int) + margin_px, [columns, rows])
    if depth.max() <= 0 or right <= left or bottom <= top:
        return None
    screen = np.concatenate([pixels - [left, top], depth[:, None]], 1)
    return ScreenWindow(int(top), int(left), int(bottom - top), int(right - left), screen)
