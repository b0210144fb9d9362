"""Laws of rigid transforms: inverses, composition, alignment."""

import numpy as np
import pytest

from geometry.transforms import RigidTransform, look_at, rigid_align


def random_transform(seed: int) -> RigidTransform:
    random = np.random.default_rng(seed)
    return RigidTransform.from_rotvec(random.normal(size=3), random.normal(size=3))


@pytest.mark.parametrize("seed", range(5))
def test_inverse_and_composition_cancel(seed):
    c_from_b, b_from_a = random_transform(seed), random_transform(seed + 100)
    points_a = np.random.default_rng(seed).normal(size=(20, 3))
    c_from_a = c_from_b.compose(b_from_a)
    np.testing.assert_allclose(c_from_a @ points_a, c_from_b @ (b_from_a @ points_a), atol=1e-12)
    np.testing.assert_allclose(c_from_a.inverse() @ (c_from_a @ points_a), points_a, atol=1e-12)
    np.testing.assert_allclose(c_from_a.matrix, c_from_b.matrix @ b_from_a.matrix, atol=1e-12)


def test_alignment_recovers_the_transform_and_never_mirrors():
    b_from_a = random_transform(3)
    points_a = np.random.default_rng(1).normal(size=(30, 3))
    found = rigid_align(points_a, b_from_a @ points_a)
    np.testing.assert_allclose(found.matrix, b_from_a.matrix, atol=1e-9)
    mirrored = rigid_align(points_a, points_a * [1, 1, -1])
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1)


def test_look_at_puts_the_target_ahead_and_up_above():
    camera = look_at(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    target = camera.inverse() @ np.array([[0.0, 1.0, 0.0], [0.0, 1.1, 0.0]])
    np.testing.assert_allclose(target[0, :2], 0, atol=1e-12)
    assert target[0, 2] > 0
    assert target[1, 1] < 0, "up in the world is up in the picture: y falls"


def test_a_mirror_is_no_rigid_transform():
    with pytest.raises(ValueError, match="proper rotation"):
        RigidTransform(np.diag([1.0, 1.0, -1.0]), np.zeros(3))
