"""Any recording into a take: pixels bit for bit, clocks untouched, every frame measured, frame sets found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from capture.depth_unit import require_plausible_depth
from capture.frame_measures import FrameMeasures, measure_frame, stream_quality
from capture.readers import Recording, open_recording
from capture.sync import synchronise
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.ingest_writer import TakeWriter
from storage.provenance import commit_id, digest_of_file, digest_of_files, tool_version
from storage.rig_json import read_rig
from storage.schema import FRAMES_PER_SHARD
from storage.take import Stream, Take
from storage.take_header import StreamPlan, TakeHeader

NOT_STATED = "not stated"

Progress = Callable[[int, int], None]
"""Called with the number of frames done and of all frames."""


@dataclass(frozen=True)
class IngestConfig:
    """How to understand a recording, and what it does not say itself."""

    reader: str = "auto"
    """Name of the reader, or auto: the first that recognises the recording."""
    rig: Path | None = None
    """A rig file that replaces the recording's own calibration."""
    take_id: str = ""
    """Name of the take; if empty, the subject and the recording's digest make one."""
    subject_id: str = ""
    """Pseudonym of the subject, where the recording does not say or is wrong."""
    consent: str = ""
    """What the subject agreed to, where the recording does not say or is wrong."""
    licence: str = ""
    """Terms of the recording, where it does not say or is wrong."""


