"""Light on surfaces: harmonics and lobes against integrals over the sphere, gradients, and the studio's pictures."""

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from geometry.cameras import Camera
from geometry.meshes import vertex_normals as array_normals
from geometry.transforms import RigidTransform, look_at
from rendering.arrays import FragmentArrays
from rendering.colour import srgb_to_linear
from rendering.shading import (
    Light,
    fresnel_visibility,
    ggx_distribution,
    irradiance,
    shade,
    specular_reflection,
    spherical_harmonics,
    vertex_normals,
)
from studio.appearance import Appearance
from studio.light import studio_light
from studio.shading import TexturedMesh
from studio.shading import shade as studio_shade

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
CONSTANT = torch.zeros(9, 3, dtype=torch.float64)
CONSTANT[0] = 1 / 0.282095


def even_directions(count: int) -> Tensor:
    """Unit vectors that each stand for 4 pi / count steradian (a spherical Fibonacci lattice)."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn, ring = np.arange(count) * np.pi * (3 - np.sqrt(5)), np.sqrt(1 - height**2)
    return torch.from_numpy(np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], 1))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def some_light(*batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of a Light."""
    harmonics = CONSTANT + 0.1 * random(*batch, 9, 3)
    return harmonics, random(*batch, 3, seed=1) + UP, random(*batch, 3, seed=2).abs()


