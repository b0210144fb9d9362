"""The studio's subject: shading against closed forms, paint where the anatomy is."""

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from flame_fitting.landmarks.landmarker import FaceLandmarker
from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.registry import load_head_model
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.transforms import look_at
from rendering.arrays import FragmentArrays, interpolate_arrays, rasterize_arrays
from rendering.colour import linear_to_srgb, srgb_to_linear
from rendering.shading import irradiance
from studio.appearance import Appearance, paint_appearance
from studio.complexion import draw_complexion
from studio.light import studio_light
from studio.shading import TexturedMesh, shade
from studio.texels import EYEBALL, MOUTH, SKIN, Texels, head_texels

CONSTANT_LIGHT = np.zeros((9, 3))
CONSTANT_LIGHT[0] = 1 / 0.282095


@cache
def model() -> HeadModel:
    return load_head_model()


@cache
def appearance(seed: int) -> Appearance:
    return paint_appearance(model(), seed)


@cache
def texels() -> Texels:
    return head_texels(model(), 2048)


def camera(size_hw: tuple[int, int], eye: list[float], target: list[float], focal_px: float) -> Camera:
    rows, columns = size_hw
    K = np.array([[focal_px, 0, columns / 2], [0, focal_px, rows / 2], [0, 0, 1]])
    pose = look_at(np.array(eye, float), np.array(target, float), np.array([0.0, 1.0, 0.0]))
    return Camera("colour", "rig", "rgb", size_hw, K, np.zeros(0), pose)


def seen(mesh: TexturedMesh, view: Camera) -> FragmentArrays:
    pixels, depth = view.project(mesh.vertices_world)
    return rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), mesh.faces, view.image_size_hw)


def sphere(rings: int = 96) -> TexturedMesh:
    polar, around = np.meshgrid(np.linspace(1e-3, np.pi - 1e-3, rings), np.linspace(0, 2 * np.pi, rings), indexing="ij")
    points = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], -1)
    corner = (np.arange(rings - 1)[:, None] * rings + np.arange(rings - 1)).reshape(-1)
    lower, upper = (corner, corner + rings, corner + rings + 1), (corner, corner + rings + 1, corner + 1)
    faces = np.concatenate([np.stack(lower, 1), np.stack(upper, 1)])
    uv = np.full((rings * rings, 2), 0.5)
    return TexturedMesh(points.reshape(-1, 3), faces, uv, faces)


def plain(grey: int, light: np.ndarray, key: np.ndarray, specular: float = 0.0) -> Appearance:
    return Appearance(np.full((8, 8, 3), grey, np.uint8), np.full((8, 8), specular), 0.5, light, key, 0)


def test_white_sphere_in_constant_light_shines_evenly_on_the_background():
    mesh, view = sphere(), camera((80, 100), [0.0, 0, 4], [0, 0, 0], 120.0)
    fragments = seen(mesh, view)
    image = shade(fragments, mesh, view, plain(255, CONSTANT_LIGHT, np.array([0.0, 0, 1])), np.array([0.1, 0.2, 0.3]))
    assert image.dtype == np.float32 and image.shape == (80, 100, 3)
    np.testing.assert_allclose(image[fragments.mask], 1.0, atol=1e-4)
    np.testing.assert_allclose(image[~fragments.mask], [[0.1, 0.2, 0.3]] * int((~fragments.mask).sum()), atol=1e-6)
    backdrop = np.random.default_rng(1).random((80, 100, 3))
    over = shade(fragments, mesh, view, plain(255, CONSTANT_LIGHT, np.array([0.0, 0, 1])), backdrop)
    np.testing.assert_allclose(over[~fragments.mask], backdrop[~fragments.mask], atol=1e-6)


def test_diffuse_light_equals_the_irradiance_at_each_pixels_normal():
    light, key = studio_light(np.random.default_rng(3))
    mesh, view = sphere(), camera((160, 160), [1.0, 0.5, 4], [0, 0, 0], 300.0)
    fragments = seen(mesh, view)
    image = shade(fragments, mesh, view, plain(188, light, key), np.zeros(3))
    points = interpolate_arrays(fragments, mesh.faces, mesh.vertices_world)[fragments.mask]
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    expected = irradiance(light, normals) * srgb_to_linear(np.full((1, 3), 188, np.uint8))
    assert np.abs(image[fragments.mask] - expected).max() < 4e-3


