"""Apple's radial lens polynomials, and the OpenCV coefficients nearest to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from geometry.cameras import distort


@dataclass(frozen=True, eq=False)
class RadialLens:
    """Undistorted to distorted pixels: p + m(r) (p - centre), with m the polynomial's value in per cent.

    Apple documents the look-up tables of `AVCameraCalibrationData` (a relative magnification over the radius, the
    plain one from rectified to lens-distorted positions, the inverse one back) but not the eight coefficients that
    files keep in their place. Used here: orders 0 to 7 of the radius in millimetres, with a result in per cent. This is
    inferred from one iPhone XS portrait, not proven. For it: the XMP gives the pixel size in millimetres beside the
    coefficients; the profile is a smooth barrel (-0.7 % at 1 mm, at most -0.9 %); the inverse polynomial undoes it
    within 0.25 px; the constant term matches documented tables only as a percentage. Against even powers of
    millimetres: the profile waves, the inverse is 3 px off in the corners, and a straight edge of the room bends three
    times as much. Radii in units of the focal length or of the corner fit the inverse and that edge no worse, and the
    edge is too soft to tell any of them from no lens at all. They differ from the choice made by at most 0.75 % of the
    radius: up to 11 px of 2316 x 3088 towards the edge, about 0.5 % of lengths on a face.
    """

    coefficients: Float[np.ndarray, "n"]
    """Of the radius in millimetres, lowest order first, per cent."""
    centre: Float[np.ndarray, "2"]
    """Of the distortion, (x, y) in pixels from the picture's corner."""
    pixel_size_mm: float
    """Side of a pixel."""

    @property
    def rectified(self) -> bool:
        """Whether there is nothing to correct: all coefficients are zero."""
        return not np.any(self.coefficients)

    def distort_pixels(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Where the lens puts the positions that a pinhole would have put at `pixels`."""
        offset = pixels - self.centre
        radius_mm = np.linalg.norm(offset, axis=1) * self.pixel_size_mm
        magnification = np.polynomial.polynomial.polyval(radius_mm, self.coefficients) / 100
        return pixels + magnification[:, None] * offset


def fit_opencv_distortion(
    lens: RadialLens, K: Float[np.ndarray, "3 3"], image_size_hw: tuple[int, int]
) -> tuple[Float[np.ndarray, "8"], float]:
    """OpenCV's k1 k2 p1 p2 k3 k4 k5 k6 nearest to a lens over a picture, and the largest residual in pixels.

    The tangential terms stay zero where the distortion is centred on the principal point.
    """
    rows, columns = image_size_hw
    # A barrel lens sees a little beyond the pinhole's picture, hence the 2 % around it.
    x, y = np.meshgrid(np.linspace(-0.02, 1.02, 19) * columns, np.linspace(-0.02, 1.02, 25) * rows)
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    normalised = (pixels - K[:2, 2]) @ np.linalg.inv(K[:2, :2]).T
    target = lens.distort_pixels(pixels)
    centred = float(np.linalg.norm(lens.centre - K[:2, 2])) < 0.01
    free = np.array([0, 1, 4, 5, 6, 7] if centred else range(8))

    def residual_px(values: np.ndarray) -> np.ndarray:
        return (distort(normalised, _spread(values, free)) @ K[:2, :2].T + K[:2, 2] - target).ravel()

    solution = least_squares(residual_px, np.zeros(len(free)), x_scale="jac", max_nfev=60)
    worst_px = float(np.linalg.norm(solution.fun.reshape(-1, 2), axis=1).max())
    return _spread(solution.x, free), worst_px


def _spread(values: np.ndarray, places: np.ndarray) -> Float[np.ndarray, "8"]:
    coefficients = np.zeros(8)
    coefficients[places] = values
    return coefficients
