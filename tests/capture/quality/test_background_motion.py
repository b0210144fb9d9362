"""A camera that is bumped or creeps is measured to a tenth of a pixel, whatever the subject and the lamps do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from capture.quality.background_motion import BackgroundMotion, measure_background_motion
from capture.quality.sampling import SampledFrames, sampled_indices

SIZE_HW = (240, 320)
FRAMES, RATE_HZ = 1800, 30.0


def _texture(seed: int, size_hw: tuple[int, int]) -> np.ndarray:
    random = np.random.default_rng([seed, 5])
    rough = cv2.GaussianBlur(random.normal(0, 1, size_hw).astype(np.float32), (0, 0), 2.5)
    return 110 + rough / rough.std() * 30


def _frame(t: int, shift_px: np.ndarray, background: bool = True, subject: bool = True) -> np.ndarray:
    """The room as a camera sees it that has turned by some pixels, a subject who sways in front, a lamp that hums."""
    random = np.random.default_rng([t, 9])
    room = _texture(0, SIZE_HW) if background else np.full(SIZE_HW, 60.0, np.float32)
    matrix = np.array([[1, 0, shift_px[0]], [0, 1, shift_px[1]]], np.float64)
    picture = cv2.warpAffine(room.astype(np.float32), matrix, SIZE_HW[::-1], borderMode=cv2.BORDER_REFLECT)
    if subject:
        sway = np.array([14 * np.sin(0.011 * t), 6 * np.cos(0.017 * t)])
        rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
        inside = ((columns - 160 - sway[0]) / 70) ** 2 + ((rows - 130 - sway[1]) / 95) ** 2 < 1
        face = cv2.warpAffine(
            _texture(1, SIZE_HW).astype(np.float32) + 30, np.array([[1, 0, sway[0]], [0, 1, sway[1]]]), SIZE_HW[::-1]
        )
        picture = np.where(inside, face, picture)
    picture = picture * (1 + 0.02 * np.sin(t)) + random.normal(0, 2, SIZE_HW)
    return np.round(picture).clip(0, 255).astype(np.uint8)


def _measure(shift_at, scale: float = 1.0, frames: int = FRAMES, **scene: bool) -> BackgroundMotion | str:
    index = sampled_indices(frames)
    pictures = np.stack([_frame(int(t), shift_at(int(t)), **scene) for t in index])
    samples = SampledFrames(index, index / RATE_HZ, pictures, scale)
    return measure_background_motion(samples, lambda t: _frame(t, shift_at(t), **scene))


def test_a_still_camera_neither_jumps_nor_creeps() -> None:
    motion = _measure(lambda t: np.zeros(2))
    assert isinstance(motion, BackgroundMotion)
    assert motion.jump_px == 0 and motion.jump_frame == -1 and motion.drift_px < 0.05
    assert np.nanmax(motion.shift_px) < 0.1


@pytest.mark.parametrize("jump", [(0.6, 0.0), (-2.0, 1.5), (9.0, -12.0)])
def test_a_bump_is_measured_and_dated_to_the_frame(jump: tuple[float, float]) -> None:
    motion = _measure(lambda t: np.array(jump) * (t >= 1111))
    assert isinstance(motion, BackgroundMotion)
    assert motion.jump_px == pytest.approx(float(np.linalg.norm(jump)), abs=0.1)
    assert motion.jump_frame == 1111 and motion.jump_time_s == pytest.approx(1111 / RATE_HZ, abs=1e-6)
    assert motion.drift_px < 0.2


def test_a_creep_is_no_jump_and_pixels_are_the_cameras() -> None:
    motion = _measure(lambda t: np.array([0.9, -0.4]) * t / FRAMES, scale=2.0)
    assert isinstance(motion, BackgroundMotion)
    assert motion.jump_px == 0 and motion.drift_px == pytest.approx(2 * np.hypot(0.9, 0.4), abs=0.15)
    assert motion.shift_px[-1] == pytest.approx(motion.drift_px, abs=0.2)


def test_a_swaying_subject_before_a_plain_wall_is_not_judged() -> None:
    why = _measure(lambda t: np.zeros(2), background=False)
    assert isinstance(why, str) and ("no background with detail" in why or "did not move as one" in why)


def test_too_few_frames_are_not_judged() -> None:
    why = _measure(lambda t: np.zeros(2), frames=5)
    assert isinstance(why, str) and "5 frames" in why


def test_noise_without_anything_static_is_not_judged() -> None:
    pictures = np.random.default_rng(0).integers(40, 200, (24, *SIZE_HW)).astype(np.uint8)
    why = measure_background_motion(SampledFrames(np.arange(24), np.arange(24.0), pictures, 1.0))
    assert isinstance(why, str)
