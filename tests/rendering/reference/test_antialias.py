"""Silhouettes whose coverage is known, and the area that their gradient must be that of."""

from dataclasses import replace

import pytest
import torch
from torch.autograd import gradcheck

from rendering.reference.antialias import antialias, edge_table
from rendering.reference.rasterize import rasterize
from tests.rendering.scenes import Scene, convex_polygon, icosphere, rectangle, through_near_plane, two_balls


def draw(scene: Scene):
    return rasterize(scene.vertices_screen, scene.faces, scene.size_hw)


def mask_picture(scene: Scene):
    return draw(scene).mask.double()[..., None]


def antialiased_mask(scene: Scene):
    return antialias(mask_picture(scene), draw(scene), scene.vertices_screen, scene.faces)


def supersampled(picture, factor: int):
    height, width, channels = picture.shape
    return picture.reshape(height // factor, factor, width // factor, factor, channels).mean((1, 3))


@pytest.mark.parametrize("cells", [1, 7, 23])
def test_an_upright_rectangle_is_covered_exactly_however_it_is_cut(cells):
    low, high = (3.3, 2.6), (10.1, 8.8)
    picture = antialiased_mask(rectangle(low, high, cells))[..., 0]
    # Away from the corners, where one edge alone crosses a pixel, the blend is the covered area.
    columns = torch.tensor([0, 0, 0, 0.7, 1, 1, 1, 1, 1, 1, 0.1, 0, 0, 0]).double()
    rows = torch.tensor([0, 0, 0.4, 1, 1, 1, 1, 1, 0.8, 0, 0, 0]).double()
    torch.testing.assert_close(picture[4:8], columns.expand(4, -1))
    torch.testing.assert_close(picture[:, 4:10], rows[:, None].expand(-1, 6))


@pytest.mark.parametrize("corners", [3, 5, 12])
def test_the_gradient_of_the_sum_is_that_of_the_area(corners):
    polygon = convex_polygon(corners)
    vertices = polygon.vertices_screen.clone().requires_grad_()
    total = antialias(mask_picture(polygon), draw(polygon), vertices, polygon.faces).sum()
    (gradient,) = torch.autograd.grad(total, vertices)
    x, y = vertices[:-1, :2].unbind(1)
    area = 0.5 * (x * y.roll(-1) - y * x.roll(-1)).sum().abs()
    (truth,) = torch.autograd.grad(area, vertices)
    assert total.item() == pytest.approx(area.item(), rel=0.005)
    assert gradient[-1].eq(0).all()  # the fan's inner vertex outlines nothing
    error = (gradient - truth).norm(dim=1)[:-1] / truth.norm(dim=1)[:-1]
    assert error.max() < 0.06 and error.mean() < 0.03
    assert gradient.sum(0).abs().max() < 1  # moved as a whole it keeps its area, but for a row at a corner


def test_closer_to_the_truth_than_without():
    scene = two_balls(1, (16, 18))
    colours = torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.4, 1.0]]).double()

    def picture(at: Scene):
        face_index = draw(at).face_index.long()
        return colours[torch.where(face_index < 0, 0, 1 + (face_index >= len(at.faces) // 2))]

    truth = supersampled(picture(scene.scaled(16)), 16)
    blended = antialias(picture(scene), draw(scene), scene.vertices_screen, scene.faces)
    before, after = ((image - truth).abs().sum() for image in (picture(scene), blended))
    assert after < 0.2 * before
    assert (blended - picture(scene)).abs().amax(-1).gt(0).sum() > 30


def test_gradients_move_every_silhouette_of_a_closed_ball():
    """The mask grows with the ball as its projected area does."""
    scene = icosphere()
    vertices = scene.vertices_screen.clone().requires_grad_()
    fragments = draw(scene)
    total = antialias(mask_picture(scene), fragments, vertices, scene.faces).sum()
    (gradient,) = torch.autograd.grad(total, vertices)
    middle = scene.vertices_screen[:, :2].mean(0)
    growth = (gradient[:, :2] * (scene.vertices_screen[:, :2] - middle)).sum()
    # An area grows with the square of the scale.
    assert growth.item() == pytest.approx(2 * total.item(), rel=0.02)
    assert gradient[:, 2].eq(0).all()


def test_inner_edges_are_left_alone():
    scene = rectangle((-5.0, -5.0), (20.0, 20.0), 9)
    picture = torch.rand(*scene.size_hw, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert antialias(picture, draw(scene), scene.vertices_screen, scene.faces).equal(picture)


def test_equal_depths_are_left_alone():
    scene = two_balls()
    fragments = draw(scene)
    flat = replace(fragments, depth=torch.where(fragments.mask, 0.7, 0.0).double())
    picture = fragments.face_index.double()[..., None]
    blended = antialias(picture, flat, scene.vertices_screen, scene.faces)
    changed = (blended != picture)[..., 0]
    assert changed.any()
    # What still changes is beside the background.
    background = torch.nn.functional.max_pool2d(1 - fragments.mask.double()[None], 3, 1, 1)[0] > 0
    assert not (changed & ~background).any()


def test_triangles_through_the_near_plane_are_left_alone():
    scene = through_near_plane()
    picture = mask_picture(scene)
    assert 0 < picture.mean() < 1
    only = Scene(scene.vertices_screen, scene.faces[:3], scene.size_hw)
    assert antialiased_mask(only).equal(mask_picture(only))


def test_a_walk_ends_at_a_triangle_through_the_near_plane():
    """Its corner behind the camera has a place on the screen, but no edge there that could be seen."""
    vertices = torch.tensor([[6.3, -20, 1], [6.3, 40, 1], [-20, 10, 0.01], [6.9, 10, -5]]).double()
    scene = Scene(vertices, torch.tensor([[0, 1, 2], [1, 0, 3]]), (20, 14))
    assert (draw(scene).face_index[:, 5] == 0).all() and (draw(scene).face_index[:, 6] == -1).all()
    assert antialiased_mask(scene).equal(mask_picture(scene))
    alone = Scene(vertices, scene.faces[:1], scene.size_hw)
    torch.testing.assert_close(antialiased_mask(alone)[:, 6, 0], torch.full((20,), 0.3).double(), atol=1e-6, rtol=0)


def test_the_edge_table_by_hand():
    fan = torch.tensor([[0, 1, 2], [2, 1, 3], [4, 0, 2], [5, 1, 2]])
    # Edge 1-2 has three triangles, so nothing single lies across it.
    assert edge_table(fan[:3]).neighbours.tolist() == [[-1, 1, 2], [0, -1, -1], [-1, 0, -1]]
    assert edge_table(fan).neighbours.tolist() == [[-1, -1, 2], [-1, -1, -1], [-1, 0, -1], [-1, -1, -1]]
    ball = icosphere()
    table = edge_table(ball.faces)
    assert len(table.edges.unique()) == len(ball.faces) * 3 // 2
    for face, across in enumerate(table.neighbours):
        assert all(face in table.neighbours[other] for other in across)


def test_a_batch_is_its_views():
    scene = icosphere()
    views = torch.stack([scene.vertices_screen, scene.vertices_screen + torch.tensor([3.3, 1.2, 0.2])])
    batch = rasterize(views, scene.faces, scene.size_hw)
    pictures = torch.rand(2, *scene.size_hw, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    blended = antialias(pictures, batch, views, scene.faces)
    for number, view in enumerate(views):
        alone = antialias(pictures[number], rasterize(view, scene.faces, scene.size_hw), view, scene.faces)
        torch.testing.assert_close(blended[number], alone)


def test_gradients():
    scene = two_balls(0, (9, 8))
    fragments = draw(scene)
    picture = torch.rand(*scene.size_hw, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert not antialias(picture, fragments, scene.vertices_screen, scene.faces).equal(picture)

    def blended(picture, vertices):
        return antialias(picture, fragments, vertices, scene.faces)

    assert gradcheck(blended, (picture.requires_grad_(), scene.vertices_screen.clone().requires_grad_()))
