"""Which reference is used: the first of a fixed order that can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from capture.clock_references import References
from capture.clocks.arrivals import by_arrivals, host_origin_ns
from capture.clocks.claps import by_claps
from capture.clocks.time_line import CameraLine, Refused, TimeLine
from capture.clocks.timecode import by_timecode
from capture.clocks.times_csv import by_times_csv
from capture.clocks.tracks import FARTHEST, Track
from capture.clocks.triggers import by_triggers

MOST_DRIFT = 0.1
DEVICE_CLOCKS = "device clocks"
"""What a time line is called that has nothing but the devices' own times."""
Find = Callable[[list[Track], References], TimeLine | Refused]


def by_declared_clock(tracks: list[Track], references: References) -> TimeLine | Refused:
    """The devices' own times, if they are known to be of one clock and no arrivals tie them to the recorder's."""
    if not references.common_clock or host_origin_ns(tracks) is not None:
        return Refused("")
    return _device_clocks(tracks, "common timestamps", ())


def by_device_clocks(tracks: list[Track], references: References) -> TimeLine | Refused:
    """The devices' own times, taken for one clock because nothing else is there."""
    several = max(len(track) for track in tracks) > 1
    notes = ("no arrival times: the cameras' clocks are taken for one",) if several else ()
    return _device_clocks(tracks, DEVICE_CLOCKS, notes)


def _device_clocks(tracks: list[Track], reference: str, notes: tuple[str, ...]) -> TimeLine:
    origin_ns = min(int(track.device_ns[0]) for track in tracks if len(track))
    lines = tuple(CameraLine(float(track.device_ns[0] - origin_ns)) if len(track) else CameraLine() for track in tracks)
    return TimeLine(reference, origin_ns, lines, notes)


def by_declared_arrivals(tracks: list[Track], references: References) -> TimeLine | Refused:
    """Arrivals on one declared clock, which is surer between cameras than a clap."""
    return by_arrivals(tracks, references) if references.common_clock else Refused("")


REFERENCES: Mapping[str, Find] = {
    "trigger ids": by_triggers,
    "external times": by_times_csv,
    "timecode": by_timecode,
    "declared clock": by_declared_clock,
    "declared clock with arrivals": by_declared_arrivals,
    "clap": by_claps,
    "arrival times": by_arrivals,
    DEVICE_CLOCKS: by_device_clocks,
}
"""In the order of how much they know; the last is always there."""


def _impossible(tracks: list[Track], found: TimeLine) -> str:
    """Cameras whose clock no device can have: then it is not the reference's times that they were taken by."""
    return ", ".join(
        track.camera.id
        for track, line in zip(tracks, found.lines, strict=True)
        if len(track) and not (abs(line.drift) < MOST_DRIFT and np.abs(line.time_ns(track)).max() <= 2 * FARTHEST)
    )


def find_time_line(tracks: list[Track], references: References) -> TimeLine:
    """The time line of the first reference that can be used; why earlier ones could not be is in its notes."""
    refused: list[str] = []
    for find in REFERENCES.values():
        found = find(tracks, references)
        if isinstance(found, TimeLine) and (impossible := _impossible(tracks, found)):
            found = Refused(f"{found.reference}: the clock of {impossible} would run more than a tenth fast or slow")
        if isinstance(found, TimeLine):
            notes = tuple(f"not used: {why}" for why in refused)
            return TimeLine(
                found.reference, found.origin_ns, found.lines, (*found.notes, *notes), found.counts, found.wrong
            )
        if found.why:
            refused.append(found.why)
    raise AssertionError("the devices' own clocks are always there")
