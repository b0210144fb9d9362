"""The head of a take: landmarks, fit and texture, each stored as a result."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from flame_fitting.evidence import DepthImage, ViewLandmarks
from flame_fitting.fit import FitConfig, HeadFit, fit_take
from flame_fitting.landmarks.landmarker import FaceLandmarker
from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.registry import load_head_model, load_landmark_embedding
from flame_fitting.texture import PosedView, Texture, bake_texture, supported_vertices
from storage.results import PartialArray, Provenance, ResultArray, StoredResult
from storage.take import Take
from workflows.progress import Report

LANDMARKS = 468
TEXTURE_FRAMES = 3
XYZ = ("x", "y", "z")


@dataclass(frozen=True)
class HeadConfig:
    """How to fit heads to a take."""

    model: str = "anny"
    """Which head model."""
    fit: FitConfig = field(default_factory=FitConfig)
    """The plan of the fit."""


@dataclass(frozen=True, eq=False)
class StoredHead:
    """A fitted take, as `mien fit` stored it."""

    curves: Float[np.ndarray, "t e"]
    """ARKit curves in [0, 1]."""
    curve_names: tuple[str, ...]
    """Their names."""
    rotation: Float[np.ndarray, "t 3 3"]
    """World from head."""
    translation: Float[np.ndarray, "t 3"]
    """Where the head's origin is in the world, metres."""
    identity: Float[np.ndarray, "k"]
    """Standard deviations."""
    result: StoredResult
    """Vertices and texture are read from here when asked for."""

    @classmethod
    def read(cls, take: Take) -> StoredHead:
        """Raises InputError naming `mien fit` when there is none."""
        result = take.results.read("fit")
        arrays = (np.asarray(result[name]) for name in ("curves", "rotation", "translation", "identity"))
        curves, rotation, translation, identity = arrays
        return cls(curves, result["curves"].labels("curve"), rotation, translation, identity, result)


def find_landmarks(take: Take, progress: Report) -> StoredResult:
    """Face landmarks of every colour picture; a killed run continues where it stopped."""
    cameras = [camera.id for camera in take.rig.rgb]
    shape = (take.frame_count, len(cameras), LANDMARKS)
    arrays = {
        "points_px": PartialArray((*shape, 2), "float32", ("frame", "camera", "landmark", "xy"), "px"),
        "confidence": PartialArray(shape, "float32", ("frame", "camera", "landmark"), "1"),
    }
    provenance = Provenance({"detector": "MediaPipe 0.10.14", "cameras": cameras}, {"take": take.digest})
    if take.results.is_current("landmarks", "default", provenance.config, provenance.inputs):
        return take.results.read("landmarks")
    stale = "default" in take.results.runs("landmarks")  # of an earlier ingest; nothing is lost by finding them again
    partial = take.results.begin_partial("landmarks", "default", arrays, provenance, overwrite=stale)
    if partial is None:
        return take.results.read("landmarks")
    own = threading.local()
    pending = partial.pending()

    def find(frame: int) -> None:
        if not hasattr(own, "landmarker"):
            own.landmarker = FaceLandmarker.load()  # not thread-safe: one a thread
        points = np.full((*shape[1:], 2), np.nan, np.float32)
        confidence = np.zeros(shape[1:], np.float32)
        for column, camera_id in enumerate(cameras):
            picture = take.frame(camera_id, frame)
            found = own.landmarker.detect(picture) if picture is not None else None
            if found is not None:
                points[column], confidence[column] = found.points_px, found.visibility
        partial.write(frame, {"points_px": points, "confidence": confidence})

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for done, _ in enumerate(pool.map(find, pending), take.frame_count - len(pending) + 1):
            progress(done, take.frame_count)
    partial.finish()
    return take.results.read("landmarks")


