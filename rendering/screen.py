"""From the world to the screen: what the rasterizer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geometry.cameras import Camera

MARGIN_PX = 4


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


def windows_about(
    screen: Float[Tensor, "n v 3"], size_hw: Float[Tensor, "n 2"]
) -> tuple[Float[Tensor, "n 2"], tuple[int, int]]:
    """First row and column of a window about a mesh in each picture, and the size of the largest.

    Rasterizing windows instead of pictures saves most of the pixels: a head fills a tenth of a frame.
    """
    places = screen[..., :2].flip(-1)
    limit = size_hw.to(screen.dtype)
    first = torch.minimum((places.amin(1).floor() - MARGIN_PX).clamp_min(0), limit)
    last = torch.minimum((places.amax(1).ceil() + MARGIN_PX).clamp_min(0), limit)
    rows, columns = (last - first).clamp_min(0).amax(0).tolist()
    return first, (int(rows), int(columns))


def filled_up(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of any sizes in one array; smaller ones have zeros on the right and below."""
    shapes = np.array([picture.shape for picture in pictures])
    filled = np.zeros((len(pictures), *shapes.max(0)), pictures[0].dtype)
    for number, (picture, (height, width, *_)) in enumerate(zip(pictures, shapes, strict=True)):
        filled[number, :height, :width] = picture
    return filled
