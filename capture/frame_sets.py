"""Which frames belong together: by their trigger, or by time within a tolerance, never by their numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int64

from capture.clocks.time_line import TimeLine
from capture.clocks.tracks import Track, busier

NOMINAL_RATE_HZ = 30.0
"""Where neither the rig nor the times say."""
SLIP_BEATS = 0.25
"""Cameras whose beats slip by less than this over a recording share one."""
HALF = 0.5
NEVER = np.iinfo(np.int64).min
"""The beat of a frame that belongs to none."""


@dataclass(frozen=True, eq=False)
class FrameSets:
    """The sync index and how frames came into it."""

    index: Int[np.ndarray, "f c"]
    """Frame of each camera in each set, -1: none."""
    time_ns: Float[np.ndarray, "f"]
    """Median of the frames' times, from the line's origin."""
    unpaired: tuple[int, ...]
    """By camera, frames in no set."""
    shared_beat: bool
    """Whether the cameras keep one beat."""


def frame_sets(tracks: list[Track], line: TimeLine, tolerance_ns: int | None) -> FrameSets:
    """Frame sets in order of time.

    Triggers decide where they are known. Else, where all cameras keep one beat (a slower one every second of it), each
    camera's frames are counted on that beat and the whole count is placed, so that the jitter of single stamps cannot
    move a frame; else each frame joins the frame of the busiest camera that is nearest. A frame farther than the
    tolerance from its set's time is in none.
    """
    times = line.time_ns(tracks)
    slots, shared = line.counts, True
    if slots is not None:
        slots = [np.where(counts < 0, NEVER, counts) for counts in slots]
    elif max(len(track) for track in tracks) == 1:
        slots = [np.zeros(len(track), np.int64) for track in tracks]
    else:
        slots = _on_shared_beat(tracks, times)
        shared = slots is not None
        slots = slots if slots is not None else _nearest_to_busiest(tracks, times)
    return _assemble(tracks, times, slots, (tolerance_ns, shared))


def _on_shared_beat(tracks: list[Track], times: list[Float[np.ndarray, "_"]]) -> list[Int64[np.ndarray, "_"]] | None:
    """Each frame's beat if all cameras keep one, else None."""
    beats = [track.beat for track in tracks]
    if any(beat is None and len(track) for beat, track in zip(beats, tracks, strict=True)):
        return None
    present = [number for number, track in enumerate(tracks) if len(track)]
    period_ns = {number: _period_on_line(tracks[number], times[number]) for number in present}
    shortest_ns = min(period_ns.values())
    multiple = {number: round(period_ns[number] / shortest_ns) for number in present}
    base_ns = float(np.median([period_ns[number] / multiple[number] for number in present]))
    phase, slip, counts = {}, {}, {}
    for number in present:
        beat = beats[number]
        assert beat is not None
        counts[number] = beat.counts * multiple[number]
        apart = times[number] - counts[number] * base_ns
        phase[number] = float(np.median(apart)) / base_ns
        slip[number] = abs(period_ns[number] / multiple[number] / base_ns - 1) * float(counts[number][-1])
    turn = np.exp(2j * np.pi * np.array([phase[number] for number in present]))
    centre = float(np.angle(turn.sum()) / (2 * np.pi))
    slots = [np.zeros(0, np.int64) for _ in tracks]
    for number in present:
        whole = round(phase[number] - centre)
        if slip[number] > SLIP_BEATS or abs(phase[number] - centre - whole) + slip[number] / 2 > HALF + 0.05:
            return None
        slots[number] = counts[number] + whole
    return slots


def _period_on_line(track: Track, time_ns: Float[np.ndarray, "n"]) -> float:
    assert track.beat is not None
    stretch = (time_ns[-1] - time_ns[0]) / track.elapsed_ns[-1]
    return track.beat.period_ns * float(stretch)


