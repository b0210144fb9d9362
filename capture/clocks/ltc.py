"""Linear timecode in sound: words of 80 bits in bi-phase mark, found anywhere in a track.

Source: SMPTE ST 12-1:2014, sections 9 and 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int64, UInt8

from capture.readers.recording import AudioTrack

WORD_BITS = 80
SYNC = np.array([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1], np.uint8)
"""The last sixteen bits of a word; backwards it stands at the start of a word that was played backwards."""
NOMINAL_RATES_HZ = (24.0, 25.0, 30.0)
BLOCK_S, OVERLAP_S = 10.0, 0.3
"""Sound is read in blocks that share more than two words, so that no word is cut everywhere."""
HYSTERESIS = 0.4
"""Of the mean amplitude: smaller excursions are noise."""
LEVEL_S = 0.02
TOLERANCE = 0.2
"""How far an interval may be from a half or a whole bit, of a whole bit."""
LEAST_LEVEL = 2e-3
"""Amplitude below which a line is silent."""
SPACING_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class LtcWords:
    """Words of one track in order; each is followed or preceded by its neighbour, so that none is a chance find."""

    sample: Float[np.ndarray, "word"]
    """Where each word's first bit starts, in samples of the track."""
    label: Int[np.ndarray, "word 4"]
    """Hours, minutes, seconds, frame."""
    drop_frame: bool
    """Whether labels leave out numbers so that they keep up with the day."""
    counting: int
    """Frames that a second of labels counts: 24, 25 or 30."""
    backwards: int
    """Words that were played backwards; they are not among the others."""

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second: 30000 / 1001 for drop-frame, else the whole number, whatever a generator's own error."""
        return 30000 / 1001 if self.drop_frame else float(self.counting)

    def count(self) -> Int64[np.ndarray, "word"]:
        """Frames since midnight; more than a day's where midnight has passed since the first word."""
        hours, minutes, seconds, frame = self.label.T.astype(np.int64)
        whole_minutes = 60 * hours + minutes
        count = (60 * whole_minutes + seconds) * self.counting + frame
        if self.drop_frame:
            count -= 2 * (whole_minutes - whole_minutes // 10)
        day = self.frames_a_day
        back = np.concatenate([[0], np.cumsum(np.diff(count) < -day // 2)])
        return count + day * back

    @property
    def frames_a_day(self) -> int:
        """Labels from midnight to midnight."""
        return 24 * 3600 * self.counting - (2 * 9 * 6 * 24 if self.drop_frame else 0)


@dataclass(frozen=True, eq=False)
class _Found:
    """Words of a piece of sound."""

    sample: Float[np.ndarray, "word"]
    bits: UInt8[np.ndarray, "word 80"]
    backwards: Bool[np.ndarray, "word"]


def decode_ltc(track: AudioTrack) -> LtcWords | None:
    """The timecode of the channel that carries most words, or None; memory holds ten seconds of sound.

    Any level from -50 dB on, either polarity, any start, gaps, 24 to 30 frames a second within a tenth.
    """
    channels: list[list[_Found]] = [[] for _ in range(track.channel_count)]
    for start, samples in _blocks(track):
        for channel, found in enumerate(channels):
            found.append(_words_of(samples[:, channel], start, track.rate_hz))
    best = max(channels, key=lambda found: sum(len(piece.sample) for piece in found), default=[])
    if not any(len(piece.sample) for piece in best):
        return None
    sample = np.concatenate([piece.sample for piece in best])
    bits = np.concatenate([piece.bits for piece in best])
    backwards = np.concatenate([piece.backwards for piece in best])
    return _consistent(sample, bits, backwards, track.rate_hz)


def _blocks(track: AudioTrack) -> Iterator[tuple[int, Float[np.ndarray, "sample channel"]]]:
    step, overlap = int(BLOCK_S * track.rate_hz), int(OVERLAP_S * track.rate_hz)
    for start in range(0, track.sample_count, step):
        yield start, track.read(start, min(start + step + overlap, track.sample_count))


def _words_of(samples: Float[np.ndarray, "sample"], start: int, rate_hz: float) -> _Found:
    edges = _edges(samples.astype(np.float64), rate_hz)
    pieces = [_words_at(edges, rate_hz / (WORD_BITS * rate)) for rate in NOMINAL_RATES_HZ]
    best = max(pieces, key=lambda piece: len(piece.sample))
    return _Found(best.sample + start, best.bits, best.backwards)


def _edges(samples: Float[np.ndarray, "sample"], rate_hz: float) -> Float[np.ndarray, "edge"]:
    """Where the signal changes sign by more than noise does, between samples."""
    window = max(int(LEVEL_S * rate_hz), 8)
    count = len(samples) // window
    if count < 2:
        return np.zeros(0)
    pieces = samples[: count * window].reshape(count, window)
    middle = pieces.mean(1)
    strength = np.abs(pieces - middle[:, None]).mean(1)
    lengths = np.append(np.full(count - 1, window), len(samples) - window * (count - 1))
    centred = samples - np.repeat(middle, lengths)
    level = np.repeat(strength, lengths)
    side = np.where(centred > HYSTERESIS * level, 1, np.where(centred < -HYSTERESIS * level, -1, 0))
    side[level < LEAST_LEVEL] = 0
    decided = np.flatnonzero(side)
    if len(decided) < 2:
        return np.zeros(0)
    change = np.flatnonzero(np.diff(side[decided]))
    before, after = decided[change], decided[change + 1]
    a, b = centred[before], centred[after]
    return before + a / (a - b) * (after - before)


def _words_at(edges: Float[np.ndarray, "edge"], bit: float) -> _Found:
    """Words among edges, if a bit lasts about so many samples."""
    nothing = _Found(np.zeros(0), np.zeros((0, WORD_BITS), np.uint8), np.zeros(0, bool))
    if len(edges) < WORD_BITS:
        return nothing
    bit = _measured_bit(np.diff(edges), bit)
    length = np.diff(edges) / bit
    whole, half = np.abs(length - 1) < TOLERANCE, np.abs(length - 0.5) < TOLERANCE
    bits, starts, run = _bits(whole, half, edges)
    if len(bits) < WORD_BITS:
        return nothing
    windows = np.lib.stride_tricks.sliding_window_view(bits, WORD_BITS)
    unbroken = run[WORD_BITS - 1 :] == run[: len(run) - WORD_BITS + 1]
    forward = unbroken & (windows[:, -16:] == SYNC).all(1)
    backward = unbroken & (windows[:, :16] == SYNC[::-1]).all(1)
    places = np.flatnonzero(forward | backward)
    turned = ~forward[places]
    words = np.where(turned[:, None], windows[places][:, ::-1], windows[places])
    return _Found(starts[places], words, turned)


def _measured_bit(intervals: Float[np.ndarray, "interval"], bit: float) -> float:
    """The length of a bit: the middle of intervals near a whole one, a few hundredths from nominal at most."""
    whole = intervals[np.abs(intervals / bit - 1) < TOLERANCE / 2]
    return float(np.clip(np.median(whole), 0.9 * bit, 1.1 * bit)) if len(whole) else bit


def _bits(
    whole: Bool[np.ndarray, "interval"], half: Bool[np.ndarray, "interval"], edges: Float[np.ndarray, "edge"]
) -> tuple[UInt8[np.ndarray, "bit"], Float[np.ndarray, "bit"], Int64[np.ndarray, "bit"]]:
    """Each bit, where it starts, and the number of the unbroken run that it stands in.

    A whole interval is a zero, two halves are a one. Halves between two wholes come in pairs; where they do not, or
    where an interval is neither, the run breaks. After a break pairs are counted from the next whole backwards.
    """
    count = len(whole)
    block = np.concatenate([[0], np.cumsum(half[1:] != half[:-1])])  # stretches of halves and of others
    first = np.flatnonzero(np.concatenate([[True], half[1:] != half[:-1]]))
    length = np.diff(np.append(first, count))
    place = np.arange(count) - first[block]
    odd = half & (length[block] % 2 == 1)
    after_whole = np.concatenate([[False], whole[:-1]])[first][block]
    # An odd stretch of halves after something that was lost: its last pairs are whole.
    parity = np.where(odd & ~after_whole, 1, 0)
    opens = half & ((place - parity) % 2 == 0) & (place >= parity) & (place + 1 < length[block])
    is_bit = whole | opens
    broken = ~(whole | half) | (odd & (place == length[block] - 1) & after_whole) | (odd & ~after_whole & (place == 0))
    run = np.cumsum(broken)
    chosen = np.flatnonzero(is_bit)
    return opens[chosen].astype(np.uint8), edges[chosen], run[chosen].astype(np.int64)


def _label(bits: UInt8[np.ndarray, "word 80"]) -> Int64[np.ndarray, "word 4"]:
    def number(*places: tuple[int, int]) -> Int64[np.ndarray, "word"]:
        (units, tens) = ((bits[:, at : at + width].astype(np.int64) << np.arange(width)).sum(1) for at, width in places)
        return units + 10 * tens

    hours, minutes = number((48, 4), (56, 2)), number((32, 4), (40, 3))
    seconds, frame = number((16, 4), (24, 3)), number((0, 4), (8, 2))
    return np.column_stack([hours, minutes, seconds, frame])


def _consistent(
    sample: Float[np.ndarray, "word"],
    bits: UInt8[np.ndarray, "word 80"],
    backwards: Bool[np.ndarray, "word"],
    rate_hz: float,
) -> LtcWords | None:
    """Words that stand one frame from a neighbour in the track and in their labels."""
    label = _label(bits)
    possible = (label < (24, 60, 60, 30)).all(1) & ~backwards
    turned = int((backwards & (label < (24, 60, 60, 30)).all(1)).sum())
    sample, label, flag = sample[possible], label[possible], bits[possible, 10]
    order = np.argsort(sample, kind="stable")
    sample, label, flag = sample[order], label[order], flag[order]
    fresh = np.concatenate([[True], np.diff(sample) > 0.5 * rate_hz / 30])[: len(sample)]  # blocks overlap
    sample, label, flag = sample[fresh], label[fresh], flag[fresh]
    if len(sample) < 2:
        return None
    spacing = np.diff(sample)
    period = float(np.median(spacing))
    counting = min((24, 25, 30), key=lambda rate: abs(rate_hz / period - rate))
    words = LtcWords(sample, label, bool(np.median(flag) > 0) and counting == 30, counting, turned)
    follows = (np.diff(words.count()) == 1) & (np.abs(spacing / period - 1) < SPACING_TOLERANCE)
    good = np.concatenate([[False], follows]) | np.concatenate([follows, [False]])
    good &= label[:, 3] < counting
    if not good.any():
        return None
    return LtcWords(sample[good], label[good], words.drop_frame, counting, turned)
