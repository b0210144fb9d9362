"""A take that holds a recording, written with nothing but the storage: no ingest decides anything on the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from capture.readers.recording import Recording
from capture.source_folder import base_of
from storage.ingest_writer import SourceFile, StreamPlan, TakeWriter
from storage.provenance import digest_of_file, digest_of_files
from storage.take import Sync, Take
from storage.take_header import TakeHeader


def stored(recording: Recording, path: str | Path, codecs: Mapping[str, str] | None = None) -> Take:
    """The take of a recording; `codecs` names those of cameras that are not stored with blosc."""
    base = base_of(Path(recording.address))
    header = TakeHeader(
        take_id="take-1",
        subject_id=recording.subject_id,
        consent=recording.consent,
        licence=recording.licence,
        source=recording.address,
        source_digest=digest_of_files(base, recording.source_files),
        reader=recording.reader,
    )
    plans = {}
    for camera_id, clock in recording.clocks.items():
        present = {
            "has_host_ns": clock.host_ns is not None,
            "has_frame_counter": clock.frame_counter is not None,
            "has_trigger_id": clock.trigger_id is not None,
            "has_timecode": clock.timecode_ns is not None,
        }
        plans[camera_id] = StreamPlan(len(clock.device_ns), codec=(codecs or {}).get(camera_id, "blosc"), **present)
    writer = TakeWriter.begin(path, header, recording.rig, plans, {"rig": ""})
    assert writer is not None
    with writer:
        for camera_id, clock in recording.clocks.items():
            for frames in writer.pending_shards(camera_id):
                writer.write_shard(camera_id, frames, recording.frames(camera_id, frames))
            writer.write_clock(camera_id, clock.device_ns, clock.host_ns, clock.frame_counter)
            writer.write_triggers(camera_id, clock.trigger_id, clock.timecode_ns)
        for track in recording.audio:
            blocks = (track.read(at, min(at + 1000, track.sample_count)) for at in range(0, track.sample_count, 1000))
            writer.write_audio(track.id, track.anchors, blocks, track.rate_hz, track.camera)
        for track in recording.imu:
            writer.write_imu(track.id, track.time_ns, track.values, track.camera)
        count = min(plan.frame_count for plan in plans.values())
        index = np.repeat(np.arange(count, dtype=np.int32)[:, None], len(plans), 1)
        writer.write_sync(Sync(np.arange(count, dtype=np.int64), index))
        files = recording.source_files
        writer.write_sources(
            SourceFile(file.relative_to(base).as_posix(), file.stat().st_size, digest_of_file(file)) for file in files
        )
        writer.finish()
    return Take.open(path)
