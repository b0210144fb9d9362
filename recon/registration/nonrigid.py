"""Non-rigid registration of a mesh to a surface: offsets per vertex that keep its shape where nothing is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.sparse.linalg import LinearOperator, cg, splu
from scipy.spatial import KDTree

from geometry.meshes import vertex_areas
from geometry.transforms import rigid_align
from recon.registration.faults import crossing_triangles, flipped_triangles
from recon.registration.matching import Gate, Matches, match
from recon.registration.points import SurfacePoints
from recon.registration.stiffness import Stiffness

FOLLOWED = 60
"""Vertices nearest to a loose part (an eyeball, teeth) that carry it along."""
EDGES_STIFFER = 3.0
"""Doublings of the stiffness of edges in each round of mending."""
MOST_STIFFER = 6.0
"""Rounds that make a place stiffer; by then it has the template's own shape."""
PUSH = 10.0
"""Of the square of what a crossing vertex is short of its side, beside a match's 1."""
TOUCH = 0.1
"""Of the square of the gap between partners that touch, beside a match's 1."""
PARTED_M = 5e-5
"""Between partners that touch."""
MOST_DRAWN_BACK_M = 0.004
"""An eye that would have to lie deeper is no longer one."""
LEAST_STIFFNESS = 1e-6
"""Of every vertex to where it is, beside data of weight 1: keeps the equations regular where nothing else speaks."""


@dataclass(frozen=True)
class RegistrationStage:
    """A part of the plan; weights stand beside matches whose weights have a mean of 1 a vertex."""

    bending: float
    """Of squared umbrella operators of the offsets."""
    stretching: float
    """Of edges beside their turned rest."""
    landmarks: float
    """Of squared distances to landmarks."""
    gate: Gate
    """What is matched."""
    steps: int
    """How often to match and solve."""


@dataclass(frozen=True)
class RegistrationConfig:
    """How to register: from stiff to loose."""

    stages: tuple[RegistrationStage, ...] = (
        RegistrationStage(30.0, 3.0, 0.3, Gate(0.015, 0.6, 0.004), 3),
        RegistrationStage(3.0, 0.3, 0.1, Gate(0.01, 0.6, 0.002), 3),
        RegistrationStage(0.5, 0.05, 0.03, Gate(0.006, 0.6, 0.0015), 4),
        RegistrationStage(0.03, 0.003, 0.01, Gate(0.004, 0.6, 0.001), 5),
    )
    """The plan."""
    most_points: int = 30_000
    """Of the surface; more tell a head of some thousand vertices nothing new."""
    repairs: int = 12
    """Rounds in which places with faults are made stiffer."""


@dataclass(frozen=True, eq=False)
class Template:
    """The mesh that is registered."""

    vertices: Float[np.ndarray, "v 3"]
    """Where it starts, metres; its shape is kept where nothing is seen."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    trust: Float[np.ndarray, "v"]
    """How much matches count at each vertex, in [0, 1]; 0 for what no surface shows."""
    watched: Bool[np.ndarray, "f"]
    """Triangles that must not cross one another: of lips and lids."""
    side: Int[np.ndarray, "v"]
    """1 for vertices of what lies above where it meets its partner (upper lips and lids), -1 for what lies below."""
    up: Float[np.ndarray, "3"]
    """Unit vector along which the two part."""
    meeting: Int[np.ndarray, "m 2"]
    """Upper and lower vertex of partners that touch on the surface: of shut lids."""
    beneath: Bool[np.ndarray, "v"]
    """Vertices of loose balls that lie under the mesh: of eyes."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Places of the mesh whose points on the surface are known."""

    corners: Int[np.ndarray, "l 3"]
    """Vertices that carry each."""
    barycentric: Float[np.ndarray, "l 3"]
    """Their weights."""
    points: Float[np.ndarray, "l 3"]
    """On the surface, metres."""
    trust: Float[np.ndarray, "l"]
    """In [0, 1]."""


@dataclass(frozen=True, eq=False)
class Registered:
    """The mesh on the surface."""

    vertices: Float[np.ndarray, "v 3"]
    """Metres."""
    matched: Float[np.ndarray, "v"]
    """How much of the surface each vertex was told by: 1 where it is covered, 0 where the template is carried on."""
    flipped: int
    """Triangles that look the other way than the template's."""
    crossing: int
    """Pairs of watched triangles that cross."""
    crossing_before: int
    """The same of the template."""


