"""A scan as one frame of a take: pictures with their landmarks, and depth, from a ring of cameras about the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from flame_fitting.evidence import ColourImage, DepthImage, EvidenceCameras, ViewLandmarks
from flame_fitting.landmarks.landmarker import FaceLandmarker
from flame_fitting.models.head_model import LandmarkEmbedding
from flame_fitting.scans.finding import close_camera
from flame_fitting.scans.pictures import ScanPicture, draw_scan
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.scans import Scan

VIEWS = ((0.0, 0.0), (-25.0, 0.0), (25.0, 0.0), (-50.0, 0.0), (50.0, 0.0), (0.0, 20.0), (0.0, -20.0))
"""Yaw and pitch in degrees: from profiles on, a landmark network guesses."""
LEAST_SEEN = 0.3
"""Views in which a landmark faces the camera less do not vote on where it lies."""


@dataclass(frozen=True, eq=False)
class ScanEvidence:
    """What the fit reads of a scan that stands before the cameras in metres, upright."""

    views: tuple[ScanPicture, ...]
    """All pictures."""
    marks: tuple[ViewLandmarks, ...]
    """Of those that show a face, in their order."""

    @classmethod
    def of(cls, scan: Scan, centre: Float[np.ndarray, "3"], landmarker: FaceLandmarker) -> ScanEvidence:
        """Draw it and find landmarks. Raises InputError where no picture shows a face."""
        views = tuple(draw_scan(scan, close_camera(centre, *angles)) for angles in VIEWS)
        found = [(view, landmarker.detect(view.levels)) for view in views]
        marks = tuple(ViewLandmarks.of(view.camera, each) for view, each in found if each is not None)
        if not marks:
            raise InputError("a scan of a head with its face", "no face in any close picture", "leave this scan out")
        return cls(views, marks)

    @property
    def cameras(self) -> EvidenceCameras:
        """Each is a colour and a depth camera in one."""
        depth = (_depth_camera(view) for view in self.views)
        return EvidenceCameras.of(Rig((*(view.camera for view in self.views), *depth)))

    @property
    def frame_count(self) -> int:
        """A scan stands still."""
        return 1

    def landmarks(self, frame: int) -> tuple[ViewLandmarks, ...]:
        """Every view in which a face was found."""
        return self.marks

    def depth(self, frame: int) -> tuple[DepthImage, ...]:
        """The scan's own depth."""
        return tuple(DepthImage.cleaned(_depth_camera(view), view.fragments.depth) for view in self.views)

    def colours(self, frame: int, views: tuple[ViewLandmarks, ...] | None = None) -> tuple[ColourImage, ...]:
        """None: a scan's colours say where its skin is no better than its shape does."""
        return ()

    def lifted(self, embedding: LandmarkEmbedding) -> tuple[Float[np.ndarray, "l 3"], Float[np.ndarray, "l"]]:
        """The embedded landmarks on the scan, metres, and how far each is to be believed in [0, 1].

        The median over the views that see it. A landmark that views place centimetres apart (on hair, past an edge) is
        believed less.
        """
        rows, pictures = embedding.source_index.numpy(), {view.camera.id: view for view in self.views}
        points = np.stack([pictures[mark.camera.id].lifted(mark.points_px[rows]) for mark in self.marks])
        seen = np.stack([mark.confidence[rows] for mark in self.marks])
        seen = np.where(np.isfinite(points).all(2) & (seen > LEAST_SEEN), seen, 0)
        return _agreed(points, seen)


def _depth_camera(view: ScanPicture) -> Camera:
    return replace(view.camera, id=f"{view.camera.id}-depth", kind="depth", depth_unit_m=1e-3)


def _agreed(
    points: Float[np.ndarray, "w l 3"], seen: Float[np.ndarray, "w l"], apart_m: float = 0.004
) -> tuple[Float[np.ndarray, "l 3"], Float[np.ndarray, "l"]]:
    """Medians over views, and trust that falls with the scatter about them."""
    known = np.where(seen[..., None] > 0, points, np.nan)
    nothing = ~(seen > 0).any(0)
    known[:, nothing] = 0
    middle = np.nanmedian(known, axis=0)
    scatter = np.nanmedian(np.linalg.norm(known - middle, axis=2), axis=0)
    return middle, np.where(nothing, 0, seen.max(0) / (1 + (scatter / apart_m) ** 2))


def pictures_around(scan: Scan, centre: Float[np.ndarray, "3"]) -> Sequence[ScanPicture]:
    """The scan from the sides, from behind and from above, for what of it is outside."""
    angles = [(yaw, pitch) for yaw in range(-180, 180, 45) for pitch in (-30, 10, 50)] + [(0, 85)]
    return [draw_scan(scan, close_camera(centre, float(yaw), float(pitch))) for yaw, pitch in angles]
