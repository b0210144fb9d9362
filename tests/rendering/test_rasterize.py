"""The rasterizer against a plain twin, by exact geometry, and against PyTorch3D's own pixels."""

import numpy as np
import pytest

from rendering.fragments import interpolate
from rendering.rasterize import rasterize


def plain_twin(screen: np.ndarray, faces: np.ndarray, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel against every triangle, in double precision."""
    index, depth = np.full(size_hw, -1), np.full(size_hw, np.inf)
    for row in range(size_hw[0]):
        for column in range(size_hw[1]):
            p = np.array([column + 0.5, row + 0.5])
            for number, face in enumerate(faces):
                a, b, c = screen[face]
                matrix = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1, 1, 1]])
                if abs(np.linalg.det(matrix)) < 1e-12:
                    continue
                s = np.linalg.solve(matrix, [*p, 1])
                if (s >= 0).all():
                    z = 1 / (s / screen[face, 2]).sum()
                    if z < depth[row, column] - 1e-9:
                        index[row, column], depth[row, column] = number, z
    return index, depth


def triangles(seed: int, count: int = 14) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    screen = np.concatenate([random.uniform(-6, 30, (3 * count, 2)), random.uniform(0.5, 2, (3 * count, 1))], 1)
    return screen, np.arange(3 * count).reshape(-1, 3)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_plain_twin(seed, device):
    screen, faces = triangles(seed)
    fragments = rasterize(screen, faces, (24, 26), device=device)
    index, depth = plain_twin(screen, faces, (24, 26))
    # Single precision may give a pixel on an edge to the other side.
    assert (fragments.face_index != index).mean() < 0.005
    same = (fragments.face_index == index) & (index >= 0)
    np.testing.assert_allclose(fragments.depth[same], depth[same], rtol=2e-5)
    np.testing.assert_allclose(fragments.barycentric[same].sum(-1), 1, atol=1e-5)


def test_interpolation_is_perspective_correct(device):
    screen, faces = triangles(7, 3)
    fragments = rasterize(screen, faces, (24, 26), device=device)
    # Depth itself is linear in space, so carrying it by barycentrics must give the depth back.
    carried = interpolate(fragments, faces, screen[:, 2:])[..., 0]
    np.testing.assert_allclose(carried[fragments.mask], fragments.depth[fragments.mask], rtol=1e-5)


def test_same_bits_on_every_run_and_lower_index_wins_a_tie(device):
    screen, faces = triangles(3)
    twice = np.concatenate([faces, faces])
    first, second = (rasterize(screen, twice, (40, 40), device=device) for _ in range(2))
    assert first.face_index.max() < len(faces)
    for name in ("face_index", "depth", "barycentric"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_a_batch_is_its_views(device):
    screen, faces = triangles(5)
    moved = screen + np.array([3, 1, 0.2])
    batch = rasterize(np.stack([screen, moved]), faces, (24, 26), device=device)
    for number, view in enumerate((screen, moved)):
        alone = rasterize(view, faces, (24, 26), device=device)
        np.testing.assert_array_equal(batch.face_index[number], alone.face_index)


def test_culls_what_faces_away_and_drops_what_is_behind(device):
    screen = np.array([[2.0, 2, 1], [20, 2, 1], [2, 20, 1]])
    away = np.array([[0, 1, 2]])  # clockwise in space: y points down on the screen
    toward = away[:, ::-1].copy()
    assert rasterize(screen, toward, (24, 24), cull_backfaces=True, device=device).mask.any()
    assert not rasterize(screen, away, (24, 24), cull_backfaces=True, device=device).mask.any()
    assert not rasterize(screen * [1, 1, -1], toward, (24, 24), device=device).mask.any()


def test_refuses_faces_without_vertices():
    with pytest.raises(ValueError, match="vertices"):
        rasterize(np.zeros((3, 3)), np.array([[0, 1, 3]]), (4, 4))


def test_agrees_with_pytorch3d(real_data, device):
    """PyTorch3D 0.7.9's pixels of a head; the two may differ on edges alone."""
    with np.load(real_data / "peers" / "pytorch3d_fragments.npz", allow_pickle=False) as peer:
        arrays = {name: peer[name] for name in peer.files}
    screen = next(v for k, v in arrays.items() if "screen" in k and v.shape[-1] == 3)
    faces = next(v for k, v in arrays.items() if k.startswith("face") and v.ndim == 2 and v.shape[-1] == 3)
    index = next(v for k, v in arrays.items() if v.shape[-2:] == (256, 256) and v.dtype.kind == "i")
    fragments = rasterize(screen.astype(np.float64), faces, (256, 256), device=device)
    assert (fragments.face_index == index.reshape(256, 256)).mean() > 0.999
