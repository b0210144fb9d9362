"""The part of a picture that shows a face, with a camera of its own."""

import numpy as np
import pytest

from flame_fitting.evidence import LARGE_PX, ColourImage, ViewLandmarks
from tests.flame_fitting.exact_heads import COLOUR, FACE_WORLD, scaled_camera


@pytest.mark.parametrize(("factor", "extent"), [(4, 300), (10, 900), (16, 1700)])
@pytest.mark.parametrize("by", COLOUR)
def test_the_crops_camera_sees_points_where_the_crop_shows_them(by, factor, extent):
    camera = scaled_camera(by, factor)
    rows, columns = camera.image_size_hw
    points = np.random.default_rng(0).uniform(0, 1, (478, 2)) * extent + np.array([columns, rows]) / 2 - extent / 2
    # A picture whose counts tell their own column and row, coarsely.
    x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    picture = np.stack([x / columns * 255, y / rows * 255, 0 * x], 2).astype(np.uint8)
    crop = ColourImage.about(ViewLandmarks(camera, points, np.ones(478)), picture)
    assert crop is not None and crop.levels.shape[:2] == crop.camera.image_size_hw
    assert max(crop.levels.shape[:2]) <= 2 * LARGE_PX
    world = FACE_WORLD + np.random.default_rng(1).normal(0, 0.02, (200, 3))
    (whole, _), (part, _) = camera.project(world), crop.camera.project(world)
    inside = ((part > 1) & (part < np.array(crop.levels.shape[1::-1]) - 1)).all(1)
    assert inside.sum() > 20
    column, row = np.floor(part[inside]).astype(int).T
    shown = crop.levels[row, column, :2] / 255 * np.array([columns, rows])
    step = np.array([columns, rows]) / 255
    assert (np.abs(shown + step / 2 - whole[inside]) < step + 3 * extent / LARGE_PX).all()


def test_landmarks_beside_the_picture_make_no_crop():
    points = np.full((478, 2), 1e4) + np.random.default_rng(0).uniform(0, 50, (478, 2))
    picture = np.zeros((*COLOUR[0].image_size_hw, 3), np.uint8)
    assert ColourImage.about(ViewLandmarks(COLOUR[0], points, np.ones(478)), picture) is None
