"""Colours come from the views that see a vertex, and from no other."""

import numpy as np
import pytest
import trimesh

from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.meshes import Mesh
from geometry.transforms import look_at
from recon.colouring import GREY, colour_mesh

RED, BLUE, GREEN = (200, 40, 30), (20, 60, 210), (10, 220, 90)
SIZE_HW = (200, 240)


def _camera(name: str, eye: tuple[float, float, float], target: tuple[float, float, float] = (0, 0, 0)) -> Camera:
    K = np.array([[300.0, 0, 120], [0, 300.0, 100], [0, 0, 1]])
    here = look_at(np.array(eye, float), np.array(target, float), np.array([0.0, 1.0, 0.0]))
    return Camera(name, name, "rgb", SIZE_HW, K, np.array([0.05, -0.02, 0, 0, 0]), here)


def _sphere(radius: float = 0.1, centre: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    sphere = trimesh.creation.icosphere(4, radius)
    return Mesh(np.asarray(sphere.vertices) + centre, np.asarray(sphere.faces))


def _picture(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((*SIZE_HW, 3), colour, np.uint8)


def test_each_side_takes_the_colour_of_the_camera_that_sees_it() -> None:
    mesh = _sphere()
    views = [(_camera("front", (0, 0, 0.6)), _picture(RED)), (_camera("back", (0, 0, -0.6)), _picture(BLUE))]
    coloured = colour_mesh(mesh, views)
    assert coloured.colours is not None
    assert (coloured.colours[mesh.vertices[:, 2] > 0.04] == RED).all()
    assert (coloured.colours[mesh.vertices[:, 2] < -0.04] == BLUE).all()


def test_what_is_hidden_takes_no_colour_from_what_hides_it() -> None:
    near, far = _sphere(0.05, (0, 0, 0.2)), _sphere(0.1)
    mesh = Mesh(
        np.concatenate([far.vertices, near.vertices]), np.concatenate([far.faces, near.faces + len(far.vertices)])
    )
    front, side = _camera("front", (0, 0, 0.7)), _camera("side", (0.6, 0, 0.25))
    # The front picture is green all over; only what it really sees may be green.
    coloured = colour_mesh(mesh, [(front, _picture(GREEN)), (side, _picture(RED))]).colours
    assert coloured is not None
    hidden = (np.linalg.norm(far.vertices[:, :2], axis=1) < 0.03) & (far.vertices[:, 2] > 0)
    assert hidden.any()
    assert (np.abs(coloured[: len(far.vertices)][hidden].astype(int) - GREEN).max(1) > 30).all()
    front_of_near = near.vertices[:, 2] > 0.245
    assert (np.abs(coloured[len(far.vertices) :][front_of_near].astype(int) - GREEN).max(1) < 60).all()


def test_colour_is_sampled_where_the_vertex_projects() -> None:
    camera = _camera("front", (0, 0, 0.6))
    columns, rows = np.meshgrid(np.arange(240) + 0.5, np.arange(200) + 0.5)
    picture = np.stack([columns, rows, np.zeros_like(rows)], 2).astype(np.uint8)
    mesh = _sphere()
    coloured = colour_mesh(mesh, [(camera, picture)]).colours
    assert coloured is not None
    seen = mesh.vertices[:, 2] > 0.05
    pixels, _ = camera.project(mesh.vertices[seen])
    # uint8 cut the half off the ramp: a pixel centred at x holds x - 0.5.
    assert np.abs(coloured[seen, :2] - (pixels - 0.5)).max() <= 0.51


def test_unseen_vertices_take_their_neighbours_colour_and_lonely_parts_are_grey() -> None:
    seen, lonely = _sphere(), _sphere(0.05, (0, 0, -3.0))
    mesh = Mesh(
        np.concatenate([seen.vertices, lonely.vertices]),
        np.concatenate([seen.faces, lonely.faces + len(seen.vertices)]),
    )
    coloured = colour_mesh(mesh, [(_camera("front", (0, 0, 0.6)), _picture(RED))]).colours
    assert coloured is not None
    assert (coloured[: len(seen.vertices)] == RED).all()
    assert (coloured[len(seen.vertices) :] == GREY).all()


def test_without_pictures_all_is_grey() -> None:
    coloured = colour_mesh(_sphere(), []).colours
    assert coloured is not None and (coloured == GREY).all()


def test_a_picture_of_another_size_is_an_error() -> None:
    with pytest.raises(InputError, match=r"200 x 240 pixels from front.*100 x 100"):
        colour_mesh(_sphere(), [(_camera("front", (0, 0, 0.6)), np.zeros((100, 100, 3), np.uint8))])
