"""The twin's visibility by hand, by ray casting in space, and by laws."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from rendering.reference.rasterize import NEAR_M, rasterize
from tests.rendering.scenes import (
    POINTS_THROUGH_NEAR_PLANE_M,
    Scene,
    icosphere,
    random_triangles,
    rectangle,
    through_near_plane,
)

TRIANGLE = torch.tensor([[0.0, 0, 1], [0, 4, 1], [4, 0, 2]]).double()
ONE_FACE = torch.tensor([[0, 1, 2]])


def draw(scene: Scene, **options):
    return rasterize(scene.vertices_screen, scene.faces, scene.size_hw, **options)


def cast_rays(points_camera, faces, focal_px: float, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Index and depth of the nearest triangle along the ray of each pixel, in space."""
    rows, columns = size_hw
    index, depth = np.full(size_hw, -1), np.full(size_hw, np.inf)
    for row in range(rows):
        for column in range(columns):
            ray = np.array([(column + 0.5 - columns / 2) / focal_px, (row + 0.5 - rows / 2) / focal_px, 1.0])
            for number, (a, b, c) in enumerate(points_camera[faces]):
                normal = np.cross(b - a, c - a)
                if abs(normal @ ray) < 1e-12:
                    continue
                z = normal @ a / (normal @ ray)
                inside = [np.cross(q - p, z * ray - p) @ normal >= 0 for p, q in ((a, b), (b, c), (c, a))]
                if all(inside) and NEAR_M <= z < depth[row, column]:
                    index[row, column], depth[row, column] = number, z
    return index, np.where(index >= 0, depth, 0)


def test_a_triangle_by_hand():
    fragments = rasterize(TRIANGLE, ONE_FACE, (5, 6))
    assert fragments.mask.int().tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    # At (2.5, 0.5) the weights on the screen are 1/4, 1/8, 5/8; divided by depth 1/4, 1/8, 5/16, their sum is 11/16.
    torch.testing.assert_close(fragments.barycentric[0, 2], torch.tensor([4, 2, 5]).double() / 11)
    assert fragments.depth[0, 2].item() == pytest.approx(16 / 11)
    assert fragments.boxes.tolist() == [[0, 0, 4, 4]]
    assert fragments.depth[~fragments.mask].eq(0).all() and fragments.barycentric[~fragments.mask].eq(0).all()


def test_clips_at_the_near_plane_as_rays_in_space_do():
    scene = through_near_plane()
    fragments = draw(scene)
    index, depth = cast_rays(POINTS_THROUGH_NEAR_PLANE_M.numpy(), scene.faces.numpy(), 21.3, scene.size_hw)
    assert set(np.unique(index)) == {-1, 0, 1, 2, 3}
    np.testing.assert_array_equal(fragments.face_index, index)
    np.testing.assert_allclose(fragments.depth, depth, rtol=1e-9)


@pytest.mark.parametrize("scene", [random_triangles(1), random_triangles(2), icosphere(), through_near_plane()])
def test_depth_and_pixels_follow_from_the_weights(scene):
    fragments = draw(scene)
    drawn = fragments.barycentric[fragments.mask]
    corners = scene.vertices_screen[scene.faces[fragments.face_index[fragments.mask].long()]]
    space = (drawn[..., None] * torch.cat([corners[..., :2] * corners[..., 2:], corners[..., 2:]], -1)).sum(1)
    rows, columns = fragments.mask.nonzero(as_tuple=True)
    torch.testing.assert_close(space[:, :2] / space[:, 2:], torch.stack([columns, rows], 1) + 0.5, check_dtype=False)
    torch.testing.assert_close(space[:, 2], fragments.depth[fragments.mask])
    assert (drawn >= 0).all() and (fragments.depth[fragments.mask] >= NEAR_M).all()


def test_nothing_nearer_than_the_near_plane():
    for z, drawn in ((NEAR_M * 0.99, False), (NEAR_M * 1.01, True), (-1.0, False)):
        triangle = torch.cat([TRIANGLE[:, :2], torch.full((3, 1), z, dtype=torch.float64)], 1)
        fragments = rasterize(triangle, ONE_FACE, (5, 6))
        assert fragments.mask.any() == fragments.boxes.any() == drawn


