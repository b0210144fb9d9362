"""Distances of depth to surfaces, against a plain twin that undistorts every pixel; and normals against geometry's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from geometry.cameras import Camera
from geometry.meshes import vertex_normals as plain_normals
from geometry.transforms import look_at
from rendering.distances import DepthPictures, DistanceModel, gather_distances_at_vertices, vertex_normals
from rendering.fragments import Fragments
from rendering.lenses import Lenses
from rendering.rasterize import rasterize

LENSES = (
    np.zeros(0),
    np.array([0.05, -0.02, 1e-3, -1e-3, 0.01]),
    np.array([0.3, 0.1, -1e-3, 1e-3, 0.0, 0.28, 0.1, 0.0]),
    np.array([0.1, -0.08, 2e-3, -1e-3, 0.02, 0.05, -0.02, 0.01, 1e-3, -1e-3, 5e-4, 1e-3, 0.01, -0.02]),
)
MODEL = DistanceModel(0.015, 0.003, 0.25, 2e-3, 15.0, 3.0)
SIZE_HW = (96, 128)


def camera(number: int) -> Camera:
    """One of four about the origin, each with another lens."""
    K = np.array([[190.0, 0, 66.0], [0, 193.0, 47.0], [0, 0, 1]])
    angle = 0.7 * number
    eye = np.array([0.5 * np.sin(angle), 0.1 * number - 0.1, 0.5 * np.cos(angle)])
    pose = look_at(eye, np.zeros(3), np.array([0.0, 1.0, 0.0]))
    return Camera(f"c{number}", "m", "depth", SIZE_HW, K, LENSES[number], pose, depth_unit_m=1e-3)


CAMERAS = tuple(camera(number) for number in range(4))


def bumpy(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A ball with dents."""
    ball = trimesh.creation.icosphere(4, 0.09)
    vertices = np.asarray(ball.vertices)
    bumps = 1 + 0.03 * np.sin(vertices @ np.random.default_rng(seed).normal(0, 40, (3, 2))).sum(1)
    return vertices * bumps[:, None], np.asarray(ball.faces)


def seen(vertices: torch.Tensor, faces: torch.Tensor, lenses: Lenses, mesh: torch.Tensor) -> Fragments:
    return rasterize(lenses.project(vertices[mesh]).float(), faces, SIZE_HW)


class Scene:
    """Two balls, the first before three cameras and the second before two, and noisy depth of balls beside them."""

    def __init__(self, device: str) -> None:
        random = np.random.default_rng(5)
        heads = [bumpy(seed) for seed in (1, 2)]
        self.faces = torch.from_numpy(heads[0][1].astype(np.int32)).to(device)
        self.vertices = torch.from_numpy(np.stack([head for head, _ in heads])).to(device)
        self.mesh = torch.tensor([0, 0, 0, 1, 1], device=device)
        self.cameras = [*CAMERAS[:3], *CAMERAS[2:]]
        self.lenses = Lenses.of(self.cameras, device)
        true = seen(self.vertices * 1.01, self.faces, self.lenses, self.mesh).depth.cpu().numpy()
        noise = random.normal(0, 0.004, true.shape) * (random.random(true.shape) < 0.5)
        hole = random.random(true.shape) < 0.1
        depth = np.where((true > 0) & ~hole, true + noise, 0).astype(np.float32)
        self.pictures = DepthPictures(torch.from_numpy(depth).to(device), self.mesh, self.lenses.centres_world)
        self.counted = torch.from_numpy((random.random(len(self.faces)) < 0.9).astype(np.uint8)).to(device)
        self.fragments = seen(self.vertices, self.faces, self.lenses, self.mesh)

    def gathered(self) -> torch.Tensor:
        solid = self.vertices, vertex_normals(self.vertices, self.faces)
        origins = torch.zeros(len(self.mesh), 2, dtype=torch.int32, device=self.faces.device)
        shown = self.fragments, origins
        return gather_distances_at_vertices(self.pictures, shown, solid, self.faces, self.counted, MODEL)


def twin(scene: Scene, view: int) -> np.ndarray:
    """Weights and weighted distances of one picture in NumPy, with every pixel's own undistorted ray."""
    by, faces = scene.cameras[view], scene.faces.cpu().numpy()
    vertices = scene.vertices[int(scene.mesh[view])].cpu().numpy()
    index = scene.fragments.face_index[view].cpu().numpy()
    shown, weights = scene.fragments.depth[view].cpu().numpy(), scene.fragments.barycentric[view].cpu().numpy()
    observed = scene.pictures.measured[view].cpu().numpy()
    reach = np.hypot(MODEL.reach_m, MODEL.reach_sigmas * MODEL.sigma_per_m * observed.astype(float) ** 2)
    use = (index >= 0) & (observed > 0) & (np.abs(observed.astype(float) - shown) < reach)
    use &= scene.counted.cpu().numpy()[index] > 0
    corners, share, z = faces[index[use]], weights[use].astype(np.float64), observed[use].astype(np.float64)
    normal = np.einsum("pk,pkc->pc", share, plain_normals(vertices, faces)[corners])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    ray = np.concatenate([by.pixel_grid_normalised()[use], np.ones((len(z), 1))], 1)
    along = np.einsum("pc,pc->p", normal, by.world_from_camera.rotate(ray))
    cosine, distance = -along / np.linalg.norm(ray, axis=1), along * (z - shown[use])
    sigma = MODEL.sigma_per_m * z**2 * cosine
    robust = np.hypot(MODEL.robust_m, MODEL.robust_sigmas * sigma)
    weight = np.where(cosine > MODEL.min_cosine, 1 / (1 + (distance / robust) ** 2) ** 2 / sigma**2, 0)
    sums = np.zeros((len(vertices), 2))
    for k in range(3):
        for column, each in enumerate((weight, weight * distance)):
            sums[:, column] += np.bincount(corners[:, k], share[:, k] * each, len(vertices))
    return sums


