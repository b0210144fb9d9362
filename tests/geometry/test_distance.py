"""The fast search finds what a search through every triangle finds."""

import numpy as np
import pytest

from geometry.distance import point_to_mesh_distance, signed_distance
from geometry.errors import InputError


def _brute_force(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Distance to every triangle by the region test of the books, one point and one triangle at a time."""
    least = np.full(len(points), np.inf)
    for a, b, c in vertices[faces]:
        for row, point in enumerate(points):
            candidates = [_on_segment(point, *ends) for ends in ((a, b), (b, c), (c, a))]
            normal = np.cross(b - a, c - a)
            if np.linalg.norm(normal) > 0:
                unit = normal / np.linalg.norm(normal)
                foot = point - unit * (unit @ (point - a))
                if all(np.cross(q - p, foot - p) @ unit >= 0 for p, q in ((a, b), (b, c), (c, a))):
                    candidates.append(foot)
            least[row] = min(least[row], *(float(np.linalg.norm(point - place)) for place in candidates))
    return least


def _on_segment(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    length2 = (end - start) @ (end - start)
    return start + (end - start) * (np.clip((point - start) @ (end - start) / length2, 0, 1) if length2 else 0.0)


def _sphere(rows: int = 24, columns: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """A closed unit sphere with poles, so its triangles differ in size."""
    polar, turn = np.meshgrid(np.linspace(0, np.pi, rows), np.arange(columns) * 2 * np.pi / columns, indexing="ij")
    xyz = np.stack([np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)], -1).reshape(-1, 3)
    number = np.arange(rows * columns).reshape(rows, columns)
    number[0], number[-1] = number[0, 0], number[-1, 0]
    a, b = number[:-1], number[1:]
    c, d = np.roll(b, -1, 1), np.roll(a, -1, 1)
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return xyz, faces[distinct]


@pytest.mark.parametrize("spread", [0.02, 1.0, 30.0])
def test_every_distance_is_that_of_brute_force(spread: float) -> None:
    """Triangle soup of sizes over four orders of magnitude, slivers and points among them."""
    rng = np.random.default_rng(3)
    size = 10.0 ** rng.uniform(-3, 0.5, (60, 1, 1))
    corners = rng.normal(size=(60, 1, 3)) + size * rng.normal(size=(60, 3, 3))
    corners[:5, 2] = corners[:5, 0] * 0.3 + corners[:5, 1] * 0.7
    corners[5:8, 1:] = corners[5:8, :1]
    vertices, faces = corners.reshape(-1, 3), np.arange(180).reshape(60, 3)
    points = np.concatenate([rng.normal(size=(60, 3)) * spread, vertices[:20], corners.mean(1)[:20]])
    closest = point_to_mesh_distance(points, vertices, faces)
    np.testing.assert_allclose(closest.distance, _brute_force(points, vertices, faces), atol=1e-9)


def test_the_nearest_place_lies_on_its_triangle_at_its_distance() -> None:
    vertices, faces = _sphere()
    points = np.random.default_rng(4).normal(size=(500, 3))
    closest = point_to_mesh_distance(points, vertices, faces)
    assert closest.barycentric.min() >= 0
    np.testing.assert_allclose(closest.barycentric.sum(1), 1)
    places = (vertices[faces[closest.face_index]] * closest.barycentric[..., None]).sum(1)
    np.testing.assert_allclose(closest.points, places, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(points - places, axis=1), closest.distance, atol=1e-12)


def test_many_points_far_away_need_no_more_memory_and_find_the_same() -> None:
    """From the centre every triangle of a sphere is about as near: the search must widen to all of them."""
    vertices, faces = _sphere()
    points = np.random.default_rng(5).normal(size=(300, 3)) * 1e-3
    closest = point_to_mesh_distance(points, vertices, faces)
    np.testing.assert_allclose(closest.distance[:12], _brute_force(points[:12], vertices, faces), atol=1e-12)


def test_the_sign_is_inside_or_outside_even_at_edges_and_corners() -> None:
    vertices, faces = _sphere(8, 10)
    middles = (vertices[faces[:, 0]] + vertices[faces[:, 1]]) / 2
    on_surface = np.concatenate([vertices[np.unique(faces)], middles, vertices[faces].mean(1)])
    for scale, sign in ((1.3, 1), (0.9, -1)):
        points = on_surface * scale
        closest = point_to_mesh_distance(points, vertices, faces)
        signed = signed_distance(points, closest, vertices, faces)
        assert (np.sign(signed) == sign).all()
        np.testing.assert_array_equal(np.abs(signed), closest.distance)


def test_a_sharp_spike_keeps_its_sign() -> None:
    """Beyond an acute corner the nearest triangle's own normal may point away from the point."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.1, 0.1, 0.05]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    points = np.random.default_rng(6).uniform(-0.5, 1.5, (400, 3))
    signed = signed_distance(points, point_to_mesh_distance(points, vertices, faces), vertices, faces)
    weights = np.linalg.solve((vertices[1:] - vertices[0]).T, (points - vertices[0]).T).T
    inside = (weights > 0).all(1) & (weights.sum(1) < 1)
    np.testing.assert_array_equal(signed < 0, inside)


def test_float32_and_no_points_are_fine_and_nonsense_is_refused() -> None:
    vertices, faces = _sphere()
    assert len(point_to_mesh_distance(np.zeros((0, 3)), vertices, faces).distance) == 0
    far = point_to_mesh_distance(np.array([[0, 3, 0]], np.float32), vertices.astype(np.float32), faces.astype(np.int32))
    np.testing.assert_allclose(far.distance, 2, atol=1e-6)
    with pytest.raises(InputError, match="with triangles"):
        point_to_mesh_distance(np.zeros((1, 3)), vertices, faces[:0])
    with pytest.raises(InputError, match="finite"):
        point_to_mesh_distance(np.full((1, 3), np.nan), vertices, faces)
