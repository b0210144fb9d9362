"""A person's head before the cameras: what every residual of the fit is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flame_fitting.appearance import skin_points
from flame_fitting.evidence import ColourImage, DepthImage, Evidence
from flame_fitting.landmarks.response import LandmarkResponse, landmark_response
from flame_fitting.losses.closure import ClosurePairs, ClosureViews, closure_rows
from flame_fitting.losses.contour import ContourEdges, OutlineViews, contour_rows, find_feet, outline_confidence
from flame_fitting.losses.gaze import IRIS_CENTRES, IRIS_ROBUST_SIGMAS, IRIS_SIGMA, IrisAnchors, gaze_rows
from flame_fitting.losses.landmarks import LandmarkTargets, LandmarkViews, landmark_rows
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows
from flame_fitting.losses.pairs import CurvePairs, pair_rows
from flame_fitting.losses.photometric import Appearance, ColourViews, colour_rows, gather_colour
from flame_fitting.losses.point_to_plane import DepthGate, DepthViews, GatheredDepth, Surface, depth_rows, gather_depth
from flame_fitting.losses.response import CurveTargets, ToldCurves, response_rows
from flame_fitting.losses.vertex_evidence import VertexEvidence
from flame_fitting.models.head_model import LandmarkEmbedding
from flame_fitting.models.plain_model import Head
from flame_fitting.solver import Weight
from flame_fitting.stages import Stage
from rendering.colours import SurfacePoints

REGION_TRUST = {"face": 1.0, "ears": 0.05, "neck": 0.02, "scalp": 0.02}
"""How much depth counts where: hair covers scalps and ears, collars cover necks."""


@dataclass(frozen=True, eq=False)
class Term:
    """A weighted block of residuals."""

    name: str
    """As the fit's record of losses names it."""
    weight: Weight
    """What each squared residual counts, in all frames or in each."""
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
    colours: tuple[ColourImage, ...] = ()
    """The face in colour pictures; none where nothing asks for them."""
    told: tuple[CurveTargets, ...] = ()
    """What the views tell of the curves by the landmarks' known answer; none where there is depth."""
    outlines: tuple[OutlineViews, ...] = ()
    """The face's outline in each view; none where there is depth."""
    closures: tuple[ClosureViews, ...] = ()
    """What touches in each view."""

    @classmethod
    def of(
        cls,
        evidence: Evidence,
        embedding: LandmarkEmbedding,
        frame: int,
        response: LandmarkResponse | None = None,
    ) -> FrameObservations:
        """One frame of a take without its colours; some hundred kilobytes a depth camera."""
        views = evidence.landmarks(frame)
        marks = tuple(LandmarkTargets.of(view, embedding.source_index.numpy()) for view in views)
        with_irises = [view for view in views if len(view.points_px) > IRIS_CENTRES.max()]
        irises = tuple(LandmarkTargets.of(view, IRIS_CENTRES, IRIS_SIGMA, IRIS_ROBUST_SIGMAS) for view in with_irises)
        closures = tuple(ClosureViews.of(view) for view in views)
        if evidence.cameras.depth:
            return cls(marks, irises, evidence.depth(frame), closures=closures)
        told = [] if response is None else [CurveTargets.of(view, response) for view in marks]
        outlines = tuple(OutlineViews.of(view) for view in views)
        told = [each for each in told if each is not None]
        return cls(marks, irises, (), (), tuple(told), outlines, closures)


