"""Poses, curves and identity of a few frames together: one person, several faces."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_fitting.appearance import learn_appearance
from flame_fitting.landmark_votes import LandmarkVotes
from flame_fitting.losses.landmarks import LandmarkTargets, LandmarkViews, landmark_residuals
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.losses.photometric import Appearance
from flame_fitting.losses.vertex_evidence import VertexEvidence
from flame_fitting.scene import FrameObservations, HeadScene, SeenFrames
from flame_fitting.solver import FrameEquations, HeadPrior, Step, normal_equations, solve_arrow
from flame_fitting.stages import Stage
from geometry.errors import InputError

MAX_TURN_RAD, MAX_SHIFT_M, MAX_IDENTITY_STEP = 0.3, 0.1, 3.0
"""Longer steps than these come from a bad linearisation and are cut."""
MIN_SEEN = 12
"""A head is posed by at least so many landmarks."""


def in_threads(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """Results in order; the heavy parts release the interpreter's lock."""
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1))) as pool:
        return list(pool.map(work, items))


FRAMES_AT_ONCE = {"cpu": 1, "cuda": 64}
"""Frames of one batch: on a processor a batch is a thread's work, and a frame alone stays in its cache and comes out
the same to the last bit whatever stands beside it; a GPU takes a segment's frames together."""


def batches(frames: int, device: torch.device) -> list[slice]:
    """Consecutive frames that are solved at once."""
    size = FRAMES_AT_ONCE[device.type]
    return [slice(first, min(first + size, frames)) for first in range(0, frames, size)]


@dataclass(frozen=True, eq=False)
class KeyFrames:
    """Frames that are solved together."""

    scene: HeadScene
    """The head."""
    seen: list[FrameObservations]
    """What was seen of it."""
    prior: HeadPrior
    """What is known before."""

    @cached_property
    def stacked(self) -> list[SeenFrames]:
        """What was seen, in batches on the scene's device."""
        device = self.scene.device
        return [SeenFrames.of(self.seen[some], device) for some in batches(len(self.seen), device)]

    def with_scene(self, scene: HeadScene) -> KeyFrames:
        """The same frames of another head."""
        frames = replace(self, scene=scene)
        frames.__dict__["stacked"] = self.stacked
        return frames

    def voting(self, states: list[HeadState]) -> KeyFrames:
        """The same frames, in which landmarks that the heads do not show have no vote."""
        vote = lambda pair: LandmarkVotes.of(self.scene.on_cpu, *pair).given(pair[1])  # noqa: E731
        return replace(self, seen=in_threads(vote, list(zip(states, self.seen, strict=True))))

    def batched(self, states: list[HeadState]) -> list[tuple[HeadState, SeenFrames]]:
        """States and what was seen, batch by batch."""
        some = batches(len(states), self.scene.device)
        return list(zip((HeadState.stacked(states[s], self.scene.device) for s in some), self.stacked, strict=True))

    def told(self, states: list[HeadState], stage: Stage) -> tuple[HeadState, VertexEvidence]:
        """All frames in one batch, and what their pictures say of the head as it is now."""
        scene = self.scene
        work = lambda pair: scene.told(pair[0], pair[1], stage)  # noqa: E731
        return HeadState.stacked(states, scene.device), VertexEvidence.joined(in_threads(work, self.batched(states)))

    def appearance(self, states: list[HeadState]) -> Appearance | None:
        """How the skin looks, with the heads as they are now; None without colour pictures."""
        shown = [(self.scene.surface.in_world(at), seen.colours) for at, seen in self.batched(states)]
        return learn_appearance(self.scene.points, self.scene.skin, [(v, c) for v, c in shown if c is not None])

    def step(self, states: list[HeadState], stage: Stage) -> list[HeadState]:
        """One Gauss-Newton step of all frames and the identity they share."""
        work = lambda pair: frame_equations(self.scene, pair[0], pair[1], stage, self.prior)  # noqa: E731
        equations = FrameEquations.joined(in_threads(work, self.batched(states)))
        identity = states[0].identity[: stage.identity_modes]
        whole = HeadState.stacked(states)
        step = solve_arrow(equations, identity, whole.curves, self.prior, stage.expressions)
        return moved(whole, self.scene.on_cpu.centre(whole), step).frames()


