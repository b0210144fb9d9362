"""How far points are from a triangle mesh: exact, by bounded search in KD-trees of the triangles' spheres."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from geometry.errors import InputError
from geometry.meshes import face_normals

FIRST_NEIGHBOURS = 2
"""Spheres asked for at first; they settle most points in most trees, because the best distance is nearly known."""
SIZE_CLASSES = 16
"""Trees, each of triangles within a factor of sqrt(2) in size: one large triangle must not widen every search."""
LARGEST_BATCH = 2**20
"""Pairs of a point and a triangle looked at together, which bounds the memory to some 200 MB."""
ON_EDGE = 1e-9
"""Barycentric weight under which a closest point counts as on an edge."""


@dataclass(frozen=True, eq=False)
class ClosestPoints:
    """The nearest place of a mesh to each of some points."""

    distance: Float[np.ndarray, "n"]
    """Distance in the unit of the points, never negative."""
    face_index: Int[np.ndarray, "n"]
    """The triangle on which the nearest place lies; of several equally near ones, any."""
    barycentric: Float[np.ndarray, "n 3"]
    """Weights of that triangle's corners; they sum to 1."""
    points: Float[np.ndarray, "n 3"]
    """The nearest places."""


@dataclass(frozen=True, eq=False)
class _Triangles:
    """Corner and edges of every triangle, and a sphere about each."""

    corner: Float[np.ndarray, "f 3"]
    edge_1: Float[np.ndarray, "f 3"]
    edge_2: Float[np.ndarray, "f 3"]
    centre: Float[np.ndarray, "f 3"]
    radius: Float[np.ndarray, "f"]

    @classmethod
    def of(cls, vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> _Triangles:
        corners = vertices.astype(np.float64)[faces]
        centre = corners.mean(1)
        radius = np.linalg.norm(corners - centre[:, None], axis=2).max(1)
        return cls(corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], centre, radius)


