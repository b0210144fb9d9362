"""Small scenes in screen space for the tests of rasterizing, interpolation, texture and antialiasing.

All in float64, so that a test narrows them where it wants to; nothing lies on pixel centres or texel centres by design.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int64
from scipy.spatial.transform import Rotation
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    """Triangles as the rasterizer takes them."""

    vertices_screen: Float[Tensor, "v 3"]
    """Pixels (x right, y down) and depth in metres."""
    faces: Int64[Tensor, "f 3"]
    """Corners of the triangles."""
    size_hw: tuple[int, int]
    """The picture that the scene is made for."""

    def scaled(self, factor: int) -> Scene:
        """The same view with pixels `factor` times as fine."""
        finer = self.vertices_screen * torch.tensor([factor, factor, 1.0], dtype=torch.float64)
        return Scene(finer, self.faces, (self.size_hw[0] * factor, self.size_hw[1] * factor))


@dataclass(frozen=True, eq=False)
class TexturedScene:
    """Triangles with texture coordinates of their own."""

    scene: Scene
    """The triangles."""
    uv: Float[Tensor, "t 2"]
    """Texture coordinates, u right and v up."""
    uv_faces: Int64[Tensor, "f 3"]
    """Rows of `uv` at the corners of the triangles."""


def to_screen(points_camera: Float[Tensor, "v 3"], focal_px: float, size_hw: tuple[int, int]) -> Float[Tensor, "v 3"]:
    """Pixels and depth of points in metres, in a camera whose axis meets the picture's middle.

    Points behind the camera are divided by their negative depth like all others.
    """
    z = points_camera[:, 2:]
    middle = torch.tensor([size_hw[1] / 2, size_hw[0] / 2], dtype=torch.float64)
    return torch.cat([points_camera[:, :2] / z * focal_px + middle, z], 1)


def random_triangles(seed: int, count: int = 14, size_hw: tuple[int, int] = (24, 26)) -> Scene:
    """Loose triangles of all orientations that cross one another and the picture's border, 0.5 to 2 m away."""
    random = np.random.default_rng(seed)
    low, high = [-6.0, -6.0, 0.5], [size_hw[1] + 6.0, size_hw[0] + 6.0, 2.0]
    vertices = torch.from_numpy(random.uniform(low, high, (3 * count, 3)))
    return Scene(vertices, torch.arange(3 * count).reshape(-1, 3), size_hw)


def icosphere(
    subdivisions: int = 2,
    size_hw: tuple[int, int] = (32, 36),
    centre_m: tuple[float, float, float] = (0.013, -0.007, 0.8),
) -> Scene:
    """A closed ball of 0.1 m radius, 0.8 m away, filling most of the picture; outward triangles are front faces."""
    ball = trimesh.creation.icosphere(subdivisions, radius=0.1)
    turned = ball.vertices @ Rotation.from_rotvec([0.3, 0.5, 0.2]).as_matrix().T + np.array(centre_m)
    vertices = to_screen(torch.from_numpy(turned), 3.2 * min(size_hw), size_hw)
    return Scene(vertices, torch.from_numpy(np.array(ball.faces, dtype=np.int64)), size_hw)


def two_balls(subdivisions: int = 2, size_hw: tuple[int, int] = (32, 36)) -> Scene:
    """A ball that hides a part of another; the near one has the first half of the faces."""
    near = icosphere(subdivisions, size_hw, (-0.031, 0.012, 0.8))
    far = icosphere(subdivisions, size_hw, (0.043, -0.027, 1.1))
    vertices = torch.cat([near.vertices_screen, far.vertices_screen])
    return Scene(vertices, torch.cat([near.faces, far.faces + len(near.vertices_screen)]), size_hw)


POINTS_THROUGH_NEAR_PLANE_M = torch.tensor(
    [[0.3, 0.03, -0.36], [0.28, 0.28, 1.32], [-0.58, 0.44, 1.31], [-0.02, -0.24, 1.24], [-0.15, -0.13, -0.49]],
    dtype=torch.float64,
)
"""Corners in the camera's frame: the first and the last are behind the camera."""


def through_near_plane(size_hw: tuple[int, int] = (24, 26)) -> Scene:
    """Triangles with one and with two corners behind the camera, and one that is wholly behind it."""
    faces = torch.tensor([[0, 1, 2], [1, 3, 0], [0, 4, 3], [2, 3, 4], [0, 4, 0]])
    vertices = to_screen(POINTS_THROUGH_NEAR_PLANE_M, 21.3, size_hw)
    return Scene(vertices, faces, size_hw)


def textured_quad(size_hw: tuple[int, int] = (24, 26)) -> TexturedScene:
    """A rectangle seen at a slant; its two triangles share no row of the texture coordinates, as across a seam."""
    corners = torch.tensor([[-0.2, -0.15, 0.7], [0.21, -0.16, 1.1], [0.2, 0.17, 1.2], [-0.22, 0.16, 0.75]])
    vertices = to_screen(corners.double(), 1.9 * min(size_hw), size_hw)
    uv = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]).double()
    scene = Scene(vertices, torch.tensor([[0, 3, 2], [1, 0, 2]]), size_hw)
    return TexturedScene(scene, uv, torch.tensor([[0, 1, 2], [3, 4, 5]]))


def convex_polygon(corners: int, size_hw: tuple[int, int] = (48, 50)) -> Scene:
    """A polygon that faces the camera, as a fan of triangles about a vertex inside, which comes last."""
    angle = torch.arange(corners).double() / corners * 2 * torch.pi + 0.37
    middle = torch.tensor([size_hw[1] / 2 + 0.21, size_hw[0] / 2 - 0.13], dtype=torch.float64)
    rim = middle + 0.43 * min(size_hw) * torch.stack([angle.cos(), -angle.sin()], 1)
    flat = torch.cat([rim, middle[None] + 1.3])
    vertices = torch.cat([flat, torch.ones(len(flat), 1, dtype=torch.float64)], 1)
    number = torch.arange(corners)
    return Scene(vertices, torch.stack([number, number.roll(-1), torch.full_like(number, corners)], 1), size_hw)


def rectangle(
    low_xy: tuple[float, float], high_xy: tuple[float, float], cells: int, size_hw: tuple[int, int] = (12, 14)
) -> Scene:
    """An upright rectangle, 1 m away, cut into cells x cells pieces of two triangles each."""
    x, y = (
        torch.linspace(low, high, cells + 1, dtype=torch.float64) for low, high in zip(low_xy, high_xy, strict=True)
    )
    flat = torch.cartesian_prod(y, x).flip(-1)
    number = torch.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    a, b, c, d = (corner.flatten() for corner in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]))
    faces = torch.cat([torch.stack([a, d, c], 1), torch.stack([a, c, b], 1)])
    return Scene(torch.cat([flat, torch.ones(len(flat), 1, dtype=torch.float64)], 1), faces, size_hw)
