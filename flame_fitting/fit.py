"""Fit one person to a whole take: identity shared, curves and pose of every frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.evidence import DepthImage, Evidence
from flame_fitting.losses.landmarks import LandmarkTargets, landmark_rows
from flame_fitting.losses.linear_head import HeadState, LinearPoints
from flame_fitting.losses.point_to_plane import depth_rows, gather_depth
from flame_fitting.models.head_model import HeadModel, LandmarkEmbedding
from flame_fitting.solver import FrameEquations, HeadPrior, Step, normal_equations, solve_arrow
from flame_fitting.stages import STAGES, Stage
from geometry.errors import InputError

REGION_TRUST = {"face": 1.0, "ears": 0.05, "neck": 0.02, "scalp": 0.02}
"""How much depth counts where: hair covers scalps and ears, collars cover necks."""
HEAD_PRIOR = HeadPrior(rate=20.0, sigma=0.7, identity=20.0)
"""Tuned on simulated subjects 101 and 102 and by eye on a portrait; a curve at rest is the rule, one at work has a
reason. Identity counts twenty times its due because what the basis cannot express is the same in every pixel and frame:
taken as independent, a single portrait would be bent into a caricature."""
MAX_TURN_RAD, MAX_SHIFT_M, MAX_IDENTITY_STEP = 0.3, 0.1, 3.0
"""Longer steps than these come from a bad linearisation and are cut."""


@dataclass(frozen=True)
class FitConfig:
    """How to fit."""

    stages: tuple[Stage, ...] = STAGES
    """The plan."""
    prior: HeadPrior = HEAD_PRIOR
    """What is known before anything is measured."""


@dataclass(frozen=True, eq=False)
class HeadFit:
    """A person and what they did."""

    identity: Float[np.ndarray, "k"]
    """Standard deviations under the model's prior."""
    curves: Float[np.ndarray, "t e"]
    """ARKit curves in [0, 1]."""
    rotation: Float[np.ndarray, "t 3 3"]
    """World from head."""
    translation: Float[np.ndarray, "t 3"]
    """Where the model's origin is in the world, metres."""
    depth_residual_m: Float[np.ndarray, "t"]
    """Median distance of the gathered depth to the face, metres; nan without depth."""
    views: Int[np.ndarray, "t"]
    """In how many views a face was found."""

    def vertices_world(self, model: HeadModel, frame: int) -> Float[np.ndarray, "v 3"]:
        """The fitted head at a frame, metres."""
        shaped = model.with_shape(torch.from_numpy(self.identity).float())
        head = shaped.with_expression(torch.from_numpy(self.curves[frame]).float()).vertices.numpy()
        return head.astype(np.float64) @ self.rotation[frame].T + self.translation[frame]


