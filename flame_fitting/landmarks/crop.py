"""Rotated squares of an image, the one geometry that detector and mesh share.

Coordinates are continuous, pixel centres at +0.5: an image of w pixels spans [0, w].
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class Square:
    """A square region of an image, which may reach over the image's edges."""

    centre_px: tuple[float, float]
    """x and y of its centre in the image, pixels."""
    side_px: float
    """Length of a side, image pixels."""
    angle_rad: float
    """Direction of its x axis in the image, from image x towards image y (clockwise on the screen)."""

    @property
    def image_from_unit(self) -> Float[np.ndarray, "2 3"]:
        """Affine map from the square, [0, 1] along both axes, to image pixels."""
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        linear = self.side_px * np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([linear, np.array(self.centre_px) - linear @ (0.5, 0.5)])

    def to_image(self, points_unit: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Points in image pixels, from coordinates in the square ([0, 1] along both axes)."""
        matrix = self.image_from_unit
        return points_unit @ matrix[:, :2].T + matrix[:, 2]

    def from_image(self, points_px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Points in the square ([0, 1] along both axes), from image pixels; the inverse of `to_image`."""
        matrix = self.image_from_unit
        # The linear part is a rotation times the side, so its inverse is its transpose over the side squared.
        return (points_px - matrix[:, 2]) @ matrix[:, :2] / self.side_px**2


def letterbox(image_size_hw: tuple[int, int], angle_rad: float = 0.0) -> Square:
    """The smallest square, centred on the image, that holds all of it at a multiple of a quarter turn."""
    height, width = image_size_hw
    return Square(centre_px=(width / 2, height / 2), side_px=float(max(height, width)), angle_rad=angle_rad)


def sample_square(
    image_rgb: UInt8[np.ndarray, "h w 3"], square: Square, size: int, border: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The square's content as `size` x `size` pixels; `border` is OpenCV's border mode outside the image.

    Bilinear where the square is enlarged; where it is reduced by two or more, pixels are averaged first, so that
    a 7-megapixel portrait does not alias in a 128-pixel input.
    """
    image_from_crop = square.image_from_unit.copy()
    image_from_crop[:, :2] /= size
    region, origin, factor = _reduced_region(image_rgb, square, size)
    region_from_crop = (image_from_crop - np.column_stack([np.zeros((2, 2)), origin])) / factor[:, None]
    # OpenCV counts pixel centres at integers on both sides.
    region_from_crop[:, 2] += region_from_crop[:, :2] @ (0.5, 0.5) - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpAffine(region, region_from_crop, (size, size), flags=flags, borderMode=border)
    return np.asarray(sampled, dtype=np.uint8)


def _reduced_region(
    image_rgb: UInt8[np.ndarray, "h w 3"], square: Square, size: int
) -> tuple[UInt8[np.ndarray, "rh rw 3"], Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """The part of the image under the square, averaged down; its corner in the image, and pixels of image per pixel."""
    step = int(square.side_px / size)
    size_wh = np.array(image_rgb.shape[1::-1])
    if step < 2:
        return image_rgb, np.zeros(2), np.ones(2)
    corners = square.to_image(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    # A margin keeps the cut itself out of reach of the interpolation, so only true image edges act as borders.
    low = np.clip(np.floor(corners.min(axis=0)) - 2 * step, 0, size_wh - 1).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 2 * step, low + 1, size_wh).astype(int)
    reduced_wh = np.maximum((high - low) // step, 1)
    cut = image_rgb[low[1] : high[1], low[0] : high[0]]
    region = cv2.resize(cut, (int(reduced_wh[0]), int(reduced_wh[1])), interpolation=cv2.INTER_AREA)
    return np.asarray(region, dtype=np.uint8), low.astype(float), (high - low) / reduced_wh
