"""What a take says about itself at its root: where it comes from, what it may be used for, whether it is finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

from geometry.errors import InputError
from storage.codecs import CODECS
from storage.documents import plain, read_group, write_group
from storage.places import Place
from storage.schema import SCHEMA_VERSION

SCHEMA_NAME = "mien take"

OPTIONAL_PARTS = ("audio", "imu", "light_field", "sources")
"""Groups beside rig, streams and sync that a take has if its recording had them."""

TakeState = Literal["clearing", "ingesting", "complete"]
"""`clearing`: old data is being removed; `ingesting`: shards are being written; `complete`: all is there."""


@dataclass(frozen=True)
class TakeHeader:
    """Whose face, from where, for what use, and which code stored it."""

    take_id: str
    """Name of the take."""
    subject_id: str
    """Whom it shows; never a person's name."""
    consent: str
    """What the subject agreed to, in the studio's words."""
    licence: str
    """Licence of the recording."""
    source: str
    """Address of the recording: an absolute path or a URL."""
    source_digest: str
    """Changes when the recording does."""
    reader: str
    """Name of the reader that understood the recording."""
    tool_version: str = ""
    """Version of mien that ingested it."""
    commit: str = ""
    """Commit of that code."""
    device_model: str = ""
    """What recorded it, if the recording says."""
    slate: str = ""
    """Name of the scene, as on the clapperboard."""
    take_number: str = ""
    """Which attempt at it."""
    notes: str = ""
    """What the operator wants to be remembered."""


@dataclass(frozen=True)
class StreamPlan:
    """How much of which kind a camera recorded."""

    frame_count: int
    """Frames on disk, doubled ones included."""
    has_host_ns: bool = False
    """Whether arrival times are known."""
    has_frame_counter: bool = False
    """Whether the device counted its frames."""
    has_trigger_id: bool = False
    """Whether each frame names its trigger."""
    has_timecode: bool = False
    """Whether frames carry SMPTE timecode."""
    codec: str = "blosc"
    """Name in `storage.codecs.CODECS` of how its frames are compressed."""

    def __post_init__(self) -> None:
        if self.frame_count < 0:
            raise ValueError(f"a stream cannot have {self.frame_count} frames")
        if self.codec not in CODECS:
            raise ValueError(f"no codec {self.codec!r}; known are {', '.join(CODECS)}")

    @property
    def clocks(self) -> tuple[str, ...]:
        """Names in the schema of the stream's clocks."""
        optional = {
            "host_ns": self.has_host_ns,
            "frame_counter": self.has_frame_counter,
            "trigger_id": self.has_trigger_id,
            "timecode_ns": self.has_timecode,
        }
        return ("device_ns", *(name for name, present in optional.items() if present))


@dataclass(frozen=True)
class TakeRoot:
    """Everything in the attributes of a take's root group."""

    header: TakeHeader
    """What the take is."""
    streams: Mapping[str, StreamPlan]
    """By camera."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The ingest's settings."""
    state: TakeState = "complete"
    """How far the ingest came."""
    parts: tuple[str, ...] = ()
    """Those of OPTIONAL_PARTS that a complete take has."""

    def write(self, place: Place) -> None:
        """Store it atomically; this alone moves a take from one state to the next."""
        ingest = {"config": self.config, "streams": self.streams, "parts": self.parts}
        identity = {"schema": SCHEMA_NAME, "schema_version": SCHEMA_VERSION, "state": self.state}
        write_group(place, "", identity | plain(self.header) | {"ingest": plain(ingest)}, durable=True)

    @classmethod
    def read(cls, place: Place) -> TakeRoot:
        """The root of a take in any state; InputError if there is none, or one of another schema version."""
        attributes = read_group(place, "")
        if attributes is None:
            raise InputError("a take", f"none at {place.address}", "correct the path, or make one with `mien ingest`")
        if attributes.get("schema") != SCHEMA_NAME:
            raise InputError("a take", f"other Zarr data at {place.address}", "make a take with `mien ingest`")
        if (version := attributes.get("schema_version")) != SCHEMA_VERSION:
            got = f"version {version} at {place.address}"
            remedy = "ingest its recording again with --overwrite, or use the version of mien that wrote it"
            raise InputError(f"a take of schema version {SCHEMA_VERSION}", got, remedy)
        try:
            header = TakeHeader(**{item.name: _text(attributes[item.name]) for item in fields(TakeHeader)})
            ingest = attributes["ingest"]
            streams = {str(camera): _stream_plan(plan) for camera, plan in ingest["streams"].items()}
            config, state = dict(ingest["config"]), attributes["state"]
            parts = tuple(_text(name) for name in ingest["parts"])
            if unknown := set(parts) - set(OPTIONAL_PARTS):
                raise ValueError(f"parts {sorted(unknown)}")
            if state not in get_args(TakeState):
                raise ValueError(f"state {state!r}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            remedy = "ingest its recording again with --overwrite"
            raise InputError("a whole take header", f"damage at {place.address} ({error!r})", remedy) from error
        return cls(header, streams, config, cast(TakeState, state), parts)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _stream_plan(values: Mapping[str, Any]) -> StreamPlan:
    plan = StreamPlan(**values)
    types = {"frame_count": int, "codec": str}
    wrong = [name for name, value in values.items() if type(value) is not types.get(name, bool)]
    if wrong:
        raise TypeError(f"{', '.join(wrong)} of the wrong type")
    return plan
