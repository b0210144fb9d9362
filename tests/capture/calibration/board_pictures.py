"""Pictures of boards by a route of their own: each pixel's area is asked whether it is print, sample by sample."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from capture.calibration.board import DICTIONARIES, BoardSpec
from geometry.cameras import Camera
from geometry.transforms import RigidTransform


def is_print(spec: BoardSpec, places_m: np.ndarray) -> np.ndarray:
    """Whether the board is black at positions (n, 2) in metres; white beside it."""
    columns, rows = spec.squares_xy
    cell = np.floor(places_m / spec.square_m).astype(int)
    on_board = ((cell >= 0) & (cell < [columns, rows])).all(-1)
    first_black = 1 if spec.legacy and rows % 2 == 0 else 0
    black = (cell.sum(-1) + first_black) % 2 == 0
    if spec.kind == "charuco":
        black = black | _is_marker_print(spec, cell, places_m - cell * spec.square_m, first_black)
    return black & on_board


def _is_marker_print(spec: BoardSpec, cell: np.ndarray, inside_m: np.ndarray, first_black: int) -> np.ndarray:
    markers = cv2.aruco.getPredefinedDictionary(DICTIONARIES[spec.dictionary])
    bits = markers.markerSize + 2
    columns, rows = spec.squares_xy
    number = np.full((rows, columns), -1)
    white = (np.add.outer(np.arange(rows), np.arange(columns)) + first_black) % 2 == 1
    number[white] = np.arange(white.sum())
    pictures = np.stack([np.asarray(markers.generateImageMarker(k, bits)) == 0 for k in range(white.sum())])
    edge = (spec.square_m - spec.marker_m) / 2
    bit = np.floor((inside_m - edge) / (spec.marker_m / bits)).astype(int)
    in_marker = ((bit >= 0) & (bit < bits)).all(-1)
    which = number[cell[..., 1].clip(0, rows - 1), cell[..., 0].clip(0, columns - 1)]
    column, row = bit[..., 0].clip(0, bits - 1), bit[..., 1].clip(0, bits - 1)
    return in_marker & (which >= 0) & pictures[which.clip(0), row, column]


def draw_board(camera: Camera, spec: BoardSpec, camera_from_board: RigidTransform, samples: int = 5) -> np.ndarray:
    """Grey picture, white 220 and print 25, each pixel the mean of samples x samples places over its area."""
    rows, columns = camera.image_size_hw
    total = np.zeros(rows * columns)
    plane = np.column_stack([camera_from_board.rotation[:, :2], camera_from_board.translation])
    back = np.linalg.inv(plane)
    lens = camera.K.tobytes(), camera.distortion.tobytes()
    for rays in _rays(lens, camera.image_size_hw, samples):
        places = rays @ back[:, :2].T + back[:, 2]
        total += is_print(spec, places[:, :2] / places[:, 2:])
    return np.round(220 - 195 * total.reshape(rows, columns) / samples**2).astype(np.uint8)


@lru_cache(maxsize=2)
def _rays(lens: tuple[bytes, bytes], size_hw: tuple[int, int], samples: int) -> list[np.ndarray]:
    """Undistorted places (z = 1) of each sample of all pixels; kept, because undistorting is most of the work."""
    K, distortion = np.frombuffer(lens[0]).reshape(3, 3), np.frombuffer(lens[1])
    camera = Camera("", "", "rgb", size_hw, K, distortion, RigidTransform.identity())
    x, y = np.meshgrid(np.arange(size_hw[1]), np.arange(size_hw[0]))
    middles = (np.arange(samples) + 0.5) / samples
    # A pixel in column c covers c to c + 1.
    pixels = [np.stack([x + i, y + j], axis=-1).reshape(-1, 2) for i in middles for j in middles]
    return [camera.pixels_to_normalised(places) for places in pixels]
