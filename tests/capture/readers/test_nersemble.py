"""NeRSemble sequences: videos by serial, one K for all, poses that take the world to the camera."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from capture.readers.nersemble import read_nersemble, recognises_nersemble
from geometry.errors import InputError
from geometry.transforms import RigidTransform
from tests.capture.readers.contract import ReaderContract
from tests.capture.readers.synthetic_video import even_pts, picture, write_video

SERIALS = ("220700191", "222200037")
SIZE_HW = (160, 110)  # 3208 x 2200 is 160.4 x 110
POSE = RigidTransform.from_rotvec(np.array([0.1, 2.9, 0.05]), np.array([0.02, -0.1, 1.1]))
K = [[8189.0, 0.0, 1099.5], [0.0, 8190.0, 1603.5], [0.0, 0.0, 1.0]]


def write_sequence(folder: Path) -> Path:
    sequence = folder / "030" / "sequences" / "EXP-1-head"
    for serial in SERIALS:
        frames = [picture(number, SIZE_HW) for number in range(4)]
        write_video(sequence / "images" / f"cam_{serial}.mp4", even_pts(4, 73), pictures=frames)
    calibration = folder / "030" / "calibration" / "camera_params.json"
    calibration.parent.mkdir(parents=True)
    poses = {serial: POSE.matrix.tolist() for serial in (*SERIALS, "221501007")}
    calibration.write_text(json.dumps({"world_2_cam": poses, "intrinsics": K}))
    return sequence


class TestNersemble(ReaderContract):
    reader = "nersemble"

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write_sequence(tmp_path)


def test_cameras_project_as_the_data_set_says(tmp_path: Path) -> None:
    recording = read_nersemble(write_sequence(tmp_path))
    assert recording.rig.ids == ("cam_220700191", "cam_222200037")
    camera = recording.rig["cam_222200037"]
    assert camera.serial == "222200037" and camera.rate_hz == pytest.approx(73, abs=0.1)
    in_world = np.array([[0.02, 0.05, -0.1]])
    in_camera = (POSE @ in_world)[0]
    expected = (np.array(K) @ in_camera / in_camera[2])[:2] + 0.5
    assert np.allclose(camera.project(in_world)[0][0], expected * SIZE_HW[0] / 3208)
    assert "world axes as in the file" in camera.calibration_source
    assert any("taken to be OpenCV's" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "world_2_cam"),
        ('{"world_2_cam": {"220700191": [[1]]}, "intrinsics": [[1,0,0],[0,1,0],[0,0,1]]}', "1 rows"),
        ('{"world_2_cam": {}, "intrinsics": [[1,0,0],[0,1,0],[0,0,1]]}', "recorded cameras"),
        ('{"world_2_cam": {"220700191": []}, "intrinsics": [[1,0,0],[0,1,0],[0,0]]}', "3 rows"),
    ],
)
def test_a_wrong_calibration_is_refused(tmp_path: Path, content: str, words: str) -> None:
    sequence = write_sequence(tmp_path)
    (tmp_path / "030" / "calibration" / "camera_params.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_nersemble(sequence)
    assert re.search(words, str(caught.value))


def test_other_shapes_and_folders_are_refused(tmp_path: Path) -> None:
    sequence = write_sequence(tmp_path)
    write_video(sequence / "images" / f"cam_{SERIALS[0]}.mp4", even_pts(2))
    with pytest.raises(InputError, match="shape of 2200 x 3208"):
        read_nersemble(sequence)
    assert recognises_nersemble(sequence / "images") is None and recognises_nersemble(tmp_path) is None
