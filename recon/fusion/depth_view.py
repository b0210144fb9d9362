"""What one depth image says about the space around the surface that it saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from geometry.cameras import Camera
from recon.depth.incidence import incidence_cosine
from recon.depth.pinhole import bilinear_depth, to_pinhole

LEAST_COSINE = np.float32(0.2)
"""Smallest cosine that distances are scaled by; beyond it normals from noisy depth say little."""
STEEPEST_DEG = 82.0
"""Neighbouring pixels whose depths no surface less oblique than this would show are two surfaces."""


@dataclass(frozen=True, eq=False)
class DepthView:
    """One depth image and the camera that took it."""

    camera: Camera
    """Its lens and where it stands."""
    depth_m: Float32[np.ndarray, "h w"]
    """Depth along the camera's z in metres; 0 where there is none."""


@dataclass(frozen=True, eq=False)
class DistanceView:
    """A depth view, without lens distortion, that can be asked how far voxels are from what it measured."""

    camera: Camera
    """A pinhole."""
    depth_m: Float32[np.ndarray, "h w"]
    """Depth along the camera's z in metres; 0 where there is none."""
    metres_per_z: Float32[np.ndarray, "h w"]
    """Distance to the tangent plane for each metre along z: |normal . ray| for the ray of length 1 in z."""
    weight: Float32[np.ndarray, "h w"]
    """How much each measurement counts: cosine of incidence over depth squared, 1 straight on from 1 m."""
    largest_step: float
    """Relative difference of two neighbours' depths up to which they are one surface."""

    @classmethod
    def of(cls, view: DepthView) -> DistanceView:
        """The view ready to be asked."""
        largest_step = np.tan(np.radians(STEEPEST_DEG)) / np.sqrt(view.camera.K[0, 0] * view.camera.K[1, 1])
        depth, camera = to_pinhole(view.depth_m, view.camera, float(largest_step))
        cosine = np.maximum(incidence_cosine(depth, camera), LEAST_COSINE)
        rows, columns = depth.shape
        x = (np.arange(columns) + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
        y = (np.arange(rows) + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
        ray_length = np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2).astype(np.float32)
        weight = np.divide(cosine, depth * depth, out=np.zeros_like(depth), where=depth > 0)
        return cls(camera, depth, cosine * ray_length, weight, float(largest_step))

    def points_world(self) -> Float[np.ndarray, "n 3"]:
        """What the view measured, metres."""
        row, column = np.nonzero(self.depth_m)
        x = (column + 0.5 - self.camera.K[0, 2]) / self.camera.K[0, 0]
        y = (row + 0.5 - self.camera.K[1, 2]) / self.camera.K[1, 1]
        return self.camera.world_from_camera @ (np.stack([x, y, np.ones(len(x))], 1) * self.depth_m[row, column, None])

    def distance(
        self,
        points_camera: tuple[Float32[np.ndarray, "n"], Float32[np.ndarray, "n"], Float32[np.ndarray, "n"]],
        band_m: float,
    ) -> tuple[Float32[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
        """Signed distance of points (x, y, z, all with z > 0) to what was measured, positive in front, and its weight.

        The distance is to the tangent plane: along the ray it would grow with the angle. The weight is 0 where nothing
        was measured, and falls to 0 towards `band_m` behind the surface, so that an ear's two sides do not erase one
        another.
        """
        x, y, z = points_camera
        K = self.camera.K.astype(np.float32)
        pixel_x, pixel_y = (K[0, 0] * x + K[0, 1] * y) / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
        measured, there = bilinear_depth(self.depth_m, pixel_x, pixel_y, self.largest_step)
        rows, columns = self.depth_m.shape
        pixel = np.clip(pixel_y, 0, rows - 1).astype(np.int32) * columns
        pixel += np.clip(pixel_x, 0, columns - 1).astype(np.int32)
        distance = (measured - z) * self.metres_per_z.ravel()[pixel]
        behind = np.clip(1 + distance / np.float32(band_m), 0, 1)
        return distance, np.where(there, self.weight.ravel()[pixel] * behind, np.float32(0))
