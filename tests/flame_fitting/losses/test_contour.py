"""Outlines: their derivatives, which contour they attach to, and what sliding is worth beside standing still."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flame_fitting.evidence import ViewLandmarks
from flame_fitting.key_frames import KeyFrames, first_states
from flame_fitting.losses.contour import (
    INSIDE_M,
    LEFT_OUTLINE,
    OUTLINE,
    OUTLINE_SIGMA_M,
    SIDE,
    ContourFeet,
    OutlineViews,
    contour_rows,
    find_feet,
    outline_confidence,
)
from flame_fitting.losses.landmarks import LandmarkTargets
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.models.head_model import LandmarkEmbedding
from flame_fitting.scene import FrameObservations, HeadScene
from flame_fitting.solver import HeadPrior
from flame_fitting.stages import FAR, Stage
from geometry.cameras import Camera
from geometry.transforms import look_at, rigid_align
from rendering.arrays import rasterize_arrays
from tests.flame_fitting.exact_heads import (
    DEPTH,
    FACE_WORLD,
    POINTS,
    ExactTake,
    head,
    model,
    named,
    scene,
    state,
    view_of,
)
from tests.flame_fitting.losses.test_jacobians import (
    EXPRESSIONS,
    assert_is_jacobian_of,
    placed,
    random_head,
    random_target,
)

UPRIGHT = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def camera_at(azimuth_deg: float, elevation_deg: float = 0.0) -> Camera:
    """A camera of 480 x 560 pixels about the face; azimuth towards the subject's left."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    towards = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    pose = look_at(FACE_WORLD + 0.6 * towards, FACE_WORLD, np.array([0.0, 1.0, 0.0]))
    K = np.array([[900.0, 0.0, 240.0], [0.0, 900.0, 280.0], [0.0, 0.0, 1.0]])
    return Camera(f"at{azimuth_deg:g}", "m", "rgb", (560, 480), K, np.zeros(0), pose)


@cache
def depth_shown(by: Camera, of: HeadScene, at: HeadState, ears: bool = True) -> Float[np.ndarray, "h w"]:
    """What each pixel shows of the head, metres; a metre where it shows nothing."""
    pixels, depth = by.project(of.surface.in_world(at).numpy())
    faces = of.faces if ears else of.faces[~model().region("ears").numpy()[of.faces].any(1)]
    drawn = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), faces, by.image_size_hw)
    return np.where(drawn.face_index >= 0, drawn.depth, 1.0).astype(np.float64)


