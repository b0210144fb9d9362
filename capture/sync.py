"""Every camera's frames on one time line, and from it the frame sets: what was seen at the same moment.

Frames are matched by time, never by their number: each device has a clock of its own, drops frames, doubles some and
may start late. What the arrival times cannot show is a latency that differs between cameras and never varies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from capture.device_clock import ClockLine, fit_clock
from capture.readers.recording import StreamClock
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.take import Sync

NOMINAL_RATE_HZ = 30.0
"""Where neither the rig nor the times say."""


@dataclass(frozen=True)
class SyncReport:
    """What synchronising found out about one camera."""

    camera: str
    """Its id."""
    offset_s: float
    """The time line minus the device's clock at the camera's first frame, seconds; 0 if no arrival times exist."""
    drift_ppm: float
    """How much faster than the recorder's clock the device's runs, millionths; 0 if too few frames tell."""
    residual_ms: float
    """Root-mean-square scatter of the arrival latency about the fitted line, milliseconds."""
    spread_ms: float
    """Root-mean-square distance of its frames from the time of their frame sets, milliseconds."""
    rate_hz: float
    """Measured frame rate on the device's own clock, dropped frames counted; 0 for fewer than two frames."""
    dropped: int
    """Frames missing between its first and its last."""
    doubled: int
    """Frames that repeat another's device time or counter; only the first of each is used."""
    unpaired: int
    """Frames that no frame set took, because another of the same camera was nearer in time."""
    first_frame_set: int
    """The first frame set that it has a frame in; above 0 it started late."""


@dataclass(frozen=True, eq=False)
class Synchronised:
    """Frame sets, and how they came about."""

    sync: Sync
    """As the take stores it; cameras in the rig's order."""
    cameras: tuple[SyncReport, ...]
    """In the rig's order."""
    notes: tuple[str, ...] = ()
    """What a user should know, such as that no arrival times were recorded."""


@dataclass(frozen=True, eq=False)
class _Track:
    """The frames of one camera that may be used, in order of time."""

    frames: Int[np.ndarray, "n"]
    """Their numbers in the stream."""
    time_ns: Float[np.ndarray, "n"]
    """On the common time line, from its origin."""
    line: ClockLine
    """How they came there."""
    offset_s: float
    """The time line minus the device's clock, origins included."""


def synchronise(rig: Rig, clocks: Mapping[str, StreamClock]) -> Synchronised:
    """Frame sets over all cameras, in order of time, from each stream's own clock.

    The camera with most frames sets the beat; every other frame joins the beat that is nearest, half a period away at
    most, one frame of a camera at most (the nearest). The time of a set is the median of its frames'. Sets of few
    cameras, as at the ends where one starts late, are kept: nothing recorded is lost. One frame a camera makes one
    set, whatever the clocks say. Without arrival times of all cameras, their device clocks are taken for one.

    Raises InputError: no frames at all, or a device clock that stands still.
    """
    own = {name: _distinct(name, clocks[name]) for name in rig.ids}
    if not any(len(frames) for frames in own.values()):
        raise InputError("at least one frame", "a recording without frames", "record again")
    has_host = all(clocks[name].host_ns is not None for name in rig.ids if len(own[name]))
    origin_ns = min(int(_line_clock(clocks[name], has_host)[own[name]].min()) for name in rig.ids if len(own[name]))
    tracks = [_track(clocks[name], own[name], origin_ns if has_host else None, origin_ns) for name in rig.ids]
    slots = _slots(tracks, rig)
    index, time_ns, unpaired = _frame_sets(tracks, slots)
    cameras = tuple(
        _report(camera, clocks[camera.id], track, index[:, column], time_ns, unpaired[column])
        for column, (camera, track) in enumerate(zip(rig.cameras, tracks, strict=True))
    )
    several = max(len(track.frames) for track in tracks) > 1
    notes = ("no arrival times: the cameras' clocks are taken for one",) if several and not has_host else ()
    return Synchronised(Sync(np.round(time_ns).astype(np.int64) + origin_ns, index), cameras, notes)


def _line_clock(clock: StreamClock, has_host: bool) -> Int64[np.ndarray, "t"]:
    return clock.host_ns if has_host and clock.host_ns is not None else clock.device_ns


def _distinct(camera_id: str, clock: StreamClock) -> Int[np.ndarray, "n"]:
    """Numbers of the frames that do not repeat an earlier one, in order of device time."""
    fresh = _first_of_each(clock.device_ns)
    if clock.frame_counter is not None:
        fresh &= _first_of_each(clock.frame_counter)
    if len(fresh) > 2 and np.ptp(clock.device_ns) == 0:
        got = f"{len(fresh)} frames of {camera_id} at {clock.device_ns[0]} ns"
        raise InputError("a device clock that runs", got, "record the devices' times, or correct the table of frames")
    frames = np.flatnonzero(fresh)
    return frames[np.argsort(clock.device_ns[frames], kind="stable")]


def _first_of_each(values: Int64[np.ndarray, "t"]) -> Bool[np.ndarray, "t"]:
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _track(clock: StreamClock, frames: Int[np.ndarray, "n"], host_origin_ns: int | None, origin_ns: int) -> _Track:
    device_ns = clock.device_ns[frames]
    if not len(frames) or host_origin_ns is None or clock.host_ns is None:
        return _Track(frames, (device_ns - origin_ns).astype(np.float64), ClockLine(0.0, 0.0, 0.0), 0.0)
    start_ns = int(device_ns[0])
    line = fit_clock(device_ns - start_ns, clock.host_ns[frames] - origin_ns)
    elapsed = (device_ns - start_ns).astype(np.float64)
    offset_s = (origin_ns - start_ns) / 1e9 + line.offset_ns / 1e9
    return _Track(frames, elapsed * (1 + line.drift) + line.offset_ns, line, offset_s)