@dataclass(frozen=True, eq=False)
class SeenFrames:
    """What the cameras saw of a batch of frames, side by side on one device."""

    frames: tuple[FrameObservations, ...]
    """The same frame by frame."""
    landmarks: LandmarkViews | None
    """Axes frame and view; frames with fewer views have views without confidence."""
    irises: LandmarkViews | None
    """Of the irises."""
    depth: DepthViews | None
    """All depth pictures."""
    colours: ColourViews | None
    """The faces in all colour pictures."""
    told: ToldCurves | None
    """What the landmarks' known answer tells of the curves."""
    outlines: OutlineViews | None
    """The outlines."""
    closures: ClosureViews | None
    """What touches."""

    @classmethod
    def of(cls, frames: Sequence[FrameObservations], device: torch.device | str = "cpu") -> SeenFrames:
        """Stack frames."""
        marks, irises, depth = ([getattr(f, part) for f in frames] for part in ("landmarks", "irises", "depth"))
        return cls(
            tuple(frames),
            LandmarkViews.stacked(marks, device),
            LandmarkViews.stacked(irises, device),
            DepthViews.stacked(depth, device),
            ColourViews.stacked([frame.colours for frame in frames], device),
            ToldCurves.stacked([frame.told for frame in frames], device),
            OutlineViews.stacked([frame.outlines for frame in frames], device),
            ClosureViews.stacked([frame.closures for frame in frames], device),
        )

    @property
    def has_depth(self) -> Float[Tensor, "t"]:
        """1 for frames with a depth picture, 0 for those without."""
        return torch.zeros(len(self.frames)).double() if self.depth is None else self.depth.measured


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
    meeting: ClosurePairs
    """Vertices that meet."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    counted_faces: Bool[np.ndarray, "f"]
    """Triangles that depth may attach to."""
    trust: Float[Tensor, "v"]
    """How much depth counts at each vertex."""
    points: SurfacePoints
    """Where on the skin colour is compared."""
    edges: ContourEdges
    """Edges that may become the face's outline."""
    response: LandmarkResponse | None = None
    """How landmarks answer to the curves, where that is known."""
    appearance: Appearance | None = None
    """How the skin looks, where it is known."""

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
        marks, points = surface.carried(embedding), skin_points(model)
        edges = ContourEdges.of(torch.from_numpy(np.ascontiguousarray(faces, np.int32)), model.region("skin"))
        response = landmark_response(model.expression_names)
        meeting = ClosurePairs.of(head.contours)
        return cls(surface, marks, embedding, irises, pairs, meeting, faces, counted, trust, points, edges, response)

    def with_surface(self, surface: LinearPoints) -> HeadScene:
        """The same scene about another head of the same topology."""
        return replace(self, surface=surface, marks=surface.carried(self.embedding))

    def to(self, device: torch.device | str) -> HeadScene:
        """The same scene on another device; triangles stay arrays, and are copied when they are first drawn."""
        names = ("surface", "marks", "pairs", "meeting", "trust", "embedding", "irises", "points", "edges")
        look = None if self.appearance is None else self.appearance.to(device)
        return replace(self, **{name: getattr(self, name).to(device) for name in names}, appearance=look)

    @property
    def device(self) -> torch.device:
        """Where the head's points are."""
        return self.surface.mean.device

    @cached_property
    def on_cpu(self) -> HeadScene:
        """The same scene where OpenCV and SciPy work."""
        return self if self.device.type == "cpu" else self.to("cpu")

    @cached_property
    def drawn(self) -> Surface:
        """The triangles, where the head's points are."""
        faces = torch.from_numpy(np.ascontiguousarray(self.faces, np.int32)).to(self.device)
        return Surface(faces, torch.from_numpy(self.counted_faces.astype(np.uint8)).to(self.device))

    @cached_property
    def skin(self) -> Surface:
        """The triangles whose colour counts: the face's."""
        counted = self.face[self.faces].all(1).astype(np.uint8)
        return replace(self.drawn, counted=torch.from_numpy(counted).to(self.device))

    @cached_property
    def coloured(self) -> tuple[Int[Tensor, "n"], LinearPoints]:
        """Vertices whose place colour can tell, and the same as points."""
        return self.points.vertices, self.surface.at(self.points.vertices)

    @cached_property
    def trusted(self) -> Int[Tensor, "n"]:
        """Vertices at which depth counts."""
        return torch.nonzero(self.trust > 0).squeeze(1)

    @cached_property
    def measured(self) -> LinearPoints:
        """The same as points."""
        return self.surface.at(self.trusted)

    @property
    def face(self) -> Bool[np.ndarray, "v"]:
        """Vertices of the face region."""
        return np.asarray((self.trust == REGION_TRUST["face"]).cpu().numpy())

    def centre(self, state: HeadState) -> Float[Tensor, "*b 3"]:
        """Where rotations turn: the middle of the landmarks at rest, so that turning and moving stay apart.

        At rest, because a skull that keeps still must not seem to move when its mouth opens.
        """
        return self.marks.in_world(replace(state, curves=torch.zeros_like(state.curves))).mean(-2)

    def gathered(self, state: HeadState, seen: SeenFrames, gate: DepthGate) -> GatheredDepth:
        """The depth's distances to the heads as they are now, at the vertices; no weight where there is no depth."""
        vertices = self.surface.in_world(state)
        if seen.depth is None:
            return GatheredDepth.of_sums(vertices.new_zeros(*vertices.shape[:2], 2), torch.zeros_like(vertices))
        return gather_depth(vertices, self.drawn, seen.depth, gate)

    def told(self, state: HeadState, seen: SeenFrames, stage: Stage) -> VertexEvidence:
        """What depth and colour say of where vertices should move, whatever moves them."""
        told = VertexEvidence.of_depth(self.gathered(state, seen, stage.gate), self.trust)
        if stage.colour and seen.colours is not None and self.appearance is not None:
            colour = gather_colour(self.surface.in_world(state), self.skin, seen.colours, self.appearance)
            told = told.plus(colour.bounded(), stage.colour)
        return told

    def terms(self, state: HeadState, seen: SeenFrames, stage: Stage) -> list[Term]:
        """All residuals of a batch of frames, with the weights of a stage."""
        centre, modes = self.centre(state), min(stage.identity_modes, state.identity.shape[-1])
        terms = []
        alone = max(stage.landmark, stage.landmark_alone)
        if seen.landmarks is not None and alone:
            spread = self.embedding.spread_m.double() * stage.landmark_spread
            rows = landmark_rows(self.marks, spread, state, centre, seen.landmarks, modes)
            with_depth = seen.has_depth.to(self.device)
            weight = with_depth * stage.landmark + (1 - with_depth) * alone
            if seen.told is not None:
                # The network's own answer tells the curves: the surface's would tell them again, and otherwise.
                rows = rows.without_curves(seen.told.known)
            terms.append(Term("landmark", weight, rows))
        if stage.contour and seen.outlines is not None:
            confidence = outline_confidence(state, centre, seen.outlines)
            feet = find_feet(self.surface.in_world(state), self.edges, seen.outlines, confidence)
            rows = contour_rows(self.surface, state, centre, seen.outlines, feet, modes)
            if seen.told is not None:
                rows = rows.without_curves(seen.told.known)
            terms.append(Term("contour", stage.contour, rows))
        if stage.expressions:
            terms.append(Term("pairs", 1.0, pair_rows(self.pairs, state, modes)))
            if seen.told is not None:
                terms.append(Term("response", 1.0, response_rows(seen.told, state, modes)))
            if seen.closures is not None and stage.closure:
                shut = seen.closures.agreed(state, centre)
                rows = closure_rows(self.meeting, self.surface, state, shut, modes)
                terms.append(Term("closure", stage.closure, rows))
            if seen.irises is not None and stage.gaze:
                anchors = self.irises.on(self.surface)
                terms.append(Term("gaze", stage.gaze, gaze_rows(anchors, state, centre, seen.irises, modes)))
        if stage.depth and seen.depth is not None:
            gathered = self.gathered(state, seen, stage.gate).at(self.trusted)
            rows = depth_rows(self.measured, state, centre, gathered, self.trust[self.trusted], modes)
            terms.append(Term("depth", stage.depth, rows))
        if stage.colour and seen.colours is not None and self.appearance is not None:
            vertices, points = self.coloured
            gathered = gather_colour(self.surface.in_world(state), self.skin, seen.colours, self.appearance)
            terms.append(Term("colour", stage.colour, colour_rows(points, state, centre, gathered.at(vertices), modes)))
        return terms
