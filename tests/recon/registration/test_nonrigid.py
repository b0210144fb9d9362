"""A bumpy ball registered to what it was made into: to tenths of a per cent, over holes and beside clutter."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from geometry.distance import point_to_mesh_distance
from geometry.meshes import Mesh
from recon.registration.nonrigid import Landmarks, RegistrationConfig, Template, register
from recon.registration.points import SurfacePoints, surface_points, vertex_points

RADIUS_M = 0.09
NO_LANDMARKS = Landmarks(np.zeros((0, 3), int), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))


def ball(subdivisions: int) -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions, RADIUS_M)
    return Mesh(np.asarray(sphere.vertices, float), np.asarray(sphere.faces, np.int64))


def grown(points: np.ndarray) -> np.ndarray:
    """A smooth deformation of some millimetres that no rigid motion explains."""
    x, y, z = (points / RADIUS_M).T
    return points * (1 + 0.04 * np.sin(3 * x + y) * np.cos(2 * z))[:, None] + [0.001, 0.0, -0.001]


def template_of(mesh: Mesh) -> Template:
    count = len(mesh.vertices)
    none = np.zeros(count, int), np.array([0.0, 1.0, 0.0])
    nothing = np.zeros((0, 2), int), np.zeros(count, bool)
    return Template(mesh.vertices, mesh.faces, np.ones(count), np.zeros(len(mesh.faces), bool), *none, *nothing)


@pytest.fixture(scope="module")
def surface() -> Mesh:
    fine = ball(5)
    return replace(fine, vertices=grown(fine.vertices))


def test_half_of_a_surface_tells_where_the_other_half_is(surface):
    points, used = vertex_points(surface), np.random.default_rng(1).random(len(surface.vertices)) < 0.5
    template = template_of(ball(4))
    done = register(template, points.drawn(used), NO_LANDMARKS)
    held_out = surface.vertices[~used]
    before = point_to_mesh_distance(held_out, template.vertices, template.faces).distance
    after = point_to_mesh_distance(held_out, done.vertices, template.faces).distance
    print(f"held out: {1e3 * np.median(before):.2f} mm before, {1e3 * np.median(after):.3f} mm after")
    assert np.median(before) > 1e-3
    assert np.median(after) < 5e-5
    assert done.flipped == 0
    assert done.matched.min() > 0.3


def test_over_a_hole_the_shape_is_carried_on_and_said_to_be(surface):
    kept = surface.vertices[surface.faces].mean(1)[:, 2] < 0.7 * RADIUS_M
    points = surface_points(Mesh(surface.vertices, surface.faces[kept]), 0.003)
    template = template_of(ball(4))
    done = register(template, points, NO_LANDMARKS)
    over = template.vertices[:, 2] > 0.8 * RADIUS_M
    away = np.linalg.norm(done.vertices - grown(template.vertices), axis=1)[over]
    print(f"over the hole: {1e3 * away.max():.2f} mm")
    assert away.max() < 3e-3
    assert done.matched[over].max() < 0.1
    assert done.flipped == 0


def test_clutter_far_away_or_turned_away_pulls_nothing(surface):
    points = surface_points(surface, 0.003)
    normals = points.points / np.linalg.norm(points.points, axis=1, keepdims=True)
    inside = SurfacePoints(points.points - 0.003 * normals, -points.normals, points.areas)
    far = SurfacePoints(points.points + 0.03 * normals, points.normals, points.areas)
    both = SurfacePoints(*(np.concatenate(part) for part in zip(*map(_parts, (points, inside, far)), strict=True)))
    template = template_of(ball(4))
    clean, cluttered = register(template, points, NO_LANDMARKS), register(template, both, NO_LANDMARKS)
    assert np.linalg.norm(clean.vertices - cluttered.vertices, axis=1).max() < 3e-4


def _parts(points: SurfacePoints) -> tuple[np.ndarray, ...]:
    return points.points, points.normals, points.areas


def test_landmarks_turn_a_ball_that_its_surface_cannot_turn():
    template, turn = template_of(ball(3)), Rotation.from_rotvec([0, 0.1, 0]).as_matrix()
    corners = template.faces[::20]
    wanted = template.vertices[corners].mean(1) @ turn.T
    landmarks = Landmarks(corners, np.full((len(corners), 3), 1 / 3), wanted, np.ones(len(corners)))
    points = surface_points(ball(4), 0.004)
    still, turned = register(template, points, NO_LANDMARKS), register(template, points, landmarks)
    off = [np.median(np.linalg.norm(r.vertices[corners].mean(1) - wanted, axis=1)) for r in (still, turned)]
    print(f"landmarks: {1e3 * off[0]:.2f} mm without, {1e3 * off[1]:.2f} mm with")
    assert off[0] > 5e-3
    assert off[1] < 1e-3


def test_a_loose_part_follows_its_surroundings_unbent(surface):
    outer, inner = ball(4), ball(2)
    eye = inner.vertices * 0.1 + [0, 0, 0.07]
    vertices = np.concatenate([outer.vertices, eye])
    faces = np.concatenate([outer.faces, inner.faces + len(outer.vertices)])
    trust = np.concatenate([np.ones(len(outer.vertices)), np.zeros(len(eye))])
    template = replace(template_of(Mesh(vertices, faces)), trust=trust)
    done = register(template, surface_points(surface, 0.003), NO_LANDMARKS)
    moved = done.vertices[len(outer.vertices) :]
    sizes = [np.linalg.norm(ball - ball.mean(0), axis=1) for ball in (eye, moved)]
    np.testing.assert_allclose(sizes[0], sizes[1], atol=1e-9)
    assert np.linalg.norm(moved.mean(0) - grown(eye.mean(0)[None] * RADIUS_M / 0.07)[0] * 0.07 / RADIUS_M) < 2e-3


def test_what_crosses_is_parted_and_nothing_flips():
    """Two sheets, an upper and a lower one, whose rims overlap by two millimetres where the surface has one plane."""
    side = 15
    u, v = np.meshgrid(np.linspace(-0.02, 0.02, side), np.linspace(0, 0.02, side), indexing="ij")
    grid = np.arange(side * side).reshape(side, side)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    upward = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    slope = 0.001 * np.cos(np.pi * v / 0.02)
    upper = np.stack([u, v - 0.001, slope], -1).reshape(-1, 3)
    lower = np.stack([u, -(v - 0.001), -slope * 0.5], -1).reshape(-1, 3)
    faces = np.concatenate([upward, upward[:, ::-1] + len(upper)])
    edge = np.concatenate([v.ravel() < 0.008] * 2)
    which = np.repeat([1, -1], len(upper))
    template = Template(
        np.concatenate([upper, lower]),
        faces,
        np.ones(2 * len(upper)),
        np.asarray(edge[faces].all(1)),
        np.where(edge, which, 0),
        np.array([0.0, 1.0, 0.0]),
        np.zeros((0, 2), int),
        np.zeros(2 * len(upper), bool),
    )
    points = SurfacePoints(
        template.vertices * [1, 1, 0], np.tile([0.0, 0.0, 1.0], (len(which), 1)), np.full(len(which), 4e-6)
    )
    unmended = register(template, points, NO_LANDMARKS, replace(RegistrationConfig(), repairs=0))
    done = register(template, points, NO_LANDMARKS)
    print(f"crossing: {done.crossing_before} before, {unmended.crossing} unmended, {done.crossing} after")
    assert done.crossing_before > 10
    assert done.crossing == 0
    assert done.flipped == 0
