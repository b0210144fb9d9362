"""Cosines of incidence against the sphere's own."""

import numpy as np

from recon.depth.incidence import incidence_cosine
from tests.recon.analytic_scene import CENTRE, LENS, RADIUS_M, depth_camera, sphere_depth


def test_cosine_of_a_sphere() -> None:
    camera = depth_camera("d", 30.0, 0.6, LENS)
    depth = sphere_depth(camera)
    points, seen = camera.unproject_depth(depth)
    normals = (points - CENTRE) / RADIUS_M
    towards = camera.centre_world - points
    true = (normals * towards).sum(2) / np.maximum(np.linalg.norm(towards, axis=2), 1e-9)
    error = np.abs(incidence_cosine(depth, camera) - true)[seen & (true > 0.3)]
    assert np.median(error) < 0.01 and np.percentile(error, 99) < 0.05
    assert (incidence_cosine(depth, camera)[~seen] == 0).all()


def test_a_wall_square_to_the_camera() -> None:
    camera = depth_camera("d", 30.0, 0.6)
    grid = camera.pixel_grid_normalised()
    cosine = incidence_cosine(np.full(camera.image_size_hw, 0.8, np.float32), camera)
    assert np.allclose(cosine[5:-5, 5:-5], (1 / np.sqrt(1 + (grid**2).sum(2)))[5:-5, 5:-5], atol=1e-4)
