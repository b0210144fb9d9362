"""Which place of one head's surface lies where on another's: the default head bent onto a stranger's template.

Landmarks, regions, contours and ARKit shapes of a model that does not bring its own come from the default head by
this map. Eyeballs are matched to eyeballs, apart from all else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, diags, identity
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from flame_fitting.models.head_model import HeadModel

MODES, ROUNDS = 80, 30
SIGMA_M = 0.001
"""How far a head of the default model may stay off a stranger's surface."""
REACH_M = 0.02
"""Points farther apart than this are not of the same place."""
JOINT_SIGMA_M = 0.0015
"""Eyeballs' centres are known well in any model."""
SMOOTH, LAST_ROUNDS = 30.0, 4
"""Weight of the remainder's roughness against its distance from the surface."""
NEIGHBOURS = 24
TURNED_M = 0.003
"""A place whose normal is turned by 90 degrees counts as so much farther away."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh with its normals and the vertices of its two eyeballs."""

    vertices: Float[np.ndarray, "v 3"]
    """Metres."""
    faces: Int[np.ndarray, "f 3"]
    """Counter-clockwise from outside."""
    eyeballs: tuple[Int[np.ndarray, "l"], Int[np.ndarray, "r"]]
    """Of the left and of the right eye."""

    def part(self) -> Int[np.ndarray, "v"]:
        """1 and 2 on the left and the right eyeball, 0 elsewhere."""
        part = np.zeros(len(self.vertices), int)
        for side, ball in enumerate(self.eyeballs):
            part[ball] = side + 1
        return part

    def normals(self) -> Float[np.ndarray, "v 3"]:
        """Unit normals of the vertices, weighted by area."""
        corners = self.vertices[self.faces]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.zeros_like(self.vertices)
        for k in range(3):
            np.add.at(normals, self.faces[:, k], across)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True, eq=False)
class SurfaceMap:
    """The default head's vertices on a stranger's surface, and the stranger's vertices on the default head."""

    bent: Surface
    """The default head's mesh laid onto the stranger's template, metres, in the stranger's frame."""
    scale: float
    """Size of the stranger over the default head's of the same shape."""
    rotation: Float[np.ndarray, "3 3"]
    """Turns directions of the default head's frame into the stranger's."""
    faces: Int[np.ndarray, "v 3"]
    """For each of the stranger's vertices the default head's triangle that it lies on."""
    barycentric: Float[np.ndarray, "v 3"]
    """Weights of that triangle's corners."""
    distance_m: Float[np.ndarray, "v"]
    """From there to the vertex."""

    def carry(self, values: Float[np.ndarray, "*c a d"]) -> Float[np.ndarray, "*c v d"]:
        """Values of the default head's vertices, on the stranger's."""
        return (values[..., self.faces, :] * self.barycentric[..., None]).sum(-2)


def find_eyeballs(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], joints: Float[np.ndarray, "2 3"]
) -> tuple[Int[np.ndarray, "l"], Int[np.ndarray, "r"]] | None:
    """The parts of a mesh that surround the left and the right eye joint; None where no part of its own does."""
    links = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(vertices), len(vertices)))
    part = connected_components(graph, directed=False)[1]
    balls = []
    for joint in joints:
        best = None
        for number in np.flatnonzero(np.bincount(part) >= 12):
            members = np.flatnonzero(part == number)
            reach = float(np.linalg.norm(vertices[members] - joint, axis=1).max())
            if reach < 0.025 and (best is None or len(members) > len(best)):
                best = members
        if best is None:
            return None
        balls.append(best)
    return balls[0], balls[1]


def map_surface(
    source: HeadModel, source_balls: tuple[np.ndarray, np.ndarray], target: Surface, eyes: Float[np.ndarray, "2 3"]
) -> SurfaceMap:
    """Bend the default head onto a template in metres, y up, facing +z.

    First size, place and identity by point-to-plane Gauss-Newton with the default model's own prior, then what is left
    as a smooth field over its vertices. `eyes` are the template's left and right eye joints.
    Source: Amberg et al. 2007 for the smooth remainder; Chen & Medioni 1992 for the planes.
    """
    fit = _ModelFit(source, target, eyes)
    points, scale, rotation = fit.run()
    faces = source.faces.numpy()
    bent = Surface(_smooth_remainder(points, faces, fit.active, target), faces, source_balls)
    triangles, weights, distance = locate(bent, target.vertices, target.normals(), target.part())
    return SurfaceMap(bent, scale, rotation, triangles, weights, distance)


