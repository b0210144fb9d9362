"""Attributes and their derivatives against what they are derivatives of."""

import pytest
import torch
from torch.autograd import gradcheck

from rendering.reference.interpolate import barycentric_derivatives, interpolate, interpolate_derivatives
from rendering.reference.rasterize import rasterize
from tests.rendering.scenes import icosphere, random_triangles, textured_quad, through_near_plane

SCENES = [random_triangles(1), icosphere(), through_near_plane()]


def shifted(vertices, x: float, y: float):
    """The scene as seen from pixel centres moved by (x, y)."""
    return vertices - torch.tensor([x, y, 0.0], dtype=vertices.dtype)


@pytest.mark.parametrize("scene", SCENES)
def test_carrying_depth_gives_depth_back(scene):
    fragments = rasterize(scene.vertices_screen, scene.faces, scene.size_hw)
    carried = interpolate(fragments, scene.faces, scene.vertices_screen[:, 2:])
    torch.testing.assert_close(carried[..., 0], fragments.depth)


@pytest.mark.parametrize("scene", SCENES)
def test_derivatives_are_those_of_a_small_step(scene):
    vertices, faces, step = scene.vertices_screen, scene.faces, 1e-5
    values = torch.sin(torch.arange(4 * len(vertices)).double()).reshape(-1, 4)
    fragments = rasterize(vertices, faces, scene.size_hw)
    weight_slopes = barycentric_derivatives(fragments, vertices, faces)
    value_slopes = interpolate_derivatives(fragments, vertices, faces, values)
    for axis, (x, y) in enumerate(((step, 0), (0, step))):
        after, before = (rasterize(shifted(vertices, s * x, s * y), faces, scene.size_hw) for s in (1, -1))
        assert (after.face_index == before.face_index).all()
        by_step = (after.barycentric - before.barycentric) / (2 * step)
        torch.testing.assert_close(weight_slopes[..., axis], by_step, atol=1e-7, rtol=1e-5)
        by_step = (interpolate(after, faces, values) - interpolate(before, faces, values)) / (2 * step)
        torch.testing.assert_close(value_slopes[..., axis], by_step, atol=1e-7, rtol=1e-5)


def test_attributes_with_seams_have_faces_of_their_own():
    quad = textured_quad()
    vertices, faces = quad.scene.vertices_screen, quad.scene.faces
    fragments = rasterize(vertices, faces, quad.scene.size_hw)
    # The texture coordinates are those of one rectangle, so a table with a row for each vertex says the same.
    by_vertex = torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]]).double()
    torch.testing.assert_close(interpolate(fragments, quad.uv_faces, quad.uv), interpolate(fragments, faces, by_vertex))
    torch.testing.assert_close(
        interpolate_derivatives(fragments, vertices, faces, quad.uv, quad.uv_faces),
        interpolate_derivatives(fragments, vertices, faces, by_vertex),
    )


def test_views_share_values_or_have_their_own():
    scene = random_triangles(4)
    views = torch.stack([scene.vertices_screen, shifted(scene.vertices_screen, 2.3, 1.1)])
    fragments = rasterize(views, scene.faces, scene.size_hw)
    shared = scene.vertices_screen.cos()
    torch.testing.assert_close(
        interpolate(fragments, scene.faces, shared),
        interpolate(fragments, scene.faces, torch.stack([shared, shared])),
    )
    own = interpolate_derivatives(fragments, views, scene.faces, torch.stack([shared, 2 * shared]))
    common = interpolate_derivatives(fragments, views, scene.faces, shared)
    torch.testing.assert_close(own, common * torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1, 1))


@pytest.mark.parametrize("scene", [random_triangles(6, 4, (6, 7)), through_near_plane((5, 6))])
def test_gradients(scene):
    faces = scene.faces

    def pictures(vertices, values):
        fragments = rasterize(vertices, faces, scene.size_hw)
        return (
            interpolate(fragments, faces, values),
            barycentric_derivatives(fragments, vertices, faces),
            interpolate_derivatives(fragments, vertices, faces, values),
        )

    values = torch.sin(torch.arange(2 * len(scene.vertices_screen)).double()).reshape(-1, 2)
    assert gradcheck(pictures, (scene.vertices_screen.clone().requires_grad_(), values.requires_grad_()))
