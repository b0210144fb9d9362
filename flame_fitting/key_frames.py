"""Poses, curves and identity of a few frames together: one person, several faces."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from flame_fitting.losses.landmarks import LandmarkTargets, landmark_rows
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.scene import FrameObservations, HeadScene
from flame_fitting.solver import FrameEquations, HeadPrior, Step, normal_equations, solve_arrow
from flame_fitting.stages import Stage
from geometry.errors import InputError

MAX_TURN_RAD, MAX_SHIFT_M, MAX_IDENTITY_STEP = 0.3, 0.1, 3.0
"""Longer steps than these come from a bad linearisation and are cut."""
MIN_SEEN = 12
"""A head is posed by at least so many landmarks."""


def in_threads(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """Results in order; the heavy parts release the interpreter's lock."""
    with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as pool:
        return list(pool.map(work, items))


@dataclass(frozen=True, eq=False)
class KeyFrames:
    """Frames that are solved together."""

    scene: HeadScene
    """The head."""
    seen: list[FrameObservations]
    """What was seen of it."""
    prior: HeadPrior
    """What is known before."""

    def step(self, states: list[HeadState], stage: Stage) -> list[HeadState]:
        """One Gauss-Newton step of all frames and the identity they share."""
        work = lambda pair: frame_equations(self.scene, pair[0], pair[1], stage, self.prior)  # noqa: E731
        frames = in_threads(work, list(zip(states, self.seen, strict=True)))
        identity = states[0].identity[: stage.identity_modes]
        curves = torch.stack([state.curves for state in states])
        step = solve_arrow(frames, identity, curves, self.prior, stage.expressions)
        return [moved(self.scene, state, step, frame) for frame, state in enumerate(states)]


def frame_equations(
    scene: HeadScene, state: HeadState, seen: FrameObservations, stage: Stage, prior: HeadPrior
) -> FrameEquations:
    """One frame's normal equations at a state."""
    blocks = [(term.weight, term.rows) for term in scene.terms(state, seen, stage)]
    modes = min(stage.identity_modes, len(scene.surface.identity_basis))
    return normal_equations(blocks, modes, state.curves, prior)


def moved(scene: HeadScene, state: HeadState, step: Step, frame: int) -> HeadState:
    """A frame's state after a step, cut to what a linearisation is good for."""
    own, expressions = step.own[frame], len(state.curves)
    identity = state.identity.clone()
    longest = float(step.identity.abs().max()) if len(step.identity) else 0.0
    identity[: len(step.identity)] += step.identity * min(1.0, MAX_IDENTITY_STEP / max(longest, 1e-9))
    turn, shift = own[expressions : expressions + 3], own[expressions + 3 :]
    turn = turn * min(1.0, MAX_TURN_RAD / max(float(turn.norm()), 1e-9))
    shift = shift * min(1.0, MAX_SHIFT_M / max(float(shift.norm()), 1e-9))
    rotate = torch.from_numpy(cv2.Rodrigues(turn.numpy())[0])
    centre = scene.centre(state)
    return replace(
        state,
        identity=identity,
        curves=(state.curves + own[:expressions]).clamp(0, 1),
        rotation=rotate @ state.rotation,
        translation=rotate @ (state.translation - centre) + centre + shift,
    )


def first_state(scene: HeadScene, targets: tuple[LandmarkTargets, ...]) -> HeadState | None:
    """A pose by each view's perspective-n-point, the one that explains all views best; None where none had enough."""
    identity = torch.zeros(len(scene.surface.identity_basis)).double()
    curves = torch.zeros(len(scene.surface.expression_basis)).double()
    best, best_cost = None, np.inf
    for target in targets:
        pose = _pose_from_view(scene, target)
        if pose is None:
            continue
        state = HeadState(identity, curves, *pose)
        spread, centre = scene.embedding.spread_m.double(), scene.centre(state)
        rows = [landmark_rows(scene.marks, spread, state, centre, other) for other in targets]
        cost = float(np.mean([row.residual.abs().mean() for row in rows if len(row.residual)] or [np.inf]))
        if cost < best_cost:
            best, best_cost = state, cost
    return best


def _pose_from_view(scene: HeadScene, target: LandmarkTargets) -> tuple[Tensor, Tensor] | None:
    """World from head by one view."""
    seen = (target.confidence > 0.2).numpy()
    if seen.sum() < MIN_SEEN:
        return None
    object_points, image_points = scene.marks.mean.numpy()[seen], target.normalised.numpy()[seen]
    ok, rotvec, shift = cv2.solvePnP(object_points, image_points, np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP)
    if not ok:
        return None
    rotation, translation = torch.from_numpy(cv2.Rodrigues(rotvec)[0]), torch.from_numpy(shift[:, 0])
    return target.rotation.T @ rotation, target.rotation.T @ (translation - target.translation)


def first_states(scene: HeadScene, seen: list[FrameObservations]) -> list[HeadState]:
    """A pose for every frame; frames without a face borrow their neighbour's.

    Raises InputError when no frame has a face.
    """
    found = {frame: first_state(scene, each.landmarks) for frame, each in enumerate(seen)}
    known = np.array([frame for frame, state in found.items() if state is not None])
    if not len(known):
        raise InputError(
            "a face in at least one colour picture",
            f"none in {len(seen)} frame sets",
            "check that the cameras see the face upright and lit (`mien inspect`), or that RGB is not mislabelled",
        )
    nearest = [found[int(known[np.abs(known - frame).argmin()])] for frame in range(len(seen))]
    return [state for state in nearest if state is not None]
