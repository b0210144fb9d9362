"""Two worlds are brought together by their cameras alone, and only where they differ."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.worlds import truth_from_take
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from studio.presets import PRESETS, calibrated

TRUTH = PRESETS["desk"](30.0)
ELSEWHERE = RigidTransform.from_rotvec(np.array([0.2, -1.3, 0.4]), np.array([0.3, -1.25, 0.7]))


def moved(rig: Rig, other_from_world: RigidTransform) -> Rig:
    return Rig(tuple(replace(c, world_from_camera=other_from_world.compose(c.world_from_camera)) for c in rig.cameras))


def test_a_moved_world_is_moved_back():
    found = truth_from_take(moved(TRUTH, ELSEWHERE), TRUTH).compose(ELSEWHERE)
    np.testing.assert_allclose(found.matrix, np.eye(4), atol=1e-12)


def test_one_camera_is_enough():
    alone = Rig(moved(TRUTH, ELSEWHERE).cameras[:1])
    np.testing.assert_allclose(truth_from_take(alone, TRUTH).compose(ELSEWHERE).matrix, np.eye(4), atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_errors_of_calibration_in_a_shared_world_are_not_aligned_away(seed):
    assert (truth_from_take(calibrated(TRUTH, seed), TRUTH).matrix == np.eye(4)).all()


def test_errors_of_calibration_hardly_move_the_alignment():
    rig = moved(calibrated(TRUTH, 5), ELSEWHERE)
    back = truth_from_take(rig, TRUTH).compose(ELSEWHERE)
    face = np.array([[0.0, 1.25, 0.0]])
    assert 0 < np.linalg.norm(back @ face - face) < 5e-4


def test_foreign_truth_is_said():
    strangers = Rig(tuple(replace(camera, id=f"x{camera.id}") for camera in TRUTH.cameras))
    with pytest.raises(InputError, match="--truth"):
        truth_from_take(TRUTH, strangers)
