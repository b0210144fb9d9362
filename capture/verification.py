"""Whether a recording may be deleted: its files hashed anew, decoded anew, and compared with the take bit for bit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, Literal, TypeVar

from capture.media_hash_list import HASH_FORMAT, HashedFile, MediaHistory, hash_file
from capture.readers import Recording, open_recording
from capture.source_folder import SourceListing, base_of, list_source
from capture.stream_comparison import (
    Difference,
    audio_differences,
    clock_differences,
    frame_differences,
    imu_differences,
    rig_differences,
)
from geometry.errors import InputError
from storage.codecs import CODECS
from storage.documents import plain
from storage.integrity import verify_take
from storage.schema import FRAMES_PER_SHARD
from storage.sources import SourceFile
from storage.take import Take

NAMED_OF_EACH_KIND = 20
"""Faults of one kind that are named; the rest is counted."""
BLOCK_BYTES = 2**20
"""Hashing so much counts in the progress like comparing one frame."""

FaultKind = Literal["source", "extra", "history", "reading", "pixels", "lossy", "clock", "audio", "imu", "rig", "take"]
"""What a fault is about; `extra`: files that the take knows nothing of; `history`: an earlier ASC MHL list."""

Progress = Callable[[int, int], None]
"""Called with what is done and all there is to do, in frames and megabytes."""

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Fault:
    """One reason not to delete the recording."""

    kind: FaultKind
    """What it is about."""
    where: str
    """The file, relative to the recording; or the camera and frame, or the part of the take."""
    problem: str
    """What is wrong, in words."""


@dataclass(frozen=True)
class VerificationReport:
    """What was compared, and every reason not to delete the recording."""

    source: str
    """The recording, as verified."""
    take: str
    """The take, as verified."""
    take_id: str
    """Its name."""
    file_count: int
    """Files of the recording that were hashed."""
    byte_count: int
    """Their size."""
    frame_count: int
    """Frames that were decoded and compared, over all cameras."""
    faults: tuple[Fault, ...]
    """The first of each kind; `fault_counts` counts the others too."""
    fault_counts: Mapping[str, int]
    """All faults, by kind."""
    lossy_streams: tuple[str, ...]
    """Cameras whose frames the take holds only approximately, by the choice of whoever ingested it."""
    notes: tuple[str, ...]
    """What is no fault, but worth knowing before the recording is deleted."""
    files: Mapping[str, HashedFile] = field(default_factory=dict, repr=False)
    """The files that were hashed, for the ASC MHL list; not in the JSON."""
    litter: tuple[str, ...] = ()
    """Files of the operating system beside the recording, which hold nothing of it."""

    @property
    def safe(self) -> bool:
        """Whether deleting the recording loses nothing."""
        return not self.fault_counts

    @property
    def sources_whole(self) -> bool:
        """Whether the files are just those of the ingest, so that a list of them is worth writing."""
        return bool(self.files) and not {"source", "extra", "history"} & set(self.fault_counts)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = {name: plain(getattr(self, name)) for name in self.__dataclass_fields__ if name != "files"}
        return {"safe": self.safe, "verdict": "SAFE TO DELETE" if self.safe else "NOT SAFE"} | values


def verify_recording(source: Path, take: Take, progress: Progress | None = None) -> VerificationReport:
    """Compare a recording with the take that was made of it; nothing is written.

    Every file is hashed and every frame decoded again; memory holds two frames per core. Interrupting stops it within
    a frame. What is wrong is reported, never raised, as long as there is something of the take's recording at
    `source`. Raises InputError: nothing there, or not one file of the take's recording.
    """
    source = source.absolute()
    listing = list_source(source)
    faults = _Faults()
    expected = {file.path: file for file in _sources(take, faults)}
    present = sorted(name for name in expected if (listing.base / name).is_file())
    if expected and (not present or (listing.base != source and source.name not in expected)):
        got = f"{source}, which is or holds none of its {len(expected)} files"
        raise InputError(f"the recording of {take.header.take_id}", got, "name the recording that the take was made of")
    faults = _Faults()
    if not expected:
        faults.add(
            "take", "sources", "the take has no list of its sources; ingest the recording again with --overwrite"
        )
    history = _history(listing.base, faults)
    steps = _Steps(progress, _blocks(listing.base, present) + sum(len(take.stream(name)) for name in take.rig.ids))
    for name in sorted(set(expected) - set(present)):
        faults.add("source", name, "missing")
    hashed = _hash_files(listing.base, present, history, steps, faults)
    for name, file in hashed.items():
        if (file.size, file.sha256) != (expected[name].size, expected[name].sha256):
            faults.add("source", name, f"changed since the ingest ({file.size} bytes; SHA-256 {file.sha256})")
        elif history is not None and (contradiction := history.contradiction(file)):
            faults.add("history", name, contradiction)
    for name in sorted(listing.files - set(expected)) if expected else ():
        faults.add("extra", name, "not in the take: copy it elsewhere, or ingest it, before anything is deleted")
    for name, what in listing.odd:
        faults.add("extra", name, what)
    notes, frame_count = _compare(source, take, frozenset(expected), steps, faults)
    for fault in verify_take(take.path):
        faults.add("take", fault.path, fault.problem)
    for name, file in hashed.items():
        status = _status(listing.base / name)
        if status != (file.size, file.modified_ns):
            faults.add("source", name, "changed while it was verified")
    return _report(source, take, listing, hashed, faults, (frame_count, notes))


def _report(
    source: Path,
    take: Take,
    listing: SourceListing,
    hashed: Mapping[str, HashedFile],
    faults: _Faults,
    compared: tuple[int, tuple[str, ...]],
) -> VerificationReport:
    frame_count, notes = compared
    if listing.base != source:
        notes = (*notes, f"only {', '.join(hashed)} is meant; other files in {listing.base} were not looked at")
    if listing.litter:
        notes = (*notes, f"{len(listing.litter)} files of macOS beside the recording hold nothing of it")
    return VerificationReport(
        source=str(source),
        take=str(take.path),
        take_id=take.header.take_id,
        file_count=len(hashed),
        byte_count=sum(file.size for file in hashed.values()),
        frame_count=frame_count,
        faults=tuple(faults.named),
        fault_counts=dict(faults.counts),
        lossy_streams=_lossy_streams(take),
        notes=notes,
        files=hashed,
        litter=listing.litter,
    )


class _Faults:
    """Faults as they come: the first of each kind kept, all counted."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.named: list[Fault] = []

    def add(self, kind: FaultKind, where: str, problem: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= NAMED_OF_EACH_KIND:
            self.named.append(Fault(kind, where, problem))


class _Steps:
    """Progress that threads add to; any of them stops at its next step once one was interrupted."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress or (lambda done, total: None), total, 0
        self.stopped = Event()

    def require_running(self) -> None:
        if self.stopped.is_set():
            raise InterruptedError("verification was interrupted")

    def add(self, count: int) -> None:
        self.done += count
        self.progress(min(self.done, self.total), self.total)


def _sources(take: Take, faults: _Faults) -> tuple[SourceFile, ...]:
    try:
        if take.sources:
            return take.sources
        faults.add(
            "take", "sources", "the take has no list of its sources; ingest the recording again with --overwrite"
        )
    except InputError as error:
        faults.add("take", "sources", f"its list of sources cannot be read: {error.got}")
    return ()


def _history(base: Path, faults: _Faults) -> MediaHistory | None:
    try:
        return MediaHistory.read(base)
    except InputError as error:
        faults.add("history", "ascmhl", f"{error.got}; {error.remedy}")
        return None


def _blocks(base: Path, names: Iterable[str]) -> int:
    return sum(1 + (_status(base / name) or (0, 0))[0] // BLOCK_BYTES for name in names)


def _hash_files(
    base: Path, names: list[str], history: MediaHistory | None, steps: _Steps, faults: _Faults
) -> dict[str, HashedFile]:
    """The files that could be read, in order."""

    def hashed(name: str) -> HashedFile | Fault:
        formats = (HASH_FORMAT,) if history is None else history.formats(name)
        try:
            return hash_file(base, name, formats, lambda _: steps.require_running())
        except InterruptedError:
            raise
        except OSError as error:
            return Fault("source", name, f"cannot be read ({error.strerror or error})")

    found: dict[str, HashedFile] = {}
    for outcome in _in_threads(hashed, names, steps):
        if isinstance(outcome, Fault):
            faults.add(outcome.kind, outcome.where, outcome.problem)
            steps.add(1)
        else:
            found[outcome.path] = outcome
            steps.add(1 + outcome.size // BLOCK_BYTES)
    return {name: found[name] for name in names if name in found}


def _compare(
    source: Path, take: Take, expected: frozenset[str], steps: _Steps, faults: _Faults
) -> tuple[tuple[str, ...], int]:
    """Everything that a reader gives, beside what the take holds; notes, and the number of frames compared."""
    try:
        recording = open_recording(source, take.header.reader)
    except InputError as error:
        faults.add("reading", str(source), f"the recording can no longer be read: {error}")
        return (), 0
    included = {Path(path).absolute() for path in recording.source_files}
    base = base_of(source)
    for path in sorted(included - {base / name for name in expected}) if expected else ():
        faults.add("extra", str(path), "the reader finds it in the recording, and the take does not know it")
    for difference in (
        *rig_differences(recording, take),
        *clock_differences(recording, take),
        *audio_differences(recording, take, steps.require_running),
        *imu_differences(recording, take),
    ):
        _add(faults, difference)
    frame_count = _compare_frames(recording, take, steps, faults)
    return _notes(recording, take), frame_count


def _compare_frames(recording: Recording, take: Take, steps: _Steps, faults: _Faults) -> int:
    lossy, count = _lossy_streams(take), 0
    compare = partial(frame_differences, recording, take, steps.require_running)
    inexact: Counter[str] = Counter()
    found: list[Difference] = []
    for compared, differences in _in_threads(compare, _portions(recording, take), steps):
        count += compared
        steps.add(compared)
        inexact.update(d.camera for d in differences if d.kind == "pixels" and d.camera in lossy)
        found += (d for d in differences if d.kind != "pixels" or d.camera not in lossy)
    for difference in sorted(found, key=lambda d: (d.camera, d.frame)):
        _add(faults, difference)
    for camera_id in lossy:
        codec = take.root.streams[camera_id].codec
        faults.add("lossy", camera_id, f"not bit-exact: stored with {codec}, {inexact[camera_id]} frames differ")
    return count


def _portions(recording: Recording, take: Take) -> list[tuple[str, range]]:
    """Frames that one thread compares in a row: those that both sides have."""
    size = max(FRAMES_PER_SHARD, recording.frames_per_portion)
    portions = []
    for camera_id in take.rig.ids:
        if camera_id in recording.clocks:
            count = min(len(recording.clocks[camera_id].device_ns), len(take.stream(camera_id)))
            starts = range(0, count, size)
            portions += [(camera_id, range(start, min(start + size, count))) for start in starts]
    return portions


def _notes(recording: Recording, take: Take) -> tuple[str, ...]:
    """What of a recording is not in its take by choice, and what its reader says of it (conversions among it)."""
    choice = f"reader {recording.reader}:"  # why this reader: the take says it, the user did not ask again
    notes = [f"the reader says: {note}" for note in recording.notes if not note.startswith(choice)]
    if take.root.config.get("rig"):
        notes.append("the recording's own calibration was replaced at the ingest, and is not in the take")
    return tuple(notes)


def _lossy_streams(take: Take) -> tuple[str, ...]:
    return tuple(name for name in take.rig.ids if not CODECS[take.root.streams[name].codec].is_lossless)


def _add(faults: _Faults, difference: Difference) -> None:
    frame = f" frame {difference.frame}" if difference.frame >= 0 else ""
    faults.add(difference.kind, f"{difference.camera}{frame}", difference.problem)


def _status(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _in_threads(task: Callable[[Task], Outcome], tasks: Iterable[Task], steps: _Steps) -> Iterator[Outcome]:
    """Outcomes as they come; no more tasks in flight than cores, so that memory stays bounded."""
    workers = max(1, os.cpu_count() or 1)
    waiting = iter(tasks)
    with ThreadPoolExecutor(workers) as pool:
        running: set[Future[Outcome]] = set()
        try:
            while running := running | {pool.submit(task, item) for item in islice(waiting, workers - len(running))}:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        except BaseException:
            steps.stopped.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
