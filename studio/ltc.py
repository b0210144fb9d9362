"""Linear timecode as a generator plays it: SMPTE labels, bi-phase mark, with the rise time of a real line.

Source: SMPTE ST 12-1:2014, section 9 (codeword) and 10 (modulation).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

SYNC_WORD = (0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1)
WORD_BITS = 80
RISE_S = 40e-6
"""Rise time of the signal, 25 us or more in the standard."""


@dataclass(frozen=True)
class LtcGenerator:
    """Timecode that plays from time 0 on."""

    start: tuple[int, int, int, int]
    """Hours, minutes, seconds and frame of the first word."""
    duration_s: float
    """How long it plays."""
    frame_rate_hz: float = 25.0
    """24, 25, 30, or 30000 / 1001."""
    drop_frame: bool = False
    """Whether labels :00 and :01 of most minutes are left out, so that labels keep up with the day."""
    level: float = 0.5
    """Half of the peak-to-peak amplitude; negative: inverted polarity."""

    def __call__(self, time_s: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """The signal at any times, silent outside."""
        place_s, height = self._corners
        return self.level * np.interp(time_s, place_s, height)

    @cached_property
    def _corners(self) -> tuple[Float[np.ndarray, "corner"], Float[np.ndarray, "corner"]]:
        """Where the signal bends and how high it is: a slope at the start of each bit, and in the middle of a one."""
        label, bits = self.start, []
        for _ in range(int(np.ceil(self.duration_s * self.frame_rate_hz))):
            bits += word_bits(label, self.drop_frame)
            label = next_label(label, round(self.frame_rate_hz), self.drop_frame)
        halves = np.array([[True, bool(bit)] for bit in bits]).ravel()
        edges_s = np.append(np.flatnonzero(halves), len(halves)) / (2 * WORD_BITS * self.frame_rate_hz)
        place_s = edges_s[:, None] + np.array([-RISE_S / 2, RISE_S / 2])
        height = np.where(np.arange(len(edges_s)) % 2, -1.0, 1.0)
        corners = np.column_stack([-height, height])
        corners[0, 0] = corners[-1, 1] = 0.0
        return place_s.ravel(), corners.ravel()


def word_bits(label: tuple[int, int, int, int], drop_frame: bool) -> list[int]:
    """The 80 bits of a label (hours, minutes, seconds, frame), first to last; no user bits."""
    hours, minutes, seconds, frame = label
    fields = (
        (frame % 10, 4),
        (0, 4),
        (frame // 10, 2),
        (int(drop_frame), 1),
        (0, 5),
        (seconds % 10, 4),
        (0, 4),
        (seconds // 10, 3),
        (0, 5),
        (minutes % 10, 4),
        (0, 4),
        (minutes // 10, 3),
        (0, 5),
        (hours % 10, 4),
        (0, 4),
        (hours // 10, 2),
        (0, 6),
    )
    bits = [value >> place & 1 for value, width in fields for place in range(width)]
    return [*bits, *SYNC_WORD]


def next_label(label: tuple[int, int, int, int], counting: int, drop_frame: bool) -> tuple[int, int, int, int]:
    """The label one frame later; the day wraps."""
    hours, minutes, seconds, frame = label
    frame += 1
    if frame == counting:
        seconds, frame = seconds + 1, 0
    if seconds == 60:
        minutes, seconds = minutes + 1, 0
        if drop_frame and minutes % 10:
            frame = 2
    if minutes == 60:
        hours, minutes = (hours + 1) % 24, 0
    return hours, minutes, seconds, frame
