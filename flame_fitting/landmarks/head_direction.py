"""Where a face looks: by its own mesh in one view, and by what several calibrated views agree on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from flame_fitting.landmarks.landmarker import FaceLandmarks
from geometry.cameras import Camera

PROFILE_RAD = float(np.deg2rad(60))
"""Between a face's direction and the way to the camera. On drawn heads the mesh's points are off by 1.5 % of the face
at 50 degrees, by 3 % at 65, and from 75 degrees on the network finds no face or puts its points on the wrong side."""
AGREEING_RAD = float(np.deg2rad(20))
"""Directions of one face by two good views differ by less; the mesh is 5 degrees off, and 15 near the profile."""
DISAGREEING_RAD = float(np.deg2rad(30))
"""A view whose direction is this far from what the others agree on has its points in the wrong places."""
AGREED_SLACK_RAD = float(np.deg2rad(5))
"""More than that is allowed where others say so: their agreed direction is off by as much."""
BEHIND_RAD = float(np.deg2rad(115))
"""Past this a camera sees the back of the head, and no profile."""
EYE_CORNERS, BROW_TO_CHIN = (33, 263), (10, 152)
"""Outer eye corners, left to right in the image; top of the forehead and tip of the chin."""


def direction_in_view(face: FaceLandmarks) -> Float[np.ndarray, "3"]:
    """Unit vector straight out of the face, as if the image were taken from very far (x right, y down, z away)."""
    points = np.column_stack([face.points_px, face.relative_depth])
    right = points[EYE_CORNERS[1]] - points[EYE_CORNERS[0]]
    down = points[BROW_TO_CHIN[1]] - points[BROW_TO_CHIN[0]]
    out = np.cross(down, right)
    return out / max(float(np.linalg.norm(out)), 1e-12)


def angle_from_camera(face: FaceLandmarks) -> float:
    """Angle between the face's direction and the way to the camera, radians: 0 is frontal. Saturates at 65 degrees."""
    return float(np.arccos(np.clip(-direction_in_view(face)[2], -1, 1)))


def direction_in_world(camera: Camera, face: FaceLandmarks) -> Float[np.ndarray, "3"]:
    """Unit vector straight out of the face in the world's frame.

    The network sees a crop, so that its frame is turned with the ray to the face, not with the camera's axis.
    """
    centre = np.array(face.crop.centre_px)[None]
    ray = np.append(camera.pixels_to_normalised(centre)[0], 1.0)
    turned = _turn_onto(ray / np.linalg.norm(ray)) @ direction_in_view(face)
    return camera.world_from_camera.rotation @ turned


def agreed_direction(views: Sequence[tuple[Camera, FaceLandmarks]]) -> Float[np.ndarray, "3"] | None:
    """What most views say about where the face looks, world frame; None where fewer than two agree.

    Frontal views count more: the network draws oblique faces towards the camera.
    """
    directions = [(direction_in_world(camera, face), angle_from_camera(face)) for camera, face in views]
    usable = [(direction, angle) for direction, angle in directions if angle < PROFILE_RAD]
    if len(usable) < 2:
        return None
    vectors = np.array([direction for direction, _ in usable])
    weights = np.cos([angle for _, angle in usable]) ** 2
    agreeing = vectors @ vectors.T > np.cos(AGREEING_RAD)
    leader = int(np.argmax(agreeing @ weights))
    if agreeing[leader].sum() < 2:
        return None
    mean = (weights * agreeing[leader]) @ vectors
    return mean / np.linalg.norm(mean)


def angle_between(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> float:
    """Between two vectors of any length, radians."""
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))


def is_profile(camera: Camera, face: FaceLandmarks, agreed: Float[np.ndarray, "3"] | None) -> bool:
    """Whether the mesh is not to be trusted in this view, by its own angle or by what other views agree on."""
    if angle_from_camera(face) > PROFILE_RAD:
        return True
    if agreed is None or not camera.is_calibrated:
        return False
    ray = np.append(camera.pixels_to_normalised(np.array(face.crop.centre_px)[None])[0], 1.0)
    to_camera = -(camera.world_from_camera.rotation @ ray)
    if angle_between(agreed, to_camera) > PROFILE_RAD + AGREED_SLACK_RAD:
        return True
    return angle_between(agreed, direction_in_world(camera, face)) > DISAGREEING_RAD


def _turn_onto(ray: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The smallest rotation that takes the z axis onto a unit vector that is not its opposite (Rodrigues)."""
    x, y, z = ray
    skew = np.array([[0, 0, x], [0, 0, y], [-x, -y, 0]])  # of the cross product with z x ray
    return np.eye(3) + skew + skew @ skew / (1 + z)
