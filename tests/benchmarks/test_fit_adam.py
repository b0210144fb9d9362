"""The peer is given the fit's own residuals, and it does come down."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from benchmarks.fit_adam import Error, Observed, Person, Tracked, depth_residual, landmark_residual, track
from flame_fitting.evidence import DepthImage, ViewLandmarks
from flame_fitting.losses.landmarks import LandmarkTargets, landmark_residuals
from flame_fitting.losses.linear_head import HeadState, LinearPoints
from flame_fitting.losses.point_to_plane import DepthGate, DepthViews, depth_rows, gather_depth
from flame_fitting.models.registry import load_head_model, load_landmark_embedding
from rendering.arrays import rasterize_arrays
from studio.presets import FACE_CENTRE, PRESETS

RIG = PRESETS["desk"](30.0)
MODEL, MARKS = load_head_model(), load_landmark_embedding()
HOME = FACE_CENTRE - MODEL.template[MODEL.region("face")].numpy().mean(0)


def person(dtype: torch.dtype) -> Person:
    trust = torch.zeros(len(MODEL.template), dtype=dtype)
    trust[MODEL.region("face")] = 1.0
    embedded = MARKS.faces, MARKS.barycentric.to(dtype), MARKS.spread_m.to(dtype)
    basis = MODEL.expression_basis.to(dtype)
    return Person(MODEL.template.to(dtype), basis, MODEL.faces.numpy(), trust, *embedded)


def tracked(dtype: torch.dtype, open_jaw: float, turn: float) -> Tracked:
    curves = torch.zeros(len(MODEL.expression_names), dtype=dtype)
    curves[MODEL.expression_names.index("jawOpen")] = open_jaw
    rotation = torch.from_numpy(cv2.Rodrigues(np.array([0.0, turn, 0.0]))[0]).to(dtype)
    return Tracked(curves, rotation, torch.from_numpy(HOME).to(dtype))


def observed(true: Tracked) -> Observed:
    """Perfect landmarks and depth of two modules."""
    vertices = true.vertices(person(torch.float64)).numpy()
    views, depth = [], []
    for module in ("m1", "m2"):
        colour, camera = RIG[f"{module}_rgb"], RIG[f"{module}_depth"]
        points = np.zeros((468, 2))
        points[MARKS.source_index.numpy()] = colour.project(
            MARKS.on(torch.from_numpy(vertices).float()).double().numpy()
        )[0]
        view = ViewLandmarks(colour, points + (points == 0) * [colour.K[0, 2], colour.K[1, 2]], np.ones(468))
        views.append(LandmarkTargets.of(view, MARKS.source_index.numpy()))
        pixels, z = camera.project(vertices)
        screen = np.concatenate([pixels, z[:, None]], 1)
        shown = rasterize_arrays(screen, MODEL.faces.numpy(), camera.image_size_hw)
        depth.append(DepthImage.cleaned(camera, np.where(shown.mask, shown.depth, 0)))
    return Observed(tuple(views), tuple(depth))


def test_residuals_are_those_of_our_fit():
    who, state = person(torch.float64), tracked(torch.float64, 0.2, 0.05)
    seen = observed(tracked(torch.float64, 0.35, 0.02))
    vertices = state.vertices(who)
    surface = LinearPoints(MODEL.template.double(), MODEL.identity_basis.double(), MODEL.expression_basis.double())
    marks = LinearPoints(*(MARKS.on(part) for part in (surface.mean, surface.identity_basis, surface.expression_basis)))
    still = HeadState(torch.zeros(len(MODEL.identity_basis)).double(), state.curves, state.rotation, state.translation)
    for view in seen.views:
        ours = landmark_residuals(marks, MARKS.spread_m.double(), still, view).squares
        peers = landmark_residual(who, vertices, view)
        assert float((peers**2).sum()) == pytest.approx(float(ours.sum()), rel=1e-5)
    depth = DepthViews.stacked([seen.depth])
    assert depth is not None
    gathered = gather_depth(vertices[None], who.surface, depth, DepthGate(0.02, 0.004)).of_frame(0)
    ours = depth_rows(surface, still, state.translation, gathered, who.trust).residual
    np.testing.assert_allclose(depth_residual(who, vertices, vertices, gathered), ours[ours != 0], atol=1e-9)


def test_adam_comes_down_to_a_wanted_error_and_stops_there():
    true = [tracked(torch.float64, jaw, turn) for jaw, turn in ((0.3, 0.01), (0.4, 0.02))]
    who, start = person(torch.float32), tracked(torch.float32, 0.2, 0.0)

    def error(number: int, vertices: np.ndarray, curves: np.ndarray) -> Error:
        wanted = true[number].vertices(person(torch.float64)).numpy()
        return Error(float(np.median(np.linalg.norm(vertices - wanted, axis=1)) * 1000), 0.0)

    frames = [observed(state) for state in true]
    run = track(who, frames, start, 1e-2, (error, [Error(0.5, 1.0)] * 2, 80))
    assert run.reached == 2 and run.steps < 160 and run.error.vertex_mm < 0.5
    hasty = track(who, frames[:1], start, 1e-2, (error, [Error(0.0, 0.0)], 5))
    assert hasty.reached == 0 and hasty.steps == 5
    assert replace(hasty.error, vertex_mm=0.4).is_within(Error(0.4, 0.0))
