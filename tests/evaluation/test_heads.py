"""Figures mean what docs/conventions.md says: exact on cases that can be worked out by hand."""

import numpy as np
import pytest
import trimesh

from evaluation.heads import expression_figures, seen_vertices, surface_figures
from evaluation.truth import Truth
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.meshes import Mesh
from geometry.transforms import look_at

NAMES = ("jawOpen", "mouthSmileLeft", "eyeLookInLeft", "tongueOut")


def test_all_zeros_has_a_ratio_of_one_and_gaze_and_tongue_do_not_count():
    true = np.array([[0.5, 0.0, 0.9, 0.9], [0.0, 0.3, 0.0, 0.0]])
    figures = expression_figures(np.zeros_like(true), true, NAMES)
    assert figures["expression_ratio"] == pytest.approx(1)
    assert figures["expression_mae_active"] == pytest.approx(0.4)
    perfect = expression_figures(true * [1, 1, 0, 0], true, NAMES)
    assert perfect["expression_ratio"] == 0


def ball(radius: float) -> Mesh:
    sphere = trimesh.creation.icosphere(4, radius)
    return Mesh(np.asarray(sphere.vertices), np.asarray(sphere.faces))


def test_a_camera_sees_the_near_side_only():
    sphere = ball(0.1)
    K = np.array([[400.0, 0, 160], [0, 400, 120], [0, 0, 1]])
    here = look_at(np.array([0, 0, 0.6]), np.zeros(3), np.array([0.0, 1.0, 0.0]))
    camera = Camera("c", "m", "rgb", (240, 320), K, np.zeros(0), here)
    seen = seen_vertices(sphere.vertices, sphere.faces, np.ones(len(sphere.faces), bool), (camera,))
    assert sphere.vertices[seen, 2].min() > 0
    horizon = 0.1**2 / 0.6
    assert seen[sphere.vertices[:, 2] > horizon + 0.01].mean() > 0.95
    half = sphere.vertices[sphere.faces].mean(1)[:, 0] > 0
    assert sphere.vertices[seen_vertices(sphere.vertices, sphere.faces, half, (camera,)), 0].min() > -0.02


def test_a_surface_a_millimetre_out_is_a_millimetre_out():
    figures = surface_figures(ball(0.101), ball(0.1), np.ones(len(ball(0.1).vertices), bool))
    assert figures["surface_accuracy_mm_median"] == pytest.approx(1.0, abs=0.05)
    assert figures["surface_completeness_mm_median"] == pytest.approx(1.0, abs=0.05)


def test_missing_or_foreign_truth_is_said(tmp_path):
    with pytest.raises(InputError, match="--truth"):
        Truth.read(tmp_path / "truth")
    (tmp_path / "subject.npz").write_bytes(b"not a zip")
    with pytest.raises(InputError, match="--truth"):
        Truth.read(tmp_path)
