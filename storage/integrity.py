"""Proof that a take is whole: every chunk's checksum, every shard's presence, every array as the schema says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from geometry.errors import InputError
from geometry.rigs import Rig
from storage import chunks
from storage.array_spec import ArraySpec
from storage.arrays import StoredArray
from storage.consolidation import consolidated_metadata, members_below
from storage.documents import GROUP_KEY, read_group
from storage.places import Place, place_of
from storage.schema import SCHEMA, ArrayRule
from storage.sources import read_sources
from storage.take import QUALITY_MEASURES, frames_folder, frames_spec, read_take_rig, sync_fault, sync_index_spec
from storage.take_header import OPTIONAL_PARTS, TakeRoot
from storage.tracks import track_attributes

MISSING_FILES_NAMED = 20
"""Of one array; the others are only counted."""


@dataclass(frozen=True)
class IntegrityFault:
    """One thing that is wrong with a take."""

    path: str
    """The file or folder, relative to the take; empty for the take itself."""
    problem: str
    """What is wrong, in words."""


def verify_take(path: str | Path) -> list[IntegrityFault]:
    """Everything that is missing, damaged or not as the schema says; empty for a whole take.

    Reads all of it and checks every chunk's crc32c. Garbage is reported, never raised. Unfinished results are no
    faults: nothing takes them for whole.
    """
    place = place_of(path)
    try:
        return list(_take_faults(place))
    except (InputError, OSError) as error:
        return [IntegrityFault("", _in_words(error))]


def _take_faults(place: Place) -> Iterator[IntegrityFault]:
    try:
        root = TakeRoot.read(place)
    except InputError as error:
        yield IntegrityFault("", _in_words(error))
        return
    if root.state != "complete":
        yield IntegrityFault("", "the ingest is not finished; `mien ingest` resumes it")
    try:
        rig = read_take_rig(place, root)
    except InputError as error:
        yield IntegrityFault("rig", _in_words(error))
    else:
        yield from _stream_faults(place, root, rig)
        yield from _sync_faults(place, root, rig)
    for part in OPTIONAL_PARTS:
        if part in place.children(""):
            yield from _part_faults(place, part)
            if root.state == "complete" and part not in root.parts:
                yield IntegrityFault(part, "the take's root does not know of it")
        elif part in root.parts:
            yield IntegrityFault(part, "missing")
    if root.state == "complete":
        for part in ("streams", "sync", *root.parts):
            yield from _consolidation_faults(place, part)
    yield from _result_faults(place)


def _stream_faults(place: Place, root: TakeRoot, rig: Rig) -> Iterator[IntegrityFault]:
    for camera in rig.cameras:
        plan, folder = root.streams[camera.id], f"streams/{camera.id}"
        per_frame = (plan.frame_count,)
        yield from _group_faults(place, folder)
        yield from _array_faults(place, frames_folder(camera), frames_spec(camera, plan))
        for clock in plan.clocks:
            yield from _array_faults(place, f"{folder}/{clock}", SCHEMA[clock].spec(per_frame))
        present = place.children(f"{folder}/quality")
        for name in (name for name in QUALITY_MEASURES if name in present):
            yield from _array_faults(place, f"{folder}/quality/{name}", SCHEMA[name].spec(per_frame))
    for name in place.children("streams"):
        if name not in root.streams and name != GROUP_KEY:
            yield IntegrityFault(f"streams/{name}", "no camera of the rig has this name")


def _sync_faults(place: Place, root: TakeRoot, rig: Rig) -> Iterator[IntegrityFault]:
    yield from _group_faults(place, "sync")
    try:
        count = StoredArray.open(place, "sync/time_ns").spec.row_count
    except InputError as error:
        yield IntegrityFault(f"sync/time_ns/{GROUP_KEY}", _in_words(error))
        return
    faults = list(_array_faults(place, "sync/time_ns", SCHEMA["sync_time_ns"].spec((count,))))
    faults += _array_faults(place, "sync/index", sync_index_spec(count, rig))
    yield from faults
    if not faults:
        index = StoredArray.open(place, "sync/index").read()
        if fault := sync_fault(index, rig, root.streams):
            yield IntegrityFault("sync/index", f"it names {fault}")


def _result_faults(place: Place) -> Iterator[IntegrityFault]:
    for step in _folders(place, "results"):
        for run in _folders(place, f"results/{step}"):
            folder = f"results/{step}/{run}"
            try:
                attributes = read_group(place, folder)
            except InputError as error:
                yield IntegrityFault(folder, _in_words(error))
                continue
            if attributes is None or attributes.get("state") != "complete":
                continue
            arrays = attributes.get("arrays")
            for name in arrays if isinstance(arrays, dict) else ():
                yield from _array_faults(place, f"{folder}/{name}", None)


def _part_faults(place: Place, part: str) -> Iterator[IntegrityFault]:
    """Faults of sound, inertial sensors, light fields or the list of sources."""
    yield from _group_faults(place, part)
    if part == "sources":
        whole = True
        for name in ("source_paths", "source_sizes", "source_sha256"):
            faults = list(_sized_array_faults(place, SCHEMA[name].path, SCHEMA[name]))
            yield from faults
            whole = whole and not faults
        if whole:
            yield from _fault_of("sources", lambda: read_sources(place, {}))
    elif part in ("audio", "imu"):
        for track in _folders(place, part):
            folder = f"{part}/{track}"
            yield from _fault_of(folder, partial(track_attributes, place, folder))
            for name in (part, f"{part}_ns"):
                yield from _sized_array_faults(place, SCHEMA[name].path.format(id=track), SCHEMA[name])


def _sized_array_faults(place: Place, folder: str, rule: ArrayRule) -> Iterator[IntegrityFault]:
    """Faults of an array whose length only it knows."""
    try:
        shape = StoredArray.open(place, folder).shape
    except InputError as error:
        yield IntegrityFault(f"{folder}/{GROUP_KEY}", _in_words(error))
        return
    if len(shape) != len(rule.axes):
        yield IntegrityFault(f"{folder}/{GROUP_KEY}", f"shape {shape} for the axes {rule.axes}")
        return
    yield from _array_faults(place, folder, rule.spec(shape))


def _consolidation_faults(place: Place, part: str) -> Iterator[IntegrityFault]:
    """Differences between a part's one document of metadata and the documents it was made of."""
    try:
        known, found = consolidated_metadata(place, part), members_below(place, part)
    except InputError as error:
        yield IntegrityFault(f"{part}/{GROUP_KEY}", _in_words(error))
        return
    held = {f"{part}/{name}": document for name, document in found.items()}
    for folder in sorted({*known, *held}):
        if folder not in held:
            yield IntegrityFault(f"{folder}/{GROUP_KEY}", f"missing, and {part}/{GROUP_KEY} knows of it")
        elif known.get(folder) != held[folder]:
            yield IntegrityFault(f"{part}/{GROUP_KEY}", f"its copy of the metadata of {folder} is another or missing")


