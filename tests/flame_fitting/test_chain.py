"""The step that couples frames over time: against a dense bounded solve, and the laws that its prior promises."""

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation

from flame_fitting.chain import SMOOTH, Coupling, Motion, TemporalPrior, chain_step, temporal_terms
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.solver import POSE, FrameEquations

CURVES = 4
SIZE = CURVES + POSE
PRIOR = TemporalPrior()


def motion(seed: int, frames: int, turn_rad: float = 0.002) -> Motion:
    random = np.random.default_rng(seed)
    curves = np.clip(0.3 + random.normal(0, 0.03, (frames, CURVES)), 0, 1)
    rotation = Rotation.from_rotvec(random.normal(0, turn_rad, (frames, 3))).as_matrix()
    return Motion(curves, rotation, random.normal(0, 1e-4, (frames, 3)))


def states_of(of: Motion) -> HeadState:
    none = torch.zeros(len(of.curves), 0).double()
    return HeadState(none, *(torch.from_numpy(part) for part in (of.curves, of.rotation, of.centre)))


def alone(own: list[torch.Tensor], gradient: list[torch.Tensor]) -> FrameEquations:
    """Equations of a known person."""
    nobody, coupling = torch.zeros(len(own), 0, 0).double(), torch.zeros(len(own), 0, SIZE).double()
    return FrameEquations(nobody, coupling, torch.stack(own), nobody.flatten(1), torch.stack(gradient))


def equations_of(seed: int, frames: int, pull: float) -> FrameEquations:
    """Random data terms; the larger the pull, the more curves want out of their bounds."""
    random = np.random.default_rng(seed)
    scale = np.concatenate([np.full(CURVES, 20.0), np.full(3, 2000.0), np.full(3, 15000.0)])
    owns, gradients = [], []
    for _ in range(frames):
        jacobian = random.normal(size=(30, SIZE)) * scale
        residual = random.normal(size=30) * pull
        owns.append(torch.from_numpy(jacobian.T @ jacobian))
        gradients.append(torch.from_numpy(jacobian.T @ residual))
    return alone(owns, gradients)


def dense(coupling: Coupling, frames: int) -> np.ndarray:
    """The temporal Hessian as a matrix, built from the bands' meaning."""
    hessian = np.zeros((frames, SIZE, frames, SIZE))
    for k, band in enumerate(coupling.bands):
        for t in range(frames - k):
            for i in range(SIZE):
                hessian[t, i, t + k, i] = hessian[t + k, i, t, i] = band[t, i]
    return hessian.reshape(frames * SIZE, frames * SIZE)


@pytest.mark.parametrize("frames", [1, 2, 3, 9])
@pytest.mark.parametrize("pull", [1.0, 30.0, 100.0])
def test_the_step_is_the_dense_bounded_one(frames, pull):
    held = 0
    for seed in range(4):
        of, equations = motion(seed, frames), equations_of(seed, frames, pull)
        of.curves[0, 0], of.curves[-1, 1] = 0.0, 1.0
        step = chain_step(states_of(of), equations, torch.from_numpy(of.centre), PRIOR).numpy()
        coupling = temporal_terms(of, PRIOR)
        hessian = dense(coupling, frames) + 1e-9 * np.eye(frames * SIZE)
        gradient = coupling.gradient.copy()
        for t in range(frames):
            here = slice(t * SIZE, (t + 1) * SIZE)
            hessian[here, here] += equations.own[t].numpy()
            gradient[t] += equations.gradient_own[t].numpy()
        wide = np.full((frames, POSE), np.inf)
        low, high = np.concatenate([-of.curves, -wide], 1).ravel(), np.concatenate([1 - of.curves, wide], 1).ravel()
        # Unknowns in units of their own curvature, so that the reference solves a well-conditioned problem.
        unit = 1 / np.sqrt(np.diag(hessian))
        root = np.linalg.cholesky(hessian * unit[:, None] * unit)
        right = -np.linalg.solve(root, gradient.ravel() * unit)
        low, high = np.minimum(low, -1e-300), np.maximum(high, 1e-300)
        expected = (
            lsq_linear(root.T, right, (low / unit, high / unit), method="bvls", tol=1e-14, max_iter=2000).x * unit
        )
        np.testing.assert_allclose(step.ravel() / unit, expected / unit, atol=1e-5)
        held += int(((step.ravel() <= low) | (step.ravel() >= high)).sum())
    assert held or pull == 1, "bounds were met"


def robust_cost(of: Motion) -> float:
    """What the temporal terms minimise: Geman and McClure's kernel of the differences in sigmas."""
    kernel = lambda squared: 0.5 * squared / (1 + squared / PRIOR.robust**2)  # noqa: E731
    cost = kernel((np.diff(of.curves, axis=0) / PRIOR.curve_sigma) ** 2).sum()
    turns = Rotation.from_matrix(of.rotation[1:] @ of.rotation[:-1].transpose(0, 2, 1)).as_rotvec()
    for moves, sigma in ((turns, PRIOR.turn_sigma_rad), (np.diff(of.centre, axis=0), PRIOR.shift_sigma_m)):
        cost += kernel(((np.diff(moves, len(SMOOTH) - 2, axis=0) / sigma) ** 2).sum(1)).sum()
    return float(cost)


