"""The time line of hardware triggers: frames of one trigger belong together, and times only check that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from capture.clock_references import References
from capture.clocks.arrivals import host_origin_ns
from capture.clocks.robust_line import RobustLine, fit_robust_line
from capture.clocks.time_line import CameraLine, Refused, TimeLine
from capture.clocks.tracks import Track, busier
from capture.device_clock import ClockLine, fit_clock

WRONG_PERIODS = 0.5
"""A frame that is farther than this from its trigger's time carries another's id."""
MOST_WRONG = 0.1
"""If more of a camera's ids contradict its times, the ids are of no use."""
COUNTED_APART_NS = 60e6
"""Triggers of one id that arrive farther apart, each camera at its least latency, were not counted together."""
STEADY = 0.2
"""Triggers keep a beat if their times scatter by less than this share of the period."""
FEWEST_FOR_DRIFT = 8


@dataclass(frozen=True, eq=False)
class _Triggers:
    """When triggers were, by some clock."""

    first: int
    """The least id."""
    period_ns: float
    """Usual distance of two."""
    known: Int64[np.ndarray, "k"] | None
    """Ids in order whose time is known, if they keep no beat; None: a trigger every period."""
    known_ns: Float[np.ndarray, "k"]
    """Their times."""

    def time_ns(self, ids: Int64[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Times of triggers; those unknown between and beside the known ones are taken to keep the beat."""
        if self.known is None:
            return (ids - self.first) * self.period_ns
        beside = np.minimum(ids - self.known[0], 0) + np.maximum(ids - self.known[-1], 0)
        return np.interp(ids, self.known, self.known_ns) + beside * self.period_ns

    def nearest(self, time_ns: Float[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        """Ids of the triggers at times."""
        if self.known is None:
            return np.round(time_ns / self.period_ns).astype(np.int64) + self.first
        middles = (self.known_ns[1:] + self.known_ns[:-1]) / 2
        return self.known[np.searchsorted(middles, time_ns)]


def by_triggers(tracks: list[Track], references: References) -> TimeLine | Refused:
    """Frames by their trigger's id.

    A trigger generator that keeps a beat is itself the clock; else the camera with most frames is. Single frames whose
    id contradicts their time are placed by their time. Ids of no use are refused: such as contradict a camera's times,
    or were not counted together, as arrivals show.
    """
    present = [track for track in tracks if len(track)]
    without = [track.camera.id for track in present if track.trigger_id is None]
    if without:
        partly = len(without) < len(present)
        return Refused(f"no trigger ids for {', '.join(without)}" if partly else "")
    triggers = _triggers(present)
    fits = [_fit(track, triggers.time_ns) if len(track) else None for track in tracks]
    counts, wrong = [], []
    for track, fit in zip(tracks, fits, strict=True):
        bad = _wrong(track, fit, triggers)
        if len(track) and bad.mean() > MOST_WRONG:
            return Refused(f"trigger ids of {track.camera.id} contradict its times")
        counts.append(_mended_ids(track, fit, triggers, bad))
        wrong.append(int(bad.sum()))
    origin_ns, scale, apart = _against_host(tracks, counts, triggers)
    if apart:
        return Refused(f"trigger ids of {apart} were not counted with the others': they arrive too far apart")
    names = [track.camera.id for track, number in zip(tracks, wrong, strict=True) if number]
    note = f"trigger ids that contradict the time of single frames: {', '.join(names)}; time decides there"
    lines = tuple(_line(fit, scale) if fit else CameraLine() for fit in fits)
    return TimeLine("trigger ids", origin_ns, lines, (note,) if names else (), tuple(counts), tuple(wrong))


def _ids(track: Track) -> Int64[np.ndarray, "n"]:
    assert track.trigger_id is not None
    return track.trigger_id


def _triggers(present: list[Track]) -> _Triggers:
    """Their beat in the middle of all devices' clocks; or their times on the clock of the camera with most frames."""
    first = min(int(_ids(track).min()) for track in present)
    lines = [fit_robust_line(_ids(track) - first, track.elapsed_ns, 1.0) for track in present if len(track) > 1]
    steady = [line for line in lines if line.slope > 0 and line.residual < STEADY * line.slope]
    rising = [line.slope for line in lines if line.slope > 0]
    period_ns = float(np.median(rising)) if rising else 1e9 / (present[0].camera.rate_hz or 30.0)
    if len(steady) >= max(len(lines) / 2, 1) or not lines:
        return _Triggers(first, period_ns, None, np.zeros(0))
    times = _times_by_all(sorted(present, key=busier, reverse=True))
    known = np.array(sorted(times), np.int64)
    known_ns = np.array([times[trigger] for trigger in known.tolist()])
    return _Triggers(first, period_ns, known, np.maximum.accumulate(known_ns))


def _times_by_all(tracks: list[Track]) -> dict[int, float]:
    """Times of triggers on the clock of the first camera; what it has lost, the others have seen between."""
    times: dict[int, float] = {}
    for track in tracks:
        ids, elapsed_ns = _ids(track).tolist(), track.elapsed_ns
        shared = [place for place, trigger in enumerate(ids) if trigger in times]
        if times and len(shared) < FEWEST_FOR_DRIFT:
            continue
        ahead_ns = np.zeros(len(ids))
        if times:
            there_ns = np.array([times[ids[place]] for place in shared])
            ahead_ns = fit_robust_line(elapsed_ns[shared], there_ns - elapsed_ns[shared], 1.0).at(elapsed_ns)
        for trigger, time_ns in zip(ids, (elapsed_ns + ahead_ns).tolist(), strict=True):
            times.setdefault(trigger, time_ns)
    return times


def _fit(track: Track, time_of: Callable[[Int64[np.ndarray, "n"]], Float[np.ndarray, "n"]]) -> RobustLine:
    """Trigger time minus device time, over device time since the first frame."""
    ahead_ns = time_of(_ids(track)) - track.elapsed_ns
    if len(track) >= FEWEST_FOR_DRIFT:
        return fit_robust_line(track.elapsed_ns, ahead_ns, 1.0)
    return RobustLine(0.0, float(np.median(ahead_ns)), 0.0, float(ahead_ns.std()), float(ahead_ns.std()), np.inf)


def _wrong(track: Track, fit: RobustLine | None, triggers: _Triggers) -> Bool[np.ndarray, "n"]:
    if fit is None:
        return np.zeros(0, bool)
    apart = triggers.time_ns(_ids(track)) - track.elapsed_ns - fit.at(track.elapsed_ns)
    repeated = np.ones(len(track), bool)
    repeated[np.unique(_ids(track), return_index=True)[1]] = False
    return (np.abs(apart) > WRONG_PERIODS * triggers.period_ns) | repeated


def _mended_ids(
    track: Track, fit: RobustLine | None, triggers: _Triggers, bad: Bool[np.ndarray, "n"]
) -> Int64[np.ndarray, "n"]:
    """Ids, where wrong ones are those that the times say, or -1 if another frame has that already."""
    if fit is None or not bad.any():
        return np.zeros(0, np.int64) if fit is None else _ids(track) - triggers.first
    ids = _ids(track) - triggers.first
    by_time = triggers.nearest(track.elapsed_ns + fit.at(track.elapsed_ns)) - triggers.first
    taken = set(ids[~bad].tolist())
    for place in np.flatnonzero(bad).tolist():
        ids[place] = by_time[place] if int(by_time[place]) not in taken else -1
        taken.add(int(ids[place]))
    return ids


def _against_host(
    tracks: list[Track], counts: list[Int64[np.ndarray, "_"]], triggers: _Triggers
) -> tuple[int, float, str]:
    """The first trigger's time and the triggers' scale on the recorder's clock, and cameras counted apart.

    Without arrival times, the time of the first trigger on the first device's clock.
    """
    origin_ns = host_origin_ns(tracks)
    if origin_ns is None:
        leader = max(tracks, key=busier)
        first_ns = triggers.time_ns(_ids(leader)[:1])[0]
        return int(leader.device_ns[0]) - round(first_ns), 1.0, ""
    lines: dict[str, ClockLine] = {}
    for track, ids in zip(tracks, counts, strict=True):
        if len(track) and track.host_ns is not None:
            time_ns = triggers.time_ns(ids + triggers.first)
            line = fit_clock(time_ns, track.host_ns - origin_ns)
            lines[track.camera.id] = ClockLine(
                line.offset_ns - time_ns[0] * line.drift, line.drift, line.residual_ns, drift_sigma=line.drift_sigma
            )
    weight = np.array([1 / max(line.drift_sigma, 1e-9) ** 2 for line in lines.values()])
    drift = float((weight * [line.drift for line in lines.values()]).sum() / weight.sum())
    middle_ns = np.median([line.offset_ns for line in lines.values()])
    apart = [name for name, line in lines.items() if abs(line.offset_ns - middle_ns) > COUNTED_APART_NS]
    return origin_ns + round(min(line.offset_ns for line in lines.values())), 1 + drift, ", ".join(apart)


def _line(fit: RobustLine, scale: float) -> CameraLine:
    """`fit` on the triggers' own scale, stretched to the recorder's."""
    slope = (1 + fit.slope) * scale - 1
    offset_ns = (fit.level - fit.slope * fit.centre) * scale
    finite = fit.slope_sigma if np.isfinite(fit.slope_sigma) else 0.0
    return CameraLine(
        float(offset_ns), float(slope), fit.residual, fit.sigma_at(0.0) if finite else fit.level_sigma, finite
    )
