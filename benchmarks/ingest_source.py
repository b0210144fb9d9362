"""The recording whose ingest is measured: four colour and four depth cameras as on the desk, noise as in the studio."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np

from capture.readers.image_folder import read_image_folder
from geometry.cameras import Camera
from geometry.rigs import Rig
from storage.image_folder import FrameTable, RecordingCard
from storage.rig_json import rig_to_json
from studio.recorder import SimulationConfig, simulate
from studio.sensors import SensorNoise, sense_depth

PERIOD_NS = 33_333_333
NOISY = SensorNoise(noisy=True)


def perfect_pictures(folder: Path) -> tuple[Rig, dict[str, np.ndarray]]:
    """The desk's rig and one frame of each of its cameras without noise: uint8 (h w 3) RGB or uint16 (h w) counts."""
    simulate(folder, SimulationConfig("desk", frames=1, noise="none"))
    recording = read_image_folder(folder)
    return recording.rig, {name: recording.read_frame(name, 0) for name in recording.rig.ids}


def write_source(
    folder: Path, rig: Rig, pictures: dict[str, np.ndarray], frame_count: int, noise: float, suffix: str = ".png"
) -> Path:
    """A recording of these pictures, each frame with noise of its own: `noise` grey levels in colour (one sigma)."""
    for number, camera in enumerate(rig.cameras):
        random = np.random.default_rng([number, round(10 * noise)])
        names = [f"{frame:06d}{suffix if camera.kind == 'rgb' else '.png'}" for frame in range(frame_count)]
        (folder / camera.id).mkdir(parents=True)
        for name in names:
            picture = _noisy(camera, pictures[camera.id], noise, random)
            cv2.imwrite(str(folder / camera.id / name), picture[..., ::-1] if camera.kind == "rgb" else picture)
        _write_table(folder, camera, names)
    _write_card(folder, rig)
    return folder


def write_longer(folder: Path, source: Path, rig: Rig, times: int) -> Path:
    """The same pictures over and over, as files of their own that take no room."""
    for camera in rig.cameras:
        files = FrameTable.read(source / camera.id).files
        (folder / camera.id).mkdir(parents=True)
        names = [f"{frame:06d}{Path(files[0]).suffix}" for frame in range(times * len(files))]
        for frame, name in enumerate(names):
            os.link(source / camera.id / files[frame % len(files)], folder / camera.id / name)
        _write_table(folder, camera, names)
    _write_card(folder, rig)
    return folder


def _noisy(camera: Camera, picture: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    if camera.kind == "depth":
        assert camera.depth_unit_m is not None
        metres = picture * np.float64(camera.depth_unit_m)
        return sense_depth(metres, np.ones(picture.shape), camera.depth_unit_m, NOISY, random)
    if not noise:
        return picture
    values = picture + random.standard_normal(picture.shape, np.float32) * np.float32(noise)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _write_table(folder: Path, camera: Camera, names: list[str]) -> None:
    counts = np.arange(len(names), dtype=np.int64)
    times = counts * PERIOD_NS
    FrameTable(tuple(names), times, times + 10**18, counts).write(folder / camera.id)


def _write_card(folder: Path, rig: Rig) -> None:
    (folder / "rig.json").write_text(json.dumps(rig_to_json(rig)))
    RecordingCard("bench-0001", "CC0-1.0", "simulated", rig.ids).write(folder)
