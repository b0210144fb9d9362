"""Claps tie the clocks of devices together, whatever is said meanwhile; where they are ambiguous nothing is guessed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.clock_references import References
from capture.clocks.onsets import find_onsets
from capture.clocks.same_sounds import OnsetTimes, same_sounds
from capture.readers.recording import AudioTrack, StreamClock
from capture.sync import Synchronised, synchronise
from studio.clocks import ClockFaults, ClockReading, ClockTruth, DeviceClock, simulate_clocks
from studio.sound import Room, SoundRecorder
from tests.capture.clocks.simulated import DESK, audio_track, relative_drift_errors_ppm, stream_clocks

TRUE = DeviceClock(10.0, 0.0)


def _heard(
    truth: ClockTruth, claps_s: tuple[float, ...], deaf: str = "", duration_s: float = 6.0, **room: float
) -> list[AudioTrack]:
    """A track of each device; a `deaf` one hears the voice only."""
    tracks, known = [], []
    for number, camera in enumerate(DESK.cameras):
        clock = truth.devices[camera.id]
        if clock in known:
            continue
        known.append(clock)
        late = camera.id == truth.late_camera
        heard = Room(claps_s if camera.id != deaf else (), 2e-3 + 7e-4 * number, seed=number, **room)
        recorder = SoundRecorder(heard, clock, (48_000, 44_100)[number % 2], 0.75 if late else -0.5, duration_s)
        tracks.append(audio_track(recorder, camera.id))
    return tracks


def _recording(seed: int, frames: int = 300) -> tuple[dict[str, ClockReading], ClockTruth]:
    return simulate_clocks(DESK, frames, 30.0, seed, ClockFaults())


def _assert_true(found: Synchronised, truth: ClockTruth) -> None:
    assert found.cameras[0].reference == "clap"
    assert np.array_equal(found.sync.index, truth.frame_sets(DESK))


@pytest.mark.parametrize("keep", ["", "h"])
@pytest.mark.parametrize("claps_s", [(2.0,), (1.5, 2.1, 3.05)])
@pytest.mark.parametrize("seed", range(3))
def test_frame_sets_are_exact_with_claps_and_device_time(seed: int, claps_s: tuple[float, ...], keep: str) -> None:
    clocks, truth = _recording(seed, 900)
    found = synchronise(DESK, stream_clocks(clocks, keep), References(audio=_heard(truth, claps_s)))
    _assert_true(found, truth)
    assert np.abs(relative_drift_errors_ppm(found, truth)).max() < 40  # 30 s of stamps that jitter by 2 ms
    assert all(2.5 < report.offset_sigma_ms < 3.5 for report in found.cameras)
    assert any("2.9 ms a metre" in note for note in found.notes)


def test_claps_far_apart_give_the_drift_of_cameras_that_run_free() -> None:
    """Four cameras at their own rates on clocks up to 0.37 % apart: nothing but the sound tells the clocks."""
    random = np.random.default_rng(8)
    names = DESK.ids[:4]
    devices = {name: DeviceClock(random.uniform(5, 300), random.uniform(-1850, 1850)) for name in names}
    rates = dict(zip(names, (30.14, 30.028, 30.063, 30.099), strict=True))
    clocks = {name: np.zeros(0, np.int64) for name in DESK.ids}
    for name in names:
        clocks[name] = np.round(devices[name].device_s(np.arange(1200) / rates[name] + 0.004) * 1e9).astype(np.int64)
    truth = ClockTruth({}, {name: devices.get(name, TRUE) for name in DESK.ids}, "")
    claps_s = (2.0, 2.6, 37.5)
    tracks = [
        audio_track(SoundRecorder(Room(claps_s, 1e-3 * k, seed=k), devices[name], 16_000, 0.0, 39.0, seed=k), name)
        for k, name in enumerate(names)
    ]
    found = synchronise(DESK, {name: StreamClock(time) for name, time in clocks.items()}, References(audio=tracks))
    reports = [report for report in found.cameras if report.camera in names]
    errors = np.array([report.drift_ppm - truth.devices[report.camera].drift_ppm for report in reports])
    assert reports[0].reference == "clap" and np.ptp(errors) < 30
    assert any("drifts are its own" in note for note in found.notes)


def test_a_voice_alone_is_no_clap() -> None:
    clocks, truth = _recording(3)
    found = synchronise(DESK, stream_clocks(clocks, "h"), References(audio=_heard(truth, ())))
    assert found.cameras[0].reference == "arrival times"
    assert not find_onsets(_heard(truth, ())[0])


def test_a_device_that_heard_nothing_is_named_and_arrivals_serve() -> None:
    clocks, truth = _recording(4)
    deaf = next(name for name in DESK.ids if name.startswith("m2"))
    found = synchronise(DESK, stream_clocks(clocks, "h"), References(audio=_heard(truth, (2.0,), deaf)))
    assert found.cameras[0].reference == "arrival times"
    assert any(deaf in note and "claps" in note for note in found.notes)


def test_claps_in_a_steady_beat_are_refused_without_arrivals_and_used_with_them() -> None:
    clocks, truth = _recording(5)
    heard = References(audio=_heard(truth, (1.5, 2.0, 2.5, 3.0)))
    ambiguous = synchronise(DESK, stream_clocks(clocks, ""), heard)
    assert ambiguous.cameras[0].reference == "device clocks"
    assert any("several ways" in note for note in ambiguous.notes)
    _assert_true(synchronise(DESK, stream_clocks(clocks, "h"), heard), truth)


def test_onsets_start_where_the_clap_does() -> None:
    for level, speech in ((0.6, 0.05), (0.2, 0.02), (0.9, 0.2)):
        heard = Room((1.0, 2.5), 0.0, level, speech, seed=3)
        onsets = find_onsets(audio_track(SoundRecorder(heard, TRUE, 48_000, 0.0, 4.0), "c"))
        loud = [onset for onset in onsets if onset.above_usual > 5]
        assert np.abs(np.array([onset.sample / 48_000 for onset in loud]) - (1.0, 2.5)).max() < 5e-4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shift_s=st.floats(-300, 300), drift=st.floats(-4e-3, 4e-3))
def test_an_uneven_pattern_is_found_at_any_shift_and_drift_with_some_claps_missed(
    seed: int, shift_s: float, drift: float
) -> None:
    random = np.random.default_rng(seed)
    times = np.sort(random.uniform(0, 40, 7))
    if np.diff(times).min() < 0.2:
        return
    (onset,) = find_onsets(audio_track(SoundRecorder(Room((1.0,)), TRUE, 16_000, 0.0, 2.0), "c"))
    a_kept, b_kept = np.delete(np.arange(7), 1), np.delete(np.arange(7), 4)
    b_times = times[b_kept] * (1 + drift) + shift_s + random.uniform(-1e-3, 1e-3, 6)
    found = same_sounds(OnsetTimes(times[a_kept], [onset] * 6), OnsetTimes(b_times, [onset] * 6), False)
    if isinstance(found, str):
        assert found == "several ways to lay the claps together"
    else:
        assert all(a_kept[j] == b_kept[k] for j, k in found.pairs) and len(found.pairs) >= 4
