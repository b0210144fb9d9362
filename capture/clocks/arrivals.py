"""The time line from when frames arrived: drifts to a few millionths, offsets up to what is always late."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from capture.clock_references import References
from capture.clocks.time_line import CameraLine, Refused, TimeLine
from capture.clocks.tracks import Track
from capture.device_clock import UNSEEN_LATENCY_NS, ClockLine, fit_clock

SAME_CLOCK_NS = 25e6
"""Offsets of one clock that arrivals of two cameras give differ by their latencies, 0 to 20 ms."""
SAME_CLOCK_SIGMAS = 4.0
STARTED_WITH_STREAM_NS = 60_000_000_000
"""Clocks of several housings that show less at their first frames started with them, and agree by accident."""


@dataclass(frozen=True)
class ArrivalLine:
    """A camera's clock against the recorder's, from its own arrivals."""

    line: ClockLine
    """Its offset is at the camera's first frame, from the common origin."""
    beat_sigma: float
    """One standard deviation that the jitter of time stamps gives the drift, dimensionless."""

    @property
    def drift_sigma(self) -> float:
        """All of the drift's standard deviation."""
        return float(np.hypot(self.line.drift_sigma, self.beat_sigma))


def host_origin_ns(tracks: list[Track]) -> int | None:
    """The first arrival of all, or None unless all cameras that have frames have arrivals."""
    present = [track for track in tracks if len(track)]
    if not present or any(track.host_ns is None for track in present):
        return None
    return min(int(track.host_ns.min()) for track in present if track.host_ns is not None)


def arrival_line(track: Track, origin_ns: int) -> ArrivalLine:
    """One camera's own line; its device time is smoothed by its beat where it has a steady one."""
    assert track.host_ns is not None
    line = fit_clock(track.smooth_ns, track.host_ns - origin_ns)
    smoothed = track.smooth_ns is not track.elapsed_ns and track.beat is not None
    if not smoothed or track.beat is None:
        return ArrivalLine(line, 0.0)
    return ArrivalLine(line, track.beat.period_sigma)


def device_groups(tracks: list[Track], found: list[ArrivalLine | None], common: bool = False) -> list[int]:
    """By track, the number of the device clock that it is on: cameras of one housing whose times agree share one.

    All cameras share one if `common`, or if even clocks of several housings agree that did not start with their
    streams (PTP, or all cameras at one computer).
    """
    numbers = list(range(len(tracks)))
    if common or _all_agree(tracks, found):
        return [0] * len(tracks)
    for later, track in enumerate(tracks):
        for earlier in range(later):
            same_housing = tracks[earlier].camera.module == track.camera.module
            if same_housing and _agree(tracks, found, (earlier, later)):
                numbers[later] = numbers[earlier]
                break
    return numbers


def _all_agree(tracks: list[Track], found: list[ArrivalLine | None]) -> bool:
    present = [number for number, track in enumerate(tracks) if len(track) and found[number] is not None]
    if len(present) < 2 or min(int(tracks[number].device_ns[0]) for number in present) < STARTED_WITH_STREAM_NS:
        return False
    return all(_agree(tracks, found, (present[0], number)) for number in present[1:])


def _agree(tracks: list[Track], found: list[ArrivalLine | None], pair: tuple[int, int]) -> bool:
    """Whether two cameras' times can be of one clock."""
    a, b = (tracks[number] for number in pair)
    if len(a) < 2 or len(b) < 2:
        return False
    common_ns = min(int(a.device_ns[-1]), int(b.device_ns[-1])) - max(int(a.device_ns[0]), int(b.device_ns[0]))
    if common_ns < 0.5 * min(a.elapsed_ns[-1], b.elapsed_ns[-1]):
        return False
    line_a, line_b = (found[number] for number in pair)
    if line_a is None or line_b is None:
        return _same_beat(a, b)
    sigma = max(np.hypot(line_a.drift_sigma, line_b.drift_sigma), 1e-9)
    apart_ns = line_a.line.offset_ns - line_b.line.offset_ns
    # At the same device time: the later one's first frame.
    apart_ns += line_a.line.drift * (b.device_ns[0] - a.device_ns[0]) + float(b.device_ns[0] - a.device_ns[0])
    return bool(
        abs(apart_ns) < SAME_CLOCK_NS and abs(line_a.line.drift - line_b.line.drift) < SAME_CLOCK_SIGMAS * sigma
    )


def _same_beat(a: Track, b: Track) -> bool:
    """Whether the periods of two beats are the same, or one a whole multiple of the other, as common triggers give."""
    if a.beat is None or b.beat is None:
        return True
    ratio = a.beat.period_ns / b.beat.period_ns
    ratio = ratio if ratio > 1 else 1 / ratio
    sigma = max(np.hypot(a.beat.period_sigma, b.beat.period_sigma), 1e-9)
    return bool(abs(ratio / round(ratio) - 1) < SAME_CLOCK_SIGMAS * sigma)


def by_arrivals(tracks: list[Track], references: References) -> TimeLine | Refused:
    """The time line of the recorder's clock; cameras on one device clock get one line.

    The offset of a device is that of its camera with the least latency.
    """
    origin_ns = host_origin_ns(tracks)
    if origin_ns is None:
        return Refused("")
    found = [arrival_line(track, origin_ns) if len(track) else None for track in tracks]
    groups = device_groups(tracks, found, references.common_clock)
    lines = [CameraLine()] * len(tracks)
    for group in set(groups):
        members = [number for number, other in enumerate(groups) if other == group and found[number] is not None]
        for number, line in zip(members, _pooled(tracks, found, members), strict=True):
            lines[number] = line
    modules = {track.camera.module for track in tracks if len(track)}
    one_clock = len(set(groups)) == 1 and len(modules) > 1
    if one_clock:
        # Nothing is unseen between cameras of one clock.
        lines = [_without_unseen(line) for line in lines]
    return TimeLine("common timestamps" if one_clock else "arrival times", origin_ns, tuple(lines))


def _without_unseen(line: CameraLine) -> CameraLine:
    rest = max(line.offset_sigma_ns**2 - UNSEEN_LATENCY_NS**2, 0.0)
    return replace(line, offset_sigma_ns=float(np.sqrt(rest)))


def _pooled(tracks: list[Track], found: list[ArrivalLine | None], members: list[int]) -> list[CameraLine]:
    own = {number: line for number in members if (line := found[number]) is not None}
    if len(members) < 2:
        return [_camera_line(own[number].line, own[number].drift_sigma) for number in members]
    weights = np.array([1 / max(own[number].drift_sigma, 1e-9) ** 2 for number in members])
    drift = float((weights * [own[number].line.drift for number in members]).sum() / weights.sum())
    sigma = float(1 / np.sqrt(weights.sum()))
    start_ns = int(tracks[members[0]].device_ns[0])
    later_ns = {number: float(tracks[number].device_ns[0] - start_ns) * (1 + drift) for number in members}
    at_start_ns = {}
    for number in members:
        line, middle_ns = own[number].line, float(tracks[number].elapsed_ns.mean())
        at_start_ns[number] = line.offset_ns + (line.drift - drift) * middle_ns - later_ns[number]
    least = min(members, key=lambda number: at_start_ns[number])
    return [
        CameraLine(
            at_start_ns[least] + later_ns[number],
            drift,
            own[number].line.residual_ns,
            own[least].line.offset_sigma_ns,
            sigma,
        )
        for number in members
    ]


def _camera_line(line: ClockLine, drift_sigma: float) -> CameraLine:
    return CameraLine(line.offset_ns, line.drift, line.residual_ns, line.offset_sigma_ns, drift_sigma)
