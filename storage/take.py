"""A finished take, opened to read: its header, rig, streams, synchrony and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.array_spec import ArraySpec
from storage.arrays import StoredArray
from storage.consolidation import consolidated_metadata
from storage.documents import GROUP_KEY, digest, read_group
from storage.places import LocalPlace, Place, place_of
from storage.results import Results
from storage.rig_json import require_name, rig_from_json
from storage.schema import SCHEMA
from storage.sources import SourceFile, read_sources
from storage.take_header import StreamPlan, TakeHeader, TakeRoot
from storage.tracks import StoredAudio, StoredImu, read_audio, read_imu, require_spec

__all__ = ["FrameQuality", "Stream", "Sync", "Take", "TakeHeader"]


@dataclass(frozen=True, eq=False)
class Sync:
    """Which frames were taken at the same time."""

    time_ns: Int[np.ndarray, "f"]
    """Time of each frame set, int64 nanoseconds."""
    index: Int[np.ndarray, "f c"]
    """Frame of each camera (in the rig's order) that makes the frame set; -1: missing. int32."""

    def __post_init__(self) -> None:
        if self.index.ndim != 2 or self.time_ns.shape != self.index.shape[:1]:
            raise ValueError(f"{self.time_ns.shape} times do not fit an index of {self.index.shape}")


@dataclass(frozen=True, eq=False)
class FrameQuality:
    """Measures of each frame of a stream, as far as they were taken."""

    exposure: Float[np.ndarray, "t"] | None = None
    """Mean grey level, 0 to 1."""
    blur: Float[np.ndarray, "t"] | None = None
    """Sharpness; low is blurred."""
    hole_rate: Float[np.ndarray, "t"] | None = None
    """Share of depth pixels without a measurement."""


QUALITY_MEASURES = ("exposure", "blur", "hole_rate")


@dataclass(frozen=True, eq=False)
class Stream:
    """What one camera recorded. Frames are read one chunk each, from any thread; nothing is kept in memory."""

    camera: Camera
    """The camera, from the rig."""
    plan: StreamPlan
    """Number of frames and clocks it has."""
    place: Place
    """The take."""
    known: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Metadata of its arrays, as far as they are known without reading them, by their folder in the take."""

    def __len__(self) -> int:
        return self.plan.frame_count

    def frame(self, t: int) -> np.ndarray:
        """Frame `t` as recorded: uint8 (h, w, 3) sRGB, or uint16 (h, w): depth in its unit, infrared, lenslets.

        Raises InputError if there is no such frame or its chunk is missing or damaged.
        """
        if not 0 <= t < len(self):
            got = f"frame {t} of {self.camera.id}"
            raise InputError(f"a frame from 0 to {len(self) - 1}", got, "choose a frame that was recorded")
        return self.frames[int(t)]

    def depth_m(self, t: int) -> Float[np.ndarray, "h w"]:
        """Depth of frame `t` along the camera's z in metres, float32; 0: no measurement. Depth cameras only."""
        if self.camera.depth_unit_m is None:
            got = f"{self.camera.id}, which is {self.camera.kind}"
            raise InputError("a depth camera", got, "choose a camera of kind depth")
        return self.camera.depth_m(self.frame(t))

    @cached_property
    def frames(self) -> StoredArray:
        """All frames, lazily; `stream.frames[3:9]` reads six."""
        spec = frames_spec(self.camera, self.plan)
        return open_declared(self.place, frames_folder(self.camera), spec, self.known)

    @cached_property
    def device_ns(self) -> Int[np.ndarray, "t"]:
        """The device's own clock, untouched, int64 nanoseconds."""
        return self._clock("device_ns")

    @cached_property
    def host_ns(self) -> Int[np.ndarray, "t"] | None:
        """Arrival at the recorder, int64 nanoseconds, if it was recorded."""
        return self._clock("host_ns") if self.plan.has_host_ns else None

    @cached_property
    def frame_counter(self) -> Int[np.ndarray, "t"] | None:
        """The device's count of frames, if it was recorded."""
        return self._clock("frame_counter") if self.plan.has_frame_counter else None

    @cached_property
    def trigger_id(self) -> Int[np.ndarray, "t"] | None:
        """The trigger that released each frame, if it was recorded."""
        return self._clock("trigger_id") if self.plan.has_trigger_id else None

    @cached_property
    def timecode_ns(self) -> Int[np.ndarray, "t"] | None:
        """SMPTE timecode since midnight, int64 nanoseconds, if it was recorded."""
        return self._clock("timecode_ns") if self.plan.has_timecode else None

    @cached_property
    def quality(self) -> FrameQuality:
        """The measures that the ingest took; None each where it took none."""
        folder = f"streams/{self.camera.id}/quality"
        inside = [name.removeprefix(f"{folder}/") for name in self.known if name.startswith(f"{folder}/")]
        present = inside if self.known else self.place.children(folder)
        spec = {name: SCHEMA[name].spec((len(self),)) for name in QUALITY_MEASURES if name in present}
        return FrameQuality(**{name: self._open(f"quality/{name}", spec[name]).read() for name in spec})

    def _clock(self, name: str) -> np.ndarray:
        return self._open(name, SCHEMA[name].spec((len(self),))).read()

    def _open(self, name: str, spec: ArraySpec) -> StoredArray:
        return open_declared(self.place, f"streams/{self.camera.id}/{name}", spec, self.known)


@dataclass(frozen=True, eq=False)
class Take:
    """A finished take. Opening reads two small documents; everything else is read when asked for.

    Instances cross process borders by pickling and may be shared between threads.
    """

    header: TakeHeader
    """Whose face, from where, for what use."""
    rig: Rig
    """The cameras, in the order of the sync index."""
    path: str | Path
    """Where it lies: a path or an fsspec URL, as given."""
    root: TakeRoot
    """All attributes of the take's root."""
    _streams: dict[str, Stream] = field(default_factory=dict, repr=False)
    _consolidated: dict[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Take:
        """The take at a path or URL.

        Raises InputError if there is none, its schema version is another, its metadata is damaged, or its ingest
        was not finished.
        """
        place = place_of(path)
        root = TakeRoot.read(place)
        if root.state != "complete":
            remedy = f"run `mien ingest {root.header.source} {path}` again: it resumes"
            raise InputError("a finished take", f"an unfinished ingest at {path}", remedy)
        return cls(root.header, read_take_rig(place, root), path, root)

    @property
    def place(self) -> Place:
        """Where its bytes are."""
        return place_of(self.path)

    @property
    def frame_count(self) -> int:
        """Number of frame sets."""
        return len(self.sync.time_ns)

    @property
    def results(self) -> Results:
        """What the steps produced."""
        return Results(self.place)

    @property
    def digest(self) -> str:
        """A hash that changes with the recording, the ingest's settings or the code that ingested it."""
        return digest(self.root)

    def stream(self, camera_id: str) -> Stream:
        """What a camera recorded; InputError for a camera that is not in the rig."""
        if camera_id not in self._streams:
            camera, folder = self.rig[camera_id], f"streams/{camera_id}/"
            known = {name: item for name, item in self._known("streams").items() if name.startswith(folder)}
            if known and camera.kind == "light_field":
                known |= self._known("light_field")
            self._streams[camera_id] = Stream(camera, self.root.streams[camera_id], self.place, known)
        return self._streams[camera_id]

    @property
    def audio_ids(self) -> tuple[str, ...]:
        """Names of the sound tracks."""
        return self._names("audio")

    @property
    def imu_ids(self) -> tuple[str, ...]:
        """Names of the inertial sensors."""
        return self._names("imu")

    def audio(self, track_id: str) -> StoredAudio:
        """A sound track, its samples read lazily; InputError if there is none of this name."""
        return read_audio(self.place, require_name(track_id, "a sound track"), self._known("audio"))

    def imu(self, track_id: str) -> StoredImu:
        """What an inertial sensor recorded, read lazily; InputError if there is none of this name."""
        return read_imu(self.place, require_name(track_id, "an inertial sensor"), self._known("imu"))

    @cached_property
    def sources(self) -> tuple[SourceFile, ...]:
        """Every file that the take was made of, in the order of paths; empty if the ingest kept no list."""
        return read_sources(self.place, self._known("sources")) if "sources" in self.root.parts else ()

    @cached_property
    def sync_attributes(self) -> Mapping[str, Any]:
        """What the synchronisation found beside the frame sets (offsets, drifts, references), as it stored it."""
        return read_group(self.place, "sync") or {}

    @cached_property
    def sync(self) -> Sync:
        """Frame sets over all cameras; InputError if stored ones point at frames that do not exist."""
        known = self._known("sync")
        time_ns = StoredArray.open(self.place, "sync/time_ns", known)
        require_spec(time_ns, SCHEMA["sync_time_ns"].spec((len(time_ns),)))
        index = open_declared(self.place, "sync/index", sync_index_spec(len(time_ns), self.rig), known).read()
        if fault := sync_fault(index, self.rig, self.root.streams):
            raise InputError("a sync index of recorded frames", fault, "ingest the recording again with --overwrite")
        return Sync(time_ns.read(), index)

    def frame(self, camera_id: str, frame_set: int) -> np.ndarray | None:
        """A camera's frame in a frame set, as `Stream.frame` gives it; None where the camera has none."""
        t = self._frame_number(camera_id, frame_set)
        return None if t < 0 else self.stream(camera_id).frame(t)

    def depth_m(self, camera_id: str, frame_set: int) -> Float[np.ndarray, "h w"] | None:
        """A depth camera's frame in a frame set in metres, as `Stream.depth_m` gives it; None where it has none."""
        t = self._frame_number(camera_id, frame_set)
        return None if t < 0 else self.stream(camera_id).depth_m(t)

    def _names(self, part: str) -> tuple[str, ...]:
        if part not in self.root.parts:
            return ()
        known = self._known(part)
        names = {name.split("/")[1] for name in known} if known else set(self.place.children(part)) - {GROUP_KEY}
        return tuple(sorted(names))

    def _known(self, part: str) -> Mapping[str, Any]:
        """Metadata of a part's arrays in one read, where each would be a request to a server.

        On a disk they are read where they lie: that costs nothing, and damage to one is seen.
        """
        if part not in self._consolidated:
            is_local = isinstance(self.place, LocalPlace)
            self._consolidated[part] = {} if is_local else consolidated_metadata(self.place, part)
        return self._consolidated[part]

    def _frame_number(self, camera_id: str, frame_set: int) -> int:
        if not 0 <= frame_set < self.frame_count:
            got = f"frame set {frame_set}"
            raise InputError(f"a frame set from 0 to {self.frame_count - 1}", got, "choose one that was recorded")
        return int(self.sync.index[frame_set, self.rig.index(camera_id)])


FRAMES_OF_KIND = {
    "rgb": "colour_frames",
    "depth": "depth_frames",
    "infrared": "infrared_frames",
    "light_field": "light_field_raw",
}
"""Names in the schema of what each kind of camera records."""


def frames_spec(camera: Camera, plan: StreamPlan) -> ArraySpec:
    """How the schema lays out a camera's frames."""
    shape = (plan.frame_count, *camera.image_size_hw, *((3,) if camera.kind == "rgb" else ()))
    unit = f"{camera.depth_unit_m!r} m" if camera.kind == "depth" else ""
    return SCHEMA[FRAMES_OF_KIND[camera.kind]].spec(shape, unit=unit, codec=plan.codec)


def frames_folder(camera: Camera) -> str:
    """Where in a take a camera's frames lie."""
    return SCHEMA[FRAMES_OF_KIND[camera.kind]].path.format(camera=camera.id, id=camera.id)


def sync_index_spec(frame_set_count: int, rig: Rig) -> ArraySpec:
    """How the schema lays out the sync index; its columns carry the cameras' names."""
    return SCHEMA["sync_index"].spec((frame_set_count, len(rig.cameras)), {"camera": rig.ids})


def sync_fault(index: Int[np.ndarray, "f c"], rig: Rig, streams: Mapping[str, StreamPlan]) -> str:
    """What is wrong with a sync index, in words; empty if it points at recorded frames only."""
    counts = np.array([streams[camera_id].frame_count for camera_id in rig.ids])
    wrong = (index < -1) | (index >= counts)
    if not wrong.any():
        return ""
    frame_set, column = (int(position) for position in np.argwhere(wrong)[0])
    number, camera_id = index[frame_set, column], rig.ids[column]
    return f"frame {number} of {camera_id} in frame set {frame_set}, of {counts[column]} frames"


def read_take_rig(place: Place, root: TakeRoot) -> Rig:
    """The rig of a take; InputError if it is missing, wrong, or of other cameras than the streams."""
    attributes = read_group(place, "rig")
    if attributes is None:
        raise InputError("a rig in the take", f"none at {place.address}", "ingest the recording again with --overwrite")
    rig = rig_from_json(attributes, f"{place.address}/rig")
    if set(rig.ids) != set(root.streams):
        odd = ", ".join(sorted(set(rig.ids) ^ set(root.streams)))
        remedy = "ingest the recording again with --overwrite"
        raise InputError("a stream for each camera of the rig", f"only one of both for {odd}", remedy)
    for camera in rig.cameras:
        try:
            frames_spec(camera, root.streams[camera.id])
        except ValueError as error:
            remedy = "ingest the recording again with --overwrite"
            raise InputError(f"a codec for {camera.kind} pictures in {camera.id}", str(error), remedy) from error
    return rig


def open_declared(place: Place, folder: str, spec: ArraySpec, known: Mapping[str, Any]) -> StoredArray:
    """An array that must be just what the schema says; InputError if it is missing or another."""
    array = StoredArray.open(place, folder, known)
    require_spec(array, spec)
    return array