def register(
    template: Template, surface: SurfacePoints, landmarks: Landmarks, config: RegistrationConfig | None = None
) -> Registered:
    """Lay the template onto the surface, from stiff to loose, and mend what flips or crosses by stiffness there.

    Source: the schedule of Amberg, Romdhani & Vetter 2007, "Optimal step nonrigid ICP algorithms for surface
    registration", with offsets for affine maps and Sorkine & Alexa's as-rigid-as-possible term.
    """
    config = config or RegistrationConfig()
    reach = config.stages[0].gate.distance_m
    near = KDTree(template.vertices).query(surface.points, distance_upper_bound=2 * reach)[0] < 2 * reach
    points = surface.part(near).thinned(config.most_points).as_discs()
    solver = _Solver.of(template, points, landmarks)
    vertices, stage = template.vertices, config.stages[-1]
    for stage in config.stages:
        for _ in range(stage.steps):
            vertices = solver.step(vertices, stage)
    crossing_before = len(crossing_triangles(template.vertices, template.faces, template.watched))
    for _ in range(config.repairs):
        flipped = flipped_triangles(template.vertices, vertices, template.faces)
        crossing = crossing_triangles(vertices, template.faces, template.watched)
        if not flipped.any() and not len(crossing):
            break
        solver = solver.mending(vertices, flipped, crossing)
        for _ in range(2):
            vertices = solver.step(vertices, stage)
    return Registered(
        vertices,
        solver.coverage(vertices, stage),
        int(flipped_triangles(template.vertices, vertices, template.faces).sum()),
        len(crossing_triangles(vertices, template.faces, template.watched)),
        crossing_before,
    )


