"""The pose a frame starts from: the one that most landmarks agree with, whatever a view claims."""

from dataclasses import replace

import numpy as np
import pytest

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.key_frames import first_state
from flame_fitting.scene import FrameObservations
from tests.flame_fitting.exact_heads import ExactTake, camera, head, named, scene, state

AROUND = tuple(
    camera(number, (0.55 * np.sin(a), 0.05, 0.55 * np.cos(a))) for number, a in enumerate(np.linspace(-1, 1, 7))
)


@pytest.mark.parametrize("liar", range(len(AROUND)))
def test_a_view_that_claims_a_far_head_is_not_believed(liar):
    """A pose that misses every other view by far fits none of them: it must not pass for one that fits all."""
    at = state(named(jawOpen=0.3), (0.1, -0.2, 0.05), (0.01, -0.005, 0.02))

    def small(frame: int, view: ViewLandmarks) -> ViewLandmarks:
        """In the liar's picture the face is a third as large and elsewhere: a head two metres away."""
        if view.camera.id != AROUND[liar].id:
            return view
        middle = view.points_px.mean(0)
        return replace(view, points_px=middle + (view.points_px - middle) / 3 + 30)

    take = ExactTake(scene(0), (at,), AROUND, disturb=small)
    found = first_state(scene(0), FrameObservations.of(take, head().landmarks, 0).landmarks)
    assert found is not None
    apart_m = (scene(0).surface.in_world(found) - scene(0).surface.in_world(at)).norm(dim=-1)
    assert float(apart_m.max()) < 0.03
