"""Pictures of meshes and cameras for the page: overlays, clay renders, textured renders."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from geometry.cameras import Camera
from geometry.meshes import vertex_normals
from geometry.transforms import look_at
from rendering.arrays import FragmentArrays, interpolate_arrays, rasterize_arrays
from rendering.colour import srgb_decode, srgb_encode, srgb_to_linear

SUPERSAMPLE = 2
MESH_COLOUR = np.array([88.0, 226.0, 214.0])
CLAY_SRGB = (196, 190, 184)
BACKGROUND_SRGB = ((44, 48, 54), (22, 24, 28))
"""Top and bottom of the backdrop; dark in both colour schemes, as viewports are."""
JPEG_QUALITIES = (90, 84, 76, 66, 54, 42, 30, 18)


@dataclass(frozen=True, eq=False)
class Shot:
    """A camera's picture, cut to a window and brought to a size."""

    camera: Camera
    """Whose."""
    origin_px: tuple[float, float]
    """Left and top of the window in the camera's pixels; it may lie outside the picture."""
    scale: float
    """Output pixels per camera pixel."""
    size_hw: tuple[int, int]
    """Of the output."""

    @classmethod
    def whole(cls, camera: Camera, width: int) -> Shot:
        """All of a camera's picture."""
        rows, columns = camera.image_size_hw
        scale = width / columns
        return cls(camera, (0.0, 0.0), scale, (max(1, round(rows * scale)), width))

    @classmethod
    def of_points(cls, camera: Camera, points_world: Float[np.ndarray, "n 3"], width: int) -> Shot:
        """A 4:5 window about points, with room around them; all of the picture if none is in front of the camera."""
        pixels, depth = camera.project(points_world)
        rows, columns = camera.image_size_hw
        pixels = pixels[(depth > 0) & (pixels > (-columns, -rows)).all(1) & (pixels < (2 * columns, 2 * rows)).all(1)]
        if not len(pixels):
            return cls.whole(camera, width)
        low, high = pixels.min(0), pixels.max(0)
        window_w = 1.14 * max(high[0] - low[0], 0.8 * (high[1] - low[1]), 8.0)
        left, top = (low + high) / 2 - (window_w / 2, window_w * 1.25 / 2)
        return cls(camera, (float(left), float(top)), float(width / window_w), (round(width * 1.25), width))

    def picture(self, image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "y x c"]:
        """The window of the camera's image; black outside of it."""
        (left, top), (rows, columns) = self.origin_px, self.size_hw
        if self.scale < 0.6:  # average before sampling, else fine detail aliases
            smaller = cv2.resize(image, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_AREA)
            matrix = np.array([[1.0, 0.0, -left * self.scale], [0.0, 1.0, -top * self.scale]])
            return cv2.warpAffine(smaller, matrix, (columns, rows), flags=cv2.INTER_LINEAR)
        # Pixel centres are at +0.5 for us and at 0 for OpenCV.
        shift = 0.5 * self.scale - 0.5
        matrix = np.array([[self.scale, 0.0, shift - left * self.scale], [0.0, self.scale, shift - top * self.scale]])
        return cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_CUBIC)

    def drawing(self, vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Drawing:
        """A mesh rasterized into the window."""
        pixels, depth = self.camera.project(vertices)
        screen = np.concatenate([(pixels - self.origin_px) * self.scale * SUPERSAMPLE, depth[:, None]], 1)
        size = (self.size_hw[0] * SUPERSAMPLE, self.size_hw[1] * SUPERSAMPLE)
        return Drawing(self.camera, vertices, faces, screen, rasterize_arrays(screen, faces, size))


@dataclass(frozen=True, eq=False)
class Drawing:
    """A mesh as a shot shows it, in supersampled pixels."""

    camera: Camera
    """From where."""
    vertices: Float[np.ndarray, "v 3"]
    """World metres."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    screen: Float[np.ndarray, "v 3"]
    """Supersampled pixels and depth."""
    fragments: FragmentArrays
    """What each pixel shows."""

    @cached_property
    def normals(self) -> Float[np.ndarray, "h w 3"]:
        """Smooth unit normals in the camera's axes, turned to the viewer; 0 where there is nothing."""
        world = interpolate_arrays(self.fragments, self.faces, vertex_normals(self.vertices, self.faces))
        camera = self.camera.world_from_camera.inverse().rotate(world)
        camera /= np.maximum(np.linalg.norm(camera, axis=-1, keepdims=True), 1e-9)
        return np.where(camera[..., 2:] > 0, -camera, camera)

    def edges(self, width_px: float) -> Float[np.ndarray, "h w"]:
        """How much of each pixel the visible triangles' edges cover, 0 to 1."""
        rows, columns = np.nonzero(self.fragments.mask)
        corners = self.screen[self.faces[self.fragments.face_index[rows, columns]], :2]
        centre = np.stack([columns, rows], 1) + 0.5
        nearest = np.full(len(rows), np.inf)
        for corner in range(3):
            start, along = corners[:, corner], corners[:, (corner + 1) % 3] - corners[:, corner]
            across = along[:, 0] * (centre - start)[:, 1] - along[:, 1] * (centre - start)[:, 0]
            nearest = np.minimum(nearest, np.abs(across) / np.maximum(np.linalg.norm(along, axis=1), 1e-9))
        cover = np.zeros(self.fragments.mask.shape)
        cover[rows, columns] = (width_px * SUPERSAMPLE / 2 + 0.5 - nearest).clip(0, 1)
        return cover

    def light(self) -> Float[np.ndarray, "h w 1"]:
        """A key light from the upper left, a fill and a rim, linear."""
        key = (self.normals @ _unit(-0.45, -0.6, -0.75)).clip(0)
        fill = (self.normals @ _unit(0.8, 0.1, -0.5)).clip(0)
        rim = (1 + self.normals[..., 2]).clip(0, 1) ** 3
        return (0.10 + 0.72 * key + 0.20 * fill + 0.10 * rim)[..., None]

    def shaded(self, colours: UInt8[np.ndarray, "v 3"] | None = None) -> UInt8[np.ndarray, "y x 3"]:
        """The mesh in clay, or in colours per vertex, under the page's light."""
        albedo = np.broadcast_to(np.array(CLAY_SRGB, np.uint8), self.vertices.shape) if colours is None else colours
        return self._finish(interpolate_arrays(self.fragments, self.faces, srgb_to_linear(albedo)) * self.light())

    def textured(
        self, texture: UInt8[np.ndarray, "s u 3"], uv: Float[np.ndarray, "w 2"], uv_faces: Int[np.ndarray, "f 3"]
    ) -> UInt8[np.ndarray, "y x 3"]:
        """The mesh in its texture as it is: the studio's light is in it already."""
        place = interpolate_arrays(self.fragments, uv_faces, uv)
        rows, columns = texture.shape[:2]
        x, y = place[..., 0] * columns - 0.5, (1 - place[..., 1]) * rows - 0.5
        return self._finish(srgb_to_linear(cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)))

    def over(self, picture: UInt8[np.ndarray, "y x 3"]) -> UInt8[np.ndarray, "y x 3"]:
        """The mesh as a translucent wireframe with an outline over a picture of the shot's size."""
        mask, facing = self.fragments.mask, -self.normals[..., 2]
        alpha = np.where(mask, 0.03 + 0.12 * (1 - facing), 0.0)
        alpha = np.maximum(alpha, 0.75 * self.edges(0.8))
        small = cv2.resize(alpha, picture.shape[1::-1], interpolation=cv2.INTER_AREA)[..., None]
        blended = np.round(picture * (1 - small) + MESH_COLOUR * small).astype(np.uint8)
        return outlined(blended, mask)

    def _finish(self, linear: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "y x 3"]:
        """Over the backdrop, down to the shot's size, as sRGB."""
        rows, columns = self.fragments.mask.shape
        top, bottom = (srgb_decode(np.array([colour]) / 255) for colour in BACKGROUND_SRGB)
        backdrop = top + (bottom - top) * np.linspace(0, 1, rows)[:, None]
        linear = np.where(self.fragments.mask[..., None], linear, backdrop[:, None])
        small = cv2.resize(
            linear.astype(np.float32), (columns // SUPERSAMPLE, rows // SUPERSAMPLE), interpolation=cv2.INTER_AREA
        )
        return np.round(srgb_encode(small.clip(0, 1)) * 255).astype(np.uint8)


def outlined(
    picture: UInt8[np.ndarray, "y x 3"], mask: Bool[np.ndarray, "h w"], width_px: int = 2
) -> UInt8[np.ndarray, "y x 3"]:
    """A supersampled mask's contour drawn over a picture."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = picture.copy()
    fixed = [np.round(contour * (16 / SUPERSAMPLE)).astype(np.int32) for contour in contours if len(contour) > 40]
    cv2.polylines(drawn, fixed, True, [int(value) for value in MESH_COLOUR], width_px, cv2.LINE_AA, shift=4)
    return drawn


def virtual_camera(
    centre_world: Float[np.ndarray, "3"], direction_world: Float[np.ndarray, "3"], height_m: float, width: int
) -> Camera:
    """A camera 1 m from a point, that sees `height_m` of it in a 4:5 picture."""
    rows = round(width * 1.25)
    K = np.array([[rows / height_m, 0, width / 2], [0, rows / height_m, rows / 2], [0, 0, 1.0]])
    pose = look_at(centre_world + direction_world, centre_world, np.array([0.0, 1.0, 0.0]))
    return Camera("viewpoint", "", "rgb", (rows, width), K, np.zeros(0), pose)


def jpeg_uri(picture: UInt8[np.ndarray, "h w 3"], most_bytes: int) -> str:
    """A data URI of at most about `most_bytes` characters, at the highest quality that allows."""
    data = np.zeros(0, np.uint8)
    for quality in JPEG_QUALITIES:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        _, data = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), parameters)
        if data.size * 4 / 3 <= most_bytes:
            break
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def png_uri(picture: UInt8[np.ndarray, "h w 4"]) -> str:
    """A data URI of a small picture with transparency (sRGB and alpha)."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., [2, 1, 0, 3]]))
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()


def _unit(x: float, y: float, z: float) -> Float[np.ndarray, "3"]:
    vector = np.array([x, y, z])
    return vector / np.linalg.norm(vector)
