"""Where a take's world lies in the truth's: a rig that was calibrated alone has a world of its own.

Both worlds are brought together by the cameras, which are no part of what is judged, and never by the head.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, rigid_align

OTHER_WORLD_M = 0.02
"""Cameras that stand farther than this from their true places were not put there by an error of calibration."""
OTHER_WORLD_DEG = 2.0
"""The same of how they are turned."""
ARM_M = 0.6
"""Where a camera's axes are compared: about as far as the faces are that it looks at."""


def truth_from_take(rig: Rig, truth: Rig) -> RigidTransform:
    """The rigid motion that puts a take's cameras, centres and axes, best onto their true places.

    The identity where the take's world is the truth's, with errors of calibration: these are the fit's to bear.
    Raises InputError when the rigs have no calibrated camera in common.
    """
    known = {camera.id: camera for camera in truth.cameras}
    pairs = [(camera, known[camera.id]) for camera in rig.cameras if camera.is_calibrated and camera.id in known]
    if not pairs:
        got = f"{', '.join(rig.ids[:4])} beside {', '.join(truth.ids[:4])}"
        raise InputError("a take whose cameras are the truth's", got, "name the truth of this recording with --truth")
    if all(_is_near(found, true) for found, true in pairs):
        return RigidTransform.identity()
    found, true = (np.concatenate([_marks(pair[side]) for pair in pairs]) for side in (0, 1))
    return rigid_align(found, true)


def _is_near(found: Camera, true: Camera) -> bool:
    away_m = float(np.linalg.norm(found.centre_world - true.centre_world))
    turn = found.world_from_camera.rotation.T @ true.world_from_camera.rotation
    turned_deg = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    return away_m < OTHER_WORLD_M and turned_deg < OTHER_WORLD_DEG


def _marks(camera: Camera) -> Float[np.ndarray, "4 3"]:
    """A camera's centre and a point on each of its axes, world, metres."""
    return camera.world_from_camera @ np.concatenate([np.zeros((1, 3)), ARM_M * np.eye(3)])
