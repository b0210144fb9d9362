"""Bones are what the curves imply, necks bend as skinning says, and every step has a gradient."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from evaluation.gaze import find_eyes
from flame_fitting.models.contours import load_contours
from flame_fitting.models.head_model import JOINT_PARENTS, HeadModel
from flame_fitting.models.joints import ball_centre, eye_rotations, gaze_directions, jaw_motion
from flame_fitting.models.registry import load_head_model
from flame_fitting.models.skinning import joint_motions, rigid_motion, rotvec_to_rotmat, skin

CONTOURS = load_contours()


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


def curves_of(model: HeadModel, **values: float) -> torch.Tensor:
    curves = torch.zeros(len(model.expression_names))
    for name, value in values.items():
        curves[model.expression_names.index(name)] = value
    return curves


def rotvec_deg(rotation: torch.Tensor) -> np.ndarray:
    return np.degrees(Rotation.from_matrix(rotation.double().numpy()).as_rotvec())


def test_rotation_matrices_are_scipys_and_smooth_at_zero():
    random = np.random.default_rng(0)
    rotvec = np.concatenate([random.normal(0, 1, (50, 3)), random.normal(0, 1e-4, (50, 3)), np.zeros((1, 3))])
    ours = rotvec_to_rotmat(torch.from_numpy(rotvec))
    np.testing.assert_allclose(ours.numpy(), Rotation.from_rotvec(rotvec).as_matrix(), atol=1e-12)
    for scale in (0.0, 1e-5, 1e-3, 1.0):
        at = torch.full((3,), scale, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(rotvec_to_rotmat, (at,))


def test_rigid_motion_recovers_a_planted_one_and_its_gradient_is_finite_on_a_ball():
    random = np.random.default_rng(1)
    points = torch.from_numpy(random.normal(size=(2, 40, 3)))
    points = points / points.norm(dim=-1, keepdim=True)  # a sphere: all singular values nearly alike
    rotation = torch.from_numpy(Rotation.from_rotvec(random.normal(0, 0.8, (2, 3))).as_matrix())
    moved = (points @ rotation.transpose(-1, -2) + torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)).requires_grad_()
    found, translation = rigid_motion(points, moved, torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(found, rotation, atol=1e-9, rtol=0)
    torch.testing.assert_close(translation[0], torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64), atol=1e-9, rtol=0)
    (found * torch.randn(3, 3, dtype=torch.float64)).sum().backward()
    assert moved.grad is not None and torch.isfinite(moved.grad).all() and moved.grad.abs().max() > 0
    assert torch.autograd.gradcheck(
        lambda m: rigid_motion(points[:, :8], m, torch.ones(8, dtype=torch.float64))[0],
        (moved.detach()[:, :8].requires_grad_(),),
    )


@pytest.mark.parametrize(
    ("curve", "eye", "axis", "sign"),
    [
        ("eyeLookDownLeft", 0, 0, 1),
        ("eyeLookUpRight", 1, 0, -1),
        ("eyeLookInLeft", 0, 1, -1),  # the left eye at x > 0 looks to the nose, towards -x: about -y
        ("eyeLookInRight", 1, 1, 1),
        ("eyeLookOutLeft", 0, 1, 1),
    ],
)
def test_eyes_turn_the_way_that_their_curves_are_called(model, curve, eye, axis, sign):
    head = model.with_shape(torch.zeros(1))
    turned = eye_rotations(head.vertices, head.with_expression(curves_of(model, **{curve: 1.0})).vertices, CONTOURS)
    degrees = rotvec_deg(turned)
    assert sign * degrees[eye, axis] > 8
    assert np.linalg.norm(degrees[1 - eye]) < 0.1, "the other eye rests"


def test_gaze_is_the_meshs_own_and_follows_the_eyes(model):
    eyes = find_eyes(model.template.numpy(), model.faces.numpy())
    assert eyes is not None
    random = torch.Generator().manual_seed(5)
    identity = torch.randn(6, 40, generator=random)
    curves = torch.zeros(6, 52)
    looks = [row for row, name in enumerate(model.expression_names) if name.startswith(("eyeLook", "mouth", "jaw"))]
    curves[:, looks] = torch.rand(6, len(looks), generator=random) * 0.5
    head = model.with_shape(identity)
    expressed = head.with_expression(curves)
    gaze = gaze_directions(head.vertices, expressed.vertices, CONTOURS)
    torch.testing.assert_close(gaze.norm(dim=-1), torch.ones(6, 2))
    measured = eyes.gaze(expressed.vertices.numpy())
    angle = np.degrees(np.arccos(np.clip((gaze.numpy() * measured).sum(-1), -1, 1)))
    assert angle.max() < 1.0 and np.median(angle) < 0.3, "a blend of shapes bends a ball a little"


def test_gaze_turns_with_the_head_and_has_a_gradient(model):
    head = model.with_shape(torch.zeros(1))
    curves = curves_of(model, eyeLookInLeft=0.4, eyeLookUpRight=0.3).requires_grad_()
    expressed = head.with_expression(curves)
    gaze = gaze_directions(head.vertices, expressed.vertices, CONTOURS)
    gaze[0, 0].backward()
    assert curves.grad is not None
    assert curves.grad[model.expression_names.index("eyeLookInLeft")] < -0.1
    turn = rotvec_to_rotmat(torch.tensor([0.2, 0.5, -0.1]))
    rotated = gaze_directions(head.vertices @ turn.T, expressed.vertices.detach() @ turn.T, CONTOURS)
    torch.testing.assert_close(rotated, gaze.detach() @ turn.T, atol=2e-4, rtol=0)


def test_the_jaw_opens_about_its_hinge_and_smiles_leave_the_bone_alone(model):
    rest = model.template
    rotation, translation = jaw_motion(model, rest, curves_of(model, jawOpen=1.0))
    assert 12 < rotvec_deg(rotation)[0] < 32, "a wide open mouth, about the axis through both ears"
    hinge = model.joints[model.joint_names.index("jaw")]
    moved = rotation @ hinge + translation - hinge
    assert moved.norm() < 0.02
    rotation, translation = jaw_motion(model, rest, curves_of(model, mouthSmileLeft=1.0, mouthFunnel=1.0))
    torch.testing.assert_close(rotation, torch.eye(3), atol=1e-5, rtol=0)
    assert translation.norm() < 1e-6
    batch = torch.stack([curves_of(model, jawOpen=value) for value in (0.0, 0.5, 1.0)])
    angles = rotvec_deg(jaw_motion(model, rest, batch)[0])[:, 0]
    assert angles[0] == pytest.approx(0, abs=1e-3) and angles[0] < angles[1] < angles[2]


def test_a_neck_bends_as_a_plain_loop_over_vertices_does(model):
    random = np.random.default_rng(2)
    head = model.with_shape(torch.randn(1, 5)).with_expression(curves_of(model, jawOpen=0.5)[None])
    head_turn, neck_turn = (rotvec_to_rotmat(torch.from_numpy(random.normal(0, 0.3, (1, 3))).float()) for _ in range(2))
    ours = head.with_neck(head_turn, neck_turn).vertices[0].numpy()
    joints, weights = head.shaped.joints[0].numpy(), model.skinning.numpy()
    vertices = head.vertices[0].numpy()
    neck, skull = neck_turn[0].numpy(), (neck_turn @ head_turn)[0].numpy()
    by_neck = (vertices - joints[0]) @ neck.T + joints[0]
    head_joint = neck @ (joints[1] - joints[0]) + joints[0]
    by_head = (vertices - joints[1]) @ skull.T + head_joint
    expected = weights[:, :1] * by_neck + (1 - weights[:, :1]) * by_head
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_no_turn_is_no_change_and_a_turn_of_the_root_is_rigid(model):
    head = model.with_shape(torch.zeros(3, 1)).with_expression(torch.zeros(3, 52))
    still = torch.eye(3).expand(3, 3, 3)
    torch.testing.assert_close(head.with_neck(still, still).vertices, head.vertices, atol=1e-6, rtol=0)
    turn = rotvec_to_rotmat(torch.tensor([[0.1, 0.7, 0.0]])).expand(3, 3, 3)
    origin = head.shaped.joints[:, 0]
    rigid = (head.vertices - origin[:, None]) @ turn.transpose(-1, -2) + origin[:, None]
    torch.testing.assert_close(head.with_neck(still, turn).vertices, rigid, atol=1e-5, rtol=0)


def test_a_turned_head_leaves_the_base_of_the_neck_nearly_where_it_is(model):
    head = model.with_shape(torch.zeros(1)).with_expression(torch.zeros(52))
    turned = head.with_neck(rotvec_to_rotmat(torch.tensor([0.0, 0.6, 0.0])), torch.eye(3)).vertices
    moved = (turned - head.vertices).norm(dim=1)
    base = model.skinning[:, 0] > 0.85
    assert base.any() and moved[base].max() < 0.2 * moved[model.region("face")].median()
    assert moved[model.region("face")].median() > 0.03


def test_skinning_gradients_are_exact():
    random = torch.Generator().manual_seed(4)
    vertices = torch.randn(6, 3, dtype=torch.float64, generator=random, requires_grad=True)
    joints = torch.randn(5, 3, dtype=torch.float64, generator=random, requires_grad=True)
    turns = (torch.randn(5, 3, dtype=torch.float64, generator=random) * 0.4).requires_grad_()
    weights = torch.rand(6, 5, dtype=torch.float64, generator=random)
    weights = weights / weights.sum(1, keepdim=True)

    def posed(v, j, r):
        return skin(v, weights, *joint_motions(rotvec_to_rotmat(r), j, JOINT_PARENTS))

    assert torch.autograd.gradcheck(posed, (vertices, joints, turns))


def test_the_centre_of_half_a_ball_is_the_balls():
    random = np.random.default_rng(3)
    points = random.normal(size=(60, 3))
    points = points / np.linalg.norm(points, axis=1, keepdims=True) * 0.012
    points[:, 2] = np.abs(points[:, 2])
    centre = ball_centre(torch.from_numpy(points + np.array([0.03, 0.15, 0.12])))
    np.testing.assert_allclose(centre.numpy(), [0.03, 0.15, 0.12], atol=1e-9)
