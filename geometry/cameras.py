"""Pinhole cameras with OpenCV's lens models; pixel centres at +0.5 everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt16

from geometry.transforms import RigidTransform

CameraKind = Literal["rgb", "depth", "infrared", "light_field"]
"""Colour; distance; the active brightness that a depth sensor sees; raw lenslet pictures."""

UNCALIBRATED = "uncalibrated"
"""`calibration_source` of a camera whose K is a guess from its picture's size and whose pose is unknown."""

GUESSED_FOCAL = 1.2
"""Focal length of an uncalibrated camera in picture widths: a horizontal view of 45 degrees."""

DISTORTION_SIZES = (0, 5, 8, 14)


@dataclass(frozen=True, eq=False)
class Camera:
    """One sensor of a rig: what it is, how it projects and where it stands."""

    id: str
    """Unique in the rig; names the stream in the take."""
    module: str
    """The housing it shares with other sensors."""
    kind: CameraKind
    """What its pixels are."""
    image_size_hw: tuple[int, int]
    """Rows and columns, pixels."""
    K: Float[np.ndarray, "3 3"]
    """Intrinsics in pixels, with pixel centres at +0.5 (a calibration at integer centres: add 0.5 to cx and cy)."""
    distortion: Float[np.ndarray, "d"]
    """OpenCV's coefficients: none, 5 (k1 k2 p1 p2 k3), 8 (+ k4 k5 k6) or 14 (+ s1..s4, tilt)."""
    world_from_camera: RigidTransform
    """OpenCV camera axes (x right, y down, z forward) to the world, metres."""
    rate_hz: float = 30.0
    """Nominal frame rate; 0 for a single picture."""
    depth_unit_m: float | None = None
    """Metres per count of a depth stream, None for colour."""
    serial: str = ""
    """The device's own name."""
    calibration_source: str = ""
    """Where K and the pose come from."""
    reprojection_px: float | None = None
    """Root-mean-square reprojection error of the calibration, if it says."""
    depth_scale: float = 1.0
    """Measured correction: metres = counts * depth_unit_m * depth_scale + depth_offset_m where counts > 0."""
    depth_offset_m: float = 0.0
    """Measured correction, see `depth_scale`."""
    depth_consistency_m: float | None = None
    """Median distance to what the other depth cameras measured at the same places, if it was checked."""
    epipolar_px: float | None = None
    """Median distance of features from where other colour cameras say they lie, pixels, if it was checked."""
    colour_matrix: Float[np.ndarray, "3 4"] | None = None
    """Linear RGB of this camera, 1 appended, to that of the rig's reference camera; None: not matched."""

    def __post_init__(self) -> None:
        if self.distortion.size not in DISTORTION_SIZES:
            raise ValueError(
                f"camera {self.id}: {self.distortion.size} distortion coefficients, not {DISTORTION_SIZES}"
            )
        if self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise ValueError(f"camera {self.id}: focal lengths must be positive, not {self.K[0, 0]}, {self.K[1, 1]}")
        if self.kind == "depth" and not (self.depth_unit_m and self.depth_unit_m > 0):
            raise ValueError(f"camera {self.id}: a depth stream must state its unit in metres")
        if not self.depth_scale > 0:
            raise ValueError(f"camera {self.id}: the depth scale must be positive, not {self.depth_scale}")

    @classmethod
    def uncalibrated(cls, id: str, module: str, kind: CameraKind, image_size_hw: tuple[int, int]) -> Camera:
        """A camera of which only the picture's size is known, at the origin; depth is taken to be in millimetres."""
        focal_px = GUESSED_FOCAL * image_size_hw[1]
        K = np.array([[focal_px, 0, image_size_hw[1] / 2], [0, focal_px, image_size_hw[0] / 2], [0, 0, 1.0]])
        unit_m = 1e-3 if kind == "depth" else None
        here = RigidTransform(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
        return cls(id, module, kind, image_size_hw, K, np.zeros(0), here, 0.0, unit_m, calibration_source=UNCALIBRATED)

    @property
    def is_calibrated(self) -> bool:
        """Whether K and the pose come from somewhere."""
        return self.calibration_source != UNCALIBRATED

    @property
    def centre_world(self) -> Float[np.ndarray, "3"]:
        """Where the camera stands, metres."""
        return self.world_from_camera.translation

    def project(
        self, points_world: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
        """Pixel positions (x, y; distorted, centres at +0.5) and depths in metres of world points."""
        points_camera = self.world_from_camera.inverse() @ points_world
        depth = points_camera[:, 2]
        normalised = points_camera[:, :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[:, None]
        return self.normalised_to_pixels(distort(normalised, self.distortion)), depth

    def normalised_to_pixels(self, normalised: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Distorted normalised coordinates (z = 1) to pixels."""
        return normalised @ self.K[:2, :2].T + self.K[:2, 2]

    def pixels_to_normalised(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Undistorted normalised coordinates (z = 1) of pixel positions."""
        if not len(pixels):
            return np.zeros((0, 2))
        # OpenCV's own pixel convention cancels here, because K and the pixels share ours.
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-12)
        points = np.ascontiguousarray(pixels, np.float64).reshape(-1, 1, 2)
        distortion = self.distortion if self.distortion.size else None
        undistorted = cv2.undistortPoints(points, self.K, distortion, R=np.eye(3), P=np.eye(3), criteria=criteria)
        return undistorted.reshape(-1, 2)

    def pixel_grid_normalised(self) -> Float[np.ndarray, "h w 2"]:
        """Undistorted normalised coordinates of every pixel centre."""
        rows, columns = self.image_size_hw
        x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
        return self.pixels_to_normalised(np.stack([x, y], -1).reshape(-1, 2)).reshape(rows, columns, 2)

    def unproject_depth(
        self, depth_m: Float[np.ndarray, "h w"]
    ) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        """World points of a depth image (metres along z, 0 = none), and which of them are measured."""
        normalised = self.pixel_grid_normalised()
        points_camera = np.concatenate([normalised, np.ones_like(normalised[..., :1])], -1) * depth_m[..., None]
        return self.world_from_camera @ points_camera, depth_m > 0

    def depth_m(self, counts: UInt16[np.ndarray, "*hw"]) -> Float[np.ndarray, "*hw"]:
        """Metres along z of a depth camera's counts, float32, with the measured correction; 0: no measurement."""
        if self.depth_unit_m is None:
            raise ValueError(f"camera {self.id} of kind {self.kind} measures no depth")
        metres = counts.astype(np.float32) * np.float32(self.depth_unit_m * self.depth_scale)
        if self.depth_offset_m:
            metres = np.where(counts > 0, metres + np.float32(self.depth_offset_m), np.float32(0)).clip(0)
        return metres

    def opencv_K(self) -> Float[np.ndarray, "3 3"]:
        """K as OpenCV's functions want it: pixel centres at integers."""
        K = self.K.copy()
        K[:2, 2] -= 0.5
        return K


def distort(normalised: Float[np.ndarray, "n 2"], coefficients: Float[np.ndarray, "d"]) -> Float[np.ndarray, "n 2"]:
    """Apply OpenCV's lens model to undistorted normalised coordinates.

    Source: OpenCV, calib3d, detailed description (rational, thin prism and tilted sensor terms).
    """
    if coefficients.size == 0 or not len(normalised):
        return normalised
    points = np.concatenate([normalised, np.ones((len(normalised), 1))], 1).reshape(-1, 1, 3).astype(np.float64)
    pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), coefficients.astype(np.float64))
    return pixels.reshape(-1, 2)
