"""Every device's drift where the reference says when, but not how fast: from arrivals, or from the common beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from capture.clocks.arrivals import arrival_line, host_origin_ns
from capture.clocks.tracks import Track
from capture.device_clock import DRIFT_PRIOR

MOST_DRIFT = 5e-3
"""Clocks that differ more are not clocks of the same cameras' beat."""
PHASES_TOGETHER = 0.2
"""Of a beat: how far from each other the exposures of triggered cameras may seem, with sound on its way between."""


@dataclass(frozen=True)
class Rates:
    """Drifts as `CameraLine.drift`, one of each track."""

    drift: tuple[float, ...]
    """Dimensionless."""
    sigma: tuple[float, ...]
    """One standard deviation."""
    note: str
    """Where they come from."""
    is_alone: bool = False
    """Whether they are against a clock that the reference does not know, so that only all of them are of use."""


def rates_from_arrivals(tracks: list[Track]) -> Rates | None:
    """Against the recorder's clock, if all frames have arrival times."""
    origin_ns = host_origin_ns(tracks)
    if origin_ns is None:
        return None
    lines = [arrival_line(track, origin_ns) if len(track) else None for track in tracks]
    drift = tuple(line.line.drift if line else 0.0 for line in lines)
    return Rates(drift, tuple(line.drift_sigma if line else np.inf for line in lines), "drifts are from arrival times")


def rates_from_beat(tracks: list[Track], at_ns: list[float]) -> Rates:
    """From the beat of cameras that seem triggered together; else devices are taken to run alike.

    `at_ns` is one moment on all devices, since each camera's first frame. Cameras are triggered together if their
    periods are the same to half a per cent (or multiples) and their exposures stand alike to that moment: the times
    of cameras that run free stand anywhere.
    """
    beats = [track.beat for track in tracks]
    alike = Rates((0.0,) * len(tracks), (DRIFT_PRIOR,) * len(tracks), "devices are taken to run alike")
    present = [number for number, track in enumerate(tracks) if len(track)]
    if any(beats[number] is None for number in present):
        return alike
    period_ns = np.array([beat.period_ns if beat else np.nan for beat in beats])
    shortest_ns = float(np.nanmin(period_ns))
    multiple = np.round(period_ns / shortest_ns)
    base_ns = period_ns / multiple
    middle_ns = float(np.nanmedian(base_ns))
    if not (np.abs(base_ns / middle_ns - 1)[present] < MOST_DRIFT).all():
        return alike
    phases = []
    for number in present:
        beat = beats[number]
        assert beat is not None
        phases.append((at_ns[number] - beat.line.at(np.zeros(1))[0]) / base_ns[number])
    if _spread_of_phases(np.array(phases)) > PHASES_TOGETHER:
        note = "cameras do not seem triggered together, so their devices are taken to run alike"
        return Rates(alike.drift, alike.sigma, note)
    drift = tuple(float(middle_ns / value - 1) if np.isfinite(value) else 0.0 for value in base_ns)
    sigma = tuple(beat.period_sigma if beat else np.inf for beat in beats)
    return Rates(drift, sigma, "drifts are from the beat of cameras that seem triggered together")


def _spread_of_phases(phases: Float[np.ndarray, "n"]) -> float:
    """Largest distance from the mean direction, in turns."""
    mean = np.angle(np.exp(2j * np.pi * phases).sum()) / (2 * np.pi)
    return float(np.abs((phases - mean + 0.5) % 1 - 0.5).max())
