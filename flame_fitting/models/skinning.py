"""Linear blend skinning, and the rotations it needs: plain differentiable torch over any batch axes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

POLAR_STEPS = 12
"""Newton's iteration doubles its digits each step; six suffice for motions of a face."""


def rotvec_to_rotmat(rotvec: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation matrices of axis-angle vectors in radians; smooth at zero, gradients included.

    Source: Rodrigues' formula; near zero the Taylor series of sin(a)/a and (1 - cos(a))/a^2.
    """
    squared = rotvec.square().sum(-1)[..., None, None]
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    first = torch.where(small, 1 - squared / 6 + squared.square() / 120, angle.sin() / angle)
    second = torch.where(small, 0.5 - squared / 24 + squared.square() / 720, (1 - angle.cos()) / safe)
    x, y, z = rotvec.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.eye(3).to(rotvec) + first * cross + second * (cross @ cross)


def joint_motions(
    rotations: Float[Tensor, "*b j 3 3"], joints: Float[Tensor, "*b j 3"], parents: tuple[int, ...]
) -> tuple[Float[Tensor, "*b j 3 3"], Float[Tensor, "*b j 3"]]:
    """Rotation and translation that carry points from the rest pose to the posed one, per joint.

    `rotations` are relative to the parent; the root (parent -1) turns about its own joint and stays there.
    Source: Loper et al. 2015 (SMPL), eqs. 2-4.
    """
    turned: list[Tensor] = []
    places: list[Tensor] = []
    for joint, parent in enumerate(parents):
        local = rotations[..., joint, :, :]
        if parent < 0:
            turned.append(local)
            places.append(joints[..., joint, :])
        else:
            offset = joints[..., joint, :] - joints[..., parent, :]
            turned.append(turned[parent] @ local)
            places.append(places[parent] + (turned[parent] @ offset[..., None])[..., 0])
    rotation, place = torch.stack(turned, -3), torch.stack(places, -2)
    return rotation, place - (rotation @ joints[..., None])[..., 0]


def skin(
    vertices: Float[Tensor, "*b v 3"],
    weights: Float[Tensor, "v j"],
    rotation: Float[Tensor, "*b j 3 3"],
    translation: Float[Tensor, "*b j 3"],
) -> Float[Tensor, "*b v 3"]:
    """Vertices moved by the weighted mean of their joints' motions. Source: SMPL, eq. 7."""
    batch = rotation.shape[:-3]
    blended = (weights @ rotation.reshape(*batch, -1, 9)).unflatten(-1, (3, 3))
    return (blended @ vertices[..., None])[..., 0] + weights @ translation


def rigid_motion(
    rest: Float[Tensor, "*#b n 3"], moved: Float[Tensor, "*#b n 3"], weights: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "*#b 3 3"], Float[Tensor, "*#b 3"]]:
    """Rotation and translation that carry `rest` onto `moved` with the least weighted squares.

    The rotation is the orthogonal polar factor of the covariance, by Newton's iteration: unlike the derivative of an
    SVD, its gradient stays finite where singular values coincide, as they do on an eyeball.
    Source: Umeyama 1991 without scale; Higham 1986, "Computing the polar decomposition".
    """
    share = (weights / weights.sum())[:, None]
    mean_rest, mean_moved = (rest * share).sum(-2), (moved * share).sum(-2)
    covariance = (moved - mean_moved[..., None, :]).transpose(-1, -2) @ ((rest - mean_rest[..., None, :]) * share)
    rotation = covariance / covariance.flatten(-2).norm(dim=-1)[..., None, None]
    for _ in range(POLAR_STEPS):
        rotation = 0.5 * (rotation + torch.linalg.inv(rotation).transpose(-1, -2))
    return rotation, mean_moved - (rotation @ mean_rest[..., None])[..., 0]
