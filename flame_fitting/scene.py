"""A person's head before the cameras: what every residual of the fit is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flame_fitting.evidence import DepthImage, Evidence
from flame_fitting.losses.gaze import IRIS_CENTRES, IRIS_ROBUST_SIGMAS, IRIS_SIGMA, IrisAnchors, gaze_rows
from flame_fitting.losses.landmarks import LandmarkTargets, landmark_rows
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows
from flame_fitting.losses.pairs import CurvePairs, pair_rows
from flame_fitting.losses.point_to_plane import DepthGate, GatheredDepth, depth_rows, gather_depth
from flame_fitting.models.head_model import LandmarkEmbedding
from flame_fitting.models.plain_model import Head
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
    irises: tuple[LandmarkTargets, ...]
    """The centres of the left and the right iris in the views that have them."""
    depth: tuple[DepthImage, ...]
    """Depth pictures, edges taken out."""

    @classmethod
    def of(cls, evidence: Evidence, embedding: LandmarkEmbedding, frame: int) -> FrameObservations:
        """One frame of a take; some hundred kilobytes a depth camera."""
        views = evidence.landmarks(frame)
        marks = tuple(LandmarkTargets.of(view, embedding.source_index.numpy()) for view in views)
        with_irises = [view for view in views if len(view.points_px) > IRIS_CENTRES.max()]
        irises = tuple(LandmarkTargets.of(view, IRIS_CENTRES, IRIS_SIGMA, IRIS_ROBUST_SIGMAS) for view in with_irises)
        return cls(marks, irises, evidence.depth(frame))


@dataclass(frozen=True, eq=False)
class HeadScene:
    """One head's geometry, ready for the residuals."""

    surface: LinearPoints
    """All vertices."""
    marks: LinearPoints
    """The embedded landmarks."""
    embedding: LandmarkEmbedding
    """Where they sit on the surface."""
    irises: IrisAnchors
    """Where the eyeballs carry their irises."""
    pairs: CurvePairs
    """Curves that move together."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    counted_faces: Bool[np.ndarray, "f"]
    """Triangles that depth may attach to."""
    trust: Float[Tensor, "v"]
    """How much depth counts at each vertex."""

    @classmethod
    def of(cls, head: Head) -> HeadScene:
        """Anybody's head: all modes of identity, the model's expression shapes."""
        model, embedding = head.model, head.landmarks
        trust = torch.zeros(len(model.template), dtype=torch.float64)
        for region, value in REGION_TRUST.items():
            trust[model.region(region)] = value
        surface = LinearPoints(model.template.double(), model.identity_basis.double(), model.expression_basis.double())
        faces = model.faces.numpy()
        counted = np.asarray((trust > 0).numpy()[faces].all(1))
        pairs = CurvePairs.of(model.expression_names)
        irises = IrisAnchors.of(head.contours, surface.mean)
        return cls(surface, surface.carried(embedding), embedding, irises, pairs, faces, counted, trust)

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
        weight = stage.landmark if seen.depth else max(stage.landmark, stage.landmark_alone)
        terms = [
            Term("landmark", weight, landmark_rows(self.marks, spread, state, centre, target))
            for target in seen.landmarks
            if weight
        ]
        if stage.expressions:
            terms.append(Term("pairs", 1.0, pair_rows(self.pairs, state)))
            terms += [Term("gaze", stage.gaze, rows) for rows in self._gaze(state, seen) if stage.gaze]
        if stage.depth and seen.depth:
            gathered = self.gathered(state, seen.depth, stage.gate)
            terms.append(Term("depth", stage.depth, depth_rows(self.surface, state, centre, gathered, self.trust)))
        return terms

    def _gaze(self, state: HeadState, seen: FrameObservations) -> list[Rows]:
        if not seen.irises:
            return []
        anchors, centre = self.irises.on(self.surface), self.centre(state)
        return [gaze_rows(anchors, state, centre, target) for target in seen.irises]
