"""Figures mean what docs/conventions.md says: exact on cases that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from evaluation.heads import FittedHead, expression_figures, mesh_figures, seen_vertices, surface_figures
from evaluation.truth import Truth
from evaluation.worlds import truth_from_take
from flame_fitting.models.registry import load_head_model
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.meshes import Mesh
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, look_at
from studio.presets import FACE_CENTRE, PRESETS

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


def recorded_truth(frames: int = 6) -> Truth:
    """A head that turns, opens its jaw, looks about and blinks before the desk rig."""
    model, rig = load_head_model(), PRESETS["desk"](30.0)
    names = model.expression_names
    curves = np.zeros((frames, len(names)))
    curves[:, names.index("jawOpen")] = np.linspace(0, 0.5, frames)
    curves[:, names.index("eyeLookInLeft")] = np.linspace(0.4, 0, frames)
    curves[frames // 2, names.index("eyeBlinkLeft")] = 1.0
    shapes, template = model.expression_basis.numpy().astype(float), model.template.numpy().astype(float)
    place = FACE_CENTRE - template[model.region("face").numpy()].mean(0)
    poses = tuple(RigidTransform.from_rotvec(np.array([0.0, 0.01 * t, 0.0]), place) for t in range(frames))
    heads = template + np.tensordot(curves, shapes, 1)
    vertices = np.stack([pose @ head for pose, head in zip(poses, heads, strict=True)])
    faces = model.faces.numpy()
    face_mask = np.asarray(model.region("face").numpy()[faces].all(1))
    triggers = {camera.id: list(range(frames)) for camera in rig.cameras}
    return Truth(vertices, faces, face_mask, curves, names, poses, rig, triggers)


def fitted_in(world_from_truth: RigidTransform, truth: Truth) -> FittedHead:
    region = np.zeros(truth.vertices.shape[1], bool)
    return FittedHead(world_from_truth @ truth.vertices, truth.faces, region, truth.curves, truth.curve_names)


def test_a_perfect_fit_in_a_world_of_its_own_is_perfect():
    truth = recorded_truth()
    world_from_truth = RigidTransform.from_rotvec(np.array([0.1, 1.0, -0.2]), np.array([0.5, -1.2, 0.3]))
    cameras = (replace(c, world_from_camera=world_from_truth.compose(c.world_from_camera)) for c in truth.rig.cameras)
    back = truth_from_take(Rig(tuple(cameras)), truth.rig)
    head = fitted_in(world_from_truth, truth)
    figures = mesh_figures(head, truth, list(range(6)), back)
    errors = {f"vertex_error_mm_{which}" for which in ("median", "p95", "worst_frame")}
    assert set(figures) == errors | {"gaze_deg", "jitter_mm_per_frame2", "silent_gaps"}
    assert max(figures.values()) < 1e-4
    assert mesh_figures(head, truth, list(range(6)), RigidTransform.identity())["vertex_error_mm_median"] > 100


def test_a_planted_shift_shake_and_freeze_come_out():
    truth = recorded_truth()
    same = RigidTransform.identity()
    shifted = fitted_in(RigidTransform(np.eye(3), np.array([0.0, 0.0, 2e-3])), truth)
    assert mesh_figures(shifted, truth, list(range(6)), same)["vertex_error_mm_median"] == pytest.approx(2)
    shaken = truth.vertices + 1e-4 * (-1.0) ** np.arange(6)[:, None, None] * np.array([1.0, 0.0, 0.0])
    head = replace(fitted_in(same, truth), vertices=shaken)
    assert mesh_figures(head, truth, list(range(6)), same)["jitter_mm_per_frame2"] == pytest.approx(0.4)
    frozen = truth.vertices.copy()
    frozen[3] = frozen[2]
    head = replace(fitted_in(same, truth), vertices=frozen)
    assert mesh_figures(head, truth, list(range(6)), same)["silent_gaps"] == 1
    named = replace(head, frame_state=np.array([0, 0, 0, 1, 0, 0], np.uint8))
    assert mesh_figures(named, truth, list(range(6)), same)["silent_gaps"] == 0
    lost = truth.vertices.copy()
    lost[4, :, 1] += 0.03
    figures = mesh_figures(replace(head, vertices=lost), truth, list(range(6)), same)
    assert figures["vertex_error_mm_median"] == pytest.approx(0, abs=1e-9)
    assert figures["vertex_error_mm_worst_frame"] == pytest.approx(30)
