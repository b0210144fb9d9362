"""The whole rig from corners: truth recovered, confidence true, bad footage refused with the reason."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from capture.calibration.board_views import BoardView
from capture.calibration.rig_adjustment import Freedom, adjust, sensor_covariance, view_residuals
from capture.calibration.rig_initialisation import initialise_rig, initialise_sensor, robust_mean
from capture.calibration.rig_solution import solve_rig
from geometry.errors import InputError
from geometry.transforms import RigidTransform
from tests.capture.calibration.simulated_board import (
    place_errors_mm,
    seen_by,
    small_rig,
    uncalibrated,
    waved_poses,
)


def test_exact_corners_give_the_exact_rig_without_a_start():
    rig = small_rig()
    problem = seen_by(rig, waved_poses(18, seed=1), noise_px=0.0, seed=1)
    solution = solve_rig(problem, uncalibrated(rig), (5,) * 4)
    for sensor, camera in enumerate(rig.cameras):
        assert np.abs(solution.state.intrinsics[sensor, :4] - camera.K[[0, 1, 0, 1], [0, 1, 2, 2]]).max() < 0.02
    assert place_errors_mm(solution.state.centres, rig).max() < 0.02
    assert solution.reprojection_px.max() < 0.01


def test_a_rational_lens_is_recovered_in_effect_with_eight_coefficients():
    lens = (0.12, -0.06, 2e-4, -1e-4, 0.01, 0.10, -0.05, 0.008)
    rig = small_rig(3, lens)
    problem = seen_by(rig, waved_poses(18, seed=2), noise_px=0.03, seed=2)
    solution = solve_rig(problem, uncalibrated(rig), (8,) * 3)
    truth = np.array([camera.K[0, 0] for camera in rig.cameras])
    assert np.abs(solution.state.intrinsics[:, 0] / truth - 1).max() < 5e-4
    assert place_errors_mm(solution.state.centres, rig).max() < 0.3


def test_errors_are_as_large_as_the_solution_says():
    """Over many draws, focal errors in units of their standard deviations have unit variance."""
    rig = small_rig(3)
    poses = waved_poses(15, seed=3)
    ratios = []
    for draw in range(8):
        solution = solve_rig(seen_by(rig, poses, noise_px=0.1, seed=100 + draw), uncalibrated(rig), (5,) * 3)
        sigma = np.sqrt(solution.covariance[:, 0, 0])
        truth = np.array([camera.K[0, 0] for camera in rig.cameras])
        ratios.append((solution.state.intrinsics[:, 0] - truth) / sigma)
        assert np.allclose(solution.sigma_px, 0.1, rtol=0.15)
    assert 0.7 < np.sqrt(np.mean(np.square(ratios))) < 1.4


def test_the_solution_does_not_depend_on_the_order_of_the_cameras():
    rig = small_rig()
    problem = seen_by(rig, waved_poses(15, seed=4), noise_px=0.05, seed=4)
    turned = [3, 1, 0, 2]
    views = [replace(view, sensor=turned.index(view.sensor)) for view in problem.views]
    first = solve_rig(problem, uncalibrated(rig), (5,) * 4)
    cameras = uncalibrated(rig)
    second = solve_rig(problem.with_views(views), [cameras[s] for s in turned], (5,) * 4)
    np.testing.assert_allclose(first.state.intrinsics[turned], second.state.intrinsics, rtol=1e-4, atol=1e-3)


def test_views_taken_while_the_board_moved_are_left_out_and_counted():
    rig = small_rig()
    problem = seen_by(rig, waved_poses(20, seed=5), noise_px=0.05, seed=5)
    late = [k for k, view in enumerate(problem.views) if view.sensor == 2][:3]
    views = list(problem.views)
    for k in late:
        views[k] = replace(views[k], pixels=views[k].pixels + np.array([6.0, -4.0]))
    solution = solve_rig(problem.with_views(views), uncalibrated(rig), (5,) * 4)
    assert solution.rejected_views.tolist() == [0, 0, 3, 0]
    assert place_errors_mm(solution.state.centres, rig).max() < 0.5


def test_wrong_corners_do_not_bend_the_rig():
    rig = small_rig()
    problem = seen_by(rig, waved_poses(20, seed=6), noise_px=0.05, seed=6)
    random = np.random.default_rng(6)
    views = []
    for view in problem.views:
        wrong = random.random(len(view.ids)) < 0.03
        views.append(replace(view, pixels=view.pixels + wrong[:, None] * random.normal(0, 20, view.pixels.shape)))
    solution = solve_rig(problem.with_views(views), uncalibrated(rig), (5,) * 4)
    assert place_errors_mm(solution.state.centres, rig).max() < 0.5


def test_held_out_poses_fit_about_as_well_as_used_ones():
    rig = small_rig()
    solution = solve_rig(seen_by(rig, waved_poses(25, seed=7), 0.1, seed=7), uncalibrated(rig), (5,) * 4)
    assert (solution.held_out_px > 0.08).all() and (solution.held_out_px < 0.2).all()
    few = solve_rig(seen_by(rig, waved_poses(10, seed=7), 0.1, seed=7), uncalibrated(rig), (5,) * 4)
    assert np.isnan(few.held_out_px).all()


def test_boards_nearly_parallel_to_a_lone_camera_are_refused_with_what_to_record():
    rig = small_rig(1)
    random = np.random.default_rng(8)
    axis = rig.cameras[0].world_from_camera.rotation
    flat = []
    for pose in waved_poses(8, seed=8, tilt=0.0):
        rotation = axis @ Rotation.from_rotvec(random.normal(0, 0.02, 3)).as_matrix()
        flat.append(RigidTransform(rotation, pose.translation + rig.cameras[0].world_from_camera.rotation[:, 0] * -0.2))
    problem = seen_by(rig, flat, noise_px=0.1, seed=8)
    with pytest.raises(InputError, match=r"known to [0-9.]+ %.*tilt the board by 30 degrees") as refusal:
        solve_rig(problem, uncalibrated(rig), (5,))
    assert "nearly parallel" in refusal.value.got


def test_cameras_that_share_no_pose_are_named_as_groups():
    rig = small_rig()
    problem = seen_by(rig, waved_poses(24, seed=9), noise_px=0.05, seed=9)
    apart = [view for view in problem.views if (view.sensor < 2) == (view.pose < 12)]
    with pytest.raises(InputError, match=r"2 groups that share none: \{c0, c1\}; \{c2, c3\}"):
        solve_rig(problem.with_views(apart), uncalibrated(rig), (5,) * 4)


def test_a_camera_with_too_few_views_is_named():
    rig = small_rig()
    problem = seen_by(rig, waved_poses(15, seed=10), noise_px=0.05, seed=10)
    poor = [view for view in problem.views if view.sensor != 3 or view.pose < 2]
    with pytest.raises(InputError, match="c3"):
        solve_rig(problem.with_views(poor), uncalibrated(rig), (5,) * 4)


def test_moving_the_whole_rig_changes_nothing_that_is_seen_and_confidence_stays_finite():
    rig = small_rig(3)
    problem = seen_by(rig, waved_poses(10, seed=11), noise_px=0.05, seed=11)
    alone = [initialise_sensor(problem, s, camera, 5) for s, camera in enumerate(uncalibrated(rig))]
    intrinsics = np.stack([adjusted.state.intrinsics[0] for adjusted in alone])
    start = initialise_rig(problem, intrinsics, rig.ids)
    freedom = Freedom((5,) * 3)
    state = adjust(problem, start, freedom, np.full(3, 0.05)).state
    turn = RigidTransform.from_rotvec(np.array([0.3, -0.2, 0.5]), np.array([0.4, 0.1, -0.3]))
    sensors = [state.camera_from_rig(s).compose(turn.inverse()) for s in range(3)]
    boards = [turn.compose(state.rig_from_board(p)) for p in range(10)]
    elsewhere = replace(
        state,
        sensor_rotation=np.stack([t.rotation for t in sensors]),
        sensor_translation=np.stack([t.translation for t in sensors]),
        board_rotation=np.stack([t.rotation for t in boards]),
        board_translation=np.stack([t.translation for t in boards]),
    )
    here, there = view_residuals(problem, state), view_residuals(problem, elsewhere)
    np.testing.assert_allclose(np.concatenate(here), np.concatenate(there), atol=1e-8)
    first = sensor_covariance(problem, state, freedom, np.full(3, 0.05))
    second = sensor_covariance(problem, elsewhere, freedom, np.full(3, 0.05))
    np.testing.assert_allclose(first[:, :4, :4], second[:, :4, :4], rtol=1e-4, atol=1e-9)


def test_the_robust_mean_leaves_out_a_pose_that_flipped():
    random = np.random.default_rng(12)
    near = [RigidTransform.from_rotvec(random.normal(0, 1e-3, 3), random.normal(0, 1e-3, 3)) for _ in range(6)]
    flipped = RigidTransform.from_rotvec(np.array([1.0, 0, 0]), np.array([0.1, 0, 0]))
    mean = robust_mean([*near, flipped])
    assert np.linalg.norm(mean.translation) < 2e-3
    assert np.abs(mean.rotation - np.eye(3)).max() < 4e-3


def test_views_know_their_order():
    rig = small_rig(2)
    problem = seen_by(rig, waved_poses(4, seed=13), noise_px=0.0, seed=13)
    shuffled = problem.with_views(problem.views[::-1])
    assert [(v.sensor, v.pose) for v in shuffled.views] == [(v.sensor, v.pose) for v in problem.views]
    assert problem.seen().sum() == len(problem.views)
    assert isinstance(problem.views[0], BoardView)
