"""PLY files written by mien, read back by trimesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from trimesh.visual import ColorVisuals

from export.ply import write_ply
from geometry.errors import InputError
from geometry.meshes import Mesh, vertex_normals


@pytest.fixture(scope="module")
def surface() -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=2)
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (len(sphere.vertices), 3)).astype(np.uint8)
    return Mesh(np.asarray(sphere.vertices) * 0.1 + [0.3, 1.2, 0.0], np.asarray(sphere.faces), colours)


def _load(path: Path) -> trimesh.Trimesh:
    loaded = trimesh.load(path, process=False)
    assert isinstance(loaded, trimesh.Trimesh)
    return loaded


@pytest.mark.parametrize("with_colours", [True, False])
@pytest.mark.parametrize("with_normals", [True, False])
def test_surface_round_trip(surface: Mesh, tmp_path: Path, with_colours: bool, with_normals: bool) -> None:
    path = tmp_path / "surface.ply"
    normals = vertex_normals(surface.vertices, surface.faces) if with_normals else None
    write_ply(path, surface.vertices, surface.faces, surface.colours if with_colours else None, normals)
    loaded = _load(path)
    np.testing.assert_array_equal(loaded.vertices, surface.vertices.astype(np.float32))
    np.testing.assert_array_equal(loaded.faces, surface.faces)
    assert loaded.is_watertight and loaded.volume > 0
    assert isinstance(loaded.visual, ColorVisuals)
    assert (loaded.visual.kind == "vertex") == with_colours
    if with_colours:
        np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], surface.colours)
    assert ("vertex_normals" in loaded._cache) == with_normals
    if normals is not None:
        np.testing.assert_allclose(loaded.vertex_normals, normals, atol=1e-7)


def test_file_is_what_its_header_says(surface: Mesh, tmp_path: Path) -> None:
    path = tmp_path / "surface.ply"
    write_ply(path, surface.vertices, surface.faces, surface.colours)
    header, body = path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert f"element vertex {len(surface.vertices)}" in lines and f"element face {len(surface.faces)}" in lines
    assert len(body) == len(surface.vertices) * (3 * 4 + 3) + len(surface.faces) * (1 + 3 * 4)


def test_point_cloud_round_trip(surface: Mesh, tmp_path: Path) -> None:
    path = tmp_path / "points.ply"
    write_ply(path, surface.vertices, None, surface.colours)
    loaded = trimesh.load(path)
    assert isinstance(loaded, trimesh.PointCloud)
    np.testing.assert_array_equal(loaded.vertices, surface.vertices.astype(np.float32))
    np.testing.assert_array_equal(np.asarray(loaded.colors)[:, :3], surface.colours)


def test_equal_surfaces_give_equal_bytes_and_nothing_else(surface: Mesh, tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", surface.vertices, surface.faces, surface.colours)
    write_ply(tmp_path / "b.ply", surface.vertices.copy(), surface.faces.astype(np.int32), surface.colours)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ply", "b.ply"]


def test_bad_surfaces_are_refused(surface: Mesh, tmp_path: Path) -> None:
    path = tmp_path / "surface.ply"
    broken = surface.vertices.copy()
    broken[4, 1] = np.nan
    with pytest.raises(InputError, match="finite vertices"):
        write_ply(path, broken, surface.faces)
    with pytest.raises(InputError, match="finite normals"):
        write_ply(path, surface.vertices, surface.faces, normals=broken)
    with pytest.raises(InputError, match="with vertices and triangles"):
        write_ply(path, surface.vertices, surface.faces[:0])
    with pytest.raises(InputError, match="with vertices and triangles"):
        write_ply(path, surface.vertices[:0], None)
    with pytest.raises((ValueError, TypeError)):
        write_ply(path, surface.vertices, surface.faces + 1000)
    with pytest.raises((ValueError, TypeError)):
        write_ply(path, surface.vertices, surface.faces, surface.vertices)  # pyright: ignore[reportArgumentType]
    assert surface.colours is not None
    with pytest.raises((ValueError, TypeError)):
        write_ply(path, surface.vertices, surface.faces, surface.colours[1:])
    with pytest.raises(InputError, match="folder"):
        write_ply(tmp_path / "missing" / "surface.ply", surface.vertices, surface.faces)
    assert list(tmp_path.iterdir()) == []
