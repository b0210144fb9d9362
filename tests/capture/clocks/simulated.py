"""Simulated clocks and sounds as a reader gives them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from capture.readers.recording import AudioTrack, StreamClock
from capture.sync import Synchronised
from geometry.rigs import Rig
from studio.clocks import ClockReading, ClockTruth
from studio.presets import PRESETS
from studio.sound import SoundRecorder

DESK: Rig = PRESETS["desk"](30.0)


def stream_clocks(clocks: Mapping[str, ClockReading], keep: str) -> dict[str, StreamClock]:
    """Device times with what `keep` names: h (arrivals), c (counters), t (triggers)."""
    return {
        name: StreamClock(
            clock.device_ns,
            clock.host_ns if "h" in keep else None,
            clock.frame_counter if "c" in keep else None,
            clock.trigger_id if "t" in keep else None,
        )
        for name, clock in clocks.items()
    }


def audio_track(recorder: SoundRecorder, camera: str) -> AudioTrack:
    samples = recorder(0, recorder.sample_count)
    return AudioTrack(
        f"{camera}_sound",
        camera,
        float(recorder.rate_hz),
        len(samples),
        1,
        recorder.anchors,
        lambda start, stop: samples[start:stop],
    )


def relative_drift_errors_ppm(found: Synchronised, truth: ClockTruth) -> np.ndarray:
    """Against the other cameras: which clock all are measured by is no matter."""
    true = np.array([truth.devices[report.camera].drift_ppm for report in found.cameras])
    errors = ((1 + np.array([report.drift_ppm for report in found.cameras]) * 1e-6) / (1 + true * 1e-6) - 1) * 1e6
    return errors - np.median(errors)
