"""Each camera's clock: rate, lost and doubled frames, drift, and how far its frames are from their frame sets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from jaxtyping import Float

from capture.clocks.references import DEVICE_CLOCKS
from capture.device_clock import fit_clock
from capture.quality.check import Check, Judged, TimeCourse, not_judged
from capture.quality.evidence import Evidence
from capture.readers.recording import StreamClock
from capture.sync import SyncReport
from geometry.cameras import Camera

RATE_WARN, RATE_FAIL = 0.01, 0.10
"""Relative to nominal: four Femto Bolts ran 0.09 to 0.47 % fast (OrbbecSDK issue 49)."""
LOST_WARN, LOST_FAIL = 0.005, 0.05
"""Share of lost frames; doubled and unpaired ones only ever warn, because nothing is lost with them."""
SINGLE_LOSS = 1
"""So many lost frames only warn, however short the recording is."""
DRIFT_WARN_PPM = 100.0
"""Quartz stays within some 20 ppm; 100 ppm is a frame of slip in five minutes at 30 Hz."""
SPREAD_WARN_MS, SPREAD_FAIL_PERIODS = 3.0, 1 / 3
"""A turning head moves by a millimetre in 3 ms."""
OFFSET_WARN_PERIODS = 1 / 4
"""Of the offset's standard deviation: at two of them a frame joins the wrong set."""
CLOCK_WARN_PERIODS = 1 / 2
"""Arrivals that scatter more than this come from a clock that stepped."""


def check_clocks(evidence: Evidence) -> Iterator[Check]:
    """Findings of every camera that has frames."""
    for camera in evidence.take.rig.cameras:
        report = evidence.sync_reports[camera.id]
        yield from _rate(camera, report, evidence)
        yield from _losses(camera, report, len(evidence.clocks[camera.id].device_ns))
        yield from _times(camera, report, evidence)


def _rate(camera: Camera, report: SyncReport, evidence: Evidence) -> Iterator[Check]:
    count = len(evidence.clocks[camera.id].device_ns)
    yield Check("frame_count", camera.id, float(count), "frames", None, "pass", f"expected frames; got {count}")
    if camera.rate_hz > 0 and report.rate_hz > 0:
        apart = abs(report.rate_hz / camera.rate_hz - 1)
        judged = Judged("frame_rate", camera.id, apart, "share", RATE_WARN, RATE_FAIL)
        got = f"{report.rate_hz:.3f} Hz, {apart:.2%} off"
        yield judged.above(f"{camera.rate_hz:g} Hz within {RATE_WARN:.0%}", got, "set the camera's rate, or the rig's")


def _losses(camera: Camera, report: SyncReport, frame_count: int) -> Iterator[Check]:
    lost_fail = LOST_FAIL if report.dropped > SINGLE_LOSS else None
    shares = (
        ("dropped_frames", report.dropped, lost_fail, "use a faster disk or cable, or fewer cameras on a host"),
        ("doubled_frames", report.doubled, None, "repeats are left out of the frame sets; look at the recorder"),
        ("unpaired_frames", report.unpaired, None, "trigger the cameras together, at one rate"),
        ("out_of_order_frames", report.out_of_order, None, "they are placed by time; look at the recorder's writer"),
    )
    for name, count, fail, remedy in shares:
        of = frame_count - report.doubled + report.dropped if name == "dropped_frames" else frame_count
        judged = Judged(name, camera.id, count / max(of, 1), "share", LOST_WARN, fail)
        got = f"{count} of {of} frames ({count / max(of, 1):.1%})"
        yield judged.above(f"at most {LOST_WARN:.1%}", got, remedy)


