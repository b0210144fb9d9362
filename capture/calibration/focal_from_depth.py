"""Focal length of a depth camera from a board's known size, where colour alone is degenerate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from capture.calibration.board import BoardDetection, BoardSpec
from geometry.cameras import Camera
from geometry.errors import InputError

FEWEST_DEPTH_PIXELS = 200
NEAREST_PAIR_SQUARES = 3.0
"""Corner pairs closer than this say little beside the corners' own noise."""
ROUNDS = 12
DEPTH_SCALE_SIGMA = 0.0075
"""What a depth sensor's own scale is off by, all pictures alike: root mean square of three phones' and tablets'."""
METHOD = "board plane in 1/z, squares of known size"


@dataclass(frozen=True)
class FocalEstimate:
    """A focal length and how sure it is."""

    focal_px: float
    """Horizontal focal length, pixels."""
    sigma_px: float
    """One standard deviation: the pictures' scatter and noise, and DEPTH_SCALE_SIGMA that no picture shows."""
    picture_focal_px: tuple[float, ...]
    """What each used picture says alone."""
    method: str
    """How it was found."""


def focal_from_board_and_depth(
    detections: Sequence[BoardDetection],
    depth_maps_m: Sequence[Float[np.ndarray, "h w"]],
    spec: BoardSpec,
    camera: Camera,
) -> FocalEstimate:
    """Focal length from corners, and depth in the same pixels (metres, 0 = none); the camera's own K gives the rest.

    A plane's inverse depth is affine in undistorted pixels, whatever the focal length, so that a robust fit over the
    board gives the depth z of each corner. A pair of corners d apart then says
    f^2 = |z_i p_i - z_j p_j|^2 / (d^2 - (z_i - z_j)^2), with p the pixels from the principal point: tilt is accounted
    for exactly. Principal point, aspect and lens are taken from `camera`; its focal length only undistorts.
    Raises InputError if no picture shows enough of the board with depth.
    """
    estimates, sigmas = [], []
    for detection, depth_m in zip(detections, depth_maps_m, strict=True):
        if detection.image_size_hw != depth_m.shape:
            got = f"{depth_m.shape} of {detection.image_size_hw}"
            raise InputError("depth in the pixels of the board's picture", got, "register the depth to the picture")
        found = _of_one_picture(detection, depth_m, spec, camera)
        if found is not None:
            estimates.append(found[0])
            sigmas.append(found[1])
    if not estimates:
        raise InputError(
            "at least one picture of the board with its depth",
            f"none of {len(detections)}",
            "record the board where the depth sensor measures it",
        )
    focal = float(np.median(estimates)) if len(estimates) > 2 else float(np.mean(estimates))
    scatter = float(np.std(estimates, ddof=1)) if len(estimates) > 1 else 0.0
    random_px = max(scatter, float(np.median(sigmas))) / np.sqrt(len(estimates))
    sigma = np.hypot(random_px, DEPTH_SCALE_SIGMA * focal)
    return FocalEstimate(focal, float(sigma), tuple(estimates), METHOD)


def _of_one_picture(
    detection: BoardDetection, depth_m: np.ndarray, spec: BoardSpec, camera: Camera
) -> tuple[float, float] | None:
    if len(detection) < 8:
        return None
    pixels = _rectified(detection.pixels, camera)
    inverse_depth = _board_inverse_depth(detection, depth_m, camera)
    if inverse_depth is None:
        return None
    affine, covariance = inverse_depth
    design = np.column_stack([np.ones(len(pixels)), pixels])
    z = 1 / (design @ affine)
    if not (z > 0).all():
        return None
    first, second = np.triu_indices(len(pixels), 1)
    corners = spec.corners_m[detection.ids]
    apart_m = np.linalg.norm(corners[first] - corners[second], axis=1)
    far = apart_m >= min(NEAREST_PAIR_SQUARES * spec.square_m, np.percentile(apart_m, 75))
    first, second, apart_m = first[far], second[far], apart_m[far]
    rays = pixels * z[:, None]
    spread = ((rays[first] - rays[second]) ** 2).sum(1)
    across = apart_m**2 - (z[first] - z[second]) ** 2
    if (across <= 0.05 * apart_m**2).all():
        return None
    focal = _robust_ratio(spread, across)
    # Depth noise moves z as a whole: relative focal error = relative error of z at the board's middle.
    middle = np.array([1.0, *pixels.mean(0)])
    sigma_z = float(np.sqrt(middle @ covariance @ middle) / (middle @ affine))
    residual = np.sqrt(np.maximum(spread / focal**2, 0)) - np.sqrt(np.maximum(across, 0))
    sigma_corners = float(np.std(residual) / np.mean(apart_m)) / np.sqrt(len(pixels))
    return focal, focal * float(np.hypot(sigma_z, sigma_corners))


def _robust_ratio(spread: Float[np.ndarray, "pair"], across: Float[np.ndarray, "pair"]) -> float:
    """Focal length with sqrt(spread) = f sqrt(across), Cauchy weights on the difference in length."""
    length, picture_length = np.sqrt(np.maximum(across, 0)), np.sqrt(spread)
    focal = float(np.median(picture_length[length > 0] / length[length > 0]))
    for _ in range(ROUNDS):
        residual = picture_length - focal * length
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-9)
        weight = 1 / (1 + (residual / (2 * scale)) ** 2)
        focal = float((weight * picture_length * length).sum() / (weight * length**2).sum())
    return focal


def _rectified(pixels: Float[np.ndarray, "n 2"], camera: Camera) -> Float[np.ndarray, "n 2"]:
    """Undistorted pixels from the principal point, the vertical ones scaled to the horizontal focal length."""
    return camera.pixels_to_normalised(pixels) * camera.K[0, 0]


def _board_inverse_depth(
    detection: BoardDetection, depth_m: np.ndarray, camera: Camera
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"]] | None:
    """1/z = a + b x + c y over the board in rectified pixels, and its covariance; robust against hands and holes."""
    hull = cv2.convexHull(detection.pixels.astype(np.float32)).reshape(-1, 2)
    area = np.zeros(depth_m.shape, np.uint8)
    cv2.fillConvexPoly(area, np.round(hull - 0.5).astype(np.int32), 1)
    rows, columns = np.nonzero((area > 0) & (depth_m > 0))
    if len(rows) < FEWEST_DEPTH_PIXELS:
        return None
    pixels = _rectified(np.stack([columns + 0.5, rows + 0.5], axis=1), camera)
    design, values = np.column_stack([np.ones(len(pixels)), pixels]), 1 / depth_m[rows, columns].astype(np.float64)
    weight = (np.abs(values / np.median(values) - 1) < 0.3).astype(np.float64)
    affine, scale = np.zeros(3), 1.0
    normal = np.eye(3)
    for _ in range(ROUNDS):
        normal = (design * weight[:, None]).T @ design
        affine = np.linalg.solve(normal, (design * weight[:, None]).T @ values)
        residual = values - design @ affine
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-12)
        weight = (np.abs(residual) < 4 * scale) / (1 + (residual / (2 * scale)) ** 2)
    # Neighbouring depth pixels share their noise: count one independent measurement in 25.
    return affine, np.linalg.inv(normal) * scale**2 * 25
