"""What depth and colour say of vertices, as one kind of evidence."""

from dataclasses import replace

import pytest
import torch

from flame_fitting.losses.linear_head import LinearPoints
from flame_fitting.losses.photometric import colour_rows
from flame_fitting.losses.point_to_plane import GatheredDepth, depth_rows
from flame_fitting.losses.vertex_evidence import VertexEvidence
from flame_fitting.solver import normal_equations
from tests.flame_fitting.exact_heads import NO_PRIOR, named, scene, state

SEEDS = range(3)


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def evidence(seed: int, count: int) -> VertexEvidence:
    rows = drawn(seed, 1, count, 2, 3) * 1e3
    return VertexEvidence(rows.mT @ rows, (rows.mT @ drawn(seed + 1, 1, count, 2, 1))[..., 0])


def points() -> LinearPoints:
    return scene(0).surface.at(torch.arange(0, 400, 10))


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_pulls_as_its_rows_do(seed):
    at, some = state(named(jawOpen=0.3)), points()
    batch = type(at)(*(getattr(at, name)[None] for name in ("identity", "curves", "rotation", "translation")))
    count, centre = len(some.mean), drawn(seed, 1, 3) * 0.1
    normals = torch.nn.functional.normalize(drawn(seed, 1, count, 3), dim=-1)
    gathered = GatheredDepth(drawn(seed + 1, 1, count).abs() * 1e6, drawn(seed + 2, 1, count) * 1e-3, normals)
    trust = drawn(seed + 3, count).abs()
    rows = depth_rows(some, batch, centre, gathered, trust)
    told = VertexEvidence.of_depth(gathered, trust)
    want = normal_equations([(1.0, rows)], 0, batch.curves, NO_PRIOR)
    # Its own bound is in depth's precision already: none comes on top here.
    plain = colour_rows(some, batch, centre, _unbounded(told))
    found = normal_equations([(1.0, plain)], 0, batch.curves, NO_PRIOR)
    torch.testing.assert_close(found.own, want.own, rtol=1e-4, atol=1e-6 * float(want.own.abs().max()))
    assert float((found.gradient_own - want.gradient_own).norm() / want.gradient_own.norm()) < 1e-4


def _unbounded(told: VertexEvidence) -> VertexEvidence:
    """What `bounded` turns into these: (B^-1 - s^2)^-1, so far as B has an inverse."""
    eye = torch.eye(3).to(told.information)
    share = torch.linalg.inv(eye - 4e-4**2 * told.information)
    return replace(told, information=share @ told.information, pull=(share @ told.pull[..., None])[..., 0])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_turned_head_feels_the_same_pull(seed):
    told, turn = evidence(seed, 5), torch.linalg.qr(drawn(seed, 3, 3))[0][None]
    inside = told.in_head(turn)
    step = drawn(seed + 4, 1, 5, 3)
    energy = lambda of, by: torch.einsum("bvi,bvij,bvj->bv", by, of.information, by) / 2 - (by * of.pull).sum(-1)  # noqa: E731
    torch.testing.assert_close(energy(told, step), energy(inside, step @ turn))


@pytest.mark.parametrize("seed", SEEDS)
def test_movement_counted_from_elsewhere_ends_at_the_same_place(seed):
    told, so_far = evidence(seed, 5), drawn(seed, 1, 5, 3) * 1e-3
    information = told.information + 1e4 * torch.eye(3).double()
    told = VertexEvidence(information, told.pull)
    asked = lambda of: torch.linalg.solve(of.information, of.pull[..., None])[..., 0]  # noqa: E731
    torch.testing.assert_close(asked(told.measured_from(so_far)), asked(told) + so_far)


@pytest.mark.parametrize("seed", SEEDS)
def test_bounded_evidence_asks_for_the_same_movement_less_surely(seed):
    told = evidence(seed, 5)
    told = VertexEvidence(told.information + 1e5 * torch.eye(3).double(), told.pull)
    bounded = told.bounded()
    asked = lambda of: torch.linalg.solve(of.information, of.pull[..., None])[..., 0]  # noqa: E731
    torch.testing.assert_close(asked(bounded), asked(told))
    inverse = torch.linalg.inv(bounded.information) - torch.linalg.inv(told.information)
    torch.testing.assert_close(inverse, 4e-4**2 * torch.eye(3).double().expand_as(inverse), rtol=1e-6, atol=1e-12)
