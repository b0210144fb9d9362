"""The time line of SMPTE timecode: on a sound track of each device, or a label at each frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from capture.clock_references import References
from capture.clocks.ltc import LtcWords, decode_ltc
from capture.clocks.pairs import Pairs, time_line_of_pairs
from capture.clocks.sound_clock import sound_clock
from capture.clocks.time_line import Refused, TimeLine
from capture.clocks.tracks import Track

DAY_NS = 24 * 3600 * 10**9
WORD_NOISE_NS = 2e4
"""Of a word's place among the samples: one of them."""
FEWEST_WORDS = 5


def by_timecode(tracks: list[Track], references: References) -> TimeLine | Refused:
    """Timecode as time; sound is asked first, labels of frames serve cameras without it.

    Labels are of the frame that they stand at, so that they know a camera's offset to a fraction of a frame.
    """
    names = {track.camera.id for track in tracks}
    pairs: dict[str, Pairs] = {}
    day_ns: dict[str, int] = {}
    notes: list[str] = []
    for sound in references.audio:
        if sound.camera in names and (words := decode_ltc(sound)) is not None and len(words.sample) >= FEWEST_WORDS:
            time_ns = np.round(words.count() * (1e9 / words.frame_rate_hz)).astype(np.int64)
            clock = sound_clock(sound)
            device_ns = clock.times_ns(words.sample)
            pairs[sound.camera] = Pairs(device_ns, time_ns, WORD_NOISE_NS, clock.always_ns, clock.drift_sigma)
            # A day of drop-frame labels is 86 ms short.
            day_ns[sound.camera] = round(words.frames_a_day * 1e9 / words.frame_rate_hz)
            notes += _odd(sound.id, words)
    for track in tracks:
        if track.timecode_ns is not None and len(track) and track.camera.id not in pairs:
            pairs[track.camera.id] = _labels(track, track.timecode_ns)
    if not pairs:
        return Refused("")
    return time_line_of_pairs(tracks, _same_day(pairs, day_ns), "timecode", notes)


def _odd(name: str, words: LtcWords) -> list[str]:
    if words.backwards:
        return [f"{name}: {words.backwards} words of timecode were played backwards and are left out"]
    return []


def _labels(track: Track, timecode_ns: Int64[np.ndarray, "n"]) -> Pairs:
    time_ns = timecode_ns + DAY_NS * np.concatenate([[0], np.cumsum(np.diff(timecode_ns) < -DAY_NS // 2)])
    steps = np.diff(time_ns)
    label_ns = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1e9 / (track.camera.rate_hz or 30.0)
    error_ns = label_ns / np.sqrt(12)
    return Pairs(track.device_ns, time_ns.astype(np.int64), error_ns, error_ns)


def _same_day(pairs: dict[str, Pairs], day_ns: dict[str, int]) -> dict[str, Pairs]:
    """All times within half a day of the first camera's: some may have started after midnight."""
    middle = int(np.median(next(iter(pairs.values())).time_ns))
    same = {}
    for name, pair in pairs.items():
        day = day_ns.get(name, DAY_NS)
        days = round((int(np.median(pair.time_ns)) - middle) / day)
        same[name] = replace(pair, time_ns=pair.time_ns - day * days)
    return same