def silhouette_px(by: Camera, of: HeadScene, at: HeadState) -> Float[np.ndarray, "n 2"]:
    """The border between an earless head and the background, pixels with centres at +0.5, half a pixel inside it."""
    outlines, _ = cv2.findContours(
        (depth_shown(by, of, at, ears=False) < 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return max(outlines, key=len)[:, 0].astype(float) + 0.5


def contours_px(by: Camera, of: HeadScene, at: HeadState) -> Float[np.ndarray, "n 2"]:
    """Pixels beside which the picture's depth jumps by over 3 mm: all contours that are seen, of whatever part."""
    depth = depth_shown(by, of, at).astype(np.float32)
    jumps = cv2.dilate(depth, np.ones((3, 3))) - depth > 0.003
    return np.argwhere(jumps)[:, ::-1] + 0.5


def far_outline(by: Camera, of: HeadScene, at: HeadState, guess: HeadState) -> ViewLandmarks:
    """What a network would say that draws its outline on the far cheek's silhouette, as far inside as it usually does.

    Which point of the silhouette belongs to which landmark is told by height alone; the near side and all other
    landmarks lie outside the picture.
    """
    border = silhouette_px(by, of, at)
    places = by.project(of.surface.in_world(guess).numpy()[of.face])[0]
    top, bottom = np.quantile(places[:, 1], [0.3, 0.85])
    middle = places[:, 0].mean()
    left = by.centre_world[0] < FACE_WORLD[0]  # the camera on the subject's right: the left cheek is the far one
    side = border[(border[:, 0] > middle) == left]
    points = np.tile([-1e3, -1e3], (POINTS, 1))
    rows = OUTLINE[(1 if left else -1) == SIDE]
    rows = rows[::-1] if left else rows
    for landmark, height in zip(rows, np.linspace(top, bottom, len(rows)), strict=True):
        points[landmark] = side[np.abs(side[:, 1] - height).argmin()]
    return ViewLandmarks(by, points, np.zeros(POINTS))


def outline_of(view: ViewLandmarks, landmarks: ViewLandmarks) -> OutlineViews:
    """The outline's points, drawn inside by what a network does; the face's size from its other landmarks."""
    whole = np.where(view.points_px < 0, landmarks.points_px, view.points_px)
    drawn = OutlineViews.of(replace(view, points_px=whole))
    there = torch.from_numpy((view.points_px[OUTLINE] >= 0).all(1)).double()
    inside = INSIDE_M / 0.6
    return replace(drawn, points=drawn.points - inside * drawn.normals, confidence=there)


@pytest.mark.parametrize("seed", range(6))
def test_the_derivatives_are_those_of_the_distance_along_the_normal(seed):
    points, at = random_head(seed)
    target, centre = random_target(seed), points.in_world(at).mean(0)
    random, count = np.random.default_rng(seed), len(OUTLINE)
    angle = torch.from_numpy(random.uniform(0, 2 * np.pi, (1, 1, count)))
    normals = torch.stack([angle.cos(), angle.sin()], -1)
    ends = torch.from_numpy(random.integers(0, len(points.mean), (1, 1, count, 2)))
    share = torch.from_numpy(random.random((1, 1, count)))
    confidence = torch.from_numpy(np.where(random.random((1, 1, count)) < 0.3, 0.0, random.random((1, 1, count))))
    feet = ContourFeet(ends, share, normals, confidence)
    edge = (1 - share)[..., None] * points.in_world(at)[ends[..., 0]] + share[..., None] * points.in_world(at)[
        ends[..., 1]
    ]
    seen_at = edge[0, 0] @ target.rotation.T + target.translation
    drawn = seen_at[:, :2] / seen_at[:, 2:] + torch.from_numpy(random.normal(0, 0.004, (count, 2)))
    seen = OutlineViews(
        target.rotation[None, None],
        target.translation[None, None],
        drawn[None, None],
        normals,
        torch.ones(1, 1, count).double(),
        torch.ones(1, 1).double(),
    )
    rows = contour_rows(points, HeadState.stacked([at]), centre[None], seen, feet)
    here = _across(seen_at, drawn, normals[0, 0])
    sigma = OUTLINE_SIGMA_M / seen_at[:, 2]
    root = (confidence[0, 0] / (1 + (here / sigma / 3.0) ** 2) ** 2).sqrt() / sigma

    def twin(change: Tensor) -> Tensor:
        world = placed(points, at, centre, change)
        on_edge = (1 - share[0, 0])[:, None] * world[ends[0, 0, :, 0]] + share[0, 0][:, None] * world[ends[0, 0, :, 1]]
        return _across(on_edge @ target.rotation.T + target.translation, drawn, normals[0, 0]) * root

    alone = type(rows)(*(part[0] for part in (rows.residual, rows.d_identity, rows.d_curves, rows.d_pose)))
    assert_is_jacobian_of(alone, twin, at)
    assert int(alone.measured.sum()) == int((confidence > 0).sum()) < count
    assert rows.d_curves.shape[-1] == EXPRESSIONS


def _across(in_camera: Tensor, drawn: Tensor, normals: Tensor) -> Tensor:
    """How far the contour lies outside the points, less what is usual."""
    return ((in_camera[:, :2] / in_camera[:, 2:] - drawn) * normals).sum(1) - INSIDE_M / in_camera[:, 2]


@pytest.mark.parametrize("azimuth", [-28.0, 25.0, 35.0])
def test_feet_lie_on_the_silhouette_that_is_seen(azimuth):
    """Points beside the true silhouette find it, whatever the ears, the nose and the hidden neck offer beside it."""
    of, at, by = scene(0), state(named(jawOpen=0.2), *UPRIGHT), camera_at(azimuth, 5.0)
    seen = OutlineViews.stacked([[outline_of(far_outline(by, of, at, at), view_of(of, at, by))]])
    assert seen is not None
    batch = HeadState.stacked([at])
    vertices = of.surface.in_world(batch)
    feet = find_feet(vertices, of.edges, seen, outline_confidence(batch, of.centre(batch), seen))
    use = feet.confidence[0, 0] > 0
    assert int(use.sum()) >= 8
    share = feet.share[0, 0][use, None]
    found = (1 - share) * vertices[0][feet.ends[0, 0, use, 0]] + share * vertices[0][feet.ends[0, 0, use, 1]]
    pixels, _ = by.project(found.numpy())
    off = np.linalg.norm(pixels[:, None] - contours_px(by, of, at), axis=2).min(1)
    assert off.max() < 1.5, "every one lies on a contour that is seen, within pixels of 0.7 mm"
    off = np.linalg.norm(pixels[:, None] - silhouette_px(by, of, at), axis=2).min(1)
    assert np.median(off) < 1.0 and np.mean(off < 1.5) > 0.7, "and nearly all on the one that was meant"
    rows = contour_rows(of.surface, batch, of.centre(batch), seen, feet)
    assert float(rows.residual.abs().median()) < 0.3, "a true head leaves a tenth of a sigma, pixels' size"


def test_of_a_turned_head_the_far_side_alone_is_an_outline():
    of, at = scene(0), HeadState.stacked([state(named(), *UPRIGHT)])
    views = [camera_at(azimuth) for azimuth in (0.0, 24.0, -24.0, 60.0)]
    everywhere = ViewLandmarks(views[0], np.full((POINTS, 2), 200.0), np.zeros(POINTS))
    points = everywhere.points_px + np.random.default_rng(0).uniform(-50, 50, (POINTS, 2))
    seen = OutlineViews.stacked([[OutlineViews.of(replace(everywhere, camera=by, points_px=points)) for by in views]])
    assert seen is not None
    ahead, from_left, from_right, aside = outline_confidence(at, of.centre(at), seen)[0]
    side = torch.from_numpy(SIDE)
    assert (ahead == 1).all()
    assert (from_left[side < 0] == 1).all() and (from_left[side > 0] == 0).all(), "the right cheek is the far one"
    assert (from_right[side > 0] == 1).all() and (from_right[side < 0] == 0).all()
    assert not aside.any(), "a profile's outline is not to be trusted"
    assert set(OUTLINE[SIDE > 0].tolist()) == set(LEFT_OUTLINE)


def test_points_beside_the_picture_and_contours_far_away_say_nothing():
    of, at, by = scene(0), state(named(), *UPRIGHT), camera_at(25.0)
    view = far_outline(by, of, at, at)
    true = outline_of(view, view_of(of, at, by))
    cut = OutlineViews.of(replace(view, points_px=view.points_px - [1e4, 0]))
    assert not cut.confidence.any()
    away = replace(true, points=true.points + 0.06 / 0.6 * true.normals)
    batch, seen = HeadState.stacked([at]), OutlineViews.stacked([[away]])
    assert seen is not None
    feet = find_feet(of.surface.in_world(batch), of.edges, seen, seen.confidence)
    rows = contour_rows(of.surface, batch, of.centre(batch), seen, feet)
    assert not feet.confidence.any() and not rows.measured.any() and torch.isfinite(rows.residual).all()


def test_with_depth_no_outline_is_looked_at():
    take = ExactTake(scene(0), (state(named()),), depth_cameras=DEPTH)
    assert FrameObservations.of(take, take.of.embedding, 0).outlines == ()
    without = FrameObservations.of(replace(take, depth_cameras=()), take.of.embedding, 0)
    assert len(without.outlines) == len(without.landmarks)


VIEWS = tuple(camera_at(*place) for place in ((-34.0, -4.0), (-25.0, 6.0), (26.0, -3.0), (33.0, 5.0)))
SURE = 3.0
"""Silhouettes of drawn heads are so many times surer than a network's outline."""
WEAK = HeadPrior(rate=0.0, sigma=1e-3)
"""Curves rest; identity has its own prior."""


def exact(drawn: OutlineViews, of: HeadScene, at: HeadState) -> OutlineViews:
    """The outline that a head's contour leaves no residual at: the pixels' rounding taken out."""
    batch, seen = HeadState.stacked([at]), OutlineViews.stacked([[drawn]])
    assert seen is not None
    vertices = of.surface.in_world(batch)
    feet = find_feet(vertices, of.edges, seen, seen.confidence)
    ends, share = feet.ends[0, 0], feet.share[0, 0][:, None]
    on_edge = (1 - share) * vertices[0][ends[:, 0]] + share * vertices[0][ends[:, 1]]
    in_camera = on_edge @ drawn.rotation.T + drawn.translation
    depth = in_camera[:, 2:]
    points = in_camera[:, :2] / depth - feet.normals[0, 0] * INSIDE_M / depth
    return replace(drawn, points=points, normals=feet.normals[0, 0], confidence=feet.confidence[0, 0])


def fixed_outline(of: HeadScene, guess: HeadState) -> LandmarkEmbedding:
    """The vertex of the mean head where each outline point lies from 26 degrees aside: as a fixed point of the skin."""
    vertices = {}
    for by in (camera_at(-26.0), camera_at(26.0)):
        view = far_outline(by, of, guess, guess)
        seen = OutlineViews.stacked([[outline_of(view, view_of(of, guess, by))]])
        assert seen is not None
        batch = HeadState.stacked([guess])
        feet = find_feet(of.surface.in_world(batch), of.edges, seen, seen.confidence)
        for row in torch.nonzero(feet.confidence[0, 0])[:, 0].tolist():
            vertices[int(OUTLINE[row])] = int(feet.ends[0, 0, row, 0])
    rows, places = list(vertices), torch.tensor(list(vertices.values()))
    corner = torch.zeros(len(rows), 3, dtype=torch.float64)
    corner[:, 0] = 1
    spread = torch.full((len(rows),), OUTLINE_SIGMA_M / SURE, dtype=torch.float64)
    return LandmarkEmbedding(places[:, None].expand(-1, 3), corner, torch.tensor(rows), spread)


def central(view: ViewLandmarks, seed: int) -> ViewLandmarks:
    """The landmarks of eyes, nose and mouth alone, each off by a pixel: nothing on cheeks and jaw."""
    template = head().landmarks.on(model().template.double()).numpy()
    inner = np.linalg.norm(template[:, :2] - np.median(template[:, :2], 0), axis=1) < 0.045
    confidence = np.zeros(POINTS)
    confidence[head().landmarks.source_index.numpy()[inner]] = 1.0
    noise = np.random.default_rng(seed).normal(0, 1.0, view.points_px.shape)
    return replace(view, points_px=view.points_px + noise, confidence=confidence)


def errors_mm(sliding: bool | None, seed: int, people: int) -> tuple[float, float]:
    """RMS vertex error of cheeks and jaw as posed, and of their shape, for so many modes of identity.

    `sliding` None leaves the outline out.
    """
    of = scene(people)
    generator = torch.Generator().manual_seed(seed)
    identity = 1.2 * torch.randn(people, generator=generator, dtype=torch.float64)
    true = state(named(), (0.02, 0.03, -0.02), (0.003, -0.002, 0.002), identity)
    mean = state(named(), *UPRIGHT, identity=torch.zeros(people).double())
    views = [(view_of(of, true, by), far_outline(by, of, true, true)) for by in VIEWS]
    inner = [central(view, seed + number) for number, (view, _) in enumerate(views)]
    marks = [LandmarkTargets.of(view, of.embedding.source_index.numpy()) for view in inner]
    outlines = tuple(exact(outline_of(far, view), of, true) for view, far in views)
    if sliding is False:
        fixed = fixed_outline(of, mean)
        both = LandmarkEmbedding(
            torch.cat([of.embedding.faces, fixed.faces]),
            torch.cat([of.embedding.barycentric, fixed.barycentric]),
            torch.cat([of.embedding.source_index, POINTS + torch.arange(len(fixed.source_index))]),
            torch.cat([of.embedding.spread_m, fixed.spread_m]),
        )
        of = replace(of, embedding=both).with_surface(of.surface)
        marks = []
        for view, outline in zip(inner, outlines, strict=True):
            rows = [int(np.flatnonzero(landmark == OUTLINE)[0]) for landmark in fixed.source_index.tolist()]
            # The silhouette itself, not the line a network draws inside it: a fixed point knows no inside.
            points = (outline.points + INSIDE_M / 0.6 * outline.normals)[rows].numpy()
            pixels = points * np.array([view.camera.K[0, 0], view.camera.K[1, 1]]) + view.camera.K[:2, 2]
            there = outline.confidence[rows].numpy() > 0
            whole = ViewLandmarks(
                view.camera, np.concatenate([view.points_px, pixels]), np.concatenate([view.confidence, there * 1.0])
            )
            marks.append(LandmarkTargets.of(whole, of.embedding.source_index.numpy()))
    seen = FrameObservations(tuple(marks), (), (), outlines=outlines if sliding else ())
    frames = KeyFrames(of, [seen], WEAK)
    states = first_states(of, [seen])
    weight = SURE**2 if sliding else 0.0
    plan = (Stage("pose", 4, 0, False, 1.0, 0.0, FAR), Stage("all", 12, people, False, 1.0, 0.0, FAR, contour=weight))
    for stage in plan:
        for _ in range(stage.steps):
            states = frames.step(states, stage)
    cheeks = cheeks_and_jaw()
    found, wanted = (of.surface.in_world(each).numpy()[cheeks] for each in (states[0], true))
    shape = rigid_align(found, wanted) @ found
    posed, shaped = (float(np.sqrt(((each - wanted) ** 2).sum(1).mean())) * 1000 for each in (found, shape))
    return posed, shaped


def cheeks_and_jaw() -> Bool[np.ndarray, "v"]:
    """Vertices of the face below the eyes that are as far aside as its outline."""
    template = model().template.numpy()
    middle = template[head().contours.lip_pairs.numpy().ravel()].mean(0)
    return scene(0).face & (np.abs(template[:, 0]) > 0.035) & (template[:, 1] < middle[1] + 0.06)


@pytest.mark.parametrize("people", [0, 3])
def test_sliding_outlines_find_pose_and_identity_better_than_fixed_points(people):
    """One pixel of noise inside the face, and nothing on cheeks and jaw: there the outline alone tells."""
    errors = {how: np.array([errors_mm(how, seed, people) for seed in range(4)]).mean(0) for how in (True, False, None)}
    print("posed and shape error, mm: sliding", errors[True], "fixed", errors[False], "without", errors[None])
    assert errors[True][0] < 0.3 * errors[False][0] and errors[True][0] < 0.6 * errors[None][0]
    if people:
        assert errors[True][1] < 0.3 * errors[False][1] and errors[True][1] < 0.6 * errors[None][1]
