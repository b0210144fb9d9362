"""The take's table of arrays: the writer, the checker and the docs all derive from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from storage.array_spec import ArraySpec, rows_per_chunk

SCHEMA_VERSION = 2
"""Raised with every change that older code cannot read."""

FRAMES_PER_SHARD = 16
"""Half a second of video; some 20 MB a file for 720p colour."""

LARGEST_SHARD_BYTES = 2**28
"""Uncompressed; larger pictures share a shard file with fewer others, so that a writer's memory stays bounded."""

CLOCK_ROWS_PER_CHUNK = 2**16
"""Half an hour at 30 Hz in one chunk."""

SOUND_ROWS_PER_CHUNK = 2**18
"""Five seconds at 48 kHz, a megabyte a channel: what a writer of sound holds in memory."""

TEXT_ROWS_PER_CHUNK = 2**22
"""Bytes of text in a chunk."""


@dataclass(frozen=True)
class ArrayRule:
    """How one kind of array in a take is laid out."""

    path: str
    """Folder in the take; {camera} and {id} stand for names."""
    axes: tuple[str, ...]
    """Dimension names."""
    dtype: str
    """NumPy's and Zarr's name of the value type."""
    unit: str
    """Of the values."""
    meaning: str
    """What a reader finds, in a line."""
    sharded: bool = False
    """One row a chunk and many chunks a shard file, instead of many rows a chunk and a file for each."""
    required: bool = True
    """Whether every take (every stream) has it."""
    rows_per_chunk: int = CLOCK_ROWS_PER_CHUNK
    """The most rows in a chunk of what is not sharded."""

    def spec(
        self,
        shape: tuple[int, ...],
        labels: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
        unit: str = "",
        codec: str = "blosc",
    ) -> ArraySpec:
        """The array of a shape that this rule lays out; `unit` replaces the rule's where streams differ."""
        if self.sharded:
            row_bytes = math.prod(shape[1:]) * np.dtype(self.dtype).itemsize
            per_shard = max(1, min(FRAMES_PER_SHARD, LARGEST_SHARD_BYTES // max(row_bytes, 1)))
            return ArraySpec(shape, self.dtype, self.axes, unit or self.unit, 1, per_shard, dict(labels), codec)
        rows = min(self.rows_per_chunk, max(1, shape[0]))
        return ArraySpec(shape, self.dtype, self.axes, unit or self.unit, rows, 0, dict(labels), codec)

    @property
    def chunk_rule(self) -> str:
        """How the array is cut, for the docs."""
        if self.sharded:
            return f"1 {self.axes[0]} a chunk, up to {FRAMES_PER_SHARD} chunks a shard"
        return f"up to {self.rows_per_chunk} {self.axes[0]}s a chunk"


_CLOCK = ("frame",)

SCHEMA: Mapping[str, ArrayRule] = MappingProxyType(
    {
        "colour_frames": ArrayRule(
            "streams/{camera}/frames", ("frame", "y", "x", "rgb"), "uint8", "sRGB", "pictures of a colour camera", True
        ),
        "depth_frames": ArrayRule(
            "streams/{camera}/frames", ("frame", "y", "x"), "uint16", "the rig's depth unit",
            "depth along the camera's z axis; 0: no measurement", True,
        ),
        "device_ns": ArrayRule("streams/{camera}/device_ns", _CLOCK, "int64", "ns", "the device's clock, untouched"),
        "host_ns": ArrayRule(
            "streams/{camera}/host_ns", _CLOCK, "int64", "ns", "arrival at the recorder", required=False
        ),
        "frame_counter": ArrayRule(
            "streams/{camera}/frame_counter", _CLOCK, "int64", "1", "the device's count of frames", required=False
        ),
        "trigger_id": ArrayRule(
            "streams/{camera}/trigger_id", _CLOCK, "int64", "1", "the trigger that released the frame", required=False
        ),
        "timecode_ns": ArrayRule(
            "streams/{camera}/timecode_ns", _CLOCK, "int64", "ns", "SMPTE timecode since midnight", required=False
        ),
        "exposure": ArrayRule(
            "streams/{camera}/quality/exposure", _CLOCK, "float32", "1", "mean grey level, 0 to 1", required=False
        ),
        "blur": ArrayRule(
            "streams/{camera}/quality/blur", _CLOCK, "float32", "1", "sharpness measure; low is blurred", required=False
        ),
        "hole_rate": ArrayRule(
            "streams/{camera}/quality/hole_rate", _CLOCK, "float32", "1", "share of depth without measurement",
            required=False,
        ),
        "sync_time_ns": ArrayRule("sync/time_ns", ("frame_set",), "int64", "ns", "time of each frame set"),
        "sync_index": ArrayRule(
            "sync/index", ("frame_set", "camera"), "int32", "1",
            "which frame of each camera makes the frame set; -1: missing",
        ),
        "audio": ArrayRule(
            "audio/{id}/samples", ("sample", "channel"), "float32", "1", "sound, -1 to 1", required=False,
            rows_per_chunk=SOUND_ROWS_PER_CHUNK,
        ),
        "audio_ns": ArrayRule(
            "audio/{id}/clock_ns", ("anchor", "sample_and_ns"), "int64", "1",
            "pairs of a sample's number and its device time in ns", required=False,
        ),
        "imu": ArrayRule(
            "imu/{id}/samples", ("sample", "channel"), "float32", "m/s^2, rad/s, degC",
            "acceleration x y z, angular rate x y z, temperature", required=False,
        ),
        "imu_ns": ArrayRule(
            "imu/{id}/time_ns", ("sample",), "int64", "ns", "device time of each sample", required=False
        ),
        "infrared_frames": ArrayRule(
            "streams/{camera}/frames", ("frame", "y", "x"), "uint16", "1", "active brightness of a depth sensor", True,
            False,
        ),
        "light_field_raw": ArrayRule(
            "light_field/{id}", ("frame", "y", "x"), "uint16", "1", "raw lenslet pictures", True, False
        ),
        "light_field": ArrayRule(
            "light_field/{id}", ("frame", "v", "u", "y", "x", "rgb"), "uint8", "sRGB", "decoded views", True, False
        ),
        "source_paths": ArrayRule(
            "sources/paths", ("byte",), "uint8", "UTF-8", "path of every source file, a zero byte behind each",
            required=False, rows_per_chunk=TEXT_ROWS_PER_CHUNK,
        ),
        "source_sizes": ArrayRule("sources/sizes", ("file",), "int64", "byte", "their sizes", required=False),
        "source_sha256": ArrayRule(
            "sources/sha256", ("file", "byte"), "uint8", "1", "SHA-256 of their contents", required=False
        ),
    }
)  # fmt: skip
"""Every array of a take except those under `results/`, which declare themselves."""


@dataclass(frozen=True)
class ResultArray:
    """One array that a step produced."""

    values: np.ndarray
    """Numbers or booleans; the first axis is the one they are read along (frames, where there are any)."""
    axes: tuple[str, ...]
    """A name for each axis: "frame", "vertex", "xyz" ..."""
    unit: str = ""
    """"m", "px", "1" ..."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the steps along an axis (the 52 curves), by axis."""

    def spec(self) -> ArraySpec:
        """How it is stored: chunks of about a megabyte; a copy of its type in this machine's byte order."""
        shape, dtype = self.values.shape, self.values.dtype.name
        return ArraySpec(shape, dtype, self.axes, self.unit, rows_per_chunk(shape, dtype), 0, dict(self.labels))


def schema_table_markdown() -> str:
    """The table of arrays for the docs, as Markdown."""
    lines = ["| array | axes | type | unit | chunks | holds |", "|---|---|---|---|---|---|"]
    for rule in SCHEMA.values():
        axes, optional = ", ".join(rule.axes), "" if rule.required else " (optional)"
        cells = (f"`{rule.path}`{optional}", axes, rule.dtype, rule.unit, rule.chunk_rule, rule.meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
