"""Sounds that start at once: claps of hands or of a clapperboard, found in a track of any length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from capture.readers.recording import AudioTrack

FRAME_S = 1e-3
BEFORE_FRAMES, GAP_FRAMES = 20, 2
"""A clap is louder than all of the 20 ms that end 2 ms before it."""
RISE = 10.0
"""By how much in energy (10 dB); a plosive rises in 5 to 10 ms and reaches 6 dB."""
DECAY_FRAMES, DECAY = (40, 80), 0.2
"""After 40 to 80 ms a clap has died away to this share of its energy."""
APART_FRAMES = 80
FAINTEST = 0.01
"""Onsets 20 dB below the loudest one of the track are not kept."""
MOST = 24
SNIPPET_S = (2e-3, 8e-3)
"""Sound before and after the onset that is kept to compare tracks."""
SNIPPET_RATE_HZ = 96_000.0
BLOCK_S, OVERLAP_S = 10.0, 0.3
START_SHARE = 0.3
"""An onset is where the sound first reaches this share of its peak."""


@dataclass(frozen=True, eq=False)
class Onset:
    """One sudden sound."""

    sample: float
    """Where it starts, samples of the track."""
    energy: float
    """Of its loudest millisecond, above some 2 kHz."""
    rise: float
    """How many times more than in the 20 ms before."""
    above_usual: float
    """How many times more than a usual loud millisecond of the track, the 99th in a hundred."""
    snippet: Float[np.ndarray, "n"]
    """The sound about it at `SNIPPET_RATE_HZ`, for comparison."""


def find_onsets(track: AudioTrack) -> list[Onset]:
    """Onsets of the channel whose loudest one stands out most, in order of time; memory holds ten seconds of sound."""
    found: list[list[Onset]] = [[] for _ in range(track.channel_count)]
    usual: list[list[float]] = [[] for _ in range(track.channel_count)]
    step, overlap = int(BLOCK_S * track.rate_hz), int(OVERLAP_S * track.rate_hz)
    for start in range(0, track.sample_count, step):
        begin, end = max(start - overlap, 0), min(start + step + overlap, track.sample_count)
        samples = track.read(begin, end)
        for channel in range(track.channel_count):
            onsets, energies = _onsets(samples[:, channel].astype(np.float64), track.rate_hz, begin)
            found[channel] += [onset for onset in onsets if start <= onset.sample < start + step]
            usual[channel] += energies
    chosen = max(range(track.channel_count), key=lambda channel: _prominence(found[channel], usual[channel]), default=0)
    if not found or not found[chosen]:
        return []
    loud = max(float(np.percentile(usual[chosen], 99)), 1e-12)
    loudest = max(onset.energy for onset in found[chosen])
    kept = sorted((onset for onset in found[chosen] if onset.energy >= FAINTEST * loudest), key=lambda o: -o.energy)
    return [
        Onset(onset.sample, onset.energy, onset.rise, onset.energy / loud, onset.snippet)
        for onset in sorted(kept[:MOST], key=lambda onset: onset.sample)
    ]


def _prominence(onsets: list[Onset], usual: list[float]) -> float:
    return max((onset.energy for onset in onsets), default=0.0) / max(float(np.percentile(usual, 99)), 1e-12)


def _onsets(samples: Float[np.ndarray, "n"], rate_hz: float, begin: int) -> tuple[list[Onset], list[float]]:
    """Onsets of a piece, and the energy of every tenth millisecond."""
    sharp = np.diff(samples, 2, prepend=samples[:1], append=samples[-1:])  # rises 12 dB an octave: hides voices
    width = max(int(FRAME_S * rate_hz), 1)
    count = len(sharp) // width
    if count < BEFORE_FRAMES + GAP_FRAMES + DECAY_FRAMES[1]:
        return [], [0.0]
    energy = (sharp[: count * width].reshape(count, width) ** 2).mean(1)
    window = np.lib.stride_tricks.sliding_window_view(energy, BEFORE_FRAMES)
    before = np.full(count, np.inf)
    first = BEFORE_FRAMES + GAP_FRAMES
    before[first:] = window.max(1)[: count - first]
    floor = max(float(np.median(energy)), 1e-14)
    rise = energy / (before + floor)
    onsets = []
    for place in np.flatnonzero(rise > RISE).tolist():
        if onsets and place - onsets[-1][0] < APART_FRAMES:
            continue
        after = energy[place + DECAY_FRAMES[0] : place + DECAY_FRAMES[1]]
        peak = float(energy[place : place + 6].max())
        if len(after) and after.mean() < DECAY * peak:
            onsets.append((place, peak))
    made = [
        Onset(begin + at, peak, float(rise[place : place + 4].max()), 0.0, snippet)
        for place, peak in onsets
        for at, snippet in [_start(sharp, place * width, rate_hz)]
    ]
    return made, energy[::10].tolist()


def _start(sharp: Float[np.ndarray, "n"], near: int, rate_hz: float) -> tuple[float, Float[np.ndarray, "s"]]:
    """Where the sound starts, and the sound about it."""
    low, high = max(near - int(2 * FRAME_S * rate_hz), 0), near + int(5 * FRAME_S * rate_hz)
    part = np.abs(sharp[low:high])
    at = low + int(np.argmax(part >= START_SHARE * part.max()))
    grid = np.arange(-SNIPPET_S[0], SNIPPET_S[1], 1 / SNIPPET_RATE_HZ) * rate_hz + at
    return float(at), np.interp(grid, np.arange(len(sharp)), sharp)


def lag_s(a: Onset, b: Onset) -> float:
    """How much later b's sound comes after its onset than a's after its own, seconds; 0 if they do not sound alike."""
    most = int(SNIPPET_S[0] * SNIPPET_RATE_HZ / 2)
    norm = float(np.linalg.norm(a.snippet) * np.linalg.norm(b.snippet))
    correlation = np.correlate(b.snippet, a.snippet, "full")[len(a.snippet) - 1 - most : len(a.snippet) + most]
    best = int(np.argmax(correlation))
    return (best - most) / SNIPPET_RATE_HZ if norm > 0 and correlation[best] > 0.5 * norm else 0.0
