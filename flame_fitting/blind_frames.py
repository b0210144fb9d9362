"""Frames in which no view found a face, or in which depth says that views found it wrongly, fitted from depth.

A face detector fails where the picture is black, the chin is up or the face looks away, and before a headset a network
may find a face where none is; depth may show the head all the same. What it lacks is where to begin. That is told by
time: from both ends of a gap inwards, every frame begins at the pose of its neighbours that its depth agrees with best,
and is then fitted to its depth. Where the depth is much less of a face than it is in the frames beside the gap, or fits
worse, the frame stays as it was.

Depth says nothing of where eyes look, and little of a single frame's curves: they lean on the neighbours, the less the
farther these are. The frames beside a gap stay as they were found: the work starts when all segments are joined, so
that it does not depend on where they were cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from flame_fitting.chain import chain_step
from flame_fitting.evidence import ColourImage, Evidence, ViewLandmarks
from flame_fitting.key_frames import frame_equations, in_threads, moved
from flame_fitting.landmark_votes import LandmarkVotes
from flame_fitting.landmarks.head_visibility import visibility_from_head
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.losses.point_to_plane import DepthGate
from flame_fitting.models.plain_model import Head
from flame_fitting.person import Person
from flame_fitting.residuals import FrameResiduals, frame_residuals
from flame_fitting.scene import FrameObservations, SeenFrames
from flame_fitting.segments import BRIDGED, FROM_DEPTH, Track, TrackConfig, observed, person_tracker, runs
from flame_fitting.solver import FrameEquations, Step, solve_arrow
from flame_fitting.stages import FAR, TIGHT, Stage
from flame_fitting.tracking import Tracker

CURVE_STEP, GAZE_STEP = 0.1, 0.02
"""How far a curve is expected to move in a frame (standard deviation), and how far one that turns the eyes."""
GAZE = "eyeLook"
"""Curves whose names start so turn the eyes: no depth tells them."""
LEAST_SUPPORT = 1 / 3
"""A face of which depth shows less than this share of what it shows beside the gap is not told by it."""
MOST_RESIDUAL, RESIDUAL_SLACK_M = 1.5, 2e-4
"""Times what the frames beside the gap leave over; a frame that leaves more is no fit."""
MOST_LEFT = 0.7
"""Of the residual that landmarks led to: what depth leads to must be better by more than chance."""
GOOD_PERCENTILE = 25
"""Of the take's residuals of depth: what a good frame leaves over. A frame that landmarks led to more than the above
allows is tried anew."""
BESIDE = 3
"""Frames on both sides of a gap that its frames are coupled with: as many as the temporal terms reach."""
HELD = 1e14
"""Information of an unknown that stands as it is, in units of curve, radian and metre."""


@dataclass(frozen=True)
class DepthSupport:
    """How well the depth of a frame shows a face that was fitted to it."""

    vertices: float
    """Vertices of the face at which there is depth."""
    residual_m: float
    """Median distance of the depth to them, metres."""

    def holds(self, usual: DepthSupport) -> bool:
        """Whether the face is as good as those beside it."""
        enough = self.vertices >= LEAST_SUPPORT * usual.vertices
        return enough and self.residual_m <= MOST_RESIDUAL * usual.residual_m + RESIDUAL_SLACK_M


def with_blind_frames(
    head: Head, person: Person, evidence: Evidence, track: Track, config: TrackConfig, device: str = "cpu"
) -> Track:
    """A whole take's track, in which frames without a face that depth shows well are fitted and named FROM_DEPTH.

    So are frames whose landmarks led to a head that depth contradicts, where depth tells a better one. All others stay
    as they are to the last bit, gaps that depth does not fill among them.
    """
    lost = lost_frames(track)
    if not evidence.cameras.depth or lost.all() or not lost.any():
        return track
    gaps = [range(gap.start, gap.stop) for gap in runs(lost.tolist())]
    walk = GapWalk(head, person, evidence, track, config, person_tracker(head, person, evidence, config, device))
    found = {frame: each for gap in in_threads(walk.fill, gaps) for frame, each in gap.items()}
    return _with_frames(track, found) if found else track


@dataclass(frozen=True, eq=False)
class BlindFrame:
    """A frame that depth told."""

    alone: HeadState
    """Before it was coupled with its neighbours."""
    state: HeadState
    """As it is stored."""
    residuals: FrameResiduals
    """What it leaves over."""


@dataclass(frozen=True, eq=False)
class GapWalk:
    """Fits the gaps of a track."""

    head: Head
    """The head model."""
    person: Person
    """Whose head."""
    evidence: Evidence
    """The take."""
    track: Track
    """As landmarks told it."""
    config: TrackConfig
    """How it was told."""
    tracker: Tracker
    """The same for every frame."""

    @cached_property
    def silent(self) -> Bool[Tensor, "e"]:
        """Curves that turn the eyes, where the equations are."""
        names = self.head.model.expression_names
        return torch.tensor([name.startswith(GAZE) for name in names], device=self.tracker.scene.device)

    @cached_property
    def lost(self) -> Bool[np.ndarray, "t"]:
        """Frames that are no neighbours to go by."""
        return lost_frames(self.track)

    def fill(self, gap: range) -> dict[int, BlindFrame]:
        """The frames of a gap that depth tells."""
        beside = [*range(gap.start - BESIDE, gap.start), *range(gap.stop, gap.stop + BESIDE)]
        beside = [f for f in beside if 0 <= f < len(self.lost) and not self.lost[f]]
        known = {frame: self._stored(frame) for frame in beside}
        usual = self._usual(known, gap)
        if usual is None:
            return {}
        for frame in inwards(gap, gap.start - 1 in known, gap.stop in known):
            state = self._alone(known, frame, usual)
            if state is not None:
                known[frame] = state
        alone, together = dict(known), dict(known)
        first, last = gap.start - BESIDE, gap.stop + BESIDE
        for stretch in runs([frame in known for frame in range(first, last)]):
            frames = [first + k for k in range(stretch.start, stretch.stop)]
            if any(frame in gap for frame in frames):
                together |= self._coupled(known, frames, gap)
        return {frame: self._finished(alone[frame], together[frame], frame) for frame in gap if frame in known}

    def _stored(self, frame: int) -> HeadState:
        parts = (self.track.curves[frame], self.track.rotation[frame], self.track.translation[frame])
        nobody = torch.zeros(0, dtype=torch.float64)
        return HeadState(nobody, *(torch.from_numpy(np.asarray(part, np.float64)) for part in parts))

    def _observe(self, frame: int, state: HeadState | None = None) -> FrameObservations:
        """What was seen; with a head, only those of its landmarks that it shows."""
        seen = observed(self.head, self.person, self.evidence, frame, self.tracker.scene.response)
        return seen if state is None else LandmarkVotes.of(self.tracker.scene.on_cpu, state, seen).given(seen)

    def _usual(self, known: dict[int, HeadState], gap: range) -> DepthSupport | None:
        """The support of the nearest frames on both sides: the mean; None where they have no depth."""
        before, after = [f for f in known if f < gap.start], [f for f in known if f >= gap.stop]
        nearest = [*before[-1:], *after[:1]]
        found = [self._support(known[frame], self._observe(frame), TIGHT) for frame in nearest]
        found = [each for each in found if each.vertices > 0]
        if not found:
            return None
        return DepthSupport(
            *(float(np.mean([getattr(each, part) for each in found])) for part in ("vertices", "residual_m"))
        )

    def _support(self, state: HeadState, seen: FrameObservations, gate: DepthGate) -> DepthSupport:
        scene = self.tracker.scene
        gathered = scene.gathered(*self._batch([state], seen), gate)
        weight, residual = gathered.weight[0].cpu().numpy(), gathered.residual_m[0].cpu().numpy()
        measured = scene.face & (weight > 1)
        median = float(np.median(np.abs(residual[measured]))) if measured.any() else np.inf
        return DepthSupport(float(measured.sum()), median)

    def _batch(self, states: Sequence[HeadState], seen: FrameObservations) -> tuple[HeadState, SeenFrames]:
        device = self.tracker.scene.device
        return HeadState.stacked(states, device), SeenFrames.of([seen] * len(states), device)

    def _alone(self, known: dict[int, HeadState], frame: int, usual: DepthSupport) -> HeadState | None:
        """A frame by itself, from its neighbours' pose; None where its depth does not show the face well."""
        seen = self._observe(frame)
        if not seen.depth:
            return None
        expected, apart = expectation(known, frame)
        start = self._best(starts(known, frame), seen)
        # What is far from any depth is not worth its steps: nobody is there, or nothing tells where.
        if self._support(start, seen, FAR).vertices < LEAST_SUPPORT * usual.vertices:
            return None
        seen = self._observe(frame, start) if seen.landmarks else seen
        state, stacked = self._batch([replace(start, curves=expected)], seen)
        wanted = expected.to(state.curves)
        nobody = state.identity.new_zeros(0)
        for stage in self.config.blind_stages:
            for _ in range(stage.steps):
                equations = self._equations(state, stacked, stage)
                self._lean(equations, state.curves - wanted, apart)
                step = solve_arrow(equations, nobody, state.curves, self.tracker.prior, stage.expressions)
                state = moved(state, self.tracker.scene.centre(state), step)
        found = state.frames()[0]
        support, before = self._support(found, seen, TIGHT), self.track.depth_residual_m[frame]
        better = not support.residual_m > MOST_LEFT * before  # true, too, where nothing stood before
        return found if support.holds(usual) and better else None

    def _best(self, some: Sequence[HeadState], seen: FrameObservations) -> HeadState:
        """The head that most of the depth lies about."""
        gathered = self.tracker.scene.gathered(*self._batch(some, seen), FAR)
        face = torch.from_numpy(self.tracker.scene.face).to(gathered.weight.device)
        return some[int(gathered.weight[:, face].sum(1).argmax())]

    def _equations(self, state: HeadState, seen: SeenFrames, stage: Stage) -> FrameEquations:
        """A frame's normal equations, in which depth does not turn the eyes."""
        equations = frame_equations(self.tracker.scene, state, seen, stage, self.tracker.prior)
        if seen.irises is not None and bool((seen.irises.confidence > 0).any()):
            return equations
        prior, curves = self.tracker.prior, state.curves
        silent = torch.nonzero(self.silent).squeeze(1)
        equations.own[..., silent, :] = 0
        equations.own[..., silent] = 0
        equations.own[..., silent, silent] = 1 / prior.sigma**2
        equations.gradient_own[..., silent] = (curves / prior.sigma**2 + prior.slope(curves))[..., silent]
        return equations

    def _lean(self, equations: FrameEquations, away: Float[Tensor, "t e"], apart: float) -> None:
        """Add the squares of the curves' distance from what the neighbours let expect, so many frames apart."""
        step = torch.where(self.silent, GAZE_STEP, CURVE_STEP).to(away)
        precision = 1 / (step**2 * apart)
        expressions = away.shape[-1]
        equations.own.diagonal(dim1=-2, dim2=-1)[..., :expressions] += precision
        equations.gradient_own[..., :expressions] += precision * away

    def _coupled(self, known: dict[int, HeadState], frames: list[int], gap: range) -> dict[int, HeadState]:
        """The frames of a gap coupled in time with each other and with those beside it, which stand as they are."""
        scene, stage = self.tracker.scene, self.tracker.coupled
        states = [known[frame] for frame in frames]
        colours = {frame: self._colours(known, frame) for frame in frames if frame in gap}

        def equations_of(pair: tuple[int, HeadState]) -> FrameEquations:
            frame, state = pair
            if frame not in gap:
                return standing(state)
            seen = replace(self._observe(frame, known[frame]), colours=colours[frame])
            return self._equations(*self._batch([state], seen), stage)

        for _ in range(self.config.coupled_steps):
            equations = FrameEquations.joined(in_threads(equations_of, list(zip(frames, states, strict=True))))
            whole = HeadState.stacked(states)
            centre = scene.on_cpu.centre(whole)
            step = Step(torch.zeros(0).double(), chain_step(whole, equations, centre, self.tracker.temporal))
            states = moved(whole, centre, step).frames()
        return {frame: state for frame, state in zip(frames, states, strict=True) if frame in gap}

    def _colours(self, known: dict[int, HeadState], frame: int) -> tuple[ColourImage, ...]:
        """The face in the pictures of cameras that saw it beside the gap, about where the head is."""
        scene = self.tracker.scene.on_cpu
        if scene.appearance is None or not self.tracker.coupled.colour:
            return ()
        beside = min((each for each in known if not self.lost[each]), key=lambda f: abs(f - frame))
        state, depth = known[frame], self.evidence.depth(frame)
        marks, vertices = scene.marks.in_world(state).numpy(), scene.surface.in_world(state).numpy()
        views = []
        for camera in (view.camera for view in self.evidence.landmarks(beside)):
            seen = visibility_from_head(marks, vertices, scene.faces, camera, depth)
            if seen.any():
                views.append(ViewLandmarks(camera, camera.project(marks)[0], seen.astype(np.float64)))
        return self.evidence.colours(frame, tuple(views))

    def _finished(self, alone: HeadState, state: HeadState, frame: int) -> BlindFrame:
        return BlindFrame(
            alone, state, frame_residuals(self.tracker, state, self._observe(frame, state), self.evidence.cameras)
        )