def test_the_lower_index_wins_where_single_precision_sees_one_depth():
    farther_by_double = TRIANGLE + torch.tensor([0, 0, 1e-9])
    farther_by_single = TRIANGLE + torch.tensor([0, 0, 1e-6])
    two_faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    for first, second, winner in (
        (TRIANGLE, TRIANGLE, 0),
        (farther_by_double, TRIANGLE, 0),
        (farther_by_single, TRIANGLE, 1),
    ):
        fragments = rasterize(torch.cat([first, second]), two_faces, (5, 6))
        assert (fragments.face_index[fragments.mask] == winner).all()


def test_culling_leaves_front_faces_alone():
    ball = icosphere()
    both, front = draw(ball), draw(ball, cull_backfaces=True)
    torch.testing.assert_close(both.face_index, front.face_index)  # a closed ball hides its back faces
    inside_out = Scene(ball.vertices_screen, ball.faces.flip(1), ball.size_hw)
    assert (draw(inside_out, cull_backfaces=True).depth[both.mask] > both.depth[both.mask]).all()
    clockwise = ONE_FACE.flip(1)
    assert rasterize(TRIANGLE, ONE_FACE, (5, 6), cull_backfaces=True).mask.any()
    culled = rasterize(TRIANGLE, clockwise, (5, 6), cull_backfaces=True)
    assert not culled.mask.any() and not culled.boxes.any()


def test_triangles_that_cover_nothing():
    no_area = torch.tensor([[1.0, 1, 1], [3, 3, 1], [2, 2, 1]])
    for broken in (float("nan"), float("inf")):
        fragments = rasterize(torch.cat([TRIANGLE[:2], torch.full((1, 3), broken)]), ONE_FACE, (5, 6))
        assert not fragments.mask.any() and not fragments.boxes.any()
    assert not rasterize(no_area, ONE_FACE, (5, 6)).mask.any()


def test_no_pixel_on_an_edge_falls_between_its_triangles():
    """Corners such that the diagonals of all cells pass through pixel centres, as far as rounding allows."""
    for scene in (rectangle((-5.0, -5.0), (20.0, 20.0), 9), rectangle((-0.1, -0.3), (13.9, 13.7), 7)):
        bent = scene.vertices_screen * torch.tensor([1, 1, 0.7]) + scene.vertices_screen[:, :1] * torch.tensor(
            [0, 0, 0.1]
        )
        assert draw(Scene(bent, scene.faces, (12, 13))).mask.all()


@pytest.mark.parametrize("scene", [random_triangles(3, 6), through_near_plane()])
def test_boxes_hold_each_triangle(scene):
    rows, columns = scene.size_hw
    boxes = draw(scene).boxes.long()
    for face, box in zip(scene.faces, boxes, strict=True):
        covered = rasterize(scene.vertices_screen, face[None], scene.size_hw).mask
        outside = covered.clone()
        outside[box[0] : box[2], box[1] : box[3]] = False
        assert not outside.any()
        assert 0 <= box[0] <= box[2] <= rows and 0 <= box[1] <= box[3] <= columns
    assert boxes[scene.faces[:, 0] == scene.faces[:, 2]].eq(0).all()  # wholly behind the camera


def test_a_batch_is_its_views():
    scene = random_triangles(5)
    views = torch.stack([scene.vertices_screen, scene.vertices_screen + torch.tensor([3, 1, 0.2])])
    batch = rasterize(views[None], scene.faces, scene.size_hw)
    for number, view in enumerate(views):
        alone = rasterize(view, scene.faces, scene.size_hw)
        for name in ("face_index", "depth", "barycentric", "boxes"):
            torch.testing.assert_close(getattr(batch, name)[0, number], getattr(alone, name))


@pytest.mark.parametrize("scene", [random_triangles(6, 4, (7, 8)), through_near_plane((6, 7))])
def test_gradients(scene):
    def drawn(vertices):
        fragments = rasterize(vertices, scene.faces, scene.size_hw)
        return fragments.depth, fragments.barycentric

    assert gradcheck(drawn, scene.vertices_screen.clone().requires_grad_())
