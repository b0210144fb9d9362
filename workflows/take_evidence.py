"""A take as the fit reads it, one frame at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from flame_fitting.evidence import ColourImage, DepthImage, EvidenceCameras, ViewLandmarks
from flame_fitting.focal_length import fitted_cameras
from geometry.rigs import Rig
from storage.results import StoredResult
from storage.take import Take

COLOUR_VIEWS = 8
"""Colour pictures of a frame set that the fit compares with the person's albedo."""


@dataclass(frozen=True, eq=False)
class TakeEvidence:
    """A take as the fit reads it, frame by frame."""

    take: Take
    """Where the pictures are."""
    marks: StoredResult
    """The landmarks."""
    lenses: Mapping[str, Any] = field(default_factory=dict)
    """Metrics that name estimated focal lengths, see `flame_fitting.focal_length`."""

    @cached_property
    def rig(self) -> Rig:
        """The take's, uncalibrated cameras with their estimated focal lengths."""
        return Rig(fitted_cameras(self.take.rig.cameras, self.lenses))

    @property
    def cameras(self) -> EvidenceCameras:
        """The rig's."""
        return EvidenceCameras.of(self.rig)

    @property
    def frame_count(self) -> int:
        """Number of frame sets."""
        return self.take.frame_count

    def landmarks(self, frame: int) -> tuple[ViewLandmarks, ...]:
        """Every view in which a face was found."""
        points, confidence = self.marks["points_px"][frame], self.marks["confidence"][frame]
        found = [column for column in range(len(points)) if confidence[column].any()]
        cameras = self.rig.rgb
        return tuple(
            ViewLandmarks(cameras[c], points[c].astype(np.float64), confidence[c].astype(np.float64)) for c in found
        )

    def depth(self, frame: int) -> tuple[DepthImage, ...]:
        """Every depth picture of the frame set, edges taken out."""
        pictures = [(camera, self.take.depth_m(camera.id, frame)) for camera in self.take.rig.depth]
        return tuple(DepthImage.cleaned(camera, depth) for camera, depth in pictures if depth is not None)

    def colours(self, frame: int, views: tuple[ViewLandmarks, ...] | None = None) -> tuple[ColourImage, ...]:
        """The face in the pictures of the few views that show it largest, so that memory does not grow with the rig."""
        views = self.landmarks(frame) if views is None else views
        largest = sorted(views, key=lambda view: -float(np.ptp(view.points_px, axis=0).prod()))
        pictures = [(view, self.take.frame(view.camera.id, frame)) for view in largest[:COLOUR_VIEWS]]
        crops = [ColourImage.about(view, picture) for view, picture in pictures if picture is not None]
        return tuple(crop for crop in crops if crop is not None)
