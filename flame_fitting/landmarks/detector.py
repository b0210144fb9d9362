"""Faces in an image by MediaPipe's short-range BlazeFace: anchors, decoding, non-maximum suppression.

Source: Bazarevsky et al. 2019, "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (arXiv 1907.05047).
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.crop import Square, sample_square
from flame_fitting.landmarks.network import read_network

INPUT_PX = 128
ANCHORS_PER_CELL = ((8, 2), (16, 6))
"""(stride in input pixels, anchors at each cell): 16 x 16 x 2 + 8 x 8 x 6 = 896."""
MIN_SCORE = 0.5
SUPPRESSION_OVERLAP = 0.3
"""Boxes that overlap by more (intersection over union) are one face; MediaPipe's own value."""


@dataclass(frozen=True)
class Detection:
    """One face that the detector found."""

    face: Square
    """The detector's box (brows to chin), turned so that its x axis runs along the eyes."""
    keypoints_px: Float[np.ndarray, "6 2"]
    """Eye on the image's left, eye on its right, nose tip, mouth, two ears; image pixels."""
    score: float
    """Confidence in [0, 1]."""


class FaceDetector:
    """BlazeFace over any square of an image. Holds a cv2 network, which is not thread-safe: one object a thread."""

    def __init__(self, weights: Path) -> None:
        self._net = read_network(weights)
        self._anchors = blazeface_anchors()

    def detect(self, image_rgb: UInt8[np.ndarray, "h w 3"], square: Square) -> list[Detection]:
        """Faces upright in the square, best score first, in image pixels; scores of at least 0.5."""
        crop = sample_square(image_rgb, square, INPUT_PX, cv2.BORDER_CONSTANT)
        self._net.setInput(cv2.dnn.blobFromImage(crop, scalefactor=1 / 127.5, mean=(127.5, 127.5, 127.5)))
        logits, offsets = self._net.forward(["classificators", "regressors"])
        boxes, scores = decode(np.asarray(logits).reshape(-1), np.asarray(offsets).reshape(-1, 16), self._anchors)
        return [_to_image(box, score, square) for box, score in weighted_suppression(boxes, scores)]


def blazeface_anchors() -> Float[np.ndarray, "896 2"]:
    """Anchor centres in the input, [0, 1] along both axes, in the order of the network's rows."""
    layers = []
    for stride, count in ANCHORS_PER_CELL:
        cells = INPUT_PX // stride
        centres = (np.arange(cells) + 0.5) / cells
        x, y = np.meshgrid(centres, centres)
        layers.append(np.repeat(np.column_stack([x.ravel(), y.ravel()]), count, axis=0))
    return np.concatenate(layers)


def decode(
    logits: Float[np.ndarray, "anchors"],
    offsets: Float[np.ndarray, "anchors 16"],
    anchors: Float[np.ndarray, "anchors 2"],
) -> tuple[Float[np.ndarray, "n 8 2"], Float[np.ndarray, "n"]]:
    """Candidates of at least MIN_SCORE and their scores.

    A candidate is 8 rows of x and y, as fractions of the input's side: box centre, box size, 6 keypoints. The network
    gives the centre and the keypoints relative to the anchor's centre, in input pixels; anchors have no size.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))
    keep = scores >= MIN_SCORE
    boxes = offsets[keep].reshape(-1, 8, 2).astype(np.float64) / INPUT_PX
    boxes[:, [0, 2, 3, 4, 5, 6, 7]] += anchors[keep][:, None]
    return boxes, scores[keep]


def weighted_suppression(
    boxes: Float[np.ndarray, "n 8 2"], scores: Float[np.ndarray, "n"]
) -> list[tuple[Float[np.ndarray, "8 2"], float]]:
    """One box a face, best first: the score-weighted mean of all that overlap the best, with the best's score.

    The mean instead of the best alone is what keeps BlazeFace's boxes still over video (section 4.3 of the paper).
    """
    faces = []
    rest = np.argsort(-scores, kind="stable")
    while rest.size:
        same = _overlap(boxes[rest[0]], boxes[rest]) > SUPPRESSION_OVERLAP
        same[0] = True  # also for a box without area, else the loop would not end
        group = rest[same]
        faces.append((np.average(boxes[group], axis=0, weights=scores[group]), float(scores[rest[0]])))
        rest = rest[~same]
    return faces


def _overlap(box: Float[np.ndarray, "8 2"], boxes: Float[np.ndarray, "n 8 2"]) -> Float[np.ndarray, "n"]:
    """Intersection over union of one candidate's box with many."""
    low = np.maximum(box[0] - box[1] / 2, boxes[:, 0] - boxes[:, 1] / 2)
    high = np.minimum(box[0] + box[1] / 2, boxes[:, 0] + boxes[:, 1] / 2)
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    union = np.prod(box[1]) + np.prod(boxes[:, 1], axis=1) - shared
    return shared / np.maximum(union, 1e-12)


def _to_image(box: Float[np.ndarray, "8 2"], score: float, square: Square) -> Detection:
    points = square.to_image(box[[0, 2, 3, 4, 5, 6, 7]])
    eyes = points[2] - points[1]
    face = Square(
        centre_px=(float(points[0, 0]), float(points[0, 1])),
        side_px=float(box[1].max() * square.side_px),
        angle_rad=float(np.arctan2(eyes[1], eyes[0])),
    )
    return Detection(face=face, keypoints_px=points[1:], score=score)
