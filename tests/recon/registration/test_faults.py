"""Flipped and crossing triangles, on shapes where their number is known."""

import numpy as np

from recon.registration.faults import crossing_triangles, flipped_triangles

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
FACES = np.array([[0, 1, 2], [0, 2, 3]])


def test_a_vertex_dragged_over_the_opposite_edge_flips_its_triangle_alone():
    moved = SQUARE.copy()
    moved[1] = [0.2, 0.9, 0]
    assert flipped_triangles(SQUARE, moved, FACES).tolist() == [True, False]
    assert not flipped_triangles(SQUARE, SQUARE + 3, FACES).any()


def test_a_triangle_without_area_counts_as_flipped():
    flat = SQUARE.copy()
    flat[1] = [0.5, 0.5, 0]
    assert flipped_triangles(SQUARE, flat, FACES).tolist() == [True, False]


def test_a_square_pushed_through_another_crosses_it_and_one_beside_it_does_not():
    upright = SQUARE[:, [0, 2, 1]] + [0.1, 0.4, -0.5]
    vertices, faces = np.concatenate([SQUARE, upright]), np.concatenate([FACES, FACES + 4])
    watched = np.ones(4, bool)
    pairs = crossing_triangles(vertices, faces, watched)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(0, 2), (0, 3), (1, 3)}
    assert not len(crossing_triangles(vertices, faces, np.array([True, True, False, False])))
    vertices[4:, 2] += 0.6
    assert not len(crossing_triangles(vertices, faces, watched))
