"""Where the face of a scan is, how it is turned and how large: landmarks on pictures from all around."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Float

from flame_fitting.landmarks.landmarker import FaceLandmarker, FaceLandmarks
from flame_fitting.models.plain_model import Head
from flame_fitting.scans.pictures import ScanPicture, camera_towards, draw_scan
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.scans import Scan
from geometry.transforms import RigidTransform, rigid_align

SEARCH_PX = 512
VIEW_PX = 448
FRAMED_RADIUS_M = 0.15
"""Of the ball about a face that a close picture shows."""
VIEW_DISTANCE_M = 0.7
GOOD_FIT = 0.09
"""Landmarks on a scan of a face lie on an average face to within this share
of its size; real scans reach 0.055 to 0.088."""
WORST_FIT = 0.15
"""Above this it is no face, whatever the network says: it sees pictures only."""
ROBUST_TURNS = 4
CLOSE_LOOKS = 2


@dataclass(frozen=True, eq=False)
class Similarity:
    """`metres = scale * rotation @ (scan units) + translation`: the average head's frame, and its size."""

    scale: float
    """Metres a unit, if the face is as large as the average one."""
    head_from_scan: RigidTransform
    """Acts on scaled points."""
    misfit: float
    """Median distance of the landmarks to the average face's, as a share of their spread."""

    def __matmul__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points of the scan in the average head's frame, metres."""
        return self.head_from_scan @ (self.scale * points)


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A scan that shows its face."""

    scan: Scan
    """As its face was found: in its own colours, or plain where these hide it."""
    head_from_scan: Similarity
    """Where the average head stands."""


def find_face(scan: Scan, head: Head, landmarker: FaceLandmarker) -> FoundFace:
    """Where the average head would stand in the scan.

    A scan whose colours show no face (a map of errors, a mask of labels) is looked at as clay.
    Raises InputError where no face shows from anywhere.
    """
    found = None
    for look in (scan, scan.plain()) if scan.is_coloured else (scan,):
        found = _search(look, head, landmarker)
        if found is not None and found.misfit < WORST_FIT:
            return FoundFace(look, found)
    got = "no face from any side" if found is None else "something that is shaped unlike a face"
    raise InputError("a scan of a head with its face", got, "leave this scan out, or cut it to the head")


def _search(scan: Scan, head: Head, landmarker: FaceLandmarker) -> Similarity | None:
    """Pictures along the axes first, then between them, each in four rolls.

    The hollow side of a mask shows a face too, but one whose lifted landmarks fit none.
    """
    best: Similarity | None = None
    for directions in (_directions(1), _directions(2), _directions(3)):
        for picture, marks in _faces_seen(scan, directions, landmarker):
            found = _placed(picture, marks, head)
            if found is not None and (best is None or found.misfit < best.misfit):
                best = found
        if best is not None and best.misfit < GOOD_FIT:
            break
    for _ in range(CLOSE_LOOKS if best is not None else 0):
        assert best is not None
        best = _seen_closely(scan, best, head, landmarker) or best
    return best


def close_camera(centre: Float[np.ndarray, "3"], yaw_deg: float, pitch_deg: float = 0.0) -> Camera:
    """A camera about a face that looks along -z, metres; yaw to the subject's left, pitch from above."""
    yaw, pitch = np.deg2rad([yaw_deg, pitch_deg])
    towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    eye = centre + VIEW_DISTANCE_M * towards
    name = f"view{yaw_deg:+.0f}{pitch_deg:+.0f}"
    return replace(camera_towards(eye, centre, np.array([0, 1.0, 0]), VIEW_PX, FRAMED_RADIUS_M), id=name)


def face_centre(head: Head) -> Float[np.ndarray, "3"]:
    """Where close pictures look: a little behind the average face's skin, metres."""
    return head.landmarks.on(head.model.template.double()).mean(0).numpy() - np.array([0, 0, 0.02])


def _directions(turns: int) -> list[Float[np.ndarray, "3"]]:
    """Unit vectors with so many parts that are not zero: axes, edges, corners of a cube."""
    all_around = (np.array(d, float) for d in product((-1, 0, 1), repeat=3) if np.abs(d).sum() == turns)
    return [d / np.linalg.norm(d) for d in all_around]


def _faces_seen(
    scan: Scan, directions: list[Float[np.ndarray, "3"]], landmarker: FaceLandmarker
) -> Iterator[tuple[ScanPicture, FaceLandmarks]]:
    """Upright faces in pictures of the whole scan from these directions."""
    low, high = np.percentile(scan.vertices, [0.5, 99.5], axis=0)
    centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    for towards in directions:
        side = np.eye(3)[np.abs(towards).argmin()]
        across = np.cross(towards, side)
        for up in (side, -side, across / np.linalg.norm(across), -across / np.linalg.norm(across)):
            picture = draw_scan(scan, camera_towards(centre + 4 * radius * towards, centre, up, SEARCH_PX, radius))
            for marks in landmarker.faces(picture.levels):
                yield picture, marks


def _seen_closely(scan: Scan, near: Similarity, head: Head, landmarker: FaceLandmarker) -> Similarity | None:
    """The same from a close picture of the face from ahead."""
    placed = scan.at(near @ scan.vertices)
    picture = draw_scan(placed, close_camera(face_centre(head), 0.0))
    marks = landmarker.detect(picture.levels)
    found = None if marks is None else _placed(picture, marks, head)
    if found is None:
        return None
    both = found.head_from_scan.compose(
        RigidTransform(near.head_from_scan.rotation, found.scale * near.head_from_scan.translation)
    )
    return Similarity(found.scale * near.scale, both, found.misfit)


def _placed(picture: ScanPicture, marks: FaceLandmarks, head: Head) -> Similarity | None:
    """The similarity that takes lifted landmarks to the average head's; robust, because hair and holes lift wrongly."""
    rows = head.landmarks.source_index.numpy()
    wanted = head.landmarks.on(head.model.template.double()).numpy()
    lifted = picture.lifted(marks.points_px[rows])
    weight = marks.visibility[rows] * np.isfinite(lifted).all(1)
    if (weight > 0.2).sum() < len(rows) // 4:
        return None
    kept = weight > 0.2
    lifted, wanted = lifted[kept], wanted[kept]
    spread = float(np.sqrt(((wanted - wanted.mean(0)) ** 2).sum(1).mean()))
    trusted = np.ones(len(lifted), bool)
    similarity, error = None, np.zeros(len(lifted))
    for _ in range(ROBUST_TURNS):
        similarity = _similarity(lifted[trusted], wanted[trusted])
        error = np.linalg.norm(wanted - similarity @ lifted, axis=1)
        trusted = error <= max(3 * float(np.median(error)), 1e-9)
    assert similarity is not None
    return replace(similarity, misfit=float(np.median(error)) / spread)


def _similarity(scan: Float[np.ndarray, "n 3"], head: Float[np.ndarray, "n 3"]) -> Similarity:
    """Least squares, with scale. Source: Umeyama 1991, eqs. 40-42."""
    rigid = rigid_align(scan, head)
    turned = (scan - scan.mean(0)) @ rigid.rotation.T
    scale = float((turned * (head - head.mean(0))).sum() / (turned**2).sum())
    return Similarity(
        scale, RigidTransform(rigid.rotation, head.mean(0) - scale * rigid.rotation @ scan.mean(0)), np.inf
    )
