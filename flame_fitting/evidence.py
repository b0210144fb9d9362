"""What the cameras saw of a head, as the fit wants it: landmarks and depth, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.landmarker import FaceLandmarks
from geometry.cameras import Camera
from geometry.rigs import Rig

EDGE_JUMP = 0.02
"""A depth pixel whose 3x3 neighbourhood spans more than this share of its depth stands on an edge or is flying."""


@dataclass(frozen=True, eq=False)
class ViewLandmarks:
    """The landmarks of one colour picture."""

    camera: Camera
    """Where it was taken."""
    points_px: Float[np.ndarray, "n 2"]
    """In the picture's pixels (distorted, centres at +0.5)."""
    confidence: Float[np.ndarray, "n"]
    """Weight of each point in [0, 1]."""

    @classmethod
    def of(cls, camera: Camera, landmarks: FaceLandmarks) -> ViewLandmarks:
        """Landmarks weighted by how well each point is seen."""
        return cls(camera, landmarks.points_px, landmarks.visibility)

    def undistorted(self) -> Float[np.ndarray, "n 2"]:
        """Normalised coordinates (z = 1)."""
        return self.camera.pixels_to_normalised(self.points_px)


@dataclass(frozen=True, eq=False)
class DepthImage:
    """One depth picture, edges taken out."""

    camera: Camera
    """Where it was taken."""
    depth_m: Float[np.ndarray, "h w"]
    """Metres along z; 0 = none."""

    @classmethod
    def cleaned(cls, camera: Camera, depth_m: Float[np.ndarray, "h w"]) -> DepthImage:
        """Without the pixels beside a jump: they mix front and back."""
        depth = depth_m.astype(np.float32)
        kernel = np.ones((3, 3), np.uint8)
        farthest = cv2.dilate(np.where(depth > 0, depth, np.inf).astype(np.float32), kernel)
        nearest = cv2.erode(depth, kernel)
        with np.errstate(invalid="ignore"):
            inside = farthest - nearest < EDGE_JUMP * depth
        return cls(camera, np.where(inside & (depth > 0), depth, 0).astype(np.float32))


CROP_MARGIN = 0.3
"""Of the landmarks' extent, about them: a face and what its triangles reach."""
LARGE_PX = 400
"""Faces are compared at this size at least; from twice as large on pixels are averaged, which bounds memory."""


@dataclass(frozen=True, eq=False)
class ColourImage:
    """The part of one colour picture that shows the face."""

    camera: Camera
    """Where it was taken, as if its sensor had this part alone."""
    levels: UInt8[np.ndarray, "h w 3"]
    """sRGB counts."""

    @classmethod
    def about(cls, view: ViewLandmarks, picture: UInt8[np.ndarray, "h w 3"]) -> ColourImage | None:
        """The picture about a view's landmarks, copied, coarser where it is large; None where it misses them."""
        points = view.points_px[view.confidence > 0]
        margin = CROP_MARGIN * float(np.ptp(points, axis=0).max())
        size = np.array(picture.shape[1::-1])
        left, top = np.clip(np.floor(points.min(0) - margin), 0, size).astype(int)
        right, bottom = np.clip(np.ceil(points.max(0) + margin), 0, size).astype(int)
        if right <= left or bottom <= top:
            return None
        crop, camera, step = picture[top:bottom, left:right], view.camera, 1
        while max(crop.shape[:2]) > 2 * LARGE_PX:
            rows, columns = (side // 2 for side in crop.shape[:2])
            crop = cv2.resize(crop[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)
            step *= 2
        # The grid of coarser pixels starts at the crop's corner: the camera's image does, too.
        K = camera.K.copy()
        K[:2, 2] -= (left, top)
        K[:2] /= step
        return cls(replace(camera, K=K, image_size_hw=crop.shape[:2]), np.ascontiguousarray(crop))


@dataclass(frozen=True, eq=False)
class EvidenceCameras:
    """The cameras of a take, in the order of per-camera figures."""

    colour: tuple[str, ...]
    """Ids of the colour cameras."""
    depth: tuple[str, ...]
    """Ids of the depth cameras."""
    focal_lengths_px: tuple[float, ...]
    """Of the colour cameras."""

    @classmethod
    def of(cls, rig: Rig) -> EvidenceCameras:
        """The rig's."""
        colour, depth = tuple(c.id for c in rig.rgb), tuple(c.id for c in rig.depth)
        return cls(colour, depth, tuple(float(camera.K[0, 0]) for camera in rig.rgb))

    def focal_px(self, camera_id: str) -> float:
        """Of a colour camera."""
        return self.focal_lengths_px[self.colour.index(camera_id)]


@runtime_checkable
class Evidence(Protocol):
    """A take as the fit reads it: one frame at a time, so that memory does not grow with the take."""

    @property
    def cameras(self) -> EvidenceCameras:
        """In the order of per-camera figures."""
        ...

    @property
    def frame_count(self) -> int:
        """Number of frame sets."""
        ...

    def landmarks(self, frame: int) -> tuple[ViewLandmarks, ...]:
        """Every view in which a face was found."""
        ...

    def depth(self, frame: int) -> tuple[DepthImage, ...]:
        """Every depth picture of the frame set."""
        ...

    def colours(self, frame: int, views: tuple[ViewLandmarks, ...] | None = None) -> tuple[ColourImage, ...]:
        """The face in the pictures of the views that show it best: of these views, or of those that found one."""
        ...
