"""Writing a take so that a killed ingest goes on where it stopped and ends with the same bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from geometry.errors import InputError
from geometry.rigs import Rig
from storage import chunks, shard_records, sources, tracks
from storage.array_spec import ArraySpec
from storage.arrays import write_array, write_metadata
from storage.codecs import JpegCodec
from storage.consolidation import consolidate
from storage.documents import plain, read_group, write_group
from storage.folder_lock import FolderLock
from storage.place_lock import PlaceLock
from storage.places import PARTIAL_SUFFIX, LocalPlace, Place, place_of
from storage.rig_json import require_name, rig_to_json
from storage.schema import SCHEMA
from storage.sources import SourceFile
from storage.take import QUALITY_MEASURES, FrameQuality, Sync, frames_folder, frames_spec, sync_fault, sync_index_spec
from storage.take_header import OPTIONAL_PARTS, SCHEMA_NAME, StreamPlan, TakeHeader, TakeRoot

__all__ = ["SourceFile", "StreamPlan", "TakeWriter"]


@dataclass(frozen=True, eq=False)
class TakeWriter:
    """One ingest. Different shards may be written from different threads and processes (it pickles) at once.

    `begin` it, write every pending shard and its record, every stream's clock and the sync, and where there are any
    sound, inertial sensors and the list of sources; then `finish`.
    """

    place: Place
    """Where the take is made."""
    root: TakeRoot
    """What it will be."""
    rig: Rig
    """Its cameras."""
    _lock: FolderLock | PlaceLock | None = None
    """Keeps other ingests out until `close`; None in a pickled writer."""

    @classmethod
    def begin(
        cls,
        path: str | Path,
        header: TakeHeader,
        rig: Rig,
        streams: Mapping[str, StreamPlan],
        config: Mapping[str, Any],
        overwrite: bool = False,
    ) -> TakeWriter | None:
        """Start a take, or go on with an unfinished one of the same source digest and config.

        Returns None if just this take is finished already. An unfinished one of other code, rig or streams is
        started again. Raises InputError if anything else lies at the path, unless `overwrite` allows to replace a
        take, and if another ingest is writing there.
        """
        if set(streams) != set(rig.ids):
            odd = ", ".join(sorted(set(streams) ^ set(rig.ids)))
            raise InputError("a stream for each camera of the rig", f"only one of both for {odd}", "correct the rig")
        for camera_id in rig.ids:
            require_name(camera_id, "a camera")
        place = place_of(path)
        root = TakeRoot(header, {name: streams[name] for name in rig.ids}, plain(config), "ingesting")
        rig_document = plain(rig_to_json(rig))
        is_finished = _existing(place, root, rig_document, overwrite) == "finished"
        if is_finished and shard_records.FOLDER not in place.children(""):
            return None
        lock = FolderLock(place.root / "log") if isinstance(place, LocalPlace) else PlaceLock(place)
        writer = cls(place, root, rig, lock)
        try:
            # Again under the lock: another ingest may have ended meanwhile.
            found = _existing(place, root, rig_document, overwrite)
            if found == "finished":
                # Its writer was killed between the last write and tidying up.
                place.remove(shard_records.FOLDER)
                writer.close()
                return None
            if found == "resumable" and _rig_document(place) == rig_document:
                writer._remove_partial_files()
                writer.log("resumed")
            else:
                writer._start()
        except BaseException:
            writer.close()
            raise
        return writer

    def _start(self) -> None:
        # Until the state says "ingesting", shards on disk count for nothing: a kill in here cannot mix two takes.
        replace(self.root, state="clearing").write(self.place)
        for name in self.place.children(""):
            if name not in ("zarr.json", "log"):
                self.place.remove(name)
        write_group(self.place, "log", {})
        write_group(self.place, "rig", rig_to_json(self.rig))
        write_group(self.place, "sync", {})
        write_group(self.place, "results", {})
        write_group(self.place, "streams", {})
        if any(camera.kind == "light_field" for camera in self.rig.cameras):
            write_group(self.place, "light_field", {})
        for camera in self.rig.cameras:
            write_group(self.place, f"streams/{camera.id}", {})
            write_metadata(self.place, frames_folder(camera), self._frames(camera.id))
        self.root.write(self.place)
        self.log("started")

    def all_shards(self, camera_id: str) -> list[range]:
        """The frames of each shard of a camera, in order."""
        spec = self._frames(camera_id)
        return [spec.rows_of_file(number) for number in range(spec.file_count)]

    def pending_shards(self, camera_id: str) -> list[range]:
        """The frames of each shard that is not whole on disk yet, or has no record, in order."""
        done = self._whole_shards(camera_id) & set(self.read_progress(camera_id))
        return [frames for number, frames in enumerate(self.all_shards(camera_id)) if number not in done]

    def write_shard(self, camera_id: str, frames: range, images: Iterable[np.ndarray | bytes]) -> None:
        """Store the frames of one shard, one of `pending_shards`, atomically; images may come lazily.

        They are arrays, or the camera's own bitstreams where the stream's codec is "jpeg", whose metadata are dropped.
        Raises InputError if an image does not have the size and type that the rig says, or the disk is full.
        """
        spec = self._frames(camera_id)
        number = self._shard_number(camera_id, frames)
        encoded = [
            _encoded(image, spec, f"frame {frames.start + row} of {camera_id}") for row, image in enumerate(images)
        ]
        if len(encoded) != len(frames):
            raise ValueError(f"{len(encoded)} images for {len(frames)} frames of {camera_id}")
        if self._lock is not None:
            self._lock.require_held()
        key = f"{frames_folder(self.rig[camera_id])}/{spec.file_key(number)}"
        self.place.write(key, chunks.join_shard(encoded, spec.chunks_per_shard), durable=True)

    def write_progress(self, camera_id: str, number: int, record: Mapping[str, Any]) -> None:
        """Note plain values (measures, hashes ...) about a shard after it was written, until the take is finished.

        A shard without its record counts as pending, so that a kill between the two does it again.
        """
        shard_records.write_record(self.place, self.rig[camera_id].id, number, record)

    def read_progress(self, camera_id: str) -> dict[int, dict[str, Any]]:
        """The records of a camera's shards, by the shard's number."""
        return shard_records.read_records(self.place, self.rig[camera_id].id)

    def write_clock(
        self,
        camera_id: str,
        device_ns: Int[np.ndarray, "t"],
        host_ns: Int[np.ndarray, "t"] | None = None,
        frame_counter: Int[np.ndarray, "t"] | None = None,
    ) -> None:
        """Store a stream's device clock and, where its plan has them, arrival times and frame counts."""
        self._write_clocks(camera_id, {"device_ns": device_ns, "host_ns": host_ns, "frame_counter": frame_counter})

    def write_triggers(
        self,
        camera_id: str,
        trigger_id: Int[np.ndarray, "t"] | None = None,
        timecode_ns: Int[np.ndarray, "t"] | None = None,
    ) -> None:
        """Store a stream's trigger numbers and timecode, where its plan has them."""
        self._write_clocks(camera_id, {"trigger_id": trigger_id, "timecode_ns": timecode_ns})

    def write_quality(self, camera_id: str, quality: FrameQuality) -> None:
        """Store what was measured of each frame of a stream."""
        measures = {name: getattr(quality, name) for name in QUALITY_MEASURES}
        write_group(self.place, f"streams/{camera_id}/quality", {})
        for name, values in measures.items():
            if values is not None:
                self._write_per_frame(camera_id, name, np.asarray(values, np.float32))

    def write_audio(
        self,
        track_id: str,
        anchors: Int[np.ndarray, "anchor 2"],
        blocks: Iterable[Float[np.ndarray, "sample channel"]],
        rate_hz: float = 0.0,
        camera: str = "",
    ) -> None:
        """Store a sound track: pairs of sample number and device time, and the samples in blocks of any length.

        `rate_hz` is the nominal rate, and `camera` the one whose clock the anchors are on. A megabyte a channel is in
        memory at a time.
        """
        tracks.write_audio(self.place, track_id, anchors, blocks, {"rate_hz": float(rate_hz), "camera": camera})

    def write_imu(
        self,
        track_id: str,
        time_ns: Int[np.ndarray, "sample"],
        values: Float[np.ndarray, "sample 7"],
        camera: str = "",
    ) -> None:
        """Store what an inertial sensor recorded; `camera` is the one whose clock the times are on."""
        tracks.write_imu(self.place, track_id, time_ns, values, {"camera": camera})

    def write_sources(self, files: Iterable[SourceFile]) -> None:
        """Store which files the take is made of, in any order."""
        sources.write_sources(self.place, files)

    def write_sync(self, sync: Sync, attributes: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Store which frames make each frame set, and as attributes what else the synchronisation found.

        ValueError if the index points at frames that do not exist.
        """
        write_group(self.place, "sync", attributes)
        if sync.index.shape[1] != len(self.rig.cameras):
            raise ValueError(f"{sync.index.shape[1]} columns for {len(self.rig.cameras)} cameras")
        if fault := sync_fault(sync.index, self.rig, self.root.streams):
            raise ValueError(f"the sync index names {fault}")
        time_spec = SCHEMA["sync_time_ns"].spec(sync.time_ns.shape)
        write_array(self.place, "sync/time_ns", sync.time_ns.astype(np.int64), time_spec)
        spec = sync_index_spec(len(sync.time_ns), self.rig)
        write_array(self.place, "sync/index", sync.index.astype(np.int32), spec)

    def finish(self) -> None:
        """Mark the take complete, as the last write and atomically; ValueError if a part was not written."""
        if self._lock is not None:
            self._lock.require_held()
        absent = []
        for camera_id in self.rig.ids:
            whole = self._whole_shards(camera_id)
            shards = enumerate(self.all_shards(camera_id))
            absent += [f"{frames} of {camera_id}" for number, frames in shards if number not in whole]
        folders = [f"streams/{name}/{clock}" for name, plan in self.root.streams.items() for clock in plan.clocks]
        folders += ["sync/time_ns", "sync/index"]
        present = {key for part in ("streams", "sync") for key in self.place.sizes(part)}
        absent += [folder for folder in folders if f"{folder}/zarr.json" not in present]
        if absent:
            raise ValueError(f"the take lacks {'; '.join(absent)}")
        self._remove_partial_files()
        parts = tuple(part for part in OPTIONAL_PARTS if self.place.size(f"{part}/zarr.json") is not None)
        for part in ("streams", "sync", *parts):
            consolidate(self.place, part)
        self.log("finished")
        replace(self.root, state="complete", parts=parts).write(self.place)
        self.place.remove(shard_records.FOLDER)
        self.close()

    def close(self) -> None:
        """Let others write here again; an unfinished take stays unfinished."""
        if self._lock is not None:
            self._lock.close()

    def log(self, event: str, **details: Any) -> None:
        """Note an event with its time under `log/`, the only place for times; byte comparisons skip it."""
        now = time.time_ns()
        record = {"event": event, "time_ns": now, "host": os.uname().nodename, "pid": os.getpid()} | details
        write_group(self.place, f"log/{now}-{event}", record)

    def __enter__(self) -> TakeWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lock": None}

    def _frames(self, camera_id: str) -> ArraySpec:
        return frames_spec(self.rig[camera_id], self.root.streams[camera_id])

    def _shard_number(self, camera_id: str, frames: range) -> int:
        spec = self._frames(camera_id)
        number = frames.start // spec.rows_per_file
        if not frames or frames != spec.rows_of_file(number):
            raise ValueError(f"frames {frames} are no shard of {camera_id}; take one of pending_shards")
        return number

    def _whole_shards(self, camera_id: str) -> set[int]:
        """Numbers of the shards on disk that end in a valid index; one cut off by a power cut does not."""
        spec, folder = self._frames(camera_id), frames_folder(self.rig[camera_id])
        sizes, tail = self.place.sizes(folder), chunks.index_size(spec.chunks_per_shard)
        keys = {number: f"{folder}/{spec.file_key(number)}" for number in range(spec.file_count)}
        present = {number: sizes[key] for number, key in keys.items() if key in sizes}
        ends = self.place.read_parts([(keys[number], max(0, size - tail), size) for number, size in present.items()])
        whole = set()
        for (number, size), data in zip(present.items(), ends, strict=True):
            try:
                spans = chunks.split_index(data or b"", spec.chunks_per_shard, size)
            except chunks.DamagedChunk:
                continue
            if (spans[: len(spec.rows_of_file(number)), 0] >= 0).all():
                whole.add(number)
        return whole

    def _write_clocks(self, camera_id: str, clocks: Mapping[str, np.ndarray | None]) -> None:
        planned = self.root.streams[self.rig[camera_id].id].clocks
        for name, values in clocks.items():
            if (values is not None) != (name in planned):
                raise ValueError(f"{name} of {camera_id} is {'not ' if values is not None else ''}in the stream's plan")
            if values is not None:
                self._write_per_frame(camera_id, name, values.astype(np.int64))

    def _write_per_frame(self, camera_id: str, name: str, values: np.ndarray) -> None:
        spec = SCHEMA[name].spec((self.root.streams[camera_id].frame_count,))
        write_array(self.place, SCHEMA[name].path.format(camera=camera_id), values, spec)

    def _remove_partial_files(self) -> None:
        for key in list(self.place.keys()):
            if key.endswith(PARTIAL_SUFFIX):
                self.place.remove(key)


def _existing(place: Place, root: TakeRoot, rig_document: dict[str, Any], overwrite: bool) -> str:
    """What lies at the place: "nothing", "resumable" or "finished"; InputError if it is in the way."""
    attributes = read_group(place, "")
    names = [name for name in place.children("") if not name.endswith(PARTIAL_SUFFIX) and name != "log"]
    if attributes is None and not names:
        return "nothing"
    if attributes is None or attributes.get("schema") != SCHEMA_NAME:
        # Never deleted, whatever the flags: it is not ours.
        raise InputError("nothing, or a take", f"other data at {place.address}", "choose another path for the take")
    if overwrite:
        return "nothing"
    remedy = "choose another path, or replace it with --overwrite"
    try:
        found = TakeRoot.read(place)
    except InputError as error:
        raise InputError(error.expected, error.got, remedy) from error
    other = _difference(found, root)
    if not other and found.state == "complete" and _rig_document(place) != rig_document:
        other = "another rig"
    if other:
        raise InputError("no other take in the way", f"one of {other} at {place.address}", remedy)
    if found.state == "complete":
        return "finished"
    return "resumable" if found == root else "nothing"


def _difference(found: TakeRoot, root: TakeRoot) -> str:
    """What makes a take another than the one wanted, in words; empty if they are the same.

    The recording may have moved since, and a finished take need not be made again by newer code.
    """
    if found.header.source_digest != root.header.source_digest:
        return "another recording"
    codecs, other_codecs = ({name: plan.codec for name, plan in r.streams.items()} for r in (found, root))
    if found.config != root.config or codecs != other_codecs:
        return "other settings"
    named = ("take_id", "subject_id", "consent", "licence", "slate", "take_number", "notes")
    changed = [name for name in named if getattr(found.header, name) != getattr(root.header, name)]
    return f"another {' and '.join(changed)}" if changed else ""


def _rig_document(place: Place) -> dict[str, Any] | None:
    try:
        return read_group(place, "rig")
    except InputError:
        return None


def _encoded(image: np.ndarray | bytes, spec: ArraySpec, name: str) -> bytes:
    """A frame's chunk; InputError if it is not what the rig says."""
    codec = spec.bytes_codec
    if isinstance(codec, JpegCodec) and isinstance(image, bytes):
        try:
            return codec.store(image, spec.chunk_shape)
        except chunks.DamagedChunk as error:
            expected = f"a whole JPEG of {spec.shape[1:3]} (rows, columns) as the rig says"
            remedy = "correct image_size_hw in the rig file, or restore the image"
            raise InputError(expected, f"{error} for {name}", remedy) from error
    if isinstance(image, bytes):
        raise ValueError(f"the bytes of {name} for a stream whose codec is {spec.codec}")
    return codec.encode(_checked(image, spec, name)[None])


def _checked(image: np.ndarray, spec: ArraySpec, name: str) -> np.ndarray:
    if image.shape != spec.shape[1:] or image.dtype != spec.numpy_dtype:
        expected = f"{spec.dtype} {spec.shape[1:]} as the rig says"
        remedy = "correct image_size_hw in the rig file, or restore the image"
        raise InputError(expected, f"{image.dtype} {image.shape} for {name}", remedy)
    return image