def test_highlight_peaks_where_the_sphere_mirrors_the_key_light():
    key = np.array([0.5, 0.4, 0.0])
    key[2] = np.sqrt(1 - key @ key)
    mesh, view = sphere(160), camera((300, 300), [0.0, 0, 5], [0, 0, 0], 700.0)
    fragments = seen(mesh, view)
    image = shade(fragments, mesh, view, plain(0, CONSTANT_LIGHT, key, specular=2.0), np.zeros(3))[..., 0]
    row, column = np.unravel_index(image.argmax(), image.shape)
    normal = interpolate_arrays(fragments, mesh.faces, mesh.vertices_world)[row, column]
    half = key + (view.centre_world - normal) / np.linalg.norm(view.centre_world - normal)
    angle = np.degrees(np.arccos(normal @ half / np.linalg.norm(normal) / np.linalg.norm(half)))
    assert angle < 1.5, f"the highlight is {angle:.2f} degrees from the mirror direction"
    assert image.max() > 10 * np.median(image[fragments.mask])
    dry = shade(fragments, mesh, view, plain(0, CONSTANT_LIGHT, key, specular=1.0), np.zeros(3))[..., 0]
    assert (image > image.max() / 2).sum() < (dry > dry.max() / 2).sum(), "wet is not narrower than dry"


def test_texture_is_read_with_v_up_between_texel_centres():
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    mesh = TexturedMesh(corners, faces, (corners[:, :2] + 1) / 2, faces)
    view = camera((64, 64), [0.0, 0, 2], [0, 0, 0], 64.0)  # one pixel a texel
    albedo = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    look = Appearance(albedo, np.zeros((64, 64)), 0.5, CONSTANT_LIGHT, np.array([0.0, 0, 1]), 0)
    image = linear_to_srgb(shade(seen(mesh, view), mesh, view, look, np.zeros(3)))
    assert np.abs(image.astype(int) - albedo)[1:-1, 1:-1].max() <= 1


def test_same_seed_same_look_and_other_seed_another():
    again, other = paint_appearance(model(), 0), appearance(3)
    for field in dataclasses.fields(Appearance):
        first = getattr(appearance(0), field.name)
        np.testing.assert_array_equal(first, getattr(again, field.name), err_msg=field.name)
    assert np.abs(appearance(0).albedo.astype(int) - other.albedo).mean() > 3
    assert np.abs(appearance(0).light - other.light).max() > 0.01


def test_appearance_keeps_its_bounds():
    for seed in (0, 3):
        look = appearance(seed)
        assert look.albedo.shape == (2048, 2048, 3) and look.specular.shape == (2048, 2048)
        assert look.specular.min() >= 0 and look.specular.max() <= 4 and 0 < look.roughness < 1
        assert abs(np.linalg.norm(look.key_direction) - 1) < 1e-9 and look.key_direction[2] > 0
        assert 1 <= look.fitzpatrick <= 6
        assert look.openness is not None and look.openness.min() > 0 and look.openness.max() <= 1


def test_skin_types_cover_fitzpatricks_scale_from_light_to_dark():
    people = [draw_complexion(np.random.default_rng([seed, 1])) for seed in range(80)]
    lightness = [np.mean([p.skin.mean() for p in people if p.fitzpatrick == kind]) for kind in range(1, 7)]
    assert (np.diff(lightness) < -0.01).all(), lightness
    assert all((p.skin[0] > p.skin[1]) and (p.skin[1] > p.skin[2]) for p in people), "skin absorbs most in the blue"


@pytest.mark.parametrize("seed", [0, 3])
def test_paint_lies_where_the_anatomy_is(seed: int):
    field, look = texels(), appearance(seed)
    colour = srgb_to_linear(look.albedo)[field.mask]
    x, y, _ = field.position.T
    skin, offset = field.part == SKIN, field.position - np.where(x[:, None] > 0, field.eyes[0], field.eyes[1])

    def mean(where: np.ndarray) -> np.ndarray:
        assert where.sum() > 100, "nothing to compare"
        return colour[where].mean(0)

    lips, around = mean(skin & (field.lip_ring < 6)), mean(skin & (field.lip_ring > 9) & (field.lip_ring < 12))
    assert lips.mean() < 0.9 * around.mean() and lips[0] / lips[1] > 1.15 * around[0] / around[1]
    brow_line = skin & (np.abs(np.abs(x) - 0.033) < 0.008)
    brows = mean(brow_line & (np.abs(offset[:, 1] - 0.021) < 0.002))
    assert brows.mean() < 0.75 * mean(brow_line & (offset[:, 1] > 0.030) & (offset[:, 1] < 0.038)).mean()
    front = (field.part == EYEBALL) & (offset[:, 2] > 0)
    from_pupil = field.position - np.where(x[:, None] > 0, field.pupils[0], field.pupils[1])
    radius = np.hypot(from_pupil[:, 0], from_pupil[:, 1])
    pupil, iris = mean(front & (radius < 0.0018)), mean(front & (radius > 0.003) & (radius < 0.0045))
    limbal = mean(front & (radius > 0.0049) & (radius < 0.0053))
    sclera = mean(front & (radius > 0.0075) & (np.abs(offset[:, 1]) < 0.003))
    assert pupil.mean() < 0.02 and limbal.mean() < iris.mean() < sclera.mean() and sclera.mean() > 0.3
    crown = mean(skin & (y > field.eyes[0, 1] + 0.10))
    forehead = mean(skin & (np.abs(x) < 0.02) & (np.abs(y - field.eyes[0, 1] - 0.04) < 0.008))
    assert crown.mean() < 0.85 * forehead.mean()
    assert mean(field.part == MOUTH).max() < 0.1
    for side in (-1, 1):
        assert np.abs(mean(skin & (field.lip_ring < 6) & (x * side > 0.004)) / lips - 1).max() < 0.12


