"""The outside of shells, whichever way they are wound."""

import numpy as np
import pytest
import trimesh

from flame_fitting.scans.evidence import pictures_around
from flame_fitting.scans.outside import outside_of
from geometry.scans import Scan

CENTRE = np.zeros(3)


def ball(radius: float) -> tuple[np.ndarray, np.ndarray]:
    sphere = trimesh.creation.icosphere(3, radius)
    return np.asarray(sphere.vertices, float), np.asarray(sphere.faces, np.int64)


@pytest.mark.parametrize("is_inverted", [False, True])
def test_the_inner_shell_goes_and_the_outer_one_looks_outwards(is_inverted):
    outer, faces = ball(0.1)
    inner, _ = ball(0.08)
    wound = faces[:, ::-1] if is_inverted else faces
    scan = Scan(np.concatenate([outer, inner]), np.concatenate([wound, faces + len(outer)]))
    outside, turned = outside_of(scan, pictures_around(scan, CENTRE))
    assert np.linalg.norm(outside.vertices, axis=1) == pytest.approx(0.1)
    assert len(outside.faces) > 0.95 * len(faces)
    assert turned == (len(outside.faces) if is_inverted else 0)
    assert trimesh.Trimesh(outside.vertices, outside.faces, process=False).volume > 0.9 * 4 / 3 * np.pi * 0.1**3


def test_a_patch_that_is_wound_the_other_way_is_turned_alone():
    vertices, faces = ball(0.1)
    patch = vertices[faces].mean(1)[:, 0] > 0.05
    mixed = np.where(patch[:, None], faces[:, ::-1], faces)
    scan = Scan(vertices, mixed)
    outside, turned = outside_of(scan, pictures_around(scan, CENTRE))
    assert 0 < turned <= patch.sum()
    normals = trimesh.Trimesh(outside.vertices, outside.faces, process=False).face_normals
    assert ((normals * outside.vertices[outside.faces].mean(1)).sum(1) > 0).all()
