"""Borders, bits and order of extracted surfaces."""

import numpy as np

from geometry.meshes import Mesh
from recon.fusion.trimming import Trimming, border_edges, canonical_order, face_components, trim


def _sheet(size: int, step_m: float = 0.01, hole: bool = False) -> Mesh:
    x, y = np.meshgrid(np.arange(size) * step_m, np.arange(size) * step_m)
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(size * size)], 1)
    corner = (np.arange(size - 1)[:, None] * size + np.arange(size - 1)).ravel()
    if hole:
        corner = corner[corner != (size // 2) * size + size // 2]
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + size + 1], 1), np.stack([corner, corner + size + 1, corner + size], 1)]
    )
    return Mesh(vertices, faces)


def test_peeling_takes_one_ring_off_the_outer_border_only() -> None:
    mesh = _sheet(13, hole=True)
    peeled = trim(mesh, Trimming(border_rings=1, shortest_border_m=0.1, smallest_component_m2=0))
    assert len(mesh.faces) - len(peeled.faces) == 2 * (12**2 - 10**2)
    everywhere = trim(mesh, Trimming(border_rings=1, shortest_border_m=0, smallest_component_m2=0))
    assert len(everywhere.faces) < len(peeled.faces)


def test_components_below_the_least_area_go() -> None:
    large, small = _sheet(9), _sheet(3)
    both = Mesh(
        np.concatenate([large.vertices, small.vertices + np.array([0, 0, 1.0])]),
        np.concatenate([large.faces, small.faces + len(large.vertices)]),
    )
    assert face_components(both.faces, len(both.vertices)).max() == 1
    left = trim(both, Trimming(border_rings=0, smallest_component_m2=1e-3))
    assert len(left.vertices) == 81 and len(left.faces) == len(large.faces)
    assert len(trim(both, Trimming(border_rings=0, smallest_component_m2=0)).faces) == len(both.faces)
    assert len(trim(both, Trimming(border_rings=0, smallest_component_m2=1.0)).faces) == 0


def test_border_edges_of_a_sheet_are_its_rim() -> None:
    assert len(border_edges(_sheet(5).faces, 25)) == 16


def test_order_does_not_depend_on_how_the_mesh_was_numbered() -> None:
    mesh = _sheet(6)
    rng = np.random.default_rng(0)
    shuffle = rng.permutation(len(mesh.vertices))
    rank = np.argsort(shuffle)
    faces = np.roll(rank[mesh.faces], 1, axis=1)[rng.permutation(len(mesh.faces))]
    flat = np.array([[0, 0, 1]])
    expected, got = (
        canonical_order(mesh.vertices, mesh.faces),
        canonical_order(mesh.vertices[shuffle], np.concatenate([faces, flat])),
    )
    assert np.array_equal(expected[0], got[0]) and np.array_equal(expected[1], got[1])
    a, b, c = (got[0][got[1][:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
