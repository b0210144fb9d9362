"""A small take of every kind of camera and codec, with sound, an inertial sensor and the list of its sources."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from geometry.cameras import Camera
from geometry.rigs import Rig
from storage.ingest_writer import SourceFile, StreamPlan, TakeWriter
from storage.jpeg import decode_jpeg
from storage.schema import FRAMES_PER_SHARD
from storage.take import Sync
from tests.storage.synthetic_take import HEADER, Killed

FRAMES = 18
SIZE_HW = (24, 40)
CODECS_OF_CAMERAS = {
    "colour": "jpegxl", "jpegs": "jpeg", "lossy": "jpegxl_lossy", "portable": "blosc",
    "depth": "jpegxl", "infrared": "jpegxl", "lenslets": "jpegxl",
}  # fmt: skip
KINDS: dict[str, Any] = {"depth": "depth", "infrared": "infrared", "lenslets": "light_field"}
PLANS = {name: StreamPlan(FRAMES, codec=codec) for name, codec in CODECS_OF_CAMERAS.items()}
RATE_HZ = 48_000.0
SAMPLE_COUNT = 300_007
SYNC_ATTRIBUTES = {"reference": "colour", "cameras": {"depth": {"drift_ppm": 12.5, "offset_ns": -7}}}


def studio_rig() -> Rig:
    return Rig(
        tuple(
            replace(Camera.uncalibrated(name, "module-1", KINDS.get(name, "rgb"), SIZE_HW), rate_hz=30.0)
            for name in CODECS_OF_CAMERAS
        )
    )


@cache
def pictures(camera_id: str) -> np.ndarray:
    """Every frame of a camera as its reader gives it; smooth with noise, no two alike."""
    rng = np.random.default_rng(sum(camera_id.encode()))
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    if camera_id == "jpegs":
        return np.stack([decode_jpeg(bitstream) for bitstream in bitstreams()])
    if KINDS.get(camera_id):
        return np.stack([(500 + 9 * rows + t * columns + rng.integers(0, 5, SIZE_HW)) for t in range(FRAMES)]).astype(
            np.uint16
        )
    smooth = np.stack([rows * 5, columns * 4, rows + columns], -1)
    return np.stack([smooth + t + rng.integers(0, 4, (*SIZE_HW, 3)) for t in range(FRAMES)]).astype(np.uint8)


@cache
def bitstreams() -> tuple[bytes, ...]:
    """What a camera that compresses by itself sends."""
    return tuple(
        cv2.imencode(".jpg", pictures("colour")[t], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes() for t in range(FRAMES)
    )


@cache
def sound() -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, (SAMPLE_COUNT, 2)).astype(np.float32)


def sound_blocks(length: int) -> Iterator[np.ndarray]:
    for start in range(0, SAMPLE_COUNT, length):
        yield sound()[start : start + length]


def source_files() -> list[SourceFile]:
    names = [*(f"cam/{t:06d}.jpg" for t in range(50)), "frames.csv", "Größe, Farbe.txt", "latin-\udce9.txt"]
    return [
        SourceFile(name, 3 * n, hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest())
        for n, name in enumerate(names)
    ]


def write_studio(path: str | Path, kill_after_shards: int = 10**6, backwards: bool = False, **begin: Any) -> bool:
    """Ingest all that is pending, or raise Killed before that shard; whether there was anything to do."""
    arguments = {"header": HEADER, "rig": studio_rig(), "streams": PLANS, "config": {}} | begin
    writer = TakeWriter.begin(path, **arguments)
    if writer is None:
        return False
    with writer:
        tasks = [(name, frames) for name in writer.rig.ids for frames in writer.pending_shards(name)]
        for count, (name, frames) in enumerate(reversed(tasks) if backwards else tasks):
            if count >= kill_after_shards:
                raise Killed
            given = bitstreams() if name == "jpegs" else pictures(name)
            writer.write_shard(name, frames, given[frames.start : frames.stop])
            writer.write_progress(name, frames.start // FRAMES_PER_SHARD, {"exposure": [0.5] * len(frames)})
        for name in writer.rig.ids:
            writer.write_clock(name, np.arange(FRAMES) * 33_333_333)
        anchors = np.array([[0, 1_000_000_000], [48_000, 2_000_010_000]])
        writer.write_audio("boom", anchors, sound_blocks(7001 if backwards else 100_000), RATE_HZ, "colour")
        writer.write_audio("silence", anchors[:1], [np.zeros((0, 1), np.float32)])
        values = np.full((90, 7), np.nan)
        values[:, :6] = np.random.default_rng(8).normal(size=(90, 6))
        writer.write_imu("imu-0", np.arange(90) * 5_000_000, values, "depth")
        files = source_files()
        writer.write_sources(reversed(files) if backwards else files)
        index = np.repeat(np.arange(FRAMES, dtype=np.int32)[:, None], len(writer.rig.ids), 1)
        writer.write_sync(Sync(np.arange(FRAMES) * 33_333_333, index), SYNC_ATTRIBUTES)
        writer.finish()
    return True
