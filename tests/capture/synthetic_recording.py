"""A small recording in folders of pictures, whose pixels, clocks and synchrony are known."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import look_at
from storage.image_folder import FrameTable, RecordingCard
from storage.rig_json import rig_to_json

SIZE_HW = (48, 64)
HOST_EPOCH_NS = 1_767_225_600_000_000_000
CAMERAS = ("left_rgb", "left_depth", "right_rgb", "right_depth")


@dataclass(frozen=True)
class Recorded:
    """What one camera did over the triggers of a recording."""

    triggers: tuple[int, ...]
    """Trigger of each frame, in order; one twice is a doubled frame."""
    offset_s: float = 5.0
    drift_ppm: float = 0.0
    jitter_s: float = 3e-5
    latency_s: float = 1.5e-3
    """Mean of the exponential part of the latency."""


@dataclass(frozen=True)
class Script:
    """A whole recording."""

    cameras: dict[str, Recorded]
    rate_hz: float = 30.0
    seed: int = 0


def plain_script(frames: int = 20) -> Script:
    """All cameras record every trigger."""
    offsets = dict(zip(CAMERAS, (300.0, 5.0, 41.5, 120.25), strict=True))
    return Script({name: Recorded(tuple(range(frames)), offsets[name]) for name in CAMERAS})


def clock_table(recorded: Recorded, script: Script, number: int, suffix: str = ".png") -> FrameTable:
    """The table of one camera: device time by its own clock, arrival late by a varying latency."""
    random = np.random.default_rng([script.seed, number])
    count = max(recorded.triggers) + 1
    time_s = np.arange(count) / script.rate_hz
    device_s = recorded.offset_s + time_s * (1 + recorded.drift_ppm * 1e-6) + random.normal(0, recorded.jitter_s, count)
    host_s = time_s + 0.009 + random.exponential(recorded.latency_s, count)
    kept = np.array(recorded.triggers)
    device_ns = np.round(device_s * 1e9).astype(np.int64)[kept]
    host_ns = HOST_EPOCH_NS + np.round(host_s * 1e9).astype(np.int64)[kept]
    return FrameTable(tuple(f"{k:06d}{suffix}" for k in recorded.triggers), device_ns, host_ns, kept.astype(np.int64))


def picture(camera: Camera, number: int, trigger: int) -> np.ndarray:
    """The pixels of one camera at one trigger; no two are alike."""
    random = np.random.default_rng([number, trigger])
    if camera.kind == "depth":
        counts = random.integers(550, 750, SIZE_HW)
        counts[:4] = 0
        return counts.astype(np.uint16)
    return random.integers(40, 200, (*SIZE_HW, 3)).astype(np.uint8)


def png_bytes(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def jpeg_bytes(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def synthetic_rig(rate_hz: float = 30.0) -> Rig:
    K = np.array([[80.0, 0, 32.0], [0, 80.0, 24.0], [0, 0, 1]])
    cameras = []
    for side, x in (("left", -0.3), ("right", 0.3)):
        for kind, shift in (("rgb", 0.0), ("depth", 0.03)):
            here = look_at(np.array([x + shift, 1.25, 0.6]), np.array([0.0, 1.25, 0.0]), np.array([0.0, 1.0, 0.0]))
            unit = {"depth_unit_m": 1e-3} if kind == "depth" else {}
            name = f"{side}_{kind}"
            cameras.append(Camera(name, side, kind, SIZE_HW, K, np.zeros(0), here, rate_hz, **unit))  # pyright: ignore[reportArgumentType]
    return Rig(tuple(cameras))


def write_recording(folder: Path, script: Script | None = None, jpeg: tuple[str, ...] = ()) -> Path:
    """Write a recording; returns its folder. Cameras in `jpeg` store JPEG pictures."""
    script = script or plain_script()
    rig = synthetic_rig(script.rate_hz)
    for number, camera in enumerate(rig.cameras):
        suffix, encode = (".jpg", jpeg_bytes) if camera.id in jpeg else (".png", png_bytes)
        table = clock_table(script.cameras[camera.id], script, number, suffix)
        table.write(folder / camera.id)
        for trigger in dict.fromkeys(script.cameras[camera.id].triggers):
            path = folder / camera.id / f"{trigger:06d}{suffix}"
            path.write_bytes(encode(picture(camera, number, trigger)))
    write_rig_json(folder, rig)
    RecordingCard("subject-7", "CC0-1.0", "research", rig.ids).write(folder)
    return folder


def write_rig_json(folder: Path, rig: Rig) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rig.json").write_text(json.dumps(rig_to_json(rig)))
    return folder / "rig.json"
