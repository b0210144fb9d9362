"""Derivatives of all residuals against automatic differentiation of plain twins, and lenses at the truth."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.losses.gaze import IRIS_SPREAD_M, IrisAnchors, gaze_rows
from flame_fitting.losses.landmarks import LandmarkTargets, LandmarkViews, landmark_residuals, landmark_rows
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows
from flame_fitting.losses.pairs import CurvePairs, pair_rows
from flame_fitting.losses.point_to_plane import MODEL_SIGMA_M, GatheredDepth, depth_rows
from flame_fitting.solver import HeadPrior
from geometry.cameras import DISTORTION_SIZES, Camera
from geometry.transforms import look_at
from tests.flame_fitting.exact_heads import head, model, named, scene, state

MODES, EXPRESSIONS, POINTS = 5, 4, 40
SEEDS = range(8)


def random_head(seed: int, points: int = POINTS) -> tuple[LinearPoints, HeadState]:
    """Any points about the origin, anyhow turned."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    head = LinearPoints(draw(points, 3) * 0.05, draw(MODES, points, 3) * 0.003, draw(EXPRESSIONS, points, 3) * 0.006)
    rotation = torch.from_numpy(cv2.Rodrigues(draw(3).numpy())[0])
    curves = torch.rand(EXPRESSIONS, generator=generator, dtype=torch.float64)
    return head, HeadState(draw(MODES), curves, rotation, draw(3) * 0.03)


def random_target(seed: int, points: int = POINTS, towards: np.ndarray | None = None) -> LandmarkTargets:
    """Detections that are some pixels off, some without confidence, with offsets, from a camera anywhere about."""
    random = np.random.default_rng(seed)
    towards = random.normal(size=3) if towards is None else towards
    pose = look_at(0.7 * towards / np.linalg.norm(towards), np.zeros(3), np.array([0.0, 1.0, 0.0]))
    K = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])
    confidence = np.where(random.random(points) < 0.2, 0.0, random.random(points))
    view = ViewLandmarks(
        Camera("c", "m", "rgb", (480, 640), K, np.zeros(0), pose),
        random.normal((320, 240), 30, (points, 2)),
        confidence,
    )
    offsets = torch.from_numpy(random.normal(0, 0.002, (points, 2)))
    return replace(LandmarkTargets.of(view, np.arange(points), 0.05), offset_m=offsets)


def placed(points: LinearPoints, at: HeadState, centre: Tensor, change: Tensor) -> Float[Tensor, "n 3"]:
    """Points in the world after a change of identity, curves, rotation vector about the centre, and position."""
    modes, expressions = len(at.identity), len(at.curves)
    d_identity, d_curves, turn, shift = change.split([modes, expressions, 3, 3])
    x, y, z = turn
    zero = torch.zeros((), dtype=torch.float64)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    head = points.mean + torch.tensordot(at.identity + d_identity, points.identity_basis, 1)
    head = head + torch.tensordot(at.curves + d_curves, points.expression_basis, 1)
    world = head @ at.rotation.T + at.translation
    return (world - centre) @ torch.matrix_exp(skew).T + centre + shift


def jacobian_of(rows: Rows) -> Float[Tensor, "*b m p"]:
    """All derivatives side by side."""
    return torch.cat([rows.d_identity, rows.d_curves, rows.d_pose], -1)


def assert_is_jacobian_of(rows: Rows, twin, at: HeadState) -> None:
    """The rows are the twin's residuals, and their derivatives what autograd says."""
    nothing = torch.zeros(len(at.identity) + len(at.curves) + 6, dtype=torch.float64)
    torch.testing.assert_close(rows.residual, twin(nothing), rtol=1e-9, atol=1e-9)
    expected = torch.autograd.functional.jacobian(twin, nothing)
    torch.testing.assert_close(jacobian_of(rows), expected, rtol=1e-6, atol=1e-6)


def reprojection_twin(points: LinearPoints, spread: Tensor, at: HeadState, centre: Tensor, target: LandmarkTargets):
    """Weighted reprojection errors, the robust weights held as in every Gauss-Newton step."""
    found = landmark_residuals(points, spread, at, target)
    weight = found.trust.sqrt() / found.sigma
    keep = weight > 0

    def twin(change: Tensor) -> Tensor:
        seen = placed(points, at, centre, change) @ target.rotation.T + target.translation
        error = (seen[:, :2] + target.offset_m) / seen[:, 2:] - target.normalised
        return (error * weight[:, None])[keep].T.reshape(-1)

    return twin


