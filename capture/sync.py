"""Every camera's frames on one time line, and from it the frame sets: what was seen at the same moment.

Frames are matched by time, never by their number: each device has a clock of its own, drops frames, doubles some and
may start late. What each reference can and cannot show is told in docs/design/2026-11-24-clocks.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from capture.clock_references import NO_REFERENCES, References
from capture.clocks.references import find_time_line
from capture.clocks.time_line import CameraLine, TimeLine
from capture.clocks.tracks import Track, track_of
from capture.frame_sets import FrameSets, frame_sets, usual_period_ns
from capture.readers.recording import StreamClock
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.take import Sync


@dataclass(frozen=True)
class SyncReport:
    """What synchronising found out about one camera."""

    camera: str
    """Its id."""
    offset_s: float
    """The time line minus the device's clock at the camera's first frame, seconds; 0 where clocks are taken for one."""
    drift_ppm: float
    """How much faster than the time line the device's clock runs, millionths; 0 if too few frames tell."""
    residual_ms: float
    """Root-mean-square scatter of what the line was fitted to, such as the arrival latency, milliseconds."""
    spread_ms: float
    """Root-mean-square distance of its frames from the time of their frame sets, milliseconds."""
    rate_hz: float
    """Measured frame rate on the device's own clock, dropped frames counted; 0 for fewer than two frames."""
    dropped: int
    """Frames missing between its first and its last."""
    doubled: int
    """Frames that repeat another's device time or counter; only the first of each is used."""
    unpaired: int
    """Frames in no frame set: another of the camera was nearer in time, or they were beyond the tolerance."""
    first_frame_set: int
    """The first frame set that it has a frame in; above 0 it started late."""
    reference: str = "arrival times"
    """What the time line was found from."""
    offset_sigma_ms: float = 0.0
    """One standard deviation of the offset against the other cameras', milliseconds; 0 where nothing tells."""
    drift_sigma_ppm: float = 0.0
    """One standard deviation of the drift, millionths; 0 where nothing tells."""
    out_of_order: int = 0
    """Frames that come after one that was taken later; they are placed by time."""
    clock_steps: int = 0
    """How often the device's clock was set while it recorded; undone on the time line."""
    wrong_triggers: int = 0
    """Frames whose trigger id contradicts their time."""


@dataclass(frozen=True, eq=False)
class Synchronised:
    """Frame sets, and how they came about."""

    sync: Sync
    """As the take stores it; cameras in the rig's order."""
    cameras: tuple[SyncReport, ...]
    """In the rig's order."""
    notes: tuple[str, ...] = ()
    """What a user should know, such as that no arrival times were recorded."""

    def to_json(self) -> dict[str, Any]:
        """What a take stores beside the frame sets; `reports_from_json` reads it."""
        reference = self.cameras[0].reference if self.cameras else ""
        return {"reference": reference, "notes": list(self.notes), "cameras": [asdict(item) for item in self.cameras]}


def reports_from_json(attributes: Mapping[str, Any]) -> tuple[SyncReport, ...]:
    """The reports that a take holds, none if it holds none; InputError if they do not read."""
    names = {field.name for field in fields(SyncReport)}
    try:
        entries = [{name: value for name, value in entry.items() if name in names} for entry in attributes["cameras"]]
        return tuple(SyncReport(**entry) for entry in entries)
    except KeyError:
        return ()
    except (TypeError, AttributeError) as error:
        remedy = "ingest the recording again with --overwrite"
        raise InputError("the synchronisation's report in the take", str(error), remedy) from error


def synchronise(rig: Rig, clocks: Mapping[str, StreamClock], references: References = NO_REFERENCES) -> Synchronised:
    """Frame sets over all cameras, in order of time, from each stream's own clock and what it is timed against.

    The reference is the first of trigger ids, external times, timecode, a declared common clock, claps, arrival times,
    and the devices' own clocks that can be used. The time of a set is the median of its frames'. Sets of few cameras,
    as at the ends where one starts late, are kept: nothing recorded is lost. One frame a camera makes one set, whatever
    the clocks say, unless triggers do.

    Raises InputError: no frames at all, a device clock that stands still, a table of times that cannot be used.
    """
    tracks = [track_of(camera, clocks[camera.id]) for camera in rig.cameras]
    if not any(len(track) for track in tracks):
        raise InputError("at least one frame", "a recording without frames", "record again")
    line = find_time_line(tracks, references)
    sets = frame_sets(tracks, line, references.tolerance_ns)
    if not len(sets.time_ns):
        got = f"none within {references.tolerance_ns} ns"
        raise InputError("frames that belong together", got, "allow a larger tolerance")
    cameras = tuple(_report(column, track, line, sets) for column, track in enumerate(tracks))
    time_ns = np.round(sets.time_ns).astype(np.int64) + line.origin_ns
    return Synchronised(Sync(time_ns, sets.index), cameras, (*line.notes, *_notes(line, tracks, cameras)))


