"""Colour of surface points against a plain twin in NumPy, and what it asks vertices to do."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from rendering.colour import srgb_encode
from rendering.colours import (
    ColourModel,
    PosedSurfaces,
    SurfacePoints,
    gather_colours_at_vertices,
    look_up_colours,
)
from rendering.distances import vertex_normals
from rendering.lenses import Lenses
from rendering.shading import irradiance
from tests.rendering.test_distances import CAMERAS, SIZE_HW, bumpy, seen

MODEL = ColourModel(sigma=0.05, robust=3.0, min_cosine=0.25, hidden_m=0.004, jump_m=0.02, least_light=0.02)
PER_FACE = 2


class Scene:
    """Two dented balls before five cameras whose pictures are smooth and differ."""

    def __init__(self, device: str) -> None:
        random = np.random.default_rng(3)
        heads = [bumpy(seed) for seed in (1, 2)]
        self.faces = torch.from_numpy(heads[0][1].astype(np.int32)).to(device)
        self.vertices = torch.from_numpy(np.stack([head for head, _ in heads])).to(device)
        mesh = torch.tensor([0, 0, 0, 1, 1], device=device)
        self.cameras = [*CAMERAS[:3], *CAMERAS[2:]]
        self.lenses = Lenses.of(self.cameras, device)
        coarse = random.uniform(40, 220, (5, 12, 16, 3)).astype(np.float32)
        pictures = np.stack([cv2.resize(each, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC) for each in coarse])
        levels = torch.from_numpy(np.clip(pictures, 0, 255).astype(np.uint8)).to(device)
        counted = torch.from_numpy((random.random(len(self.faces)) < 0.97).astype(np.uint8)).to(device)
        carrying = torch.nonzero(counted).squeeze(1)[::2]
        points = len(carrying) * PER_FACE
        weights = random.dirichlet((1, 1, 1), points).astype(np.float32)
        first = torch.arange(0, points + 1, PER_FACE, dtype=torch.int32, device=device)
        self.points = SurfacePoints(self.faces[carrying].contiguous(), first, torch.from_numpy(weights).to(device))
        albedo = random.uniform(0.1, 0.7, (points, 3)).astype(np.float32)
        albedo[::7] = -1
        light = random.normal(0, 0.2, (5, 9, 3)).astype(np.float32)
        light[:, 0] += 3
        self.look = torch.from_numpy(albedo).to(device), torch.from_numpy(light).to(device)
        nothing = torch.zeros(5, 2, dtype=torch.int32, device=device)
        self.pictures = levels
        self.surfaces = PosedSurfaces(
            self.vertices,
            vertex_normals(self.vertices, self.faces),
            mesh,
            self.lenses.centres_world,
            self.lenses.project(self.vertices[mesh]),
            seen(self.vertices, self.faces, self.lenses, mesh),
            nothing,
            counted,
        )

    def gathered(self) -> torch.Tensor:
        jacobian = self.lenses.jacobian(self.vertices[self.surfaces.mesh_of_view])
        return gather_colours_at_vertices(self.points, self.look, self.surfaces, self.pictures, jacobian, MODEL)


def level(picture: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Between pixels."""
    grid = at.astype(np.float32)[None] - 0.5
    return cv2.remap(picture.astype(np.float32), grid[..., 0].copy(), grid[..., 1].copy(), cv2.INTER_LINEAR)[0] / 255


class Twin:
    """One view in NumPy: every point carried through the camera's own projection."""

    def __init__(self, scene: Scene, view: int) -> None:
        cpu = lambda tensor: tensor.cpu().numpy()  # noqa: E731
        self.camera, mesh = scene.cameras[view], int(scene.surfaces.mesh_of_view[view])
        self.vertices = cpu(scene.vertices[mesh])
        self.corners = cpu(scene.points.faces).repeat(PER_FACE, 0)
        self.weights = cpu(scene.points.barycentric).astype(np.float64)
        normal = np.einsum("pk,pkc->pc", self.weights, cpu(scene.surfaces.normals[mesh])[self.corners])
        self.normal = normal / np.linalg.norm(normal, axis=1, keepdims=True)
        self.point = np.einsum("pk,pkc->pc", self.weights, self.vertices[self.corners])
        ray = self.point - self.camera.centre_world
        self.cosine = -(ray * self.normal).sum(1) / np.linalg.norm(ray, axis=1)
        self.at, z = self.camera.project(self.point)
        index, depth = cpu(scene.surfaces.fragments.face_index[view]), cpu(scene.surfaces.fragments.depth[view])
        fits = (index >= 0) & (cpu(scene.surfaces.counted)[index] > 0)
        clear = cv2.erode(fits.astype(np.uint8), np.ones((5, 5)), borderValue=0) > 0
        jump = cv2.dilate(depth, np.ones((3, 3))) - cv2.erode(depth, np.ones((3, 3)))
        row, column = np.clip(np.floor(self.at[:, ::-1]).astype(int), 0, np.array(SIZE_HW) - 1).T
        use = clear & (jump < MODEL.jump_m)
        self.shown = use[row, column] & (np.abs(depth[row, column] - z) < MODEL.hidden_m)
        self.shown &= self.cosine > MODEL.min_cosine
        self.picture = cpu(scene.pictures[view])


