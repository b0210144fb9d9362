"""A small take of known pixels, written whole or killed on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from storage.ingest_writer import StreamPlan, TakeWriter
from storage.schema import FRAMES_PER_SHARD
from storage.take import FrameQuality, Sync, TakeHeader

FRAME_COUNT = 37
SIZE_HW = (12, 20)
HEADER = TakeHeader("take-1", "subject-1", "research", "CC0-1.0", "/recordings/1", "d1", "simulated", "0.1", "c1")
CONFIG: dict[str, Any] = {"limit": None, "size": (1, 2), "path": Path("/x")}
PLANS = {"colour": StreamPlan(FRAME_COUNT, has_host_ns=True), "depth": StreamPlan(FRAME_COUNT, has_frame_counter=True)}


class Killed(Exception):
    """Stands for the end of the process."""


def synthetic_rig() -> Rig:
    K = np.array([[18.25, 0.0, 10.0], [0.0, 18.5, 6.0], [0.0, 0.0, 1.0]])
    pose = RigidTransform.from_rotvec(np.array([0.1, -0.2, 0.3]), np.array([0.1, 0.2, 0.7]))
    colour = Camera("colour", "module-1", "rgb", SIZE_HW, K, np.linspace(0.1, 0.5, 5), pose, serial="A7")
    depth = Camera(
        "depth", "module-1", "depth", SIZE_HW, K, np.zeros(0), pose, depth_unit_m=0.001, reprojection_px=0.25
    )
    return Rig((colour, depth))


def pixels(camera_id: str) -> np.ndarray:
    """Every frame of a camera; no two are alike."""
    rng = np.random.default_rng(len(camera_id))
    if camera_id == "colour":
        return rng.integers(0, 256, (FRAME_COUNT, *SIZE_HW, 3), dtype=np.uint8)
    return rng.integers(0, 3000, (FRAME_COUNT, *SIZE_HW), dtype=np.uint16)


def synchrony() -> Sync:
    """The depth camera misses frame set 4 and is one frame late afterwards."""
    frames = np.arange(FRAME_COUNT)
    late = np.where(frames < 4, frames, frames - 1)
    late[4] = -1
    return Sync(frames * 33_000_000, np.stack([frames, late], 1).astype(np.int32))


def write_take(path: str | Path, kill_after_frames: int | None = None, **begin: Any) -> TakeWriter | None:
    """Ingest everything that is pending; with `kill_after_frames`, raise Killed while that frame is being read."""
    arguments = {"header": HEADER, "rig": synthetic_rig(), "streams": PLANS, "config": CONFIG} | begin
    writer = TakeWriter.begin(path, **arguments)
    if writer is None:
        return None
    budget = iter(range(10**6 if kill_after_frames is None else kill_after_frames))
    with writer:
        for camera_id in writer.rig.ids:
            for frames in writer.pending_shards(camera_id):
                writer.write_shard(camera_id, frames, _read(camera_id, frames, budget))
                writer.write_progress(camera_id, frames.start // FRAMES_PER_SHARD, {"frames": len(frames)})
        clock = np.arange(FRAME_COUNT, dtype=np.int64) * 33_333_333
        writer.write_clock("colour", clock, host_ns=clock + 5)
        writer.write_clock("depth", clock + 7, frame_counter=clock // 33_333_333)
        measure = np.linspace(0, 1, FRAME_COUNT, dtype=np.float32)
        writer.write_quality("colour", FrameQuality(exposure=measure, blur=measure**2))
        writer.write_quality("depth", FrameQuality(hole_rate=measure))
        writer.write_sync(synchrony())
        writer.finish()
    return writer


def _read(camera_id: str, frames: range, budget: Iterator[int]) -> Iterator[np.ndarray]:
    images = pixels(camera_id)
    for frame in frames:
        if next(budget, None) is None:
            raise Killed
        yield images[frame]


def tree(path: Path) -> dict[str, bytes]:
    """Every file of a take and its bytes, `log/` aside."""
    files = {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    return {name: data for name, data in files.items() if not name.startswith("log/")}