def lost_frames(track: Track) -> Bool[np.ndarray, "t"]:
    """Frames that have no head, and those whose depth contradicts it: far more than the take's usual is left over."""
    residual = track.depth_residual_m
    known = residual[np.isfinite(residual)]
    usual = float(np.percentile(known, GOOD_PERCENTILE)) if len(known) else np.nan
    return (track.frame_state == BRIDGED) | (residual > MOST_RESIDUAL * usual + RESIDUAL_SLACK_M)


def inwards(gap: range, has_before: bool, has_after: bool) -> list[int]:
    """The frames of a gap, those nearest to a known frame first."""
    far = len(gap) + 1
    from_before = lambda frame: frame - gap.start + 1 if has_before else far  # noqa: E731
    from_after = lambda frame: gap.stop - frame if has_after else far  # noqa: E731
    return sorted(gap, key=lambda frame: (min(from_before(frame), from_after(frame)), frame))


def expectation(known: dict[int, HeadState], frame: int) -> tuple[Float[Tensor, "e"], float]:
    """Curves between the nearest known frames on both sides, and after how many frames a walk varies as these do.

    Of a walk that is known at both ends (a Brownian bridge) the variance is that after a b / (a + b) frames.
    """
    before, after = nearest(known, frame)
    if before is None or after is None:
        only = before if before is not None else after
        assert only is not None
        return known[only].curves, float(abs(frame - only))
    share = (frame - before) / (after - before)
    curves = known[before].curves * (1 - share) + known[after].curves * share
    return curves, (frame - before) * (after - frame) / (after - before)


