"""The clocks of a studio, in figures: frame sets that differ from the truth, errors of drift, gaps and offset.

Recordings of 90 s in the shape of HEADSET's studio (31 modules, 93 cameras) at 30 frames a second: device clocks up to
0.37 % apart, 2 ms of jitter on every time stamp, 1 % of frames dropped, some doubled, one camera 700 ms late, arrivals
0.1 to 20 ms late. Frame sets by trigger ids; by timecode in the sound and device time alone; by one clap and device
time alone; drift, gaps and offset by arrival and device times alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ingest_table import Table
from jaxtyping import Float

from capture.clock_references import References
from capture.readers.recording import AudioTrack, StreamClock
from capture.sync import Synchronised, synchronise
from geometry.rigs import Rig
from studio.clocks import HOST_EPOCH_NS, ClockFaults, ClockReading, ClockTruth, simulate_clocks
from studio.presets import PRESETS
from studio.sound import SoundRecorder
from studio.sound_files import sound_recorders

FRAMES, RATE_HZ = 2700, 30.0
SEEDS, SOUND_SEEDS = (2201, 2202, 2203, 2204), (2205, 2206)
"""None of them was looked at while the method was made."""
LTC_S, CLAP_S = 20.0, 5.0
"""How much of the sound is made: drawing it takes longer than listening to it."""


def measure(folder: Path, table: Table) -> None:
    """All figures; `folder` is not needed."""
    rig = PRESETS["vocap"](RATE_HZ)
    faults = ClockFaults(doubled=2)
    wrong = {"trigger": 0, "ltc": 0, "clap": 0}
    drift_ppm, gaps, offset_ms, sigma_ms = [], 0, [], []
    for seed in SEEDS:
        clocks, truth = simulate_clocks(rig, FRAMES, RATE_HZ, seed, faults)
        wrong["trigger"] += wrong_entries(rig, synchronise(rig, recorded(clocks, "trigger")), truth)
        found = synchronise(rig, recorded(clocks, "arrival"))
        drift_ppm.append(np.abs(drift_errors_ppm(found, truth)).max())
        gaps += gap_errors(found, truth)
        offset_ms.append(np.abs(offset_errors_ms(found, clocks, truth)))
        sigma_ms.append([report.offset_sigma_ms for report in found.cameras])
    for seed in SOUND_SEEDS:
        clocks, truth = simulate_clocks(rig, FRAMES, RATE_HZ, seed, faults)
        for kind, length_s in (("ltc", LTC_S), ("clap", CLAP_S)):
            heard = sound_tracks(sound_recorders(rig, truth, (kind, length_s, seed)))
            found = synchronise(rig, recorded(clocks, "device"), References(audio=heard))
            wrong[kind] += wrong_entries(rig, found, truth)
    for kind, count in wrong.items():
        table.add(f"sync_wrong_{kind}", count, "entries", 0)
    table.add("sync_wrong", sum(wrong.values()), "entries", 0)
    table.add("sync_drift_error_ppm", max(drift_ppm), "ppm", 0.3)
    table.add("sync_gap_errors", gaps, "frames", 0)
    errors, sigmas = np.concatenate(offset_ms), np.concatenate(sigma_ms)
    table.add("sync_offset_error_ms", errors.max(), "ms", 0.5)
    table.add("sync_offset_confidence_ms", float(np.median(sigmas)), "ms", 0.3)
    table.add("sync_offset_covered", float((errors <= 3 * sigmas).mean()), "share", 0.05, "higher")


def recorded(clocks: dict[str, ClockReading], what: str) -> dict[str, StreamClock]:
    """Device times, and with them trigger ids, arrivals, or nothing else ("device"), and never a counter."""
    return {
        name: StreamClock(
            clock.device_ns,
            clock.host_ns if what == "arrival" else None,
            None,
            clock.trigger_id if what == "trigger" else None,
        )
        for name, clock in clocks.items()
    }


def sound_tracks(recorders: dict[str, SoundRecorder]) -> list[AudioTrack]:
    """What the devices' recorders hear, as a reader gives it."""
    return [
        AudioTrack(name, name, float(item.rate_hz), item.sample_count, 1, item.anchors, _Held(item))
        for name, item in recorders.items()
    ]


class _Held:
    """The samples of a short track, drawn once."""

    def __init__(self, recorder: SoundRecorder) -> None:
        self.recorder = recorder
        self.samples: Float[np.ndarray, "sample 1"] | None = None

    def __call__(self, start: int, stop: int) -> Float[np.ndarray, "sample 1"]:
        if self.samples is None:
            self.samples = self.recorder(0, self.recorder.sample_count)
        return self.samples[start:stop]


def wrong_entries(rig: Rig, found: Synchronised, truth: ClockTruth) -> int:
    """Entries of the sync index that differ from the truth; all of them if there are more or fewer frame sets."""
    index = truth.frame_sets(rig)
    return int((index != found.sync.index).sum()) if index.shape == found.sync.index.shape else index.size


def drift_errors_ppm(found: Synchronised, truth: ClockTruth) -> Float[np.ndarray, "camera"]:
    """Of each camera's drift against the recorder's clock."""
    true_ppm = _of(truth.devices[report.camera].drift_ppm for report in found.cameras)
    return _of(report.drift_ppm for report in found.cameras) - true_ppm


def gap_errors(found: Synchronised, truth: ClockTruth) -> int:
    """Lost and doubled frames that were not found, or found and not lost."""
    lost = sum(abs(report.dropped - truth.dropped(report.camera)) for report in found.cameras)
    repeated = {name: len(triggers) - len(set(triggers)) for name, triggers in truth.triggers.items()}
    return lost + sum(abs(report.doubled - repeated[report.camera]) for report in found.cameras)


def offset_errors_ms(
    found: Synchronised, clocks: dict[str, ClockReading], truth: ClockTruth
) -> Float[np.ndarray, "camera"]:
    """Of each camera's offset against the others: what all are wrong by is no matter for frame sets."""
    errors = []
    for report in found.cameras:
        first_s = clocks[report.camera].device_ns.min(keepdims=True) / 1e9
        true_s = HOST_EPOCH_NS / 1e9 + (truth.devices[report.camera].time_s(first_s) - first_s)[0]
        errors.append((report.offset_s - true_s) * 1e3)
    return _of(errors) - np.median(errors)


def _of(values: Iterable[float]) -> Float[np.ndarray, "n"]:
    return np.array(list(values), np.float64)