@pytest.mark.parametrize("view", range(5))
def test_looks_up_what_the_plain_twin_does(device, view):
    scene = Scene(device)
    found, twin = look_up_colours(scene.points, scene.surfaces, scene.pictures, MODEL), Twin(scene, view)
    cosine = found.cosines[view].cpu().numpy()
    assert twin.shown.sum() > 100 and ((cosine > 0) != twin.shown).mean() < 1e-3, "but for points on a border"
    both = (cosine > 0) & twin.shown
    np.testing.assert_allclose(cosine[both], twin.cosine[both], atol=1e-5)
    np.testing.assert_allclose(found.normals[view].cpu().numpy()[both], twin.normal[both], atol=1e-5)
    np.testing.assert_allclose(found.levels[view].cpu().numpy()[both], level(twin.picture, twin.at)[both], atol=2e-3)
    assert not found.levels[view].cpu().numpy()[cosine == 0].any()


@pytest.mark.parametrize("view", range(5))
def test_gathers_what_the_plain_twin_does(device, view):
    """Gradients through the camera's own projection, by differences."""
    scene = Scene(device)
    found, twin = scene.gathered()[view].cpu().numpy(), Twin(scene, view)
    albedo, light = scene.look[0].cpu().numpy(), scene.look[1][view].cpu().numpy()
    use = np.flatnonzero(twin.shown & (albedo[:, 0] >= 0))
    received = np.maximum(irradiance(light.astype(np.float64), twin.normal[use]), MODEL.least_light)
    expected = srgb_encode(np.clip(albedo[use] * received, 0, 1))
    at = twin.at[use]
    slopes = [(level(twin.picture, at + step) - level(twin.picture, at - step)) / 2 for step in np.eye(2)]
    h = 1e-6
    moved = [
        (twin.camera.project(twin.point[use] + h * axis)[0] - twin.camera.project(twin.point[use] - h * axis)[0])
        / 2
        / h
        for axis in np.eye(3)
    ]
    pixels = twin.camera.project(twin.vertices)[0][twin.corners[use]]
    sides = pixels[:, 1:] - pixels[:, :1]
    area = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]) / 2
    sums = np.zeros_like(found)
    for channel in range(3):
        scaled = (level(twin.picture, at)[:, channel] - expected[:, channel]) / MODEL.sigma
        weight = np.minimum(area / PER_FACE, 4) * twin.cosine[use] / 3 / (1 + (scaled / MODEL.robust) ** 2) ** 2
        g = np.stack([sum(slopes[k][:, channel] * move[:, k] for k in range(2)) for move in moved], 1) / MODEL.sigma
        told = np.stack([g[:, i] * g[:, j] for i in range(3) for j in range(i, 3)] + list(-(g * scaled[:, None]).T), 1)
        for k in range(3):
            np.add.at(sums, twin.corners[use, k], (weight * twin.weights[use, k])[:, None] * told)
    size = np.abs(sums).max(0)
    assert (size > 0).all()
    # Points are carried linearly between a triangle's corners here, and a few lie on a border.
    wrong = np.abs(found - sums).sum(0) / np.abs(sums).sum(0)
    assert (wrong < 0.02).all(), wrong


def test_repeats_to_the_last_bit_on_any_number_of_threads(device):
    scene, threads = Scene(device), torch.get_num_threads()
    first = scene.gathered()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert torch.equal(scene.gathered(), first)
    finally:
        torch.set_num_threads(threads)


def test_points_of_unknown_albedo_and_pictures_beside_the_head_say_nothing(device):
    scene = Scene(device)
    scene.look = torch.full_like(scene.look[0], -1), scene.look[1]
    assert not scene.gathered().any()
    scene = Scene(device)
    scene.surfaces = replace(scene.surfaces, screen=scene.surfaces.screen + torch.tensor([1e3, 0, 0]).to(device))
    assert not scene.gathered().any()


def test_lenses_move_pixels_as_differences_of_their_projection_say(device):
    lenses = Lenses.of(CAMERAS, device)
    points = torch.from_numpy(np.random.default_rng(0).normal(0, 0.08, (4, 50, 3))).to(device)
    jacobian, h = lenses.jacobian(points), 1e-6
    for axis, step in enumerate(torch.eye(3).to(points) * h):
        moved = (lenses.project(points + step) - lenses.project(points - step))[..., :2] / (2 * h)
        torch.testing.assert_close(jacobian[..., axis], moved, rtol=1e-6, atol=1e-5)