def ingest(
    source: Path,
    take_path: Path | str,
    config: IngestConfig,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Take:
    """The take of a recording, finished and opened.

    A killed ingest of the same recording and settings goes on where it stopped and ends with the same bytes (`log/`
    aside); a finished one is returned as it is. Memory holds one shard of frames per core.

    Raises InputError: nothing at `source` that a reader understands, a broken picture, a rig of other cameras, a depth
    unit that puts the face outside 0.1 to 3 m, something else at `take_path` unless `overwrite` replaces a take,
    a recording that changes while it is read, a full disk.
    """
    recording = open_recording(Path(source), config.reader)
    rig = recording.rig if config.rig is None else _other_calibration(config.rig, recording.rig)
    require_plausible_depth(recording, rig)
    before = _file_states(recording)
    header = _header(recording, config)
    settings = {"reader": recording.reader, "rig": digest_of_file(config.rig) if config.rig else ""}
    writer = TakeWriter.begin(take_path, header, rig, _plans(recording, rig), settings, overwrite)
    if writer is None:
        return Take.open(take_path)
    with writer:
        writer.log("recording", notes=list(recording.notes))
        _write_frames(writer, recording, progress)
        _write_clocks(writer, recording)
        if _file_states(recording) != before:
            remedy = "wait until the recording is complete and ingest again with --overwrite"
            raise InputError("a recording that stays as it is", f"changes in {recording.address} meanwhile", remedy)
        writer.finish()
    return Take.open(take_path)


def _other_calibration(path: Path, recorded: Rig) -> Rig:
    """The rig of a file, if it is of the same cameras; in the recording's order."""
    rig = read_rig(path)
    expected, remedy = f"a rig of the recorded cameras ({', '.join(recorded.ids)})", "name the rig of this recording"
    if unknown := sorted(set(rig.ids) - set(recorded.ids)):
        raise InputError(expected, f"one with {', '.join(unknown)}, which was not recorded, in {path}", remedy)
    if missing := sorted(set(recorded.ids) - set(rig.ids)):
        raise InputError(expected, f"one without {', '.join(missing)} in {path}", remedy)
    for camera in recorded.cameras:
        was, other = ((c.kind, *c.image_size_hw) for c in (camera, rig[camera.id]))
        if was != other:
            got = "{} of {} x {} (rows x columns)".format(*other) + f" in {path}"
            raise InputError("{} of {} x {} for ".format(*was) + camera.id, got, remedy)
    return Rig(tuple(rig[camera_id] for camera_id in recorded.ids))


def _header(recording: Recording, config: IngestConfig) -> TakeHeader:
    source_digest = _source_digest(recording)
    serials = {camera.serial for camera in recording.rig.cameras}
    subject_id = config.subject_id or recording.subject_id
    return TakeHeader(
        take_id=config.take_id or f"{subject_id or recording.reader}-{source_digest[:8]}",
        subject_id=subject_id or "unknown",
        consent=config.consent or recording.consent or NOT_STATED,
        licence=config.licence or recording.licence or NOT_STATED,
        source=recording.address,
        source_digest=source_digest,
        reader=recording.reader,
        tool_version=tool_version(),
        commit=commit_id(),
        device_model=serials.pop() if len(serials) == 1 else "",
    )


def _source_digest(recording: Recording) -> str:
    address = Path(recording.address)
    try:
        return digest_of_files(address if address.is_dir() else address.parent, recording.source_files)
    except OSError as error:
        remedy = "copy the recording again and check its permissions"
        raise InputError("every file of the recording", str(error), remedy) from error


def _file_states(recording: Recording) -> list[tuple[int, int]]:
    try:
        return [((status := path.stat()).st_size, status.st_mtime_ns) for path in recording.source_files]
    except OSError as error:
        raise InputError("every file of the recording", str(error), "copy the recording again") from error


def _plans(recording: Recording, rig: Rig) -> dict[str, StreamPlan]:
    clocks = {camera_id: recording.clocks[camera_id] for camera_id in rig.ids}
    return {
        camera_id: StreamPlan(
            len(clock.device_ns),
            has_host_ns=clock.host_ns is not None,
            has_frame_counter=clock.frame_counter is not None,
        )
        for camera_id, clock in clocks.items()
    }


def _write_clocks(writer: TakeWriter, recording: Recording) -> None:
    for camera_id in writer.rig.ids:
        clock = recording.clocks[camera_id]
        writer.write_clock(camera_id, clock.device_ns, clock.host_ns, clock.frame_counter)
    synchronised = synchronise(writer.rig, recording.clocks)
    writer.log("synchronised", notes=list(synchronised.notes))
    writer.write_sync(synchronised.sync)


@dataclass(frozen=True)
class _Shard:
    """Frames that one task reads."""

    camera_id: str
    frames: range
    stored: bool
    """Whether an earlier ingest wrote them, so that they are only measured, as the take holds them."""


def _write_frames(writer: TakeWriter, recording: Recording, progress: Progress | None) -> None:
    """Every pending shard, and every stream's measures; the same whether shards are old or new."""
    shards = _shards(writer)
    total = sum(len(shard.frames) for shard in shards)
    measures: dict[str, dict[int, FrameMeasures]] = {camera_id: {} for camera_id in writer.rig.ids}

    def transfer(shard: _Shard) -> tuple[_Shard, list[FrameMeasures]]:
        return shard, _transfer(writer, recording, shard)

    done = 0
    if progress:
        progress(0, total)
    for shard, found in _in_parallel(transfer, shards):
        measures[shard.camera_id].update(zip(shard.frames, found, strict=True))
        done += len(shard.frames)
        if progress:
            progress(done, total)
    for camera in writer.rig.cameras:
        in_order = [measures[camera.id][frame] for frame in sorted(measures[camera.id])]
        writer.write_quality(camera.id, stream_quality(in_order, camera.kind == "depth"))


def _shards(writer: TakeWriter) -> list[_Shard]:
    """All frames of all cameras; pending ones in the writer's portions."""
    shards = []
    for camera_id, plan in writer.root.streams.items():
        pending = writer.pending_shards(camera_id)
        shards += [_Shard(camera_id, frames, False) for frames in pending]
        edges = [0, *(edge for frames in pending for edge in (frames.start, frames.stop)), plan.frame_count]
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            starts = range(start, stop, FRAMES_PER_SHARD)
            shards += [_Shard(camera_id, range(first, min(first + FRAMES_PER_SHARD, stop)), True) for first in starts]
    return shards


def _transfer(writer: TakeWriter, recording: Recording, shard: _Shard) -> list[FrameMeasures]:
    measures: list[FrameMeasures] = []
    if shard.stored:
        stream = Stream(writer.rig[shard.camera_id], writer.root.streams[shard.camera_id], writer.place)
        return [measure_frame(stream.frame(frame)) for frame in shard.frames]

    def images() -> Iterator[np.ndarray]:
        for frame in shard.frames:
            image = recording.read_frame(shard.camera_id, frame)
            measures.append(measure_frame(image))
            yield image

    writer.write_shard(shard.camera_id, shard.frames, images())
    return measures


def _in_parallel(
    transfer: Callable[[_Shard], tuple[_Shard, list[FrameMeasures]]], shards: list[_Shard]
) -> Iterator[tuple[_Shard, list[FrameMeasures]]]:
    """Results as they come; no more shards in flight than cores, so that memory stays bounded."""
    workers = max(1, os.cpu_count() or 1)
    waiting = iter(shards)
    with ThreadPoolExecutor(workers) as pool:
        running: set[Future[tuple[_Shard, list[FrameMeasures]]]] = set()
        try:
            while running := running | {
                pool.submit(transfer, shard) for shard in islice(waiting, workers - len(running))
            }:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