def _notes(line: TimeLine, tracks: list[Track], cameras: tuple[SyncReport, ...]) -> list[str]:
    notes = []
    stepped = [report.camera for report in cameras if report.clock_steps]
    if len(stepped) > 1 and len(stepped) == sum(len(track) > 0 for track in tracks):
        notes.append("all clocks step against arrival times: the recorder's clock was set while it recorded")
    elif stepped:
        notes.append(f"clocks that were set while they recorded: {', '.join(stepped)}")
    unsure = [report.camera for report in cameras if report.rate_hz and report.offset_sigma_ms > 250 / report.rate_hz]
    if unsure and line.counts is None:
        some = ", ".join(unsure[:5]) + (" and others" if len(unsure) > 5 else "")
        notes.append(f"frame sets may be off by a frame: {line.reference} leave offsets of {some} that unsure")
    return notes


def _report(number: int, track: Track, line: TimeLine, sets: FrameSets) -> SyncReport:
    camera_line, column = line.lines[number], sets.index[:, number]
    held = np.flatnonzero(column >= 0)
    apart = _by_frame(track, camera_line)[column[held]] - sets.time_ns[held]
    dropped = _dropped(track)
    span_s = float(track.elapsed_ns[-1]) / 1e9 if len(track) > 1 else 0.0
    return SyncReport(
        camera=track.camera.id,
        offset_s=_offset_s(track, camera_line, line.origin_ns),
        drift_ppm=-camera_line.drift * 1e6 / (1 + camera_line.drift),
        residual_ms=camera_line.residual_ns / 1e6,
        spread_ms=float(np.sqrt(np.mean(apart**2))) / 1e6 if len(held) else 0.0,
        rate_hz=(len(track) - 1 + dropped) / span_s if span_s else 0.0,
        dropped=dropped,
        doubled=track.doubled,
        unpaired=sets.unpaired[number],
        first_frame_set=int(held[0]) if len(held) else -1,
        reference=line.reference,
        offset_sigma_ms=camera_line.offset_sigma_ns / 1e6,
        drift_sigma_ppm=camera_line.drift_sigma * 1e6 if np.isfinite(camera_line.drift_sigma) else 0.0,
        out_of_order=track.out_of_order,
        clock_steps=track.steps,
        wrong_triggers=line.wrong[number] if line.wrong is not None else 0,
    )


def _by_frame(track: Track, line: CameraLine) -> Float[np.ndarray, "_"]:
    """Time of each frame of the stream."""
    times = np.zeros(int(track.frames.max()) + 1 if len(track) else 0)
    times[track.frames] = line.time_ns(track)
    return times


def _offset_s(track: Track, line: CameraLine, origin_ns: int) -> float:
    if not len(track):
        return 0.0
    return (origin_ns - int(track.device_ns[0])) / 1e9 + line.offset_ns / 1e9


def _dropped(track: Track) -> int:
    """Frames that the counter skips, or where there is none, the gaps between device times."""
    if len(track) < 2:
        return 0
    if track.frame_counter is not None:
        return _skipped(track.frame_counter)
    if track.trigger_id is not None and _skipped(track.trigger_id) == 0:
        return 0
    if track.beat is not None:
        return track.beat.dropped
    period_ns = usual_period_ns(track.device_ns.astype(np.float64), track.camera.rate_hz)
    steps = np.round(np.diff(track.device_ns) / period_ns)
    return int((steps - 1).clip(0).sum())


def _skipped(counter: Int[np.ndarray, "n"]) -> int:
    steps = np.diff(np.sort(counter))
    return int((steps // max(int(np.median(steps)), 1) - 1).clip(0).sum())