def _fault_of(path: str, reading: Callable[[], object]) -> Iterator[IntegrityFault]:
    try:
        reading()
    except InputError as error:
        yield IntegrityFault(path, _in_words(error))


def _group_faults(place: Place, folder: str) -> Iterator[IntegrityFault]:
    try:
        if read_group(place, folder) is None:
            yield IntegrityFault(f"{folder}/{GROUP_KEY}", "missing")
    except InputError as error:
        yield IntegrityFault(f"{folder}/{GROUP_KEY}", _in_words(error))


def _array_faults(place: Place, folder: str, declared: ArraySpec | None) -> Iterator[IntegrityFault]:
    """Faults of one array: against what the schema declares, or against its own metadata."""
    try:
        spec = StoredArray.open(place, folder).spec
    except InputError as error:
        yield IntegrityFault(f"{folder}/{GROUP_KEY}", _in_words(error))
        return
    if declared is not None and spec != declared:
        got, wanted = spec.to_metadata(), declared.to_metadata()
        different = ", ".join(f"{key} {got[key]} instead of {wanted[key]}" for key in wanted if got[key] != wanted[key])
        yield IntegrityFault(f"{folder}/{GROUP_KEY}", different)
        return
    # Damaged metadata may claim any number of files: go by those that are there.
    held = {}
    for key in place.keys(folder):
        name = key.removeprefix(f"{folder}/")
        number = _file_number(name)
        if number < spec.file_count and name == spec.file_key(number):
            held[number] = key
        elif name != GROUP_KEY:
            yield IntegrityFault(key, "no such chunk belongs to the array")
    missing = (number for number in range(spec.file_count) if number not in held)
    for number in islice(missing, MISSING_FILES_NAMED):
        yield IntegrityFault(f"{folder}/{spec.file_key(number)}", "missing")
    if (more := spec.file_count - len(held) - MISSING_FILES_NAMED) > 0:
        yield IntegrityFault(folder, f"{more} more files are missing")
    for number in sorted(held):
        yield from _file_faults(place, folder, spec, number)


def _file_faults(place: Place, folder: str, spec: ArraySpec, number: int) -> Iterator[IntegrityFault]:
    key = f"{folder}/{spec.file_key(number)}"
    try:
        data = place.read(key)
    except FileNotFoundError:
        yield IntegrityFault(key, "missing")
        return
    if not spec.chunks_per_shard:
        parts = {0: (0, len(data))}
    else:
        try:
            tail = data[-chunks.index_size(spec.chunks_per_shard) :]
            spans = chunks.split_index(tail, spec.chunks_per_shard, len(data))
        except chunks.DamagedChunk as error:
            yield IntegrityFault(key, f"{error}")
            return
        parts = {
            row: (int(start), int(stop)) for row, (start, stop) in enumerate(spans[: len(spec.rows_of_file(number))])
        }
    for row, (start, stop) in parts.items():
        try:
            if start < 0:
                raise chunks.DamagedChunk("the shard does not hold it")
            spec.bytes_codec.check(data[start:stop], spec.chunk_shape, spec.numpy_dtype)
        except chunks.DamagedChunk as error:
            yield IntegrityFault(key, f"chunk {number * max(1, spec.chunks_per_shard) + row}: {error}")


def _file_number(name: str) -> int:
    """The number in a chunk or shard file's name, 0 if it has none."""
    number = name.removeprefix("c/").split("/")[0]
    return int(number) if number.isdecimal() and len(number) < 19 else 0


def _folders(place: Place, folder: str) -> list[str]:
    return [name for name in place.children(folder) if name != GROUP_KEY]


def _in_words(error: Exception) -> str:
    return f"expected {error.expected}; got {error.got}" if isinstance(error, InputError) else str(error)
