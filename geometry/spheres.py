"""The sphere through points."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def sphere_through(
    points: Float[np.ndarray, "*t n 3"],
) -> tuple[Float[np.ndarray, "*t 3"], Float[np.ndarray, "*t"]]:
    """Centre and radius, least squares, in the points' unit; a part of the sphere is enough.

    Source: Pratt 1987, the algebraic fit.
    """
    middle = points.mean(-2, keepdims=True)
    local = points - middle
    unknowns = np.concatenate([2 * local, np.ones((*local.shape[:-1], 1))], -1)
    solved = np.linalg.pinv(unknowns) @ (local**2).sum(-1)[..., None]
    centre = solved[..., :3, 0]
    return centre + middle[..., 0, :], np.asarray(np.sqrt(solved[..., 3, 0] + (centre**2).sum(-1)))
