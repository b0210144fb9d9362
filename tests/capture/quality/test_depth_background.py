"""A depth sensor's slow drift shows in the static background, whoever moves in front of it."""

from __future__ import annotations

import numpy as np
import pytest

from capture.quality.depth_background import DepthDrift, measure_depth_drift
from capture.quality.sampling import SampledFrames
from geometry.cameras import Camera
from geometry.transforms import RigidTransform

SIZE_HW = (144, 160)
CAMERA = Camera(
    "d", "m", "depth", SIZE_HW, np.array([[120.0, 0, 80], [0, 120.0, 72], [0, 0, 1]]), np.zeros(0),
    RigidTransform(np.eye(3), np.zeros(3)), 30.0, 1e-3,
)  # fmt: skip
TIME_S = np.linspace(0, 300, 24)


def _samples(drift_m: float, wall_m: float | None = 1.4) -> SampledFrames:
    """A wall that recedes, and a head that nods and sways in front of it, with a Kinect's noise and rounding."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    pictures = []
    for k, time_s in enumerate(TIME_S):
        wall = np.zeros(SIZE_HW) if wall_m is None else wall_m + 0.3 * columns / SIZE_HW[1] + drift_m * time_s / 300
        x, y = 80 + 9 * np.sin(1.3 * k), 76 + 5 * np.cos(0.7 * k)
        inside = ((columns - x) / 30) ** 2 + ((rows - y) / 42) ** 2 < 1
        depth_m = np.where(inside, 0.7 + 0.03 * np.sin(2.1 * k), wall)
        noisy = depth_m + random.normal(0, 1.5e-3, SIZE_HW) * (depth_m / 0.8) ** 2
        counts = np.where((depth_m > 0) & (random.random(SIZE_HW) > 0.05), np.round(noisy * 1000), 0)
        pictures.append(counts.astype(np.uint16))
    return SampledFrames(np.arange(24) * 375, TIME_S, np.stack(pictures), 1.0)


@pytest.mark.parametrize("drift_m", [0.0, 0.003, -0.006])
def test_the_drift_is_found_to_a_fifth_of_a_millimetre(drift_m: float) -> None:
    found = measure_depth_drift(_samples(drift_m), CAMERA)
    assert isinstance(found, DepthDrift)
    assert found.drift_m == pytest.approx(drift_m, abs=2e-4) and found.noise_m < 3e-4
    assert found.change_m[-1] - found.change_m[0] == pytest.approx(drift_m, abs=5e-4)


def test_a_head_alone_is_no_background() -> None:
    why = measure_depth_drift(_samples(0.0, None), CAMERA)
    assert isinstance(why, str) and "no static background" in why


def test_holes_alone_say_nothing() -> None:
    empty = SampledFrames(np.arange(24), TIME_S, np.zeros((24, *SIZE_HW), np.uint16), 1.0)
    assert isinstance(measure_depth_drift(empty, CAMERA), str)