def nearest(known: dict[int, HeadState], frame: int) -> tuple[int | None, int | None]:
    """The known frames next to a frame."""
    before, after = [each for each in known if each < frame], [each for each in known if each > frame]
    return max(before, default=None), min(after, default=None)


def starts(known: dict[int, HeadState], frame: int) -> list[HeadState]:
    """Where a frame's head may be: where its neighbours are, between them, and where they were going."""
    before, after = nearest(known, frame)
    found = [known[each] for each in (before, after) if each is not None]
    pairs = [(before, after)]
    if before is not None:
        pairs.append((nearest(known, before)[0], before))
    if after is not None:
        pairs.append((nearest(known, after)[1], after))
    for one, other in pairs:
        if one is not None and other is not None:
            found.append(along(known[one], known[other], (frame - one) / (other - one)))
    return found


def along(one: HeadState, other: HeadState, share: float) -> HeadState:
    """A head on the way from one pose (0) to another (1), or beyond it; curves and identity are the first one's."""
    turn = Rotation.from_matrix((other.rotation @ one.rotation.T).numpy()).as_rotvec() * share
    rotation = torch.from_numpy(Rotation.from_rotvec(turn).as_matrix()) @ one.rotation
    return replace(one, rotation=rotation, translation=one.translation + (other.translation - one.translation) * share)