class _ModelFit:
    """Similarity and identity of the default head against a surface."""

    def __init__(self, source: HeadModel, target: Surface, eyes: Float[np.ndarray, "2 3"]) -> None:
        self.template = source.template.double().numpy()
        self.basis = source.identity_basis[:MODES].double().numpy()
        rows = [source.joint_names.index(name) for name in ("eye_left", "eye_right")]
        self.joints = source.joints[rows].double().numpy()
        self.joint_basis = source.joint_basis[:MODES, rows].double().numpy()
        self.faces, self.eyes = source.faces.numpy(), eyes
        skin = (source.region("skin") & ~source.region("neck")).numpy()
        self.active = np.flatnonzero(skin)
        self.trust = np.where(source.region("face").numpy()[self.active], 1.0, 0.3)
        self.target = _Samples.of(target)

    def run(self) -> tuple[np.ndarray, float, np.ndarray]:
        """Vertices in the target's frame, scale and rotation."""
        gap = np.linalg.norm(self.eyes[0] - self.eyes[1]) / np.linalg.norm(self.joints[0] - self.joints[1])
        scale, rotation = float(gap), np.eye(3)
        translation = self.eyes.mean(0) - scale * self.joints.mean(0)
        identity_ = np.zeros(len(self.basis))
        for turn in range(ROUNDS):
            modes = min(len(self.basis), 5 + 5 * turn)
            shaped = self.template + np.tensordot(identity_, self.basis, 1)
            placed = scale * shaped @ rotation.T + translation
            joints = self.joints + np.tensordot(identity_, self.joint_basis, 1)
            placed_joints = scale * joints @ rotation.T + translation
            normals = Surface(placed, self.faces, (np.empty(0, int), np.empty(0, int))).normals()
            nearest, normal, trust = self.target.nearest(placed[self.active], normals[self.active])
            trust = trust * self.trust
            # Parameters: turn about the origin of the placed head, shift, relative size, identity.
            local = placed[self.active] - translation
            spin = np.cross(local, normal)
            grow = (local * normal).sum(1, keepdims=True)
            turned = scale * np.einsum("kvd,vd->vk", self.basis[:modes, self.active] @ rotation.T, normal)
            design = np.concatenate([spin, normal, grow, turned], 1) / SIGMA_M * np.sqrt(trust)[:, None]
            residual = ((nearest - placed[self.active]) * normal).sum(1) / SIGMA_M * np.sqrt(trust)
            # Many samples see one error: the surface counts as a few hundred independent points.
            share = np.sqrt(min(1.0, 400 / len(residual)))
            joint_rows = self._joint_rows(placed_joints - translation, scale, rotation, modes)
            joint_left = (self.eyes - placed_joints).ravel() / JOINT_SIGMA_M
            prior = np.zeros((modes, design.shape[1]))
            prior[:, 7:] = np.eye(modes)
            rows = np.concatenate([design * share, joint_rows, prior])
            left = np.concatenate([residual * share, joint_left, -identity_[:modes]])
            step = np.linalg.solve(rows.T @ rows + 1e-9 * np.eye(rows.shape[1]), rows.T @ left)
            rotation = Rotation.from_rotvec(step[:3]).as_matrix() @ rotation
            translation, scale = translation + step[3:6], scale * float(np.exp(step[6]))
            identity_[:modes] += step[7:]
        shaped = self.template + np.tensordot(identity_, self.basis, 1)
        return scale * shaped @ rotation.T + translation, scale, rotation

    def _joint_rows(self, local: np.ndarray, scale: float, rotation: np.ndarray, modes: int) -> np.ndarray:
        rows = []
        for joint in range(2):
            x, y, z = local[joint]
            spin = np.array([[0, z, -y], [-z, 0, x], [y, -x, 0]])
            moves = scale * (self.joint_basis[:modes, joint] @ rotation.T).T
            rows.append(np.concatenate([spin, np.eye(3), local[joint][:, None], moves], 1))
        return np.concatenate(rows) / JOINT_SIGMA_M


@dataclass(frozen=True, eq=False)
class _Samples:
    """Points of a surface with normals, dense enough that planes through them stand for it."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    tree: KDTree

    @classmethod
    def of(cls, surface: Surface) -> _Samples:
        """Vertices, edge middles and centroids of all that is no eyeball."""
        faces = surface.faces[(surface.part()[surface.faces] == 0).all(1)]
        normals = surface.normals()
        corners, at = surface.vertices[faces], normals[faces]
        used = np.unique(faces)
        points = [surface.vertices[used], corners.mean(1), *(corners[:, [k, k - 1]].mean(1) for k in range(3))]
        ways = [normals[used], at.mean(1), *(at[:, [k, k - 1]].mean(1) for k in range(3))]
        every, way = np.concatenate(points), np.concatenate(ways)
        way = way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-12)
        return cls(every, way, KDTree(every))

    def nearest(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The nearest sample that faces the same way, its normal, and a trust that falls with distance."""
        distance, index = self.tree.query(points, NEIGHBOURS)
        agrees = np.einsum("nkd,nd->nk", self.normals[index], normals) > 0.4
        cost = np.where(agrees, distance, np.inf)
        best = cost.argmin(1)
        rows = np.arange(len(points))
        gap, chosen = cost[rows, best], index[rows, best]
        trust = np.where(gap < REACH_M, 1 / (1 + (np.minimum(gap, REACH_M) / 0.004) ** 2) ** 2, 0.0)
        return self.points[chosen], self.normals[chosen], trust


