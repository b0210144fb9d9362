"""Cameras around a sphere, and depth maps of it computed ray by ray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geometry.cameras import Camera
from geometry.meshes import Mesh, face_normals
from geometry.transforms import look_at
from recon.fusion.depth_view import DepthView

CENTRE = np.array([0.03, 1.22, -0.02])
RADIUS_M = 0.09
LENS = np.array([0.12, -0.06, 2e-4, -1e-4, 0.01, 0.10, -0.05, 0.008])
"""Eight coefficients of a depth camera's strength."""


def depth_camera(name: str, azimuth_deg: float, distance_m: float, distortion: np.ndarray | None = None) -> Camera:
    """A small camera that looks past the sphere's centre, so that no symmetry hides an error."""
    azimuth = np.radians(azimuth_deg)
    eye = CENTRE + distance_m * np.array([np.sin(azimuth), 0.25, np.cos(azimuth)])
    here = look_at(eye, CENTRE + np.array([0.01, -0.015, 0.0]), np.array([0.0, 1.0, 0.0]))
    K = np.array([[380.0, 0, 161.7], [0, 384.0, 117.4], [0, 0, 1]])
    lens = np.zeros(0) if distortion is None else distortion
    return Camera(name, name, "depth", (240, 320), K, lens, here, depth_unit_m=0.001)


def four_cameras(distortion: np.ndarray | None = None) -> list[Camera]:
    places = ((-50.0, 0.5), (-15.0, 0.6), (20.0, 0.7), (55.0, 0.55))
    return [depth_camera(f"d{number}", *place, distortion) for number, place in enumerate(places)]


def sphere_depth(camera: Camera, radius_m: float = RADIUS_M) -> np.ndarray:
    """Depth along z of the sphere through every pixel centre; 0 beside it."""
    ray = np.concatenate([camera.pixel_grid_normalised(), np.ones((*camera.image_size_hw, 1))], 2)
    centre = camera.world_from_camera.inverse() @ CENTRE
    a, b, c = (ray * ray).sum(2), ray @ centre, centre @ centre - radius_m**2
    root = b * b - a * c
    return np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, 0).astype(np.float32)


def sphere_views(cameras: list[Camera]) -> list[DepthView]:
    return [DepthView(camera, sphere_depth(camera)) for camera in cameras]


def shifted_K(camera: Camera, pixels: float) -> Camera:
    """The camera as a calibration with another pixel convention would describe it."""
    K = camera.K.copy()
    K[:2, 2] += pixels
    return replace(camera, K=K)


def error_mm(mesh: Mesh, radius_m: float = RADIUS_M) -> np.ndarray:
    """Signed distance of every vertex to the sphere, positive outside."""
    return (np.linalg.norm(mesh.vertices - CENTRE, axis=1) - radius_m) * 1000


def outward(mesh: Mesh) -> np.ndarray:
    """Cosine between each triangle's normal and the sphere's."""
    normals = face_normals(mesh.vertices, mesh.faces)
    radial = mesh.vertices[mesh.faces].mean(1) - CENTRE
    return (normals * radial).sum(1) / (np.linalg.norm(normals, axis=1) * np.linalg.norm(radial, axis=1))
