"""Heads in correspondence with FLAME's mesh as FLAME's own parameters, under the names that `smplx` takes."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.func import jacfwd

from flame_fitting.models.flame import EXPRESSION, Flame
from flame_fitting.models.skinning import rigid_motion

STEPS = 12
SETTLED = 1e-6
"""Steps end when no parameter moves by more."""
NOISE_M = 5e-4
"""What a fitted vertex is trusted to; against coefficients of one standard deviation."""
JOINT_SIGMA_RAD = 0.3
"""Jaws and eyes turn by so much; necks are held: the whole head's turn is `global_orient`."""
FREE_JOINTS = slice(2, 5)


def flame_parameters(
    flame: Flame, identity: Float[Tensor, "k"], vertices: Float[Tensor, "t v 3"]
) -> dict[str, np.ndarray]:
    """betas, expression, global_orient, neck_pose (zero), jaw_pose, leye_pose, reye_pose and transl of each head.

    `vertices` are metres in any frame (FLAME's axes turned by the head's pose), `identity` the betas of the person.
    `residual_mm` beside them is the root mean square distance that the parameters leave, per head. Gauss-Newton with
    FLAME's own prior on expression; derivatives of the pose are forward-mode, those of the expression differences,
    which are exact because FLAME is linear in it at a fixed pose.
    """
    target = vertices.to(flame.template)
    betas = identity.to(flame.template)
    found = [_one(flame, betas, each) for each in target]
    expression, pose, shift, left = (torch.stack(part) for part in zip(*found, strict=True))
    names = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")
    return {
        "betas": betas.numpy(),
        "expression": expression.numpy(),
        **{name: pose[:, joint].numpy() for joint, name in enumerate(names)},
        "transl": shift.numpy(),
        "residual_mm": (left * 1000).numpy(),
    }


def _one(flame: Flame, betas: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Expression, pose, translation and root mean square residual in metres of one head."""
    expression = torch.zeros(EXPRESSION).to(target)
    rest = flame.with_shape(betas, expression)
    rotation, _ = rigid_motion(rest.vertices, target, flame.skinning[:, 1])
    pose = torch.zeros(5, 3).to(target)
    pose[0] = _rotvec(rotation)
    shift = (target - rest.with_pose(pose, torch.zeros(3).to(target))).mean(0)
    prior = torch.cat([torch.ones(EXPRESSION), torch.zeros(3), torch.full((9,), JOINT_SIGMA_RAD**-2), torch.zeros(3)])
    prior = prior.to(target)

    def posed(turns: Tensor) -> Tensor:
        full = torch.cat([turns[:1], torch.zeros(1, 3).to(turns), turns[1:]])
        return flame.with_shape(betas, expression).with_pose(full, shift).flatten()

    for _ in range(STEPS):
        turns = torch.cat([pose[:1], pose[FREE_JOINTS]])
        by_expression = _expression_columns(flame, betas, expression, pose)
        by_pose = jacfwd(posed)(turns).flatten(1)
        by_shift = torch.eye(3).to(target).repeat(len(target), 1)
        design = torch.cat([by_expression, by_pose, by_shift], 1) / NOISE_M
        residual = (target.flatten() - posed(turns)) / NOISE_M
        now = torch.cat([expression, turns.flatten(), shift])
        normal = design.T @ design + torch.diag(prior + 1e-9)
        step = torch.linalg.solve(normal, design.T @ residual - prior * now)
        expression = expression + step[:EXPRESSION]
        turns = turns + step[EXPRESSION : EXPRESSION + 12].unflatten(0, (4, 3))
        pose = torch.cat([turns[:1], torch.zeros(1, 3).to(turns), turns[1:]])
        shift = shift + step[-3:]
        if float(step.abs().max()) < SETTLED:
            break
    left = target - flame.with_shape(betas, expression).with_pose(pose, shift)
    return expression, pose, shift, left.square().sum(-1).mean().sqrt()


def _expression_columns(flame: Flame, betas: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
    """Vertices by expression coefficient: FLAME is linear in them at a fixed pose, so one difference each is exact."""
    ways = torch.cat([torch.zeros(1, EXPRESSION), torch.eye(EXPRESSION)]).to(expression)
    shaped = flame.with_shape(betas.expand(len(ways), -1), ways)
    vertices = shaped.with_pose(pose.expand(len(ways), 5, 3), torch.zeros(len(ways), 3).to(pose))
    return (vertices[1:] - vertices[:1]).flatten(1).T


def _rotvec(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "3"]:
    return torch.from_numpy(Rotation.from_matrix(rotation.numpy()).as_rotvec()).to(rotation)
