"""One scan to the head model's topology: its face, unit and outside are found, the model fitted and laid onto it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from flame_fitting.landmarks.landmarker import FaceLandmarker
from flame_fitting.models.plain_model import Head
from flame_fitting.models.registry import load_head
from flame_fitting.scans.fitting import ScanFitConfig, ScanHead, fit_scan_head
from geometry.distance import point_to_mesh_distance
from geometry.errors import InputError
from geometry.meshes import Mesh
from geometry.scans import Repairs, Scan, cleaned_scan
from recon.registration.nonrigid import Landmarks, Registered, RegistrationConfig, Template, register
from recon.registration.points import SurfacePoints, surface_points

REGION_TRUST = {"face": 1.0, "ears": 0.3, "neck": 0.3, "scalp": 0.1}
"""How much a scan counts where: hair hides scalps, collars hide necks."""
WATCHED_M = 0.008
"""Triangles this near to where lips and lids meet must not cross."""
SPACING_M = 0.0015
FACE_REACH_M = 0.01
"""Scan points farther from the face are not of it."""
SHUT = 0.9
"""Share of the blink at which lids touch from which on they are drawn together."""
MEASURED_POINTS = 20_000
COVERED = 0.3
LEAST_COVERED = 0.25
"""Share of the face that must lie on the scan."""
WORST_RESIDUAL_M = 0.003


@dataclass(frozen=True)
class ScanConfig:
    """How to bring a scan to the head's topology."""

    model: str = "anny"
    """Which head model."""
    fit: ScanFitConfig = field(default_factory=ScanFitConfig)
    """How the model is fitted."""
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    """How it is laid onto the scan."""


@dataclass(frozen=True)
class ScanFigures:
    """How well a head lies on a scan."""

    scan_to_mesh_mm_median: float
    """Of points of the scan over the face."""
    scan_to_mesh_mm_p95: float
    """The same."""
    mesh_to_scan_mm_median: float
    """Of vertices of the face where the scan covers it."""
    mesh_to_scan_mm_p95: float
    """The same."""
    face_covered: float
    """Share of the face's vertices that the scan covers; the others carry the model's shape on."""


@dataclass(frozen=True, eq=False)
class RegisteredScan:
    """A scan in the head model's topology."""

    head: ScanHead
    """The model's fit; its scan and all vertices here are upright, in metres."""
    registered: Registered
    """The model on the scan."""
    repairs: Repairs
    """What of the file was left out."""
    figures: ScanFigures
    """How well the head lies on the scan."""

    @property
    def vertices_scan(self) -> Float[np.ndarray, "v 3"]:
        """The head in the file's own axes, metres."""
        return self.head.head_from_scan.inverse() @ self.registered.vertices


def find_on_scan(scan: Scan, head: Head, landmarker: FaceLandmarker, config: ScanConfig) -> tuple[ScanHead, Repairs]:
    """The model's fit to a scan as it comes. Raises InputError where the scan is not one of a head."""
    clean, repairs = cleaned_scan(scan)
    return fit_scan_head(clean, head, landmarker, config.fit), repairs


def lay_on(found: ScanHead, head: Head, points: SurfacePoints, config: ScanConfig) -> Registered:
    """The fitted head, laid onto points of its scan."""
    marks = head.landmarks
    landmarks = Landmarks(
        marks.faces.numpy(), marks.barycentric.numpy().astype(np.float64), found.landmarks, found.landmark_trust
    )
    return register(template_of(head, found), points, landmarks, config.registration)


def register_scan(scan: Scan, head: Head, landmarker: FaceLandmarker, config: ScanConfig) -> RegisteredScan:
    """The head model on a scan. Raises InputError where the scan is not one of a head, or too little of it is there."""
    found, repairs = find_on_scan(scan, head, landmarker, config)
    surface = found.scan.as_mesh()
    points = surface_points(surface, SPACING_M)
    registered = lay_on(found, head, points, config)
    figures = scan_figures(surface, points.thinned(MEASURED_POINTS), registered, head)
    if figures.face_covered < LEAST_COVERED or not figures.scan_to_mesh_mm_median < 1e3 * WORST_RESIDUAL_M:
        got = f"{figures.face_covered:.0%} of a face, {figures.scan_to_mesh_mm_median:.2g} mm from the head"
        raise InputError("a scan of a head with its face", got, "leave this scan out, or scan the face again")
    return RegisteredScan(found, registered, repairs, figures)


