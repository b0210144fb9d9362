"""The model's head that lies on a scan: size, place, person and expression."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from flame_fitting.evidence import Evidence
from flame_fitting.landmarks.landmarker import FaceLandmarker
from flame_fitting.models.plain_model import Head
from flame_fitting.person import Person, PersonConfig, fit_person
from flame_fitting.scans.evidence import ScanEvidence, pictures_around
from flame_fitting.scans.finding import Similarity, face_centre, find_face
from flame_fitting.scans.outside import outside_of
from flame_fitting.scans.pictures import ScanPicture
from flame_fitting.scans.units import ScanUnit, Unit, scan_unit
from flame_fitting.segments import TrackConfig, track_segment
from geometry.scans import Scan
from geometry.transforms import RigidTransform

DISBELIEF_M = 0.005
"""Distance from the fitted head at which a landmark counts a quarter; good ones are 1 to 4 mm off."""

LARGEST_BLINK = 0.3
"""Of the head that is registered: from half a blink on, lids of the default model go through one another."""
COARSE_TURN, COARSE_M, COARSE_SIZE = 0.02, 0.005, 0.05
"""Steps of radians, metres and sizes of faces to which cameras about a scan are rounded."""


@dataclass(frozen=True)
class ScanFitConfig:
    """How to fit a head to a scan."""

    unit: Unit = "auto"
    """The scan's, or auto: told by the size of its face."""
    person: PersonConfig = field(default_factory=lambda: PersonConfig(key_frames=1, colour_rounds=0))
    """Who."""
    track: TrackConfig = field(default_factory=TrackConfig)
    """The face that the person makes."""


@dataclass(frozen=True, eq=False)
class ScanHead:
    """A scan in metres, and the head that was fitted to it."""

    scan: Scan
    """Its outside, upright before the cameras, metres."""
    head_from_scan: RigidTransform
    """From the file's axes, in metres, to where the scan stands here."""
    unit: ScanUnit
    """The file's."""
    triangles_turned: int
    """That were wound the wrong way."""
    person: Person
    """Who."""
    curves: Float[np.ndarray, "e"]
    """The face that the person makes, eyes not shut: the model's lids would cross."""
    blinks: Float[np.ndarray, "e"]
    """The same curves as they were found."""
    world_from_head: RigidTransform
    """Where the fitted head stands, in the scan's frame."""
    views: tuple[ScanPicture, ...]
    """Close pictures of the scan."""
    landmarks: Float[np.ndarray, "l 3"]
    """The model's embedded landmarks, found on the scan, metres."""
    landmark_trust: Float[np.ndarray, "l"]
    """How far each is to be believed, in [0, 1]."""

    @property
    def vertices(self) -> Float[np.ndarray, "v 3"]:
        """The fitted head, in the scan's frame, metres."""
        return self.world_from_head @ self.person.in_head(self.curves)


def fit_scan_head(scan: Scan, head: Head, landmarker: FaceLandmarker, config: ScanFitConfig) -> ScanHead:
    """Find the face of a scan, its unit and its outside, and fit the head model to its pictures and depth.

    Raises InputError for a scan without a face, or of another unit than it is said to have.
    """
    found = find_face(scan, head, landmarker)
    unit = scan_unit(found.head_from_scan.scale, config.unit)
    placed, head_from_scan = _in_metres(found.scan, found.head_from_scan, unit)
    centre = face_centre(head) * np.round(unit.face_size / COARSE_SIZE) * COARSE_SIZE
    evidence = ScanEvidence.of(placed, centre, landmarker)
    outside, turned = outside_of(placed, [*evidence.views, *pictures_around(placed, centre)])
    marks, trust = evidence.lifted(head.landmarks)
    person, curves, world_from_head = _fitted(head, evidence, config)
    blinks, curves = curves, _lids_open(curves, head)
    believed = trust * _agreement(head, world_from_head @ person.in_head(curves), marks)
    return ScanHead(
        outside, head_from_scan, unit, turned, person, curves, blinks, world_from_head, evidence.views, marks, believed
    )


def _agreement(
    head: Head, vertices: Float[np.ndarray, "v 3"], marks: Float[np.ndarray, "l 3"]
) -> Float[np.ndarray, "l"]:
    """How far each landmark is to be believed beside the fitted head: less where it scatters, or is far from it.

    A network guesses the hairline of a cropped mask, the brows of a headset's wearer: those are off by centimetres.
    Source: Geman & McClure 1985.
    """
    away = np.linalg.norm(head.landmarks.on(torch.from_numpy(vertices)).numpy() - marks, axis=1)
    spread = head.landmarks.spread_m.numpy()
    return np.minimum(1, (np.median(spread) / spread) ** 2) / (1 + (away / DISBELIEF_M) ** 2) ** 2


def _in_metres(scan: Scan, found: Similarity, unit: ScanUnit) -> tuple[Scan, RigidTransform]:
    """The scan with its real size, about where the average head of that size would stand upright.

    Place and turn are rounded: files that differ in their last digits are then looked at from the same cameras, and a
    network sees the same pictures.
    """
    grown = unit.metres / found.scale
    turn = Rotation.from_matrix(found.head_from_scan.rotation).as_rotvec()
    coarse = Rotation.from_rotvec(np.round(turn / COARSE_TURN) * COARSE_TURN).as_matrix()
    # The face stays where it was found: what is rounded is its distance to where it will stand.
    middle = found.head_from_scan.inverse() @ np.zeros(3) * grown
    moved = RigidTransform(coarse, -coarse @ (np.round(middle / COARSE_M) * COARSE_M))
    return scan.at(moved @ (unit.metres * scan.vertices)), moved


def _fitted(
    head: Head, evidence: Evidence, config: ScanFitConfig
) -> tuple[Person, Float[np.ndarray, "e"], RigidTransform]:
    """Who, the face they make, and where the head stands."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        person = fit_person(head, evidence, config.person)
        track = track_segment(head, person, evidence, range(1), config.track)
    finally:
        torch.set_num_threads(threads)
    return person, track.curves[0], RigidTransform(track.rotation[0], track.translation[0])


def _lids_open(curves: Float[np.ndarray, "e"], head: Head) -> Float[np.ndarray, "e"]:
    """Blinks end before the model's lids cross; registration brings them to where the scan has them."""
    blinks = [name.startswith("eyeBlink") for name in head.model.expression_names]
    return np.where(blinks, np.minimum(curves, LARGEST_BLINK), curves)
