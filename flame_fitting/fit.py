"""Fit one person to a whole take: who they are from a few key frames, then curves and pose of every frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from flame_fitting.person import Person, PersonConfig
from flame_fitting.segments import Track, TrackConfig


@dataclass(frozen=True)
class FitConfig:
    """How to fit."""

    person: PersonConfig = field(default_factory=PersonConfig)
    """Who: identity and what is the person's own."""
    track: TrackConfig = field(default_factory=TrackConfig)
    """What they do: curves and pose."""


@dataclass(frozen=True, eq=False)
class HeadFit:
    """A person and what they did."""

    person: Person
    """Who."""
    track: Track
    """Frame by frame; frames in which nothing was seen are interpolated and marked."""

    def vertices_world(self, frame: int) -> Float[np.ndarray, "v 3"]:
        """The fitted head at a frame, metres."""
        head = self.person.in_head(self.track.curves[frame])
        return head @ self.track.rotation[frame].T + self.track.translation[frame]


def one_thread() -> None:
    """Keep torch from spinning up threads of its own: frames already run on all cores."""
    torch.set_num_threads(1)
