"""SMPTE timecode that a recorder wrote once, for the first frame of a file, counted on to the others.

Source: SMPTE ST 12-1, 5.2 (drop-frame counting leaves out the labels :00 and :01 of each minute but every tenth, at
30 frames a second, and twice as many at 60).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Int64

LABEL = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})([:;.])([0-9]{2,3})")
DAY_S = 24 * 3600


def timecodes_ns(start: str, rate_hz: Fraction, numbers: Sequence[int]) -> Int64[np.ndarray, "t"] | None:
    """Nanoseconds since midnight that the labels of frames show, or None if `start` is no timecode at that rate.

    `numbers` count frames from the one that `start` (HH:MM:SS:FF, with ; before FF for drop-frame) labels. A label
    shows hours, minutes, seconds and a frame of the second at the whole rate that it counts in (30 for 29.97).
    """
    match = LABEL.fullmatch(start)
    counting = round(rate_hz)
    if match is None or not 0 < counting <= 960:
        return None
    hours, minutes, seconds, frame = (int(match[place]) for place in (1, 2, 3, 5))
    drops = match[4] != ":" and counting % 30 == 0
    if hours > 23 or minutes > 59 or seconds > 59 or frame >= counting:
        return None
    dropped = counting // 15 if drops else 0
    whole_minutes = 60 * hours + minutes
    first = ((3600 * hours + 60 * minutes + seconds) * counting + frame) - dropped * (
        whole_minutes - whole_minutes // 10
    )
    per_ten = 600 * counting - 9 * dropped
    per_minute = 60 * counting - dropped
    found = []
    for number in numbers:
        count = first + number
        if dropped:
            tens, rest = divmod(count, per_ten)
            count += 9 * dropped * tens + (dropped * ((rest - dropped) // per_minute) if rest >= dropped else 0)
        found.append(round(Fraction(count % (DAY_S * counting), counting) * 1_000_000_000))
    return np.array(found, np.int64)