def assert_says_the_same_as(rows: Rows, twins, at: HeadState) -> None:
    """The rows have the gradient and the Gauss-Newton matrix of the twins' residuals, as autograd says."""
    nothing = torch.zeros(len(at.identity) + len(at.curves) + 6, dtype=torch.float64)
    residual = torch.cat([twin(nothing) for twin in twins])
    expected = torch.cat([torch.as_tensor(torch.autograd.functional.jacobian(twin, nothing)) for twin in twins])
    found, scale = jacobian_of(rows), float(expected.abs().max())
    torch.testing.assert_close(found.T @ found, expected.T @ expected, rtol=1e-6, atol=1e-6 * scale)
    torch.testing.assert_close(found.T @ rows.residual, expected.T @ residual, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_landmarks_and_their_offsets(seed):
    points, at = random_head(seed)
    target, centre = random_target(seed), points.in_world(at).mean(0)
    spread = torch.full((POINTS,), 0.02, dtype=torch.float64)
    rows = landmark_rows(points, spread, at, centre, target)
    assert POINTS * 0.5 < int((target.confidence > 0).sum()) < POINTS, "some have no confidence"
    assert_says_the_same_as(rows, [reprojection_twin(points, spread, at, centre, target)], at)
    assert int(rows.measured.sum()) == 2 * int((target.confidence > 0).sum()), "nothing is known along a single ray"


@pytest.mark.parametrize("seed", SEEDS)
def test_landmarks_of_several_views_take_as_many_rows_as_those_of_one(seed):
    points, at = random_head(seed)
    targets, centre = [random_target(seed + 100 * view) for view in range(3)], points.in_world(at).mean(0)
    spread = torch.full((POINTS,), 0.02, dtype=torch.float64)
    views, none = LandmarkViews.stacked([targets, targets[:1], []]), HeadState.stacked([at] * 3)
    assert views is not None
    rows = landmark_rows(points, spread, none, centre.expand(3, 3), views)
    assert rows.residual.shape == (3, 3 * POINTS)
    for frame, seen in enumerate((targets, targets[:1])):
        alone = Rows(*(part[frame] for part in (rows.residual, rows.d_identity, rows.d_curves, rows.d_pose)))
        assert_says_the_same_as(alone, [reprojection_twin(points, spread, at, centre, each) for each in seen], at)
    assert not jacobian_of(rows)[2].any() and not rows.residual[2].any(), "no view, no word"
    found = landmark_residuals(points, spread, none, views)
    twins = torch.cat(
        [
            reprojection_twin(points, spread, at, centre, each)(torch.zeros(MODES + EXPRESSIONS + 6).double())
            for each in targets
        ]
    )
    torch.testing.assert_close(found.squares[0].sum(), (twins**2).sum(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_irises_turn_the_eyes_and_nothing_else(seed):
    points, at = random_head(seed, 2)
    centre, ahead = points.in_world(at).mean(0), at.rotation[:, 2].numpy()
    aside = 0.15 * at.rotation[:, 0].numpy()
    target = random_target(seed, 2, ahead + aside)
    target = replace(target, confidence=torch.tensor([0.9, 0.4], dtype=torch.float64))
    rows = gaze_rows(points, at, centre, target)
    spread = torch.full((2,), IRIS_SPREAD_M, dtype=torch.float64)
    twin = reprojection_twin(points, spread, at, centre, target)
    nothing = torch.zeros(MODES + EXPRESSIONS + 6, dtype=torch.float64)
    expected = torch.as_tensor(torch.autograd.functional.jacobian(twin, nothing))
    expected, scale = expected[:, MODES : MODES + EXPRESSIONS], float(expected.abs().max())
    for found, want in ((rows.d_curves, expected), (rows.residual, twin(nothing))):
        torch.testing.assert_close(rows.d_curves.T @ found, expected.T @ want, rtol=1e-6, atol=1e-6 * scale)
    assert int(rows.measured.sum()) == 4
    assert not rows.d_identity.any() and not rows.d_pose.any()


def test_irises_count_less_from_the_side():
    points, at = random_head(0, 2)
    centre, ahead, aside = points.in_world(at).mean(0), at.rotation[:, 2].numpy(), at.rotation[:, 0].numpy()
    sure = torch.ones(2, dtype=torch.float64)
    sizes = []
    for degrees in (10, 35, 70):
        turned = np.cos(np.radians(degrees)) * ahead + np.sin(np.radians(degrees)) * aside
        target = replace(random_target(0, 2, turned), confidence=sure, offset_m=torch.zeros(2, 2).double())
        seen = points.in_world(at) @ target.rotation.T + target.translation
        target = replace(target, normalised=seen[:, :2] / seen[:, 2:] + 1e-3)
        sizes.append(float(gaze_rows(points, at, centre, target).residual.norm()))
    assert sizes[0] > sizes[1] > sizes[2] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_depth(seed):
    points, at = random_head(seed)
    random = np.random.default_rng(seed)
    centre, here = points.in_world(at).mean(0), points.in_world(at)
    normals = random.normal(size=(POINTS, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    weight = np.where(random.random(POINTS) < 0.2, 0.0, random.uniform(1e4, 1e7, POINTS))
    gathered = GatheredDepth(*map(torch.from_numpy, (weight, random.normal(0, 2e-3, POINTS), normals)))
    trust = torch.from_numpy(np.where(random.random(POINTS) < 0.2, 0.0, random.random(POINTS)))
    rows = depth_rows(points, at, centre, gathered, trust)
    keep = (torch.from_numpy(weight) > 1) & (trust > 0)
    root = torch.sqrt(trust / (1 / torch.from_numpy(weight).clamp_min(1e-9) + MODEL_SIGMA_M**2))

    def twin(change: Tensor) -> Tensor:
        outwards = ((placed(points, at, centre, change) - here) * torch.from_numpy(normals)).sum(1)
        return ((outwards - gathered.residual_m) * root)[keep]

    assert torch.equal(rows.measured, keep) and keep.sum() < POINTS
    parts = (rows.residual, rows.d_identity, rows.d_curves, rows.d_pose)
    assert not any(part[~keep].any() for part in parts)
    assert_is_jacobian_of(Rows(*(part[keep] for part in parts)), twin, at)


@pytest.mark.parametrize("seed", SEEDS)
def test_pairs(seed):
    names = model().expression_names
    pairs = CurvePairs.of(names)
    generator = torch.Generator().manual_seed(seed)
    curves = torch.rand(len(names), generator=generator, dtype=torch.float64)
    at = HeadState(torch.zeros(3).double(), curves, torch.eye(3).double(), torch.zeros(3).double())

    def twin(change: Tensor) -> Tensor:
        moved = curves + change[3 : 3 + len(names)]
        return (moved[pairs.rows[:, 0]] - moved[pairs.rows[:, 1]]) / pairs.sigma

    assert len(pairs.rows) > 10
    assert_is_jacobian_of(pair_rows(pairs, at), twin, at)


def test_pairs_are_each_others_mirror_images_and_eyes_look_the_same_way():
    names = model().expression_names
    pairs = {frozenset((names[left], names[right])) for left, right in CurvePairs.of(names).rows.tolist()}
    assert frozenset(("mouthSmileLeft", "mouthSmileRight")) in pairs
    assert frozenset(("eyeLookInLeft", "eyeLookOutRight")) in pairs
    assert not any("eyeBlinkLeft" in pair or pair == {"eyeLookInLeft", "eyeLookInRight"} for pair in pairs)
    assert len(CurvePairs.of(("a", "b")).rows) == 0


def test_the_priors_slope_is_its_costs_derivative():
    for prior in (HeadPrior(20.0, 0.7, 1.0, 0.1), HeadPrior(5.0, 1.0)):
        curves = torch.linspace(0, 1, 9, dtype=torch.float64)
        for at in range(len(curves)):
            step = torch.zeros_like(curves)
            step[at] = 1e-6
            numeric = (prior.cost(curves + step) - prior.cost(curves - step)) / 2e-6
            analytic = prior.slope(curves)[at] + curves[at] / prior.sigma**2
            assert numeric == pytest.approx(float(analytic), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("coefficients", DISTORTION_SIZES)
def test_the_whole_lens_model_is_undone(coefficients):
    """Landmarks that a distorting camera sees of a known head leave no residual at it, and the derivatives stand."""
    lens = np.array([0.1, -0.08, 2e-3, -1e-3, 0.02, 0.05, -0.02, 0.01, 1e-3, -1e-3, 5e-4, 1e-3, 0.01, -0.02])
    points, at = random_head(3)
    K = np.array([[900.0, 0.0, 320.4], [0.0, 905.0, 238.1], [0.0, 0.0, 1.0]])
    pose = look_at(np.array([0.2, 0.1, 0.8]), np.zeros(3), np.array([0.0, 1.0, 0.0]))
    by = Camera("c", "m", "rgb", (480, 640), K, lens[:coefficients], pose)
    pixels, _ = by.project(points.in_world(at).numpy())
    view = ViewLandmarks(by, pixels, np.ones(POINTS))
    target = LandmarkTargets.of(view, np.arange(POINTS))
    spread = torch.full((POINTS,), 0.002, dtype=torch.float64)
    assert landmark_residuals(points, spread, at, target).error.abs().max() * 900 < 1e-6, "pixels"


def test_the_limbus_lies_in_the_eyeball_behind_the_pupil():
    """On any face the anchors are the mixture of the posed vertices, on the side of the eye that they belong to."""
    anchors, surface = IrisAnchors.of(head().contours, model().template.double()), scene(0).surface
    at = state(named(eyeLookInLeft=0.5, eyeLookUpRight=0.4))
    vertices, found = surface.in_world(at), anchors.on(surface).in_world(at)
    for side in range(2):
        pupil = vertices[anchors.pupils[side]].mean(0)
        middle = vertices[anchors.eyeballs[side]].mean(0)
        along = (middle - pupil) / (middle - pupil).norm()
        torch.testing.assert_close(found[side], pupil + anchors.depth[side] * (middle - pupil), rtol=0, atol=1e-12)
        assert 2e-4 < float((found[side] - pupil) @ along) < 4e-3
    assert found[0, 0] > found[1, 0], "left first"
