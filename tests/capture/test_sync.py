"""Frames are paired by the moment they show, whatever clocks, drops, doubles and late starts do to their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from capture.device_clock import fit_clock
from capture.readers.recording import StreamClock
from capture.sync import Synchronised, synchronise
from geometry.errors import InputError
from tests.capture.synthetic_recording import CAMERAS, Recorded, Script, clock_table, plain_script, synthetic_rig


def _clocks(script: Script, host: bool = True, counter: bool = True) -> dict[str, StreamClock]:
    clocks = {}
    for number, name in enumerate(script.cameras):
        table = clock_table(script.cameras[name], script, number)
        host_ns, frame_counter = table.host_ns if host else None, table.frame_counter if counter else None
        clocks[name] = StreamClock(table.device_ns, host_ns, frame_counter)
    return clocks


def _synchronise(script: Script, **have: bool) -> Synchronised:
    return synchronise(synthetic_rig(script.rate_hz), _clocks(script, **have))


def _assert_exact(found: Synchronised, script: Script) -> None:
    """Every trigger that some camera recorded is one frame set of just the frames that were taken at it."""
    recorded = {name: script.cameras[name].triggers for name in CAMERAS}
    triggers = sorted(set().union(*recorded.values()))
    truth = np.array(
        [[recorded[name].index(k) if k in recorded[name] else -1 for name in CAMERAS] for k in triggers], np.int32
    )
    assert np.array_equal(found.sync.index, truth)
    times_s = (found.sync.time_ns - found.sync.time_ns[0]) / 1e9
    assert np.abs(times_s - (np.array(triggers) - triggers[0]) / script.rate_hz).max() < 0.25 / script.rate_hz


def _faulty_script(seed: int, frames: int) -> Script:
    """Random offsets and drifts up to 0.37 %, jitter, drops, doubled frames and one late camera."""
    random = np.random.default_rng(seed)
    cameras = {}
    late = CAMERAS[random.integers(4)]
    for name in CAMERAS:
        triggers = list(range(frames))
        if name == late:
            del triggers[: max(1, frames // 10)]
        for _ in range(max(1, frames // 20)):
            del triggers[random.integers(1, len(triggers) - 1)]
        again = int(random.integers(len(triggers)))
        triggers.insert(again, triggers[again])
        drift_ppm, jitter_s = random.uniform(-1850, 1850), random.uniform(1e-5, 1e-3)
        cameras[name] = Recorded(
            tuple(triggers), random.uniform(1, 9e5), drift_ppm, jitter_s, random.uniform(1e-4, 2e-3)
        )
    return Script(cameras, rate_hz=float(random.choice([15.0, 30.0, 60.0])), seed=seed)


@pytest.mark.parametrize("counter", [True, False])
@pytest.mark.parametrize("frames", [8, 30, 200, 1500])
@pytest.mark.parametrize("seed", range(6))
def test_faulty_recordings_are_paired_exactly(seed: int, frames: int, counter: bool) -> None:
    script = _faulty_script(seed, frames)
    found = _synchronise(script, counter=counter)
    _assert_exact(found, script)
    for name, report in zip(CAMERAS, found.cameras, strict=True):
        triggers = script.cameras[name].triggers
        assert report.camera == name
        assert report.doubled == 1 and report.unpaired == 0
        assert report.dropped == triggers[-1] - triggers[0] + 1 - len(set(triggers))
        recorded = set().union(*(other.triggers for other in script.cameras.values()))
        assert report.first_frame_set == sum(trigger < triggers[0] for trigger in recorded)


def test_offsets_are_recovered_and_short_recordings_get_no_drift() -> None:
    script = plain_script(30)
    found = _synchronise(script)
    for name, report in zip(CAMERAS, found.cameras, strict=True):
        start_s = 1_767_225_600 + 0.009
        assert report.offset_s == pytest.approx(start_s - script.cameras[name].offset_s, abs=5e-4)
        assert abs(report.drift_ppm) < 5 and report.spread_ms < 0.5 and 0.5 < report.residual_ms < 4
        assert report.rate_hz == pytest.approx(30, rel=1e-3)


@pytest.mark.parametrize("drift_ppm", [-1850.0, -40.0, 0.0, 12.0, 150.0, 1850.0])
def test_drift_is_recovered_over_five_minutes(drift_ppm: float) -> None:
    cameras = {name: Recorded(tuple(range(9000)), 10.0, drift_ppm) for name in CAMERAS}
    for report in _synchronise(Script(cameras)).cameras:
        assert report.drift_ppm == pytest.approx(drift_ppm, abs=0.5)


@pytest.mark.parametrize("seed", range(5))
def test_a_step_of_the_recorder_s_clock_does_not_move_the_line(seed: int) -> None:
    random = np.random.default_rng(seed)
    device_ns = (np.arange(600) * 1e9 / 30).astype(np.int64)
    host_ns = device_ns + 9_000_000 + random.exponential(1.5e6, 600).astype(np.int64)
    wrong = host_ns.copy()
    wrong[random.integers(0, 600, 5)] -= 500_000_000
    wrong[random.integers(0, 600, 60)] += random.integers(0, 2_000_000_000, 60)
    line = fit_clock(device_ns, wrong)
    assert line.offset_ns == pytest.approx(9e6, abs=1e5) and abs(line.drift) < 5e-6


def test_free_running_cameras_of_unequal_rates_meet_the_nearest_in_time() -> None:
    """Four Femto Bolts ran at 30.14, 30.028, 30.063 and 30.099 Hz (OrbbecSDK issue 49): a frame of slip in 9 s."""
    rates = dict(zip(CAMERAS, (30.14, 30.028, 30.063, 30.099), strict=True))
    times_ns = {name: (np.arange(int(30 * rate)) * 1e9 / rate).astype(np.int64) for name, rate in rates.items()}
    clocks = {name: StreamClock(time + 7 * 10**9, time + 10**7) for name, time in times_ns.items()}
    found = synchronise(synthetic_rig(), clocks)
    index = found.sync.index
    fast = index[:, 0] >= 0
    assert fast.all() and len(index) == len(times_ns["left_rgb"])
    for column, name in enumerate(CAMERAS):
        held = index[:, column] >= 0
        apart = times_ns[name][index[held, column]] - times_ns["left_rgb"][index[held, 0]]
        assert np.abs(apart).max() <= 0.5e9 / 30.14 + 1
        assert (np.diff(index[held, column]) == 1).all() and index[held, column][-1] >= len(times_ns[name]) - 1
    assert [report.unpaired for report in found.cameras] == [0, 0, 0, 0]
    assert [report.rate_hz for report in found.cameras] == pytest.approx(list(rates.values()), rel=1e-6)


def test_a_slower_camera_is_in_every_second_set() -> None:
    cameras = dict(plain_script(40).cameras)
    cameras["left_depth"] = replace(cameras["left_depth"], triggers=tuple(range(0, 40, 2)))
    script = Script(cameras)
    _assert_exact(_synchronise(script), script)


def test_a_trigger_that_all_cameras_missed_is_a_gap_in_time_and_no_set() -> None:
    triggers = (*range(10), *range(13, 30))
    cameras = {name: replace(recorded, triggers=triggers) for name, recorded in plain_script().cameras.items()}
    script = Script(cameras)
    found = _synchronise(script)
    _assert_exact(found, script)
    assert [report.dropped for report in found.cameras] == [3] * 4


def test_one_frame_a_camera_is_one_set_whatever_the_clocks_say() -> None:
    rig = synthetic_rig()
    clocks = {name: StreamClock(np.array([7 + number * 10**12])) for number, name in enumerate(CAMERAS)}
    found = synchronise(rig, clocks)
    assert found.sync.index.tolist() == [[0, 0, 0, 0]] and found.notes == ()
    assert {report.dropped for report in found.cameras} == {0}
    unknown = {name: StreamClock(np.zeros(1, np.int64)) for name in CAMERAS}
    assert synchronise(rig, unknown).sync.time_ns.tolist() == [0]


def test_without_arrival_times_the_device_clocks_are_one_and_a_note_says_so() -> None:
    cameras = {name: replace(recorded, offset_s=5.0) for name, recorded in plain_script(25).cameras.items()}
    cameras["right_rgb"] = replace(cameras["right_rgb"], triggers=tuple(range(4, 25)))
    script = Script(cameras)
    found = _synchronise(script, host=False)
    _assert_exact(found, script)
    assert "no arrival times" in found.notes[0]
    assert {(report.offset_s, report.drift_ppm) for report in found.cameras} == {(0.0, 0.0)}


def test_frames_out_of_order_are_paired_by_time() -> None:
    script = plain_script(20)
    clocks = _clocks(script)
    swap = np.r_[0:5, 6, 5, 7:20]
    clock = clocks["left_rgb"]
    assert clock.host_ns is not None and clock.frame_counter is not None
    clocks["left_rgb"] = StreamClock(clock.device_ns[swap], clock.host_ns[swap], clock.frame_counter[swap])
    found = synchronise(synthetic_rig(), clocks)
    assert found.sync.index[:, 0].tolist() == swap.tolist()
    assert found.sync.index[:, 1].tolist() == list(range(20))


def _twice(clocks: Mapping[str, StreamClock], by: str) -> StreamClock:
    """The fourth frame repeated at the end of the first five, equal in one clock only."""
    clock = clocks["left_rgb"]
    assert clock.host_ns is not None and clock.frame_counter is not None
    row = np.r_[0:5, 3, 5:20]
    device_ns, counter = clock.device_ns[row].copy(), clock.frame_counter[row].copy()
    if by == "counter":
        device_ns[5] += 1_000_000
    else:
        counter[5] = 1000
    return StreamClock(device_ns, clock.host_ns[row], counter)


@pytest.mark.parametrize("by", ["counter", "device_ns"])
def test_a_repeated_counter_or_device_time_makes_a_doubled_frame(by: str) -> None:
    clocks = _clocks(plain_script(20))
    clocks["left_rgb"] = _twice(clocks, by)
    found = synchronise(synthetic_rig(), clocks)
    assert found.sync.index[:, 0].tolist() == [0, 1, 2, 3, 4, *range(6, 21)]
    assert found.cameras[0].doubled == 1


def test_each_frame_is_used_once_even_where_cameras_beat_at_random() -> None:
    random = np.random.default_rng(3)
    clocks = {}
    for name in CAMERAS:
        time = np.sort(random.integers(0, 3 * 10**9, 80))
        clocks[name] = StreamClock(time, time + 10**7)
    found = synchronise(synthetic_rig(), clocks)
    for column, report in enumerate(found.cameras):
        used = found.sync.index[:, column]
        used = used[used >= 0]
        assert len(set(used.tolist())) == len(used) == 80 - report.unpaired
    assert (np.diff(found.sync.time_ns) > 0).all()


def test_no_frames_and_a_clock_that_stands_still_are_refused() -> None:
    rig = synthetic_rig()
    none = StreamClock(np.zeros(0, np.int64))
    with pytest.raises(InputError, match="without frames"):
        synchronise(rig, dict.fromkeys(CAMERAS, none))
    clocks = _clocks(plain_script(5))
    found = synchronise(rig, clocks | {"left_depth": none})
    assert (found.sync.index[:, 1] == -1).all() and found.cameras[1].first_frame_set == -1
    with pytest.raises(InputError, match="5 frames of left_rgb at 0 ns"):
        synchronise(rig, clocks | {"left_rgb": StreamClock(np.zeros(5, np.int64))})
