"""Projection and its inverse under every lens model, against OpenCV."""

from typing import Any

import cv2
import numpy as np
import pytest

from geometry.cameras import Camera, distort
from geometry.errors import InputError
from geometry.meshes import vertex_areas, vertex_normals
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, look_at

LENSES = {
    0: np.zeros(0),
    5: np.array([0.08, -0.12, 4e-4, -3e-4, 0.03]),
    8: np.array([0.12, -0.06, 2e-4, -1e-4, 0.01, 0.10, -0.05, 0.008]),
    14: np.array([0.12, -0.06, 2e-4, -1e-4, 0.01, 0.1, -0.05, 0.008, 1e-3, 2e-3, -1e-3, 1e-3, 0.01, -0.02]),
}


def camera(distortion: np.ndarray, **changes) -> Camera:
    K = np.array([[600.0, 0, 321.7], [0, 610.0, 238.2], [0, 0, 1]])
    here = look_at(np.array([0.3, 0.2, 1.0]), np.zeros(3), np.array([0.0, 1.0, 0.0]))
    given: dict[str, Any] = {
        "id": "a",
        "module": "m",
        "kind": "rgb",
        "image_size_hw": (480, 640),
        "K": K,
        "distortion": distortion,
    }
    given |= {"world_from_camera": here} | changes
    return Camera(**given)


@pytest.mark.parametrize("count", LENSES)
def test_pixels_come_back_to_the_rays_they_came_from(count):
    lens = camera(LENSES[count])
    normalised = np.random.default_rng(0).uniform(-0.35, 0.35, (200, 2))
    pixels = lens.normalised_to_pixels(distort(normalised, lens.distortion))
    np.testing.assert_allclose(lens.pixels_to_normalised(pixels), normalised, atol=1e-7)


@pytest.mark.parametrize("count", LENSES)
def test_projection_is_opencvs_half_a_pixel_over(count):
    lens = camera(LENSES[count])
    points = np.random.default_rng(1).uniform(-0.2, 0.2, (50, 3))
    camera_from_world = lens.world_from_camera.inverse()
    rotvec = cv2.Rodrigues(camera_from_world.rotation)[0]
    expected, _ = cv2.projectPoints(points, rotvec, camera_from_world.translation, lens.opencv_K(), lens.distortion)
    pixels, depth = lens.project(points)
    np.testing.assert_allclose(pixels, expected.reshape(-1, 2) + 0.5, atol=1e-9)
    assert (depth > 0).all()


def test_unprojected_depth_projects_back_onto_its_pixel_centres():
    lens = camera(LENSES[8], kind="depth", depth_unit_m=0.001)
    depth = np.random.default_rng(2).uniform(0.5, 0.9, (480, 640))
    points, measured = lens.unproject_depth(depth)
    assert measured.all()
    pixels, z = lens.project(points[::40, ::40].reshape(-1, 3))
    rows, columns = np.meshgrid(np.arange(0, 480, 40), np.arange(0, 640, 40), indexing="ij")
    np.testing.assert_allclose(pixels, np.stack([columns.ravel(), rows.ravel()], 1) + 0.5, atol=1e-5)
    np.testing.assert_allclose(z, depth[::40, ::40].ravel(), atol=1e-9)


def test_what_cannot_be_a_camera_is_refused():
    with pytest.raises(ValueError, match="distortion"):
        camera(np.zeros(7))
    with pytest.raises(ValueError, match="unit"):
        camera(np.zeros(0), kind="depth")
    with pytest.raises(ValueError, match="focal"):
        camera(np.zeros(0), K=np.diag([-1.0, 1, 1]))


def test_a_rig_names_its_cameras_once():
    one = camera(np.zeros(0))
    with pytest.raises(InputError, match="more than once"):
        Rig((one, one))
    with pytest.raises(InputError, match="'b'"):
        Rig((one,))["b"]
    assert Rig((one,)).index("a") == 0
    assert one.world_from_camera.inverse().compose(one.world_from_camera).matrix == pytest.approx(
        RigidTransform.identity().matrix
    )


def test_a_box_has_outward_normals_and_its_area():
    import trimesh

    box = trimesh.creation.box((1, 2, 3))
    vertices, faces = np.asarray(box.vertices), np.asarray(box.faces)
    assert ((vertex_normals(vertices, faces) * vertices).sum(1) > 0).all()
    assert vertex_areas(vertices, faces).sum() == pytest.approx(box.area)
