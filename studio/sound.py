"""What the microphones of a simulated studio hear: timecode on a line, or a room with speech, noise and claps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from studio.clocks import DeviceClock

ANCHOR_EVERY_S = 1.0
CLAP_DECAY_S, CLAP_SPAN_S = 6e-3, 0.08
SYLLABLES_HZ, PLOSIVES_HZ = 3.1, 1.7


@dataclass(frozen=True)
class Room:
    """The same event heard from one place: a signal over time, in seconds since the first trigger."""

    claps_s: tuple[float, ...]
    """When hands or a clapperboard meet."""
    delay_s: float = 0.0
    """Of the sound on its way: 2.9 ms a metre."""
    clap_level: float = 0.6
    """Peak amplitude."""
    speech_level: float = 0.08
    """Amplitude of a voice that never stops: vowels, and plosives that rise in 4 ms."""
    seed: int = 0
    """Of the room's reflections."""

    def __call__(self, time_s: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Sound pressure at any times."""
        heard_s = time_s - self.delay_s
        signal = self._speech(heard_s)
        random = np.random.default_rng([self.seed, 9])
        echoes = [(0.0, 1.0), *zip(random.uniform(2e-3, 30e-3, 5), random.uniform(-0.25, 0.25, 5), strict=True)]
        for number, clap_s in enumerate(self.claps_s):
            for late_s, share in echoes:
                since = heard_s - clap_s - late_s
                near = (since >= 0) & (since < CLAP_SPAN_S)
                signal[near] += self.clap_level * share * _crack(since[near], number)
        return signal

    def _speech(self, time_s: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        syllable = np.maximum(np.sin(2 * np.pi * SYLLABLES_HZ * time_s + np.sin(0.7 * time_s)), 0) ** 2
        pitch = 2 * np.pi * (125 * time_s + 3 * np.sin(1.3 * time_s))
        # Harmonics k with amplitude k^-1.2, as powers of the first.
        vowel = np.polyval([*(k**-1.2 for k in range(13, 0, -1)), 0.0], np.exp(1j * pitch)).imag / 3
        since = np.mod(time_s, 1 / PLOSIVES_HZ)
        plosive = np.minimum(since / 4e-3, 1) * np.exp(-since / 12e-3) * _hiss(time_s)
        return self.speech_level * (syllable * vowel + plosive)


def _crack(since_s: Float[np.ndarray, "n"], number: int) -> Float[np.ndarray, "n"]:
    """A burst of broadband noise that starts at once; the same for every microphone."""
    random = np.random.default_rng([number, 10])
    frequency_hz, phase = random.uniform(800, 9000, 60), random.uniform(0, 2 * np.pi, 60)
    waves = np.sin(2 * np.pi * frequency_hz * since_s[:, None] + phase).sum(1) / np.sqrt(60)
    return waves * np.exp(-since_s / CLAP_DECAY_S)


def _hiss(time_s: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Something like noise that is a function of time."""
    frequencies_hz = (1310.0, 2417.0, 3121.0, 5303.0)
    return sum((np.sin(2 * np.pi * f * time_s + f) for f in frequencies_hz), np.zeros_like(time_s)) / 3


@dataclass(frozen=True, eq=False)
class SoundRecorder:
    """A device that samples a signal with its own clock."""

    signal: Callable[[Float[np.ndarray, "n"]], Float[np.ndarray, "n"]]
    """Over time since the first trigger, seconds."""
    clock: DeviceClock
    """Of the device."""
    rate_hz: int
    """Samples a second of the device's own."""
    from_s: float
    """When it starts, seconds since the first trigger."""
    duration_s: float
    """How long it records, seconds of the device's own."""
    noise: float = 1e-3
    """Standard deviation of white noise in the amplifier."""
    seed: int = 0
    """Of that noise."""

    @property
    def sample_count(self) -> int:
        """Samples recorded."""
        return int(self.duration_s * self.rate_hz)

    @property
    def anchors(self) -> Int64[np.ndarray, "anchor 2"]:
        """A sample's number and its device time, once a second, as exact as a driver's thread lets them be."""
        samples = np.arange(0, self.sample_count, int(ANCHOR_EVERY_S * self.rate_hz))
        jitter_s = np.random.default_rng([self.seed, 11]).normal(0, 1e-4, len(samples))
        return np.column_stack([samples, np.round((self._device_s(samples) + jitter_s) * 1e9)]).astype(np.int64)

    def __call__(self, start: int, stop: int) -> Float[np.ndarray, "sample 1"]:
        """Samples as they were recorded, the same however they are asked for."""
        time_s = self.clock.time_s(self._device_s(np.arange(start, stop)))
        blocks = range(start // self.rate_hz, -(-stop // self.rate_hz))
        drawn = [np.random.default_rng([self.seed, 12, block]).standard_normal(self.rate_hz) for block in blocks]
        noise = np.concatenate([*drawn, np.zeros(0)])[start - blocks.start * self.rate_hz :][: stop - start]
        return np.clip(self.signal(time_s) + self.noise * noise, -1, 1).astype(np.float32)[:, None]

    def _device_s(self, samples: Int64[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        return self.clock.device_s(np.array([float(self.from_s)])) + samples / self.rate_hz
