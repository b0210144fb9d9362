"""Any recording into a take: pixels bit for bit, clocks untouched, every frame measured, frame sets found.

`plan_ingest` opens the recording and begins the take; `capture.ingest_portions.run_portion` writes one part of it, in
any thread, process or machine and in any order; `capture.ingest_finish.finish_ingest` closes it. Who calls them how is
the business of `workflows.ingesting`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Literal

from capture.calibration.formats import read_calibration
from capture.calibration.formats.onto_recording import onto_recording
from capture.clock_references import NO_REFERENCES, References
from capture.depth_unit import require_plausible_depth
from capture.imported_rig import with_consistency
from capture.readers import Recording, open_recording
from capture.source_identity import SourceStates, changed_file, source_digest, source_name, source_states
from capture.stream_codecs import stream_codec
from geometry.cameras import UNCALIBRATED
from geometry.errors import InputError
from geometry.rigs import Rig
from storage import shard_records
from storage.documents import read_group, write_group
from storage.ingest_writer import TakeWriter
from storage.provenance import commit_id, digest_of_file, tool_version
from storage.pseudonyms import UNKNOWN_SUBJECT, require_pseudonym
from storage.take import Take
from storage.take_header import StreamPlan, TakeHeader

NOT_STATED = "not stated"

LARGEST_TOLERANCE_MS = 10_000

FILES = "_files"
"""Stands for a camera in the records of files that are no frames; no camera's name starts like this."""
FILES_PER_PORTION = 256
BYTES_PER_PORTION = 2**28
"""Of files that are no frames and are hashed in one task; a larger one has a task of its own."""


@dataclass(frozen=True)
class IngestConfig:
    """How to understand a recording, how to store it, and what it does not say itself."""

    reader: str = "auto"
    """Name of the reader, or auto: the first that recognises the recording."""
    rig: Path | None = None
    """A calibration in any format that replaces the recording's own."""
    take_id: str = ""
    """Name of the take; if empty, the subject and the recording's digest make one."""
    subject_id: str = ""
    """Pseudonym of the subject, where the recording does not say or is wrong."""
    consent: str = ""
    """What the subject agreed to, where the recording does not say or is wrong."""
    licence: str = ""
    """Terms of the recording, where it does not say or is wrong."""
    codec: Literal["auto", "portable"] = "auto"
    """auto: the smallest and fastest for each stream; portable: only what plain zarr-python reads."""
    lossy_colour: bool = False
    """Store colour so that nobody sees a difference, instead of bit for bit; cameras' JPEGs stay as they are."""
    slate: str = ""
    """Name of the scene, as on the clapperboard."""
    take_number: str = ""
    """Which attempt at it."""
    notes: str = ""
    """What the operator wants to be remembered."""
    times_csv: Path | None = None
    """A table of common times that the cameras' clocks are held against."""
    common_clock: bool = False
    """Whether all devices are known to be on one clock (PTP), so that their times need no reference."""
    tolerance_ms: float | None = None
    """Frames farther than this from their frame set's time are in none; None: half a period."""

    def __post_init__(self) -> None:
        if self.tolerance_ms is not None and not 0 < self.tolerance_ms < LARGEST_TOLERANCE_MS:
            got = f"{self.tolerance_ms} ms"
            raise InputError(f"a tolerance from 0 to {LARGEST_TOLERANCE_MS} ms", got, "a few ms are usual")


@dataclass(frozen=True)
class FramePortion:
    """Frames that one task reads in a row, and the shards that they fill; no other task writes these."""

    camera_id: str
    """Whose."""
    shards: tuple[range, ...]
    """Consecutive."""

    @property
    def frame_count(self) -> int:
        """How far the ingest is when it is done."""
        return self.shards[-1].stop - self.shards[0].start


@dataclass(frozen=True)
class FilePortion:
    """Files that are no frames, which one task hashes."""

    number: int
    """Of its record."""
    names: tuple[str, ...]
    """Relative to the recording's base."""

    @property
    def frame_count(self) -> int:
        """None: the progress counts frames."""
        return 0


Portion = FramePortion | FilePortion


