"""The Kinect's camera model written out from its SDK, one point at a time: what faster code is compared with.

Everything is in the SDK's own terms: pixel centres at integers, metres, the calibration file's 14 numbers as they
stand there (cx, cy, fx, fy, k1..k6, codx, cody, p2, p1, in units of the calibrated picture, from its corner).
Source: Azure-Kinect-Sensor-SDK, src/transformation/intrinsic_transformation.c and mode_specific_calibration.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PlainCamera:
    """One camera in one mode."""

    parameters: tuple[float, ...]
    """The file's 14 numbers."""
    calibrated_wh: tuple[int, int]
    """Size of the calibrated picture in this mode."""
    crop_xy: tuple[int, int]
    """Where the mode's window starts in it."""

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Pixel of a point in the camera's frame."""
        return self.pixel(*self.distort(x / z, y / z))

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a position in the plane at unit distance."""
        cx, cy, fx, fy = self.parameters[:4]
        width, height = self.calibrated_wh
        u = x * fx * width + cx * width - self.crop_xy[0] - 0.5
        v = y * fy * height + cy * height - self.crop_xy[1] - 0.5
        return u, v

    def unpixel(self, u: float, v: float) -> tuple[float, float]:
        """Position in the plane at unit distance, still distorted, of a pixel."""
        cx, cy, fx, fy = self.parameters[:4]
        width, height = self.calibrated_wh
        x = (u + 0.5 + self.crop_xy[0] - cx * width) / (fx * width)
        y = (v + 0.5 + self.crop_xy[1] - cy * height) / (fy * height)
        return x, y

    def distort(self, x: float, y: float) -> tuple[float, float]:
        """Where the lens puts a position in the plane at unit distance."""
        k1, k2, k3, k4, k5, k6, codx, cody, p2, p1 = self.parameters[4:]
        x, y = x - codx, y - cody
        r2 = x * x + y * y
        radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
        distorted_x = x * radial + p2 * (r2 + 2 * x * x) + 2 * p1 * x * y
        distorted_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        return distorted_x + codx, distorted_y + cody

    def unproject(self, u: float, v: float) -> tuple[float, float]:
        """Position in the plane at unit distance that a pixel sees: Newton's steps with numeric derivatives."""
        target = np.array(self.unpixel(u, v))
        found = target.copy()
        for _ in range(30):
            here = np.array(self.distort(*found))
            step = 1e-6
            jacobian = np.column_stack(
                [
                    (np.array(self.distort(found[0] + step, found[1])) - here) / step,
                    (np.array(self.distort(found[0], found[1] + step)) - here) / step,
                ]
            )
            found = found - np.linalg.solve(jacobian, here - target)
            if np.abs(here - target).max() < 1e-13:
                break
        return float(found[0]), float(found[1])
