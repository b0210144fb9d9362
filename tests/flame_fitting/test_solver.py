"""The arrow solver against a plain dense solve, and its bounds against a quadratic programme."""

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import lsq_linear

from flame_fitting.losses.linear_head import Rows
from flame_fitting.solver import DAMPING, POSE, HeadPrior, normal_equations, solve_arrow

FREE = HeadPrior(rate=0.0, sigma=1e6, identity=1.0)


def random_rows(seed: int, count: int, modes: int, expressions: int) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return Rows(draw(count), draw(count, modes), draw(count, expressions), draw(count, POSE))


def dense_problem(frames: list[Rows], modes: int, expressions: int) -> tuple[np.ndarray, np.ndarray]:
    """All frames' Jacobian and residual in one matrix, the identity's prior below."""
    size = expressions + POSE
    jacobian = np.zeros((sum(len(rows.residual) for rows in frames) + modes, modes + size * len(frames)))
    residual = np.zeros(len(jacobian))
    at = 0
    for number, rows in enumerate(frames):
        here = slice(at, at + len(rows.residual))
        jacobian[here, :modes] = rows.d_identity
        own = modes + size * number
        jacobian[here, own : own + size] = torch.cat([rows.d_curves, rows.d_pose], 1)
        residual[here] = rows.residual
        at += len(rows.residual)
    jacobian[at:, :modes] = np.eye(modes)
    return jacobian, residual


def test_free_step_is_the_dense_least_squares_step():
    modes, expressions = 5, 4
    frames = [random_rows(seed, 60, modes, expressions) for seed in range(3)]
    curves = torch.full((3, expressions), 0.5, dtype=torch.float64)
    far = curves * 0 + 0.5
    equations = normal_equations([(1.0, Rows.stacked(frames))], modes, far, FREE)
    few = replace(  # residuals so small that no bound is met
        equations,
        gradient_identity=equations.gradient_identity * 1e-3,
        gradient_own=equations.gradient_own * 1e-3,
    )
    step = solve_arrow(few, torch.zeros(modes).double(), curves, FREE, True)
    jacobian, residual = dense_problem(frames, modes, expressions)
    hessian = jacobian.T @ jacobian
    hessian += DAMPING * np.diag(hessian.diagonal())
    expected = -np.linalg.solve(hessian, jacobian.T @ residual * 1e-3)
    np.testing.assert_allclose(step.identity, expected[:modes], atol=1e-8)
    np.testing.assert_allclose(step.own.numpy().ravel(), expected[modes:], atol=1e-8)


def test_bounded_curves_solve_the_bounded_problem():
    expressions = 6
    for seed in range(6):
        rows = random_rows(seed, 40, 0, expressions)
        rows = Rows(rows.residual * 3, rows.d_identity, rows.d_curves, rows.d_pose)
        curves = torch.rand(1, expressions, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        equations = normal_equations([(1.0, Rows.stacked([rows]))], 0, curves, FREE)
        step = solve_arrow(equations, torch.zeros(0).double(), curves, FREE, True)
        jacobian = torch.cat([rows.d_curves, rows.d_pose], 1).numpy()
        low = np.concatenate([-curves[0].numpy(), np.full(POSE, -np.inf)])
        high = np.concatenate([1 - curves[0].numpy(), np.full(POSE, np.inf)])
        expected = lsq_linear(jacobian, -rows.residual.numpy(), (low, high), tol=1e-12).x
        np.testing.assert_allclose(step.own[0], expected, atol=2e-2)
        assert (step.own[0].numpy() >= low - 1e-12).all() and (step.own[0].numpy() <= high + 1e-12).all()


def test_a_curve_that_explains_nothing_stays_at_rest():
    rows = random_rows(0, 50, 0, 3)
    useless = Rows(rows.residual, rows.d_identity, rows.d_curves * 1e-3, rows.d_pose)
    prior = HeadPrior(rate=5.0, sigma=1.0)
    curves = torch.zeros(1, 3, dtype=torch.float64)
    equations = normal_equations([(1.0, Rows.stacked([useless]))], 0, curves, prior)
    step = solve_arrow(equations, torch.zeros(0).double(), curves, prior, True)
    assert (step.own[0, :3] == 0).all()
