"""A stretch of a take, fitted so that its result does not depend on where the stretch was cut.

Every frame is fitted by itself first, from its own landmarks, so that its start does not depend on its neighbours. The
temporal terms then couple it with them; their reach is a few frames, so that some frames of overlap on both sides,
which are fitted and thrown away, leave nothing of the cut.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation, Slerp

from flame_fitting.chain import TemporalPrior
from flame_fitting.evidence import ColourImage, Evidence
from flame_fitting.key_frames import batches, in_threads
from flame_fitting.landmark_offsets import with_offsets
from flame_fitting.landmark_votes import LandmarkVotes
from flame_fitting.landmarks.response import LandmarkResponse
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.losses.response import without_biases
from flame_fitting.models.plain_model import Head
from flame_fitting.person import CURVE_PRIOR, Person, fewness, prior_by, prior_of_few
from flame_fitting.residuals import FrameResiduals, frame_residuals
from flame_fitting.scene import FrameObservations, HeadScene
from flame_fitting.solver import HeadPrior
from flame_fitting.stages import BLIND_STAGES, COUPLED_STAGE, TRACKING_STAGES, Stage
from flame_fitting.tracking import Tracker, VotedHead
from geometry.errors import InputError

FITTED, BRIDGED, FROM_DEPTH = 0, 1, 2
"""Values of `frame_state`. Segments know the first two; `blind_frames` fits what it can of the second."""
MOTION_BESIDE_DEPTH = TemporalPrior(5e-3, 5e-4, 5e-5, 6.0, 6.0)
"""Depth counts eightfold in `TRACKING_STAGES`, and motion fourfold beside it: the same widths, and half of each sigma
(jitter 0.13 mm with `TemporalPrior`'s own)."""
MOTION_WITHOUT_DEPTH = TemporalPrior(pose_robust=100.0)
"""Where landmarks alone pose the head, what bends by less is their noise."""


@dataclass(frozen=True)
class TrackConfig:
    """How to follow a known person."""

    stages: tuple[Stage, ...] = TRACKING_STAGES
    """The plan for a frame."""
    prior: HeadPrior = CURVE_PRIOR
    """What is known of curves before anything is measured."""
    temporal: TemporalPrior = MOTION_BESIDE_DEPTH
    """How curves and head move."""
    temporal_without_depth: TemporalPrior = MOTION_WITHOUT_DEPTH
    """The same in a take without depth cameras."""
    coupled: Stage = COUPLED_STAGE
    """The plan for all frames together."""
    coupled_steps: int = 2
    """Steps of all frames together after each was fitted by itself."""
    overlap: int = 16
    """Frames on both sides of a segment that are fitted for its sake alone."""
    blind_stages: tuple[Stage, ...] = BLIND_STAGES
    """The plan for a frame without a face, which depth tells."""

    def for_take(self, evidence: Evidence) -> TrackConfig:
        """The plan for a take with depth cameras as it is; without, one view tells hardly how far a head is.

        It comes and goes by millimetres from frame to frame, more than any head could: then motion has the last word.
        """
        if evidence.cameras.depth:
            return self
        # Smoother motion carries a cut's trace farther: to a tenth in 8 frames.
        prior, overlap = prior_by(evidence, self.prior), 2 * self.overlap
        return replace(self, prior=prior, temporal=self.temporal_without_depth, overlap=overlap)


@dataclass(frozen=True, eq=False)
class Track:
    """Curves and pose of consecutive frames."""

    curves: Float[np.ndarray, "t e"]
    """ARKit curves in [0, 1]."""
    curves_alone: Float[np.ndarray, "t e"]
    """The same before frames were coupled over time: what lag is measured against."""
    rotation: Float[np.ndarray, "t 3 3"]
    """World from head."""
    translation: Float[np.ndarray, "t 3"]
    """Where the head's origin is in the world, metres."""
    frame_state: UInt8[np.ndarray, "t"]
    """0 fitted; 1 bridged: nothing was seen of the face, what stands here is interpolated; 2 fitted without a face."""
    views: Int[np.ndarray, "t"]
    """In how many views a face was found."""
    term_loss: Float[np.ndarray, "t n"]
    """Mean squared residual of each of `residuals.TERMS`, in sigmas; nan where a term had no part."""
    depth_residual_m: Float[np.ndarray, "t"]
    """Median distance of the depth to the face, metres; nan without depth."""
    camera_residual_px: Float[np.ndarray, "t c"]
    """Median distance of the landmarks in each colour camera, pixels; nan where none was seen."""
    camera_depth_residual_m: Float[np.ndarray, "t d"]
    """Median distance of each depth camera's pixels to the face, metres; nan where none was seen."""

    @classmethod
    def joined(cls, parts: list[Track]) -> Track:
        """Segments in order."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))


def cut(frames: int, segments: int) -> list[range]:
    """Ranges of about the same length that cover all frames."""
    bounds = np.linspace(0, frames, max(1, min(segments, frames)) + 1).round().astype(int)
    return [range(int(low), int(high)) for low, high in pairwise(bounds)]


def track_segment(
    head: Head,
    person: Person,
    evidence: Evidence,
    frames: range,
    config: TrackConfig,
    device: str = "cpu",
) -> Track:
    """Curves and pose of the frames of one segment; those in which nothing was seen are left to `bridged`.

    On `device` a batch of frames is solved at once; what SciPy and OpenCV do stays on the CPU.
    """
    config = config.for_take(evidence)
    reach = range(max(0, frames.start - config.overlap), min(evidence.frame_count, frames.stop + config.overlap))
    tracker = person_tracker(head, person, evidence, config, device)
    scene = tracker.scene
    colours: dict[int, tuple[ColourImage, ...]] = {}

    votes: dict[int, LandmarkVotes] = {}

    def observe(frame: int) -> FrameObservations:
        """Read anew each time it is needed: 31 depth pictures a frame are more than a segment can hold."""
        seen = replace(observed(head, person, evidence, frame, scene.response), colours=colours.get(frame, ()))
        return votes[frame].given(seen) if frame in votes else seen

    def alone_in(some: slice) -> list[VotedHead | None]:
        return tracker.voted(in_threads(observe, list(reach[some])))

    parts = in_threads(alone_in, batches(len(reach), scene.device))
    voted: list[VotedHead | None] = [each for part in parts for each in part]
    states: list[HeadState | None] = [None if each is None else each.state for each in voted]
    alone = list(states)
    votes |= {frame: each.votes for frame, each in zip(reach, voted, strict=True) if each is not None}
    if scene.appearance is not None and config.coupled.colour:
        # Faces of a few cameras are small, and decoding their pictures takes longer than a step: read once.
        colours |= dict(zip(reach, in_threads(evidence.colours, list(reach)), strict=True))
    for run in runs([state is not None for state in states]):
        together = [state for state in states[run] if state is not None]
        for _ in range(config.coupled_steps):
            together = tracker.couple(together, list(reach)[run], observe)
        states[run] = together
    inner = slice(frames.start - reach.start, frames.stop - reach.start)
    cameras = evidence.cameras
    measure = lambda pair: frame_residuals(tracker, pair[0], observe(pair[1]), cameras)  # noqa: E731
    residuals = in_threads(measure, list(zip(states[inner], frames, strict=True)))
    return _track(states[inner], alone[inner], residuals, len(head.model.expression_names))


def person_tracker(head: Head, person: Person, evidence: Evidence, config: TrackConfig, device: str = "cpu") -> Tracker:
    """A known person in a take, ready to be followed."""
    scene = person.scene(HeadScene.of(head)).to(device)
    few = max(len(person.key_frames), evidence.frame_count)
    # No part of identity stands in for gaze, so that irises keep their say over the prior.
    surer = lambda stage: replace(stage, gaze=stage.gaze * fewness(few))  # noqa: E731
    stages, coupled = tuple(surer(stage) for stage in config.stages), surer(config.coupled)
    return Tracker(scene, prior_of_few(config.prior, few), config.temporal, stages, coupled)


def observed(
    head: Head, person: Person, evidence: Evidence, frame: int, response: LandmarkResponse | None
) -> FrameObservations:
    """What was seen of a known person in a frame, without its colours."""
    seen = with_offsets(FrameObservations.of(evidence, head.landmarks, frame, response), person.offsets())
    closures = tuple(view.of_person(person.lip_gap) for view in seen.closures)
    return replace(seen, told=without_biases(seen.told, person.curve_biases), closures=closures)


def runs(known: list[bool]) -> list[slice]:
    """Stretches of consecutive frames that are known."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.array(known, int), [0]])))
    return [slice(int(low), int(high)) for low, high in zip(edges[::2], edges[1::2], strict=True)]


def _track(
    states: list[HeadState | None], alone: list[HeadState | None], residuals: list[FrameResiduals], expressions: int
) -> Track:
    unknown = [torch.full(shape, torch.nan, dtype=torch.float64) for shape in ((expressions,), (3, 3), (3,))]
    missing = HeadState(torch.zeros(0, dtype=torch.float64), *unknown)
    whole = [missing if state is None else state for state in states]
    return Track(
        np.stack([state.curves.numpy() for state in whole]),
        np.stack([(missing if state is None else state).curves.numpy() for state in alone]),
        np.stack([state.rotation.numpy() for state in whole]),
        np.stack([state.translation.numpy() for state in whole]),
        np.array([BRIDGED if state is None else FITTED for state in states], np.uint8),
        np.array([each.views for each in residuals]),
        np.stack([each.term_loss for each in residuals]),
        np.array([each.depth_m for each in residuals]),
        np.stack([each.landmarks_px for each in residuals]),
        np.stack([each.camera_depth_m for each in residuals]),
    )


def bridged(track: Track) -> Track:
    """Frames that nothing told, interpolated between their neighbours; at the ends the nearest one stands.

    Raises InputError when nothing was seen in any frame.
    """
    known = np.flatnonzero(track.frame_state != BRIDGED)
    if not len(known):
        raise InputError(
            "a face that can be fitted in at least one frame",
            f"none in {len(track.frame_state)} frame sets",
            "check that the cameras see the face upright and lit (`mien inspect`), or that RGB is not mislabelled",
        )
    frames = np.arange(len(track.frame_state))
    inside = np.clip(frames, known[0], known[-1])
    columns = lambda values: np.stack([np.interp(frames, known, column) for column in values.T], 1)  # noqa: E731
    rotation = np.repeat(track.rotation[known[:1]], len(frames), 0)
    if len(known) > 1:
        rotation = Slerp(known, Rotation.from_matrix(track.rotation[known]))(inside).as_matrix()
    rotation[known] = track.rotation[known]
    return replace(
        track,
        curves=columns(track.curves[known]),
        curves_alone=columns(track.curves_alone[known]),
        rotation=rotation,
        translation=columns(track.translation[known]),
    )
