"""Curves and pose of every frame of a known person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from flame_fitting.chain import TemporalPrior, chain_step
from flame_fitting.key_frames import batches, first_state, frame_equations, in_threads, moved
from flame_fitting.landmark_votes import LandmarkVotes
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.scene import FrameObservations, HeadScene, SeenFrames
from flame_fitting.solver import FrameEquations, HeadPrior, Step, solve_arrow
from flame_fitting.stages import COUPLED_STAGE, Stage


@dataclass(frozen=True, eq=False)
class VotedHead:
    """A frame that was fitted by itself."""

    state: HeadState
    """Its curves and pose."""
    votes: LandmarkVotes
    """Which landmarks it shows."""


@dataclass(frozen=True, eq=False)
class Tracker:
    """A known person, whose frames are fitted one by one and then coupled over time."""

    scene: HeadScene
    """The person: no modes of identity."""
    prior: HeadPrior
    """What is known of curves before anything is measured."""
    temporal: TemporalPrior
    """How they move."""
    stages: tuple[Stage, ...]
    """The plan for a frame."""
    coupled: Stage = COUPLED_STAGE
    """The plan for all frames together."""

    def frame(self, seen: FrameObservations) -> HeadState | None:
        """One frame by itself, from its own landmarks; None where no view shows the face."""
        return self.frames([seen])[0]

    def frames(self, seen: Sequence[FrameObservations]) -> list[HeadState | None]:
        """Frames each by itself, from its own landmarks, as one batch; None where no view shows the face."""
        return [None if each is None else each.state for each in self.voted(seen)]

    def voted(self, seen: Sequence[FrameObservations]) -> list[VotedHead | None]:
        """The same with the landmarks that the heads show; before the last stage, others lose their vote."""
        found = [first_state(self.scene.on_cpu, each.landmarks) for each in seen]
        known = [frame for frame, state in enumerate(found) if state is not None]
        heads: list[VotedHead | None] = [None] * len(found)
        if not known:
            return heads
        device = self.scene.device
        state = HeadState.stacked([state for state in found if state is not None], device)
        shown, nobody = [seen[frame] for frame in known], state.identity.new_zeros(0)
        stacked, votes = SeenFrames.of(shown, device), [LandmarkVotes({}, {}) for _ in known]
        for number, stage in enumerate(self.stages):
            if number and number == len(self.stages) - 1:
                pairs = zip(state.frames(), shown, strict=True)
                votes = in_threads(lambda pair: LandmarkVotes.of(self.scene.on_cpu, *pair), list(pairs))
                stacked = SeenFrames.of([own.given(each) for own, each in zip(votes, shown, strict=True)], device)
            for _ in range(stage.steps):
                equations = frame_equations(self.scene, state, stacked, stage, self.prior)
                step = solve_arrow(equations, nobody, state.curves, self.prior, stage.expressions)
                state = moved(state, self.scene.centre(state), step)
        for frame, each, own in zip(known, state.frames(), votes, strict=True):
            heads[frame] = VotedHead(each, own)
        return heads

    def couple(
        self, states: list[HeadState], frames: list[int], observe: Callable[[int], FrameObservations]
    ) -> list[HeadState]:
        """One step of consecutive frames together; `observe` gives what was seen of one of them."""
        device = self.scene.device

        def equations_of(some: slice) -> FrameEquations:
            seen = SeenFrames.of(in_threads(observe, frames[some]), device)
            state = HeadState.stacked(states[some], device)
            return frame_equations(self.scene, state, seen, self.coupled, self.prior)

        equations = FrameEquations.joined(in_threads(equations_of, batches(len(frames), device)))
        whole = HeadState.stacked(states)
        centre = self.scene.on_cpu.centre(whole)
        step = Step(torch.zeros(0).double(), chain_step(whole, equations, centre, self.temporal))
        return moved(whole, centre, step).frames()
