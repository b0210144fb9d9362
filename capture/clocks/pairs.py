"""A time line from pairs of a device's time and a reference's: a table, timecode, or a clap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from capture.clocks.arrivals import arrival_line, device_groups, host_origin_ns
from capture.clocks.rates import Rates, rates_from_arrivals, rates_from_beat
from capture.clocks.robust_line import RobustLine, fit_robust_line
from capture.clocks.time_line import CameraLine, Refused, TimeLine
from capture.clocks.tracks import Track

SURE_DRIFT = 5e-6
"""Pairs that know the drift this well need nothing else."""
CONTRADICTION = 6.0
"""Standard deviations between a device's own slope and its rate from elsewhere that cannot be chance."""
HALF = 0.5
"""Of the speed of time: no clock runs slower, and garbage divides by nothing."""
SURE_SCALE = 2e-5
"""How well all pairs together must know the reference's seconds to be mixed with rates from elsewhere."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """What a device's clock showed at times of the reference."""

    device_ns: Int64[np.ndarray, "pair"]
    """The device's clock."""
    time_ns: Int64[np.ndarray, "pair"]
    """The reference."""
    noise_ns: float
    """One standard deviation of a pair."""
    always_ns: float = 0.0
    """One standard deviation of what all pairs of the device are wrong by."""
    always_drift: float = 0.0
    """One standard deviation of the rate that all pairs of the device are wrong by."""


def time_line_of_pairs(
    tracks: list[Track], pairs: dict[str, Pairs], reference: str, notes: Sequence[str] = ()
) -> TimeLine | Refused:
    """The line of each camera through the pairs of its own, or of a camera on the same device clock.

    Where few pairs leave a drift open, it comes from arrivals or from the cameras' common beat.
    """
    own = _with_shared(tracks, pairs)
    without = [track.camera.id for track, pair in zip(tracks, own, strict=True) if len(track) and pair is None]
    if without:
        return Refused(f"no {reference} for {', '.join(without[:5])}{' and others' if len(without) > 5 else ''}")
    origin_ns = min(int(pair.time_ns.min()) for pair in own if pair is not None)
    fits = [_fit(track, pair, origin_ns) if pair else None for track, pair in zip(tracks, own, strict=True)]
    rates, notes = None, list(notes)
    if any(fit and pair and not _drift_sigma(fit, pair) < SURE_DRIFT for fit, pair in zip(fits, own, strict=True)):
        rates = rates_from_arrivals(tracks) or rates_from_beat(tracks, [_moment_ns(fit) for fit in fits])
        said, rates = rates.note, _on_scale_of_pairs(rates, fits, own)
        notes.append(f"{reference}: {said if rates else 'drifts are its own, because others contradict it'}")
    lines = [
        _line(fit, pair, None if rates is None else (rates, number)) if fit and pair else CameraLine()
        for number, (fit, pair) in enumerate(zip(fits, own, strict=True))
    ]
    return TimeLine(reference, origin_ns, tuple(lines), tuple(notes))


def _with_shared(tracks: list[Track], pairs: dict[str, Pairs]) -> list[Pairs | None]:
    """By track, its pairs or those of a camera on the same clock."""
    if all(track.camera.id in pairs for track in tracks if len(track)):
        return [pairs.get(track.camera.id) if len(track) else None for track in tracks]
    origin_ns = host_origin_ns(tracks)
    found = [arrival_line(track, origin_ns) if len(track) and origin_ns is not None else None for track in tracks]
    groups = device_groups(tracks, found)
    by_group: dict[int, Pairs] = {}
    for group, track in zip(groups, tracks, strict=True):
        if track.camera.id in pairs:
            by_group.setdefault(group, pairs[track.camera.id])
    return [
        pairs.get(track.camera.id, by_group.get(group)) if len(track) else None
        for group, track in zip(groups, tracks, strict=True)
    ]


def _fit(track: Track, pair: Pairs, origin_ns: int) -> RobustLine:
    """Time minus device time, over device time since the camera's first frame."""
    x = (pair.device_ns - track.device_ns[0]).astype(np.float64)
    return fit_robust_line(x, (pair.time_ns - origin_ns).astype(np.float64) - x, max(pair.noise_ns, 1.0))


def _moment_ns(fit: RobustLine | None) -> float:
    """A device's time since its first frame when the reference shows 0."""
    return 0.0 if fit is None else (fit.slope * fit.centre - fit.level) / max(1 + fit.slope, HALF)


def _drift_sigma(fit: RobustLine, pair: Pairs) -> float:
    return float(np.hypot(fit.slope_sigma, pair.always_drift))


def _on_scale_of_pairs(rates: Rates, fits: list[RobustLine | None], own: list[Pairs | None]) -> Rates | None:
    """Rates against the reference's own seconds, which all pairs together may know better than those of one device.

    Else no camera's own slope may stand beside others' rates: they are drifts against different clocks. None if the
    pairs' own slopes contradict the rates.
    """
    ratio, weight = [], []
    for number, (fit, pair) in enumerate(zip(fits, own, strict=True)):
        if fit and pair and np.isfinite(rates.sigma[number]) and rates.drift[number] > -HALF:
            ratio.append((1 + fit.slope) / (1 + rates.drift[number]))
            weight.append(1 / (_drift_sigma(fit, pair) ** 2 + rates.sigma[number] ** 2))
    total = float(np.sum(weight))
    if total * SURE_SCALE**2 < 1:
        return replace(rates, is_alone=True)
    scale = float(np.dot(ratio, weight) / total)
    if (np.abs(np.array(ratio) - scale) * np.sqrt(weight) > CONTRADICTION).any():
        return None
    drift = tuple((1 + value) * scale - 1 for value in rates.drift)
    sigma = tuple(float(np.hypot(value, total**-0.5)) for value in rates.sigma)
    return Rates(drift, sigma, rates.note)


def _line(fit: RobustLine, pair: Pairs, elsewhere: tuple[Rates, int] | None) -> CameraLine:
    slope, sigma = fit.slope, _drift_sigma(fit, pair)
    if elsewhere is not None:
        rates, number = elsewhere
        if rates.is_alone or rates.sigma[number] < sigma:
            slope, sigma = rates.drift[number], rates.sigma[number]
    offset_ns = fit.level - slope * fit.centre
    away_ns = abs(fit.centre) * sigma if fit.centre else 0.0
    offset_sigma_ns = float(np.sqrt(fit.level_sigma**2 + away_ns**2 + pair.always_ns**2))
    return CameraLine(float(offset_ns), float(slope), fit.residual, offset_sigma_ns, float(sigma))
