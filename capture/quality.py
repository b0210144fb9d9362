"""Whether a take can be used or must be shot again: named checks with figures, limits and advice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from capture.depth_unit import FARTHEST_M, NEAREST_M, median_count, unit_fault
from capture.readers.recording import StreamClock
from capture.sync import SyncReport, synchronise
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.documents import plain
from storage.integrity import verify_take
from storage.take import Stream, Take

Verdict = Literal["pass", "warn", "fail"]

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
CLOCK_WARN_PERIODS = 1 / 2
"""Arrivals that scatter more than this come from a clock that stepped."""
INCOMPLETE_WARN, MOSTLY_EMPTY_FAIL = 0.05, 0.05
"""Share of frame sets that lack a camera; share that lacks more than half of the cameras."""
HOLES_WARN, HOLES_FAIL = 0.90, 0.98
"""Of the middle of a depth picture, where the head should be."""
DARKEST, BRIGHTEST = 8.0, 247.0
"""Mean grey levels out of 255."""
SAME_PLACE_M = 1e-3
REPROJECTION_WARN_PX = 1.0
FRAMES_SAMPLED = 8
FAULTS_NAMED = 20


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """What, in a word."""
    camera: str | None
    """Whose; None: the whole take's."""
    value: float | None
    """What came; None if there is no figure."""
    unit: str
    """Of the value and the limit."""
    limit: float | None
    """Beyond it the verdict is worse than pass."""
    verdict: Verdict
    """fail: shoot again or repair; warn: look at it."""
    message: str
    """What was expected, what came, and what to do."""


