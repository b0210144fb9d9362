"""Corners as a rig would see them, without pictures: the solver's truth in milliseconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from capture.calibration.board import BoardSpec
from capture.calibration.board_views import BoardView, BoardViews
from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, look_at, rigid_align

SPEC = BoardSpec.parse("charuco:12x9:30mm:22mm:DICT_4X4_100")
CENTRE = np.array([0.0, 1.25, 0.0])
UP = np.array([0.0, 1.0, 0.0])


def small_rig(count: int = 4, lens: tuple[float, ...] = (0.08, -0.12, 4e-4, -3e-4, 0.03)) -> Rig:
    """Cameras on an arc in front of the board, 0.8 m away, all of different focal lengths."""
    cameras = []
    for number, azimuth in enumerate(np.linspace(-0.8, 0.8, count)):
        eye = CENTRE + 0.8 * np.array([np.sin(azimuth), 0.2 * (-1) ** number, np.cos(azimuth)])
        focal = 900.0 + 20 * number
        K = np.array([[focal, 0, 641.7], [0, focal, 357.7], [0, 0, 1.0]])
        here = look_at(eye, CENTRE, UP)
        cameras.append(Camera(f"c{number}", f"m{number}", "rgb", (720, 1280), K, np.array(lens), here))
    return Rig(tuple(cameras))


def uncalibrated(rig: Rig) -> list[Camera]:
    """The same cameras, of which only the picture's size is known."""
    return [Camera.uncalibrated(c.id, c.module, c.kind, c.image_size_hw) for c in rig.cameras]


def waved_poses(count: int, seed: int, tilt: float = 0.6) -> list[RigidTransform]:
    """`world_from_board` facing the arc, tilted by up to `tilt` radians either way, rolled and moved."""
    random = np.random.default_rng(seed)
    poses = []
    for _ in range(count):
        turn = Rotation.from_euler("xyz", [*random.uniform(-tilt, tilt, 2), random.uniform(-np.pi, np.pi)])
        # The board's z points away from the cameras, its y down.
        rotation = np.diag([1.0, -1.0, -1.0]) @ turn.as_matrix()
        middle = rotation @ SPEC.corners_m.mean(0)
        poses.append(RigidTransform(rotation, CENTRE + random.uniform(-0.1, 0.1, 3) - middle))
    return poses


def seen_by(rig: Rig, poses: list[RigidTransform], noise_px: float, seed: int) -> BoardViews:
    """Corners of all poses in all cameras, those outside the pictures left out."""
    random = np.random.default_rng(seed)
    views = []
    for sensor, camera in enumerate(rig.cameras):
        rows, columns = camera.image_size_hw
        for pose, world_from_board in enumerate(poses):
            pixels, depth = camera.project(world_from_board @ SPEC.corners_m)
            pixels = pixels + random.normal(0, noise_px, pixels.shape) if noise_px else pixels
            inside = ((pixels > 0) & (pixels < [columns, rows])).all(1) & (depth > 0)
            if inside.sum() >= 12:
                views.append(BoardView(sensor, pose, np.flatnonzero(inside), pixels[inside]))
    return BoardViews.of(SPEC, [c.image_size_hw for c in rig.cameras], len(poses), views)


def place_errors_mm(centres: np.ndarray, truth: Rig) -> np.ndarray:
    """Distances of camera centres from the truth after the best rigid alignment."""
    wanted = np.stack([camera.centre_world for camera in truth.cameras])
    return 1e3 * np.linalg.norm(rigid_align(centres, wanted) @ centres - wanted, axis=1)


def moved(rig: Rig, camera_id: str, **changes: object) -> Rig:
    """The rig with one camera changed."""
    return Rig(tuple(replace(c, **changes) if c.id == camera_id else c for c in rig.cameras))  # type: ignore[arg-type]
