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

from flame_fitting.losses.linear_head import HeadState, LinearPoints
from flame_fitting.losses.point_to_plane import MODEL_SIGMA_M, GatheredDepth
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
    independence: float = 0.3
    """How much the depth of all frames counts: its errors are not independent from frame to frame."""


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
        vertices = np.nonzero((scene.trust >= 0.04).numpy())[0]
        points = scene.surface.mean.numpy()[vertices]
        shape = kernel_functions(points, prior.shape_length_m, prior.shape_modes)
        expression = kernel_functions(points, prior.expression_length_m, prior.expression_modes)
        return cls(vertices, shape * prior.shape_sigma_m, expression * prior.expression_sigma)


def learn_person(
    general: LinearPoints,
    current: LinearPoints,
    frames: list[tuple[HeadState, GatheredDepth]],
    fields: PersonalFields,
    prior: PersonalPrior,
    trust: Float[np.ndarray, "v"],
) -> LinearPoints:
    """The surface with the person's own neutral shape and expressions, given curves and poses.

    `general` has what the model says about this identity, `current` what was learnt so far, against which the depth of
    each frame was gathered.
    """
    shapes = general.expression_basis.numpy()
    size = np.linalg.norm(shapes[:, fields.vertices], axis=2)
    curves = np.stack([state.curves.numpy() for state, _ in frames])
    learnt = np.nonzero((curves > prior.active).any(0) & (size.max(1) > 1e-4))[0]
    wide, count = fields.shape.shape[1] * 3, fields.expression.shape[1] * 3
    blocks = (size[learnt, :, None] * fields.expression[None]).astype(np.float32)
    unknowns = wide + count * len(learnt)
    hessian, towards = np.zeros((unknowns, unknowns), np.float32), np.zeros(unknowns)
    for (state, gathered), curve in zip(frames, curves, strict=True):
        active = np.nonzero(curve[learnt] > prior.active)[0]
        normals = gathered.normals[fields.vertices] @ state.rotation.numpy()
        learnt_so_far = (current.in_head(state) - general.in_head(state)).numpy()[fields.vertices]
        target = gathered.residual_m[fields.vertices] + (normals * learnt_so_far).sum(1)
        root = np.sqrt(_precision(gathered, fields.vertices, trust) * prior.independence).astype(np.float32)
        directions = normals.astype(np.float32) * root[:, None]
        parts = [_outer(fields.shape.astype(np.float32), directions)]
        parts += [_outer(blocks[k] * np.float32(curve[learnt[k]]), directions) for k in active]
        columns = [np.arange(wide), *(wide + k * count + np.arange(count) for k in active)]
        jacobian, where = np.concatenate(parts, 1), np.concatenate(columns)
        hessian[np.ix_(where, where)] += jacobian.T @ jacobian
        towards[where] += jacobian.T @ (root * target)
    for k, name in enumerate(learnt):
        along = np.einsum("nm,nc->mc", blocks[k], shapes[name, fields.vertices]).ravel()
        along /= max(float(np.linalg.norm(along)), 1e-20)
        here = slice(wide + k * count, wide + (k + 1) * count)
        hessian[here, here] += SAME_STRENGTH * np.outer(along, along)
    hessian[range(unknowns), range(unknowns)] += 1
    found = np.linalg.solve(hessian.astype(np.float64), towards)
    mean, expressions = general.mean.clone(), general.expression_basis.clone()
    mean[fields.vertices] += torch.from_numpy(fields.shape @ found[:wide].reshape(-1, 3))
    own = np.einsum("knm,kmc->knc", blocks.astype(np.float64), found[wide:].reshape(len(learnt), count // 3, 3))
    expressions[np.ix_(learnt, fields.vertices)] += torch.from_numpy(own)
    return LinearPoints(mean, general.identity_basis, expressions)


def _precision(
    gathered: GatheredDepth, vertices: Int[np.ndarray, "n"], trust: Float[np.ndarray, "v"]
) -> Float[np.ndarray, "n"]:
    """Of each vertex's measured distance, 1/m^2; 0 where nothing was measured."""
    information = gathered.weight[vertices]
    precision = trust[vertices] / (1 / np.maximum(information, 1e-9) + MODEL_SIGMA_M**2)
    return np.where(information > 1, precision, 0)


def _outer(functions: Float[np.ndarray, "n m"], directions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n m3"]:
    """Derivatives by the coefficients (function, axis) of movements along the directions."""
    return (functions[:, :, None] * directions[:, None, :]).reshape(len(functions), -1)
