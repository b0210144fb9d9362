"""Small takes with a stored fit and landmarks of a known head, made without fitting anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from flame_fitting.models.registry import load_head_model, load_landmark_embedding
from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import look_at
from storage.ingest_writer import StreamPlan, TakeWriter
from storage.results import Provenance, ResultArray
from storage.take import Sync, Take, TakeHeader

SIZE_HW = (150, 120)
HEAD = np.array([0.05, 1.2, 0.02])
PLACES = {"front": (0.0, 0.1, 0.75), "left": (0.3, 0.1, 0.68), "right": (-0.3, 0.12, 0.68)}
MARKS = 478


def camera(camera_id: str, place: tuple[float, float, float], kind: str = "rgb") -> Camera:
    """A camera of a small picture that looks at the head's face."""
    K = np.array([[260.0, 0.0, 60.0], [0.0, 260.0, 75.0], [0.0, 0.0, 1.0]])
    face = HEAD + np.array([0.0, 0.12, 0.05])
    pose = look_at(face + np.array(place) - np.array([0.0, 0.1, 0.0]), face, np.array([0.0, 1.0, 0.0]))
    unit = 0.001 if kind == "depth" else None
    assert kind in ("rgb", "depth")
    return Camera(camera_id, camera_id, kind, SIZE_HW, K, np.zeros(5), pose, depth_unit_m=unit)  # pyright: ignore[reportArgumentType]


def rig(colour: int = 3, depth: int = 1, calibrated: bool = True) -> Rig:
    """Some colour cameras, the first in front, and some depth cameras in their places."""
    places = list(PLACES.items())
    cameras = [camera(name, place) for name, place in places[:colour]]
    cameras += [camera(f"{name}_depth", place, "depth") for name, place in places[:depth]]
    if not calibrated:
        cameras = [replace(item, calibration_source="uncalibrated") for item in cameras]
    return Rig(tuple(cameras))


def heads(frames: int) -> np.ndarray:
    """The model's neutral head at every frame, slowly moving to its left."""
    template = load_head_model().template.double().numpy()
    shift = np.zeros((frames, 1, 3))
    shift[:, 0, 0] = np.linspace(0, 0.01, frames)
    return (template + HEAD + shift).astype(np.float32)


def write_take(
    path: Path,
    of: Rig,
    frames: int,
    without: Mapping[str, tuple[int, ...]] | None = None,
    subject: str = "subject-9",
    grey: int = 90,
) -> Take:
    """Grey pictures; `without` names the frame sets in which a camera has none."""
    header = TakeHeader("take-5", subject, "", "", "/recordings/5", "d5", "simulated", "0.1", "c5", "")
    writer = TakeWriter.begin(path, header, of, {item.id: StreamPlan(frames) for item in of.cameras}, {})
    assert writer is not None
    with writer:
        for item in of.cameras:
            for shard in writer.pending_shards(item.id):
                pictures = [
                    np.full(SIZE_HW, 800, np.uint16) if item.kind == "depth" else np.full((*SIZE_HW, 3), grey, np.uint8)
                    for _ in shard
                ]
                writer.write_shard(item.id, shard, pictures)
            writer.write_clock(item.id, np.arange(frames, dtype=np.int64) * 40_000_000)
        index = np.tile(np.arange(frames, dtype=np.int32)[:, None], (1, len(of.cameras)))
        for column, item in enumerate(of.cameras):
            index[list((without or {}).get(item.id, ())), column] = -1
        writer.write_sync(Sync(np.arange(frames, dtype=np.int64) * 40_000_000, index))
        writer.finish()
    return Take.open(path)


def write_landmarks(take: Take, view_state: np.ndarray | None, count: int = MARKS) -> None:
    """Landmarks exactly where the heads have them; views of state 0, 1 and 4 have no confidence."""
    vertices, cameras = heads(take.frame_count), take.rig.rgb
    embedding = load_landmark_embedding()
    points = np.full((take.frame_count, len(cameras), count, 2), np.nan, np.float32)
    confidence = np.zeros(points.shape[:3], np.float32)
    states = np.full(points.shape[:2], 3, np.uint8) if view_state is None else view_state.astype(np.uint8)
    rows = embedding.source_index.numpy()
    for frame in range(take.frame_count):
        places = embedding.on(torch.from_numpy(vertices[frame].astype(np.float64))).numpy()
        for column, item in enumerate(cameras):
            if states[frame, column] in (2, 3):
                found = item.project(places)[0]
                points[frame, column] = found.mean(0)  # those that are not embedded, with no confidence
                points[frame, column, rows] = found
                confidence[frame, column, rows] = 0.9
    arrays = {
        "points_px": ResultArray(points, ("frame", "camera", "landmark", "xy"), "px"),
        "confidence": ResultArray(confidence, ("frame", "camera", "landmark"), "1"),
    }
    if view_state is not None:
        arrays["view_state"] = ResultArray(states, ("frame", "camera"), "1")
    config = {"cameras": [item.id for item in cameras]}
    take.results.write("landmarks", "default", arrays, Provenance(config, {"take": take.digest}), overwrite=True)


def write_fit(
    take: Take, more: Mapping[str, ResultArray], metrics: Mapping[str, float] | None = None, person: str = ""
) -> None:
    """A fit of the known heads; `more` adds to its arrays or replaces them, `person` is what it says it was made of."""
    model, frames = load_head_model(), take.frame_count
    vertices = heads(frames)
    curves = np.zeros((frames, len(model.expression_names)))
    curves[:, 3] = np.linspace(0, 0.8, frames)
    translation = HEAD + (vertices[:, 0] - vertices[0, 0]).astype(np.float64)
    arrays = {
        "vertices": ResultArray(vertices, ("frame", "vertex", "xyz"), "m"),
        "faces": ResultArray(model.faces.numpy().astype(np.int32), ("face", "corner")),
        "curves": ResultArray(curves, ("frame", "curve"), "1", {"curve": model.expression_names}),
        "rotation": ResultArray(np.tile(np.eye(3), (frames, 1, 1)), ("frame", "row", "column")),
        "translation": ResultArray(translation, ("frame", "xyz"), "m"),
        "face_region": ResultArray(model.region("face").numpy(), ("vertex",)),
        "depth_residual_m": ResultArray(np.full(frames, 0.001 if take.rig.depth else np.nan), ("frame",), "m"),
        "views": ResultArray(np.full(frames, len(take.rig.rgb), np.int32), ("frame",)),
    }  # fmt: skip
    provenance = Provenance({"model": "anny"}, {"take": take.digest, "person": person}, metrics or {}, model.licence)
    take.results.write("fit", "default", arrays | dict(more), provenance, overwrite=True)
