"""A sphere is found from any part of it, in any batch."""

import numpy as np

from geometry.spheres import sphere_through


def test_a_cap_is_enough():
    random = np.random.default_rng(0)
    directions = random.normal(size=(3, 60, 3)) + np.array([0.0, 0.0, 3.0])
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    centres, radii = random.normal(size=(3, 3)), np.array([0.012, 0.5, 20.0])
    centre, radius = sphere_through(centres[:, None] + radii[:, None, None] * directions)
    np.testing.assert_allclose(centre, centres, atol=1e-8)
    np.testing.assert_allclose(radius, radii, rtol=1e-8)
