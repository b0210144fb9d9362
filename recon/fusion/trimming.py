"""What extraction leaves hanging about a fused surface, and an order of vertices that never changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geometry.meshes import Mesh, face_normals


@dataclass(frozen=True)
class Trimming:
    """What of an extracted surface to leave out."""

    border_rings: int = 1
    """Rings of triangles to peel off open borders, where few measurements support the surface."""
    shortest_border_m: float = 0.15
    """Borders shorter than this are holes inside the surface; peeling would only widen them."""
    smallest_component_m2: float = 5e-4
    """Components of a smaller area are floating bits; 0 keeps them."""


def trim(mesh: Mesh, trimming: Trimming) -> Mesh:
    """The mesh without ragged borders and floating bits; may be empty."""
    faces = mesh.faces
    for _ in range(trimming.border_rings):
        faces = faces[~_touches_border(mesh.vertices, faces, trimming.shortest_border_m)]
    if trimming.smallest_component_m2 > 0 and len(faces):
        component = face_components(faces, len(mesh.vertices))
        area = np.bincount(component, np.linalg.norm(face_normals(mesh.vertices, faces), axis=1) / 2)
        faces = faces[area[component] >= trimming.smallest_component_m2]
    return without_unused(Mesh(mesh.vertices, faces, mesh.colours))


def canonical_order(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "g 3"]]:
    """The same surface with vertices and triangles sorted, and without triangles of no area.

    Parallel extraction numbers vertices by chance; sorted by position, every run gives the same bytes.
    """
    order = np.lexsort(vertices.T)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    vertices, faces = vertices[order].astype(np.float64), rank[faces]
    faces = faces[np.linalg.norm(face_normals(vertices, faces), axis=1) > 0]
    first = faces.argmin(1)
    faces = np.stack([faces[np.arange(len(faces)), (first + corner) % 3] for corner in range(3)], 1)
    return vertices, faces[np.lexsort(faces.T[::-1])]


def without_slivers(mesh: Mesh, shortest_m: float) -> Mesh:
    """The mesh with vertices merged that edges shorter than this tie together, at their middle.

    Marching cubes puts up to six vertices about a grid point that lies nearly on the surface, and slivers between them.
    """
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    short = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1) < shortest_m
    cluster = _connected(edges[short], len(mesh.vertices))
    size = np.bincount(cluster)[:, None]
    middle = np.stack([np.bincount(cluster, mesh.vertices[:, axis]) for axis in range(3)], 1) / size
    faces = cluster[mesh.faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    vertices, faces = canonical_order(middle, faces[whole])
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return without_unused(Mesh(vertices, faces[np.sort(first)]))


def face_components(faces: Int[np.ndarray, "f 3"], vertex_count: int) -> Int[np.ndarray, "f"]:
    """Number of the connected component that each triangle belongs to."""
    of_vertex = _connected(np.concatenate([faces[:, :2], faces[:, 1:]]), vertex_count)
    return np.unique(of_vertex[faces[:, 0]], return_inverse=True)[1]


def border_edges(faces: Int[np.ndarray, "f 3"], vertex_count: int) -> Int[np.ndarray, "e 2"]:
    """Edges that have one triangle only."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64), axis=1)
    _, first, count = np.unique(edges @ [vertex_count, 1], return_index=True, return_counts=True)
    return edges[first[count == 1]]


def without_unused(mesh: Mesh) -> Mesh:
    """The mesh without vertices that no triangle uses; their order stays."""
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    rank = np.cumsum(used) - 1
    return Mesh(mesh.vertices[used], rank[mesh.faces], None if mesh.colours is None else mesh.colours[used])


def _touches_border(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], shortest_m: float
) -> Bool[np.ndarray, "f"]:
    """Triangles with a corner on a border of at least this length."""
    edges = border_edges(faces, len(vertices))
    on_border = np.zeros(len(vertices), bool)
    if len(edges):
        border = _connected(edges, len(vertices))[edges[:, 0]]
        length = np.bincount(border, np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1))
        on_border[edges[length[border] >= shortest_m]] = True
    return np.asarray(on_border[faces].any(1))


def _connected(edges: Int[np.ndarray, "e 2"], vertex_count: int) -> Int[np.ndarray, "v"]:
    """Number of the connected component that each vertex belongs to."""
    ones = np.ones(len(edges), np.int8)
    graph = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(vertex_count, vertex_count))
    return connected_components(graph, directed=False)[1]
