"""Which onsets of two sound tracks are the same sounds, from their pattern in time; refused where it is not certain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from capture.clocks.onsets import FAINTEST, Onset
from capture.clocks.robust_line import median_slope

ALIKE_S = 6e-3
"""Two onsets are the same if they are this close, the way of the sound included, once clocks are laid together."""
MOST_DRIFT = 5e-3
MOST_RIVAL = 0.6
"""Another way to lay the patterns together that explains this share as much makes them ambiguous."""
AROUND_S = 60e-3
"""Where arrival times say about when a sound was, they hold to some latencies."""
SINGLE_RISE, SINGLE_ABOVE = 30.0, 10.0
"""A sound that stands alone must rise by 15 dB at once, and be 10 dB louder than what the track calls loud."""


@dataclass(frozen=True)
class SameSounds:
    """Onsets of two tracks that belong together."""

    pairs: tuple[tuple[int, int], ...]
    """Numbers in the first and in the second track, in order."""


@dataclass(frozen=True, eq=False)
class OnsetTimes:
    """Onsets of one track with times."""

    time_s: Float[np.ndarray, "n"]
    """On whatever clock; if `is_placed`, on that of the other track, to some latencies."""
    onsets: list[Onset]
    """How they sound."""

    def weights(self) -> Float[np.ndarray, "n"]:
        """1 for the faintest onset kept to 2 for the loudest."""
        energy = np.array([onset.energy for onset in self.onsets])
        return 1 + np.log(energy / (FAINTEST * energy.max())).clip(0) / np.log(1 / FAINTEST)


def same_sounds(a: OnsetTimes, b: OnsetTimes, is_placed: bool) -> SameSounds | str:
    """Onsets that belong together, or why they cannot be told.

    Each pair of onsets is laid together in turn; what then falls together, with a drift between the clocks of half a
    per cent at most, speaks for it by its loudness. With `is_placed`, only pairs near each other are tried.
    """
    weights = np.minimum(a.weights()[:, None], b.weights()[None])
    tried: list[tuple[float, tuple[int, int], SameSounds]] = []
    for j in range(len(a.time_s)):
        for k in range(len(b.time_s)):
            if is_placed and abs(b.time_s[k] - a.time_s[j]) > AROUND_S:
                continue
            pairs = _laid_together(a.time_s, b.time_s, (j, k), 0.0 if is_placed else MOST_DRIFT)
            tried.append((float(sum(weights[pair] for pair in pairs)), (j, k), SameSounds(tuple(pairs))))
    if not tried:
        return "no sound at the same time"
    best, _, found = max(tried, key=lambda item: item[0])
    rivals = [score for score, pair, _ in tried if pair not in found.pairs]
    if not is_placed and max(rivals, default=0.0) > MOST_RIVAL * best:
        return "several ways to lay the claps together"
    if len(found.pairs) == 1 and not all(
        _stands_alone(item, at) for item, at in zip((a, b), found.pairs[0], strict=True)
    ):
        return "no clap that stands out"
    return found


def _laid_together(
    a_s: Float[np.ndarray, "a"], b_s: Float[np.ndarray, "b"], pair: tuple[int, int], most_drift: float
) -> list[tuple[int, int]]:
    """Pairs that fall together if `pair` does, on one line of drift."""
    since_a, since_b = a_s - a_s[pair[0]], b_s - b_s[pair[1]]
    nearest = np.abs(since_b[None] - since_a[:, None]).argmin(1)
    apart = since_b[nearest] - since_a
    near = np.flatnonzero(np.abs(apart) <= ALIKE_S + most_drift * np.abs(since_a))
    if len(near) > 2:
        slope = float(np.clip(median_slope(since_a[near], apart[near]), -most_drift, most_drift))
        level = float(np.median(apart[near] - slope * since_a[near]))
        fits = np.abs(apart[near] - slope * since_a[near] - level) <= ALIKE_S
        near = near[fits] if fits[near == pair[0]].all() else near[near == pair[0]]
    chosen = {int(nearest[j]): int(j) for j in near}
    return sorted((j, k) for k, j in chosen.items())


def _stands_alone(item: OnsetTimes, number: int) -> bool:
    onset = item.onsets[number]
    loudest = max(other.energy for other in item.onsets)
    return onset.rise >= SINGLE_RISE and onset.above_usual >= SINGLE_ABOVE and onset.energy >= 0.5 * loudest
