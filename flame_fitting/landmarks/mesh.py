"""The 468 points of one face by MediaPipe's face mesh, from a turned square crop back to image pixels.

Source: Kartynnik et al. 2019, "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs" (arXiv
1907.06724).
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.crop import Square, sample_square
from flame_fitting.landmarks.detector import Detection
from flame_fitting.landmarks.network import read_network

INPUT_PX = 192
CROP_MARGIN = 1.5
"""Side of the crop over the side of the face, for boxes of the detector and of the points alike; MediaPipe's value."""
LEFT_EYE_CORNER, RIGHT_EYE_CORNER = 33, 263
"""Outer eye corners on the left and on the right of an upright image."""


@dataclass(frozen=True)
class MeshPass:
    """What one run of the network says about one crop."""

    points_px: Float[np.ndarray, "468 2"]
    """Points in image pixels, pixel centres at +0.5."""
    relative_depth: Float[np.ndarray, "468"]
    """Depth of the points relative to each other in image pixels, growing away from the camera."""
    score: float
    """How sure the network is that the crop holds a face, in [0, 1]."""


class FaceMesh:
    """The face mesh over any square. Holds a cv2 network, which is not thread-safe: one object a thread."""

    def __init__(self, weights: Path) -> None:
        self._net = read_network(weights)

    def place_points(self, image_rgb: UInt8[np.ndarray, "h w 3"], square: Square) -> MeshPass:
        """The points of the face that fills the square; meaningless where the score is low."""
        crop = sample_square(image_rgb, square, INPUT_PX, cv2.BORDER_REPLICATE)
        self._net.setInput(cv2.dnn.blobFromImage(crop, scalefactor=1 / 255))
        points, flag = self._net.forward(["conv2d_21", "conv2d_31"])
        points_crop = np.asarray(points, dtype=np.float64).reshape(468, 3) / INPUT_PX
        return MeshPass(
            points_px=square.to_image(points_crop[:, :2]),
            relative_depth=points_crop[:, 2] * square.side_px,
            score=float(1 / (1 + np.exp(-np.clip(np.asarray(flag, dtype=np.float64).item(), -80, 80)))),
        )


def square_from_detection(detection: Detection) -> Square:
    """The crop for a face that the detector found."""
    face = detection.face
    return Square(centre_px=face.centre_px, side_px=CROP_MARGIN * face.side_px, angle_rad=face.angle_rad)


def square_from_points(points_px: Float[np.ndarray, "468 2"]) -> Square:
    """The crop around a face whose points are known: eyes level, the points' box centred with a margin.

    The box is taken along the face's axes, so that the crop turns with the face.
    """
    eyes = points_px[RIGHT_EYE_CORNER] - points_px[LEFT_EYE_CORNER]
    angle_rad = float(np.arctan2(eyes[1], eyes[0]))
    axes = Square(centre_px=(0.0, 0.0), side_px=1.0, angle_rad=angle_rad)
    along = axes.from_image(points_px)
    low, high = along.min(axis=0), along.max(axis=0)
    centre = axes.to_image((low + high)[None] / 2)[0]
    side_px = CROP_MARGIN * float((high - low).max())
    return Square(centre_px=(float(centre[0]), float(centre[1])), side_px=side_px, angle_rad=angle_rad)