@dataclass(frozen=True, eq=False)
class IngestPlan:
    """A begun ingest; pickles, for other processes and machines that see the same files. Close it."""

    recording: Recording
    """What is read."""
    writer: TakeWriter
    """The take that is made."""
    take_path: Path | str
    """Where it is made, as given."""
    states: SourceStates
    """The recording's files when it began."""
    portions: tuple[Portion, ...]
    """What is left to do, the dearest first; each may run anywhere, in any order."""
    frame_count: int
    """All frames, those included that an earlier ingest has stored."""
    references: References = NO_REFERENCES
    """What the cameras' clocks are timed against."""
    notes: tuple[str, ...] = ()
    """What the operator should know before the subject leaves."""

    @property
    def frames_left(self) -> int:
        """Frames in `portions`."""
        return sum(portion.frame_count for portion in self.portions)

    def source_names(self, camera_id: str, frames: range) -> tuple[str, ...]:
        """Which files these frames are read from: one each, or where frames are no files, any that is none."""
        return _names_of(self.recording, self.states, camera_id, frames)

    def __enter__(self) -> IngestPlan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()


def plan_ingest(
    source: Path, take_path: Path | str, config: IngestConfig, overwrite: bool = False
) -> IngestPlan | Take:
    """What is left to do to turn a recording into a take; the take itself if that is finished.

    A killed ingest of the same recording, settings and code goes on where it stopped; what it stored of files that
    have been written since is made again. Reads no pictures but the first depth frames and a few that decide how to
    store colour.

    Raises InputError: nothing at `source` that a reader understands, a rig of other cameras, a depth unit that puts
    the face outside 0.1 to 3 m, something else at `take_path` unless `overwrite` replaces a take, another ingest there.
    """
    recording = open_recording(Path(source), config.reader)
    rig, notes = recording.rig, ()
    if config.rig is not None:
        rig, notes = _other_calibration(config.rig, recording.rig)
        rig = with_consistency(rig, recording)
    require_plausible_depth(recording, rig)
    states = source_states(recording)
    header = _header(recording, states, config)
    writer = TakeWriter.begin(
        take_path, header, rig, _streams(recording, rig, config), _settings(recording, config), overwrite
    )
    if writer is None:
        take = Take.open(take_path)
        _require_same_contents(take, states)
        return take
    try:
        writer.log("recording", notes=[*recording.notes, *notes], times=states.stamp(states.files))
        portions = _portions(recording, writer, states)
    except BaseException:
        writer.close()
        raise
    frame_count = sum(plan.frame_count for plan in writer.root.streams.values())
    notes = (*recording.notes, *notes)
    return IngestPlan(
        recording, writer, take_path, states, portions, frame_count, _references(recording, config), notes
    )


def _references(recording: Recording, config: IngestConfig) -> References:
    tolerance_ns = None if config.tolerance_ms is None else round(config.tolerance_ms * 1e6)
    return References(recording.audio, config.times_csv, config.common_clock, tolerance_ns)


def _other_calibration(path: Path, recorded: Rig) -> tuple[Rig, tuple[str, ...]]:
    """The recorded cameras as a calibration has them, if it knows all that are calibrated already."""
    calibration = read_calibration(path, {camera.id: camera.image_size_hw for camera in recorded.cameras})
    # Two calibrations do not share a world: what the other one does not know counts as uncalibrated.
    known = set(calibration.ids)
    own = Rig(tuple(c if c.id in known else replace(c, calibration_source=UNCALIBRATED) for c in recorded.cameras))
    rig, notes = onto_recording(own, calibration, path.name)
    lost = [camera.id for camera in recorded.cameras if camera.is_calibrated and not rig[camera.id].is_calibrated]
    if lost:
        expected = f"a rig of the recorded cameras ({', '.join(recorded.ids)})"
        raise InputError(expected, f"one without {', '.join(lost)} in {path}", "name the rig of this recording")
    return rig, notes


def _settings(recording: Recording, config: IngestConfig) -> dict[str, str | bool | float | None]:
    """What decides about the take's bytes, beside the recording and the header; paths count by their contents."""
    files = {"rig": config.rig, "times_csv": config.times_csv}
    digests = {name: _digest_of(path) if path else "" for name, path in files.items()}
    storage = {"reader": recording.reader, "codec": config.codec, "lossy_colour": config.lossy_colour}
    return storage | {"common_clock": config.common_clock, "tolerance_ms": config.tolerance_ms} | digests


def _digest_of(path: Path) -> str:
    from capture.calibration.formats import calibration_beside, calibration_files

    try:
        calibration = calibration_beside(path) if path.is_dir() else path
        files = calibration_files(calibration) if calibration is not None else (path,)
        return ",".join(digest_of_file(file) for file in files)
    except OSError as error:
        raise InputError("a file that can be read", f"{path} ({error.strerror})", "correct the path") from error


