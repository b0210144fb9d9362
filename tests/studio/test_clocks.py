"""Simulated clocks are as bad as they say, repeat, and their truth fits what was recorded."""

import wave

import numpy as np
import pytest

from capture.clock_references import References
from capture.readers.image_folder import read_image_folder
from capture.sync import synchronise
from geometry.errors import InputError
from storage.image_folder import FrameTable, RecordingCard
from studio.clocks import ClockFaults, simulate_clocks
from studio.ltc import LtcGenerator, next_label, word_bits
from studio.presets import PRESETS
from studio.recorder import SimulationConfig, simulate
from studio.sound import Room, SoundRecorder

RIG = PRESETS["vocap"](30.0)


def test_the_worst_clocks_have_the_stated_size():
    clocks, truth = simulate_clocks(RIG, 2700, 30.0, 1)
    drifts = np.array([truth.devices[name].drift_ppm for name in RIG.ids])
    assert 3200 < np.ptp(drifts) <= 3700 and len(set(drifts)) == 32
    for name, clock in clocks.items():
        time_s = np.array(truth.triggers[name]) / 30
        jitter_s = clock.device_ns / 1e9 - truth.devices[name].device_s(time_s)
        assert jitter_s.std() == pytest.approx(2e-3, rel=0.1) and abs(jitter_s.mean()) < 2e-4
        latency_s = (clock.host_ns - clocks[RIG.ids[0]].host_ns[0]) / 1e9 - time_s
        assert np.ptp(latency_s) < 0.02
        late = name == truth.late_camera
        assert truth.triggers[name][0] == (21 if late else 0) and clock.frame_counter[0] == 0
        assert (clock.trigger_id == truth.triggers[name]).all()
        assert (clock.frame_counter - clock.trigger_id == (-21 if late else 0)).all()
    lost = sum(truth.dropped(name) for name in RIG.ids) / (2700 * 93)
    assert lost == pytest.approx(0.01, rel=0.1)
    again, _ = simulate_clocks(RIG, 2700, 30.0, 1)
    assert all(np.array_equal(clocks[name].device_ns, again[name].device_ns) for name in RIG.ids)


def test_true_frame_sets_hold_every_frame_but_repeats():
    _, truth = simulate_clocks(RIG, 100, 30.0, 2, ClockFaults(doubled=3))
    index = truth.frame_sets(RIG)
    for column, name in enumerate(RIG.ids):
        frames = index[index[:, column] >= 0, column]
        triggers = truth.triggers[name]
        assert [triggers[frame] for frame in frames] == sorted(set(triggers))


def test_timecode_is_bi_phase_mark_with_a_change_at_each_bit():
    generator = LtcGenerator((12, 34, 56, 17), 1.0, 25.0, level=1.0)
    half_s = 1 / (2 * 80 * 25)
    middles = generator((np.arange(160) + 0.5) * half_s).reshape(80, 2)
    assert set(np.abs(middles).ravel()) == {1.0}
    assert (middles[1:, 0] == -middles[:-1, 1]).all(), "a change at the start of each bit"
    assert (middles[:, 0] != middles[:, 1]).astype(int).tolist() == word_bits((12, 34, 56, 17), False)
    assert generator(np.array([-1.0, 2.0])).tolist() == [0, 0]


def test_drop_frame_labels_keep_up_with_the_day():
    label, count = (0, 0, 0, 0), 0
    while label != (0, 10, 0, 0):
        label, count = next_label(label, 30, True), count + 1
    assert count == 17_982
    assert next_label((0, 0, 59, 29), 30, True) == (0, 1, 0, 2)
    assert next_label((23, 59, 59, 29), 30, True) == (0, 0, 0, 0)


def test_sound_is_the_same_however_it_is_asked_for():
    clocks, truth = simulate_clocks(RIG, 10, 30.0, 1, ClockFaults(late_s=0.0))
    recorder = SoundRecorder(Room((1.0,)), truth.devices[RIG.ids[0]], 16_000, 0.0, 3.0)
    whole = recorder(0, recorder.sample_count)
    assert np.array_equal(np.concatenate([recorder(0, 7), recorder(7, 20_000), recorder(20_000, 48_000)]), whole)
    assert recorder.anchors[-1, 0] == 32_000 and np.abs(whole).max() <= 1
    assert clocks


@pytest.mark.parametrize("sound", ["ltc", "clap"])
def test_a_recording_of_the_worst_studio_is_read_and_paired(tmp_path, sound):
    config = SimulationConfig(frames=3, subject=2, noise="none", faults="studio", off_basis=0, sound=sound, rate=10.0)
    assert simulate(tmp_path / "r", config) and not simulate(tmp_path / "r", config)
    recording = read_image_folder(tmp_path / "r")
    assert recording.notes == () and len(recording.audio) == 5
    table = FrameTable.read(tmp_path / "r" / recording.rig.ids[0])
    read = recording.clocks[recording.rig.ids[0]].trigger_id
    assert table.trigger_id is not None and read is not None and np.array_equal(read, table.trigger_id)
    triggered = synchronise(recording.rig, recording.clocks)
    assert triggered.cameras[0].reference == "trigger ids" and len(triggered.sync.time_ns) == 3
    for track in recording.audio:
        assert len(track.read(0, 100)) == 100 and track.camera in recording.rig.ids
        with wave.open(str(tmp_path / "r" / "audio" / f"{track.id}.wav")) as file:
            assert (file.getframerate(), file.getnframes()) == (track.rate_hz, track.sample_count)
    assert {path.name for path in recording.source_files} >= {f"{track.id}.wav" for track in recording.audio}
    if sound == "ltc":
        bare = {name: type(clock)(clock.device_ns) for name, clock in recording.clocks.items()}
        found = synchronise(recording.rig, bare, References(audio=recording.audio))
        assert found.cameras[0].reference == "timecode"
        assert np.array_equal(found.sync.index, triggered.sync.index)


def test_sound_needs_the_worst_studio():
    with pytest.raises(InputError, match="--sound none"):
        SimulationConfig(sound="ltc")
    assert RecordingCard("s", "l", "c", ("a",)).audio == ()
