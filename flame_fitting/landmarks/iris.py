"""The irises of a face whose mesh is known: five points each by MediaPipe's iris network.

Source: Ablavatski et al. 2020, "Real-time Pupil Tracking from Monocular Video for Digital Puppetry" (arXiv 2006.11341).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.crop import Square, sample_square
from flame_fitting.landmarks.network import read_network

INPUT_PX = 64
CROP_SCALE = 2.3
"""Side of the crop over the distance between the corners of the eye; MediaPipe's value."""
CONTOURS, IRIS = "output_eyes_contours_and_brows", "output_iris"
"""The network's outputs: 71 points of lids and brow, and 5 points of the iris; x, y, z each."""
EYE_CORNERS = ((33, 133), (362, 263))
"""Mesh points at the corners, left to right in an upright image: the subject's right eye, then the left."""
SMALLEST_EYE_PX = 6.0
"""Between the corners. Below this an eye is seen from the side, or shows fewer pixels than there are points."""


@dataclass(frozen=True)
class EyeOutline:
    """What the network says about one eye; image pixels, pixel centres at +0.5."""

    iris_px: Float[np.ndarray, "5 2"]
    """Centre, then four points of the rim in MediaPipe's order."""
    contour_px: Float[np.ndarray, "71 2"]
    """Lids and brow: points 0 to 8 run along the lower lid, 9 to 15 along the upper one."""


class IrisNetwork:
    """The iris network over both eyes. Holds a cv2 network, which is not thread-safe: one object a thread."""

    def __init__(self, weights: Path) -> None:
        self._net = read_network(weights)

    def outline(
        self, image_rgb: UInt8[np.ndarray, "h w 3"], points_px: Float[np.ndarray, "468 2"]
    ) -> tuple[EyeOutline | None, EyeOutline | None]:
        """The subject's right and left eye, None where it is seen too much from the side to be cut out."""
        right, left = (self._eye(image_rgb, points_px, eye) for eye in (0, 1))
        return right, left

    def _eye(
        self, image_rgb: UInt8[np.ndarray, "h w 3"], points_px: Float[np.ndarray, "468 2"], eye: int
    ) -> EyeOutline | None:
        square = square_from_corners(points_px, eye)
        if square is None:
            return None
        crop = sample_square(image_rgb, square, INPUT_PX, cv2.BORDER_REPLICATE)
        # The network knows one eye only, the subject's right: the other is shown to it in a mirror.
        seen = np.ascontiguousarray(crop[:, ::-1]) if eye else crop
        self._net.setInput(cv2.dnn.blobFromImage(seen, scalefactor=1 / 255))
        contour, iris = self._net.forward([CONTOURS, IRIS])
        return EyeOutline(
            iris_px=square.to_image(_unit_points(iris, bool(eye))),
            contour_px=square.to_image(_unit_points(contour, bool(eye))),
        )


def square_from_corners(points_px: Float[np.ndarray, "468 2"], eye: int) -> Square | None:
    """The crop about an eye, its corners level; None where they are too close to each other."""
    first, second = (points_px[corner] for corner in EYE_CORNERS[eye])
    along = second - first
    width_px = float(np.linalg.norm(along))
    if not width_px >= SMALLEST_EYE_PX:
        return None
    middle = (first + second) / 2
    angle_rad = float(np.arctan2(along[1], along[0]))
    return Square((float(middle[0]), float(middle[1])), CROP_SCALE * width_px, angle_rad)


def _unit_points(output: np.ndarray, mirrored: bool) -> Float[np.ndarray, "n 2"]:
    """Points in the crop, [0, 1] along both axes, with the mirror taken out."""
    points = np.asarray(output, dtype=np.float64).reshape(-1, 3)[:, :2] / INPUT_PX
    return np.column_stack([1 - points[:, 0], points[:, 1]]) if mirrored else points
