"""Surfaces are compared by area, over what the cameras saw of the face."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.surfaces import face_figures, sample_evenly
from geometry.meshes import Mesh
from tests.recon.analytic_scene import CENTRE, RADIUS_M, depth_camera


def sphere(radius_m: float = RADIUS_M, rings: int = 60) -> Mesh:
    """A sphere of triangles, finer towards its poles."""
    theta = np.linspace(0.02, np.pi - 0.02, rings)
    phi = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    around = np.stack([np.sin(t) * np.cos(p), np.cos(t), -np.sin(t) * np.sin(p)], -1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(rings - 1), np.arange(2 * rings), indexing="ij")
    one, other = (row * 2 * rings + column).ravel(), (row * 2 * rings + (column + 1) % (2 * rings)).ravel()
    faces = np.concatenate(
        [np.stack([one, one + 2 * rings, other], 1), np.stack([other, one + 2 * rings, other + 2 * rings], 1)]
    )
    return Mesh(CENTRE + radius_m * around, faces)


CAMERAS = (depth_camera("a", 0.0, 0.6), depth_camera("b", 40.0, 0.6))
WHOLE = np.ones(len(sphere().faces), bool)


def test_a_surface_that_is_off_by_so_much_is_off_by_so_much() -> None:
    figures = face_figures(sphere(RADIUS_M + 7e-4), sphere(), WHOLE, CAMERAS)
    for key in ("accuracy_mm_median", "completeness_mm_median"):
        assert figures[key] == pytest.approx(0.7, abs=0.02)
    assert figures["normal_deg_median"] < 2
    assert figures["fscore_0_5mm"] == 0
    assert figures["fscore_1mm"] == figures["fscore_2mm"] == 1


def test_what_no_depth_camera_sees_is_not_missed_and_what_is_not_the_face_is_not_judged() -> None:
    front = sphere()
    facing = (front.vertices[front.faces].mean(1) - CENTRE)[:, 2] > -0.2 * RADIUS_M
    half = replace(front, faces=front.faces[facing])
    seen = face_figures(half, sphere(), WHOLE, CAMERAS)
    assert seen["fscore_1mm"] > 0.97
    behind = (*CAMERAS, depth_camera("c", 180.0, 0.6))
    assert face_figures(half, sphere(), WHOLE, behind)["fscore_1mm"] < 0.8
    left = (front.vertices[front.faces].mean(1) - CENTRE)[:, 0] < 0
    bad_right = replace(front, vertices=front.vertices + np.where(front.vertices[:, :1] > 0.03, [[0, 0, 0.004]], 0.0))
    assert face_figures(bad_right, sphere(), left, CAMERAS)["accuracy_mm_p95"] < 0.2


def test_half_a_face_that_is_missing_halves_recall() -> None:
    front = sphere()
    right = (front.vertices[front.faces].mean(1) - CENTRE)[:, 0] > 0
    half = replace(front, faces=front.faces[right])
    figures = face_figures(half, sphere(), WHOLE, (depth_camera("a", 0.0, 0.6),))
    assert 0.6 < figures["fscore_1mm"] < 0.75, "precision 1, recall a half"


def test_samples_lie_evenly_whatever_the_triangles() -> None:
    mesh = sphere()
    points, normals = sample_evenly(mesh.vertices, mesh.faces, 40_000, np.random.default_rng(0))
    # Archimedes: slices of a sphere of equal height have equal areas.
    counts, _ = np.histogram((points - CENTRE)[:, 1] / RADIUS_M, np.linspace(-0.9, 0.9, 10))
    assert counts.std() / counts.mean() < 0.03
    assert ((points - CENTRE) / RADIUS_M * normals).sum(1).min() > 0.99
