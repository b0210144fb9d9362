"""Visibility and ray queries against pictures, and against one another."""

import numpy as np
import open3d as o3d
import pytest
import torch
import trimesh

from rendering.rasterize import rasterize
from rendering.visibility import faces_seen, points_seen, ray_mesh, surface_at
from tests.rendering.scenes import icosphere, two_balls

FOCAL_PX, SIZE = 3.2 * 32, (32, 36)


def camera_points(scene):
    """The scene's vertices in metres: its screen points, unprojected."""
    x, y, z = scene.vertices_screen.unbind(-1)
    return torch.stack([(x - SIZE[1] / 2) / FOCAL_PX * z, (y - SIZE[0] / 2) / FOCAL_PX * z, z], -1)


def test_rays_through_pixels_meet_what_the_pixels_show(device):
    scene = two_balls(3, SIZE)
    found = rasterize(scene.vertices_screen.to(device), scene.faces.to(device), SIZE)
    rows, columns = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    ways = torch.stack([(columns - SIZE[1] / 2) / FOCAL_PX, (rows - SIZE[0] / 2) / FOCAL_PX, torch.ones(SIZE)], -1)
    ways = ways.double().to(device)
    hits = ray_mesh(torch.zeros_like(ways), ways, camera_points(scene).to(device), scene.faces.to(device))
    assert hits.mask.any() and (hits.face_index != found.face_index).double().mean() < 0.002
    same = (hits.face_index == found.face_index) & found.mask
    # A direction with z = 1 counts in metres of depth.
    torch.testing.assert_close(hits.depth[same].double(), found.depth[same], rtol=1e-5, atol=0)
    torch.testing.assert_close(hits.barycentric[same].double(), found.barycentric[same], rtol=0, atol=1e-3)


def test_rays_agree_with_another_library(device):
    ball = trimesh.creation.icosphere(2)
    random = np.random.default_rng(0)
    origins = random.normal(0, 1.2, (200, 3))
    ways = random.normal(0, 1, (200, 3))
    hits = ray_mesh(*(torch.tensor(x, device=device) for x in (origins, ways, ball.vertices, ball.faces)))
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(ball.vertices.astype(np.float32)),
        o3d.core.Tensor.from_numpy(ball.faces.astype(np.uint32)),
    )
    embree = scene.cast_rays(o3d.core.Tensor.from_numpy(np.concatenate([origins, ways], 1).astype(np.float32)))
    met = np.isfinite(embree["t_hit"].numpy())
    assert 20 < met.sum() < 200
    np.testing.assert_array_equal(hits.mask.cpu().numpy(), met)
    np.testing.assert_array_equal(hits.face_index.cpu().numpy()[met], embree["primitive_ids"].numpy()[met])
    np.testing.assert_allclose(hits.depth.cpu().numpy()[met], embree["t_hit"].numpy()[met], rtol=1e-4)
    corners = torch.tensor(ball.triangles)[hits.face_index.cpu().long().clamp(min=0)]
    carried = (corners * hits.barycentric.cpu()[..., None]).sum(1).numpy()
    reached = origins + ways * hits.depth.cpu().numpy()[:, None]
    np.testing.assert_allclose(carried[met], reached[met], atol=1e-5)


def test_surface_under_points(device):
    scene = icosphere(2, SIZE)
    found = rasterize(scene.vertices_screen.to(device), scene.faces.to(device), SIZE)
    points = torch.tensor([[18.2, 16.9], [-0.1, 3.0], [35.9, 31.9], [36.0, 3.0], [3.0, torch.nan]], device=device)
    hits = surface_at(found, points)
    assert hits.face_index.tolist() == [int(found.face_index[16, 18]), -1, int(found.face_index[31, 35]), -1, -1]
    assert hits.depth[0] == found.depth[16, 18] and not hits.depth[1]
    assert torch.equal(hits.barycentric[0], found.barycentric[16, 18])


def test_last_pixel_of_a_large_picture():
    corners = torch.tensor([[-10.0, -10, 1], [20000, -10, 1], [-10, 20000, 1]])
    found = rasterize(corners, torch.tensor([[0, 1, 2]]), (4200, 5000))
    hits = surface_at(found, torch.tensor([[4999.5, 4199.5], [4998.5, 4199.5]]))
    assert torch.equal(hits.barycentric, found.barycentric[4199, [4999, 4998]])


def test_points_that_the_camera_sees(device):
    scene = icosphere(3, (96, 96))
    vertices, faces = scene.vertices_screen.to(device), scene.faces.to(device)
    views = torch.stack([vertices, vertices + torch.tensor([1000.0, 0, 0], device=device)])
    found = rasterize(views, faces, (96, 96))
    seen = points_seen(found, views, 0.004)
    depth = vertices[:, 2]
    assert seen[0][depth < depth.quantile(0.3)].all() and not seen[0][depth > depth.quantile(0.7)].any()
    assert not seen[1].any()  # outside of the picture
    behind = vertices * torch.tensor([1, 1, -1.0], device=device)
    assert not points_seen(rasterize(vertices, faces, (96, 96)), behind, 1e9).any()


def test_faces_that_the_camera_sees(device):
    scene = two_balls(2, SIZE)
    views = torch.stack([scene.vertices_screen, scene.vertices_screen + 3]).to(device)
    found = rasterize(views, scene.faces.to(device), SIZE)
    for view in range(2):
        shown = set(torch.nonzero(faces_seen(found)[view]).flatten().tolist())
        assert shown == set(found.face_index[view].unique().tolist()) - {-1}


def test_nothing_to_meet_and_nothing_to_ask():
    rays, vertices = torch.rand(4, 3), torch.rand(3, 3)
    assert not ray_mesh(rays, rays, vertices, torch.zeros(0, 3, dtype=torch.int64)).mask.any()
    assert ray_mesh(rays[:0], rays[:0], vertices, torch.tensor([[0, 1, 2]])).face_index.shape == (0,)
    with pytest.raises(ValueError, match="one device"):
        ray_mesh(rays, rays, vertices.to("meta"), torch.tensor([[0, 1, 2]]))
    with pytest.raises(ValueError, match="0 x 4"):
        surface_at(rasterize(vertices, torch.tensor([[0, 1, 2]]), (0, 4)), rays[:, :2])
