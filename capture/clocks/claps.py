"""The time line of claps: the same sudden sounds in the tracks of all devices tie their clocks together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from capture.clock_references import References
from capture.clocks.arrivals import ArrivalLine, arrival_line, host_origin_ns
from capture.clocks.onsets import Onset, find_onsets, lag_s
from capture.clocks.pairs import Pairs, time_line_of_pairs
from capture.clocks.same_sounds import OnsetTimes, same_sounds
from capture.clocks.sound_clock import sound_clock
from capture.clocks.time_line import Refused, TimeLine
from capture.clocks.tracks import Track

METRE_OF_SOUND_NS = 2.9e6
"""Places of microphones are unknown, so that the way of the sound is not corrected: 2.9 ms a metre at 20 Celsius."""
ONSET_NOISE_NS = 2e5
NOTE = "clap: the way of the sound to the microphones is not corrected, 2.9 ms a metre"


@dataclass(frozen=True, eq=False)
class _Heard:
    """Onsets of one device."""

    track: Track
    """A camera of the device."""
    device_ns: Int64[np.ndarray, "n"]
    """When they started, on its clock."""
    onsets: list[Onset]
    """They themselves."""
    arrival: ArrivalLine | None
    """The device's clock on the recorder's, if arrivals tell."""

    def host_s(self) -> Float[np.ndarray, "n"]:
        """When they were on the recorder's clock from its origin, to some latencies, seconds."""
        assert self.arrival is not None
        elapsed = (self.device_ns - self.track.device_ns[0]).astype(np.float64)
        return (elapsed * (1 + self.arrival.line.drift) + self.arrival.line.offset_ns) / 1e9


def by_claps(tracks: list[Track], references: References) -> TimeLine | Refused:
    """Claps that all sound tracks share; refused where which belongs to which is not certain.

    Arrival times tell about when a clap was on another device; without them the pattern of several must.
    """
    heard = _all_heard(tracks, references)
    if len(heard) < 2:
        return Refused("")
    if silent := [item.track.camera.id for item in heard if not item.onsets]:
        return Refused(f"claps: none in the sound of {', '.join(silent[:5])}")
    leader = max(heard, key=lambda item: max(onset.above_usual for onset in item.onsets))
    leader_ns, leader_s = _leader_times(leader, tracks)
    same: dict[str, tuple[list[int], Int64[np.ndarray, "_"]]] = {}
    for item in heard:
        found = _with_leader(leader, item, leader_s)
        if isinstance(found, str):
            return Refused(f"claps of {leader.track.camera.id} and {item.track.camera.id}: {found}")
        same[item.track.camera.id] = found
    line = time_line_of_pairs(tracks, _pairs(same, leader_ns), "clap", (NOTE,))
    if isinstance(line, Refused) or leader.arrival is not None:
        return line
    # The leader's own clock was taken for right; once its drift is known, claps apart from each other are rescaled.
    drift = line.lines[next(k for k, track in enumerate(tracks) if track is leader.track)].drift
    scaled_ns = leader_ns + np.round((leader_ns - leader_ns[0]) * drift).astype(np.int64)
    return time_line_of_pairs(tracks, _pairs(same, scaled_ns), "clap", (NOTE,))


def _all_heard(tracks: list[Track], references: References) -> list[_Heard]:
    by_camera = {track.camera.id: track for track in tracks if len(track)}
    origin_ns = host_origin_ns(tracks)
    heard = []
    for sound in references.audio:
        if (track := by_camera.get(sound.camera)) is not None:
            onsets = find_onsets(sound)
            times = sound_clock(sound).times_ns(np.array([onset.sample for onset in onsets]))
            arrival = None if origin_ns is None else arrival_line(track, origin_ns)
            heard.append(_Heard(track, times, onsets, arrival))
    return heard


def _leader_times(leader: _Heard, tracks: list[Track]) -> tuple[Int64[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """The leader's onsets as times of the line: on the recorder's clock if it is known, else on its own."""
    origin_ns = host_origin_ns(tracks)
    if origin_ns is None:
        return leader.device_ns, (leader.device_ns - leader.device_ns[0]).astype(np.float64) / 1e9
    host_s = leader.host_s()
    return origin_ns + np.round(host_s * 1e9).astype(np.int64), host_s


def _with_leader(
    leader: _Heard, item: _Heard, leader_s: Float[np.ndarray, "n"]
) -> tuple[list[int], Int64[np.ndarray, "_"]] | str:
    """Numbers of the leader's onsets, and the device times at which the other heard them."""
    if item is leader:
        return list(range(len(leader.onsets))), leader.device_ns
    is_placed = item.arrival is not None
    item_s = item.host_s() if is_placed else (item.device_ns - item.device_ns[0]).astype(np.float64) / 1e9
    found = same_sounds(OnsetTimes(leader_s, leader.onsets), OnsetTimes(item_s, item.onsets), is_placed)
    if isinstance(found, str):
        return found
    lags_ns = [round(1e9 * lag_s(leader.onsets[j], item.onsets[k])) for j, k in found.pairs]
    device_ns = item.device_ns[[k for _, k in found.pairs]] + np.array(lags_ns, np.int64)
    return [j for j, _ in found.pairs], device_ns


def _pairs(
    same: dict[str, tuple[list[int], Int64[np.ndarray, "_"]]], leader_ns: Int64[np.ndarray, "n"]
) -> dict[str, Pairs]:
    """Only sounds that every device heard, so that all are tied at the same moments; else whatever each heard."""
    common = set.intersection(*(set(numbers) for numbers, _ in same.values()))
    pairs = {}
    for camera, (numbers, device_ns) in same.items():
        kept = [place for place, number in enumerate(numbers) if number in common or not common]
        chosen = leader_ns[[numbers[place] for place in kept]]
        pairs[camera] = Pairs(device_ns[kept], chosen, ONSET_NOISE_NS, METRE_OF_SOUND_NS)
    return pairs
