"""What VHAP and metrical-tracker do, on our residuals: Adam with automatic derivatives, frame after frame.

Each frame starts from the one before; the person is known, as in their tracking. The same landmarks and depth are
looked at with the same weights, robust kernels and prior as in our fit; depth is associated anew every few steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.evidence import DepthImage
from flame_fitting.losses.landmarks import ROBUST_SIGMAS, LandmarkTargets
from flame_fitting.losses.linear_head import geman_mcclure
from flame_fitting.losses.point_to_plane import (
    MODEL_SIGMA_M,
    DepthGate,
    DepthViews,
    GatheredDepth,
    Surface,
    gather_depth,
)
from flame_fitting.stages import TRACKING_STAGES

LANDMARK_WEIGHT, DEPTH_WEIGHT, RATE, SIGMA = 0.1, TRACKING_STAGES[-1].depth, 20.0, 0.7
"""Of the squared residuals, and of the prior that keeps curves at rest: an exponential and a Gaussian one."""
GATE = DepthGate(0.02, 0.004)
ASSOCIATE_EVERY = 5
"""Steps; the trackers draw the head anew in every one, so that this is in Adam's favour."""
LOOK_EVERY = 5
"""Steps after which the error is looked at, on a stopped clock."""
SHIFT_UNIT_M = 0.1
"""A learning rate turns by radians and moves by this: about as far as a head's surface moves."""


@dataclass(frozen=True, eq=False)
class Person:
    """A known head, in its own frame."""

    rest: Float[Tensor, "v 3"]
    """Neutral, metres."""
    expressions: Float[Tensor, "e v 3"]
    """Metres at a curve's full value."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    trust: Float[Tensor, "v"]
    """How much depth counts at each vertex."""
    mark_faces: Int[Tensor, "l 3"]
    """Triangle of each landmark."""
    mark_weights: Float[Tensor, "l 3"]
    """Where on it."""
    spread_m: Float[Tensor, "l"]
    """Scatter of each landmark on the surface, metres."""

    @cached_property
    def surface(self) -> Surface:
        """The triangles, of which depth may attach to those whose corners it is trusted at."""
        faces = torch.from_numpy(self.faces)
        return Surface(faces, (self.trust > 0)[faces].all(1).to(torch.uint8))


@dataclass(frozen=True, eq=False)
class Observed:
    """One frame set as the cameras saw it."""

    views: tuple[LandmarkTargets, ...]
    """Landmarks."""
    depth: tuple[DepthImage, ...]
    """Depth pictures, edges taken out."""


@dataclass(frozen=True, eq=False)
class Tracked:
    """One frame's unknowns."""

    curves: Float[Tensor, "e"]
    """In [0, 1]."""
    rotation: Float[Tensor, "3 3"]
    """World from head."""
    translation: Float[Tensor, "3"]
    """Metres."""

    def vertices(self, person: Person) -> Float[Tensor, "v 3"]:
        """World, metres."""
        head = person.rest + torch.tensordot(self.curves, person.expressions, 1)
        return head @ self.rotation.T + self.translation


@dataclass(frozen=True)
class Error:
    """How far a frame is from the truth."""

    vertex_mm: float
    """Median over the seen face."""
    curve: float
    """Mean absolute error of the curves that move the skin."""

    def is_within(self, other: Error) -> bool:
        """Whether both are as small as another's."""
        return self.vertex_mm <= other.vertex_mm and self.curve <= other.curve


@dataclass(frozen=True)
class AdamRun:
    """How far Adam came."""

    seconds: float
    """Over all frames, without looking at the error."""
    steps: int
    """Over all frames."""
    reached: int
    """Frames whose errors came down to the wanted ones."""
    error: Error
    """Mean over the frames of the last errors."""


def landmark_residual(person: Person, vertices: Float[Tensor, "v 3"], target: LandmarkTargets) -> Float[Tensor, "l 2"]:
    """`losses.landmarks.landmark_rows`' residuals as a function of the vertices; robust weights are held."""
    points = (vertices[person.mark_faces] * person.mark_weights[..., None]).sum(1)
    in_camera = points @ target.rotation.to(points.dtype).T + target.translation.to(points.dtype)
    depth = in_camera[:, 2:].clamp_min(0.05)
    error = (in_camera[:, :2] + target.offset_m.to(points.dtype)) / depth - target.normalised.to(points.dtype)
    sigma = torch.sqrt(target.detection_sigma**2 + (person.spread_m.to(points.dtype)[:, None] / depth.detach()) ** 2)
    robust = geman_mcclure((error.detach() / sigma).norm(dim=1), ROBUST_SIGMAS)
    return error / sigma * torch.sqrt(target.confidence.to(points.dtype) * robust)[:, None]


