"""Rigs of known numbers for the formats' tests, and how far two of them project apart."""

import numpy as np

from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, look_at

LENSES = {
    0: np.zeros(0),
    4: np.array([-0.31, 0.12, 0.0011, -0.0007, 0.0]),
    5: np.array([-0.28, 0.09, -0.0009, 0.0012, -0.011]),
    8: np.array([0.41, -2.4, 0.0006, -0.0004, 1.42, 0.29, -2.22, 1.35]),
    14: np.array([0.2, -0.1, 0.001, 0.002, 0.03, 0.1, -0.05, 0.01, 0.001, 0.002, -0.001, 0.0007, 0.004, -0.003]),
}
TARGET = np.array([0.0, 1.25, 0.0])


def rig_of(lens_sizes: tuple[int, ...], seed: int, sizes_hw: tuple[tuple[int, int], ...] = ((720, 1280),)) -> Rig:
    """Cameras 01, 02 .. around the target with the lenses asked for; depth ones where the size is a Kinect's."""
    random = np.random.default_rng(seed)
    cameras = []
    for number, lens in enumerate(lens_sizes, start=1):
        size_hw = sizes_hw[(number - 1) % len(sizes_hw)]
        focal = random.uniform(0.8, 1.3) * size_hw[1] * np.array([1, random.uniform(0.98, 1.02)])
        centre = np.array(size_hw[::-1]) / 2 + random.uniform(-15, 15, 2)
        K = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
        eye = TARGET + random.normal(size=3) * 0.3 + [0, 0, 0.9]
        up = np.array([0.1, 1, 0.05]) + random.normal(size=3) * 0.05
        here = look_at(eye, TARGET, up)
        kind, unit_m = ("depth", 1e-3) if size_hw == (576, 640) else ("rgb", None)
        cameras.append(Camera(f"{number:02d}", f"{number:02d}", kind, size_hw, K, LENSES[lens], here, 30.0, unit_m))  # pyright: ignore[reportArgumentType]
    return Rig(tuple(cameras))


def points_world(seed: int, count: int = 400) -> np.ndarray:
    """Points as far from the target as a head's are."""
    return TARGET + np.random.default_rng(seed).uniform(-0.2, 0.2, (count, 3))


def apart_px(a: Rig, b: Rig, seed: int = 5) -> float:
    """The farthest that any camera of both projects a point apart."""
    points = points_world(seed)
    assert a.ids == b.ids
    assert [camera.image_size_hw for camera in a.cameras] == [camera.image_size_hw for camera in b.cameras]
    return max(float(np.abs(a[name].project(points)[0] - b[name].project(points)[0]).max()) for name in a.ids)


def moved(rig: Rig, rotvec: np.ndarray, translation: np.ndarray) -> Rig:
    """The rig in another world."""
    from dataclasses import replace

    there = RigidTransform.from_rotvec(rotvec, translation)
    return Rig(tuple(replace(c, world_from_camera=there.compose(c.world_from_camera)) for c in rig.cameras))
