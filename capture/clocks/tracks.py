"""The frames of each camera that can be placed in time: doubled ones aside, steps of the clock undone, in order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from capture.clocks.beat import Beat, count_beats
from capture.clocks.steps import count_steps, find_steps, mended
from capture.readers.recording import StreamClock
from geometry.cameras import Camera
from geometry.errors import InputError

FARTHEST = 2**61
LEAST_STEP_AGAINST_ARRIVAL_NS, LEAST_STEP_NS = 40e6, 10e6
"""Smaller steps hide in latency and jitter, and do not part frames that belong together."""


@dataclass(frozen=True, eq=False)
class Track:
    """One camera's frames in order of device time, each once."""

    camera: Camera
    """Which."""
    frames: Int[np.ndarray, "n"]
    """Their numbers in the stream."""
    device_ns: Int64[np.ndarray, "n"]
    """The device's own clock, steps undone."""
    host_ns: Int64[np.ndarray, "n"] | None
    """Arrival, where it was recorded."""
    frame_counter: Int64[np.ndarray, "n"] | None
    """The device's frame number, where it was recorded."""
    trigger_id: Int64[np.ndarray, "n"] | None
    """The trigger's number, where it was recorded."""
    timecode_ns: Int64[np.ndarray, "n"] | None
    """Timecode, where it was recorded."""
    doubled: int
    """Frames left out because they repeat another."""
    out_of_order: int
    """Frames that come after one that was taken later."""
    steps: int
    """How often the device's clock was set meanwhile, as far as it shows."""

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def elapsed_ns(self) -> Float[np.ndarray, "n"]:
        """Device time since the first frame."""
        return (self.device_ns - self.device_ns[:1]).astype(np.float64)

    @cached_property
    def beat(self) -> Beat | None:
        """The beat of its frames, if they keep one."""
        return count_beats(self.device_ns)

    @cached_property
    def smooth_ns(self) -> Float[np.ndarray, "n"]:
        """Device time since the first frame without the jitter of time stamps, where a steady beat shows it.

        Only where arrivals follow the beat closer than the stamps: jitter of the exposures themselves stays.
        """
        if self.beat is None or self.host_ns is None:
            return self.elapsed_ns
        smooth = self.beat.line.at(self.beat.counts)
        late = (self.host_ns - self.host_ns[0]).astype(np.float64)
        return smooth if _scatter(late - smooth) < _scatter(late - self.elapsed_ns) else self.elapsed_ns


def busier(track: Track) -> tuple[int, str]:
    """Orders cameras by their number of frames, and alike ones by name, so that the rig's order does not matter."""
    return len(track), track.camera.id


def _scatter(values: Float[np.ndarray, "n"]) -> float:
    """From one value to the next, so that no slope counts."""
    return float(np.median(np.abs(np.diff(values)))) if len(values) > 1 else 0.0


def track_of(camera: Camera, clock: StreamClock) -> Track:
    """The usable frames of a camera; InputError for a device clock that stands still."""
    _require_possible(camera.id, clock)
    fresh = _first_of_each(clock.device_ns)
    if clock.frame_counter is not None:
        fresh &= _first_of_each(clock.frame_counter)
    if len(fresh) > 2 and np.ptp(clock.device_ns) == 0:
        got = f"{len(fresh)} frames of {camera.id} at {clock.device_ns[0]} ns"
        raise InputError("a device clock that runs", got, "record the devices' times, or correct the table of frames")
    frames = np.flatnonzero(fresh)
    steps_ns = _steps(clock, frames)
    device_ns = mended(clock.device_ns[frames], steps_ns)
    order = np.argsort(device_ns, kind="stable")
    chosen = frames[order]
    optional = (clock.host_ns, clock.frame_counter, clock.trigger_id, clock.timecode_ns)
    return Track(
        camera,
        chosen,
        device_ns[order],
        *(None if values is None else values[chosen] for values in optional),
        doubled=len(clock.device_ns) - len(frames),
        out_of_order=int((device_ns < np.maximum.accumulate(device_ns)).sum()) if len(device_ns) else 0,
        steps=count_steps(steps_ns),
    )


def _require_possible(camera_id: str, clock: StreamClock) -> None:
    """InputError for numbers whose differences 64 bits cannot hold, which garbage has."""
    for name in ("device_ns", "host_ns", "frame_counter", "trigger_id", "timecode_ns"):
        values = getattr(clock, name)
        if values is not None and len(values) and max(-int(values.min()), int(values.max())) > FARTHEST:
            got = f"{int(values.max())} or {int(values.min())} of {camera_id}"
            raise InputError(f"{name} from -2^61 to 2^61", got, "correct the table of frames")


def _steps(clock: StreamClock, frames: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Against arrivals; without them against whatever counts triggers."""
    device_ns = clock.device_ns[frames]
    if clock.host_ns is not None:
        return find_steps((clock.host_ns[frames] - device_ns).astype(np.float64), LEAST_STEP_AGAINST_ARRIVAL_NS)
    counts = clock.trigger_id if clock.trigger_id is not None else clock.frame_counter
    if counts is None or len(frames) < 2:
        return np.zeros(len(frames))
    count, elapsed = np.diff(counts[frames]), np.diff(device_ns)
    if not (count > 0).any():
        return np.zeros(len(frames))
    period_ns = float(np.median(elapsed[count > 0] / count[count > 0]))
    ahead_ns = (counts[frames] - counts[frames[0]]) * period_ns - (device_ns - device_ns[0])
    return find_steps(ahead_ns.astype(np.float64), LEAST_STEP_NS)


def _first_of_each(values: Int64[np.ndarray, "t"]) -> Bool[np.ndarray, "t"]:
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first
