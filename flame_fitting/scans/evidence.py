"""A scan as one frame of a take: pictures with their landmarks, and depth, from a ring of cameras about the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from flame_fitting.evidence import ColourImage, DepthImage, EvidenceCameras, ViewLandmarks
from flame_fitting.landmarks.landmarker import FaceLandmarker, FaceLandmarks
from flame_fitting.models.head_model import LandmarkEmbedding
from flame_fitting.scans.finding import close_camera
from flame_fitting.scans.pictures import ScanPicture, draw_scan
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.scans import Scan

VIEWS = ((0.0, 0.0), (-25.0, 0.0), (25.0, 0.0), (-50.0, 0.0), (50.0, 0.0), (0.0, 20.0), (0.0, -20.0))
"""Yaw and pitch in degrees: from profiles on, a landmark network guesses."""
LARGE_RIM_M, RIM_REACH_M = 0.08, 0.04
"""Extent of a rim that is no hole; how far a network is misled by it (of a cropped mask 18 mm, up to 25 mm inside)."""
LEAST_SEEN = 0.3
"""Of the view that a landmark is seen best in: views that see it less do not vote on where it lies."""


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
        rim = large_rims(scan)
        marks = tuple(_marks_off_rims(view, each, rim) for view, each in found if each is not None)
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
        seen = np.where(np.isfinite(points).all(2), seen, 0)
        return _agreed(points, seen)


def large_rims(scan: Scan) -> Float[np.ndarray, "r 3"]:
    """Where the surface ends, but for holes, metres: the edge of a mask, the lower end of a neck."""
    mesh = scan.as_mesh()
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    once, count = np.unique(edges, axis=0, return_counts=True)
    open_edges = once[count == 1]
    shape = (len(mesh.vertices), len(mesh.vertices))
    loops = connected_components(coo_matrix((np.ones(len(open_edges)), open_edges.T), shape=shape), directed=False)[1]
    ends, loop = np.unique(open_edges), loops[np.unique(open_edges)]
    size = {number: np.ptp(mesh.vertices[ends[loop == number]], axis=0).max() for number in np.unique(loop)}
    large = np.array([size[number] > LARGE_RIM_M for number in loop], bool)
    return mesh.vertices[ends[large]]


def _marks_off_rims(view: ScanPicture, found: FaceLandmarks, rim: Float[np.ndarray, "r 3"]) -> ViewLandmarks:
    """Landmarks of a picture, less sure near an end: a network puts hairline and jaw where a mask ends."""
    marks = ViewLandmarks.of(view.camera, found)
    if not len(rim):
        return marks
    points = view.lifted(marks.points_px)
    known = np.isfinite(points).all(1)
    far = np.zeros(len(points))
    far[known] = KDTree(rim).query(points[known])[0]
    return replace(marks, confidence=marks.confidence * np.minimum(1, (far / RIM_REACH_M) ** 2))


def _depth_camera(view: ScanPicture) -> Camera:
    return replace(view.camera, id=f"{view.camera.id}-depth", kind="depth", depth_unit_m=1e-3)


def _agreed(
    points: Float[np.ndarray, "w l 3"], seen: Float[np.ndarray, "w l"], apart_m: float = 0.004
) -> tuple[Float[np.ndarray, "l 3"], Float[np.ndarray, "l"]]:
    """Medians over views, and trust that falls with the scatter about them."""
    sure = seen > LEAST_SEEN * np.maximum(seen.max(0), 1e-9)
    known = np.where(sure[..., None], points, np.nan)
    nothing = ~sure.any(0)
    known[:, nothing] = 0
    middle = np.nanmedian(known, axis=0)
    scatter = np.nanmedian(np.linalg.norm(known - middle, axis=2), axis=0)
    return middle, np.where(nothing, 0, seen.max(0) / (1 + (scatter / apart_m) ** 2))


def pictures_around(scan: Scan, centre: Float[np.ndarray, "3"]) -> Sequence[ScanPicture]:
    """The scan from the sides, from behind and from above, for what of it is outside."""
    angles = [(yaw, pitch) for yaw in range(-180, 180, 45) for pitch in (-30, 10, 50)] + [(0, 85)]
    return [draw_scan(scan, close_camera(centre, float(yaw), float(pitch))) for yaw, pitch in angles]