def with_gradients(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def ball() -> tuple[np.ndarray, np.ndarray]:
    """A closed mesh of 60 bumpy vertices, counter-clockwise seen from outside."""
    directions = even_directions(60).numpy()
    faces = ConvexHull(directions).simplices.astype(np.int64)
    a, b, c = directions[faces].transpose(1, 0, 2)
    inward = (np.cross(b - a, c - a) * a).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return directions * np.random.default_rng(0).uniform(0.08, 0.12, (60, 1)), faces


def test_the_harmonics_are_orthonormal():
    directions = even_directions(40000)
    basis = spherical_harmonics(directions)
    gram = basis.T @ basis * 4 * np.pi / len(directions)
    assert (gram - torch.eye(9)).abs().max() < 1e-4
    np.testing.assert_array_equal(spherical_harmonics(directions.numpy()), basis)


def test_irradiance_is_the_cosine_integral_of_the_radiance():
    directions, light = even_directions(40000), some_light()[0]
    normals = directions[::4001]
    radiance = spherical_harmonics(directions) @ light
    integral = (normals @ directions.T).clip(min=0) @ radiance * 4 / len(directions)
    torch.testing.assert_close(irradiance(light, normals), integral, atol=2e-4, rtol=0)


def test_a_lamp_lights_what_faces_it_and_never_takes_light_away():
    lamp = np.pi * spherical_harmonics(UP)[:, None].expand(9, 3)
    directions = even_directions(5000)
    received, cosine = irradiance(lamp, directions)[:, 0], directions[:, 2].clip(min=0)
    # Order 2 of the clamped cosine itself (Ramamoorthi & Hanrahan 2001): 1/4 + z/2 + 5/32 (3 z^2 - 1).
    z = directions[:, 2]
    torch.testing.assert_close(received, (0.25 + z / 2 + 5 / 32 * (3 * z * z - 1)).clip(min=0), atol=1e-5, rtol=0)
    assert (received - cosine).abs().max() < 0.1 and received.min() == 0


@pytest.mark.parametrize("roughness", [0.2, 0.5, 0.9])
def test_ggx_shows_the_surface_once(roughness: float):
    # Substituting cosine^2 = u gives the integral of D cosine over the hemisphere as pi times that of D over u.
    u = (torch.arange(200000, dtype=torch.float64) + 0.5) / 200000
    assert np.pi * ggx_distribution(u, torch.tensor(roughness).double() ** 4).mean() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("roughness", [0.3, 0.57, 0.9])
def test_a_white_furnace_does_not_exceed_one(roughness: float):
    angles = torch.linspace(0, 89, 12, dtype=torch.float64).deg2rad()
    views = torch.stack([angles.sin(), 0 * angles, angles.cos()], 1)[:, None]
    lights = even_directions(40000)
    sent = specular_reflection(UP, views, lights, roughness=roughness, fresnel=1.0).sum(1) * 4 * np.pi / len(lights)
    assert sent.max() < 1.005, sent
    if roughness == 0.3:  # nearly a mirror: what arrives leaves
        assert sent[0] > 0.95
    white = torch.ones(12, 3, dtype=torch.float64)
    torch.testing.assert_close(shade(white, views[:, 0], views[:, 0], Light(CONSTANT)), white, atol=1e-9, rtol=0)


def test_reflection_is_reciprocal():
    to_camera, to_light = unit(random(50, 3) + 2 * UP), unit(random(50, 3, seed=1) + 2 * UP)
    there = specular_reflection(UP, to_camera, to_light) * to_camera[:, 2].clip(0)
    back = specular_reflection(UP, to_light, to_camera) * to_light[:, 2].clip(0)
    torch.testing.assert_close(there, back)


def test_shade_has_exact_gradients():
    albedo, normals, to_camera = random(2, 3, 3).abs(), random(2, 3, 3, seed=3) + 2 * UP, random(2, 3, 3, seed=4) + UP
    roughness, specular = torch.full((2, 3), 0.5).double(), torch.ones(2, 3).double()
    leaves = [albedo, normals, to_camera, *some_light(2), roughness, specular]

    def picture(albedo, normals, to_camera, harmonics, direction, key, roughness, specular):
        light = Light(harmonics, direction, key)
        return shade(albedo, normals, to_camera, light, roughness=roughness, specular=specular)

    assert torch.autograd.gradcheck(picture, with_gradients(*leaves))


def test_the_parts_have_exact_gradients():
    normals, to_camera, to_light = (unit(random(3, 3, seed=seed) + 2 * UP) for seed in range(3))
    assert torch.autograd.gradcheck(lambda n: spherical_harmonics(n), with_gradients(normals))
    assert torch.autograd.gradcheck(lambda light, n: irradiance(light, n), with_gradients(some_light()[0], normals))
    assert torch.autograd.gradcheck(specular_reflection, with_gradients(normals, to_camera, to_light))
    cosines = torch.tensor([0.5, 0.7, 0.95], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda cosine: fresnel_visibility(cosine), with_gradients(cosines))
    assert torch.autograd.gradcheck(lambda u, alpha: ggx_distribution(u, alpha), with_gradients(cosines, cosines / 2))


def test_a_batch_of_lights_is_as_each_light_alone(device: str):
    albedo, normals, to_camera = (random(2, 4, 5, 3, seed=seed).to(device) for seed in range(3))
    fields = [field.to(device) for field in some_light(2)]
    together = shade(albedo, normals, to_camera, Light(*fields))
    for k in range(2):
        alone = Light(*(field[k] for field in fields))
        torch.testing.assert_close(shade(albedo[k], normals[k], to_camera[k], alone), together[k])
        one = shade(albedo[k, 1, 1], normals[k, 1, 1], to_camera[k, 1, 1], alone)
        torch.testing.assert_close(one, together[k, 1, 1])


def test_pixels_that_show_nothing_are_black_and_pass_no_gradient(device: str):
    normals = torch.zeros(4, 3, device=device, requires_grad=True)
    light = Light(*(field.float().to(device) for field in some_light()))
    image = shade(torch.ones_like(normals), normals, torch.zeros_like(normals), light)
    image.sum().backward()
    assert (image == 0).all() and normals.grad is not None and (normals.grad == 0).all()


def test_half_a_key_light_is_refused():
    with pytest.raises(ValueError, match="belong together"):
        Light(CONSTANT, key_direction=UP)


def test_normals_are_those_of_the_mesh_and_turn_with_it(device: str):
    vertices, faces = ball()
    turn = RigidTransform.from_rotvec(np.array([0.3, -0.8, 1.1]), np.array([0.1, 0.2, 0.3]))
    batch = torch.from_numpy(np.stack([vertices, turn @ vertices])).to(device)
    normals = vertex_normals(batch, torch.from_numpy(faces).to(device)).cpu().numpy()
    np.testing.assert_allclose(normals[0], array_normals(vertices, faces), atol=1e-14)
    np.testing.assert_allclose(normals[1], turn.rotate(normals[0]), atol=1e-14)
    assert (normals[0] * vertices).sum(1).min() > 0, "a normal points inwards"


def test_normals_have_exact_gradients_and_survive_faces_without_area(device: str):
    array, faces = ball()
    vertices = torch.from_numpy(array).to(device).requires_grad_()
    triangles = torch.from_numpy(faces).to(device)
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, triangles[:12]), vertices)
    single = torch.cat([vertices.detach().float(), torch.ones(3, 3, device=device)]).requires_grad_()
    collapsed = torch.cat([triangles, torch.tensor([[0, 0, 1], [5, 5, 5], [60, 61, 62]], device=device)])
    normals = vertex_normals(single, collapsed)
    (normals * random(63, 3).float().to(device)).sum().backward()
    assert (normals[60:] == 0).all() and normals.isfinite().all()
    assert single.grad is not None and single.grad.isfinite().all() and (single.grad[60:] == 0).all()