def test_gathers_what_the_plain_twin_does(device):
    scene = Scene(device)
    found = scene.gathered().cpu().numpy()
    assert found.shape == (5, scene.vertices.shape[1], 2)
    for view in range(len(found)):
        want = twin(scene, view)
        for column in range(2):
            size = np.abs(want[:, column]).max()
            assert size > 0
            np.testing.assert_allclose(found[view, :, column], want[:, column], rtol=0, atol=2e-4 * size)


def test_repeats_to_the_last_bit_on_any_number_of_threads(device):
    scene, threads = Scene(device), torch.get_num_threads()
    first = scene.gathered()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert torch.equal(scene.gathered(), first)
    finally:
        torch.set_num_threads(threads)


def test_a_view_comes_out_the_same_whatever_stands_beside_it(device):
    scene = Scene(device)
    whole, few = scene.gathered(), Scene(device)
    few.mesh, few.lenses = scene.mesh[3:], Lenses.of(scene.cameras[3:], device)
    few.pictures = DepthPictures(scene.pictures.measured[3:], few.mesh, few.lenses.centres_world)
    few.fragments = seen(scene.vertices, scene.faces, few.lenses, few.mesh)
    assert torch.equal(few.gathered(), whole[3:])


def test_a_window_is_a_part_of_the_picture(device):
    """What a rasterizer draws in a window counts where the window lies, and nothing beyond the picture's border."""
    scene = Scene(device)
    whole = scene.gathered()
    screen = scene.lenses.project(scene.vertices[scene.mesh])
    solid = scene.vertices, vertex_normals(scene.vertices, scene.faces)
    origin = torch.tensor([[5, 9]], dtype=torch.int32, device=device).expand(len(scene.mesh), -1)
    shift = torch.tensor([9.0, 5.0, 0.0], dtype=torch.float64, device=device)
    fragments = rasterize((screen - shift).float(), scene.faces, SIZE_HW)
    part = gather_distances_at_vertices(scene.pictures, (fragments, origin), solid, scene.faces, scene.counted, MODEL)
    torch.testing.assert_close(part, whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))


def test_no_picture_and_no_depth_weigh_nothing(device):
    scene = Scene(device)
    scene.pictures = replace(scene.pictures, measured=torch.zeros_like(scene.pictures.measured))
    assert not scene.gathered().any()
    scene.pictures = DepthPictures(scene.pictures.measured[:0], scene.mesh[:0], scene.lenses.centres_world[:0])
    scene.fragments = rasterize(scene.vertices[:0].float(), scene.faces, SIZE_HW)
    scene.mesh = scene.mesh[:0]
    assert scene.gathered().shape == (0, scene.vertices.shape[1], 2)


def test_normals_are_geometrys(device):
    scene = Scene(device)
    found = vertex_normals(scene.vertices, scene.faces).cpu().numpy()
    for mesh, vertices in enumerate(scene.vertices.cpu().numpy()):
        np.testing.assert_allclose(found[mesh], plain_normals(vertices, scene.faces.cpu().numpy()), atol=1e-12)
    lonely = torch.cat([scene.vertices, torch.ones_like(scene.vertices[:, :1])], 1)
    assert not vertex_normals(lonely, scene.faces)[:, -1].any(), "a vertex without triangles has none"


@pytest.mark.parametrize("lens", range(len(LENSES)))
def test_lenses_project_as_cameras_do(lens, device):
    by = replace(CAMERAS[1], distortion=LENSES[lens])
    points = np.random.default_rng(0).uniform(-0.15, 0.15, (200, 3))
    pixels, depth = by.project(points)
    lenses = Lenses.of([CAMERAS[0], by], device)
    found = lenses.project(torch.from_numpy(points).to(device).expand(2, -1, -1))[1].cpu().numpy()
    np.testing.assert_allclose(found[:, :2], pixels, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[:, 2], depth, rtol=0, atol=1e-12)
    np.testing.assert_allclose(lenses.centres_world[1].cpu(), by.centre_world, atol=1e-12)
