"""Jaw and eyes as the ARKit curves drive them: bones are derived from the expressed head, never free beside it.

If a jaw joint could turn while `jawOpen` acts, the same open mouth would exist twice. So the curves move the vertices,
and what a rig, an exporter or the gaze needs is read off: the rigid motion that fits the eyeball or the jaw best.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from flame_fitting.models.contours import HeadContours
from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.skinning import rigid_motion

JAW_CURVES = ("jawOpen", "jawForward", "jawLeft", "jawRight")
"""The curves that move bone; smiles and puckers move the chin's skin over it."""


def eye_rotations(
    rest: Float[Tensor, "*#b v 3"], expressed: Float[Tensor, "*#b v 3"], contours: HeadContours
) -> Float[Tensor, "*#b 2 3 3"]:
    """How each eyeball has turned between two heads in the same frame; the left eye first."""
    turns = []
    for ball in contours.eyeballs:
        ball = ball.to(rest.device)
        ones = torch.ones(len(ball), dtype=rest.dtype, device=rest.device)
        turns.append(rigid_motion(rest[..., ball, :], expressed[..., ball, :], ones)[0])
    return torch.stack(turns, -3)


def gaze_directions(
    rest: Float[Tensor, "*#b v 3"], expressed: Float[Tensor, "*#b v 3"], contours: HeadContours
) -> Float[Tensor, "*#b 2 3"]:
    """Unit vectors in the frame of the vertices, the left eye first: from the eyeball's centre through the pupil.

    Centre and pupil are those of the rest head, turned as the whole ball turned. Rotate with the head
    to get the gaze in the world.
    """
    turned = eye_rotations(rest, expressed, contours)
    ahead = []
    for ball, pupil in zip(contours.eyeballs, contours.pupils, strict=True):
        middle = rest[..., pupil.to(rest.device), :].mean(-2)
        ahead.append(middle - ball_centre(rest[..., ball.to(rest.device), :]))
    direction = (turned @ torch.stack(ahead, -2)[..., None])[..., 0]
    return direction / direction.norm(dim=-1, keepdim=True)


def ball_centre(points: Float[Tensor, "*#b n 3"]) -> Float[Tensor, "*#b 3"]:
    """Centre of the sphere through points, least squares; a half ball is enough. Source: Pratt 1987."""
    middle = points.mean(-2, keepdim=True)
    local = points - middle
    design = torch.cat([2 * local, torch.ones_like(local[..., :1])], -1)
    solved = torch.linalg.pinv(design) @ local.square().sum(-1, keepdim=True)
    return solved[..., :3, 0] + middle[..., 0, :]


def jaw_motion(
    model: HeadModel, rest: Float[Tensor, "*#b v 3"], curves: Float[Tensor, "*#b e"]
) -> tuple[Float[Tensor, "*#b 3 3"], Float[Tensor, "*#b 3"]]:
    """The rigid motion of the lower jaw that the curves imply, in the head's frame: rotation, translation in metres.

    `moved = rotation @ point + translation`; fitted to the jaw's share of each vertex (squared skinning weight), with
    the jaw's own curves alone. Subtract `joint - rotation @ joint` to have the motion about the jaw joint.
    """
    acting = torch.tensor([name in JAW_CURVES for name in model.expression_names], device=curves.device)
    basis = model.expression_basis.to(rest)
    moved = rest + torch.tensordot((curves * acting).to(rest), basis, dims=1)
    weights = model.skinning[:, model.joint_names.index("jaw")].to(rest).square()
    return rigid_motion(rest.expand_as(moved), moved, weights)
