"""Many cameras as tensors: projection with the full lens model on any device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geometry.cameras import Camera

COEFFICIENTS = 14


@dataclass(frozen=True, eq=False)
class Lenses:
    """Cameras side by side, in double precision."""

    camera_from_world: Float[Tensor, "n 3 4"]
    """Rotation and translation, metres."""
    K: Float[Tensor, "n 2 3"]
    """The first two rows of the intrinsics, pixels, centres at +0.5."""
    distortion: Float[Tensor, "n 12"]
    """OpenCV's coefficients without the tilt: k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4; zeros where a lens has fewer."""
    tilt: Float[Tensor, "n 3 3"]
    """The tilted sensor's homography; the identity where there is none."""
    size_hw: Float[Tensor, "n 2"]
    """Rows and columns of the pictures."""

    @classmethod
    def of(cls, cameras: Sequence[Camera], device: torch.device | str = "cpu") -> Lenses:
        """The same cameras as tensors on a device."""
        poses = [camera.world_from_camera.inverse() for camera in cameras]
        stack = lambda arrays, shape: torch.from_numpy(  # noqa: E731
            np.array(arrays, np.float64).reshape(len(cameras), *shape)
        ).to(device)
        padded = [np.pad(camera.distortion, (0, COEFFICIENTS - camera.distortion.size)) for camera in cameras]
        return cls(
            stack([np.c_[pose.rotation, pose.translation] for pose in poses], (3, 4)),
            stack([camera.K[:2] for camera in cameras], (2, 3)),
            stack([each[:12] for each in padded], (12,)),
            stack([_tilt(*each[12:]) for each in padded], (3, 3)),
            stack([camera.image_size_hw for camera in cameras], (2,)),
        )

    @property
    def centres_world(self) -> Float[Tensor, "n 3"]:
        """Where the cameras stand, metres."""
        rotation, translation = self.camera_from_world[:, :, :3], self.camera_from_world[:, :, 3:]
        return -(rotation.transpose(1, 2) @ translation)[..., 0]

    def project(self, points_world: Float[Tensor, "n v 3"]) -> Float[Tensor, "n v 3"]:
        """Pixels (x, y; distorted, centres at +0.5) and depth in metres of each camera's own points.

        Source: OpenCV, calib3d, detailed description (rational, thin prism and tilted sensor terms).
        """
        rotation, translation = self.camera_from_world[:, :, :3], self.camera_from_world[:, :, 3]
        points = points_world @ rotation.transpose(1, 2) + translation[:, None]
        depth = points[..., 2]
        safe = torch.where(depth.abs() < 1e-9, torch.full_like(depth, 1e-9), depth)
        x, y = points[..., 0] / safe, points[..., 1] / safe
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = self.distortion[:, :, None].unbind(1)
        xx, yy, xy = x * x, y * y, x * y
        r = xx + yy
        radial = (1 + r * (k1 + r * (k2 + r * k3))) / (1 + r * (k4 + r * (k5 + r * k6)))
        u = x * radial + 2 * p1 * xy + p2 * (r + 2 * xx) + r * (s1 + r * s2)
        v = y * radial + p1 * (r + 2 * yy) + 2 * p2 * xy + r * (s3 + r * s4)
        tilted = torch.stack([u, v, torch.ones_like(u)], -1) @ self.tilt.transpose(1, 2)
        pixels = (tilted / tilted[..., 2:]) @ self.K.transpose(1, 2)
        return torch.cat([pixels, depth[..., None]], -1)


def _tilt(x: float, y: float) -> Float[np.ndarray, "3 3"]:
    """Homography of a sensor that is turned by these angles about its axes, as OpenCV has it."""
    about_x = np.array([[1, 0, 0], [0, np.cos(x), np.sin(x)], [0, -np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    turned = about_y @ about_x
    onto = np.array([[turned[2, 2], 0, -turned[0, 2]], [0, turned[2, 2], -turned[1, 2]], [0, 0, 1]])
    return onto @ turned
