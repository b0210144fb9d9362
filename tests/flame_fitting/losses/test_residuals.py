"""Derivatives of the residuals against finite differences, and what they are zero at."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from flame_fitting.evidence import DepthImage, ViewLandmarks
from flame_fitting.losses.landmarks import LandmarkTargets, landmark_residuals, landmark_rows
from flame_fitting.losses.linear_head import HeadState, LinearPoints, geman_mcclure
from flame_fitting.losses.point_to_plane import DepthGate, DepthViews, GatheredDepth, Surface, depth_rows, gather_depth
from geometry.cameras import Camera
from geometry.transforms import look_at
from rendering.arrays import rasterize_arrays

MODES, EXPRESSIONS, POINTS = 4, 3, 30


def small_head() -> tuple[LinearPoints, HeadState]:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    points = LinearPoints(draw(POINTS, 3) * 0.05, draw(MODES, POINTS, 3) * 0.002, draw(EXPRESSIONS, POINTS, 3) * 0.004)
    rotation = torch.from_numpy(cv2.Rodrigues(np.array([0.2, -0.3, 0.1]))[0])
    state = HeadState(
        draw(MODES) * 0.3, torch.rand(EXPRESSIONS, generator=generator).double(), rotation, draw(3) * 0.02
    )
    return points, state


def camera(size_hw: tuple[int, int] = (240, 320)) -> Camera:
    K = np.array([[500.0, 0, 160], [0, 500, 120], [0, 0, 1]])
    here = look_at(np.array([0.1, 0.05, 0.7]), np.zeros(3), np.array([0.0, 1.0, 0.0]))
    distortion = np.array([0.05, -0.02, 1e-3, -1e-3, 0.0])
    return Camera("c", "m", "depth", size_hw, K, distortion, here, depth_unit_m=1e-3)


def moved(state: HeadState, centre: torch.Tensor, direction: np.ndarray, step: float) -> HeadState:
    """The state after a step in (identity, curves, pose), as the fit applies it."""
    d = torch.from_numpy(direction) * step
    rotate = torch.from_numpy(cv2.Rodrigues(d[MODES + EXPRESSIONS : MODES + EXPRESSIONS + 3].numpy())[0])
    shift = d[MODES + EXPRESSIONS + 3 :]
    return replace(
        state,
        identity=state.identity + d[:MODES],
        curves=state.curves + d[MODES : MODES + EXPRESSIONS],
        rotation=rotate @ state.rotation,
        translation=rotate @ (state.translation - centre) + centre + shift,
    )


def test_landmark_derivatives_are_those_of_finite_differences():
    points, state = small_head()
    view_camera = camera()
    true_px, _ = view_camera.project(points.in_world(state).numpy())
    random = np.random.default_rng(1)
    view = ViewLandmarks(view_camera, true_px + random.normal(0, 0.01, true_px.shape), np.ones(POINTS))
    target = LandmarkTargets.of(view, np.arange(POINTS))
    centre = points.in_world(state).mean(0)
    spread = torch.full((POINTS,), 0.002, dtype=torch.float64)
    rows = landmark_rows(points, spread, state, centre, target)
    jacobian = torch.cat([rows.d_identity, rows.d_curves, rows.d_pose], 1).numpy()
    for seed in range(4):
        direction = np.random.default_rng(seed).normal(size=jacobian.shape[1])
        h = 1e-6
        ahead, behind = (
            float(landmark_residuals(points, spread, moved(state, centre, direction, sign * h), target).squares.sum())
            for sign in (1, -1)
        )
        # The robust weights change by a millionth over such a step: they are held, as in every Gauss-Newton step.
        slope = 2 * rows.residual.numpy() @ jacobian @ direction
        assert (ahead - behind) / (2 * h) == pytest.approx(slope, rel=2e-3, abs=2e-3)


def ball(radius: float = 0.09) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    sphere = trimesh.creation.icosphere(4, radius)
    return np.asarray(sphere.vertices), np.asarray(sphere.faces)


def depth_of(vertices: np.ndarray, faces: np.ndarray, seen_by: Camera) -> DepthImage:
    pixels, depth = seen_by.project(vertices)
    fragments = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), faces, seen_by.image_size_hw)
    return DepthImage.cleaned(seen_by, fragments.depth)


def gathered_at(
    vertices: np.ndarray, faces: np.ndarray, images: tuple[DepthImage, ...], gate: DepthGate
) -> GatheredDepth:
    views = DepthViews.stacked([images])
    assert views is not None
    surface = Surface(torch.from_numpy(faces), torch.ones(len(faces), dtype=torch.uint8))
    return gather_depth(torch.from_numpy(vertices)[None], surface, views, gate).of_frame(0)


@pytest.mark.parametrize("offset_mm", [-2.0, 0.0, 1.5])
def test_gathered_depth_measures_how_far_the_surface_is_off(offset_mm):
    vertices, faces = ball()
    grown, _ = ball(0.09 + offset_mm / 1000)
    seen_by = camera()
    gate = DepthGate(0.02, 0.01)
    gathered = gathered_at(vertices, faces, (depth_of(grown, faces, seen_by),), gate)
    seen = gathered.weight > gathered.weight.quantile(0.8)
    assert float(gathered.residual_m[seen].median()) * 1000 == pytest.approx(offset_mm, abs=0.06)
    assert seen.sum() > 500


def test_depth_step_finds_a_shift():
    """One Gauss-Newton step of the pose alone brings a shifted ball back by a millimetre's twentieth."""
    vertices, faces = ball()
    shift = np.array([0.002, -0.003, 0.004])
    count = len(vertices)
    points = LinearPoints(
        torch.from_numpy(vertices), torch.zeros(0, count, 3).double(), torch.zeros(0, count, 3).double()
    )
    state = HeadState(torch.zeros(0).double(), torch.zeros(0).double(), torch.eye(3).double(), torch.zeros(3).double())
    views = tuple(
        replace(camera(), world_from_camera=look_at(np.array(eye), np.zeros(3), np.array([0.0, 1.0, 0.0])))
        for eye in ([0.5, 0.1, 0.5], [-0.5, 0.0, 0.5], [0.0, 0.4, 0.6])
    )
    images = tuple(depth_of(vertices + shift, faces, view) for view in views)
    total = np.zeros(3)
    for _ in range(4):
        placed = vertices + total
        gathered = gathered_at(placed, faces, images, DepthGate(0.03, 0.05))
        here = replace(state, translation=torch.from_numpy(total))
        rows = depth_rows(points, here, torch.from_numpy(total), gathered, torch.ones(count).double())
        translation = rows.d_pose[:, 3:].numpy()
        total = total - np.linalg.lstsq(translation, rows.residual.numpy(), rcond=None)[0]
    np.testing.assert_allclose(total, shift, atol=5e-5)


def test_flying_pixels_are_left_out():
    depth = np.full((40, 40), 0.6, np.float32)
    depth[:, 20:] = 0.9
    depth[10, 10] = 0.0
    cleaned = DepthImage.cleaned(camera((40, 40)), depth).depth_m
    assert (cleaned[:, 19:21] == 0).all(), "both sides of the jump"
    assert (cleaned[15:, 2:18] == depth[15:, 2:18]).all()


def test_the_robust_kernel_lets_go_of_outliers():
    weight = geman_mcclure(torch.tensor([0.0, 1.0, 10.0]), 1.0)
    assert weight[0] == 1 and weight[1] == 0.25 and weight[2] < 2e-4
