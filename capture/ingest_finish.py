"""The end of an ingest: what the portions noted and what the recording says beside its pictures, into the take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from capture.frame_measures import FrameMeasures, measures_from_record, stream_quality
from capture.ingest import FILES, IngestPlan, file_portions
from capture.ingest_portions import recorded_sources
from capture.readers.recording import AudioTrack
from capture.source_identity import source_states
from capture.sync import synchronise
from geometry.errors import InputError
from storage import shard_records
from storage.schema import SOUND_ROWS_PER_CHUNK
from storage.sources import SourceFile
from storage.take import Take


def finish_ingest(plan: IngestPlan) -> Take:
    """The finished take, once every portion has run: quality, clocks, sync, sound, inertial sensors, list of sources.

    All of it comes from the recording and the records, so that it is the same however often an ingest was killed.
    Raises InputError: a recording that changed while it was read, clocks that cannot be synchronised, a full disk.
    """
    writer, recording = plan.writer, plan.recording
    sources: set[SourceFile] = set()
    file_records = shard_records.read_records(writer.place, FILES)
    for portion in file_portions(plan.states):
        sources.update(recorded_sources(portion.names, file_records[portion.number]["sources"]))
    for camera in writer.rig.cameras:
        measures: list[FrameMeasures] = []
        records = writer.read_progress(camera.id)
        for number, frames in enumerate(writer.all_shards(camera.id)):
            measures += measures_from_record(records[number]["measures"])
            if camera.id in recording.frame_files:
                names = plan.source_names(camera.id, frames)
                sources.update(recorded_sources(names, records[number]["sources"]))
        writer.write_quality(camera.id, stream_quality(measures, camera.kind))
        clock = recording.clocks[camera.id]
        writer.write_clock(camera.id, clock.device_ns, clock.host_ns, clock.frame_counter)
        writer.write_triggers(camera.id, clock.trigger_id, clock.timecode_ns)
    _write_sync(plan)
    for track in recording.audio:
        writer.write_audio(track.id, track.anchors, _blocks(track), track.rate_hz, track.camera)
    for track in recording.imu:
        writer.write_imu(track.id, track.time_ns, track.values, track.camera)
    if source_states(recording).files != plan.states.files or {file.path for file in sources} != set(plan.states.files):
        remedy = "wait until the recording is complete and ingest again with --overwrite"
        raise InputError("a recording that stays as it is", f"changes in {recording.address} meanwhile", remedy)
    writer.write_sources(sources)
    writer.finish()
    return Take.open(plan.take_path)


def _write_sync(plan: IngestPlan) -> None:
    synchronised = synchronise(plan.writer.rig, plan.recording.clocks, plan.references)
    plan.writer.write_sync(synchronised.sync, synchronised.to_json())


def _blocks(track: AudioTrack) -> Iterator[np.ndarray]:
    for start in range(0, track.sample_count, SOUND_ROWS_PER_CHUNK):
        yield track.read(start, min(start + SOUND_ROWS_PER_CHUNK, track.sample_count))
