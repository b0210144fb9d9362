"""Curves and pose of every frame of a known person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from flame_fitting.chain import TemporalPrior, chain_step
from flame_fitting.key_frames import first_state, frame_equations, in_threads, moved
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.scene import FrameObservations, HeadScene
from flame_fitting.solver import HeadPrior, Step, solve_arrow
from flame_fitting.stages import Stage


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

    def frame(self, seen: FrameObservations) -> HeadState | None:
        """One frame by itself, from its own landmarks; None where no view shows the face."""
        state = first_state(self.scene, seen.landmarks)
        if state is None:
            return None
        for stage in self.stages:
            for _ in range(stage.steps):
                equations = frame_equations(self.scene, state, seen, stage, self.prior)
                step = solve_arrow(
                    [equations], torch.zeros(0).double(), state.curves[None], self.prior, stage.expressions
                )
                state = moved(self.scene, state, step, 0)
        return state

    def couple(
        self, states: list[HeadState], frames: list[int], observe: Callable[[int], FrameObservations]
    ) -> list[HeadState]:
        """One step of consecutive frames together; `observe` gives what was seen of one of them."""
        stage = self.stages[-1]
        work = lambda pair: frame_equations(self.scene, pair[0], observe(pair[1]), stage, self.prior)  # noqa: E731
        equations = in_threads(work, list(zip(states, frames, strict=True)))
        centres = torch.stack([self.scene.centre(state) for state in states])
        own = chain_step(states, equations, centres, self.temporal)
        step = Step(torch.zeros(0).double(), own)
        return [moved(self.scene, state, step, frame) for frame, state in enumerate(states)]
