"""What an ingest notes of each shard it has written, beside the take until that is finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geometry.errors import InputError
from storage.documents import LARGEST_DOCUMENT_BYTES, parse, to_bytes
from storage.places import Place

FOLDER = "progress"
"""In an unfinished take; `TakeWriter.finish` removes it."""


def write_record(place: Place, camera_id: str, number: int, record: Mapping[str, Any]) -> None:
    """Note plain values about a shard, atomically."""
    place.write(f"{FOLDER}/{camera_id}/{number}.json", to_bytes(record))


def read_records(place: Place, camera_id: str) -> dict[int, dict[str, Any]]:
    """The notes of a camera by the number of the shard, in order; what a power cut left half is as if not there."""
    keys = {}
    for key, size in place.sizes(f"{FOLDER}/{camera_id}").items():
        name = key.rpartition("/")[2].removesuffix(".json")
        if name.isdecimal() and size <= LARGEST_DOCUMENT_BYTES:
            keys[int(name)] = key
    numbers = sorted(keys)
    records = {}
    found = place.read_parts([(keys[number], 0, LARGEST_DOCUMENT_BYTES) for number in numbers])
    for number, data in zip(numbers, found, strict=True):
        try:
            records[number] = parse(data or b"", keys[number])
        except InputError:
            continue
    return records
