"""Cameras that agree, and each way in which one of them can be wrong, found in a scene whose shape is known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from capture.consistency import measure_consistency
from capture.epipolar import Matches, epipolar_residuals_px
from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, look_at

SIZE_HW = (180, 240)
HEAD_M = np.array([0.085, 0.12, 0.1])
CENTRE = np.array([0.0, 1.3, 0.0])
WALL_Z_M = -0.9


def _camera(number: int, kind: str, angle: float, height_m: float = 0.0) -> Camera:
    centre = CENTRE + np.array([0.7 * np.sin(angle), height_m, 0.7 * np.cos(angle)])
    K = np.array([[260.0, 0, 121.0], [0, 260.0, 88.0], [0, 0, 1]])
    pose = look_at(centre, CENTRE, np.array([0.0, 1.0, 0.0]))
    distortion = np.array([0.08, -0.05, 1e-3, -5e-4, 0.01])
    unit_m = 1e-3 if kind == "depth" else None
    place = (kind, SIZE_HW, K, distortion, pose, 30.0, unit_m)
    return Camera(f"{kind}{number}", f"m{number}", *place, calibration_source="truth")  # pyright: ignore[reportArgumentType]


def _hits(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """World points that each pixel sees of an ellipsoid before a wall, and their depth in metres."""
    normalised = camera.pixel_grid_normalised()
    rays = camera.world_from_camera.rotate(np.concatenate([normalised, np.ones((*SIZE_HW, 1))], -1))
    start, along = (camera.centre_world - CENTRE) / HEAD_M, rays / HEAD_M
    a, b, c = (along**2).sum(-1), (along * start).sum(-1), (start**2).sum() - 1
    with np.errstate(invalid="ignore"):
        head = (-b - np.sqrt(b**2 - a * c)) / a
    with np.errstate(divide="ignore"):
        wall = (WALL_Z_M - camera.centre_world[2]) / rays[..., 2]
    depth_m = np.where(np.isfinite(head), head, np.where(wall > 0, wall, 0))
    return camera.centre_world + rays * depth_m[..., None], depth_m


def _depth(camera: Camera, seed: int, scale: float = 1.0, offset_m: float = 0.0, noise_m: float = 1.5e-3) -> np.ndarray:
    depth_m = _hits(camera)[1] * scale + offset_m
    noisy = depth_m + np.random.default_rng([seed, 3]).normal(0, noise_m, SIZE_HW) * (depth_m / 0.8) ** 2
    return np.round(noisy * 1000).clip(0).astype(np.uint16)


def _colour(camera: Camera) -> np.ndarray:
    """A pattern painted in space along z, which all cameras see alike."""
    points, depth_m = _hits(camera)
    random = np.random.default_rng(12)
    solid = cv2.GaussianBlur(random.normal(0, 1, (512, 512)).astype(np.float32), (0, 0), 1.6)
    solid = 128 + 45 * solid / solid.std()
    x, y, _ = np.moveaxis((points - CENTRE) / 0.0016 + 256, -1, 0).astype(np.float32)
    picture = cv2.remap(solid, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    picture = np.where(depth_m > 0, picture, 0)
    return np.repeat(np.round(picture).clip(0, 255).astype(np.uint8)[..., None], 3, 2)


DEPTHS = tuple(_camera(k, "depth", angle, 0.05 * k) for k, angle in enumerate((-0.7, -0.25, 0.25, 0.7)))
COLOURS = tuple(_camera(k, "rgb", angle, 0.04 * k) for k, angle in enumerate((-0.3, -0.1, 0.1, 0.3)))


def _turned(camera: Camera, degrees: float) -> Camera:
    turn = RigidTransform.from_rotvec(np.array([0.0, np.radians(degrees), 0.0]), np.zeros(3))
    return replace(camera, world_from_camera=camera.world_from_camera.compose(turn))


def test_depth_cameras_that_agree() -> None:
    frames = {camera.id: _depth(camera, k) for k, camera in enumerate(DEPTHS)}
    figures = measure_consistency(Rig(DEPTHS), lambda name: [frames[name]])
    for found in figures.values():
        assert found.depth_partners >= 2 and found.depth_m is not None and found.depth_own_m is not None
        assert found.depth_m < 1e-3 and found.depth_own_m < 3e-4


HEAD_TO_WALL_M = (0.6, 1.7)


@pytest.mark.parametrize(("scale", "offset_m"), [(1.0, 0.012), (1.0, -0.02), (1.03, 0.0)])
def test_the_one_depth_camera_that_is_off_stands_out(scale: float, offset_m: float) -> None:
    frames = {camera.id: _depth(camera, k) for k, camera in enumerate(DEPTHS)}
    frames["depth1"] = _depth(DEPTHS[1], 1, scale, offset_m)
    figures = measure_consistency(Rig(DEPTHS), lambda name: [frames[name]])
    least, most = sorted((scale - 1) * distance_m + offset_m for distance_m in HEAD_TO_WALL_M)
    wrong = figures["depth1"]
    assert wrong.depth_bias_m is not None and least - 4e-3 < wrong.depth_bias_m < most + 4e-3
    assert wrong.depth_own_m == pytest.approx(abs(wrong.depth_bias_m), rel=0.2)
    assert wrong.depth_m == pytest.approx(wrong.depth_own_m, rel=0.2)
    for name in ("depth0", "depth2", "depth3"):
        assert (figures[name].depth_own_m or 0) < 1.5e-3


def test_the_measured_depth_correction_is_used() -> None:
    frames = {camera.id: _depth(camera, k) for k, camera in enumerate(DEPTHS)}
    frames["depth2"] = _depth(DEPTHS[2], 2, 1 / 1.02, -0.01 / 1.02)
    corrected = replace(DEPTHS[2], depth_scale=1.02, depth_offset_m=0.01)
    figures = measure_consistency(Rig((*DEPTHS[:2], corrected, DEPTHS[3])), lambda name: [frames[name]])
    assert figures["depth2"].depth_own_m == pytest.approx(0, abs=5e-4)


def test_a_turned_depth_camera_stands_out_and_missing_frames_are_no_matter() -> None:
    frames = {camera.id: [None, _depth(camera, k), _depth(camera, k + 9)] for k, camera in enumerate(DEPTHS)}
    frames["depth3"][1] = None
    rig = Rig((*DEPTHS[:3], _turned(DEPTHS[3], 1.5)))
    figures = measure_consistency(rig, lambda name: iter(frames[name]))
    others = [figures[name].depth_own_m or 0.0 for name in ("depth0", "depth1", "depth2")]
    assert (figures["depth3"].depth_own_m or 0) > 5e-3 > 2 * max(others)


def test_noise_is_no_surface_and_a_camera_alone_has_no_figures() -> None:
    random = np.random.default_rng(0)
    frames = {camera.id: random.integers(550, 750, SIZE_HW).astype(np.uint16) for camera in DEPTHS}
    figures = measure_consistency(Rig(DEPTHS), lambda name: [frames[name]])
    assert all(found.depth_m is None and found.depth_partners == 0 for found in figures.values())
    alone = measure_consistency(Rig(DEPTHS[:1]), lambda name: [frames[name]])
    assert alone["depth0"].depth_m is None
    blind = [replace(camera, calibration_source="uncalibrated") for camera in DEPTHS[:2]]
    assert measure_consistency(Rig(tuple(blind)), lambda name: [frames[name]])["depth0"].depth_m is None


def test_front_and_back_of_a_head_are_not_one_surface() -> None:
    back = _camera(9, "depth", np.pi)
    frames = {camera.id: _depth(camera, k) for k, camera in enumerate((DEPTHS[1], back))}
    figures = measure_consistency(Rig((DEPTHS[1], back)), lambda name: [frames[name]])
    assert all(found.depth_m is None for found in figures.values())


def test_colour_cameras_that_agree_lie_on_their_epipolar_lines() -> None:
    figures = measure_consistency(Rig(COLOURS), lambda name: [_colour(Rig(COLOURS)[name])])
    for found in figures.values():
        assert found.epipolar_partners >= 1 and found.epipolar_own_px is not None
        assert found.epipolar_own_px < 0.35


def test_the_colour_camera_that_was_turned_stands_out() -> None:
    pictures = {camera.id: _colour(camera) for camera in COLOURS}
    # About the axis that its neighbours stand along, points leave their epipolar lines.
    tilt = RigidTransform.from_rotvec(np.array([np.radians(1.0), 0.0, 0.0]), np.zeros(3))
    wrong = replace(COLOURS[2], world_from_camera=COLOURS[2].world_from_camera.compose(tilt))
    figures = measure_consistency(Rig((*COLOURS[:2], wrong, COLOURS[3])), lambda name: [pictures[name]])
    assert (figures["rgb2"].epipolar_own_px or 0) > 2.0
    assert max(figures[name].epipolar_own_px or 0 for name in ("rgb0", "rgb1")) < 0.5


def test_matches_that_no_geometry_explains_give_no_figure_and_no_crash() -> None:
    """Three points of one picture for all of the other: OpenCV 5 finds no model and asserts."""
    random = np.random.default_rng(43)
    count = int(random.integers(8, 30))
    first = random.uniform(-0.3, 0.3, (count, 2))
    second = np.repeat(random.uniform(-0.3, 0.3, (3, 2)), 10, 0)[:count]
    a, b = (Camera.uncalibrated(name, name, "rgb", (720, 1280)) for name in "ab")
    assert len(epipolar_residuals_px(a, b, [Matches(first, second)])) == 0