def depth_residual(
    person: Person, vertices: Float[Tensor, "v 3"], at: Float[Tensor, "v 3"], gathered: GatheredDepth
) -> Float[Tensor, "n"]:
    """`losses.point_to_plane.depth_rows`' residuals as a function of the vertices, gathered where they were `at`."""
    information = gathered.weight.to(vertices.dtype)
    precision = person.trust.to(vertices.dtype) / (1 / information.clamp_min(1e-9) + MODEL_SIGMA_M**2)
    rows = torch.nonzero((information > 1) & (person.trust > 0)).squeeze(1)
    normals = gathered.normals.to(vertices.dtype)[rows]
    along = ((vertices[rows] - at[rows]) * normals).sum(1)
    return (along - gathered.residual_m.to(vertices.dtype)[rows]) * precision[rows].sqrt()


def track(
    person: Person,
    frames: list[Observed],
    start: Tracked,
    rate: float,
    stop: tuple[Callable[[int, np.ndarray, np.ndarray], Error], list[Error], int],
) -> AdamRun:
    """Fit frames one after the other with one learning rate.

    `stop` tells the error of a frame from its vertices and curves, what each frame has to come down to, and how many
    steps a frame may take.
    """
    error_of, wanted, budget = stop
    seconds, steps, errors, reached = 0.0, 0, [], 0
    state = start
    for number, seen in enumerate(frames):
        unknowns = Unknowns(state)
        optimiser = torch.optim.Adam([unknowns.curves, unknowns.turn, unknowns.shift], lr=rate)
        gathered, at, error, depth = None, None, Error(np.inf, np.inf), DepthViews.stacked([seen.depth])
        for step in range(budget):
            started = time.perf_counter()
            vertices = unknowns.state().vertices(person)
            assert depth is not None
            if gathered is None or step % ASSOCIATE_EVERY == 0:
                at = vertices.detach()
                gathered = gather_depth(at.double()[None], person.surface, depth, GATE).of_frame(0)
            assert at is not None
            cost = 0.5 * DEPTH_WEIGHT * (depth_residual(person, vertices, at, gathered) ** 2).sum()
            for view in seen.views:
                cost = cost + 0.5 * LANDMARK_WEIGHT * (landmark_residual(person, vertices, view) ** 2).sum()
            cost = cost + (RATE * unknowns.curves + 0.5 * (unknowns.curves / SIGMA) ** 2).sum()
            optimiser.zero_grad()
            cost.backward()
            optimiser.step()
            with torch.no_grad():
                unknowns.curves.clamp_(0, 1)
            seconds += time.perf_counter() - started
            steps += 1
            if step % LOOK_EVERY == LOOK_EVERY - 1 or step == budget - 1:
                vertices = unknowns.state().vertices(person).detach().double().numpy()
                error = error_of(number, vertices, unknowns.curves.detach().double().numpy())
                if error.is_within(wanted[number]):
                    reached += 1
                    break
        errors.append(error)
        state = unknowns.state()
        state = Tracked(state.curves.detach(), state.rotation.detach(), state.translation.detach())
    return AdamRun(seconds, steps, reached, mean_error(errors))


def mean_error(errors: list[Error]) -> Error:
    """Over frames."""
    return Error(float(np.mean([e.vertex_mm for e in errors])), float(np.mean([e.curve for e in errors])))


class Unknowns:
    """What Adam moves: curves, a turn about the head's place and a shift, from where a frame starts."""

    def __init__(self, start: Tracked) -> None:
        self.start = start
        self.curves = start.curves.clone().requires_grad_()
        self.turn = torch.zeros(3, dtype=start.curves.dtype, requires_grad=True)
        self.shift = torch.zeros(3, dtype=start.curves.dtype, requires_grad=True)

    def state(self) -> Tracked:
        """Where the unknowns are now."""
        x, y, z = self.turn
        zero = torch.zeros((), dtype=self.turn.dtype)
        cross = torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
        rotation = torch.linalg.matrix_exp(cross) @ self.start.rotation
        return Tracked(self.curves, rotation, self.start.translation + SHIFT_UNIT_M * self.shift)
