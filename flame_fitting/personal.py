"""What makes a person's head differ from all that the model can be: shape outside its basis, expressions of their own.

People raise their lip corners in their own direction and open their jaw about their own axis. Fitted with average
shapes, what the shapes miss is explained by other curves that did not move: most of a fit's error in expression comes
from there. The person's own shapes are the average ones plus smooth fields, in proportion to how far each point moves;
they are estimated with the shape's own smooth remainder in one linear problem from the depth of all key frames.

How strong a shape is on this person cannot be told from how strongly it was made, so that a person's shape keeps the
average one's strength: the fields have no part along it.

Source: Li, Weise & Pauly 2010, "Example-based facial rigging"; Luthi et al. 2018, "Gaussian process morphable models".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.key_frames import in_threads
from flame_fitting.losses.linear_head import HeadState, LinearPoints
from flame_fitting.losses.vertex_evidence import SYMMETRIC, VertexEvidence
from flame_fitting.models.gaussian_process import kernel_functions
from flame_fitting.scene import HeadScene

SAME_STRENGTH = 1e6
"""Precision that holds a field's part along its shape at zero."""


@dataclass(frozen=True)
class PersonalPrior:
    """How far people differ from the model; every field is a Gaussian process over the face."""

    shape_sigma_m: float = 4e-4
    """Of the neutral head outside the identity basis, along each axis, metres."""
    shape_length_m: float = 0.02
    """Its correlation length, metres."""
    shape_modes: int = 150
    """Leading functions of its kernel."""
    expression_sigma: float = 0.15
    """Of expression shapes, relative to how far each point moves."""
    expression_length_m: float = 0.035
    """Their correlation length, metres."""
    expression_modes: int = 24
    """Leading functions of their kernel."""
    active: float = 0.03
    """A shape is learnt from frames in which its curve is above this."""
    evidence: float = 3.0
    """How much all frames' depth counts beside these priors; tuned (vertex error 0.50 mm at 0.3, 0.42 at 3)."""


@dataclass(frozen=True, eq=False)
class PersonalFields:
    """The smooth functions in which a person's differences are expressed."""

    vertices: Int[np.ndarray, "n"]
    """Vertices that may differ: those that depth measures."""
    shape: Float[np.ndarray, "n s"]
    """Functions of the neutral head, metres at one standard deviation."""
    expression: Float[np.ndarray, "n m"]
    """Functions of the expressions, relative to the movement."""

    @classmethod
    def of(cls, scene: HeadScene, prior: PersonalPrior) -> PersonalFields:
        """Fields over the measured part of the head."""
        vertices = np.nonzero((scene.trust >= 0.04).cpu().numpy())[0]
        points = scene.surface.mean.cpu().numpy()[vertices]
        shape = kernel_functions(points, prior.shape_length_m, prior.shape_modes)
        expression = kernel_functions(points, prior.expression_length_m, prior.expression_modes)
        return cls(vertices, shape * prior.shape_sigma_m, expression * prior.expression_sigma)


def learn_person(
    general: LinearPoints,
    current: LinearPoints,
    frames: tuple[HeadState, VertexEvidence],
    fields: PersonalFields,
    prior: PersonalPrior,
) -> LinearPoints:
    """The surface with the person's own neutral shape and expressions, given curves and poses of a batch of frames.

    `general` has what the model says about this identity, `current` what was learnt so far, from which the evidence of
    each frame is counted.
    """
    states, gathered = frames
    device = states.curves.device
    vertices = torch.from_numpy(fields.vertices).to(device)
    average, now = general.at(vertices), current.at(vertices)
    measured = gathered.at(vertices).in_head(states.rotation)
    measured = measured.measured_from(now.in_head(states) - average.in_head(states))
    size = torch.linalg.vector_norm(average.expression_basis, dim=2)
    strength = torch.where(states.curves > prior.active, states.curves, 0.0)
    learnt = torch.nonzero((strength > 0).any(0) & (size.amax(1) > 1e-4)).squeeze(1)
    shape, expression = (torch.from_numpy(part).to(device) for part in (fields.shape, fields.expression))
    unknowns = PersonalUnknowns(shape, expression, size[learnt], strength[:, learnt])
    hessian, towards = personal_equations(unknowns, measured)
    hessian.mul_(prior.evidence).diagonal().add_(1)
    for k, name in enumerate(learnt.tolist()):
        along = (unknowns.block(k).T @ average.expression_basis[name]).flatten()
        along = along / torch.linalg.vector_norm(along).clamp_min(1e-20)
        hessian[unknowns.of(k), unknowns.of(k)] += SAME_STRENGTH * torch.outer(along, along)
    found = torch.cholesky_solve(prior.evidence * towards[:, None], torch.linalg.cholesky(hessian))[:, 0]
    mean, expressions = general.mean.clone(), general.expression_basis.clone()
    mean[vertices] += unknowns.shape @ found[: unknowns.wide].reshape(-1, 3)
    for k, name in enumerate(learnt.tolist()):
        expressions[name, vertices] += unknowns.block(k) @ found[unknowns.of(k)].reshape(-1, 3)
    return LinearPoints(mean, general.identity_basis, expressions)