@dataclass(frozen=True)
class QualityReport:
    """Every check of a take."""

    checks: tuple[Check, ...]
    """In the order in which they were made."""

    @property
    def passed(self) -> bool:
        """Whether nothing failed; warnings pass."""
        return all(check.verdict != "fail" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, the counts of verdicts beside the checks."""
        counts = {f"{verdict}_count": self._count(verdict) for verdict in ("pass", "warn", "fail")}
        return {"passed": self.passed, **counts, "checks": plain(self.checks)}

    def _count(self, verdict: str) -> int:
        return sum(check.verdict == verdict for check in self.checks)


def check_take(take: Take) -> QualityReport:
    """Judge a finished take: integrity first, then calibration, clocks, frame sets and pictures.

    Every chunk is read once for its checksum; pictures are judged by measures that the ingest took and by a few
    frames of each camera. In a damaged take only the damage is reported. Nothing about its content raises.
    """
    damage = tuple(_integrity(take))
    if damage[0].verdict == "fail":
        return QualityReport(damage)
    try:
        return QualityReport((*damage, *_calibration(take.rig), *_times(take), *_pictures(take)))
    except InputError as error:
        return QualityReport((*damage, Check("readable", None, None, "", None, "fail", str(error))))


def _integrity(take: Take) -> Iterator[Check]:
    faults = verify_take(take.path)
    check = partial(Check, "integrity", None, unit="faults", limit=0.0)
    if not faults:
        yield check(value=0.0, verdict="pass", message="every chunk is there and its checksum is right")
    for fault in faults[:FAULTS_NAMED]:
        message = (
            f"expected a whole take; got {fault.path or 'the take'}: {fault.problem}; restore the take from a copy, or "
            f"ingest {take.header.source} again with --overwrite (nothing else was judged)"
        )
        yield check(value=float(len(faults)), verdict="fail", message=message)


def _calibration(rig: Rig) -> Iterator[Check]:
    for camera in rig.cameras:
        error_px = camera.reprojection_px
        said = "no reprojection error stated" if error_px is None else f"a reprojection error of {error_px:.2f} px"
        remedy = "calibrate the rig again and ingest with --rig"
        judged = _Judged("reprojection", camera.id, error_px, "px", REPROJECTION_WARN_PX)
        yield judged.above(f"at most {REPROJECTION_WARN_PX:g} px", said, remedy)
        twins = [
            other.id
            for other in rig.cameras
            if other.id != camera.id
            # A depth picture that a device has registered to its colour picture shares its place.
            and (other.module != camera.module or other.kind == camera.kind)
            and np.linalg.norm(other.centre_world - camera.centre_world) < SAME_PLACE_M
        ]
        judged = _Judged("own_place", camera.id, float(len(twins)), "cameras", None, 0.0)
        got = f"{', '.join(twins[:4])} within a millimetre of it" if twins else "no other camera within a millimetre"
        yield judged.above("a place of its own for each camera", got, remedy)


def _times(take: Take) -> Iterator[Check]:
    """Checks of clocks and frame sets; both are found again from the stored device and arrival times."""
    streams = {camera_id: take.stream(camera_id) for camera_id in take.rig.ids}
    clocks = {name: StreamClock(item.device_ns, item.host_ns, item.frame_counter) for name, item in streams.items()}
    reports = synchronise(take.rig, clocks).cameras
    for camera, report in zip(take.rig.cameras, reports, strict=True):
        yield from _clock_checks(camera, report, len(streams[camera.id]), clocks[camera.id].host_ns is not None)
    held = (take.sync.index >= 0).sum(1)
    whole = len(take.rig.cameras)
    incomplete = float(np.mean(held < whole)) if len(held) else 1.0
    late = [report.camera for report in reports if report.first_frame_set > 0]
    got = f"{incomplete:.1%} of {len(held)} frame sets lack a camera"
    got += f" (late: {', '.join(late[:6])})" if late else ""
    remedy = "see which camera drops frames or starts late; look at its cable and its host's load"
    judged = _Judged("incomplete_frame_sets", None, incomplete, "share", INCOMPLETE_WARN)
    yield judged.above(f"at most {INCOMPLETE_WARN:.1%}", got, remedy)
    empty = float(np.mean(2 * held < whole)) if len(held) else 1.0
    judged = _Judged("mostly_empty_frame_sets", None, empty, "share", None, MOSTLY_EMPTY_FAIL)
    got = f"{empty:.1%} of {len(held)} frame sets lack more than half of the cameras"
    yield judged.above(f"at most {MOSTLY_EMPTY_FAIL:.1%}", got, "the cameras did not run together; shoot again")


def _clock_checks(camera: Camera, report: SyncReport, frame_count: int, has_host: bool) -> Iterator[Check]:
    judge = partial(_Judged, camera=camera.id)
    if camera.rate_hz > 0 and report.rate_hz > 0:
        apart = abs(report.rate_hz / camera.rate_hz - 1)
        judged = judge(name="frame_rate", value=apart, unit="share", warn=RATE_WARN, fail=RATE_FAIL)
        got = f"{report.rate_hz:.3f} Hz, {apart:.2%} off"
        yield judged.above(f"{camera.rate_hz:g} Hz within {RATE_WARN:.0%}", got, "set the camera's rate, or the rig's")
    lost_fail = LOST_FAIL if report.dropped > SINGLE_LOSS else None
    shares = (
        ("dropped_frames", report.dropped, lost_fail, "use a faster disk or cable, or fewer cameras on a host"),
        ("doubled_frames", report.doubled, None, "repeats are left out of the frame sets; look at the recorder"),
        ("unpaired_frames", report.unpaired, None, "trigger the cameras together, at one rate"),
    )
    for name, count, fail, remedy in shares:
        of = frame_count - report.doubled + report.dropped if name == "dropped_frames" else frame_count
        judged = judge(name=name, value=count / max(of, 1), unit="share", warn=LOST_WARN, fail=fail)
        got = f"{count} of {of} frames ({count / max(of, 1):.1%})"
        yield judged.above(f"at most {LOST_WARN:.1%}", got, remedy)
    period_ms = 1e3 / (camera.rate_hz or report.rate_hz or 1.0)
    judged = judge(
        name="sync_residual",
        value=report.spread_ms,
        unit="ms",
        warn=SPREAD_WARN_MS,
        fail=SPREAD_FAIL_PERIODS * period_ms,
    )
    got = f"{report.spread_ms:.2f} ms RMS to the other cameras"
    yield judged.above(f"at most {SPREAD_WARN_MS:g} ms", got, "trigger the cameras together, or check their clocks")
    if has_host:
        drift = abs(report.drift_ppm)
        judged = judge(name="clock_drift", value=drift, unit="ppm", warn=DRIFT_WARN_PPM)
        got = f"{report.drift_ppm:+.1f} ppm"
        yield judged.above(f"at most {DRIFT_WARN_PPM:g} ppm", got, "corrected for; look at the camera's clock")
        limit_ms = CLOCK_WARN_PERIODS * period_ms
        judged = judge(name="arrival_scatter", value=report.residual_ms, unit="ms", warn=limit_ms)
        got = f"{report.residual_ms:.1f} ms RMS"
        yield judged.above(f"at most {limit_ms:.1f} ms", got, "a clock stepped or a host stalled; check the frame sets")


def _pictures(take: Take) -> Iterator[Check]:
    for camera in take.rig.cameras:
        stream = take.stream(camera.id)
        if not len(stream):
            yield _Judged("frames", camera.id, 0.0, "frames", None, 1.0).below("some", "none", "shoot again")
            continue
        if camera.kind == "depth":
            yield from _depth_checks(camera, stream)
        elif stream.quality.exposure is not None:
            yield from _exposure_checks(camera, 255 * float(stream.quality.exposure.mean()))
        yield from _frozen(camera, stream)


def _exposure_checks(camera: Camera, grey: float) -> Iterator[Check]:
    expected, got = f"a mean grey level from {DARKEST:g} to {BRIGHTEST:g}", f"{grey:.0f} of 255"
    dark = _Judged("underexposed", camera.id, grey, "grey levels", None, DARKEST)
    yield dark.below(expected, got, "remove the lens cap, expose longer or add light, then shoot again")
    bright = _Judged("overexposed", camera.id, grey, "grey levels", None, BRIGHTEST)
    yield bright.above(expected, got, "expose shorter or take light away, then shoot again")


def _depth_checks(camera: Camera, stream: Stream) -> Iterator[Check]:
    frames = [stream.frame(int(t)) for t in np.unique(np.linspace(0, len(stream) - 1, FRAMES_SAMPLED).astype(int))]
    rows, columns = camera.image_size_hw
    middle = [frame[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4] for frame in frames]
    holes = float(np.mean([1 - np.count_nonzero(part) / part.size for part in middle]))
    judged = _Judged("central_depth_holes", camera.id, holes, "share", HOLES_WARN, HOLES_FAIL)
    got = f"{holes:.1%} of the middle of the picture without depth"
    yield judged.above(f"at most {HOLES_WARN:.0%}", got, "turn the camera to the subject or come within its range")
    count = median_count(frames)
    if count is None:
        got = "no depth at all in the frames looked at"
        message = f"expected depth; got {got}; check that the sensor's light is on, then shoot again"
        yield Check("depth_median", camera.id, None, "m", FARTHEST_M, "fail", message)
        return
    assert camera.depth_unit_m is not None
    distance_m = count * camera.depth_unit_m
    check = partial(Check, "depth_median", camera.id, distance_m, "m")
    if fault := unit_fault(camera, count):
        yield check(NEAREST_M if distance_m < NEAREST_M else FARTHEST_M, "fail", str(fault))
    else:
        yield check(FARTHEST_M, "pass", f"expected {NEAREST_M:g} to {FARTHEST_M:g} m; got {distance_m:.3f} m")


def _frozen(camera: Camera, stream: Stream) -> Iterator[Check]:
    """Whether a camera of several frames gave the same picture every time; stops at the first that differs."""
    if len(stream) > 2:
        first = stream.frame(0)
        same = all(np.array_equal(first, stream.frame(t)) for t in range(1, len(stream)))
        judged = _Judged("frozen_picture", camera.id, float(same), "1", None, 0.0)
        got = f"{len(stream)} equal ones" if same else "different ones"
        yield judged.above("pictures that change", got, "restart the camera, then shoot again")


@dataclass(frozen=True)
class _Judged:
    """A figure and its limits, from which its verdict follows."""

    name: str
    camera: str | None
    value: float | None
    unit: str
    warn: float | None
    fail: float | None = None

    def above(self, expected: str, got: str, remedy: str) -> Check:
        """Its check, where more is worse."""
        return self._check(1, expected, got, remedy)

    def below(self, expected: str, got: str, remedy: str) -> Check:
        """Its check, where less is worse."""
        return self._check(-1, expected, got, remedy)

    def _check(self, sign: int, expected: str, got: str, remedy: str) -> Check:
        verdict: Verdict = "pass"
        if self._beyond(self.fail, sign):
            verdict = "fail"
        elif self._beyond(self.warn, sign):
            verdict = "warn"
        message = f"expected {expected}; got {got}" + ("" if verdict == "pass" else f"; {remedy}")
        limit = self.fail if self.warn is None or verdict == "fail" else self.warn
        return Check(self.name, self.camera, self.value, self.unit, limit, verdict, message)

    def _beyond(self, limit: float | None, sign: int) -> bool:
        return self.value is not None and limit is not None and sign * self.value > sign * limit
