"""The rasterizer against its readable twin, by exact geometry, at its limits, and against PyTorch3D's own pixels."""

import numpy as np
import pytest
import torch

from rendering import pieces
from rendering.pieces import in_pieces
from rendering.rasterize import rasterize, require_drawable
from rendering.reference.rasterize import rasterize as twin
from tests.rendering.scenes import Scene, icosphere, random_triangles, through_near_plane, two_balls

SCENES = {
    "triangles": random_triangles(0),
    "more triangles": random_triangles(1),
    "ball": icosphere(),
    "two balls": two_balls(),
    "near plane": through_near_plane(),
}


def draw(scene: Scene, device: str, dtype=torch.float64, **options):
    vertices = scene.vertices_screen.to(device, dtype).requires_grad_()
    return vertices, rasterize(vertices, scene.faces.to(device), scene.size_hw, **options)


def upstream(fragments, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [
        torch.rand(x.shape, generator=random, dtype=torch.float64).to(x.device, x.dtype) * fragments.mask.reshape(m)
        for x, m in ((fragments.depth, fragments.depth.shape), (fragments.barycentric, (*fragments.depth.shape, 1)))
    ]


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("name", SCENES)
def test_is_its_twin(name, cull, device):
    scene = SCENES[name]
    _, found = draw(scene, device, cull_backfaces=cull)
    expected = twin(scene.vertices_screen, scene.faces, scene.size_hw, cull_backfaces=cull)
    assert torch.equal(found.face_index.cpu(), expected.face_index)
    torch.testing.assert_close(found.depth.cpu(), expected.depth, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.barycentric.cpu(), expected.barycentric, rtol=0, atol=1e-10)
    for face in range(len(scene.faces)):
        rows, columns = torch.nonzero(found.face_index.cpu() == face, as_tuple=True)
        first_row, first_column, row_end, column_end = found.boxes[face].tolist()
        assert ((rows >= first_row) & (rows < row_end) & (columns >= first_column) & (columns < column_end)).all()


@pytest.mark.parametrize("name", SCENES)
def test_gradients_are_the_twins(name, device):
    scene = SCENES[name]
    vertices, found = draw(scene, device)
    above = upstream(found)
    (gradient,) = torch.autograd.grad([found.depth, found.barycentric], [vertices], above)
    own = scene.vertices_screen.clone().requires_grad_()
    expected = twin(own, scene.faces, scene.size_hw)
    (wanted,) = torch.autograd.grad([expected.depth, expected.barycentric], [own], [x.cpu() for x in above])
    torch.testing.assert_close(gradient.cpu(), wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", SCENES)
def test_single_precision_is_close_to_double(name, device):
    scene = SCENES[name]
    (fine, double), (coarse, single) = draw(scene, device), draw(scene, device, torch.float32)
    assert (single.face_index != double.face_index).double().mean() < 0.002  # a centre on an edge
    same = (single.face_index == double.face_index) & double.mask
    torch.testing.assert_close(single.depth[same].double(), double.depth[same], rtol=1e-5, atol=0)
    torch.testing.assert_close(single.barycentric[same].double(), double.barycentric[same], rtol=0, atol=2e-5)
    above = [x * same.reshape(*same.shape, *[1] * (x.ndim - 2)) for x in upstream(double)]
    (exact,) = torch.autograd.grad([double.depth, double.barycentric], [fine], above)
    (near,) = torch.autograd.grad([single.depth, single.barycentric], [coarse], [x.float() for x in above])
    assert (near - exact).norm() < 1e-4 * exact.norm()


def test_gradcheck(device):
    scene = random_triangles(4, 8, (12, 13))

    def values(vertices):
        found = rasterize(vertices, scene.faces.to(device), scene.size_hw)
        return found.depth, found.barycentric

    vertices = scene.vertices_screen.to(device).requires_grad_()
    assert torch.autograd.gradcheck(values, (vertices,), eps=1e-7, atol=1e-5)


def test_same_bits_on_every_run_and_on_any_number_of_threads(device):
    scene = two_balls(3, (150, 170))
    runs = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            vertices, found = draw(scene, device, torch.float32)
            gradient = torch.autograd.grad([found.depth, found.barycentric], [vertices], upstream(found))
            runs.append([found.face_index, found.depth, found.barycentric, found.boxes, *gradient])
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(torch.equal(one, two) for one, two in zip(runs[0], other, strict=True))


def test_bands_of_one_view_do_not_disturb_one_another(device):
    scene = icosphere(4, (128, 128))
    vertices, faces = scene.vertices_screen.to(device, torch.float32), scene.faces.to(device)
    expected = rasterize(vertices, faces, scene.size_hw)
    torch.set_num_threads(4)
    for _ in range(100):
        found = rasterize(vertices, faces, scene.size_hw)
        assert torch.equal(found.face_index, expected.face_index) and torch.equal(found.boxes, expected.boxes)


def test_lower_index_wins_a_tie(device):
    scene = icosphere()
    twice = torch.cat([scene.faces, scene.faces]).to(device)
    found = rasterize(scene.vertices_screen.to(device), twice, scene.size_hw)
    assert found.mask.any() and int(found.face_index.max()) < len(scene.faces)


def test_a_batch_is_its_views(device):
    scene = icosphere()
    shifts = torch.tensor([[0.0, 0, 0], [3, 1, 0.2], [-40, 0, 0], [1, 2, -0.1], [0, 0, 0.5], [2, 2, 2]]).double()
    views = (scene.vertices_screen + shifts[:, None]).to(device).reshape(2, 3, -1, 3).requires_grad_()
    faces = scene.faces.to(device)
    found = rasterize(views, faces, scene.size_hw)
    above = upstream(found)
    (gradient,) = torch.autograd.grad([found.depth, found.barycentric], [views], above)
    for i, j in np.ndindex(2, 3):
        one = views[i, j].detach().requires_grad_()
        alone = rasterize(one, faces, scene.size_hw)
        assert torch.equal(found.face_index[i, j], alone.face_index)
        assert torch.equal(found.barycentric[i, j], alone.barycentric)
        assert torch.equal(found.boxes[i, j], alone.boxes)
        own = torch.autograd.grad([alone.depth, alone.barycentric], [one], [x[i, j] for x in above])[0]
        assert torch.equal(gradient[i, j], own)


def test_no_pixel_is_lost_between_triangles(device):
    """A crumpled sheet over all of the picture, with corners and edges on pixel centres, in single precision."""
    random = np.random.default_rng(2)
    side = np.arange(-8, 72.0, 4)
    x, y = np.meshgrid(side, side)
    inner = random.integers(-3, 4, (2, *x.shape)) / 2 * ((abs(x - 32) < 36) & (abs(y - 32) < 36))
    corners = np.stack([x + inner[0] + 0.5, y + inner[1] + 0.5, random.uniform(0.5, 2, x.shape)], -1).reshape(-1, 3)
    number = np.arange(len(corners)).reshape(x.shape)
    a, b, c, d = (q.ravel() for q in (number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    found = rasterize(
        torch.tensor(corners, dtype=torch.float32, device=device), torch.tensor(faces, device=device), (64, 64)
    )
    assert found.mask.all()


def test_near_plane_shows_only_what_is_in_front(device):
    scene = through_near_plane()
    _, found = draw(scene, device)
    assert found.mask.any()
    assert (found.depth[found.mask] >= 1e-4).all()
    shown = set(found.face_index.unique().tolist())
    assert 4 not in shown  # wholly behind the camera


def test_culls_what_faces_away(device):
    corners = torch.tensor([[2.0, 2, 1], [20, 2, 1], [2, 20, 1]], device=device)
    away = torch.tensor([[0, 1, 2]], device=device)  # clockwise in space: y points down on the screen
    assert rasterize(corners, away.flip(1), (24, 24), cull_backfaces=True).mask.any()
    assert not rasterize(corners, away, (24, 24), cull_backfaces=True).mask.any()
    assert rasterize(corners, away, (24, 24)).mask.any()


@pytest.mark.parametrize(
    ("size_hw", "views", "faces"), [((0, 5), 1, 3), ((5, 0), 1, 3), ((1, 1), 1, 3), ((6, 7), 0, 3), ((6, 7), 2, 0)]
)
def test_nothing_and_next_to_nothing(size_hw, views, faces, device):
    vertices = torch.rand(views, 9, 3, device=device, dtype=torch.float64).add(0.1).requires_grad_()
    table = torch.arange(9, device=device).reshape(3, 3)[:faces]
    found = rasterize(vertices, table, size_hw)
    assert found.face_index.shape == (views, *size_hw) and found.boxes.shape == (views, faces, 4)
    (found.depth.sum() + found.barycentric.sum()).backward()
    assert vertices.grad is not None and torch.isfinite(vertices.grad).all()


def test_flat_and_thin_and_huge_triangles(device):
    corners = torch.tensor(
        [
            [1, 1, 1], [9, 9, 1], [5, 5, 1],  # all in a line
            [3, 3, 1], [3, 3, 1], [3, 3, 1],  # a point
            [-4000.2, 10.25, 1], [4000.0, 10.7, 1], [4000.1, 10.85, 1],  # long and thin
            [-3e7, -2e7, 2], [3e7, -2.1e7, 2], [0.4, 4e7, 2],  # larger than any screen
        ],
        dtype=torch.float32, device=device,
    )  # fmt: skip
    found = rasterize(corners, torch.arange(12, device=device).reshape(4, 3), (40, 50))
    assert found.mask.all() and set(found.face_index.unique().tolist()) == {2, 3}
    rows = torch.nonzero((found.face_index == 2).any(1)).flatten()
    assert rows.tolist() == [10]
    behind = found.depth[found.face_index == 3]
    torch.testing.assert_close(behind, torch.full_like(behind, 2.0))
    assert torch.isfinite(found.barycentric).all()


def test_a_long_thin_diagonal_is_its_twin(device):
    """Wide boxes enter each row where the sides cross it; the pixels must be the same."""
    random = np.random.default_rng(5)
    corners = random.uniform(-30, 230, (60, 3))
    corners[:, 2] = random.uniform(0.5, 2, 60)
    corners[2::3, :2] = corners[1::3, :2] + random.normal(0, 1.5, (20, 2))
    scene = Scene(torch.tensor(corners), torch.arange(60).reshape(20, 3), (120, 200))
    _, found = draw(scene, device)
    expected = twin(scene.vertices_screen, scene.faces, scene.size_hw)
    assert found.mask.sum() > 500 and torch.equal(found.face_index.cpu(), expected.face_index)


def test_4096_squared(device):
    corners = torch.tensor([[-10.0, -10, 1], [9000, -10, 1], [-10, 9000, 1]], device=device)
    found = rasterize(corners, torch.tensor([[0, 1, 2]], device=device), (4096, 4096))
    assert found.mask.all() and torch.equal(found.depth, torch.ones_like(found.depth))


def test_200_000_faces_and_64_views(device):
    ball = icosphere(7, (96, 96))  # 327,680 triangles, smaller than pixels
    _, found = draw(ball, device, torch.float32)
    few = icosphere(5, (96, 96))
    assert (found.mask == draw(few, device, torch.float32)[1].mask).double().mean() > 0.999
    radii = torch.linspace(0.5, 1.5, 64, device=device)[:, None, None]
    middle = torch.tensor([48.0, 48, 0], device=device)
    one = icosphere(3, (96, 96)).vertices_screen.to(device, torch.float32)
    views = torch.cat([((one - middle) * radii + middle)[..., :2], one[:, 2:].expand(64, -1, 1)], -1)
    areas = rasterize(views, icosphere(3).faces.to(device), (96, 96)).mask.sum((1, 2))
    assert (areas[1:] >= areas[:-1]).all() and int(areas[-1]) > 3 * int(areas[0]) > 0


def test_a_broken_vertex_is_named():
    vertices = torch.rand(2, 3, 4, 3)
    faces = torch.tensor([[0, 1, 2]])
    vertices[1, 2, 3, 0] = torch.nan
    with pytest.raises(ValueError, match=r"finite.*mesh \(1, 2\), vertex 3 is \[nan"):
        rasterize(vertices, faces, (4, 4))
    vertices[0, 0, 1, 2] = torch.inf
    with pytest.raises(ValueError, match=r"mesh \(0, 0\), vertex 1 .* and 1 more"):
        rasterize(vertices, faces, (4, 4))
    with pytest.raises(ValueError, match="the mesh, vertex 1"):
        require_drawable(vertices[0, 0], faces)
    require_drawable(torch.full((4, 3), 3e38), faces)  # their sum overflows, they are finite


def test_refuses_what_it_cannot_draw():
    vertices, faces = torch.rand(3, 3), torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match="3 vertices"):
        rasterize(vertices, torch.tensor([[0, 1, 3]]), (4, 4))
    with pytest.raises(ValueError, match="3 vertices"):
        rasterize(vertices, torch.tensor([[0, -1, 2]]), (4, 4))
    with pytest.raises(ValueError, match="float32 or float64"):
        rasterize(vertices.half(), faces, (4, 4))
    with pytest.raises(ValueError, match="32767"):
        rasterize(vertices, faces, (4, 40000))
    with pytest.raises(ValueError, match="meta"):
        rasterize(vertices, faces.to("meta"), (4, 4))


def test_inputs_in_any_layout(device):
    """Strided vertices and 64-bit, 32-bit or transposed faces give what contiguous ones give."""
    scene = icosphere()
    vertices, faces = scene.vertices_screen.to(device, torch.float32), scene.faces.to(device)
    expected = rasterize(vertices, faces, scene.size_hw).face_index
    strided = torch.cat([vertices, vertices], -1)[:, :3]
    for table in (faces.int(), faces.T.contiguous().T, faces.short()):
        assert torch.equal(rasterize(strided, table, scene.size_hw).face_index, expected)


def test_agrees_with_pytorch3d(real_data, device):
    """PyTorch3D 0.7.9's pixels of a head, and the gradient of its vertices."""
    with np.load(real_data / "peers" / "pytorch3d_fragments.npz", allow_pickle=False) as file:
        peer = {name: torch.from_numpy(file[name]).to(device) for name in file.files if file[name].dtype.kind in "fi"}
    vertices = peer["vertices_screen"].requires_grad_()
    found = rasterize(vertices, peer["faces"], (256, 256))
    same = found.face_index == peer["face_index"]
    assert same.double().mean() >= 0.9999
    both = same & found.mask
    torch.testing.assert_close(found.depth[both], peer["depth_m"][both], rtol=1e-5, atol=0)
    torch.testing.assert_close(found.barycentric[both], peer["barycentric"][both], rtol=0, atol=1e-5)
    above = peer["upstream_depth"] * both, peer["upstream_barycentric"] * both[..., None]
    (gradient,) = torch.autograd.grad([found.depth, found.barycentric], [vertices], above)
    wanted = peer["grad_vertices_screen"]
    assert (gradient - wanted).norm() <= 1e-3 * wanted.norm()


def test_runs_in_a_cuda_graph(device):
    """No part of the call waits for the host, backwards either."""
    if device != "cuda":
        pytest.skip("graphs are CUDA's: run with --device cuda")
    scene = icosphere()
    vertices, faces = scene.vertices_screen.to(device, torch.float32).requires_grad_(), scene.faces.to(device)

    def once():
        found = rasterize(vertices, faces, scene.size_hw)
        return torch.autograd.grad([found.depth.sum() + found.barycentric.square().sum()], [vertices])[0]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        wanted = once()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = once()
    graph.replay()
    assert torch.equal(captured, wanted)


def test_large_triangles_in_pieces_change_nothing(device, monkeypatch):
    """CUDA cuts large triangles into bands of rows: here all are cut that there is room for, wherever this runs."""
    scene = two_balls(2, (70, 74))
    whole_vertices, whole = draw(scene, device)
    above = upstream(whole)
    (wanted,) = torch.autograd.grad([whole.depth, whole.barycentric], [whole_vertices], above)
    monkeypatch.setattr(pieces, "_cuts", lambda _: True)
    monkeypatch.setattr(pieces, "LARGE_PIXELS", 6)
    monkeypatch.setattr(pieces, "MOST_LARGE", 100)
    assert len(in_pieces(whole.boxes[None])) == 2
    vertices, cut = draw(scene, device)
    assert torch.equal(cut.face_index, whole.face_index) and torch.equal(cut.barycentric, whole.barycentric)
    (gradient,) = torch.autograd.grad([cut.depth, cut.barycentric], [vertices], above)
    torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-11)