@dataclass(frozen=True, eq=False)
class _Solver:
    """What stays the same from step to step."""

    template: Template
    surface: SurfacePoints
    landmarks: Landmarks
    stiffness: Stiffness
    stiffer: Float[np.ndarray, "v"]
    bounds: Float[np.ndarray, "v"]

    @classmethod
    def of(cls, template: Template, surface: SurfacePoints, landmarks: Landmarks) -> _Solver:
        """Nothing to mend yet."""
        stiffness, count = Stiffness.of(template.vertices, template.faces), len(template.vertices)
        return cls(template, surface, landmarks, stiffness, np.zeros(count), np.full(count, np.nan))

    def mending(
        self,
        vertices: Float[np.ndarray, "v 3"],
        flipped: Bool[np.ndarray, "f"],
        crossing: Int[np.ndarray, "p 2"],
    ) -> _Solver:
        """Partners that cross are to part at the middle of their overlap; elsewhere faulty places get stiffer.

        Edges there resist more and matches count less, two rings of neighbours with them, and again where that is not
        enough.
        """
        faces, side, bounds = self.template.faces, self.template.side, self.bounds.copy()
        height = vertices @ self.template.up
        first, second = crossing.T
        order = side[faces[first]].sum(1) < side[faces[second]].sum(1)
        above, below = np.where(order, second, first), np.where(order, first, second)
        partners = (side[faces[above]] > 0).all(1) & (side[faces[below]] < 0).all(1)
        for upper, lower in zip(faces[above[partners]], faces[below[partners]], strict=True):
            middle = (height[upper].min() + height[lower].max()) / 2
            bounds[upper] = np.fmax(bounds[upper], middle + PARTED_M)
            bounds[lower] = np.fmin(bounds[lower], middle - PARTED_M)
        near, (i, j) = np.zeros(len(side)), self.stiffness.edges.T
        near[faces[flipped]] = 1
        near[faces[crossing[~partners].ravel()]] = 1
        for _ in range(2):
            wider = near.copy()
            np.maximum.at(wider, i, near[j])
            np.maximum.at(wider, j, near[i])
            near = wider
        stiffer = np.minimum(self.stiffer + near, MOST_STIFFER)
        return replace(
            self, stiffer=stiffer, bounds=bounds, stiffness=self.stiffness.stiffened(EDGES_STIFFER * stiffer)
        )

    def pushed(self, vertices: Float[np.ndarray, "v 3"]) -> Matches:
        """What has to move to its side of where it parts from its partner."""
        up, side = self.template.up, self.template.side
        missing = self.bounds - vertices @ up
        rows = np.flatnonzero(missing * side > -PARTED_M)  # nan compares false: unbounded
        return Matches(
            np.repeat(rows[:, None], 3, 1),
            np.tile([1.0, 0.0, 0.0], (len(rows), 1)),
            np.tile(up, (len(rows), 1)),
            missing[rows],
            np.full(len(rows), PUSH),
        )

    @property
    def counted(self) -> Bool[np.ndarray, "f"]:
        """Triangles that the surface may show."""
        return np.asarray((self.template.trust[self.template.faces] > 0).all(1))

    def matches(self, vertices: Float[np.ndarray, "v 3"], stage: RegistrationStage) -> Matches:
        """What lies where, with weights of which a covered vertex of the mean size has 1."""
        found = match(self.surface, vertices, self.template.faces, self.counted, stage.gate)
        mean_area = vertex_areas(vertices, self.template.faces)[self.template.trust > 0].mean()
        trusted = ((self.template.trust * 0.25**self.stiffer)[found.corners] * found.barycentric).sum(1)
        return replace(found, weight=found.weight / mean_area * trusted)

    def touching(self, vertices: Float[np.ndarray, "v 3"]) -> Matches:
        """Partners drawn together until they touch."""
        template, count = self.template, len(self.template.meeting)
        upper, lower = template.meeting.T
        gaps = (vertices[upper] - vertices[lower]) @ template.up
        return Matches(
            np.stack([upper, lower, upper], 1),
            np.tile([1.0, -1.0, 0.0], (count, 1)),
            np.tile(template.up, (count, 1)),
            2 * PARTED_M - gaps,
            np.full(count, TOUCH),
        )

    def coverage(self, vertices: Float[np.ndarray, "v 3"], stage: RegistrationStage) -> Float[np.ndarray, "v"]:
        """Matched area beside the mesh's own, about each vertex and its neighbours; at most 1."""
        areas, (i, j) = vertex_areas(vertices, self.template.faces), self.stiffness.edges.T
        found = match(self.surface, vertices, self.template.faces, self.counted, replace(stage.gate, robust_m=np.inf))
        told = np.bincount(found.corners.ravel(), (found.weight[:, None] * found.barycentric).ravel(), len(vertices))
        about = [
            part + np.bincount(i, part[j], len(part)) + np.bincount(j, part[i], len(part)) for part in (told, areas)
        ]
        return (about[0] / np.maximum(about[1], 1e-12)).clip(0, 1)

    def step(self, vertices: Float[np.ndarray, "v 3"], stage: RegistrationStage) -> Float[np.ndarray, "v 3"]:
        """Match, and solve for the offsets that all terms agree on."""
        count, rest = len(vertices), self.stiffness.rest
        found = self.matches(vertices, stage).joined(self.pushed(vertices)).joined(self.touching(vertices))
        marks = self.landmarks
        rows = np.repeat(np.arange(len(found.weight)), 9)
        columns = (3 * found.corners[:, :, None] + np.arange(3)).reshape(-1)
        values = (found.barycentric[:, :, None] * found.normals[:, None, :]).reshape(-1)
        told = sp.csr_matrix((values, (rows, columns)), shape=(len(found.weight), 3 * count))
        place = (vertices[found.corners] * found.barycentric[..., None]).sum(1)
        # n . (B rest + B offset) = n . (place) + distance
        wanted = found.distance + (found.normals * place).sum(1) - told @ rest.ravel()
        marked = sp.csr_matrix(
            (marks.barycentric.ravel(), (np.repeat(np.arange(len(marks.trust)), 3), marks.corners.ravel())),
            shape=(len(marks.trust), count),
        )
        mark_weight = sp.diags(stage.landmarks * marks.trust)
        # By axis: bending of offsets, edges that are only turned, landmarks, and a little of staying.
        axis = stage.bending * self.stiffness.bending + stage.stretching * self.stiffness.stretching
        axis = axis + marked.T @ mark_weight @ marked + LEAST_STIFFNESS * sp.identity(count)
        turned = self.stiffness.turned_edges(vertices) - self.stiffness.stretching @ rest
        right = stage.stretching * turned + marked.T @ mark_weight @ (marks.points - marked @ rest)
        weight = sp.diags(found.weight)
        whole = (told.T @ weight @ told + sp.kron(axis, sp.identity(3))).tocsr()
        whole_right = told.T @ (found.weight * wanted) + right.ravel()
        # Preconditioned as if every match told a third of each axis: the same small matrix for all three.
        per_vertex = np.bincount(found.corners.ravel(), (found.weight[:, None] * found.barycentric).ravel(), count)
        small = splu(
            (axis + sp.diags(per_vertex / 3)).tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
        )
        inverse = LinearOperator(whole.shape, lambda x: small.solve(x.reshape(-1, 3)).ravel())  # pyright: ignore[reportCallIssue]
        offsets, _ = cg(whole, whole_right, (vertices - rest).ravel(), rtol=1e-5, maxiter=200, M=inverse)
        return self._with_followers(rest + offsets.reshape(-1, 3))

    def _with_followers(self, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
        """Loose parts moved rigidly with what surrounds them."""
        part, rest, moved = self.stiffness.part, self.stiffness.rest, vertices.copy()
        main = np.flatnonzero(part == 0)
        tree = KDTree(rest[main])
        for number in range(1, part.max() + 1):
            own = part == number
            _, near = tree.query(rest[own].mean(0), k=min(FOLLOWED, len(main)))
            carrier = main[near]
            moved[own] = rigid_align(rest[carrier], vertices[carrier]) @ rest[own]
            if self.template.beneath[own].all():
                moved[own] += _drawn_back(moved[own], vertices[carrier])
        return moved


def _drawn_back(ball: Float[np.ndarray, "b 3"], over: Float[np.ndarray, "c 3"]) -> Float[np.ndarray, "3"]:
    """How far a ball has to move so that it lies beneath the points over it, metres; along their mean direction."""
    system = np.concatenate([2 * ball, np.ones((len(ball), 1))], 1)
    solved = np.linalg.lstsq(system, (ball**2).sum(1), rcond=None)[0]
    centre = solved[:3]
    radius = float(np.median(np.linalg.norm(ball - centre, axis=1)))
    outward = (over - centre).mean(0)
    outward /= np.linalg.norm(outward)
    height, aside = (over - centre) @ outward, np.linalg.norm(np.cross(over - centre, outward), axis=1)
    under = aside < radius
    if not under.any():
        return np.zeros(3)
    above = np.sqrt(radius**2 - aside[under] ** 2) - height[under]
    return -outward * float(np.clip(above.max() + PARTED_M, 0, MOST_DRAWN_BACK_M))
