"""A surface follows all pixels, its noise falls, and neither its shape nor its border suffers."""

from dataclasses import replace

import numpy as np
import pytest

from geometry.errors import InputError
from geometry.meshes import Mesh, face_normals
from recon.fusion.depth_view import DepthView
from recon.fusion.refinement import Refinement, bending_energy, refine
from recon.fusion.trimming import border_edges, without_slivers
from recon.fusion.tsdf import FusionConfig, fuse_tsdf
from tests.recon.analytic_scene import CENTRE, LENS, RADIUS_M, depth_camera, four_cameras, sphere_depth

SIGMA_AT_1M_M = 2.3e-3


def noisy_views(seed: int, sigma_m: float = SIGMA_AT_1M_M) -> list[DepthView]:
    rng = np.random.default_rng(seed)
    views = []
    for camera in four_cameras():
        depth = sphere_depth(camera).astype(np.float64)
        depth += sigma_m * depth**2 * rng.normal(size=depth.shape)
        views.append(DepthView(camera, np.where(sphere_depth(camera) > 0, depth, 0).astype(np.float32)))
    return views


def error_mm(mesh: Mesh) -> np.ndarray:
    return (np.linalg.norm(mesh.vertices - CENTRE, axis=1) - RADIUS_M) * 1000


def sheet(side: int = 30, step: float = 0.002) -> Mesh:
    """A flat square, its triangles all alike."""
    x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    vertices = np.stack([x.ravel() * step, y.ravel() * step, np.zeros(side * side)], 1)
    corner = (x[:-1, :-1] * side + y[:-1, :-1]).ravel()
    faces = np.concatenate(
        [
            np.stack([corner, corner + side, corner + 1], 1),
            np.stack([corner + 1, corner + side, corner + side + 1], 1),
        ]
    )
    return Mesh(vertices, faces)


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_the_volume_falls_by_a_third_at_least_and_the_sphere_keeps_its_size(seed: int) -> None:
    views = noisy_views(seed)
    rough = fuse_tsdf(views, FusionConfig())
    fine = refine(rough, views, Refinement())
    before, after = error_mm(rough), error_mm(fine)
    assert np.median(np.abs(after)) < 0.65 * np.median(np.abs(before))
    assert abs(np.median(after)) < 0.05
    assert 0.5 * len(rough.faces) < len(fine.faces) < len(rough.faces), "slivers are merged away"


def test_the_depth_decides_where_the_surface_is_and_not_where_it_was() -> None:
    views = noisy_views(0, 0.0)
    fused = fuse_tsdf(views, FusionConfig())
    off = Mesh(CENTRE + (fused.vertices - CENTRE) * (1 + 0.002 / RADIUS_M), fused.faces)
    assert np.median(error_mm(off)) > 1.9
    assert abs(np.median(error_mm(refine(off, views, Refinement())))) < 0.05


def test_what_lies_out_of_reach_or_flies_has_no_say() -> None:
    views = noisy_views(1)
    fused = fuse_tsdf(views, FusionConfig())
    rng = np.random.default_rng(0)
    flying = []
    for view in views:
        away = rng.random(view.depth_m.shape) < 0.1
        flying.append(replace(view, depth_m=np.where(away & (view.depth_m > 0), view.depth_m + 0.03, view.depth_m)))
    clean, dirty = (np.median(np.abs(error_mm(refine(fused, each, Refinement())))) for each in (views, flying))
    assert dirty < 1.15 * clean


def test_lenses_are_full_models() -> None:
    camera = depth_camera("d", 0.0, 0.6, LENS)
    views = [DepthView(camera, sphere_depth(camera))]
    mesh = refine(fuse_tsdf(views, FusionConfig()), views, Refinement())
    assert np.percentile(np.abs(error_mm(mesh)), 90) < 0.1


def test_the_same_input_gives_the_same_bytes_and_no_rounds_change_nothing() -> None:
    views = noisy_views(2)
    fused = fuse_tsdf(views, FusionConfig())
    assert np.array_equal(refine(fused, views, Refinement()).vertices, refine(fused, views, Refinement()).vertices)
    assert refine(fused, views, Refinement(rounds=0)) is fused
    empty = Mesh(np.zeros((0, 3)), np.zeros((0, 3), int))
    assert refine(empty, views, Refinement()) is empty


def test_a_plane_does_not_bend_wherever_its_vertices_are_and_a_border_bends_freely() -> None:
    flat = sheet()
    moved = flat.vertices + np.random.default_rng(0).uniform(-4e-4, 4e-4, flat.vertices.shape) * [1, 1, 0]
    border = np.unique(border_edges(flat.faces, len(flat.vertices)))
    form, area = bending_energy(moved, flat.faces, border)
    assert area.sum() == pytest.approx((29 * 0.002) ** 2, rel=0.02)
    tilted = 0.3 * moved[:, 0] - 0.7 * moved[:, 1] + 2
    assert abs(tilted @ (form @ tilted)) < 1e-7 < 1e-6 * (tilted @ tilted)
    bowl = moved[:, 0] ** 2 + moved[:, 1] ** 2
    # The Laplacian of x^2 + y^2 is 4 everywhere: 16 a unit of area, of the vertices within the border.
    inside = np.setdiff1d(np.arange(len(area)), border)
    assert bowl @ (form @ bowl) == pytest.approx(16 * area[inside].sum(), rel=0.1)


def test_no_triangle_turns_over_and_the_rim_stays_where_it_is() -> None:
    views = noisy_views(4)
    fused = fuse_tsdf(views, FusionConfig())
    fine = refine(fused, views, Refinement())
    fused = without_slivers(fused, Refinement().shortest_edge_m)
    assert np.array_equal(fine.faces, fused.faces)
    turned = (face_normals(fine.vertices, fine.faces) * face_normals(fused.vertices, fused.faces)).sum(1) <= 0
    assert not turned.any()
    border = np.unique(border_edges(fine.faces, len(fine.vertices)))
    assert np.percentile(np.abs(error_mm(fine))[border], 95) < 1.5


def test_slivers_go_and_holes_do_not_come() -> None:
    views = noisy_views(5, 0.0)
    fused = fuse_tsdf(views, FusionConfig())
    merged = without_slivers(fused, 5e-4)
    edges = merged.vertices[merged.faces] - np.roll(merged.vertices[merged.faces], 1, axis=1)
    assert np.percentile(np.linalg.norm(edges, axis=2), 1) > 4e-4
    assert np.median(np.abs(error_mm(merged))) < 1.15 * np.median(np.abs(error_mm(fused)))
    was, now = (len(border_edges(each.faces, len(each.vertices))) for each in (fused, merged))
    assert now < 1.1 * was
    area = [np.linalg.norm(face_normals(each.vertices, each.faces), axis=1).sum() for each in (fused, merged)]
    assert area[1] == pytest.approx(area[0], rel=0.01)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="stiffness above 0"):
        Refinement(stiffness=0)