def _nearest_to_busiest(tracks: list[Track], times: list[Float[np.ndarray, "_"]]) -> list[Int64[np.ndarray, "_"]]:
    """The beat that each frame falls on, counted by the camera with most frames; gaps of its own are bridged."""
    leader = max(range(len(tracks)), key=lambda column: busier(tracks[column]))
    beat_ns = times[leader]
    period_ns = usual_period_ns(beat_ns, tracks[leader].camera.rate_hz)
    beats = np.concatenate([[0], np.cumsum(np.maximum(np.round(np.diff(beat_ns) / period_ns), 1))])
    return [np.round(_phase(time_ns, beat_ns, beats, period_ns)).astype(np.int64) for time_ns in times]


def _phase(
    time_ns: Float[np.ndarray, "n"], beat_ns: Float[np.ndarray, "b"], beats: Float[np.ndarray, "b"], period_ns: float
) -> Float[np.ndarray, "n"]:
    """Times counted in beats, also before the first and after the last."""
    before, after = np.minimum(time_ns - beat_ns[0], 0), np.maximum(time_ns - beat_ns[-1], 0)
    return np.interp(time_ns, beat_ns, beats) + (before + after) / period_ns


def usual_period_ns(time_ns: Float[np.ndarray, "n"], rate_hz: float) -> float:
    """The usual distance of two frames; of very few frames any may be missing, so that the rig is asked."""
    if len(time_ns) > 3:
        return max(float(np.median(np.diff(time_ns))), 1.0)
    return 1e9 / (rate_hz or NOMINAL_RATE_HZ)


def _assemble(
    tracks: list[Track],
    times: list[Float[np.ndarray, "_"]],
    slots: list[Int64[np.ndarray, "_"]],
    how: tuple[int | None, bool],
) -> FrameSets:
    tolerance_ns, shared = how
    used = np.unique(np.concatenate(slots))
    used = used[used != NEVER]
    centres = _middles(times, slots, used)
    kept = []
    for time_ns, slot in zip(times, slots, strict=True):
        inside = slot != NEVER
        if tolerance_ns is not None:
            row = np.searchsorted(used, slot).clip(0, len(used) - 1)
            inside &= np.abs(time_ns - centres[row]) <= tolerance_ns
        kept.append(inside)
    used = np.unique(np.concatenate([slot[inside] for slot, inside in zip(slots, kept, strict=True)]))
    centres = _middles(times, [np.where(inside, slot, NEVER) for slot, inside in zip(slots, kept, strict=True)], used)
    index = np.full((len(used), len(tracks)), -1, np.int32)
    set_ns = np.full(index.shape, np.nan)
    unpaired = []
    for column, (track, inside) in enumerate(zip(tracks, kept, strict=True)):
        row = np.searchsorted(used, slots[column][inside])
        time_ns, frames = times[column][inside], track.frames[inside]
        # The nearest of several frames is written last and stays.
        order = np.argsort(-np.abs(time_ns - centres[row]), kind="stable")
        index[row[order], column] = frames[order]
        set_ns[row[order], column] = time_ns[order]
        unpaired.append(len(track) - len(np.unique(row)))
    return FrameSets(index, np.nanmedian(set_ns, axis=1), tuple(unpaired), shared)


def _middles(
    times: list[Float[np.ndarray, "_"]], slots: list[Int64[np.ndarray, "_"]], used: Int64[np.ndarray, "f"]
) -> Float[np.ndarray, "f"]:
    """Median time of all frames that fall on each beat: one camera's error moves it little."""
    slot, time_ns = np.concatenate(slots), np.concatenate(times)
    time_ns, slot = time_ns[slot != NEVER], slot[slot != NEVER]
    order = np.lexsort((time_ns, slot))
    slot, time_ns = slot[order], time_ns[order]
    start = np.searchsorted(slot, used)
    count = np.searchsorted(slot, used, "right") - start
    low, high = start + (count - 1) // 2, start + count // 2
    return (time_ns[low] + time_ns[high]) / 2