@dataclass(frozen=True, eq=False)
class PersonalUnknowns:
    """Coefficients of a person's fields, three axes a function: of the shape, then of every expression shape."""

    shape: Float[Tensor, "n s"]
    """Functions of the neutral head."""
    expression: Float[Tensor, "n m"]
    """Functions of the expression shapes, relative to the movement."""
    size_m: Float[Tensor, "e n"]
    """How far each point moves with each shape that is learnt, metres."""
    strength: Float[Tensor, "t e"]
    """How strongly each frame shows each shape; 0 where it teaches nothing."""

    @property
    def wide(self) -> int:
        """Coefficients of the shape."""
        return 3 * self.shape.shape[1]

    def of(self, shape: int) -> slice:
        """Places of an expression shape's coefficients."""
        count = 3 * self.expression.shape[1]
        return slice(self.wide + shape * count, self.wide + (shape + 1) * count)

    def block(self, shape: int) -> Float[Tensor, "n m"]:
        """Functions of an expression shape, metres."""
        return self.size_m[shape, :, None] * self.expression


def personal_equations(
    unknowns: PersonalUnknowns, measured: VertexEvidence
) -> tuple[Float[Tensor, "p p"], Float[Tensor, "p"]]:
    """J^T J and J^T r of all coefficients over all frames, without ever writing down J.

    A row's derivative by a coefficient is a product: strength in the frame, size and function at the vertex, component
    of the direction. So frames are summed first, into one symmetric 3x3 matrix a vertex and pair of shapes, and the
    functions' products come once for all frames.
    """
    axes = torch.triu_indices(3, 3, device=measured.pull.device)
    outer, pull = measured.information[..., axes[0], axes[1]].mT, measured.pull
    shape, expression, strength = unknowns.shape, unknowns.expression, unknowns.strength
    size = unknowns.wide + 3 * expression.shape[1] * strength.shape[1]
    hessian, towards = shape.new_zeros(size, size), shape.new_zeros(size)
    wide = slice(0, unknowns.wide)
    # Axes: pair of axes a b, function of the left, function of the right.
    square = shape.T @ (outer.sum(0)[:, :, None] * shape)
    hessian[wide, wide] = _interleaved(square)
    towards[wide] = (shape.T @ pull.sum(0)).flatten()
    count = expression.shape[1]
    left, right = torch.triu_indices(count, count, device=shape.device)
    place = torch.zeros(count, count, dtype=torch.int64, device=shape.device)
    place[left, right] = place[right, left] = torch.arange(len(left), device=shape.device)
    pairs = expression[:, left] * expression[:, right]

    def shape_of(k: int) -> None:
        own, frames = unknowns.of(k), torch.nonzero(strength[:, k]).squeeze(1)
        shown, shared = strength[frames], outer[frames]
        of_shape = torch.tensordot(shown[:, k], shared, 1) * unknowns.size_m[k]
        hessian[own, wide] = _interleaved(expression.T @ (of_shape[:, :, None] * shape))
        hessian[wide, own] = hessian[own, wide].T
        towards[own] = (unknowns.block(k).T @ torch.tensordot(shown[:, k], pull[frames], 1)).flatten()
        others = k + torch.nonzero((shown[:, k:] > 0).any(0)).squeeze(1)
        weights = torch.tensordot(shown[:, others].T * shown[:, k], shared, 1)
        weights *= (unknowns.size_m[k] * unknowns.size_m[others])[:, None]
        products = weights @ pairs
        for other, product in zip(others.tolist(), products, strict=True):
            block = _interleaved(product[:, place])
            hessian[own, unknowns.of(other)] = block
            hessian[unknowns.of(other), own] = block.T

    in_threads(shape_of, list(range(strength.shape[1])))
    return hessian, towards


def _interleaved(blocks: Float[Tensor, "6 l r"]) -> Float[Tensor, "l3 r3"]:
    """A block of the Hessian from its six pairs of axes: coefficients are ordered by function, then axis."""
    whole = blocks[SYMMETRIC.to(blocks.device)]
    return whole.permute(2, 0, 3, 1).reshape(3 * blocks.shape[1], 3 * blocks.shape[2])
