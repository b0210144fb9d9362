"""Texture coordinates for a head that has none: the skin round a cylinder, all else in strips below."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

MARGIN, STRIP = 0.01, 0.2
SEAM_RAD = 0.3


def cylinder_layout(
    template: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    joints: Float[np.ndarray, "5 3"],
    skin: Bool[np.ndarray, "v"],
) -> tuple[Float[np.ndarray, "u 2"], Int[np.ndarray, "f 3"]]:
    """Coordinates in [0, 1], v up, and the triangles into them.

    The skin is unrolled about the vertical axis through the head joint, with its seam behind the head, so that the face
    lies undistorted in the middle. The mouth's inside and each eyeball, seen from the front, share the lower strip, so
    that nothing overlaps the face.
    """
    axis = joints[1]
    angle = np.arctan2(template[:, 0] - joints[3:, 0].mean(), template[:, 2] - axis[2])
    height = template[:, 1]
    outside = skin[faces].all(1)
    eye = np.linalg.norm(template[faces].mean(1)[:, None] - joints[3:], axis=2)
    group = np.where(outside, 0, np.where(eye.min(1) < 0.02, 1 + eye.argmin(1), 3))
    rows: list[np.ndarray] = []
    uv_faces = np.zeros_like(faces)
    boxes = (
        (MARGIN, STRIP + MARGIN, 1 - 2 * MARGIN, 1 - STRIP - 2 * MARGIN),
        *((MARGIN + slot / 3, MARGIN, 1 / 3 - 2 * MARGIN, STRIP - 2 * MARGIN) for slot in range(3)),
    )
    start = 0
    for number, box in enumerate(boxes):
        mine = np.flatnonzero(group == number)
        if not len(mine):
            continue
        corners = faces[mine]
        if number == 0:
            around = angle[corners]
            # A triangle across the seam is drawn whole, on the far side.
            crosses = np.ptp(around, axis=1) > np.pi
            around = np.where(crosses[:, None] & (around < 0), around + 2 * np.pi, around)
            # At the crown a triangle may surround the axis: its far corner is drawn no farther than the seam's others.
            around = np.minimum(around, np.pi + SEAM_RAD)
            flat = np.stack([around, height[corners]], -1)
        else:
            flat = template[corners][..., :2]
        points, inverse = np.unique(
            np.concatenate([corners.reshape(-1, 1), flat.reshape(-1, 2).round(9)], 1), axis=0, return_inverse=True
        )
        rows.append(_into(points[:, 1:], box))
        uv_faces[mine] = inverse.reshape(-1, 3) + start
        start += len(points)
    return np.concatenate(rows), uv_faces


def _into(points: Float[np.ndarray, "n 2"], box: tuple[float, float, float, float]) -> Float[np.ndarray, "n 2"]:
    low, span = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-9)
    return np.array(box[:2]) + (points - low) / span * np.array(box[2:])