def test_no_seam_shows_where_texture_islands_meet():
    head, look = model(), appearance(3)
    vertex_of_uv = np.zeros(len(head.uv), int)
    vertex_of_uv[head.uv_faces.numpy()] = head.faces.numpy()
    column, row = (head.uv.numpy() * [2048, -2048] + [0, 2048]).astype(int).clip(0, 2047).T
    rows = np.flatnonzero(np.isin(vertex_of_uv, np.flatnonzero(head.region("neck").numpy())))
    _, first, count = np.unique(vertex_of_uv[rows], return_index=True, return_counts=True)
    colour = srgb_to_linear(look.albedo)[row, column]
    apart = []
    for k in first[count > 1]:
        twins = rows[vertex_of_uv[rows] == vertex_of_uv[rows[k]]]
        apart.append(np.ptp(colour[twins], axis=0).max() / colour[twins].mean())
    assert len(apart) > 10 and np.median(apart) < 0.2, np.median(apart)


def test_gutters_continue_their_nearest_texel():
    field = texels()
    spread = field.image(field.position)
    np.testing.assert_array_equal(spread[field.mask], field.position)
    gap = np.flatnonzero(~field.mask.ravel() & np.roll(field.mask, 2, 1).ravel())[::50]
    jump = np.linalg.norm(spread.reshape(-1, 3)[gap] - np.roll(spread, 2, 1).reshape(-1, 3)[gap], axis=1)
    assert np.median(jump) < 0.003


def test_a_model_with_another_texture_layout_is_refused():
    head = model()
    whole = dataclasses.replace(head, uv=head.template[:, :2].contiguous(), uv_faces=head.faces)
    with pytest.raises(InputError, match="texture islands"):
        paint_appearance(whole, 0)


def portrait(seed: int) -> tuple[np.ndarray, FragmentArrays]:
    head = model()
    identity = torch.randn(250, generator=torch.Generator().manual_seed(seed))
    vertices = head.with_shape(identity).vertices.numpy().astype(np.float64)
    centre = vertices[head.region("face").numpy()].mean(0)
    view = camera((720, 1280), list(centre + np.array([0, 0.02, 0.7])), list(centre), 900.0)
    mesh = TexturedMesh(vertices, head.faces.numpy(), head.uv.numpy(), head.uv_faces.numpy())
    fragments = seen(mesh, view)
    return linear_to_srgb(shade(fragments, mesh, view, appearance(seed), np.full(3, 0.035))), fragments


def test_a_face_of_middle_skin_is_exposed_around_middle_grey():
    image, fragments = portrait(0)
    face = np.zeros(len(model().faces) + 1, bool)
    face[:-1] = model().region_faces("face").numpy()
    level = image[face[fragments.face_index]].mean()
    assert appearance(0).fitzpatrick == 4 and 90 < level < 150, level


@pytest.mark.parametrize("seed", [0, 3])
def test_the_landmarker_sees_a_face(seed: int):
    try:
        landmarker = FaceLandmarker.load()
    except InputError:
        pytest.skip("no landmark weights: run `mien models install`")
    image, fragments = portrait(seed)
    found = landmarker.detect(image)
    assert found is not None and found.detection_score > 0.8
    column, row = found.points_px[[13, 14, 1, 9, 152]].astype(int).T  # lips, nose tip, brow, chin
    assert fragments.mask[row, column].all()
