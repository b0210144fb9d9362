"""Where the world is: from how the cameras stand, or as another rig has it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform

FEWEST_COMMON = 2
RING = 0.35
"""Cameras whose mean direction is shorter than this surround the subject: none of their sides is the front."""


def world_from_arrangement(
    rotations: Float[np.ndarray, "camera 3 3"], centres: Float[np.ndarray, "camera 3"]
) -> RigidTransform:
    """`world_from_rig` of cameras given by `rig_from_camera`: y up, the subject at the origin and facing +z.

    Up is the mean of the pictures' up directions, because cameras are mounted upright. The origin is the place nearest
    to all optical axes. The front is where most cameras stand; where they stand all around, or the subject stands
    among none, it is where the first camera stands: name the front camera first, or keep the world of another rig.
    """
    up = -rotations[:, :, 1].mean(0)
    if np.linalg.norm(up) < 0.1:
        up = -rotations[0, :, 1]
    up = up / np.linalg.norm(up)
    origin = _meeting_point(rotations[:, :, 2], centres)
    out = centres - origin
    flat = out - (out @ up)[:, None] * up
    length = np.linalg.norm(flat, axis=1)
    directions = flat / np.maximum(length, 1e-9)[:, None]
    front = directions.mean(0)
    if np.linalg.norm(front) < RING:
        front = directions[0] if length[0] > 1e-6 else np.cross(rotations[0, :, 0], up)
    front = front - (front @ up) * up
    front = front / np.linalg.norm(front)
    rotation = np.stack([np.cross(up, front), up, front])
    return RigidTransform(rotation, -rotation @ origin)


def _meeting_point(
    axes: Float[np.ndarray, "camera 3"], centres: Float[np.ndarray, "camera 3"]
) -> Float[np.ndarray, "3"]:
    """The point of least squared distance to all axes; a metre in front of the mean where they are parallel."""
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    normal = across.sum(0)
    ahead = centres.mean(0) + axes.mean(0)
    if np.linalg.cond(normal) > 1e3:
        return ahead
    point = np.linalg.solve(normal, np.einsum("cij,cj->i", across, centres))
    # Axes that meet behind the cameras are nearly parallel ones.
    return point if (((point - centres) * axes).sum(1) > 0).all() else ahead


def world_from_rig_file(
    names: tuple[str, ...],
    rotations: Float[np.ndarray, "camera 3 3"],
    centres: Float[np.ndarray, "camera 3"],
    reference: Rig,
) -> RigidTransform:
    """`world_from_rig` that puts the cameras, given by `rig_from_camera`, where another rig has them, as well as a
    rigid motion can; a camera that has been moved since is outvoted.

    Raises InputError if the rigs have fewer than FEWEST_COMMON calibrated cameras in common.
    """
    known = {camera.id: camera for camera in reference.cameras if camera.is_calibrated}
    common = [number for number, name in enumerate(names) if name in known]
    if len(common) < FEWEST_COMMON:
        got = f"{len(common)} of {', '.join(names[:6])}"
        raise InputError(f"a rig with at least {FEWEST_COMMON} of the same cameras", got, "name another --world-from")
    targets = [known[names[number]].world_from_camera for number in common]
    turns = Rotation.from_matrix(np.stack([t.rotation @ rotations[n].T for t, n in zip(targets, common, strict=True)]))
    weight = np.ones(len(common))
    turn = turns.mean()
    for _ in range(10):
        turn = turns.mean(weight)
        weight = 1 / (1e-5 + (turns * turn.inv()).magnitude())
    rotation = turn.as_matrix()
    shifts = np.stack([t.translation for t in targets]) - centres[common] @ rotation.T
    return RigidTransform(rotation, np.median(shifts, axis=0))
