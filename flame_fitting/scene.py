"""A person's head before the cameras: what every residual of the fit is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flame_fitting.evidence import DepthImage, Evidence
from flame_fitting.losses.landmarks import LandmarkTargets, landmark_rows
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows
from flame_fitting.losses.point_to_plane import DepthGate, GatheredDepth, depth_rows, gather_depth
from flame_fitting.models.head_model import HeadModel, LandmarkEmbedding
from flame_fitting.stages import Stage

REGION_TRUST = {"face": 1.0, "ears": 0.05, "neck": 0.02, "scalp": 0.02}
"""How much depth counts where: hair covers scalps and ears, collars cover necks."""


@dataclass(frozen=True, eq=False)
class Term:
    """A weighted block of residuals."""

    name: str
    """As the fit's record of losses names it."""
    weight: float
    """What each squared residual counts."""
    rows: Rows
    """Residuals with their derivatives."""


@dataclass(frozen=True, eq=False)
class FrameObservations:
    """What the cameras saw of one frame set."""

    landmarks: tuple[LandmarkTargets, ...]
    """Views in which a face was found."""
    depth: tuple[DepthImage, ...]
    """Depth pictures, edges taken out."""

    @classmethod
    def of(cls, evidence: Evidence, embedding: LandmarkEmbedding, frame: int) -> FrameObservations:
        """One frame of a take; some hundred kilobytes a depth camera."""
        views = tuple(LandmarkTargets.of(view, embedding) for view in evidence.landmarks(frame))
        return cls(views, evidence.depth(frame))


@dataclass(frozen=True, eq=False)
class HeadScene:
    """One head's geometry, ready for the residuals."""

    surface: LinearPoints
    """All vertices."""
    marks: LinearPoints
    """The embedded landmarks."""
    embedding: LandmarkEmbedding
    """Where they sit on the surface."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    counted_faces: Bool[np.ndarray, "f"]
    """Triangles that depth may attach to."""
    trust: Float[Tensor, "v"]
    """How much depth counts at each vertex."""

    @classmethod
    def of(cls, model: HeadModel, embedding: LandmarkEmbedding) -> HeadScene:
        """Anybody's head: all modes of identity, the model's expression shapes."""
        trust = torch.zeros(len(model.template), dtype=torch.float64)
        for region, value in REGION_TRUST.items():
            trust[model.region(region)] = value
        surface = LinearPoints(model.template.double(), model.identity_basis.double(), model.expression_basis.double())
        faces = model.faces.numpy()
        counted = np.asarray((trust > 0).numpy()[faces].all(1))
        return cls(surface, surface.carried(embedding), embedding, faces, counted, trust)

    def with_surface(self, surface: LinearPoints) -> HeadScene:
        """The same scene about another head of the same topology."""
        return replace(self, surface=surface, marks=surface.carried(self.embedding))

    @property
    def face(self) -> Bool[np.ndarray, "v"]:
        """Vertices of the face region."""
        return np.asarray((self.trust == REGION_TRUST["face"]).numpy())

    def centre(self, state: HeadState) -> Float[Tensor, "3"]:
        """Where rotations turn: the middle of the landmarks, so that turning and moving stay apart."""
        return self.marks.in_world(state).mean(0)

    def gathered(self, state: HeadState, images: tuple[DepthImage, ...], gate: DepthGate) -> GatheredDepth:
        """The depth's distances to the head as it is now, at the vertices."""
        return gather_depth(self.surface.in_world(state).numpy(), self.faces, self.counted_faces, images, gate)

    def terms(self, state: HeadState, seen: FrameObservations, stage: Stage) -> list[Term]:
        """All residuals of one frame, with the weights of a stage."""
        centre = self.centre(state)
        spread = self.embedding.spread_m.double() * stage.landmark_spread
        terms = [
            Term("landmark", stage.landmark, landmark_rows(self.marks, spread, state, centre, target))
            for target in seen.landmarks
            if stage.landmark
        ]
        if stage.depth and seen.depth:
            gathered = self.gathered(state, seen.depth, stage.gate)
            terms.append(Term("depth", stage.depth, depth_rows(self.surface, state, centre, gathered, self.trust)))
        return terms