@dataclass(frozen=True, eq=False)
class TakeEvidence:
    """A take as the fit reads it, frame by frame."""

    take: Take
    """Where the pictures are."""
    marks: StoredResult
    """The landmarks."""

    @property
    def frame_count(self) -> int:
        """Number of frame sets."""
        return self.take.frame_count

    def landmarks(self, frame: int) -> tuple[ViewLandmarks, ...]:
        """Every view in which a face was found."""
        points, confidence = self.marks["points_px"][frame], self.marks["confidence"][frame]
        found = [column for column in range(len(points)) if confidence[column].any()]
        cameras = self.take.rig.rgb
        return tuple(
            ViewLandmarks(cameras[c], points[c].astype(np.float64), confidence[c].astype(np.float64)) for c in found
        )

    def depth(self, frame: int) -> tuple[DepthImage, ...]:
        """Every depth picture of the frame set, edges taken out."""
        pictures = [(camera, self.take.depth_m(camera.id, frame)) for camera in self.take.rig.depth]
        return tuple(DepthImage.cleaned(camera, depth) for camera, depth in pictures if depth is not None)


def fit_heads(take: Take, config: HeadConfig, progress: Report, overwrite: bool = False) -> StoredHead:
    """Fit the take's subject and store identity, curves, poses, vertices and texture; no-op when that is done."""
    marks = take.results.read("landmarks")
    provenance_config = asdict(config)
    inputs = {"take": take.digest, "landmarks": marks.digest}
    if not take.results.claim("fit", "default", provenance_config, inputs, overwrite):
        return StoredHead.read(take)
    model = load_head_model(config.model)
    torch.set_num_threads(1)  # frames already run on all cores
    evidence = TakeEvidence(take, marks)
    fit = fit_take(model, load_landmark_embedding(config.model), evidence, config.fit, progress)
    texture = bake_texture(model, tuple(_texture_views(evidence, model, fit)))
    arrays = _fit_arrays(model, fit) | {
        "base_colour": ResultArray(texture.base_colour, ("y", "x", "rgb"), "sRGB"),
        "texel_seen": ResultArray(texture.seen, ("y", "x"), "1"),
    }
    provenance = Provenance(provenance_config, inputs, _metrics(model, fit, texture), model.licence)
    take.results.write("fit", "default", arrays, provenance, overwrite=True)
    return StoredHead.read(take)


def _fit_arrays(model: HeadModel, fit: HeadFit) -> dict[str, ResultArray]:
    frames = len(fit.curves)
    vertices = np.stack([fit.vertices_world(model, frame) for frame in range(frames)]).astype(np.float32)
    labels = {"curve": model.expression_names}
    return {
        "identity": ResultArray(fit.identity, ("mode",), "1"),
        "curves": ResultArray(fit.curves, ("frame", "curve"), "1", labels),
        "rotation": ResultArray(fit.rotation, ("frame", "row", "column"), "1"),
        "translation": ResultArray(fit.translation, ("frame", "xyz"), "m"),
        "vertices": ResultArray(vertices, ("frame", "vertex", "xyz"), "m"),
        "faces": ResultArray(model.faces.numpy().astype(np.int32), ("face", "corner"), "1"),
        "face_region": ResultArray(model.region("face").numpy(), ("vertex",), "1"),
        "depth_residual_m": ResultArray(fit.depth_residual_m, ("frame",), "m"),
        "views": ResultArray(fit.views.astype(np.int32), ("frame",), "1"),
    }


def _metrics(model: HeadModel, fit: HeadFit, texture: Texture) -> dict[str, float | str]:
    measured = fit.depth_residual_m[np.isfinite(fit.depth_residual_m)]
    return {
        "model": model.name,
        "frames_without_face": float((fit.views == 0).sum()),
        "depth_residual_mm_median": float(np.median(measured)) * 1000 if len(measured) else float("nan"),
        "identity_rms": float(np.sqrt((fit.identity**2).mean())),
        "texels_seen_share": float(texture.seen.mean()),
    }


def _texture_views(evidence: TakeEvidence, model: HeadModel, fit: HeadFit) -> list[PosedView]:
    """All colour pictures of the calmest frames: open mouths and closed eyes would bake into the skin."""
    take = evidence.take
    calm = np.argsort(fit.curves.sum(1), kind="stable")[:TEXTURE_FRAMES]
    views = []
    for frame in sorted(int(index) for index in calm):
        vertices = fit.vertices_world(model, frame)
        supported = supported_vertices(vertices, evidence.depth(frame))
        for camera in take.rig.rgb:
            picture = take.frame(camera.id, frame)
            if picture is not None:
                views.append(PosedView(camera, picture, vertices, supported))
    return views
