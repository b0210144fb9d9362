"""The sound of a simulated recording: a file for each device, with anchors on the device's clock."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
from jaxtyping import Float

from geometry.rigs import Rig
from storage.image_folder import AUDIO, write_anchors, write_whole
from studio.clocks import ClockTruth, DeviceClock
from studio.ltc import LtcGenerator
from studio.sound import Room, SoundRecorder

SOUNDS = ("none", "ltc", "clap")
RATES_HZ = (48_000, 44_100)
BEFORE_S, AFTER_S, LEAST_S = 1.0, 1.0, 4.0
"""Sound starts before the first trigger and ends after the last one, and lasts long enough for the claps."""
CLAPS_S = (1.3, 1.82)
"""After the late camera has started."""
SPEED_OF_SOUND_M_S = 343.0
MOUTH_HEIGHT_M = 1.2


def sound_recorders(rig: Rig, truth: ClockTruth, sound: tuple[str, float, int]) -> dict[str, SoundRecorder]:
    """One recorder for each device clock, under the name of the device's first camera.

    `sound` is its kind, the recording's length in seconds, and a seed. Microphones are at the cameras; who claps
    stands where the subject sits.
    """
    kind, duration_s, seed = sound
    recorders: dict[str, SoundRecorder] = {}
    known: list[DeviceClock] = []
    length_s = max(duration_s, LEAST_S - AFTER_S) + AFTER_S
    ltc = LtcGenerator((23, 59, 58, 0), length_s, 25.0)
    for number, camera in enumerate(rig.cameras):
        clock = truth.devices.get(camera.id)
        if kind == "none" or clock is None or clock in known:
            continue
        known.append(clock)
        away_m = float(np.linalg.norm(camera.centre_world - np.array([0.0, MOUTH_HEIGHT_M, 0.0])))
        signal = ltc if kind == "ltc" else Room(CLAPS_S, away_m / SPEED_OF_SOUND_M_S, seed=number)
        from_s = 0.75 if camera.id == truth.late_camera else -BEFORE_S
        rate_hz = RATES_HZ[len(known) % 2]
        recorders[camera.id] = SoundRecorder(signal, clock, rate_hz, from_s, length_s - from_s, seed=seed + number)
    return recorders


def write_sounds(out: Path, rig: Rig, truth: ClockTruth, sound: tuple[str, float, int]) -> list[tuple[str, str]]:
    """Write the tracks of a recording; returns the name and the camera of each."""
    recorders = sound_recorders(rig, truth, sound)
    for name, recorder in recorders.items():
        write_whole(out / AUDIO / f"{name}.wav", _wav(recorder(0, recorder.sample_count), recorder.rate_hz))
        write_anchors(out / AUDIO / f"{name}.csv", recorder.anchors)
    return [(name, name) for name in recorders]


def _wav(samples: Float[np.ndarray, "sample channel"], rate_hz: int) -> bytes:
    """16-bit PCM."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()
