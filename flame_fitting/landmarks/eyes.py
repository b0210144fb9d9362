"""The ten iris points of a face and how far each may be believed: the network's, put right by the picture's own rim."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.iris import EYE_CORNERS, EyeOutline, IrisNetwork
from flame_fitting.landmarks.landmarker import FaceLandmarks
from flame_fitting.landmarks.limbus import IRIS_OVER_EYES, find_limbus

FULL_VOTE_SIGMA = 0.03
"""Deviation of an iris's centre that earns a full vote, in iris radii: 0.3 px on a face of 250 px. Others get the
square of the ratio, so that a vote over this variance is the inverse of the centre's own."""
NETWORK_SIGMA = 0.16
"""Deviation of the network's own centre, iris radii: on drawn heads 1.6 px of 10."""
SHUT_OPENING = 0.15
"""Between the lids over the width of the eye; under this too little of the iris shows."""
IRIS_POINTS = 10


@dataclass(frozen=True)
class IrisMarks:
    """Both irises of a face in MediaPipe's order: the subject's right first, each a centre and four of its rim."""

    points_px: Float[np.ndarray, "10 2"]
    """Image pixels, pixel centres at +0.5. The centre is the middle of the limbus circle, not of the pupil's picture:
    the two part under oblique views, because the pupil lies deeper or, on a drawn eye, on a bulge."""
    confidence: Float[np.ndarray, "10"]
    """Vote of each in [0, 1], with the centre's variance in it (`FULL_VOTE_SIGMA`). The rim has none: its points are
    the ends of an ellipse, which lie on no fixed place of the eye and mostly under the lids."""


def find_irises(image_rgb: UInt8[np.ndarray, "h w 3"], face: FaceLandmarks, network: IrisNetwork) -> IrisMarks:
    """The irises of a face. Always ten finite points: of an eye that is shut or averted they only say where it is."""
    points, confidence = np.zeros((IRIS_POINTS, 2)), np.zeros(IRIS_POINTS)
    for eye, outline in enumerate(network.outline(image_rgb, face.points_px)):
        mine = slice(5 * eye, 5 * eye + 5)
        if outline is None or not np.isfinite(outline.iris_px).all():
            points[mine] = face.points_px[list(EYE_CORNERS[eye])].mean(0)
            continue
        points[mine] = outline.iris_px
        if opening(outline) < SHUT_OPENING:
            continue
        limbus = find_limbus(image_rgb, face.points_px, face.relative_depth, outline, eye)
        if limbus is None:
            confidence[5 * eye] = (FULL_VOTE_SIGMA / NETWORK_SIGMA) ** 2
            continue
        points[mine] = np.concatenate([limbus.centre_px[None], limbus.rim_px])
        confidence[5 * eye] = min(1.0, (FULL_VOTE_SIGMA * limbus.radius_px / max(limbus.sigma_px, 1e-9)) ** 2)
    seen = face.visibility[[EYE_CORNERS[0][0], EYE_CORNERS[1][1]]]
    height, width = image_rgb.shape[:2]
    inside = np.all((points >= 0) & (points <= (width, height)), axis=1)
    # An eye whose outer corner lies behind the nose is seen, if at all, in the mesh network's imagination.
    return IrisMarks(points, confidence * inside * np.repeat(seen > 0, 5))


def iris_radius_px(face: FaceLandmarks) -> float:
    """Radius of the face's irises seen from straight ahead, from the distance of the outer eye corners."""
    points = np.column_stack([face.points_px, face.relative_depth])
    return IRIS_OVER_EYES * float(np.linalg.norm(points[33] - points[263]))


def opening(outline: EyeOutline) -> float:
    """Greatest distance between the lids over the eye's width, along and across the line of its corners."""
    contour = outline.contour_px
    along = contour[8] - contour[0]
    width = max(float(np.linalg.norm(along)), 1e-9)
    across = np.array([-along[1], along[0]]) / width
    lower, upper = contour[1:8] @ across, contour[9:16] @ across
    # The other eye's contour runs the other way round, so that its lower lid lies on the other side.
    return float(np.abs(lower - upper).max() / width)
