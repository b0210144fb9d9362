"""What recorders note about time: clocks of their own, late arrivals, lost frames; and the truth beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int64

from geometry.rigs import Rig

HOST_EPOCH_NS = 1_767_225_600_000_000_000
"""2026-01-01 UTC: a simulated day is the same on every run."""


@dataclass(frozen=True, eq=False)
class ClockReading:
    """What a recorder notes beside each frame."""

    device_ns: Int64[np.ndarray, "t"]
    """The camera's own clock."""
    host_ns: Int64[np.ndarray, "t"]
    """When the frame arrived at the host."""
    frame_counter: Int64[np.ndarray, "t"]
    """Counts triggers, from 0; a gap is a dropped frame."""
    trigger_id: Int64[np.ndarray, "t"] | None = None
    """The trigger that released the frame, counted for all cameras together; None: not recorded."""


def read_clock(time_s: Float[np.ndarray, "t"], seed: int, camera_number: int) -> ClockReading:
    """A camera's clock: started by itself, a few ppm fast or slow, frames arriving late by a varying latency."""
    random = np.random.default_rng([seed, 4, camera_number])
    offset_s, drift_ppm = random.uniform(1, 400), random.normal(0, 12)
    device_s = offset_s + time_s * (1 + drift_ppm * 1e-6) + random.normal(0, 3e-5, len(time_s))
    latency_s = 0.009 + random.exponential(0.0015, len(time_s))
    device_ns = np.round(device_s * 1e9).astype(np.int64)
    host_ns = HOST_EPOCH_NS + np.round((time_s + latency_s) * 1e9).astype(np.int64)
    return ClockReading(device_ns, np.maximum.accumulate(host_ns), np.arange(len(time_s), dtype=np.int64))


@dataclass(frozen=True)
class ClockFaults:
    """How badly a studio keeps time; the defaults are the worst that was seen in the field together."""

    drift_ppm: float = 1850.0
    """Devices run fast or slow by up to this: 0.37 % between two (OrbbecSDK issue 49)."""
    jitter_s: float = 2e-3
    """One standard deviation of every time stamp."""
    drop_share: float = 0.01
    """Frames that are lost, of each camera by itself."""
    late_s: float = 0.7
    """One camera starts that much later, with a clock and a counter that start then."""
    latency_s: tuple[float, float] = (1e-4, 20e-3)
    """Every frame arrives after some time between these; what is always there differs between cameras."""
    doubled: int = 0
    """Frames of each camera that are delivered twice."""
    one_clock_per_module: bool = True
    """Cameras in one housing share its clock, the late one aside."""


STUDIO_FAULTS = ClockFaults()
"""Of `mien simulate --faults studio`."""


@dataclass(frozen=True)
class DeviceClock:
    """A device's clock as it really runs: device's time = offset + (1 + drift) * time since the first trigger."""

    offset_s: float
    """What it shows at the first trigger."""
    drift_ppm: float
    """How much it runs fast."""

    def device_s(self, time_s: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t"]:
        """What it shows at a time, seconds."""
        return self.offset_s + (1 + self.drift_ppm * 1e-6) * time_s

    def time_s(self, device_s: Float[np.ndarray, "t"]) -> Float[np.ndarray, "t"]:
        """Time since the first trigger at which it shows that, seconds."""
        return (device_s - self.offset_s) / (1 + self.drift_ppm * 1e-6)


@dataclass(frozen=True, eq=False)
class ClockTruth:
    """What nobody in a studio knows."""

    triggers: Mapping[str, tuple[int, ...]]
    """By camera, the trigger of each of its frames."""
    devices: Mapping[str, DeviceClock]
    """By camera, the clock that it is on."""
    late_camera: str
    """The one that started late; empty: none."""

    def frame_sets(self, rig: Rig) -> Int[np.ndarray, "f c"]:
        """The true sync index: a row for each trigger that some camera recorded, the first of doubled frames."""
        recorded = sorted(set().union(*self.triggers.values()))
        row = {trigger: number for number, trigger in enumerate(recorded)}
        index = np.full((len(recorded), len(rig.ids)), -1, np.int32)
        for column, name in enumerate(rig.ids):
            for frame, trigger in reversed(list(enumerate(self.triggers[name]))):
                index[row[trigger], column] = frame
        return index

    def dropped(self, camera: str) -> int:
        """Triggers between its first and its last frame that a camera lost."""
        triggers = self.triggers[camera]
        return triggers[-1] - triggers[0] + 1 - len(set(triggers))


def simulate_clocks(
    rig: Rig, frames: int, rate_hz: float, seed: int, faults: ClockFaults = STUDIO_FAULTS
) -> tuple[dict[str, ClockReading], ClockTruth]:
    """The clocks of a whole recording by common triggers, without any picture, and the truth about them."""
    random = np.random.default_rng([seed, 7])
    late = rig.ids[int(random.integers(len(rig.ids)))] if faults.late_s else ""
    by_module: dict[str, DeviceClock] = {}
    clocks, triggers, devices = {}, {}, {}
    for number, camera in enumerate(rig.cameras):
        own = np.random.default_rng([seed, 8, number])
        fresh = DeviceClock(own.uniform(1, 400), own.uniform(-faults.drift_ppm, faults.drift_ppm))
        shares = faults.one_clock_per_module and camera.id != late
        shared = by_module.setdefault(camera.module, fresh) if shares else fresh
        first = min(round(faults.late_s * rate_hz), frames - 1) if camera.id == late else 0
        # A late device's clock starts with its stream.
        started = DeviceClock(0.1 - first / rate_hz * (1 + fresh.drift_ppm * 1e-6), fresh.drift_ppm)
        devices[camera.id] = started if camera.id == late else shared
        kept = _kept(frames, first, faults, own)
        clocks[camera.id] = _reading(kept, first, rate_hz, devices[camera.id], (faults, own))
        triggers[camera.id] = tuple(kept.tolist())
    return clocks, ClockTruth(triggers, devices, late)


def _kept(frames: int, first: int, faults: ClockFaults, random: np.random.Generator) -> Int64[np.ndarray, "t"]:
    """Triggers of a camera's frames; its first and last are never lost, so that the truth about gaps is known."""
    kept = np.arange(first, frames)
    lost = random.random(len(kept)) < faults.drop_share
    lost[[0, -1]] = False
    kept = kept[~lost]
    again = random.choice(len(kept), min(faults.doubled, len(kept)), replace=False)
    return np.sort(np.concatenate([kept, kept[again]])).astype(np.int64)


def _reading(
    kept: Int64[np.ndarray, "t"],
    first: int,
    rate_hz: float,
    device: DeviceClock,
    noise: tuple[ClockFaults, np.random.Generator],
) -> ClockReading:
    faults, random = noise
    time_s = np.arange(kept[-1] + 1) / rate_hz
    device_s = device.device_s(time_s) + random.normal(0, faults.jitter_s, len(time_s))
    least, most = faults.latency_s
    always = random.uniform(least, least + 0.5 * (most - least))
    # Queues: mostly short, now and then long, never beyond what was promised.
    latency_s = np.minimum(always + random.exponential(random.uniform(0.05, 0.2) * (most - least), len(time_s)), most)
    arrived_ns = HOST_EPOCH_NS + np.round((time_s + latency_s) * 1e9).astype(np.int64)
    device_ns = np.round(device_s * 1e9).astype(np.int64)
    return ClockReading(device_ns[kept], arrived_ns[kept], kept - first, kept)
