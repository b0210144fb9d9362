"""What the simulated subject does: ARKit curves and head motion over time.

Neutral, the six basic emotions, a spoken sentence as visemes, blinks, gaze and head turns. Emotions follow the action
units of EMFACS (Friesen & Ekman 1983) in ARKit's names; visemes follow the 15 of the Oculus table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

SCRIPT_SECONDS = 12.0
"""The script at a natural pace; a shorter take plays the whole of it faster."""

EMOTIONS: dict[str, dict[str, float]] = {
    "happiness": {"mouthSmile": 0.85, "cheekSquint": 0.6, "eyeSquint": 0.3, "mouthDimple": 0.3, "jawOpen": 0.1},
    "surprise": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.7, "jawOpen": 0.55},
    "anger": {"browDown": 0.9, "eyeSquint": 0.4, "mouthPress": 0.6, "noseSneer": 0.4, "jawForward": 0.3},
    "sadness": {"mouthFrown": 0.7, "browInnerUp": 0.8, "mouthShrugLower": 0.5, "mouthRollLower": 0.2},
    "disgust": {"noseSneer": 0.9, "mouthUpperUp": 0.6, "mouthFrown": 0.3, "browDown": 0.3, "mouthShrugUpper": 0.4},
    "fear": {"browInnerUp": 0.8, "browOuterUp": 0.4, "eyeWide": 0.8, "mouthStretch": 0.7, "jawOpen": 0.25},
}
VISEMES: dict[str, dict[str, float]] = {
    "PP": {"mouthPress": 0.5, "mouthRollLower": 0.4, "mouthRollUpper": 0.4, "cheekPuff": 0.2},
    "FF": {"mouthRollLower": 0.6, "mouthUpperUp": 0.3, "jawOpen": 0.08},
    "TH": {"jawOpen": 0.18, "tongueOut": 0.3, "mouthLowerDown": 0.2},
    "CH": {"mouthFunnel": 0.7, "jawOpen": 0.1},
    "SS": {"mouthStretch": 0.35, "mouthLowerDown": 0.3, "jawOpen": 0.05},
    "aa": {"jawOpen": 0.6, "mouthLowerDown": 0.25},
    "E": {"jawOpen": 0.3, "mouthStretch": 0.4, "mouthSmile": 0.2},
    "oh": {"jawOpen": 0.4, "mouthFunnel": 0.6},
    "ou": {"mouthPucker": 0.85, "jawOpen": 0.12},
    "sil": {},
}
SENTENCE = ("PP", "aa", "SS", "ou", "FF", "E", "TH", "oh", "CH", "aa", "PP", "ou", "sil")
SIDED = ("Left", "Right")


@dataclass(frozen=True, eq=False)
class Performance:
    """Curves and head pose at each frame."""

    curves: Float[np.ndarray, "t e"]
    """ARKit curves in [0, 1]."""
    rotvec: Float[np.ndarray, "t 3"]
    """World from head, axis-angle, radians."""
    translation: Float[np.ndarray, "t 3"]
    """Where the head's origin is in the world, metres."""


def perform(times_s: Float[np.ndarray, "t"], names: tuple[str, ...], place: np.ndarray, seed: int) -> Performance:
    """The script at the given times, with amplitudes and timing of the subject's own (by seed).

    `place` is where the head's origin rests in the world, metres.
    """
    random = np.random.default_rng([seed, 1])
    duration = float(times_s[-1] - times_s[0]) if len(times_s) > 1 else 0.0
    pace = max(1.0, SCRIPT_SECONDS / duration) if duration else 1.0
    script_s = (times_s - times_s[0]) * pace % SCRIPT_SECONDS
    curves = np.zeros((len(times_s), len(names)))
    start = 0.4
    for emotion in EMOTIONS.values():
        length = random.uniform(0.95, 1.15)
        _add(curves, names, emotion, _bump(script_s, start, length, 0.3), random)
        start += length
    for viseme in SENTENCE:
        length = random.uniform(0.28, 0.38)
        _add(curves, names, VISEMES[viseme], _bump(script_s, start - 0.06, length + 0.12, 0.13), random)
        start += length
    for blink_s in np.arange(0.9, SCRIPT_SECONDS, 2.3) + random.uniform(-0.3, 0.3, 5):
        _add(curves, names, {"eyeBlink": 1.0}, _bump(script_s, blink_s, 0.34, 0.12), random, spread=0.0)
    _gaze(curves, names, script_s, random)
    phase = random.uniform(0, 2 * np.pi, 3)
    turn = np.radians([4.0, 11.0, 2.5]) * random.uniform(0.7, 1.1, 3)
    swing = 2 * np.pi * script_s[:, None] / SCRIPT_SECONDS * np.array([2, 1, 1])
    rotvec = Rotation.from_euler("yxz", (np.sin(swing + phase) * turn)[:, [1, 0, 2]]).as_rotvec()
    sway = np.sin(2 * np.pi * script_s[:, None] / SCRIPT_SECONDS + random.uniform(0, 2 * np.pi, 3)) * 0.008
    return Performance(np.clip(curves, 0, 1), rotvec, place + sway)


def stand_still(times_s: Float[np.ndarray, "t"], place: np.ndarray, seed: int) -> Performance:
    """Head turns without expressions: what a rigid scan can do."""
    moving = perform(times_s, (), place, seed)
    return Performance(np.zeros((len(times_s), 0)), moving.rotvec, moving.translation)


def _bump(time_s: np.ndarray, start: float, length: float, ramp: float) -> np.ndarray:
    """Rises smoothly over `ramp` seconds, holds, and falls as smoothly."""
    rise = np.clip((time_s - start) / ramp, 0, 1)
    fall = np.clip((start + length - time_s) / ramp, 0, 1)
    level = np.minimum(rise, fall)
    return level * level * (3 - 2 * level)


def _add(
    curves: np.ndarray,
    names: tuple[str, ...],
    shape: dict[str, float],
    level: np.ndarray,
    random: np.random.Generator,
    spread: float = 0.2,
) -> None:
    """Add a shape at a level over time; people differ by `spread` and are a little lopsided."""
    for stem, amount in shape.items():
        gain = amount * (1 + spread * random.uniform(-1, 1))
        for side in ("", *SIDED):
            if stem + side in names:
                lopsided = 1 + 0.5 * spread * random.uniform(-1, 1) if side else 1.0
                curves[:, names.index(stem + side)] += gain * lopsided * level


def _gaze(curves: np.ndarray, names: tuple[str, ...], script_s: np.ndarray, random: np.random.Generator) -> None:
    """Saccades every 0.8 s: both eyes together, as curves that are never negative."""
    fixation = (script_s / 0.8).astype(int)
    targets = random.uniform(-0.5, 0.5, (int(SCRIPT_SECONDS / 0.8) + 2, 2))
    right, up = targets[fixation].T  # to the subject's left is negative
    eyes = {"OutLeft": -right, "InRight": -right, "InLeft": right, "OutRight": right}
    eyes |= {f"Up{side}": up for side in SIDED} | {f"Down{side}": -up for side in SIDED}
    for stem, value in eyes.items():
        if f"eyeLook{stem}" in names:
            curves[:, names.index(f"eyeLook{stem}")] += np.maximum(value, 0)
