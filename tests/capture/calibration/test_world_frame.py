"""The world of a calibrated rig: y up, the subject at the origin facing +z, or as another rig has it."""

from dataclasses import replace

import numpy as np
import pytest

from capture.calibration.world_frame import world_from_arrangement, world_from_rig_file
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from studio.presets import FACE_CENTRE, PRESETS

TURN = RigidTransform.from_rotvec(np.array([0.7, -1.1, 0.4]), np.array([0.3, -2.0, 0.8]))


def in_another_frame(rig):
    """Rotations and centres of the rig's cameras in a frame that is turned and moved at random."""
    poses = [TURN.compose(camera.world_from_camera) for camera in rig.cameras]
    return np.stack([p.rotation for p in poses]), np.stack([p.translation for p in poses])


def test_an_arc_of_cameras_stands_at_plus_z_with_y_up():
    rig = PRESETS["desk"](30.0)
    world_from_rig = world_from_arrangement(*in_another_frame(rig))
    world_from_world = world_from_rig.compose(TURN)
    assert np.linalg.norm(world_from_world @ FACE_CENTRE) < 0.01
    assert np.degrees(np.arccos(world_from_world.rotation[1, 1])) < 2
    assert np.degrees(np.arccos(world_from_world.rotation[2, 2])) < 5


def test_a_ring_of_cameras_faces_the_first_one():
    rig = PRESETS["vocap"](30.0)
    world_from_world = world_from_arrangement(*in_another_frame(rig)).compose(TURN)
    assert np.linalg.norm(world_from_world @ FACE_CENTRE) < 0.005
    assert np.degrees(np.arccos(world_from_world.rotation[1, 1])) < 1
    first = world_from_world @ rig.cameras[0].centre_world
    assert first[2] > 0.9 and abs(first[0]) < 0.01


def test_a_lone_camera_looks_at_a_subject_a_metre_away():
    rotations, centres = in_another_frame(Rig(PRESETS["desk"](30.0).cameras[:1]))
    world_from_rig = world_from_arrangement(rotations, centres)
    np.testing.assert_allclose(world_from_rig @ centres[0], [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(world_from_rig.rotate(rotations[0][:, 2]), [0, 0, -1], atol=1e-9)


def test_the_world_of_another_rig_is_kept_and_a_moved_camera_is_outvoted():
    rig = PRESETS["desk"](30.0)
    pushed = rig.cameras[2].world_from_camera.compose(
        RigidTransform.from_rotvec(np.array([0.1, 0, 0]), np.array([0.05, 0, 0]))
    )
    named = [replace(camera, calibration_source="earlier") for camera in rig.cameras]
    named[2] = replace(named[2], world_from_camera=pushed)
    kept = world_from_rig_file(rig.ids, *in_another_frame(rig), Rig(tuple(named))).compose(TURN)
    np.testing.assert_allclose(kept.matrix, np.eye(4), atol=1e-3)


def test_a_rig_of_other_cameras_is_refused():
    rig = PRESETS["desk"](30.0)
    names = tuple(f"other{k}" for k in range(len(rig.cameras)))
    with pytest.raises(InputError, match="same cameras"):
        world_from_rig_file(names, *in_another_frame(rig), rig)
