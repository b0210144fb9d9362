"""Neighbourhoods against a plain search, and that they are worked out once."""

import numpy as np
import torch

from rendering.topology import topology
from tests.rendering.scenes import icosphere


def plain_across(faces: np.ndarray) -> np.ndarray:
    edges: dict[frozenset, list[int]] = {}
    for number, face in enumerate(faces):
        for k in range(3):
            edges.setdefault(frozenset((int(face[k]), int(face[(k + 1) % 3]))), []).append(number)
    across = np.full(faces.shape, -1)
    for number, face in enumerate(faces):
        for k in range(3):
            met = edges[frozenset((int(face[k]), int(face[(k + 1) % 3])))]
            if len(met) == 2:
                across[number, k] = met[0] if met[1] == number else met[1]
    return across


def test_neighbours_borders_and_edges_of_three():
    random = np.random.default_rng(1)
    soup = np.stack([random.permutation(9)[:3] for _ in range(14)])
    for faces in (icosphere(1).faces.numpy(), icosphere(1).faces.numpy()[::2].copy(), soup):
        found = topology(torch.from_numpy(faces), int(faces.max()) + 1)
        np.testing.assert_array_equal(found.across.numpy(), plain_across(faces))


def test_corners_by_vertex():
    faces = torch.tensor([[2, 0, 1], [2, 1, 4]])
    found = topology(faces, 6)
    assert found.corners.tolist() == [1, 2, 4, 0, 3, 5]
    assert found.first_corner.tolist() == [0, 1, 3, 5, 5, 6, 6]


def test_remembered_until_the_faces_change():
    faces = icosphere(1).faces.clone()
    first = topology(faces, 42)
    assert topology(faces, 42) is first
    assert topology(faces, 50) is not first
    faces[0] = faces[0].flip(0)
    assert topology(faces, 42).faces[0].tolist() == faces[0].tolist()


def test_other_memory_behind_the_same_tensor():
    faces = icosphere(1).faces.clone()
    topology(faces, 42)
    faces.data = faces.flip(0)[:20].clone()
    assert topology(faces, 42).faces.tolist() == faces.tolist()


def test_a_face_with_a_repeated_vertex_parts_no_others():
    found = topology(torch.tensor([[0, 1, 2], [2, 1, 3], [1, 1, 2]], dtype=torch.int8), 128)
    assert found.across.tolist() == [[-1, 1, -1], [0, -1, -1], [-1, -1, -1]]
    assert found.first_corner.tolist()[-1] == 9 and (found.first_corner.diff() >= 0).all()


def test_no_faces():
    found = topology(torch.zeros(0, 3, dtype=torch.int64), 4)
    assert found.across.shape == (0, 3) and found.first_corner.tolist() == [0] * 5
