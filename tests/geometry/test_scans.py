"""Scans as they come, made usable: what is broken goes and is counted."""

import numpy as np
import pytest
import trimesh

from geometry.errors import InputError
from geometry.scans import Scan, cleaned_scan, clustered


def ball(subdivisions: int = 3) -> Scan:
    sphere = trimesh.creation.icosphere(subdivisions)
    return Scan(np.asarray(sphere.vertices, float), np.asarray(sphere.faces, np.int64))


def test_vertices_that_are_no_numbers_take_their_triangles_along():
    scan = ball()
    broken = scan.at(scan.vertices.copy())
    broken.vertices[[5, 9]] = [[np.nan, 0, 0], [0, np.inf, 0]]
    clean, repairs = cleaned_scan(broken)
    assert repairs.vertices_not_finite == 2
    assert np.isfinite(clean.vertices).all()
    assert len(clean.faces) == (~np.isin(scan.faces, [5, 9]).any(1)).sum()


def test_a_scan_without_usable_triangles_is_refused_with_the_reason():
    scan = ball()
    with pytest.raises(InputError, match="642 vertices are not finite"):
        cleaned_scan(scan.at(np.full_like(scan.vertices, np.nan)))


def test_thinning_keeps_the_shape_and_the_scans_own_vertices():
    scan = ball(5)
    thin = clustered(scan, 2000)
    assert 500 < len(thin.faces) <= 2000
    assert {tuple(v) for v in thin.vertices} <= {tuple(v) for v in scan.vertices}
    volume = trimesh.Trimesh(thin.vertices, thin.faces).volume
    assert volume == pytest.approx(4 / 3 * np.pi, rel=0.05)
    assert clustered(scan, 10**6) is scan


def test_seams_of_a_texture_are_closed_for_geometry_and_kept_for_pictures():
    box = trimesh.creation.box()
    corners = np.asarray(box.vertices)[box.faces].reshape(-1, 3)
    scan = Scan(corners, np.arange(36).reshape(-1, 3), uv=np.random.default_rng(0).random((36, 2)))
    mesh = scan.as_mesh()
    assert len(mesh.vertices) == 8
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).is_watertight
    uv = scan.with_faces(scan.faces[:2]).uv
    assert uv is not None and len(uv) == 6
