"""Rigid transforms whose names cancel: `points_world = world_from_camera @ points_camera`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """A rotation and a translation that take points of frame `a` to frame `b`; call it `b_from_a`."""

    rotation: Float[np.ndarray, "3 3"]
    """Orthonormal, determinant +1."""
    translation: Float[np.ndarray, "3"]
    """Origin of frame `a` in frame `b`, metres."""

    def __post_init__(self) -> None:
        error = float(np.abs(self.rotation @ self.rotation.T - np.eye(3)).max())
        if not np.isfinite(self.rotation).all() or error > 1e-5 or np.linalg.det(self.rotation) < 0:
            raise ValueError(f"a rigid transform needs a proper rotation; R R^T is off the identity by {error:.3g}")

    @classmethod
    def identity(cls) -> RigidTransform:
        """Leaves points where they are."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, b_from_a: Float[np.ndarray, "4 4"]) -> RigidTransform:
        """From a homogeneous matrix; its last row is not looked at."""
        return cls(np.asarray(b_from_a[:3, :3], np.float64), np.asarray(b_from_a[:3, 3], np.float64))

    @classmethod
    def from_rotvec(cls, rotvec: Float[np.ndarray, "3"], translation: Float[np.ndarray, "3"]) -> RigidTransform:
        """From an axis-angle vector in radians and a translation in metres."""
        return cls(Rotation.from_rotvec(rotvec).as_matrix(), np.asarray(translation, np.float64))

    @property
    def matrix(self) -> Float[np.ndarray, "4 4"]:
        """Homogeneous."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation, self.translation
        return matrix

    def inverse(self) -> RigidTransform:
        """`a_from_b` of this `b_from_a`."""
        return RigidTransform(self.rotation.T, -self.rotation.T @ self.translation)

    def compose(self, b_from_a: RigidTransform) -> RigidTransform:
        """`c_from_a` of this `c_from_b`."""
        return RigidTransform(
            self.rotation @ b_from_a.rotation, self.rotation @ b_from_a.translation + self.translation
        )

    def __matmul__(self, points_a: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points of frame `a`, in frame `b`."""
        return points_a @ self.rotation.T + self.translation

    def rotate(self, directions_a: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Directions (normals, rays) of frame `a`, in frame `b`."""
        return directions_a @ self.rotation.T


def look_at(
    eye_world: Float[np.ndarray, "3"], target_world: Float[np.ndarray, "3"], up_world: Float[np.ndarray, "3"]
) -> RigidTransform:
    """`world_from_camera` of a camera at `eye` that looks at `target`, OpenCV axes, image up along `up`."""
    forward = target_world - eye_world
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, up_world)
    right = right / np.linalg.norm(right)
    return RigidTransform(np.stack([right, np.cross(forward, right), forward], axis=1), np.asarray(eye_world, float))


def rigid_align(points_a: Float[np.ndarray, "n 3"], points_b: Float[np.ndarray, "n 3"]) -> RigidTransform:
    """`b_from_a` that minimises the squared distances of corresponding points.

    Source: Umeyama 1991, without scale.
    """
    mean_a, mean_b = points_a.mean(0), points_b.mean(0)
    u, _, vt = np.linalg.svd((points_b - mean_b).T @ (points_a - mean_a))
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return RigidTransform(rotation, mean_b - rotation @ mean_a)
