"""The unknowns of a rig's calibration, and how a step changes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from geometry.transforms import RigidTransform


@dataclass(frozen=True, eq=False)
class RigState:
    """Sensors and board poses in the rig's frame, which is any until the world is defined."""

    intrinsics: Float[np.ndarray, "sensor 12"]
    """As `lens.INTRINSICS`."""
    sensor_rotation: Float[np.ndarray, "sensor 3 3"]
    """Of `camera_from_rig`."""
    sensor_translation: Float[np.ndarray, "sensor 3"]
    """Of `camera_from_rig`, metres."""
    board_rotation: Float[np.ndarray, "pose 3 3"]
    """Of `rig_from_board`."""
    board_translation: Float[np.ndarray, "pose 3"]
    """Of `rig_from_board`, metres."""

    def moved(self, sensor_step: Float[np.ndarray, "sensor 18"], board_step: Float[np.ndarray, "pose 6"]) -> RigState:
        """After a step: 12 intrinsics, rotation vector (applied from the left) and translation of each sensor."""
        return RigState(
            self.intrinsics + sensor_step[:, :12],
            Rotation.from_rotvec(sensor_step[:, 12:15]).as_matrix() @ self.sensor_rotation,
            self.sensor_translation + sensor_step[:, 15:],
            Rotation.from_rotvec(board_step[:, :3]).as_matrix() @ self.board_rotation,
            self.board_translation + board_step[:, 3:],
        )

    @property
    def centres(self) -> Float[np.ndarray, "sensor 3"]:
        """Where the sensors stand in the rig's frame, metres."""
        return -np.einsum("sji,sj->si", self.sensor_rotation, self.sensor_translation)

    def camera_from_rig(self, sensor: int) -> RigidTransform:
        """Of one sensor."""
        return RigidTransform(self.sensor_rotation[sensor], self.sensor_translation[sensor])

    def rig_from_board(self, pose: int) -> RigidTransform:
        """Of one pose of the board."""
        return RigidTransform(self.board_rotation[pose], self.board_translation[pose])


def cross_matrices(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """[v]x, with [v]x w = v x w."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [np.stack(row, axis=-1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, axis=-2)