def test_the_gradient_is_the_costs():
    frames = 6
    of = motion(0, frames, turn_rad=3e-4)
    gradient = temporal_terms(of, PRIOR).gradient
    steps = np.concatenate([np.full(CURVES, 1e-6), np.full(3, 1e-8), np.full(3, 1e-9)])
    numeric = np.zeros_like(gradient)
    for t in range(frames):
        for i in range(SIZE):
            costs = []
            for sign in (1, -1):
                curves, rotation, centre = of.curves.copy(), of.rotation.copy(), of.centre.copy()
                change = np.zeros(SIZE)
                change[i] = sign * steps[i]
                curves[t] += change[:CURVES]
                rotation[t] = Rotation.from_rotvec(change[CURVES : CURVES + 3]).as_matrix() @ rotation[t]
                centre[t] += change[CURVES + 3 :]
                costs.append(robust_cost(Motion(curves, rotation, centre)))
            numeric[t, i] = (costs[0] - costs[1]) / (2 * steps[i])
    for part in (slice(0, CURVES), slice(CURVES + 3, SIZE)):
        np.testing.assert_allclose(
            gradient[:, part], numeric[:, part], rtol=1e-6, atol=1e-6 * abs(numeric[:, part]).max()
        )
    # Turns are added as vectors: right to the first order of the turn between two frames, here 0.0005 rad.
    turn = slice(CURVES, CURVES + 3)
    np.testing.assert_allclose(gradient[:, turn], numeric[:, turn], atol=2e-3 * abs(numeric[:, turn]).max())


def settle(measured: np.ndarray, curve_noise: float, steps: int = 6) -> np.ndarray:
    """Curves alone, each measured with a noise, brought to rest under the temporal prior."""
    frames = len(measured)
    own = torch.eye(SIZE).double() / curve_noise**2
    curves = measured.copy()
    for _ in range(steps):
        pulls = np.concatenate([(curves - measured) / curve_noise**2, np.zeros((frames, POSE))], 1)
        equations = alone([own] * frames, list(torch.from_numpy(pulls)))
        of = Motion(curves, np.tile(np.eye(3), (frames, 1, 1)), np.zeros((frames, 3)))
        curves = (
            curves + chain_step(states_of(of), equations, torch.zeros(frames, 3).double(), PRIOR).numpy()[:, :CURVES]
        )
    return curves


def test_a_blink_of_one_frame_keeps_its_height_and_its_neighbours_theirs():
    measured = np.zeros((15, CURVES))
    measured[7, 0], measured[4, 1], measured[5, 1], measured[10:, 2] = 0.9, 0.5, 0.5, 0.6
    settled = settle(measured, 0.02)
    assert settled[7, 0] >= 0.95 * 0.9
    assert np.abs(settled[[6, 8], 0]).max() < 0.02
    np.testing.assert_allclose(settled, measured, atol=0.03)


def test_noise_of_a_still_face_is_reduced():
    measured = 0.4 + np.random.default_rng(5).normal(0, 0.02, (60, CURVES))
    settled = settle(measured, 0.02)
    jitter = lambda curves: np.abs(np.diff(curves, 2, axis=0)).mean()  # noqa: E731
    assert jitter(settled) < 0.4 * jitter(measured)
    assert np.abs(settled - 0.4).std() < 0.8 * np.abs(measured - 0.4).std()
    assert np.abs(settled.mean(0) - measured.mean(0)).max() < 1e-3, "no drift"


def test_time_reversed_steps_are_the_same_reversed():
    frames = 11
    of, equations = motion(2, frames), equations_of(2, frames, 3.0)
    ahead = chain_step(states_of(of), equations, torch.from_numpy(of.centre), PRIOR)
    back = Motion(of.curves[::-1].copy(), of.rotation[::-1].copy(), of.centre[::-1].copy())
    behind = chain_step(
        states_of(back),
        alone(list(equations.own.flip(0)), list(equations.gradient_own.flip(0))),
        torch.from_numpy(back.centre),
        PRIOR,
    )
    torch.testing.assert_close(behind.flip(0), ahead, rtol=1e-9, atol=1e-11)


def test_still_heads_and_even_motion_cost_nothing():
    steady = np.linspace(0, 1, 8)[:, None]
    rotation = Rotation.from_rotvec(steady * np.array([[0.1, 0.05, -0.02]])).as_matrix()
    of = Motion(np.full((8, CURVES), 0.3), rotation, steady * np.array([[0.02, 0.0, -0.01]]))
    assert np.abs(temporal_terms(of, PRIOR).gradient).max() < 1e-6


@pytest.mark.parametrize("pull", [50.0, 200.0])
def test_long_takes_end_at_a_bounded_minimum_too(pull):
    """The conditions of Karush, Kuhn and Tucker on 300 frames: no curve at a bound pulls inwards, no free one pulls."""
    frames = 300
    of, equations = motion(9, frames), equations_of(9, frames, pull)
    step = chain_step(states_of(of), equations, torch.from_numpy(of.centre), PRIOR).numpy()
    coupling = temporal_terms(of, PRIOR)
    slope = coupling.gradient + coupling.bands[0] * step
    scale = coupling.bands[0].copy()
    slope += equations.gradient_own.numpy() + (equations.own.numpy() @ step[..., None])[..., 0]
    scale += equations.own.diagonal(dim1=1, dim2=2).numpy()
    for k, band in enumerate(coupling.bands[1:], 1):
        slope[:-k] += band[:-k] * step[k:]
        slope[k:] += band[:-k] * step[:-k]
    slope /= np.sqrt(scale)
    at_low = np.zeros_like(step, bool)
    at_high = at_low.copy()
    at_low[:, :CURVES] = step[:, :CURVES] <= -of.curves
    at_high[:, :CURVES] = step[:, :CURVES] >= 1 - of.curves
    assert at_low.sum() > frames / 10 and at_high.sum() > 3, "bounds were met"
    free = ~at_low & ~at_high
    assert np.abs(slope[free]).max() < 1e-6 * np.abs(slope).max()
    assert (slope[at_low] >= 0).all() and (slope[at_high] <= 0).all()
