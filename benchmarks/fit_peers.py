"""Peers on the same input in the same run: Adam on our residuals, and MediaPipe's own geometry, both against truth."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from fit_adam import AdamRun, Error, Observed, Person, Tracked, mean_error, track
from fit_runs import IDENTITY, FitRun, run_fit
from fit_takes import REPORTED, TakeConfig, record
from ingest_table import Table
from jaxtyping import Float

from evaluation.heads import NOT_COUNTED, FittedHead, seen_vertices
from evaluation.truth import Truth, find_truth
from evaluation.worlds import truth_from_take
from flame_fitting.evidence import DepthImage, ViewLandmarks
from flame_fitting.landmarks.landmarker import FaceLandmarker
from flame_fitting.losses.landmarks import LandmarkTargets
from flame_fitting.models.head_model import HeadModel, LandmarkEmbedding
from flame_fitting.models.registry import load_head_model, load_landmark_embedding
from geometry.transforms import RigidTransform
from storage.take import Take

PERSON = REPORTED[-1]
FIRST, FRAMES = 20, 6
"""Consecutive frame sets that are tracked; the first starts where our fit has the one before it."""
RATES = (1e-1, 1e-2, 1e-3)
BUDGET = 400
"""Steps a frame; metrical-tracker takes 310, VHAP 50 after 2,500 on the first frame."""
FACES = 468
"""Points of MediaPipe's mesh; those after it are the irises."""
TRUST = {"face": 1.0, "ears": 0.05, "neck": 0.02, "scalp": 0.02}


def measure(folder: Path, table: Table) -> None:
    """`fit_vs_adam_seconds` and Adam's error; MediaPipe's error."""
    config = TakeConfig(PERSON)
    run = run_fit(record(folder / "recordings", config), folder / "fits" / f"peers-{config.name}")
    input_ = Input.of(run)
    errors = [input_.our_error(number) for number in range(FRAMES)]
    ours, ours_s = mean_error(errors), FRAMES * tracking_seconds_per_frame(run)
    print(f"    ours: {ours_s:.2f} s for {FRAMES} frames, {ours}", file=sys.stderr)
    runs = {rate: input_.adam(rate, errors) for rate in RATES}
    for rate, adam in runs.items():
        print(f"    Adam at {rate:g}: {adam}", file=sys.stderr, flush=True)
    best = best_run(list(runs.values()))
    table.add("fit_vs_adam_seconds", ours_s / best.seconds, "ratio", 0.3)
    table.add("fit_vs_adam_vertex_error", ours.vertex_mm / best.error.vertex_mm, "ratio", 0.1)
    table.add("fit_vs_adam_curve_error", ours.curve / best.error.curve, "ratio", 0.1)
    table.add("adam_vertex_error_mm_median", best.error.vertex_mm, "mm", 0.2)
    table.add("adam_frames_that_reached_ours", best.reached, "frames", 0.0)
    table.add("mediapipe_vertex_error_mm_median", input_.mediapipe_mm(), "mm", 0.1)


def tracking_seconds_per_frame(run: FitRun) -> float:
    """Ours, without landmarks, which the peer is given, and without the person, whom it knows."""
    return sum(s for step, s in run.seconds.items() if step not in ("landmarks", IDENTITY)) / run.frames


def best_run(runs: list[AdamRun]) -> AdamRun:
    """The fastest learning rate that brought every frame to our error; where none did, the one that came nearest."""
    arrived = [run for run in runs if run.reached == FRAMES]
    return min(arrived, key=lambda run: run.seconds) if arrived else min(runs, key=lambda run: run.error.vertex_mm)