def frame_equations(
    scene: HeadScene, state: HeadState, seen: SeenFrames, stage: Stage, prior: HeadPrior
) -> FrameEquations:
    """The normal equations of a batch of frames at a state."""
    blocks = [(term.weight, term.rows) for term in scene.terms(state, seen, stage)]
    modes = min(stage.identity_modes, len(scene.surface.identity_basis))
    return normal_equations(blocks, modes, state.curves, prior)


def moved(state: HeadState, centre: Float[Tensor, "t 3"], step: Step) -> HeadState:
    """A batch's state after a step, cut to what a linearisation is good for."""
    own, expressions = step.own, state.curves.shape[-1]
    identity = state.identity.clone()
    longest = step.identity.abs().max() if len(step.identity) else step.identity.new_ones(())
    identity[..., : len(step.identity)] += step.identity * (MAX_IDENTITY_STEP / longest.clamp_min(1e-9)).clamp_max(1.0)
    turn = _cut(own[..., expressions : expressions + 3], MAX_TURN_RAD)
    shift = _cut(own[..., expressions + 3 :], MAX_SHIFT_M)
    rotate = rotvec_to_matrix(turn)
    from_centre = (rotate @ (state.translation - centre)[..., None])[..., 0]
    return HeadState(
        identity,
        (state.curves + own[..., :expressions]).clamp(0, 1),
        rotate @ state.rotation,
        from_centre + centre + shift,
    )


def _cut(vector: Float[Tensor, "t 3"], longest: float) -> Float[Tensor, "t 3"]:
    """Vectors no longer than this."""
    length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return vector * (longest / length.clamp_min(1e-9)).clamp_max(1.0)


def rotvec_to_matrix(rotvec: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotations about axes by their lengths, radians."""
    x, y, z = rotvec.unbind(-1)
    none = torch.zeros_like(x)
    return torch.linalg.matrix_exp(torch.stack([none, -z, y, z, none, -x, -y, x, none], -1).unflatten(-1, (3, 3)))


def first_state(scene: HeadScene, targets: tuple[LandmarkTargets, ...]) -> HeadState | None:
    """A pose by each view's perspective-n-point, the one that explains all views best; None where none had enough.

    OpenCV poses heads on the CPU: the scene and the state are there.
    """
    poses = [pose for pose in (_pose_from_view(scene, target) for target in targets) if pose is not None]
    views = LandmarkViews.stacked([targets])
    if not poses or views is None:
        return None
    identity = torch.zeros(len(scene.surface.identity_basis)).double()
    curves = torch.zeros(len(scene.surface.expression_basis)).double()
    states = [HeadState(identity, curves, *pose) for pose in poses]
    spread = scene.embedding.spread_m.double()
    found = landmark_residuals(scene.marks, spread, HeadState.stacked(states), views)
    # Geman and McClure's cost, which ends at one for a landmark that is far off or behind the camera. Their weights
    # times errors would not do: these fall again, and a pose that misses every view would seem to fit.
    given = views.confidence.clamp(min=1e-12)
    missed = views.confidence * (1 - (found.trust / given).clamp(max=1).sqrt())
    costs = missed.sum((-2, -1)) / given.sum((-2, -1))
    return states[int(costs.argmin())]


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
    found = {frame: first_state(scene.on_cpu, each.landmarks) for frame, each in enumerate(seen)}
    known = np.array([frame for frame, state in found.items() if state is not None])
    if not len(known):
        raise InputError(
            "a face in at least one colour picture",
            f"none in {len(seen)} frame sets",
            "check that the cameras see the face upright and lit (`mien inspect`), or that RGB is not mislabelled",
        )
    nearest = [found[int(known[np.abs(known - frame).argmin()])] for frame in range(len(seen))]
    return [state for state in nearest if state is not None]
