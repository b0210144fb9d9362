"""The fit's plan as data: which parameters move, what counts how much, for how many steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flame_fitting.losses.point_to_plane import DepthGate


@dataclass(frozen=True)
class Stage:
    """One part of the fit."""

    name: str
    """For progress and logs."""
    steps: int
    """Gauss-Newton steps."""
    identity_modes: int
    """How many modes of identity move at most; 0 keeps the person."""
    expressions: bool
    """Whether the curves move."""
    landmark: float
    """Weight of the landmarks' squared residuals."""
    depth: float
    """Weight of the depth's squared residuals."""
    gate: DepthGate
    """Which depth pixels count."""
    landmark_spread: float = 1.0
    """Share of the landmarks' scatter on the surface that is still unknown."""
    landmark_alone: float = 0.0
    """Least weight of the landmarks where no depth was measured."""
    contour: float = 0.0
    """Weight of the face's outline against the head's contour, where the take has no depth."""
    gaze: float = 0.0
    """Weight of the irises' squared residuals."""
    closure: float = 0.0
    """Weight of the openings of lips and lids that touch in the picture."""
    colour: float = 0.0
    """Weight of the colour of the skin, where the person's albedo is known."""


FAR, NEAR, CLOSE, TIGHT = (DepthGate(*gate) for gate in ((0.05, 0.02), (0.05, 0.015), (0.025, 0.006), (0.012, 0.003)))
"""From wide to narrow, because a pixel that is far at first may be right."""

CLOSURE = 0.3
"""Of frames alone: while the person is sought, curves would close what is the rest's own shape (`expression_ratio` 0.39
to 0.58 on a tuning subject). With depth more of it argues with what was measured (0.38 at 0.3, 0.41 at 1)."""

IDENTITY_STAGES = (
    Stage("pose", 4, 0, False, 1.0, 0.0, FAR),
    Stage("coarse shape", 4, 40, True, 1.0, 0.08, NEAR),
    Stage("shape", 4, 120, True, 0.1, 0.8, CLOSE, contour=0.02),
    Stage("detail", 5, 1000, True, 0.003, 1.6, TIGHT, contour=0.02, gaze=1.0),
)
"""From what landmarks know to what depth knows. Landmarks lose nearly all weight in the end: a network's points lie up
to some millimetres beside their vertices, the same way in every frame, and would bend the head (vertex error 0.57 mm at
a weight of 0.01, 0.49 at 0.003; of two views without depth 3.0 mm at 0.05, 2.7 at 0.003). An outline says one thing in
all frames, too: it counts as much as all of them together would if each told something new (with it 2.6 mm)."""
TRACKING_STAGES = (
    Stage("pose", 3, 0, False, 1.0, 0.0, FAR, 0.3),
    Stage("coarse", 3, 0, True, 0.3, 4.0, CLOSE, 0.3),
    Stage("fine", 4, 0, True, 0.003, 8.0, TIGHT, landmark_alone=0.3, gaze=4.0, closure=CLOSURE),
)
"""A frame of a known person. Depth counts five times as much as where the person is still sought: what a person's own
shapes do not explain is little by then (mean absolute error of active curves 0.104 at a weight of 1 and 0.082 at 8 on a
tuning subject). As much for the person lets curves stand in for identity (expression ratio 0.44 at 1, 0.82 at 5)."""
COUPLED_STAGE = replace(TRACKING_STAGES[-1], name="coupled", colour=0.4)
"""All frames together. Colour joins in where frames are posed already: it pulls from a pixel or two away."""
BLIND_STAGES = (
    Stage("pose", 5, 0, False, 0.0, 1.0, FAR),
    Stage("coarse", 3, 0, True, 0.0, 4.0, CLOSE),
    Stage("fine", 4, 0, True, 0.003, 8.0, TIGHT, gaze=4.0, closure=CLOSURE),
)
"""A frame of a known person without a usable face in any view, from a neighbour's pose: depth alone leads."""