def test_normals_are_the_same_on_every_run(device: str):
    points = random(3000, 3).float().to(device).requires_grad_()
    faces = torch.randint(0, 3000, (200000, 3), generator=torch.Generator().manual_seed(0)).to(device)

    def once() -> tuple[Tensor, Tensor]:
        normals = vertex_normals(points, faces)
        return normals, torch.autograd.grad(normals[..., 0].sum(), points)[0]

    first = once()
    assert all(torch.equal(a, b) for _ in range(5) for a, b in zip(first, once(), strict=True))


def test_a_pixel_is_as_the_studio_shades_it():
    light, key = studio_light(np.random.default_rng(3))
    corners = np.array([[-0.1, -0.1, 0.03], [0.1, -0.1, 0], [0.1, 0.1, 0.05], [-0.1, 0.1, -0.02]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    mesh = TexturedMesh(corners, faces, np.full((4, 2), 0.5), faces)
    K = np.array([[100.0, 0, 2], [0, 100, 1], [0, 0, 1]])
    pose = look_at(np.array([-0.3, 0.1, 0.6]), np.zeros(3), np.array([0.0, 1, 0]))
    camera = Camera("colour", "rig", "rgb", (2, 3), K, np.zeros(0), pose)
    # One corner a pixel: between them the studio interpolates what `shade` evaluates.
    index = np.array([[0, 0, 0], [1, 1, 1]], np.int32)
    fragments = FragmentArrays(index, np.ones((2, 3), np.float32), np.eye(3, dtype=np.float32)[[[0, 1, 2], [0, 1, 2]]])
    for strength in (0.6, 2.5):
        look = Appearance(np.full((4, 4, 3), 180, np.uint8), np.full((4, 4), strength), 0.55, light, key, 0)
        drawn = studio_shade(fragments, mesh, camera, look, np.zeros(3))
        arriving = np.pi * irradiance(light, key).mean()
        lamp = Light(torch.from_numpy(light), torch.from_numpy(key), torch.full((3,), arriving).double())
        at = torch.from_numpy(faces[index, np.arange(3)])
        normals = vertex_normals(torch.from_numpy(corners), torch.from_numpy(faces))[at]
        to_camera = torch.from_numpy(camera.centre_world - corners)[at]
        albedo = torch.from_numpy(srgb_to_linear(np.full((2, 3, 3), 180, np.uint8))).double()
        # In the studio, texels stronger than 1 are wet: smoother as well.
        image = shade(albedo, normals, to_camera, lamp, roughness=0.55 / max(strength, 1), specular=strength)
        np.testing.assert_allclose(drawn, image, rtol=2e-6)
    assert np.ptp(drawn) > 0.05
