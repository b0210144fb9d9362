"""A solution put into the rig's cameras: intrinsics, poses in the world, and the source they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from capture.calibration.footage import Sensor
from capture.calibration.lens import K_of
from capture.calibration.rig_solution import RigSolution
from capture.calibration.world_frame import world_from_arrangement, world_from_rig_file
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform


def calibrated_rig(
    recorded: Rig,
    sensors: Sequence[Sensor],
    solution: RigSolution,
    coefficients: Sequence[int],
    world_of: Rig | None,
) -> Rig:
    """The recording's rig with solved cameras, in its order, placed in the world.

    Depth cameras whose own pictures show no board keep their calibration and move with a camera of their module.
    Raises InputError for such a camera without a calibration.
    """
    state = solution.state
    rotations, centres = state.sensor_rotation.transpose(0, 2, 1), state.centres
    if world_of is None:
        world_from_rig = world_from_arrangement(rotations, centres)
    else:
        names = tuple(sensor.camera.id for sensor in sensors)
        world_from_rig = world_from_rig_file(names, rotations, centres, world_of)
    source = f"board {solution.problem.spec}, {len({view.pose for view in solution.problem.views})} poses"
    solved: dict[str, Camera] = {}
    for number, (sensor, count) in enumerate(zip(sensors, coefficients, strict=True)):
        world_from_camera = world_from_rig.compose(state.camera_from_rig(number).inverse())
        for camera in (sensor.camera, sensor.depth):
            if camera is not None:
                solved[camera.id] = replace(
                    camera,
                    K=K_of(state.intrinsics[number]),
                    distortion=state.intrinsics[number, 4 : 4 + count].copy(),
                    world_from_camera=world_from_camera,
                    calibration_source=source,
                    reprojection_px=float(solution.reprojection_px[number]),
                    # What an earlier calibration was checked with says nothing of this one.
                    epipolar_px=None,
                    depth_consistency_m=None,
                    depth_scale=1.0,
                    depth_offset_m=0.0,
                    colour_matrix=None,
                )
    others = {camera.id: _carried(camera, recorded, solved) for camera in recorded.cameras if camera.id not in solved}
    return Rig(tuple({**solved, **others}[camera.id] for camera in recorded.cameras))


def _carried(camera: Camera, recorded: Rig, solved: Mapping[str, Camera]) -> Camera:
    """A camera that saw no board, at its factory place beside a solved camera of its module."""
    beside = [other for other in recorded.cameras if other.id in solved and other.module == camera.module]
    beside = [other for other in beside if other.is_calibrated]
    if not camera.is_calibrated or not beside:
        raise InputError(
            f"pictures of the board from {camera.id}, or its factory calibration beside a camera of {camera.module}",
            f"a {camera.kind} camera without infrared pictures and without a calibration",
            "record the sensor's infrared pictures too (same module and size), or leave the camera out",
        )
    here_from_beside = camera.world_from_camera.inverse().compose(beside[0].world_from_camera)
    world_from_camera = solved[beside[0].id].world_from_camera.compose(here_from_beside.inverse())
    source = f"{camera.calibration_source or 'factory'}, moved with {beside[0].id}"
    return replace(camera, world_from_camera=_orthonormal(world_from_camera), calibration_source=source)


def _orthonormal(transform: RigidTransform) -> RigidTransform:
    u, _, vt = np.linalg.svd(transform.rotation)
    return RigidTransform(u @ vt, transform.translation)
