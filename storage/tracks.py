"""Sound and inertial sensors of a take, with the clocks that place them beside the frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from geometry.errors import InputError
from storage.array_spec import ArraySpec
from storage.arrays import StoredArray, encode_file, write_array, write_metadata
from storage.documents import read_group, write_group
from storage.places import Place
from storage.rig_json import require_name
from storage.schema import SCHEMA, SOUND_ROWS_PER_CHUNK


@dataclass(frozen=True, eq=False)
class StoredAudio:
    """A sound track, read lazily: `samples[start:stop]` reads the chunks it needs."""

    samples: StoredArray
    """float32 (sample, channel), -1 to 1."""
    anchors: Int[np.ndarray, "anchor 2"]
    """Pairs of a sample's number and its device time in nanoseconds."""
    rate_hz: float
    """Nominal sampling rate; 0 where the recording does not say."""
    camera: str
    """The camera whose device clock the anchors are on; empty for a recorder of its own."""


@dataclass(frozen=True, eq=False)
class StoredImu:
    """What an inertial sensor recorded, read lazily."""

    time_ns: StoredArray
    """int64 device time of each sample, nanoseconds."""
    values: StoredArray
    """float32 (sample, 7): m/s^2, rad/s, degrees Celsius; NaN: not given."""
    camera: str
    """A camera of the same device, whose clock the times are on."""


def write_audio(
    place: Place,
    track_id: str,
    anchors: Int[np.ndarray, "anchor 2"],
    blocks: Iterable[Float[np.ndarray, "sample channel"]],
    attributes: Mapping[str, Any],
) -> None:
    """Store a sound track whose samples come in blocks of any length; one chunk of them is in memory at a time."""
    folder = f"audio/{require_name(track_id, 'a sound track')}"
    if place.size("audio/zarr.json") is None:
        write_group(place, "audio", {})
    write_group(place, folder, attributes)
    anchors = anchors.astype(np.int64)
    write_array(place, f"{folder}/clock_ns", anchors, SCHEMA["audio_ns"].spec(anchors.shape))
    held, count, waiting = [], 0, 0
    spec = ArraySpec((0, 1), "float32", SCHEMA["audio"].axes)
    for block in blocks:
        samples = np.asarray(block, np.float32)
        if count and samples.shape[1] != spec.shape[1]:
            raise ValueError(f"a block of {samples.shape[1]} channels after others of {spec.shape[1]} in {track_id}")
        held.append(samples)
        count, waiting = count + len(samples), waiting + len(samples)
        spec = SCHEMA["audio"].spec((count, samples.shape[1]))
        while waiting >= SOUND_ROWS_PER_CHUNK:
            together = np.concatenate(held)
            _write_chunk(place, f"{folder}/samples", (count - waiting) // SOUND_ROWS_PER_CHUNK, spec, together)
            held = [together[SOUND_ROWS_PER_CHUNK:].copy()]
            waiting -= SOUND_ROWS_PER_CHUNK
    if waiting:
        number = (count - waiting) // SOUND_ROWS_PER_CHUNK
        _write_chunk(place, f"{folder}/samples", number, spec, np.concatenate(held))
    write_metadata(place, f"{folder}/samples", spec)


def _write_chunk(place: Place, folder: str, number: int, spec: ArraySpec, samples: np.ndarray) -> None:
    place.write(f"{folder}/{spec.file_key(number)}", encode_file(spec, samples[: spec.rows_per_chunk]))


def write_imu(
    place: Place,
    track_id: str,
    time_ns: Int[np.ndarray, "sample"],
    values: Float[np.ndarray, "sample 7"],
    attributes: Mapping[str, Any],
) -> None:
    """Store what an inertial sensor recorded."""
    folder = f"imu/{require_name(track_id, 'an inertial sensor')}"
    if place.size("imu/zarr.json") is None:
        write_group(place, "imu", {})
    write_group(place, folder, attributes)
    times, numbers = time_ns.astype(np.int64), values.astype(np.float32)
    write_array(place, f"{folder}/time_ns", times, SCHEMA["imu_ns"].spec(times.shape))
    write_array(place, f"{folder}/samples", numbers, SCHEMA["imu"].spec(numbers.shape))


def read_audio(place: Place, track_id: str, metadata: Mapping[str, Any]) -> StoredAudio:
    """A sound track; `metadata` as `consolidated_metadata` gives it. InputError if it is not there or damaged."""
    folder = f"audio/{track_id}"
    attributes = track_attributes(place, folder)
    samples = StoredArray.open(place, f"{folder}/samples", metadata)
    anchors = StoredArray.open(place, f"{folder}/clock_ns", metadata)
    require_spec(samples, SCHEMA["audio"].spec(samples.shape))
    require_spec(anchors, SCHEMA["audio_ns"].spec(anchors.shape))
    return StoredAudio(samples, anchors.read(), attributes["rate_hz"], attributes["camera"])


def read_imu(place: Place, track_id: str, metadata: Mapping[str, Any]) -> StoredImu:
    """An inertial sensor's record; InputError if it is not there or damaged."""
    folder = f"imu/{track_id}"
    attributes = track_attributes(place, folder)
    times = StoredArray.open(place, f"{folder}/time_ns", metadata)
    values = StoredArray.open(place, f"{folder}/samples", metadata)
    require_spec(times, SCHEMA["imu_ns"].spec(times.shape))
    require_spec(values, SCHEMA["imu"].spec(values.shape))
    return StoredImu(times, values, attributes["camera"])


def track_attributes(place: Place, folder: str) -> dict[str, Any]:
    """Camera, and for sound the rate, of a track; InputError if the track is not there or says something else."""
    attributes = read_group(place, folder)
    expected = {"camera": str} | ({"rate_hz": float} if folder.startswith("audio/") else {})
    if attributes is None:
        raise InputError("a track of the take", f"none at {place.address}/{folder}", "choose one that was recorded")
    if {name: type(value) for name, value in attributes.items()} != expected:
        remedy = "ingest the recording again with --overwrite"
        raise InputError("a track's camera and rate", f"{attributes} at {place.address}/{folder}", remedy)
    return attributes


def require_spec(array: StoredArray, spec: ArraySpec) -> None:
    """InputError unless an array is just what the schema says."""
    if array.spec != spec:
        got = f"{array.spec.dtype} {array.spec.shape} in unit {array.spec.unit!r}"
        remedy = "`mien check` lists all damage; ingest the recording again with --overwrite"
        expected = f"{spec.dtype} {spec.shape} in unit {spec.unit!r} at {array.place.address}/{array.folder}"
        raise InputError(expected, got, remedy)
