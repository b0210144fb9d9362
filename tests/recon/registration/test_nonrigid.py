"""A bumpy ball registered to what it was made into: to tenths of a per cent, over holes and beside clutter."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from geometry.distance import point_to_mesh_distance
from geometry.meshes import Mesh
from recon.registration.nonrigid import Landmarks, Template, register
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
    about = np.argsort(np.linalg.norm(outer.vertices - eye.mean(0), axis=1))[:60]
    carried = (done.vertices[about] - outer.vertices[about]).mean(0)
    print(f"surroundings moved {1e3 * np.linalg.norm(carried):.2f} mm")
    assert np.linalg.norm(carried) > 1e-3
    assert np.linalg.norm(moved.mean(0) - eye.mean(0) - carried) < 0.6 * np.linalg.norm(carried)


SIDE, SLIT = 33, slice(6, 27)


def slit_sheet(half_gap_m: float, bend_m: float = 0.0) -> tuple[Template, np.ndarray]:
    """A sheet with a slit along x, its rims so far from the middle (overlapping if negative); pairs of its rims."""
    u, v = np.meshgrid(np.linspace(-0.02, 0.02, SIDE), np.linspace(-0.02, 0.02, SIDE), indexing="ij")
    upper, middle = np.arange(SIDE * SIDE).reshape(SIDE, SIDE), SIDE // 2
    lower = upper.copy()
    lower[SLIT, middle] = SIDE * SIDE + np.arange(SLIT.stop - SLIT.start)
    faces = []
    for grid, columns in ((upper, range(middle, SIDE - 1)), (lower, range(middle))):
        for k in columns:
            a, b, c, d = grid[:-1, k], grid[1:, k], grid[1:, k + 1], grid[:-1, k + 1]
            faces += [np.stack([a, b, c], -1), np.stack([a, c, d], -1)]
    places = np.stack([u, v, 0 * u], -1).reshape(-1, 3)
    places = np.concatenate([places, places[upper[SLIT, middle]]])
    side = np.where(places[:, 1] > 0, 1, -1)
    side[upper[SLIT, middle]] = 1
    opened = np.sin(np.pi * np.clip((places[:, 0] + 0.0125) / 0.025, 0, 1))
    near = opened * np.exp(-((places[:, 1] / 0.005) ** 2)) * side
    places[:, 1] += half_gap_m * near
    places[:, 2] += bend_m * near
    side[np.abs(places[:, 1]) > 0.008] = 0
    triangles = np.concatenate(faces)
    watched = np.asarray((side[triangles] != 0).all(1))
    nothing = np.zeros((0, 2), int), np.zeros(len(places), bool)
    template = Template(places, triangles, np.ones(len(places)), watched, side, np.array([0.0, 1.0, 0.0]), *nothing)
    inner = slice(SLIT.start + 5, SLIT.stop - 5)
    return template, np.stack([upper[inner, middle], lower[inner, middle]], 1)


def plane() -> SurfacePoints:
    """Where the sheet is to lie."""
    x, y = np.meshgrid(np.linspace(-0.02, 0.02, 41), np.linspace(-0.02, 0.02, 41))
    points = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    return SurfacePoints(points, np.tile([0.0, 0.0, 1.0], (len(points), 1)), np.full(len(points), 1e-6))


def test_what_crosses_is_parted_and_nothing_flips():
    template, pairs = slit_sheet(-0.001, 0.0003)
    done = register(template, plane(), NO_LANDMARKS)
    gaps = done.vertices[pairs[:, 0], 1] - done.vertices[pairs[:, 1], 1]
    print(f"crossing: {done.crossing_before} before, {done.crossing} after; gaps {1e3 * gaps.min():.2f} mm and more")
    assert done.crossing_before > 10
    assert done.crossing == 0
    assert done.flipped == 0


def test_an_eye_that_would_stick_out_of_its_lids_is_drawn_back(surface):
    outer, inner = ball(4), ball(2)
    eye = inner.vertices * 0.13 + [0, 0, RADIUS_M - 0.010]
    vertices = np.concatenate([outer.vertices, eye])
    faces = np.concatenate([outer.faces, inner.faces + len(outer.vertices)])
    is_eye = np.arange(len(vertices)) >= len(outer.vertices)
    template = replace(template_of(Mesh(vertices, faces)), trust=1.0 - is_eye)
    points = surface_points(ball(5), 0.003)
    poking, beneath = (
        register(replace(template, beneath=is_eye & hidden), points, NO_LANDMARKS) for hidden in (False, True)
    )
    out = [(np.linalg.norm(r.vertices[is_eye], axis=1) - RADIUS_M).max() for r in (poking, beneath)]
    print(f"above the surface: {1e3 * out[0]:.2f} mm, drawn back {1e3 * out[1]:.2f} mm")
    assert out[0] > 1e-3
    assert out[1] < 2e-4


def test_partners_that_touch_are_drawn_together_without_crossing():
    template, pairs = slit_sheet(0.001)
    apart = register(template, plane(), NO_LANDMARKS)
    together = register(replace(template, meeting=pairs), plane(), NO_LANDMARKS)
    gaps = [np.median(r.vertices[pairs[:, 0], 1] - r.vertices[pairs[:, 1], 1]) for r in (apart, together)]
    print(f"gap: {1e3 * gaps[0]:.2f} mm alone, {1e3 * gaps[1]:.2f} mm drawn together")
    assert gaps[0] > 1e-3
    assert 0 < gaps[1] < 0.4e-3
    assert together.flipped == together.crossing == 0