def scan_figures(surface: Mesh, points: SurfacePoints, registered: Registered, head: Head) -> ScanFigures:
    """Distances both ways over the face, exact; points on the rim of holes count nothing."""
    faces, face = head.model.faces.numpy(), head.model.region("face").numpy()
    asked = points.points[points.areas > 0]
    near = point_to_mesh_distance(asked, registered.vertices, faces)
    to_mesh = near.distance[face[faces[near.face_index]].all(1) & (near.distance < FACE_REACH_M)]
    covered = face & (registered.matched > COVERED)
    to_scan = np.zeros(0)
    if covered.any():
        to_scan = point_to_mesh_distance(registered.vertices[covered], surface.vertices, surface.faces).distance
    share = float(covered.sum() / face.sum())
    median, p95 = (_percentile_mm(to_mesh, rank) for rank in (50, 95))
    back_median, back_p95 = (_percentile_mm(to_scan, rank) for rank in (50, 95))
    return ScanFigures(median, p95, back_median, back_p95, share)


def _percentile_mm(distances_m: Float[np.ndarray, "n"], rank: float) -> float:
    return float(np.percentile(distances_m, rank)) * 1000 if len(distances_m) else float("nan")


def template_of(head: Head, found: ScanHead) -> Template:
    """The fitted head, with what a surface can say of it."""
    model = head.model
    trust = np.zeros(len(model.template))
    for region, value in REGION_TRUST.items():
        trust[model.region(region).numpy()] = value
    side = lips_and_lids(head)
    up = found.world_from_head.rotation[:, 1]
    faces, eyes = model.faces.numpy(), model.region("eyes").numpy()
    watched = (side[faces] != 0).all(1)
    return Template(found.vertices, faces, trust, watched, side, up, shut_lids(head, found), eyes)


def shut_lids(head: Head, found: ScanHead) -> Int[np.ndarray, "m 2"]:
    """Pairs of upper and lower vertices of the eyes that are shut on the scan."""
    names, contours = head.model.expression_names, head.contours
    eyes = {"eyeBlinkLeft": contours.lid_pairs_left, "eyeBlinkRight": contours.lid_pairs_right}
    shut = [
        pairs.numpy() for name, pairs in eyes.items() if found.blinks[names.index(name)] > SHUT * contours.lid_contact
    ]
    return np.concatenate([np.zeros((0, 2), np.int64), *shut])


def lips_and_lids(head: Head) -> Int[np.ndarray, "v"]:
    """1 for vertices of upper lips and lids, -1 for those of lower ones, 0 for all others and for eyeballs."""
    rest, contours, faces = head.model.template.numpy(), head.contours, head.model.faces.numpy()
    # Along the surface: shut lips are nearer to one another than to the rest of themselves.
    i, j = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
    edges = coo_matrix((np.linalg.norm(rest[i] - rest[j], axis=1), (i, j)), shape=(len(rest), len(rest))).tocsr()
    side = np.zeros(len(rest), np.int64)
    for pairs in (contours.lip_pairs, contours.lid_pairs_left, contours.lid_pairs_right):
        upper, lower = (
            dijkstra(edges, directed=False, indices=np.unique(pairs[:, k].numpy()), min_only=True) for k in (0, 1)
        )
        near = np.minimum(upper, lower) < WATCHED_M
        side[near] = np.where(upper < lower, 1, -1)[near]
    side[head.model.region("eyes").numpy()] = 0
    return side


@lru_cache(maxsize=2)
def scan_head_model(name_or_path: str) -> Head:
    """The head model, loaded once a process."""
    return load_head(name_or_path)
