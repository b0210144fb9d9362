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

    def jacobian(self, points_world: Float[Tensor, "n v 3"]) -> Float[Tensor, "n v 2 3"]:
        """How pixels move with each camera's own points, pixels per metre along the world's axes.

        Derivative of `project`; formulas rather than forward differentiation, which torch does not do in threads.
        """
        rotation, translation = self.camera_from_world[:, :, :3], self.camera_from_world[:, :, 3]
        X, Y, depth = (points_world @ rotation.transpose(1, 2) + translation[:, None]).unbind(-1)
        safe = torch.where(depth.abs() < 1e-9, torch.full_like(depth, 1e-9), depth)
        x, y = X / safe, Y / safe
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = self.distortion[:, :, None].unbind(1)
        r = x * x + y * y
        above, below = 1 + r * (k1 + r * (k2 + r * k3)), 1 + r * (k4 + r * (k5 + r * k6))
        radial = above / below
        steep = (k1 + r * (2 * k2 + 3 * r * k3)) / below - radial * (k4 + r * (2 * k5 + 3 * r * k6)) / below
        of_u, of_v = s1 + 2 * s2 * r + p2, s3 + 2 * s4 * r + p1  # what multiplies dr beside the radial part
        u = x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x) + r * (s1 + r * s2)
        v = y * radial + p1 * (r + 2 * y * y) + 2 * p2 * x * y + r * (s3 + r * s4)
        by_r_u, by_r_v = x * steep + of_u, y * steep + of_v
        du = torch.stack([radial + 2 * p1 * y + 4 * p2 * x + by_r_u * 2 * x, 2 * p1 * x + by_r_u * 2 * y], -1)
        dv = torch.stack([2 * p2 * y + by_r_v * 2 * x, radial + 4 * p1 * y + 2 * p2 * x + by_r_v * 2 * y], -1)
        tilted = torch.stack([u, v, torch.ones_like(u)], -1) @ self.tilt.transpose(1, 2)
        onto = tilted[..., :2] / tilted[..., 2:]
        tilt = self.tilt[:, None]
        turned = (tilt[..., :2, :2] - onto[..., None] * tilt[..., 2:, :2]) / tilted[..., 2:, None]
        nothing = torch.zeros_like(x)
        of_axes = torch.stack([1 / safe, nothing, -x / safe, nothing, 1 / safe, -y / safe], -1).unflatten(-1, (2, 3))
        return self.K[:, None, :, :2] @ turned @ torch.stack([du, dv], -2) @ of_axes @ rotation[:, None]


def _tilt(x: float, y: float) -> Float[np.ndarray, "3 3"]:
    """Homography of a sensor that is turned by these angles about its axes, as OpenCV has it."""
    about_x = np.array([[1, 0, 0], [0, np.cos(x), np.sin(x)], [0, -np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    turned = about_y @ about_x
    onto = np.array([[turned[2, 2], 0, -turned[0, 2]], [0, turned[2, 2], -turned[1, 2]], [0, 0, 1]])
    return onto @ turned
