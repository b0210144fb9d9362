"""What makes a person differ from the model: planted differences come back, and nothing else."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from flame_fitting.losses.linear_head import HeadState, LinearPoints
from flame_fitting.losses.point_to_plane import GatheredDepth
from flame_fitting.losses.vertex_evidence import VertexEvidence
from flame_fitting.personal import (
    PersonalFields,
    PersonalPrior,
    PersonalUnknowns,
    learn_person,
    personal_equations,
)
from geometry.meshes import vertex_normals
from tests.flame_fitting.exact_heads import named, scene, state

PRIOR = PersonalPrior(shape_modes=30, expression_modes=6)
FACES = (
    {},
    {"jawOpen": 0.6},
    {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.7},
    {"browInnerUp": 0.9, "jawOpen": 0.2},
    {"mouthSmileLeft": 0.3, "mouthSmileRight": 0.4, "browInnerUp": 0.4},
    {"jawOpen": 0.9, "browInnerUp": 0.1},
)


@cache
def fields() -> PersonalFields:
    return PersonalFields.of(scene(0), PRIOR)


def index(name: str) -> int:
    return int(named(**{name: 1.0}).argmax())


def distances(of: LinearPoints, against: LinearPoints, at: HeadState, weight: float = 1e9) -> GatheredDepth:
    """Noise-free distances of true heads outside other ones, at all their vertices."""
    heads, truths = against.in_world(at).numpy(), of.in_world(at).numpy()
    normals = np.stack([vertex_normals(head, scene(0).faces) for head in heads])
    distance = ((truths - heads) * normals).sum(-1)
    weights = torch.full(distance.shape, weight, dtype=torch.float64)
    return GatheredDepth(weights, torch.from_numpy(distance), torch.from_numpy(normals))


def measured(of: LinearPoints, against: LinearPoints, at: HeadState, weight: float = 1e9) -> VertexEvidence:
    return VertexEvidence.of_depth(distances(of, against, at, weight), scene(0).trust)


def frames_of(true: LinearPoints, current: LinearPoints, weight: float = 1e9) -> tuple[HeadState, VertexEvidence]:
    turns = np.random.default_rng(0).normal(0, 0.1, (len(FACES), 3))
    each = [state(named(**face), tuple(turn.tolist())) for face, turn in zip(FACES, turns, strict=True)]
    at = HeadState.stacked(each)
    return at, measured(true, current, at, weight)


def planted(shape: float, expression: float) -> LinearPoints:
    """The mean head with a drawn own shape and own ways of smiling and opening the jaw, of given strengths."""
    surface, random = scene(0).surface, np.random.default_rng(7)
    mean, expressions = surface.mean.clone(), surface.expression_basis.clone()
    here = fields().vertices
    own = fields().shape @ random.normal(size=(fields().shape.shape[1], 3)) * shape
    mean[here] += torch.from_numpy(own)
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp"):
        average = expressions[index(name), here].numpy()
        size = np.linalg.norm(average, axis=1, keepdims=True)
        field = size * (fields().expression @ random.normal(size=(fields().expression.shape[1], 3))) * expression
        field -= average * (field * average).sum() / (average**2).sum()
        expressions[index(name), here] += torch.from_numpy(field)
    return LinearPoints(mean, surface.identity_basis, expressions)


def learn(true: LinearPoints, rounds: int = 1, weight: float = 1e9) -> LinearPoints:
    general = current = scene(0).surface
    for _ in range(rounds):
        frames = frames_of(true, current, weight)
        current = learn_person(general, current, frames, fields(), PRIOR)
    return current


def off_along_normals(found: LinearPoints, true: LinearPoints) -> np.ndarray:
    """Root mean square over the face of the distance along the normals in every frame, metres."""
    face = scene(0).face
    off = distances(true, found, frames_of(true, found)[0]).residual_m.numpy()
    return np.sqrt((off[:, face] ** 2).mean(1))


def test_an_own_shape_and_own_expressions_are_found_along_the_normals():
    true = planted(1.0, 1.0)
    before, after = off_along_normals(scene(0).surface, true), off_along_normals(learn(true, 3), true)
    assert before.min() > 2e-4, "there was something to learn"
    assert (after < 0.12 * before).all(), f"{after * 1e3} mm of {before * 1e3} mm"


def test_learning_again_from_the_same_depth_changes_little():
    """What was learnt is learnt against the general head: rounds do not pile up."""
    true = planted(1.0, 1.0)
    twice, thrice = learn(true, 2), learn(true, 3)
    assert (twice.mean - thrice.mean).abs().max() < 5e-5
    assert (twice.expression_basis - thrice.expression_basis).abs().max() < 2e-4


@pytest.mark.parametrize("strength", [0.8, 1.25])
def test_the_strength_along_the_average_shape_stays(strength):
    """A smile that is stronger than the average one is a larger curve, not another shape."""
    surface, smile = scene(0).surface, index("mouthSmileLeft")
    stronger = surface.expression_basis.clone()
    stronger[smile] *= strength
    learnt = learn(replace(surface, expression_basis=stronger))
    for name in ("mouthSmileLeft", "jawOpen", "browInnerUp"):
        average = surface.expression_basis[index(name), fields().vertices].numpy()
        own = learnt.expression_basis[index(name), fields().vertices].numpy() - average
        assert abs((own * average).sum()) / (average**2).sum() < 1e-3


def test_without_depth_nothing_changes():
    learnt = learn(planted(1.0, 1.0), weight=0.0)
    assert torch.equal(learnt.mean, scene(0).surface.mean)
    assert torch.equal(learnt.expression_basis, scene(0).surface.expression_basis)


def test_what_did_not_move_is_left_alone():
    true, general = planted(1.0, 1.0), scene(0).surface
    learnt = learn(true)
    used = {index(name) for face in FACES for name in face}
    still = [curve for curve in range(len(general.expression_basis)) if curve not in used]
    assert torch.equal(learnt.expression_basis[still], general.expression_basis[still])
    elsewhere = np.setdiff1d(np.arange(len(general.mean)), fields().vertices)
    assert torch.equal(learnt.mean[elsewhere], general.mean[elsewhere])


def test_depth_that_agrees_with_the_model_changes_nothing():
    learnt = learn(scene(0).surface)
    assert (learnt.mean - scene(0).surface.mean).abs().max() < 1e-12


def test_a_face_that_only_rests_gives_its_neutral_shape_alone():
    """No curve is active: there are no own expressions to learn, and the neutral head is learnt all the same."""
    general, true = scene(0).surface, planted(1.0, 0.0)
    rest = HeadState.stacked([state(named(), (0.0, 0.0, 0.0))])
    frames = rest, measured(true, general, rest)
    found = learn_person(general, general, frames, fields(), PRIOR)
    assert torch.equal(found.expression_basis, general.expression_basis)
    assert not torch.equal(found.mean, general.mean)


@pytest.mark.parametrize("shapes", [0, 1, 5])
def test_the_equations_are_those_of_the_jacobian_that_is_never_written_down(shapes):
    """J of every frame, vertex and coefficient, built by its definition."""
    generator = torch.Generator().manual_seed(shapes)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    frames, count, wide, functions = 4, 30, 6, 3
    strength = draw(frames, shapes).clamp_min(0)
    unknowns = PersonalUnknowns(draw(count, wide), draw(count, functions), draw(shapes, count).abs(), strength)
    rows = draw(frames, count, 2, 3)
    asked = draw(frames, count, 2)
    told = VertexEvidence(rows.mT @ rows, (rows.mT @ asked[..., None])[..., 0])
    columns = [unknowns.shape.expand(frames, -1, -1)]
    columns += [strength[:, k, None, None] * unknowns.block(k) for k in range(shapes)]
    jacobian = (torch.cat(columns, 2)[:, :, None, :, None] * rows[..., None, :]).flatten(3).flatten(0, 2)
    hessian, towards = personal_equations(unknowns, told)
    torch.testing.assert_close(hessian, jacobian.T @ jacobian)
    torch.testing.assert_close(towards, jacobian.T @ asked.flatten())
