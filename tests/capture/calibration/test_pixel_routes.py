"""A rendered board gives the same cx, cy through every route: half a pixel is 0.4 mm on a face.

The pictures come from `studio.calibration_board`, which asks each pixel what it covers (its own test compares it with a
third way of drawing); the truth is the camera they were drawn with, never what a solver made of it.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from capture.calibration.board import BoardSpec, detect_board
from capture.calibration.board_views import BoardView, BoardViews
from capture.calibration.formats import WRITERS, read_calibration, write_calibration
from capture.calibration.lens import K_of
from capture.calibration.rig_solution import solve_rig
from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from studio.calibration_board import PrintedBoard, see_board

BOARD = PrintedBoard()
SPEC = BoardSpec.parse(BOARD.spec)
K = np.array([[900.0, 0, 647.37], [0, 900.0, 352.81], [0, 0, 1]])
TRUTH = Camera("c0", "m0", "rgb", (720, 1280), K, np.zeros(0), RigidTransform.identity())
POSES = 24
TOLERANCE_PX = 0.05


@pytest.fixture(scope="module")
def detections():
    random = np.random.default_rng(21)
    normalised = TRUTH.pixel_grid_normalised()
    found = []
    for number in range(POSES):
        angles = [0.7 * np.cos(2.4 * number), 0.7 * np.sin(2.4 * number), random.uniform(-np.pi, np.pi)]
        rotation = Rotation.from_euler("xyz", angles).as_matrix()
        middle = np.array([*random.uniform(-0.05, 0.05, 2), random.uniform(0.6, 0.8)])
        pose = RigidTransform(rotation, middle - rotation @ np.array([*(BOARD.size_m / 2), 0.0]))
        seen = see_board(TRUTH, normalised, BOARD, pose)
        assert seen is not None
        picture = np.full(TRUTH.image_size_hw, 0.05)
        picture[seen.place] = seen.reflectance + (1 - seen.coverage) * 0.05
        grey = cv2.GaussianBlur(np.round(255 * picture).astype(np.uint8), (0, 0), 0.5)
        found.append(detect_board(grey, SPEC))
    return found


@pytest.fixture(scope="module")
def solved(detections):
    views = [BoardView(0, pose, found.ids, found.pixels) for pose, found in enumerate(detections)]
    problem = BoardViews.of(SPEC, [TRUTH.image_size_hw], POSES, views)
    unknown = Camera.uncalibrated("c0", "m0", "rgb", TRUTH.image_size_hw)
    state = solve_rig(problem, [unknown], (0,)).state
    return replace(TRUTH, K=K_of(state.intrinsics[0]), calibration_source="board")


def test_the_solver_recovers_the_principal_point(solved):
    assert np.abs(solved.K[:2, 2] - K[:2, 2]).max() < TOLERANCE_PX
    assert abs(solved.K[0, 0] / K[0, 0] - 1) < 2e-4


def test_opencvs_own_calibration_recovers_it_with_half_a_pixel_added(detections):
    corners = [SPEC.corners_m[found.ids].astype(np.float32) for found in detections]
    pixels = [(found.pixels - 0.5).astype(np.float32).reshape(-1, 1, 2) for found in detections]
    flags = cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3 | cv2.CALIB_ZERO_TANGENT_DIST
    size = TRUTH.image_size_hw[::-1]
    _, opencv_K, *_ = cv2.calibrateCamera(corners, pixels, size, np.eye(3), np.zeros(5), flags=flags)
    assert np.abs(opencv_K[:2, 2] + 0.5 - K[:2, 2]).max() < TOLERANCE_PX


@pytest.mark.parametrize("format", [name for name in WRITERS if name != "k4a"])
def test_every_file_format_gives_it_back(solved, format, tmp_path):
    place = tmp_path / ("rig" if format in ("opencv", "colmap") else "rig.json")
    if format == "nerfstudio":
        place = tmp_path / "transforms.json"
    write_calibration(place, Rig((solved,)), format)
    sizes = {"c0": TRUTH.image_size_hw}
    back = read_calibration(place, sizes).cameras[0]
    assert np.abs(back.K[:2, 2] - K[:2, 2]).max() < TOLERANCE_PX
    assert np.abs(back.K - solved.K).max() < 1e-6


def test_a_kinects_document_gives_it_back(solved, tmp_path):
    """The format needs a depth camera of a Kinect's size beside the rendered one."""
    colour = replace(solved, id="color", distortion=np.zeros(8))
    depth_K = np.array([[504.0, 0, 321.4], [0, 504.0, 285.3], [0, 0, 1]])
    depth = replace(colour, id="depth", kind="depth", image_size_hw=(576, 640), K=depth_K, depth_unit_m=1e-3)
    write_calibration(tmp_path / "k4a.json", Rig((colour, depth)), "k4a")
    back = {camera.kind: camera for camera in read_calibration(tmp_path / "k4a.json").cameras}
    assert np.abs(back["rgb"].K[:2, 2] - K[:2, 2]).max() < TOLERANCE_PX
    assert np.abs(back["depth"].K - depth_K).max() < 1e-3