def _smooth_remainder(points: np.ndarray, faces: np.ndarray, active: np.ndarray, target: Surface) -> np.ndarray:
    """Vertices moved onto the surface by a field as smooth as the surface allows."""
    samples = _Samples.of(target)
    count = len(points)
    links = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    adjacency = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count)).tocsr()
    adjacency = ((adjacency + adjacency.T) > 0).astype(float)
    rough = diags(1 / np.asarray(adjacency.sum(1)).ravel()) @ adjacency - identity(count)
    bending = SMOOTH * (rough.T @ rough) + 1e-3 * identity(count)
    moved = points.copy()
    for _ in range(LAST_ROUNDS):
        normals = Surface(moved, faces, (np.empty(0, int), np.empty(0, int))).normals()
        nearest, normal, trust = samples.nearest(moved[active], normals[active])
        goal = moved[active] + ((nearest - moved[active]) * normal).sum(1, keepdims=True) * normal
        weights = np.zeros(count)
        weights[active] = trust
        pull = np.zeros_like(points)
        pull[active] = (goal - points[active]) * trust[:, None]
        moved = points + splu((bending + diags(weights)).tocsc()).solve(pull)
    return moved


def locate(
    surface: Surface,
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"] | None,
    part: Int[np.ndarray, "n"],
) -> tuple[Int[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
    """Triangle, barycentric weights and distance of the nearest place on a surface to each point of the same part.

    Where normals are given, a place that faces elsewhere counts as farther away: an upper lid lies close to the lower.
    """
    face_part = surface.part()[surface.faces].min(1)
    across = surface.normals()[surface.faces].mean(1)
    across = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    triangles = np.zeros((len(points), 3), np.int64)
    weights = np.zeros((len(points), 3))
    distance = np.full(len(points), np.inf)
    for number in np.unique(part):
        rows, usable = np.flatnonzero(part == number), np.flatnonzero(face_part == number)
        if not len(usable):
            usable = np.arange(len(surface.faces))
        near = KDTree(surface.vertices[surface.faces[usable]].mean(1))
        candidates = usable[near.query(points[rows], min(NEIGHBOURS, len(usable)))[1]]
        corners = surface.vertices[surface.faces[candidates]]
        inside = clamped_barycentric(points[rows][:, None], corners)
        gap = np.linalg.norm((inside[..., None] * corners).sum(-2) - points[rows][:, None], axis=-1)
        cost = gap
        if normals is not None:
            ways = normals[rows] / np.maximum(np.linalg.norm(normals[rows], axis=1, keepdims=True), 1e-12)
            cost = gap + TURNED_M * (1 - np.einsum("nkd,nd->nk", across[candidates], ways))
        best = cost.argmin(1)
        at = np.arange(len(rows))
        triangles[rows] = surface.faces[candidates[at, best]]
        weights[rows], distance[rows] = inside[at, best], gap[at, best]
    return triangles, weights, distance


def clamped_barycentric(
    points: Float[np.ndarray, "*#n 3"], corners: Float[np.ndarray, "*#n 3 3"]
) -> Float[np.ndarray, "*#n 3"]:
    """Weights of the point of each triangle that is nearest to each point.

    Source: Ericson 2005, "Real-Time Collision Detection", section 5.1.5: the inside, else the nearest of three edges.
    """
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    best = np.stack([1 - v - w, v, w], -1)
    inside = np.asarray((best >= 0).all(-1))
    nearest = np.full(inside.shape, np.inf)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, along = corners[..., first, :], corners[..., second, :] - corners[..., first, :]
        length = np.maximum((along * along).sum(-1), 1e-30)
        share = np.clip(((points - start) * along).sum(-1) / length, 0, 1)
        gap = np.linalg.norm(start + share[..., None] * along - points, axis=-1)
        edge = np.zeros_like(best)
        edge[..., first], edge[..., second] = 1 - share, share
        take = ~inside & (gap < nearest)
        best = np.where(take[..., None], edge, best)
        nearest = np.where(take, gap, nearest)
    return best
