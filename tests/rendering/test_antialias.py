"""Silhouettes: against the readable twin, by gradcheck, by areas of polygons, and by a sphere recovered from them."""

import math

import pytest
import torch
import trimesh

from rendering.antialias import antialias
from rendering.rasterize import rasterize
from rendering.reference.antialias import antialias as twin
from tests.rendering.scenes import (
    Scene,
    convex_polygon,
    icosphere,
    random_triangles,
    rectangle,
    through_near_plane,
    two_balls,
)

SCENES = {
    "triangles": random_triangles(11),
    "ball": icosphere(),
    "small triangles": icosphere(4, (12, 13)),
    "two balls": two_balls(),
    "near plane": through_near_plane(),
    "polygon": convex_polygon(7),
}


def colours(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask_of(vertices, faces, size_hw):
    """The anti-aliased silhouette, differentiable in the vertices."""
    fragments = rasterize(vertices, faces, size_hw)
    return antialias(fragments.mask.to(vertices.dtype)[..., None], fragments, vertices, faces)[..., 0]


def supersampled(scene: Scene, factor=16):
    fine = scene.scaled(factor)
    mask = rasterize(fine.vertices_screen, fine.faces, fine.size_hw).mask.double()
    rows, columns = scene.size_hw
    return mask.reshape(rows, factor, columns, factor).mean((1, 3))


@pytest.mark.parametrize("name", SCENES)
def test_pictures_and_gradients_are_the_twins(name, device):
    scene = SCENES[name]
    fragments = rasterize(scene.vertices_screen, scene.faces, scene.size_hw)
    above = colours((*scene.size_hw, 3), 1)
    results = []
    for place, smooth in (("cpu", twin), (device, antialias)):
        image = colours((*scene.size_hw, 3)).to(place).requires_grad_()
        vertices = scene.vertices_screen.to(place).requires_grad_()
        seen = type(fragments)(**{name: field.to(place) for name, field in vars(fragments).items()})
        found = smooth(image, seen, vertices, scene.faces.to(place))
        gradients = torch.autograd.grad(found, [image, vertices], above.to(place))
        results.append([x.cpu() for x in (found, *gradients)])
    changed = not torch.equal(results[0][0], colours((*scene.size_hw, 3)))
    assert changed == (name != "near plane")  # what passes the camera plane is left as it is
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_gradcheck(device):
    scene = random_triangles(4, 7, (12, 13))
    vertices, faces = scene.vertices_screen.to(device).requires_grad_(), scene.faces.to(device)
    fragments = rasterize(vertices.detach(), faces, scene.size_hw)
    image = colours((*scene.size_hw, 2)).to(device).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda i, v: antialias(i, fragments, v, faces), (image, vertices), eps=1e-7, atol=1e-5
    )


@pytest.mark.parametrize("corners", [3, 4, 5, 9, 40])
def test_area_of_a_polygon_and_its_gradient(corners, device):
    """The sum of a mask changes as the polygon's area does: of the outline nothing is lost and nothing counts twice."""
    scene = convex_polygon(corners, (190, 200))
    vertices = scene.vertices_screen.to(device).requires_grad_()
    (gradient,) = torch.autograd.grad(mask_of(vertices, scene.faces.to(device), scene.size_hw).sum(), [vertices])
    rim = scene.vertices_screen[:corners].clone().requires_grad_()
    x, y = rim[:, 0], rim[:, 1]
    area = (x * y.roll(-1) - x.roll(-1) * y).sum().abs() / 2
    (wanted,) = torch.autograd.grad(area, [rim])
    # Along its outline an edge counts once a pixel: what is left is that sampling.
    assert (gradient[:corners].cpu() - wanted).norm() < 0.05 * wanted.norm()
    total = gradient.sum(0).cpu()
    assert total.norm() < 0.03 * wanted.norm()  # moving it as a whole changes no area
    assert not gradient[..., 2].any()


@pytest.mark.parametrize("cells", [1, 30, 150])
def test_small_triangles_lose_no_outline(cells, device):
    """However finely a rectangle is cut, its silhouette and the gradient of its width stay the same."""
    scene = rectangle((2.3, 3.4), (9.7, 8.2), cells)
    scale = torch.ones((), dtype=torch.float64, device=device, requires_grad=True)
    vertices = scene.vertices_screen.to(device)
    wider = torch.stack([(vertices[:, 0] - 6) * scale + 6, vertices[:, 1], vertices[:, 2]], -1)
    mask = mask_of(wider, scene.faces.to(device), scene.size_hw)
    (gradient,) = torch.autograd.grad(mask.sum(), [scale])
    assert float(mask.detach().sum()) == pytest.approx(7.4 * 4.8, abs=0.5)  # corners count along one side only
    assert float(gradient) == pytest.approx(7.4 * 5, rel=1e-6)  # five rows of pixels, each moved on both sides


@pytest.mark.parametrize("name", ["ball", "polygon", "small triangles"])
def test_closer_to_the_truth_than_without(name, device):
    scene = SCENES[name]
    truth = supersampled(scene)
    rough = rasterize(scene.vertices_screen, scene.faces, scene.size_hw).mask.double()
    smooth = mask_of(scene.vertices_screen.to(device), scene.faces.to(device), scene.size_hw).cpu()
    assert (smooth - truth).abs().sum() < 0.25 * (rough - truth).abs().sum()


