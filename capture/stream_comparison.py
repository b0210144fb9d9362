"""A recording beside the take that was made of it: frames, clocks, sound, inertial sensors and calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from capture.readers.recording import AudioTrack, Recording, StreamClock
from geometry.errors import InputError
from storage.documents import plain
from storage.rig_json import rig_to_json
from storage.take import Take

SAMPLES_PER_BLOCK = 2**18
"""Samples of a sound track that are compared at once: some seconds, a megabyte a channel."""

CLOCKS = tuple(item.name for item in fields(StreamClock))


@dataclass(frozen=True)
class Difference:
    """One thing that the recording and the take do not have in common."""

    kind: Literal["reading", "pixels", "clock", "audio", "imu", "rig", "take"]
    """What it is about; `reading`: the recording no longer decodes there; `take`: the take does not."""
    camera: str
    """The camera or track; empty for the whole recording."""
    frame: int
    """Which frame; -1 where it is not about one."""
    problem: str
    """In words."""


def frame_differences(
    recording: Recording, take: Take, require_running: Callable[[], None], portion: tuple[str, range]
) -> tuple[int, list[Difference]]:
    """How many frames of a camera were compared, and which differ; both are decoded one at a time.

    `require_running` is called before each frame and may raise to stop.
    """
    camera_id, frames = portion
    stream, differences, compared = take.stream(camera_id), [], 0
    for t, decoded in zip(frames, _decoded(recording, camera_id, frames), strict=False):
        require_running()
        compared += 1
        if isinstance(decoded, InputError):
            differences.append(Difference("reading", camera_id, t, f"it no longer decodes: {decoded.got}"))
            continue
        try:
            stored = stream.frame(t)
        except InputError as error:
            differences.append(Difference("take", camera_id, t, f"the take's frame cannot be read: {error.got}"))
            continue
        if problem := _pixel_problem(decoded, stored):
            differences.append(Difference("pixels", camera_id, t, problem))
    if compared < len(frames):
        got = f"the recording ends after {frames.start + compared} frames"
        differences.append(Difference("reading", camera_id, frames.start + compared, got))
    return compared, differences


def clock_differences(recording: Recording, take: Take) -> Iterator[Difference]:
    """Numbers of frames and times that are not the same, and cameras that only one side has."""
    for camera_id in sorted(set(recording.clocks) ^ set(take.rig.ids)):
        only = "the recording" if camera_id in recording.clocks else "the take"
        yield Difference("clock", camera_id, -1, f"only {only} has this camera")
    for camera_id in (name for name in take.rig.ids if name in recording.clocks):
        clock, stream = recording.clocks[camera_id], take.stream(camera_id)
        for name in CLOCKS:
            recorded: np.ndarray | None = getattr(clock, name)
            try:
                stored: np.ndarray | None = getattr(stream, name)
            except InputError as error:
                yield Difference("take", camera_id, -1, f"{name} cannot be read: {error.got}")
                continue
            if problem := _values_problem(recorded, stored):
                yield Difference("clock", camera_id, -1, f"{name}: {problem}")


def rig_differences(recording: Recording, take: Take) -> Iterator[Difference]:
    """Cameras of which the take says other things than the recording, unless the ingest was given another rig.

    What the recording does not say (a figure that the ingest measured) may stand in the take.
    """
    if take.root.config.get("rig"):
        return
    recorded, stored = (
        {item["id"]: item for item in plain(rig_to_json(r))["cameras"]} for r in (recording.rig, take.rig)
    )
    for camera_id in sorted(set(recorded) & set(stored)):
        was, now = recorded[camera_id], stored[camera_id]
        if other := sorted(key for key, value in was.items() if value not in (None, "", now.get(key))):
            yield Difference("rig", camera_id, -1, f"the take's {', '.join(other)} is not the recording's")


def audio_differences(recording: Recording, take: Take, require_running: Callable[[], None]) -> Iterator[Difference]:
    """Sound tracks that are missing or differ in any sample or anchor."""
    tracks = {track.id: track for track in recording.audio}
    for track_id in sorted(set(tracks) ^ set(take.audio_ids)):
        only = "the recording" if track_id in tracks else "the take"
        yield Difference("audio", track_id, -1, f"only {only} has this track")
    for track_id in sorted(set(tracks) & set(take.audio_ids)):
        try:
            problem = _audio_problem(tracks[track_id], take, require_running)
        except InputError as error:
            problem = f"it cannot be read: {error.got}"
        if problem:
            yield Difference("audio", track_id, -1, problem)


def imu_differences(recording: Recording, take: Take) -> Iterator[Difference]:
    """Inertial sensors that are missing or differ in any value or time."""
    tracks = {track.id: track for track in recording.imu}
    for track_id in sorted(set(tracks) ^ set(take.imu_ids)):
        only = "the recording" if track_id in tracks else "the take"
        yield Difference("imu", track_id, -1, f"only {only} has this sensor")
    for track_id in sorted(set(tracks) & set(take.imu_ids)):
        try:
            stored = take.imu(track_id)
            times, values = np.asarray(stored.time_ns), np.asarray(stored.values)
        except InputError as error:
            yield Difference("imu", track_id, -1, f"it cannot be read: {error.got}")
            continue
        track = tracks[track_id]
        if stored.camera != track.camera:
            yield Difference("imu", track_id, -1, f"beside {stored.camera!r} in the take, {track.camera!r} here")
        if problem := _values_problem(track.time_ns, times):
            yield Difference("imu", track_id, -1, f"times: {problem}")
        if problem := _values_problem(track.values.astype(values.dtype), values):
            yield Difference("imu", track_id, -1, f"values: {problem}")


def _decoded(recording: Recording, camera_id: str, frames: range) -> Iterator[np.ndarray | InputError]:
    """Each frame, or why it does not decode; a broken frame does not hide those behind it."""
    first = frames.start
    if recording.read_frames is not None:
        images = recording.read_frames(camera_id, frames)
        try:
            for image in images:
                yield image
                first += 1
            return
        except InputError as error:
            yield error
            first += 1
    for t in range(first, frames.stop):
        try:
            yield recording.read_frame(camera_id, t)
        except InputError as error:
            yield error


def _pixel_problem(decoded: np.ndarray, stored: np.ndarray) -> str:
    if decoded.shape != stored.shape or decoded.dtype != stored.dtype:
        return f"{stored.dtype} {stored.shape} in the take, {decoded.dtype} {decoded.shape} in the recording"
    if np.array_equal(decoded, stored):
        return ""
    distance = np.abs(decoded.astype(np.int64) - stored.astype(np.int64))
    return f"{np.count_nonzero(distance)} of {distance.size} values differ, by {distance.max()} at most"


def _values_problem(recorded: np.ndarray | None, stored: np.ndarray | None) -> str:
    if recorded is None or stored is None:
        if recorded is stored:
            return ""
        return "only in the take" if recorded is None else "not in the take"
    if recorded.shape != stored.shape:
        return f"{recorded.shape} in the recording, {stored.shape} in the take"
    both_nan = np.isnan(recorded) & np.isnan(stored) if recorded.dtype.kind == "f" else np.zeros(1, bool)
    wrong = (recorded != stored) & ~both_nan
    if not wrong.any():
        return ""
    return f"{np.count_nonzero(wrong)} of {wrong.size} values differ, the first in row {np.argwhere(wrong)[0][0]}"


def _audio_problem(track: AudioTrack, take: Take, require_running: Callable[[], None]) -> str:
    stored = take.audio(track.id)
    if (stored.rate_hz, stored.camera) != (track.rate_hz, track.camera):
        return (
            f"{stored.rate_hz} Hz beside {stored.camera!r} in the take, {track.rate_hz} Hz beside {track.camera!r} here"
        )
    if problem := _values_problem(track.anchors, np.asarray(stored.anchors)):
        return f"anchors: {problem}"
    shape = (track.sample_count, track.channel_count)
    if tuple(stored.samples.shape) != shape:
        return f"{shape} samples in the recording, {tuple(stored.samples.shape)} in the take"
    for start in range(0, track.sample_count, SAMPLES_PER_BLOCK):
        require_running()
        stop = min(start + SAMPLES_PER_BLOCK, track.sample_count)
        if problem := _values_problem(track.read(start, stop), stored.samples[start:stop]):
            return f"samples from {start}: {problem}"
    return ""
