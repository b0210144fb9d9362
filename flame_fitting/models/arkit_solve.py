"""ARKit curves from meshes: bounded least squares on the 52 shapes, the same for a face and for its mirror image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from flame_fitting.models.contours import HeadContours, mirrored_curve_rows
from flame_fitting.models.head_model import HeadModel

RIDGE = 1e-7
"""Of each curve's own square: picks one of several equal solutions, and moves no planted curve by 0.001."""
SWEEPS = 40
KKT = 1e-9
"""A bound is left only if that helps by more than this share of the target."""
INSIDE = 0.05
"""Weight of the mouth's inside, which shows the tongue, beside the face's 1."""
SHOWN_M = 0.0005
"""A curve that moves no counted vertex by more than this cannot be told and stays at 0 (a tongue in a head without)."""
ACTIVE = 0.01
"""A curve above this counts as active."""


@dataclass(frozen=True, eq=False)
class ArkitSolution:
    """Curves of a number of meshes, and what they leave."""

    curves: Float[np.ndarray, "t e"]
    """In [0, 1], in the order of the model's expression names."""
    residual_mm: Float[np.ndarray, "t"]
    """Root mean square distance that the curves leave, over the vertices that counted."""
    worst_mm: Float[np.ndarray, "t"]
    """The 95th percentile of the same."""
    active: Int[np.ndarray, "t"]
    """How many curves are above 0.01."""

    def report(self) -> dict[str, float]:
        """Figures over all meshes, for results and reports."""
        return {
            "arkit_residual_mm_median": float(np.median(self.residual_mm)),
            "arkit_residual_mm_p95": float(np.quantile(self.residual_mm, 0.95)),
            "arkit_active_curves_mean": float(self.active.mean()),
        }


def solve_arkit(
    model: HeadModel,
    neutral: Float[np.ndarray, "v 3"],
    meshes: Float[np.ndarray, "t v 3"],
    contours: HeadContours,
) -> ArkitSolution:
    """The ARKit curves in [0, 1] that come nearest to each mesh; all in the head's frame, metres.

    Face and eyes count, the mouth's inside a little. The shapes are made symmetric first and the vertices counted in
    mirrored pairs, so that the mirror image of a mesh has the mirrored curves, and a symmetric mesh has equal curves on
    both sides. Source: Franc et al. 2005, "Sequential coordinate-wise algorithm for the non-negative least squares
    problem", with an upper bound.
    """
    mirror = contours.mirror.numpy()
    weights = (model.region("face") | model.region("eyes")).numpy().astype(float)
    weights[model.region("mouth_interior").numpy()] = INSIDE
    # A vertex and its image count alike, and one without an image of its own not at all: both sides see the same sum.
    own = mirror[mirror] == np.arange(len(mirror))
    weights = 0.5 * own * (weights + weights[mirror])
    basis = symmetric_shapes(model.expression_basis.double().numpy(), model.expression_names, mirror)
    rows = np.flatnonzero(weights > 0)
    design = basis[:, rows] * np.sqrt(weights[rows])[:, None]
    flat = design.reshape(len(basis), -1)
    gram = flat @ flat.T
    gram = gram + np.diag(RIDGE * gram.diagonal() + 1e-12)
    moved = (meshes - neutral)[:, rows].astype(np.float64)
    target = (moved * np.sqrt(weights[rows])[:, None]).reshape(len(meshes), -1) @ flat.T
    shown = np.linalg.norm(basis[:, rows], axis=2).max(1) > SHOWN_M
    curves = solve_box(gram, target, shown.astype(float))
    left = moved - np.tensordot(curves, basis[:, rows], 1)
    distance = np.linalg.norm(left, axis=2) * 1000
    share = weights[rows] / weights[rows].sum()
    return ArkitSolution(
        curves=curves,
        residual_mm=np.sqrt((distance**2) @ share),
        worst_mm=np.quantile(distance, 0.95, axis=1),
        active=(curves > ACTIVE).sum(1),
    )


def symmetric_shapes(
    basis: Float[np.ndarray, "e v 3"], names: tuple[str, ...], mirror: Int[np.ndarray, "v"]
) -> Float[np.ndarray, "e v 3"]:
    """Each shape averaged with the mirror image of its twin: left and right are one another's image exactly."""
    rows = list(mirrored_curve_rows(names))
    own = mirror[mirror] == np.arange(len(mirror))
    image = basis[rows][:, mirror] * [-1.0, 1.0, 1.0]
    return np.where(own[:, None], 0.5 * (basis + image), basis)


def solve_box(
    gram: Float[np.ndarray, "e e"], target: Float[np.ndarray, "t e"], most: Float[np.ndarray, "e"]
) -> Float[np.ndarray, "t e"]:
    """The x in [0, most] that minimises x G x / 2 - b x for each row b of `target`; G is positive definite.

    Coordinates take turns, all rows at once, until the bounds are known but for a few; then each row is solved exactly.
    Source: Stark & Parker 1995, "Bounded-variable least-squares", started from the turns' result.
    """
    diagonal = gram.diagonal()
    x = np.zeros_like(target)
    slope = -target.copy()  # of the objective: G x - b
    for _ in range(SWEEPS):
        for column in np.flatnonzero(most > 0):
            new = np.clip(x[:, column] - slope[:, column] / diagonal[column], 0, most[column])
            step = new - x[:, column]
            if step.any():
                x[:, column] = new
                slope += step[:, None] * gram[column]
    return np.array([_exact(gram, row, most, start) for row, start in zip(target, x, strict=True)]).reshape(x.shape)


def _exact(gram: np.ndarray, b: np.ndarray, most: np.ndarray, start: np.ndarray) -> np.ndarray:
    """One row's minimum from a start within the bounds, by freeing and fixing one coordinate at a time."""
    x = start.copy()
    free = (x > 0) & (x < most)
    small = KKT * float(np.abs(b).max() + 1e-30)
    for _ in range(20 * len(b)):
        if free.any():
            fixed = np.where(free, 0.0, x)
            best = np.linalg.solve(gram[np.ix_(free, free)], b[free] - gram[free] @ fixed)
            step = best - x[free]
            room = np.where(step > 0, most[free] - x[free], x[free])
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(np.abs(step) > room, room / np.abs(step), 1.0)
            if share.min() < 1:
                x[free] += share.min() * step
                stopped = np.flatnonzero(free)[share.argmin()]
                x[stopped] = most[stopped] if step[share.argmin()] > 0 else 0.0
                free[stopped] = False
                continue
            x[free] = best
        downhill = b - gram @ x
        gain = np.where(free | (most <= 0), 0.0, np.where(x <= 0, downhill, -downhill))
        if gain.max() <= small:
            break
        free[gain.argmax()] = True
    return x