def _header(recording: Recording, states: SourceStates, config: IngestConfig) -> TakeHeader:
    digest = source_digest(states)
    serials = {camera.serial for camera in recording.rig.cameras}
    subject_id = config.subject_id or recording.subject_id
    if subject_id:
        require_pseudonym(subject_id)
    return TakeHeader(
        take_id=config.take_id or f"{subject_id or recording.reader}-{digest[:8]}",
        subject_id=subject_id or UNKNOWN_SUBJECT,
        consent=config.consent or recording.consent or NOT_STATED,
        licence=config.licence or recording.licence or NOT_STATED,
        source=recording.address,
        source_digest=digest,
        reader=recording.reader,
        tool_version=tool_version(),
        commit=commit_id(),
        device_model=serials.pop() if len(serials) == 1 else "",
        slate=config.slate or recording.slate,
        take_number=config.take_number or recording.take_number,
        notes=config.notes,
    )


def _streams(recording: Recording, rig: Rig, config: IngestConfig) -> dict[str, StreamPlan]:
    streams = {}
    for camera in rig.cameras:
        clock = recording.clocks[camera.id]
        streams[camera.id] = StreamPlan(
            len(clock.device_ns),
            has_host_ns=clock.host_ns is not None,
            has_frame_counter=clock.frame_counter is not None,
            has_trigger_id=clock.trigger_id is not None,
            has_timecode=clock.timecode_ns is not None,
            codec=stream_codec(recording, camera, config.codec == "portable", config.lossy_colour),
        )
    return streams


def _portions(recording: Recording, writer: TakeWriter, states: SourceStates) -> tuple[Portion, ...]:
    """What has no record yet, or one of files as they were; the dearest first, so that no core idles at the end."""
    records = shard_records.read_records(writer.place, FILES)
    portions: list[Portion] = [
        portion
        for portion in file_portions(states)
        if records.get(portion.number, {}).get("stamp") != states.stamp(portion.names)
    ]
    by_cost = sorted(writer.rig.cameras, key=lambda camera: (camera.kind != "rgb", -camera.image_size_hw[0]))
    for camera in by_cost:
        shards, records = writer.all_shards(camera.id), writer.read_progress(camera.id)
        pending = set(writer.pending_shards(camera.id))
        todo = [
            number
            for number, frames in enumerate(shards)
            if frames in pending
            or records[number].get("stamp") != states.stamp(_names_of(recording, states, camera.id, frames))
        ]
        together = max(1, -(-recording.frames_per_portion // len(shards[0]))) if shards else 1
        # Portions of a whole recording and of the rest of it start at the same frames.
        for _, numbers in groupby(todo, key=lambda number: number // together):
            for run in _consecutive(list(numbers)):
                portions.append(FramePortion(camera.id, tuple(shards[number] for number in run)))
    return tuple(portions)


def _consecutive(numbers: list[int]) -> Iterator[list[int]]:
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        yield [number for _, number in run]


def file_portions(states: SourceStates) -> Iterator[FilePortion]:
    """Files that are no frames, a few hundred small ones or one large one a task."""
    bundle: list[str] = []
    number, size = 0, 0
    names = states.others
    for at, name in enumerate(names):
        bundle.append(name)
        size += states.files[name].size
        following = states.files[names[at + 1]].size if at + 1 < len(names) else BYTES_PER_PORTION
        if len(bundle) == FILES_PER_PORTION or size + following > BYTES_PER_PORTION:
            yield FilePortion(number, tuple(bundle))
            bundle, number, size = [], number + 1, 0


def _names_of(recording: Recording, states: SourceStates, camera_id: str, frames: range) -> tuple[str, ...]:
    """Which files frames are read from: their own, or any that is not one frame."""
    files = recording.frame_files.get(camera_id)
    return states.others if files is None else tuple(source_name(states.base, files[frame]) for frame in frames)


def _require_same_contents(take: Take, states: SourceStates) -> None:
    """InputError if a finished take is of other bytes; all are read if a file was written since they were compared."""
    stamp = states.stamp(states.files)
    log = [name for name in take.place.children("log") if name.endswith(("-recording", "-compared"))]
    if any((read_group(take.place, f"log/{name}") or {}).get("times") == stamp for name in log):
        return
    if changed := changed_file(states, take.sources):
        got = f"one of another recording at {take.place.address} ({changed} is another)"
        raise InputError("no other take in the way", got, "choose another path, or replace it with --overwrite")
    write_group(take.place, f"log/{time.time_ns()}-compared", {"event": "compared", "times": stamp})
