"""One portion of an ingest: read, hash and measure each frame once, store a shard, then note that it is done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

import cv2
import numpy as np

from capture.frame_measures import FrameMeasures, measure_frame, measures_to_record
from capture.ingest import FILES, FilePortion, FramePortion, IngestPlan, Portion
from capture.source_identity import hashed_file
from geometry.errors import InputError
from storage import shard_records
from storage.jpeg import decode_jpeg
from storage.sources import SourceFile


class Stopped(Exception):
    """The ingest ends before the portion does; what is stored stays."""


def run_portion(plan: IngestPlan, portion: Portion, must_stop: Callable[[], bool] = lambda: False) -> int:
    """Store a portion and its records; the number of frames in it.

    Memory holds one frame and one encoded shard. `must_stop` is asked before each shard. Raises InputError: a frame
    that does not decode or is not what the rig says, a full disk; Stopped.
    """
    if must_stop():
        raise Stopped
    if isinstance(portion, FilePortion):
        _hash_files(plan, portion)
    else:
        # Portions run side by side, one a core.
        cv2.setNumThreads(1)
        _write_shards(plan, portion, must_stop)
    return portion.frame_count


def _hash_files(plan: IngestPlan, portion: FilePortion) -> None:
    files = [hashed_file(plan.states.base, name) for name in portion.names]
    record = {"stamp": plan.states.stamp(portion.names), "sources": _record_of(files)}
    shard_records.write_record(plan.writer.place, FILES, portion.number, record)


def _write_shards(plan: IngestPlan, portion: FramePortion, must_stop: Callable[[], bool]) -> None:
    camera_id, first = portion.camera_id, portion.shards[0]
    read = _jpegs if plan.writer.root.streams[camera_id].codec == "jpeg" else _pictures
    rows = len(plan.writer.all_shards(camera_id)[0])
    with closing(read(plan, camera_id, range(first.start, portion.shards[-1].stop))) as images:
        for frames in portion.shards:
            if must_stop():
                raise Stopped
            passing = _Passing(plan, camera_id, frames)
            plan.writer.write_shard(camera_id, frames, passing.of(images))
            record = {
                "stamp": plan.states.stamp(plan.source_names(camera_id, frames)),
                "measures": measures_to_record(passing.measures),
                "sources": _record_of(passing.sources),
            }
            plan.writer.write_progress(camera_id, frames.start // rows, record)


def _pictures(plan: IngestPlan, camera_id: str, frames: range) -> Generator[tuple[np.ndarray, np.ndarray]]:
    """Each frame as it is stored, and its pixels."""
    for image in plan.recording.frames(camera_id, frames):
        yield image, image


def _jpegs(plan: IngestPlan, camera_id: str, frames: range) -> Generator[tuple[bytes, np.ndarray]]:
    read = plan.recording.read_jpeg
    assert read is not None
    for frame in frames:
        bitstream = read(camera_id, frame)
        if bitstream is None:
            expected = f"a JPEG, like the first frame of {camera_id}"
            raise InputError(expected, f"frame {frame} in another format", "name files by what they hold")
        try:
            yield bitstream, decode_jpeg(bitstream)
        except ValueError as error:
            got = f"frame {frame} of {camera_id} ({error})"
            raise InputError("a whole JPEG", got, "copy the recording again, or record again") from error


class _Passing:
    """Frames on their way into a shard, each measured, and its file hashed while the system still holds it."""

    def __init__(self, plan: IngestPlan, camera_id: str, frames: range) -> None:
        self.plan, self.camera_id, self.frames = plan, camera_id, frames
        self.measures: list[FrameMeasures] = []
        self.sources: list[SourceFile] = []

    def of(self, images: Iterator[tuple[np.ndarray | bytes, np.ndarray]]) -> Iterator[np.ndarray | bytes]:
        """What is stored of each."""
        kind, base = self.plan.writer.rig[self.camera_id].kind, self.plan.states.base
        has_files = self.camera_id in self.plan.recording.frame_files
        names = self.plan.source_names(self.camera_id, self.frames) if has_files else ()
        for row, frame in enumerate(self.frames):
            stored, pixels = next(images, (None, None))
            if stored is None or pixels is None:
                expected = f"{len(self.plan.recording.clocks[self.camera_id].device_ns)} frames of {self.camera_id}"
                raise InputError(expected, f"{frame} that can be read", "copy the recording again")
            if has_files:
                self.sources.append(hashed_file(base, names[row]))
            self.measures.append(measure_frame(pixels, kind))
            yield stored


def _record_of(files: list[SourceFile]) -> list[list[str | int]]:
    """Sizes and hashes, in the order of names that the plan knows: names need not be Unicode, records must be."""
    return [[file.size, file.sha256] for file in files]


def recorded_sources(names: Sequence[str], values: list[list[str | int]]) -> list[SourceFile]:
    """The files of a record, by their names in the same order."""
    pairs = zip(names, values, strict=True)
    return [SourceFile(name, int(size), str(sha256)) for name, (size, sha256) in pairs]
