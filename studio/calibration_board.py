"""A printed ChArUco board, and what an ideal camera sees of it: every pixel the mean over its own area.

Made from the pattern itself, not by warping a picture of it: a pixel's footprint on the board is found through the lens
and the board's plane, so that centres lie at +0.5 by construction and no half pixel hides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from geometry.cameras import Camera
from geometry.transforms import RigidTransform

TEXEL_M = 2.5e-4
FINEST_SAMPLE_M, MOST_SAMPLES = 3e-4, 5
"""Samples lie about this close on the board, and at most so many on a side of a pixel."""
MARGIN_PX = 3
INK, PAPER, BACK = 0.04, 0.88, 0.30
"""Reflectances of print, paper and the board's back."""


@dataclass(frozen=True)
class PrintedBoard:
    """A ChArUco board glued to a plate; its frame has x along the columns, y down the rows, z into the plate."""

    squares_xy: tuple[int, int] = (12, 9)
    """Columns and rows; the first square is black."""
    square_m: float = 0.045
    """Side of a square, a multiple of TEXEL_M."""
    marker_m: float = 0.033
    """Side of a marker; each of its cells is a multiple of TEXEL_M."""
    dictionary: str = "DICT_4X4_100"
    """OpenCV's name."""
    border_m: float = 0.02
    """White paper around the squares."""

    def __post_init__(self) -> None:
        for length in (self.square_m, self.cell_m, (self.square_m - self.marker_m) / 2, self.border_m):
            if abs(length / TEXEL_M - round(length / TEXEL_M)) > 1e-6:
                raise ValueError(f"{length} m on the board is no multiple of {TEXEL_M} m")

    @property
    def marker_bits(self) -> int:
        """Cells a side of a marker, its black rim included."""
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary)).markerSize + 2

    @property
    def cell_m(self) -> float:
        """Side of a marker's cell."""
        return self.marker_m / self.marker_bits

    @property
    def spec(self) -> str:
        """As `mien calibrate --board` takes it."""
        columns, rows = self.squares_xy
        return f"charuco:{columns}x{rows}:{self.square_m * 1e3:g}mm:{self.marker_m * 1e3:g}mm:{self.dictionary}"

    @property
    def size_m(self) -> Float[np.ndarray, "2"]:
        """Of the squares, without the border."""
        return np.array(self.squares_xy) * self.square_m

    @property
    def corners_m(self) -> Float[np.ndarray, "corner 3"]:
        """Inner corners of the squares, row by row; exact."""
        columns, rows = self.squares_xy
        x, y = np.meshgrid(np.arange(1, columns), np.arange(1, rows))
        return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1) * self.square_m

    @property
    def outline_m(self) -> Float[np.ndarray, "n 3"]:
        """Points along the plate's rim."""
        along = np.linspace(0, 1, 25)
        low, high = -self.border_m, self.size_m + self.border_m
        x, y = low + along * (high[0] - low), low + along * (high[1] - low)
        rim = [
            (x, np.full(25, low)),
            (np.full(25, high[0]), y),
            (x[::-1], np.full(25, high[1])),
            (np.full(25, low), y[::-1]),
        ]
        return np.concatenate([np.stack([a, b, np.zeros(25)], axis=1) for a, b in rim])

    @cached_property
    def texture(self) -> UInt8[np.ndarray, "h w"]:
        """Reflectance times 255; texel (i, j) covers i to i + 1 TEXEL_M from the rim."""
        columns, rows = self.squares_xy
        square, cell, rim = (round(length / TEXEL_M) for length in (self.square_m, self.cell_m, self.border_m))
        gap = round((self.square_m - self.marker_m) / 2 / TEXEL_M)
        paper = np.ones((rows * square, columns * square), bool)
        markers = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, self.dictionary))
        marker = 0
        for row in range(rows):
            for column in range(columns):
                place = paper[row * square : (row + 1) * square, column * square : (column + 1) * square]
                if (row + column) % 2 == 0:
                    place[:] = False
                    continue
                bits = np.asarray(markers.generateImageMarker(marker, self.marker_bits)) > 127
                inner = slice(gap, square - gap)
                place[inner, inner] = np.kron(bits, np.ones((cell, cell), bool))
                marker += 1
        paper = np.pad(paper, rim, constant_values=True)
        return np.where(paper, round(PAPER * 255), round(INK * 255)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class BoardPicture:
    """The part of a picture that the board is in."""

    place: tuple[slice, slice]
    """Rows and columns of the picture."""
    reflectance: Float[np.ndarray, "h w"]
    """Mean over each pixel's area, times its coverage; only the coverage for a depth camera."""
    coverage: Float[np.ndarray, "h w"]
    """Share of each pixel that the board covers."""
    depth_m: Float[np.ndarray, "h w"]
    """Along z at pixel centres; 0 beside the board."""
    cosine: float
    """Of the angle between the board's normal and the ray to its middle; negative from behind."""


def see_board(
    camera: Camera,
    normalised: Float[np.ndarray, "h w 2"],
    board: PrintedBoard,
    world_from_board: RigidTransform,
) -> BoardPicture | None:
    """The board in a camera whose pixel centres lie at `normalised` (`pixel_grid_normalised`); None: not in view."""
    camera_from_board = camera.world_from_camera.inverse().compose(world_from_board)
    place = _window(camera, board, camera_from_board)
    if place is None:
        return None
    middle = camera_from_board @ np.array([*(board.size_m / 2), 0.0])
    cosine = float(camera_from_board.rotation[:, 2] @ middle / np.linalg.norm(middle))
    plane = np.column_stack([camera_from_board.rotation[:, :2], camera_from_board.translation])
    board_from_ray = np.linalg.inv(plane)
    rays = normalised[place]
    x, y = rays[..., 0], rays[..., 1]
    across, down, inverse_z = (row[0] * x + row[1] * y + row[2] for row in board_from_ray)
    inverse_z = np.where(inverse_z > 1e-3, inverse_z, 1e-3)
    # In texels from the plate's edge.
    rim, (rows, columns) = board.border_m / TEXEL_M, board.texture.shape
    texels = np.stack([across / inverse_z, down / inverse_z], axis=-1) / TEXEL_M + rim
    inside = _between(texels, 0, (columns, rows))
    depth_m = np.where(inside, 1 / inverse_z, 0).astype(np.float32)
    if camera.kind == "depth":
        coverage = inside.astype(np.float32)
        return BoardPicture(place, coverage, coverage, depth_m, cosine)
    footprint_m = float(middle[2]) / camera.K[0, 0]
    means = _pixel_means(texels, board, round(footprint_m / FINEST_SAMPLE_M) if cosine > 0 else 1)
    # The plate's border is all paper, so that there the mean tells the coverage.
    squares = _between(texels, rim, (columns - rim, rows - rim))
    coverage = np.where(squares, np.float32(1), means / np.float32(_PAPER))
    return BoardPicture(place, means if cosine > 0 else BACK * coverage, coverage, depth_m, cosine)


def _between(texels: Float[np.ndarray, "h w 2"], low: float, high: tuple[float, float]) -> Bool[np.ndarray, "h w"]:
    x, y = texels[..., 0], texels[..., 1]
    return (x >= low) & (x < high[0]) & (y >= low) & (y < high[1])


_PAPER = round(PAPER * 255) / 255


def _pixel_means(texels: Float[np.ndarray, "h w 2"], board: PrintedBoard, samples: int) -> Float[np.ndarray, "h w"]:
    """Mean reflectance over each pixel's footprint, from samples x samples places."""
    samples = min(max(samples, 1), MOST_SAMPLES)
    # remap counts texels from the first one's centre, `texels` from its edge: hence the half.
    fine = (texels - 0.5).astype(np.float32)
    if samples > 1:
        # A footprint is so small that the map is linear inside; resize puts the samples evenly into each pixel.
        fine = cv2.resize(fine, None, fx=samples, fy=samples, interpolation=cv2.INTER_LINEAR)
    values = cv2.remap(board.texture, fine[..., 0], fine[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    size = texels.shape[1], texels.shape[0]
    return cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_AREA) / np.float32(255)


def _window(camera: Camera, board: PrintedBoard, camera_from_board: RigidTransform) -> tuple[slice, slice] | None:
    outline = camera_from_board @ board.outline_m
    if outline[:, 2].min() < 0.05:
        return None
    pixels = camera.project(camera.world_from_camera @ outline)[0]
    rows, columns = camera.image_size_hw
    left, top = np.floor(pixels.min(0)).astype(int) - MARGIN_PX
    right, bottom = np.ceil(pixels.max(0)).astype(int) + MARGIN_PX
    place = slice(max(top, 0), min(bottom, rows)), slice(max(left, 0), min(right, columns))
    return place if place[0].start < place[0].stop and place[1].start < place[1].stop else None