def fit_take(
    model: HeadModel,
    embedding: LandmarkEmbedding,
    evidence: Evidence,
    config: FitConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> HeadFit:
    """The most probable person, curves and poses, given landmarks and depth of every frame.

    Raises InputError when no picture of the take shows a face.
    """
    config = config or FitConfig()
    problem = Problem.of(model, embedding, evidence, config)
    states, views = problem.first_states()
    total = sum(stage.steps for stage in config.stages)
    done = 0
    for stage in config.stages:
        for _ in range(stage.steps):
            states = problem.step(states, stage)
            done += 1
            if progress:
                progress(done, total)
    return HeadFit(
        identity=states[0].identity.numpy(),
        curves=np.stack([state.curves.numpy() for state in states]),
        rotation=np.stack([state.rotation.numpy() for state in states]),
        translation=np.stack([state.translation.numpy() for state in states]),
        depth_residual_m=problem.depth_residuals(states, config.stages[-1]),
        views=np.array(views),
    )


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything of a fit that does not change from step to step."""

    config: FitConfig
    """How to fit."""
    evidence: Evidence
    """What the cameras saw."""
    landmarks: tuple[tuple[LandmarkTargets, ...], ...]
    """Detections of each frame; a few kilobytes a frame."""
    surface: LinearPoints
    """All vertices."""
    marks: LinearPoints
    """The embedded landmarks."""
    spread_m: Float[Tensor, "l"]
    """Scatter of each landmark on the surface, metres."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    counted_faces: np.ndarray
    """Triangles that depth may attach to."""
    trust: Float[Tensor, "v"]
    """How much depth counts at each vertex."""

    @classmethod
    def of(cls, model: HeadModel, embedding: LandmarkEmbedding, evidence: Evidence, config: FitConfig) -> Problem:
        """Gather the parts that every step needs."""
        trust = torch.zeros(len(model.template), dtype=torch.float64)
        for region, value in REGION_TRUST.items():
            trust[model.region(region)] = value
        surface = LinearPoints(model.template.double(), model.identity_basis.double(), model.expression_basis.double())
        marks = LinearPoints(
            *(embedding.on(part) for part in (surface.mean, surface.identity_basis, surface.expression_basis))
        )
        landmarks = tuple(
            tuple(LandmarkTargets.of(view, embedding) for view in evidence.landmarks(frame))
            for frame in range(evidence.frame_count)
        )
        faces = model.faces.numpy()
        counted = np.asarray((trust > 0).numpy()[faces].all(1))
        return cls(config, evidence, landmarks, surface, marks, embedding.spread_m.double(), faces, counted, trust)

    def first_states(self) -> tuple[list[HeadState], list[int]]:
        """A pose for every frame from its best view; frames without a face borrow their neighbour's."""
        modes, expressions = len(self.surface.identity_basis), len(self.surface.expression_basis)
        views = [len(targets) for targets in self.landmarks]
        if not any(views):
            raise InputError(
                "a face in at least one colour picture",
                f"none in {len(views)} frame sets",
                "check that the cameras see the face upright and lit (`mien inspect`), or that RGB is not mislabelled",
            )
        identity, curves = torch.zeros(modes).double(), torch.zeros(expressions).double()
        found = {
            frame: self._pose_from_view(targets, identity, curves)
            for frame, targets in enumerate(self.landmarks)
            if targets
        }
        known = np.array(sorted(found))
        nearest = [int(known[np.abs(known - frame).argmin()]) for frame in range(len(views))]
        return [HeadState(identity, curves, *found[frame]) for frame in nearest], views

    def _pose_from_view(
        self, targets: tuple[LandmarkTargets, ...], identity: Tensor, curves: Tensor
    ) -> tuple[Tensor, Tensor]:
        """World from head by each view's perspective-n-point, the one that explains all views best."""
        model_points = self.marks.mean.numpy()
        best, best_cost = None, np.inf
        for target in targets:
            seen = (target.confidence > 0.2).numpy()
            if seen.sum() < 12:
                continue
            object_points, image_points = model_points[seen], target.normalised.numpy()[seen]
            ok, rotvec, shift = cv2.solvePnP(object_points, image_points, np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP)
            if not ok:
                continue
            camera_from_head = torch.from_numpy(cv2.Rodrigues(rotvec)[0]), torch.from_numpy(shift[:, 0])
            rotation = target.rotation.T @ camera_from_head[0]
            translation = target.rotation.T @ (camera_from_head[1] - target.translation)
            state = HeadState(identity, curves, rotation, translation)
            centre = translation
            rows = [landmark_rows(self.marks, self.spread_m, state, centre, other) for other in targets]
            cost = float(np.mean([row.residual.abs().mean() for row in rows if len(row.residual)] or [np.inf]))
            if cost < best_cost:
                best, best_cost = (rotation, translation), cost
        if best is None:
            raise InputError("landmarks that a head can be posed by", "none of the views had 12", "check the pictures")
        return best

    def step(self, states: list[HeadState], stage: Stage) -> list[HeadState]:
        """One Gauss-Newton step of the whole take."""
        workers = max(1, min(4, os.cpu_count() or 1))
        with ThreadPoolExecutor(max_workers=workers) as pool:
            jobs = [pool.submit(self._equations, frame, state, stage) for frame, state in enumerate(states)]
            frames = [job.result() for job in jobs]
        identity = states[0].identity[: stage.identity_modes]
        curves = torch.stack([state.curves for state in states])
        step = solve_arrow(frames, identity, curves, self.config.prior, stage.expressions)
        return [self._moved(state, step, frame) for frame, state in enumerate(states)]

    def _equations(self, frame: int, state: HeadState, stage: Stage) -> FrameEquations:
        centre = self._centre(state)
        blocks = [
            (stage.landmark, landmark_rows(self.marks, self.spread_m, state, centre, target))
            for target in self.landmarks[frame]
        ]
        if stage.depth:
            gathered = gather_depth(*self._mesh(state), self.counted_faces, self.evidence.depth(frame), stage.gate)
            blocks.append((stage.depth, depth_rows(self.surface, state, centre, gathered, self.trust)))
        return normal_equations(blocks, stage.identity_modes, state.curves, self.config.prior)

    def _mesh(self, state: HeadState) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
        return self.surface.in_world(state).numpy(), self.faces

    def _centre(self, state: HeadState) -> Float[Tensor, "3"]:
        """Where rotations turn: the middle of the landmarks, so that turning and moving stay apart."""
        return self.marks.in_world(state).mean(0)

    def _moved(self, state: HeadState, step: Step, frame: int) -> HeadState:
        own, expressions = step.own[frame], len(state.curves)
        identity = state.identity.clone()
        longest = float(step.identity.abs().max()) if len(step.identity) else 0.0
        identity[: len(step.identity)] += step.identity * min(1.0, MAX_IDENTITY_STEP / max(longest, 1e-9))
        turn, shift = own[expressions : expressions + 3], own[expressions + 3 :]
        turn = turn * min(1.0, MAX_TURN_RAD / max(float(turn.norm()), 1e-9))
        shift = shift * min(1.0, MAX_SHIFT_M / max(float(shift.norm()), 1e-9))
        rotate = torch.from_numpy(cv2.Rodrigues(turn.numpy())[0])
        centre = self._centre(state)
        return replace(
            state,
            identity=identity,
            curves=(state.curves + own[:expressions]).clamp(0, 1),
            rotation=rotate @ state.rotation,
            translation=rotate @ (state.translation - centre) + centre + shift,
        )

    def depth_residuals(self, states: list[HeadState], stage: Stage) -> Float[np.ndarray, "t"]:
        """Median distance of the depth to the fitted face, frame by frame, metres."""
        face = (self.trust == REGION_TRUST["face"]).numpy()
        medians = []
        for frame, state in enumerate(states):
            images: tuple[DepthImage, ...] = self.evidence.depth(frame)
            gathered = gather_depth(*self._mesh(state), self.counted_faces, images, stage.gate)
            seen = face & (gathered.weight > 1)
            medians.append(float(np.median(np.abs(gathered.residual_m[seen]))) if seen.any() else np.nan)
        return np.array(medians)