def standing(state: HeadState) -> FrameEquations:
    """Normal equations of a frame that nothing moves."""
    size = len(state.curves) + 6
    none = state.curves.new_zeros
    own = torch.eye(size, dtype=state.curves.dtype)[None] * HELD
    return FrameEquations(none(1, 0, 0), none(1, 0, size), own, none(1, 0), none(1, size))


def _with_frames(track: Track, found: dict[int, BlindFrame]) -> Track:
    """The track with frames put in."""
    frames, each = list(found), list(found.values())
    put = {
        "curves": [one.state.curves.numpy() for one in each],
        "curves_alone": [one.alone.curves.numpy() for one in each],
        "rotation": [one.state.rotation.numpy() for one in each],
        "translation": [one.state.translation.numpy() for one in each],
        "frame_state": [FROM_DEPTH] * len(each),
        "term_loss": [one.residuals.term_loss for one in each],
        "depth_residual_m": [one.residuals.depth_m for one in each],
        "camera_residual_px": [one.residuals.landmarks_px for one in each],
        "camera_depth_residual_m": [one.residuals.camera_depth_m for one in each],
    }
    arrays = {name: getattr(track, name).copy() for name in put}
    for name, values in put.items():
        arrays[name][frames] = values
    return replace(track, **arrays)
