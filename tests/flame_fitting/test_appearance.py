"""Albedo and light from pictures of known heads, and heads moved back by them."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from flame_fitting.appearance import learn_appearance, points_on, relit, skin_points
from flame_fitting.key_frames import frame_equations, moved
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.losses.photometric import Appearance, ColourViews, gather_colour
from flame_fitting.scene import FrameObservations, HeadScene, SeenFrames
from flame_fitting.solver import solve_arrow
from flame_fitting.stages import COUPLED_STAGE
from geometry.meshes import vertex_normals
from rendering.colour import srgb_encode
from rendering.shading import irradiance
from tests.flame_fitting.exact_heads import NO_PRIOR, model, named, neutral_person, scene, state
from tests.flame_fitting.painted_heads import CAMERAS, of_points, paint, pictures, studio

STATES = (
    state(named()),
    state(named(jawOpen=0.4), (0.1, 0.2, 0.0)),
    state(named(mouthSmileLeft=0.8, mouthSmileRight=0.7), (-0.1, -0.25, 0.05)),
    state(named(browInnerUp=0.9), (0.15, 0.0, -0.1)),
)
ONLY_COLOUR = replace(COUPLED_STAGE, landmark=0.0, landmark_alone=0.0, depth=0.0, gaze=0.0, colour=1.0)


def shown(light: int, states: tuple[HeadState, ...] = STATES, device: str = "cpu"):
    """Heads and views of them, frame by frame."""
    for at in states:
        views = ColourViews.stacked([pictures(at, studio(light))], device)
        assert views is not None
        yield scene(0).to(device).surface.in_world(HeadState.stacked([at], device)), views


@cache
def learnt() -> Appearance:
    found = learn_appearance(scene(0).points, scene(0).skin, shown(1))
    assert found is not None
    return found


def levels(appearance: Appearance, at: HeadState, camera: str) -> torch.Tensor:
    """What the points look like."""
    normals = vertex_normals(scene(0).surface.in_world(at).numpy(), scene(0).faces)
    normal = torch.nn.functional.normalize(of_points(normals), dim=1)
    return srgb_encode((appearance.albedo * irradiance(appearance.light[camera], normal)).clip(0, 1))


def true_levels(at: HeadState, light: int) -> torch.Tensor:
    true = Appearance(scene(0).points, of_points(paint()), {"": torch.from_numpy(studio(light))})
    return levels(true, at, "")


@pytest.mark.parametrize("at", STATES)
def test_skin_looks_as_it_did(at):
    seen = learnt().albedo[:, 0] >= 0
    assert seen.float().mean() > 0.9 and set(learnt().light) == {by.id for by in CAMERAS}
    off = (levels(learnt(), at, CAMERAS[0].id) - true_levels(at, 1))[seen].abs()
    # Of a front view; what it does not see extends its light only roughly.
    assert off.median() < 0.01 and off.quantile(0.9) < 0.05


def test_other_light_leaves_the_albedo_alone():
    found = relit(learnt(), scene(0).skin, shown(2))
    assert torch.equal(found.albedo, learnt().albedo)
    seen = found.albedo[:, 0] >= 0
    off = (levels(found, STATES[0], CAMERAS[0].id) - true_levels(STATES[0], 2))[seen].abs()
    before = (levels(learnt(), STATES[0], CAMERAS[0].id) - true_levels(STATES[0], 2))[seen].abs()
    assert off.median() < 0.015 and off.median() < 0.5 * before.median()


def test_is_the_same_twice():
    again = learn_appearance(scene(0).points, scene(0).skin, shown(1))
    assert again is not None and torch.equal(again.albedo, learnt().albedo)
    assert all(torch.equal(again.light[camera], light) for camera, light in learnt().light.items())


def test_no_pictures_no_appearance():
    assert learn_appearance(scene(0).points, scene(0).skin, []) is None
    assert neutral_person().with_appearance(None).albedo is None
    person = neutral_person().with_appearance(learnt())
    back = person.scene(scene(0)).appearance
    assert back is not None and torch.equal(back.albedo, learnt().albedo) and back.light.keys() == learnt().light.keys()
    assert person.albedo is not None
    assert replace(person, albedo=person.albedo[1:]).scene(scene(0)).appearance is None, "of another head model"


def coloured(device: str) -> HeadScene:
    return replace(scene(0), appearance=learnt()).to(device)


def seen_in(at: HeadState, light: int, device: str) -> SeenFrames:
    return SeenFrames.of([FrameObservations((), (), (), pictures(at, studio(light)))], device)


def follow(at: HeadState, start: HeadState, device: str, steps: int = 6) -> HeadState:
    of, seen, now = coloured(device), seen_in(at, 1, device), HeadState.stacked([start], device)
    for _ in range(steps):
        equations = frame_equations(of, now, seen, ONLY_COLOUR, replace(NO_PRIOR, sigma=0.7))
        step = solve_arrow(equations, now.identity.new_zeros(0), now.curves, NO_PRIOR, True)
        now = moved(now, of.centre(now), step)
    return now.frames()[0]


def test_a_head_that_was_moved_along_its_surface_is_moved_back(device):
    """From colour alone: by half a millimetre aside, half a degree and some smile."""
    at = STATES[2]
    curves = (at.curves - 0.15 * named(mouthSmileLeft=1.0, mouthSmileRight=1.0)).clamp(0, 1)
    start = replace(at, curves=curves, translation=at.translation + torch.tensor([5e-4, -3e-4, 0.0]).double())
    found = follow(at, start, device)
    vertices = scene(0).points.vertices
    apart = lambda one: (scene(0).surface.in_world(one) - scene(0).surface.in_world(at))[vertices].norm(dim=1)  # noqa: E731
    assert apart(found).median() < 0.25 * apart(start).median(), (apart(found).median(), apart(start).median())
    smile = [model().expression_names.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]
    assert (found.curves - at.curves)[smile].abs().max() < 0.05


def test_information_is_symmetric_and_never_negative(device):
    of = coloured(device)
    views = seen_in(STATES[0], 1, device).colours
    assert views is not None
    at = of.surface.in_world(HeadState.stacked([STATES[0]], device))
    told = gather_colour(at, of.skin, views, learnt().to(device))
    assert torch.equal(told.information, told.information.mT)
    for each in (told, told.bounded()):
        values = torch.linalg.eigvalsh(each.information)
        assert values.min() > -1e-9 * values.max()
    assert torch.linalg.eigvalsh(told.bounded().information).max() <= 1 / 4e-4**2 * (1 + 1e-9)


def test_points_cover_the_face_but_not_the_lids():
    points, names = skin_points(model()), model().expression_names
    moved_by = model().expression_basis[[names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]].norm(dim=2).amax(0)
    assert moved_by[points.vertices].max() < 1e-3
    assert model().region("face")[points.vertices].all()
    assert torch.allclose(points.barycentric.sum(1), torch.ones(()), atol=1e-6) and (points.barycentric >= 0).all()
    assert len(points.barycentric) == int(points.first_point[-1]) == len(points.face_of_point)


def test_larger_triangles_carry_more_points():
    template = np.array([[0, 0, 0], [0.01, 0, 0], [0, 0.01, 0], [0, 0, 0.001]])
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3]])
    points = points_on(template, faces, np.array([True, True, False]))
    assert points.first_point.diff().tolist() == [26, 3] and points.faces.tolist() == [[0, 1, 2], [0, 1, 3]]
