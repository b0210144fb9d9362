"""Pictures of a scan: what a landmark network, and depth, see of it from somewhere."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from geometry.cameras import Camera
from geometry.meshes import vertex_normals
from geometry.scans import Scan
from geometry.transforms import RigidTransform, look_at
from rendering.arrays import FragmentArrays, interpolate_arrays, rasterize_arrays

CLAY = 190.0
"""Grey level of an uncoloured surface that faces the camera."""
AMBIENT = 0.35
"""Share of that which a surface seen edge-on keeps."""
BACKGROUND = 70
PICTURE_TEXELS = 1024
"""Longest side of a texture as it is drawn: finer would only flicker."""


@dataclass(frozen=True, eq=False)
class ScanPicture:
    """A scan seen by one camera."""

    camera: Camera
    """Where it was drawn from; of kind rgb."""
    levels: UInt8[np.ndarray, "h w 3"]
    """sRGB."""
    fragments: FragmentArrays
    """Which triangle each pixel shows; depth is in the scan's unit."""

    def lifted(self, points_px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """Points of the scan under pixels, in its frame; nan beside it."""
        height, width = self.camera.image_size_hw
        column, row = np.floor(points_px).astype(int).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        depth = np.zeros(len(points_px))
        depth[inside] = self.fragments.depth[row[inside], column[inside]]
        normalised = self.camera.pixels_to_normalised(points_px.astype(np.float64))
        points = np.concatenate([normalised, np.ones((len(points_px), 1))], 1) * depth[:, None]
        return np.where(depth[:, None] > 0, self.camera.world_from_camera @ points, np.nan)


def camera_towards(
    eye: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], up: Float[np.ndarray, "3"], size_px: int, radius: float
) -> Camera:
    """A square picture in which a ball of this radius about the target has some room."""
    distance = float(np.linalg.norm(eye - target))
    focal = 0.5 * size_px * np.sqrt(max(distance**2 - radius**2, 1e-12)) / radius
    K = np.array([[focal, 0, size_px / 2], [0, focal, size_px / 2], [0, 0, 1.0]])
    return Camera("view", "scan", "rgb", (size_px, size_px), K, np.zeros(0), look_at(eye, target, up))


def draw_scan(scan: Scan, camera: Camera) -> ScanPicture:
    """The scan in its own colours, or as clay lit from the camera; both sides of a triangle show alike."""
    inverse: RigidTransform = camera.world_from_camera.inverse()
    points = inverse @ scan.vertices
    nearest = 1e-3 * float(np.linalg.norm(camera.centre_world - scan.vertices.mean(0)))
    faces = scan.faces[(points[scan.faces, 2] > nearest).all(1)]  # nothing is drawn that crosses the camera's plane
    pixels = camera.normalised_to_pixels(points[:, :2] / np.where(points[:, 2:] > nearest, points[:, 2:], nearest))
    screen = np.concatenate([pixels, points[:, 2:]], 1)
    drawn = rasterize_arrays(screen, faces, camera.image_size_hw)
    levels = _albedo(scan, faces, drawn) if scan.texture is not None or scan.colours is not None else None
    if levels is None:
        levels = np.repeat(_clay(points, faces, drawn)[..., None], 3, 2)
    levels = np.where(drawn.mask[..., None], levels, BACKGROUND)
    rows = np.flatnonzero((points[scan.faces, 2] > nearest).all(1))
    index = np.where(drawn.mask, rows[drawn.face_index] if len(rows) else -1, -1).astype(np.int32)
    fragments = FragmentArrays(index, drawn.depth, drawn.barycentric)
    return ScanPicture(camera, levels.clip(0, 255).astype(np.uint8), fragments)


def _albedo(scan: Scan, faces: Int[np.ndarray, "f 3"], drawn: FragmentArrays) -> Float[np.ndarray, "h w 3"]:
    if scan.texture is None or scan.uv is None:
        assert scan.colours is not None
        return interpolate_arrays(drawn, faces, scan.colours.astype(np.float32))
    texture = scan.texture
    while max(texture.shape[:2]) > PICTURE_TEXELS:
        texture = cv2.resize(texture, (texture.shape[1] // 2, texture.shape[0] // 2), interpolation=cv2.INTER_AREA)
    height, width = texture.shape[:2]
    uv = interpolate_arrays(drawn, faces, scan.uv) % 1.0
    x, y = uv[..., 0] * width - 0.5, (1 - uv[..., 1]) * height - 0.5
    found = cv2.remap(texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return found.astype(np.float32)


def _clay(
    points_camera: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], drawn: FragmentArrays
) -> Float[np.ndarray, "h w"]:
    normals = interpolate_arrays(drawn, faces, vertex_normals(points_camera, faces))
    facing = np.abs(normals[..., 2]) / np.maximum(np.linalg.norm(normals, axis=-1), 1e-9)
    return CLAY * (AMBIENT + (1 - AMBIENT) * facing)