def _times(camera: Camera, report: SyncReport, evidence: Evidence) -> Iterator[Check]:
    judge = partial(Judged, camera=camera.id)
    period_ms = 1e3 / (camera.rate_hz or report.rate_hz or 1.0)
    judged = judge(
        name="sync_residual",
        value=report.spread_ms,
        unit="ms",
        warn=SPREAD_WARN_MS,
        fail=SPREAD_FAIL_PERIODS * period_ms,
        course=_residual_course(camera, evidence),
    )
    got = f"{report.spread_ms:.2f} ms RMS to the other cameras"
    yield judged.above(f"at most {SPREAD_WARN_MS:g} ms", got, "trigger the cameras together, or check their clocks")
    yield from _reference(camera, report, period_ms)
    if evidence.clocks[camera.id].host_ns is None:
        why = "no arrival times, so the camera's clock has nothing to drift against"
        yield not_judged("clock_drift", camera.id, "ppm", DRIFT_WARN_PPM, why)
        return
    drift = abs(report.drift_ppm)
    # Of a short recording the drift is hardly known, and what is not known is not held against a clock.
    limit_ppm = DRIFT_WARN_PPM + 2 * report.drift_sigma_ppm
    course = _drift_course(camera, evidence)
    judged = judge(name="clock_drift", value=drift, unit="ppm", warn=limit_ppm, course=course)
    got = f"{report.drift_ppm:+.1f} +- {report.drift_sigma_ppm:.1f} ppm against {report.reference}"
    yield judged.above(f"at most {limit_ppm:.0f} ppm", got, "corrected for; look at the camera's clock")
    limit_ms = CLOCK_WARN_PERIODS * period_ms
    residual_ms = report.residual_ms
    if report.reference == DEVICE_CLOCKS:  # arrivals are there, and were of no use: this says how bad they are
        residual_ms = fit_clock(*_from_first(evidence.clocks[camera.id])).residual_ns / 1e6
    judged = judge(name="arrival_scatter", value=residual_ms, unit="ms", warn=limit_ms)
    got = f"{residual_ms:.1f} ms RMS"
    yield judged.above(f"at most {limit_ms:.1f} ms", got, "a clock stepped or a host stalled; check the frame sets")


def _from_first(clock: StreamClock) -> tuple[np.ndarray, np.ndarray]:
    """Device and arrival times since the first frame's, in order of device time."""
    assert clock.host_ns is not None
    order = np.argsort(clock.device_ns, kind="stable")
    return clock.device_ns[order] - clock.device_ns[order[0]], clock.host_ns[order] - clock.host_ns[order[0]]


def _reference(camera: Camera, report: SyncReport, period_ms: float) -> Iterator[Check]:
    """How sure the frame sets are, and what contradicts them."""
    limit_ms = OFFSET_WARN_PERIODS * period_ms
    judged = Judged("offset_confidence", camera.id, report.offset_sigma_ms, "ms", limit_ms)
    got = f"{report.offset_sigma_ms:.2f} ms by {report.reference}"
    remedy = "frame sets may be off by a frame: wire a trigger, or record a clap or timecode"
    yield judged.above(f"an offset known to {limit_ms:.1f} ms (one standard deviation)", got, remedy)
    for name, count, what, remedy in (
        (
            "clock_steps",
            report.clock_steps,
            "times that the clock was set",
            "undone; stop setting clocks while recording",
        ),
        (
            "wrong_triggers",
            report.wrong_triggers,
            "frames whose trigger contradicts their time",
            "look at the trigger's wire",
        ),
    ):
        judged = Judged(name, camera.id, float(count), "1", 0.0)
        yield judged.above("none", f"{count} {what}", remedy)


def _residual_course(camera: Camera, evidence: Evidence) -> TimeCourse | None:
    """How far each frame is from its frame set by the camera's own line; None where its clock was set meanwhile."""
    sync, report = evidence.take.sync, evidence.sync_reports[camera.id]
    device_ns = evidence.clocks[camera.id].device_ns
    if not len(device_ns) or report.clock_steps:
        return None
    first_ns, column = int(device_ns.min()), sync.index[:, evidence.take.rig.index(camera.id)]
    time_s = (sync.time_ns - sync.time_ns[:1]).astype(np.float64) / 1e9
    elapsed_ns = (device_ns - first_ns).astype(np.float64) / (1 + report.drift_ppm * 1e-6)
    taken_s = (elapsed_ns + (first_ns - int(sync.time_ns[0]))) / 1e9 + report.offset_s
    held = column >= 0
    apart_ms = np.full(len(column), np.nan)
    apart_ms[held] = (taken_s[column[held]] - time_s[held]) * 1e3
    return TimeCourse("sync residual", time_s, apart_ms, "ms")


def _drift_course(camera: Camera, evidence: Evidence) -> TimeCourse:
    """Device's clock minus arrival, against the first frame: the slope is the drift, the scatter is latency."""
    clock = evidence.clocks[camera.id]
    assert clock.host_ns is not None
    ahead_ms: Float[np.ndarray, "t"] = (
        (clock.device_ns - clock.device_ns[:1]) - (clock.host_ns - clock.host_ns[:1])
    ).astype(np.float64) / 1e6
    return TimeCourse("clock against arrival", evidence.frame_time_s(camera.id), ahead_ms, "ms")
