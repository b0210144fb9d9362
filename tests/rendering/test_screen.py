"""A window shows just what the whole picture shows there."""

import numpy as np
import trimesh

from geometry.cameras import Camera
from geometry.transforms import look_at
from rendering.arrays import rasterize_arrays
from rendering.screen import screen_window


def test_a_window_is_a_cut_of_the_picture():
    ball = trimesh.creation.icosphere(3, 0.05)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.faces)
    K = np.array([[300.0, 0, 90], [0, 300, 70], [0, 0, 1]])
    here = look_at(np.array([0.1, 0.0, 0.5]), np.array([0.03, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    camera = Camera("c", "m", "rgb", (120, 160), K, np.zeros(0), here)
    pixels, depth = camera.project(vertices)
    whole = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), faces, (120, 160))
    window = screen_window(camera, vertices, 3)
    assert window is not None and window.height * window.width < 120 * 160
    cut = rasterize_arrays(window.vertices_screen, faces, (window.height, window.width))
    assert (cut.face_index == whole.face_index[window.place]).mean() > 0.999  # single precision moves an edge pixel
    outside = whole.mask.copy()
    outside[window.place] = False
    assert not outside.any()


def test_nothing_to_see_is_no_window():
    behind = look_at(np.array([0.0, 0.0, 0.5]), np.array([0.0, 0.0, 2.0]), np.array([0.0, 1.0, 0.0]))
    camera = Camera("c", "m", "rgb", (100, 100), np.diag([100.0, 100, 1]), np.zeros(0), behind)
    assert screen_window(camera, np.array([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]), 2) is None
