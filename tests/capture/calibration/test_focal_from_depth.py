"""Focal length from a board and depth: exact on exact data, right on phones, where colour alone is refused."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from capture.calibration.board import BoardDetection, BoardSpec, detect_board
from capture.calibration.board_views import BoardView, BoardViews
from capture.calibration.focal_from_depth import DEPTH_SCALE_SIGMA, focal_from_board_and_depth
from capture.calibration.rig_solution import solve_rig
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.transforms import RigidTransform

SPEC = BoardSpec.parse("charuco:10x8:20.875mm:10.4mm:DICT_ARUCO_ORIGINAL:legacy")
FOCAL_PX = 540.0
DEVICES = ("iPhone11Pro_iOS14", "iPadPro12_4gen_iOS15", "iPadPro12_5gen_iOS15")


def camera(focal_px, lens=()):
    K = np.array([[focal_px, 0, 322.1], [0, focal_px * 1.01, 238.4], [0, 0, 1]])
    return Camera("a", "a", "rgb", (480, 640), K, np.array(lens), RigidTransform.identity())


def board_and_depth(seen_from, angles, distance_m=0.25):
    """Exact corners, and exact depth of the board's plane where the board is."""
    rotation = Rotation.from_euler("xyz", angles).as_matrix()
    pose = RigidTransform(rotation, np.array([-0.1, -0.08, distance_m]))
    pixels, _ = seen_from.project(pose @ SPEC.corners_m)
    inside = ((pixels > 1) & (pixels < [639, 479])).all(1)
    rays = np.concatenate([seen_from.pixel_grid_normalised(), np.ones((480, 640, 1))], -1)
    depth = (rotation[:, 2] @ pose.translation) / (rays @ rotation[:, 2])
    return BoardDetection(pixels[inside], np.flatnonzero(inside), (480, 640)), depth


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.3, 0.0, 0.2), (0.4, -0.5, 1.0)])
def test_exact_data_give_the_exact_focal_length_at_any_tilt(angles):
    detection, depth = board_and_depth(camera(FOCAL_PX), angles)
    # The camera that is asked about is 6 % wrong in both focal lengths.
    found = focal_from_board_and_depth([detection], [depth], SPEC, camera(FOCAL_PX * 1.06))
    assert found.focal_px == pytest.approx(FOCAL_PX, rel=1e-6)


def test_a_known_lens_is_accounted_for():
    lens = (0.08, -0.12, 4e-4, -3e-4, 0.03)
    detection, depth = board_and_depth(camera(FOCAL_PX, lens), (0.3, 0.2, 0.0))
    with_lens = focal_from_board_and_depth([detection], [depth], SPEC, camera(FOCAL_PX, lens)).focal_px
    without = focal_from_board_and_depth([detection], [depth], SPEC, camera(FOCAL_PX)).focal_px
    assert with_lens == pytest.approx(FOCAL_PX, rel=1e-5)
    assert abs(without - FOCAL_PX) > 10 * abs(with_lens - FOCAL_PX)


def test_holes_a_hand_and_noise_move_it_little_and_show_in_its_confidence():
    random = np.random.default_rng(1)
    detection, depth = board_and_depth(camera(FOCAL_PX), (0.2, 0.1, 0.0))
    depth = depth * (1 + random.normal(0, 0.003, depth.shape)) * (random.random(depth.shape) > 0.2)
    depth[200:300, 250:330] *= 0.8
    noisy = replace(detection, pixels=detection.pixels + random.normal(0, 0.1, detection.pixels.shape))
    found = focal_from_board_and_depth([noisy], [depth], SPEC, camera(FOCAL_PX))
    assert abs(found.focal_px / FOCAL_PX - 1) < 0.003
    assert DEPTH_SCALE_SIGMA * FOCAL_PX < found.sigma_px < 0.02 * FOCAL_PX


def test_no_depth_on_the_board_is_refused():
    detection, depth = board_and_depth(camera(FOCAL_PX), (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="with its depth"):
        focal_from_board_and_depth([detection], [0 * depth], SPEC, camera(FOCAL_PX))
    with pytest.raises(InputError, match="register"):
        focal_from_board_and_depth([detection], [depth[:100]], SPEC, camera(FOCAL_PX))


def device(real_data, name):
    """Detections, depth in metres, and the camera as the factory says, of one real device."""
    root = real_data / "rgbd" / "truedepth_charuco"
    paths = sorted((root / "DepthEvalDataset" / name).glob("rgb_*.png"))
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    depth = [np.asarray(cv2.imread(str(p.with_name(p.name.replace("rgb_", "depth_"))), -1)) * 1e-4 for p in paths]
    metadata = json.loads((paths[0].parent / "DepthMetadata.json").read_text())[0]
    rows = [[float(v) for v in metadata[f"IntrinsicMatrix.{k}"].strip("()").split(",")] for k in range(3)]
    K = np.array(rows) + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    factory = Camera(name, name, "rgb", (480, 640), K, np.zeros(0), RigidTransform.identity())
    published = json.loads((root / "FrontCamCalibrationDataset" / name / "cam_calibration.json").read_text())
    return [detect_board(picture, SPEC) for picture in pictures], depth, factory, published["cam_matrix"][0][0]


@pytest.mark.parametrize("name", DEVICES)
def test_focal_length_of_a_real_device_agrees_with_the_published_one_within_one_per_cent(real_data, name):
    detections, depth, factory, published_px = device(real_data, name)
    found = focal_from_board_and_depth(detections, depth, SPEC, factory)
    assert abs(found.focal_px / published_px - 1) < 0.01
    # Only one factory value is off by more than 3 %.
    assert (abs(factory.K[0, 0] / found.focal_px - 1) > 0.03) == (name == "iPadPro12_5gen_iOS15")


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("lens", [0, 5])
def test_colour_alone_of_a_real_device_is_refused_as_degenerate(real_data, name, lens):
    detections = device(real_data, name)[0]
    views = [BoardView(0, pose, found.ids, found.pixels) for pose, found in enumerate(detections)]
    problem = BoardViews.of(SPEC, [(480, 640)], len(views), views)
    unknown = Camera.uncalibrated(name, name, "rgb", (480, 640))
    with pytest.raises(InputError, match=r"nearly parallel boards.*tilt the board by 30 degrees or more"):
        solve_rig(problem, [unknown], (lens,))