def point_to_mesh_distance(
    points: Float[np.ndarray, "n 3"], vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> ClosestPoints:
    """The nearest place on the mesh to each point, exact up to rounding.

    A triangle is no nearer than its sphere, |point - centre| - radius. Spheres are visited from the nearest centre
    outwards, and a point's search ends once the next centre is farther than the best distance so far plus the largest
    radius in the tree, so that no triangle left out can be nearer. Points near the surface are the fast case.
    Raises InputError without triangles, or for coordinates that are not finite.
    """
    if not len(faces):
        raise InputError("a mesh with triangles", "none", "make the mesh anew")
    if not (np.isfinite(points).all() and np.isfinite(vertices[faces]).all()):
        raise InputError("finite coordinates", "nan or infinity", "leave out what was not measured")
    points = points.astype(np.float64)
    triangles = _Triangles.of(vertices, faces)
    distance = np.full(len(points), np.inf)
    face_index = np.zeros(len(points), np.int64)
    weights = np.zeros((len(points), 2))
    best = (distance, face_index, weights)
    _, first = KDTree(triangles.centre).query(points)
    _keep_nearer(points, triangles, np.arange(len(points)), np.asarray(first, np.int64), best)
    for members in _size_classes(triangles.radius):
        tree = KDTree(triangles.centre[members])
        largest = float(triangles.radius[members].max())
        open_searches = [(np.arange(len(points)), 0, min(FIRST_NEIGHBOURS, len(members)))]
        while open_searches:
            asked, seen, wanted = open_searches.pop()
            for rows in _batches(asked, wanted):
                found = tree.query(points[rows], k=wanted)
                from_centre, neighbour = (np.asarray(part).reshape(len(rows), wanted) for part in found)
                candidates = members[neighbour[:, seen:]]
                bound = from_centre[:, seen:] - triangles.radius[candidates]
                row, column = np.nonzero(bound < distance[rows, None])
                _keep_nearer(points, triangles, rows[row], candidates[row, column], best)
                unsettled = rows[from_centre[:, -1] - largest < distance[rows]]
                if len(unsettled) and wanted < len(members):
                    open_searches.append((unsettled, wanted, min(4 * wanted, len(members))))
    v, w = weights.T
    nearest = _place(triangles, face_index, v, w)
    return ClosestPoints(distance, face_index, np.stack([np.maximum(1 - v - w, 0), v, w], 1), nearest)


def signed_distance(
    points: Float[np.ndarray, "n 3"],
    closest: ClosestPoints,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
) -> Float[np.ndarray, "n"]:
    """Distances that are negative behind the surface, for the closest points of the same mesh.

    The side is told by the normal of the triangle, edge or corner that carries the nearest place; on a closed mesh
    negative means inside. Source: Baerentzen & Aanaes 2005, "Signed Distance Computation Using the Angle Weighted
    Pseudonormal".
    """
    weights = closest.barycentric
    normals = face_normals(vertices.astype(np.float64), faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    side = normals[closest.face_index].copy()
    opposite = weights < ON_EDGE
    on_edge = np.flatnonzero(opposite.sum(1) == 1)
    side[on_edge] = _edge_normals(faces, normals)[closest.face_index[on_edge], opposite[on_edge].argmax(1)]
    on_corner = np.flatnonzero(opposite.sum(1) >= 2)
    corner = faces[closest.face_index[on_corner], weights[on_corner].argmax(1)]
    side[on_corner] = _corner_normals(vertices.astype(np.float64), faces, normals)[corner]
    behind = ((points.astype(np.float64) - closest.points) * side).sum(1) < 0
    return np.where(behind, -closest.distance, closest.distance)


def _size_classes(radius: Float[np.ndarray, "f"]) -> Iterator[Int[np.ndarray, "m"]]:
    """Triangles of like size together, the most numerous first."""
    largest = max(float(radius.max()), 1e-30)
    halvings = np.log2(largest / np.maximum(radius, largest * 2.0**-SIZE_CLASSES))
    size_class = (2 * halvings).astype(int).clip(0, SIZE_CLASSES - 1)
    for number in np.argsort(-np.bincount(size_class), kind="stable"):
        members = np.flatnonzero(size_class == number)
        if len(members):
            yield members


def _batches(rows: Int[np.ndarray, "n"], pairs_per_row: int) -> Iterator[Int[np.ndarray, "m"]]:
    size = max(1, LARGEST_BATCH // pairs_per_row)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _keep_nearer(
    points: Float[np.ndarray, "n 3"],
    triangles: _Triangles,
    rows: Int[np.ndarray, "p"],
    face: Int[np.ndarray, "p"],
    best: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Test pairs of a point and a triangle (a point's pairs in a row), and note what beats the best so far."""
    if not len(rows):
        return
    distance, face_index, weights = best
    v, w = _closest_in_triangle(points[rows], triangles, face)
    pair_distance = np.linalg.norm(points[rows] - _place(triangles, face, v, w), axis=1)
    first_of_row = np.flatnonzero(np.diff(rows, prepend=-1))
    least = np.minimum.reduceat(pair_distance, first_of_row)
    point = rows[first_of_row]
    winner = np.flatnonzero(pair_distance == np.repeat(least, np.diff(first_of_row, append=len(rows))))
    winner = winner[np.flatnonzero(np.diff(rows[winner], prepend=-1))]
    better = least < distance[point]
    point, winner = point[better], winner[better]
    distance[point], face_index[point] = pair_distance[winner], face[winner]
    weights[point] = np.stack([v[winner], w[winner]], 1)


def _place(triangles: _Triangles, face: np.ndarray, v: np.ndarray, w: np.ndarray) -> Float[np.ndarray, "p 3"]:
    return triangles.corner[face] + v[:, None] * triangles.edge_1[face] + w[:, None] * triangles.edge_2[face]


def _closest_in_triangle(
    points: Float[np.ndarray, "p 3"], triangles: _Triangles, face: Int[np.ndarray, "p"]
) -> tuple[Float[np.ndarray, "p"], Float[np.ndarray, "p"]]:
    """Weights (v, w) of the second and third corner at the place of the triangle nearest to its point.

    The foot of the perpendicular if it falls inside, else the nearest of the three edges' nearest places; that holds
    for triangles without area too. Source: the case split of Ericson 2005, "Real-Time Collision Detection", 5.1.5.
    """
    edge_1, edge_2 = triangles.edge_1[face], triangles.edge_2[face]
    from_corner = points - triangles.corner[face]
    e11, e12, e22 = _dot(edge_1, edge_1), _dot(edge_1, edge_2), _dot(edge_2, edge_2)
    p1, p2 = _dot(from_corner, edge_1), _dot(from_corner, edge_2)
    area2 = e11 * e22 - e12**2
    flat = area2 <= 1e-14 * e11 * e22
    safe = np.where(flat, 1.0, area2)
    v, w = (e22 * p1 - e12 * p2) / safe, (e11 * p2 - e12 * p1) / safe
    outside = flat | (v < 0) | (w < 0) | (v + w > 1)
    e11, e12, e22, p1, p2 = (value[outside] for value in (e11, e12, e22, p1, p2))
    along_1, along_2 = _clamped(p1, e11), _clamped(p2, e22)
    along_3 = _clamped(e11 - e12 + p2 - p1, e11 - 2 * e12 + e22)  # from the second corner to the third
    zero = np.zeros_like(p1)
    edge_v = np.stack([along_1, zero, 1 - along_3])
    edge_w = np.stack([zero, along_2, along_3])
    # |from_corner - v e1 - w e2|^2, less its constant part
    score = edge_v**2 * e11 + 2 * edge_v * edge_w * e12 + edge_w**2 * e22 - 2 * (edge_v * p1 + edge_w * p2)
    edge = score.argmin(0)[None]
    v[outside] = np.take_along_axis(edge_v, edge, 0)[0]
    w[outside] = np.take_along_axis(edge_w, edge, 0)[0]
    return v, w


def _dot(a: Float[np.ndarray, "p 3"], b: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p"]:
    return np.einsum("pi,pi->p", a, b)


def _clamped(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return (part / np.where(whole > 0, whole, 1.0)).clip(0, 1)


def _edge_normals(faces: Int[np.ndarray, "f 3"], normals: Float[np.ndarray, "f 3"]) -> Float[np.ndarray, "f 3 3"]:
    """For the edge opposite each corner of each triangle, the sum of the normals of all triangles on that edge."""
    edges = np.sort(np.stack([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]], 1).reshape(-1, 2), axis=1)
    _, edge = np.unique(edges, axis=0, return_inverse=True)
    edge = edge.reshape(-1)
    sums = np.stack([np.bincount(edge, np.repeat(normals[:, axis], 3)) for axis in range(3)], 1)
    return sums[edge].reshape(-1, 3, 3)


def _corner_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], normals: Float[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v 3"]:
    """For each vertex, the normals of its triangles weighted by the angle each spans there."""
    corners = vertices[faces]
    sums = np.zeros_like(vertices)
    for corner in range(3):
        to_next = corners[:, (corner + 1) % 3] - corners[:, corner]
        to_last = corners[:, (corner + 2) % 3] - corners[:, corner]
        lengths = np.linalg.norm(to_next, axis=1) * np.linalg.norm(to_last, axis=1)
        angle = np.arccos((_dot(to_next, to_last) / np.maximum(lengths, 1e-30)).clip(-1, 1))
        for axis in range(3):
            sums[:, axis] += np.bincount(faces[:, corner], angle * normals[:, axis], len(vertices))
    return sums