def test_inside_a_smooth_surface_nothing_changes(device):
    scene = icosphere(4, (60, 60))
    fragments = rasterize(scene.vertices_screen.to(device), scene.faces.to(device), scene.size_hw)
    image = colours((*scene.size_hw, 3)).to(device)
    changed = (antialias(image, fragments, scene.vertices_screen.to(device), scene.faces.to(device)) != image).any(-1)
    mask = fragments.mask.double()[None, None]
    edge = torch.nn.functional.max_pool2d(mask, 3, 1, 1) + torch.nn.functional.max_pool2d(-mask, 3, 1, 1) != 0
    assert changed.any() and not (changed & ~edge[0, 0]).any()


def test_views_in_a_batch_and_the_same_bits(device):
    scene = two_balls(3, (60, 64))
    vertices = torch.stack([scene.vertices_screen, scene.vertices_screen + 1.3]).to(device, torch.float32)
    faces = scene.faces.to(device)
    image = colours((2, *scene.size_hw, 3)).to(device, torch.float32)
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            own, moving = image.clone().requires_grad_(), vertices.clone().requires_grad_()
            smooth = antialias(own, rasterize(vertices, faces, scene.size_hw), moving, faces)
            runs.append([smooth, *torch.autograd.grad(smooth.square().sum(), [own, moving])])
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(torch.equal(one, two) for one, two in zip(runs[0], other, strict=True))
    for view in range(2):
        alone = antialias(image[view], rasterize(vertices[view], faces, scene.size_hw), vertices[view], faces)
        assert torch.equal(alone, runs[0][0][view])


def test_a_sphere_from_its_silhouettes_alone(device):
    """Radius and centre from 8 views within 0.1 pixel; the target is supersampled, not drawn by `antialias`."""
    size, focal_px, away_m = (64, 72), 150.0, 0.8
    ball = trimesh.creation.icosphere(4, radius=1.0)
    unit, faces = torch.tensor(ball.vertices, device=device), torch.tensor(ball.faces, device=device)
    angles = torch.arange(8, device=device, dtype=torch.float64) * (2 * torch.pi / 8)
    tilts = torch.where(torch.arange(8, device=device) % 2 == 0, 0.4, -0.3).double()
    zero, one = torch.zeros_like(angles), torch.ones_like(angles)
    turn = torch.stack([angles.cos(), zero, -angles.sin(), zero, one, zero, angles.sin(), zero, angles.cos()], -1)
    tilt = torch.stack([one, zero, zero, zero, tilts.cos(), -tilts.sin(), zero, tilts.sin(), tilts.cos()], -1)
    camera_from_world = tilt.reshape(8, 3, 3) @ turn.reshape(8, 3, 3)

    def project(centre, radius, vertices, factor=1):
        points = (vertices * radius + centre) @ camera_from_world.mT + torch.tensor([0, 0, away_m], device=device)
        middle = torch.tensor([size[1] / 2, size[0] / 2], device=device)
        pixels = points[..., :2] / points[..., 2:] * focal_px + middle
        return torch.cat([pixels * factor, points[..., 2:]], -1).float()

    true_centre = torch.tensor([0.021, -0.013, 0.008], dtype=torch.float64, device=device)
    true_radius = torch.tensor(0.11, dtype=torch.float64, device=device)
    fine = trimesh.creation.icosphere(6, radius=1.0)
    screen = project(true_centre, true_radius, torch.tensor(fine.vertices, device=device), 8)
    dense = rasterize(screen, torch.tensor(fine.faces, device=device), (size[0] * 8, size[1] * 8)).mask.float()
    target = dense.reshape(8, size[0], 8, size[1], 8).mean((2, 4))

    found = torch.tensor([-0.02, 0.02, -0.03, math.log(0.075)], dtype=torch.float64, device=device, requires_grad=True)
    descent = torch.optim.LBFGS([found], max_iter=30, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def misfit():
        descent.zero_grad()
        loss = (mask_of(project(found[:3], found[3].exp(), unit), faces, size) - target).square().sum()
        loss.backward()
        return loss

    descent.step(misfit)
    pixels_per_metre = focal_px / away_m
    assert float((found[:3] - true_centre).norm()) * pixels_per_metre < 0.1
    assert float((found[3].exp() - true_radius).abs()) * pixels_per_metre < 0.1


def test_refuses_what_does_not_belong_together():
    scene = icosphere(1)
    fragments = rasterize(scene.vertices_screen, scene.faces, scene.size_hw)
    image = torch.rand(*scene.size_hw, 3)
    with pytest.raises(ValueError, match="float32"):
        antialias(image, fragments, scene.vertices_screen, scene.faces)
    with pytest.raises(ValueError, match="the image is"):
        antialias(image.double().transpose(0, 1), fragments, scene.vertices_screen, scene.faces)
    with pytest.raises(ValueError, match="that were rasterized"):
        antialias(image.double(), fragments, scene.vertices_screen, scene.faces[:7])
    with pytest.raises(ValueError, match="one device"):
        antialias(image.double(), fragments, scene.vertices_screen, scene.faces.to("meta"))


def test_nothing_to_smooth(device):
    vertices = torch.rand(4, 3, device=device).requires_grad_()
    faces = torch.zeros(0, 3, dtype=torch.int64, device=device)
    image = torch.rand(1, 1, 3, device=device).requires_grad_()
    smooth = antialias(image, rasterize(vertices, faces, (1, 1)), vertices, faces)
    assert torch.equal(smooth, image)
    smooth.sum().backward()