def _slots(tracks: list[_Track], rig: Rig) -> list[Int64[np.ndarray, "_"]]:
    """The beat that each frame falls on, counted by the camera with most frames; gaps of its own are bridged."""
    if max(len(track.frames) for track in tracks) == 1:
        return [np.zeros(len(track.frames), np.int64) for track in tracks]
    leader = max(range(len(tracks)), key=lambda column: len(tracks[column].frames))
    beat_ns = tracks[leader].time_ns
    period_ns = _period_ns(beat_ns, rig.cameras[leader])
    beats = np.concatenate([[0], np.cumsum(np.maximum(np.round(np.diff(beat_ns) / period_ns), 1))])
    return [np.round(_phase(track.time_ns, beat_ns, beats, period_ns)).astype(np.int64) for track in tracks]


def _phase(
    time_ns: Float[np.ndarray, "n"], beat_ns: Float[np.ndarray, "b"], beats: Float[np.ndarray, "b"], period_ns: float
) -> Float[np.ndarray, "n"]:
    """Times counted in beats, also before the first and after the last."""
    before, after = np.minimum(time_ns - beat_ns[0], 0), np.maximum(time_ns - beat_ns[-1], 0)
    return np.interp(time_ns, beat_ns, beats) + (before + after) / period_ns


def _period_ns(time_ns: Float[np.ndarray, "n"], camera: Camera) -> float:
    """The usual distance of two frames; of very few frames any may be missing, so that the rig is asked."""
    if len(time_ns) > 3:
        return max(float(np.median(np.diff(time_ns))), 1.0)
    return 1e9 / (camera.rate_hz or NOMINAL_RATE_HZ)


def _frame_sets(
    tracks: list[_Track], slots: list[Int64[np.ndarray, "_"]]
) -> tuple[Int[np.ndarray, "f c"], Float[np.ndarray, "f"], list[int]]:
    """The sync index, the time of each set, and how many frames of each camera are in none."""
    used = np.unique(np.concatenate(slots))
    index = np.full((len(used), len(tracks)), -1, np.int32)
    time_ns = np.full(index.shape, np.nan)
    unpaired = []
    centres = _centres(tracks, slots, used)
    for column, (track, slot) in enumerate(zip(tracks, slots, strict=True)):
        row = np.searchsorted(used, slot)
        # The nearest of several frames is written last and stays.
        order = np.argsort(-np.abs(track.time_ns - centres[row]), kind="stable")
        index[row[order], column] = track.frames[order]
        time_ns[row[order], column] = track.time_ns[order]
        unpaired.append(len(row) - len(np.unique(row)))
    return index, np.nanmedian(time_ns, axis=1), unpaired


def _centres(
    tracks: list[_Track], slots: list[Int64[np.ndarray, "_"]], used: Int64[np.ndarray, "f"]
) -> Float[np.ndarray, "f"]:
    """Middle of all frames that fall on each beat."""
    rows = np.searchsorted(used, np.concatenate(slots))
    total = np.bincount(rows, np.concatenate([track.time_ns for track in tracks]), len(used))
    return total / np.bincount(rows, minlength=len(used))


def _report(
    camera: Camera,
    clock: StreamClock,
    track: _Track,
    column: Int[np.ndarray, "f"],
    set_ns: Float[np.ndarray, "f"],
    unpaired: int,
) -> SyncReport:
    held = np.flatnonzero(column >= 0)
    by_frame = np.zeros(len(clock.device_ns))
    by_frame[track.frames] = track.time_ns
    apart = by_frame[column[held]] - set_ns[held]
    device_ns = clock.device_ns[track.frames]
    dropped = _dropped(clock, track.frames, _period_ns(device_ns.astype(np.float64), camera))
    span_s = float(device_ns[-1] - device_ns[0]) / 1e9 if len(device_ns) > 1 else 0.0
    return SyncReport(
        camera=camera.id,
        offset_s=track.offset_s,
        drift_ppm=-track.line.drift * 1e6 / (1 + track.line.drift),
        residual_ms=track.line.residual_ns / 1e6,
        spread_ms=float(np.sqrt(np.mean(apart**2))) / 1e6 if len(held) else 0.0,
        rate_hz=(len(device_ns) - 1 + dropped) / span_s if span_s else 0.0,
        dropped=dropped,
        doubled=len(clock.device_ns) - len(track.frames),
        unpaired=unpaired,
        first_frame_set=int(held[0]) if len(held) else -1,
    )


def _dropped(clock: StreamClock, frames: Int[np.ndarray, "n"], period_ns: float) -> int:
    """Frames that the counter skips, or where there is none, the gaps between device times."""
    if len(frames) < 2:
        return 0
    if clock.frame_counter is not None:
        steps = np.diff(np.sort(clock.frame_counter[frames]))
        return int((steps // max(int(np.median(steps)), 1) - 1).clip(0).sum())
    steps = np.round(np.diff(clock.device_ns[frames]) / period_ns)
    return int((steps - 1).clip(0).sum())
