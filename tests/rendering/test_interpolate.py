"""Interpolation and its image-space derivatives against the readable twin, by gradcheck and by exact fields."""

from dataclasses import replace

import pytest
import torch

from rendering.interpolate import barycentric_derivatives, interpolate, interpolate_derivatives
from rendering.rasterize import rasterize
from rendering.reference import interpolate as twin
from rendering.reference.rasterize import rasterize as rasterize_twin
from tests.rendering.scenes import icosphere, random_triangles, textured_quad, through_near_plane

SCENES = {"triangles": random_triangles(6), "ball": icosphere(), "near plane": through_near_plane()}


def values_of(scene, channels=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(len(scene.vertices_screen), channels, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("name", SCENES)
def test_values_and_gradients_are_the_twins(name, device):
    scene, values = SCENES[name], values_of(SCENES[name])
    random = torch.Generator().manual_seed(1)
    results = []
    for place, draw, carry in (("cpu", rasterize_twin, twin.interpolate), (device, rasterize, interpolate)):
        own = values.to(place).requires_grad_()
        vertices, faces = scene.vertices_screen.to(place).requires_grad_(), scene.faces.to(place)
        image = carry(draw(vertices, faces, scene.size_hw), faces, own)
        above = torch.rand(image.shape, generator=random.manual_seed(1), dtype=torch.float64).to(place)
        gradients = torch.autograd.grad(image, [own, vertices], above)
        results.append([x.cpu() for x in (image, *gradients)])
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", SCENES)
def test_derivatives_and_their_gradients_are_the_twins(name, device):
    scene, values = SCENES[name], values_of(SCENES[name], 2)
    results = []
    for place, draw, derive in (
        ("cpu", rasterize_twin, twin.interpolate_derivatives),
        (device, rasterize, interpolate_derivatives),
    ):
        own = values.to(place).requires_grad_()
        vertices, faces = scene.vertices_screen.to(place).requires_grad_(), scene.faces.to(place)
        slopes = derive(draw(vertices.detach(), faces, scene.size_hw), vertices, faces, own)
        random = torch.Generator().manual_seed(2)
        above = torch.rand(slopes.shape, generator=random, dtype=torch.float64).to(place)
        gradients = torch.autograd.grad(slopes, [own, vertices], above)
        results.append([x.cpu() for x in (slopes, *gradients)])
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_gradcheck(device):
    scene = random_triangles(8, 6, (10, 12))
    vertices, faces = scene.vertices_screen.to(device).requires_grad_(), scene.faces.to(device)
    fragments = rasterize(vertices.detach(), faces, scene.size_hw)
    weights = fragments.barycentric.requires_grad_()
    values = values_of(scene, 3).to(device).requires_grad_()
    views = replace(fragments, **{k: torch.stack([v, v]) for k, v in vars(fragments).items()})
    assert torch.autograd.gradcheck(
        lambda w, v: interpolate(replace(fragments, barycentric=w), faces, v), (weights, values)
    )
    assert torch.autograd.gradcheck(lambda v: interpolate(views, faces, v), (values,))  # one table for two views
    assert torch.autograd.gradcheck(
        lambda p: barycentric_derivatives(fragments, p, faces), (vertices,), eps=1e-7, atol=1e-4
    )


def test_is_perspective_correct(device):
    scene = random_triangles(7, 3)
    vertices, faces = scene.vertices_screen.to(device), scene.faces.to(device)
    fragments = rasterize(vertices, faces, scene.size_hw)
    # Depth itself is linear in space, so carrying it by barycentrics must give the depth back.
    carried = interpolate(fragments, faces, vertices[:, 2:].contiguous())[..., 0]
    torch.testing.assert_close(carried, fragments.depth, rtol=1e-12, atol=0)


def test_derivatives_of_places_on_the_screen(device):
    """On a flat sheet an attribute that is its place in pixels changes by one from pixel to pixel."""
    corners = torch.tensor([[-3.0, -4, 1], [40, 2, 1], [1, 50, 1]], dtype=torch.float64, device=device)
    faces = torch.tensor([[0, 1, 2]], device=device)
    fragments = rasterize(corners, faces, (16, 18))
    slopes = interpolate_derivatives(fragments, corners, faces, corners[:, :2].contiguous())
    unit = torch.eye(2, dtype=torch.float64, device=device).expand(*fragments.depth.shape, 2, 2)
    torch.testing.assert_close(slopes[fragments.mask], unit[fragments.mask])
    assert not slopes[~fragments.mask].any()


def test_tables_with_seams_and_tables_for_each_view(device):
    quad = textured_quad()
    vertices, faces = quad.scene.vertices_screen.to(device), quad.scene.faces.to(device)
    uv, uv_faces = quad.uv.to(device).requires_grad_(), quad.uv_faces.to(device)
    views = rasterize(torch.stack([vertices, vertices + 1]), faces, quad.scene.size_hw)
    shared = interpolate(views, uv_faces, uv)
    own = interpolate(views, uv_faces, torch.stack([uv, uv * 2]))
    torch.testing.assert_close(own[1], shared[1] * 2)
    (both,) = torch.autograd.grad(shared.sum(), [uv], retain_graph=True)
    assert both.shape == uv.shape
    torch.testing.assert_close(both.sum(), views.mask.sum() * 2.0, check_dtype=False)
    slopes = interpolate_derivatives(views, torch.stack([vertices, vertices + 1]), faces, uv, uv_faces)
    step = shared[:, :, 1:] - shared[:, :, :-1]
    inside = views.mask[:, :, 1:] & (views.face_index[:, :, 1:] == views.face_index[:, :, :-1])
    mean = (slopes[:, :, 1:, :, 0] + slopes[:, :, :-1, :, 0]) / 2
    torch.testing.assert_close(mean[inside], step[inside], rtol=0.02, atol=1e-4)


def test_many_channels_none_and_empty(device):
    scene = icosphere(1)
    vertices, faces = scene.vertices_screen.to(device, torch.float32), scene.faces.to(device)
    fragments = rasterize(vertices, faces, scene.size_hw)
    for channels in (0, 1, 70):
        values = values_of(scene, channels).to(device, torch.float32).requires_grad_()
        image = interpolate(fragments, faces, values)
        assert image.shape == (*scene.size_hw, channels)
        image.sum().backward()
    nothing = rasterize(vertices[None][:0], faces, scene.size_hw)
    assert interpolate(nothing, faces, vertices).shape == (0, *scene.size_hw, 3)


def test_refuses_what_does_not_belong_together():
    scene = icosphere(1)
    fragments = rasterize(scene.vertices_screen, scene.faces, scene.size_hw)
    values = values_of(scene)
    with pytest.raises(ValueError, match="float32"):
        interpolate(fragments, scene.faces, values.float())
    with pytest.raises(ValueError, match="80 that were rasterized"):
        interpolate(fragments, scene.faces[:10], values)
    with pytest.raises(ValueError, match="there are 10 vertices"):
        interpolate(fragments, scene.faces, values[:10])
    with pytest.raises(ValueError, match="batch axes"):
        interpolate(fragments, scene.faces, values[None])
    with pytest.raises(ValueError, match="one device"):
        interpolate(fragments, scene.faces, values.to("meta"))
