"""The studios that can be simulated: rigs by name, as built and as calibrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from geometry.cameras import Camera
from geometry.rigs import Rig
from geometry.transforms import RigidTransform, look_at

FACE_CENTRE = np.array([0.0, 1.25, 0.0])
"""Where the middle of the face rests in the simulated world, metres."""
UP = np.array([0.0, 1.0, 0.0])
RGB_DISTORTION = np.array([0.08, -0.12, 4e-4, -3e-4, 0.03])
DEPTH_DISTORTION = np.array([0.12, -0.06, 2e-4, -1e-4, 0.01, 0.10, -0.05, 0.008])
ROTATION_ERROR_DEG, TRANSLATION_ERROR_M, FOCAL_ERROR, CENTRE_ERROR_PX = 0.02, 3e-4, 4e-4, 0.25
"""One standard deviation of a careful ChArUco calibration of such a rig."""


def desk(rate_hz: float) -> Rig:
    """Four modules 0.5 to 0.9 m from the face, each an RGB camera and a depth camera."""
    places = ((-42.0, 4.0, 0.62), (-13.0, -14.0, 0.55), (14.0, 16.0, 0.72), (44.0, -2.0, 0.66))
    cameras: list[Camera] = []
    for number, (azimuth, elevation, distance) in enumerate(places):
        world_from_module = on_sphere(azimuth, elevation, distance)
        module = f"m{number}"
        cameras.append(colour_camera(f"{module}_rgb", module, world_from_module, (720, 1280), 1150.0))
        depth_here = _beside(world_from_module, np.array([0.032, 0.002, 0.0]))
        cameras.append(_depth(f"{module}_depth", module, depth_here, (576, 640), 504.0))
    return Rig(tuple(replace(camera, rate_hz=rate_hz) for camera in cameras))


def vocap(rate_hz: float) -> Rig:
    """31 modules around the subject, each with two RGB cameras and a depth camera: the shape of HEADSET's studio."""
    cameras: list[Camera] = []
    rings = ((11, -12.0), (12, 14.0), (8, 40.0))
    number = 0
    for count, elevation in rings:
        for step in range(count):
            azimuth = 360.0 * (step + 0.5 * (count % 2)) / count
            world_from_module = on_sphere(azimuth, elevation, 1.05)
            module = f"m{number:02d}"
            for side, shift in (("left", -0.025), ("right", 0.025)):
                here = _beside(world_from_module, np.array([shift, 0.0, 0.0]))
                cameras.append(colour_camera(f"{module}_rgb_{side}", module, here, (720, 1280), 1250.0))
            depth_here = _beside(world_from_module, np.array([0.0, 0.015, 0.0]))
            cameras.append(_depth(f"{module}_depth", module, depth_here, (576, 640), 620.0))
            number += 1
    return Rig(tuple(replace(camera, rate_hz=rate_hz) for camera in cameras))


PRESETS: dict[str, Callable[[float], Rig]] = {"desk": desk, "vocap": vocap}


def calibrated(rig: Rig, seed: int) -> Rig:
    """The rig as a careful calibration would report it: near the truth, not equal to it."""
    random = np.random.default_rng([seed, 2])
    cameras = []
    for camera in rig.cameras:
        K = camera.K.copy()
        K[[0, 1], [0, 1]] *= 1 + random.normal(0, FOCAL_ERROR)
        K[:2, 2] += random.normal(0, CENTRE_ERROR_PX, 2)
        wobble = RigidTransform.from_rotvec(random.normal(0, np.radians(ROTATION_ERROR_DEG), 3), np.zeros(3))
        turned = camera.world_from_camera.compose(wobble)
        moved = RigidTransform(turned.rotation, turned.translation + random.normal(0, TRANSLATION_ERROR_M, 3))
        # What such errors look like on the calibration board.
        error_px = abs(random.normal(0.22, 0.03))
        named = {"calibration_source": "simulated ChArUco calibration", "reprojection_px": error_px}
        cameras.append(replace(camera, K=K, world_from_camera=moved, **named))
    return Rig(tuple(cameras))


def on_sphere(azimuth_deg: float, elevation_deg: float, distance_m: float) -> RigidTransform:
    """A module that looks at the face; azimuth 0 is in front, positive towards the subject's left."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    level = np.cos(elevation)
    direction = np.array([np.sin(azimuth) * level, np.sin(elevation), np.cos(azimuth) * level])
    return look_at(FACE_CENTRE + direction * distance_m, FACE_CENTRE, UP)


def _beside(world_from_module: RigidTransform, shift_camera: np.ndarray) -> RigidTransform:
    """A sensor mounted off the module's centre, turned so that it still looks at the face."""
    return look_at(world_from_module @ shift_camera, FACE_CENTRE, UP)


def _K(size_hw: tuple[int, int], focal_px: float) -> np.ndarray:
    return np.array([[focal_px, 0, size_hw[1] / 2 + 1.7], [0, focal_px, size_hw[0] / 2 - 2.3], [0, 0, 1.0]])


def colour_camera(name: str, module: str, here: RigidTransform, size_hw: tuple[int, int], focal_px: float) -> Camera:
    """A colour camera with the studio's lens."""
    return Camera(name, module, "rgb", size_hw, _K(size_hw, focal_px), RGB_DISTORTION, here, serial=f"SIM-{name}")


def _depth(name: str, module: str, here: RigidTransform, size_hw: tuple[int, int], focal_px: float) -> Camera:
    K = _K(size_hw, focal_px)
    return Camera(name, module, "depth", size_hw, K, DEPTH_DISTORTION, here, depth_unit_m=1e-3, serial=f"SIM-{name}")
