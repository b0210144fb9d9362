"""The fit's plan as data: which parameters move, what counts how much, for how many steps."""

from __future__ import annotations

from dataclasses import dataclass

from flame_fitting.losses.point_to_plane import DepthGate


@dataclass(frozen=True)
class Stage:
    """One part of the fit."""

    name: str
    """For progress and logs."""
    steps: int
    """Gauss-Newton steps at most."""
    identity_modes: int
    """How many modes of identity move; 0 keeps the person."""
    expressions: bool
    """Whether the curves move."""
    landmark: float
    """Weight of the landmarks' squared residuals."""
    depth: float
    """Weight of the depth's squared residuals."""
    gate: DepthGate
    """Which depth pixels count."""


STAGES = (
    Stage("pose", 4, 0, False, 1.0, 0.0, DepthGate(0.05, 0.02)),
    Stage("coarse shape", 4, 40, True, 1.0, 0.05, DepthGate(0.05, 0.015)),
    Stage("shape", 4, 120, True, 0.3, 0.5, DepthGate(0.025, 0.006)),
    Stage("detail", 6, 250, True, 0.05, 1.0, DepthGate(0.012, 0.003)),
)
"""From what landmarks know to what depth knows: wide gates first, because a far pixel may be right."""