@dataclass(frozen=True, eq=False)
class Input:
    """A fitted take beside its truth, as peers need it."""

    take: Take
    """With our fit."""
    truth: Truth
    """What was recorded."""
    head: FittedHead
    """Our fit."""
    model: HeadModel
    """What was fitted."""
    embedding: LandmarkEmbedding
    """Where its landmarks sit."""
    to_truth: RigidTransform
    """The take's world into the truth's."""
    seen: list[np.ndarray]
    """Vertices of the true face that a camera sees, by frame."""

    @classmethod
    def of(cls, run: FitRun) -> Input:
        """Of our run."""
        take = Take.open(run.take)
        truth = find_truth(take, None)
        assert truth is not None, "the take is simulated"
        true = [truth.vertices[truth.trigger_of(take, FIRST + number)].astype(float) for number in range(FRAMES)]
        seen = [seen_vertices(shape, truth.faces, truth.face_mask, truth.rig.cameras) for shape in true]
        head, model = FittedHead.read(take), load_head_model()
        to_truth = truth_from_take(take.rig, truth.rig)
        return cls(take, truth, head, model, load_landmark_embedding(), to_truth, seen)

    def our_error(self, number: int) -> Error:
        """Of our fit in a tracked frame."""
        frame = FIRST + number
        return self.error(number, self.head.vertices[frame].astype(np.float64), self.head.curves[frame])

    def error(self, number: int, vertices: Float[np.ndarray, "v 3"], curves: Float[np.ndarray, "e"]) -> Error:
        """Of a tracked frame, measured as `mien evaluate` does."""
        trigger = self.truth.trigger_of(self.take, FIRST + number)
        apart = np.linalg.norm(self.to_truth @ vertices - self.truth.vertices[trigger], axis=1)[self.seen[number]]
        counted = [not name.startswith(NOT_COUNTED) for name in self.truth.curve_names]
        off = np.abs(curves - self.truth.curves[trigger])[counted]
        return Error(float(np.median(apart)) * 1000, float(off.mean()))

    def adam(self, rate: float, wanted: list[Error]) -> AdamRun:
        """Track the frames with one learning rate until each comes down to our errors."""
        observed = [self._observed(FIRST + number) for number in range(FRAMES)]
        return track(self._person(), observed, self._start(), rate, (self.error, wanted, BUDGET))

    def _person(self) -> Person:
        """The person as we fitted them, expression shapes of their own included: the peer is given it."""
        result, model = self.take.results.read("fit"), self.model
        rest = torch.from_numpy(np.asarray(result["rest_vertices"], np.float32))
        shapes = torch.from_numpy(np.asarray(result["expression_shapes"], np.float32))
        trust = torch.zeros(len(model.template))
        for region, value in TRUST.items():
            trust[model.region(region)] = value
        marks = self.embedding
        places = marks.faces, marks.barycentric.float(), marks.spread_m.float()
        return Person(rest, shapes, model.faces.numpy(), trust, *places)

    def _start(self) -> Tracked:
        result, before = self.take.results.read("fit"), FIRST - 1
        curves, rotation, translation = (
            torch.from_numpy(np.asarray(result[name][before], np.float32))
            for name in ("curves", "rotation", "translation")
        )
        return Tracked(curves, rotation, translation)

    def _observed(self, frame: int) -> Observed:
        marks, take = self.take.results.read("landmarks"), self.take
        stored = take.results.read("person")["landmark_offset_m"]
        offsets = dict(zip(stored.labels("camera"), np.asarray(stored), strict=True))
        views, chosen = [], self.embedding.source_index.numpy()
        for camera, points, confidence in zip(
            take.rig.rgb, marks["points_px"][frame], marks["confidence"][frame], strict=True
        ):
            points, confidence = points[:FACES].astype(np.float64), confidence[:FACES].astype(np.float64)
            if confidence.any() and np.isfinite(points).all():
                target = LandmarkTargets.of(ViewLandmarks(camera, points, confidence), chosen)
                if camera.id in offsets:
                    target = replace(target, offset_m=torch.from_numpy(offsets[camera.id]))
                views.append(target)
        pictures = [(camera, take.depth_m(camera.id, frame)) for camera in take.rig.depth]
        depth = tuple(DepthImage.cleaned(camera, depth) for camera, depth in pictures if depth is not None)
        return Observed(tuple(views), depth)

    def mediapipe_mm(self) -> float:
        """Median distance of MediaPipe's points to the true landmarks after the best similarity, view by view.

        Its geometry has no metric scale and no place in the world: both are given to it, and of all views the best.
        """
        landmarker = FaceLandmarker.load()
        errors = []
        for number in range(FRAMES):
            true = self.truth.vertices[self.truth.trigger_of(self.take, FIRST + number)]
            marks = self.embedding.on(torch.from_numpy(true).float()).numpy().astype(np.float64)
            of_views = []
            for camera in self.take.rig.rgb:
                picture = self.take.frame(camera.id, FIRST + number)
                found = None if picture is None else landmarker.detect(picture)
                if found is not None:
                    # Image axes are x right, y down, z away: a right-handed frame, like a camera's.
                    mesh = np.column_stack([found.points_px[:FACES], found.relative_depth[:FACES]])
                    of_views.append(similarity_distances(mesh[self.embedding.source_index.numpy()], marks))
            if of_views:
                errors.append(min(of_views, key=np.median))
        return float(np.median(np.concatenate(errors)) * 1000) if errors else float("nan")


def similarity_distances(points: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Distance of each point to its target after the similarity that minimises their squares. Source: Umeyama 1991."""
    a, b = points - points.mean(0), target - target.mean(0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = float((singular * flip).sum() / (a**2).sum())
    return np.linalg.norm(scale * a @ (u * flip @ vt).T - b, axis=1)
