"""Every format that can hold a rig gives it back, pixel for pixel, whatever other formats lie between."""

import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from capture.calibration.formats import WRITERS, calibration_files, read_calibration, write_calibration
from capture.calibration.formats.onto_recording import onto_recording
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from tests.capture.calibration.formats.rigs import LENSES, apart_px, points_world, rig_of

CLOSE_PX = 1e-6
FILES = {"mien": "rig.json", "opencv": "yml", "colmap": "sparse", "nerfstudio": "transforms.json", "k4a": "k4a.json"}
LENSES_OF = {"mien": (0, 4, 5, 8, 14), "opencv": (0, 4, 5, 8, 14), "colmap": (0, 4, 5, 8), "nerfstudio": (0, 4, 5)}


def _through(folder: Path, rig: Rig, name: str) -> Rig:
    write_calibration(folder / FILES[name], rig, name)
    return read_calibration(folder / FILES[name])


@pytest.mark.parametrize("name", LENSES_OF)
@pytest.mark.parametrize("seed", [11, 12])
def test_a_rig_comes_back_with_every_lens_the_format_has(tmp_path: Path, name: str, seed: int) -> None:
    rig = rig_of(LENSES_OF[name], seed, ((720, 1280), (1080, 1920)))
    assert apart_px(rig, _through(tmp_path, rig, name)) < CLOSE_PX


@pytest.mark.parametrize("order", list(itertools.permutations(["opencv", "colmap", "nerfstudio", "mien"]))[::5])
def test_one_format_after_the_other_loses_nothing(tmp_path: Path, order: tuple[str, ...]) -> None:
    rig = rig_of((0, 4, 5), 21)
    found = rig
    for step, name in enumerate(order):
        found = _through(tmp_path / str(step), found, name)
    assert apart_px(rig, found) < CLOSE_PX


@pytest.mark.parametrize("between", ["opencv", "colmap", "mien", "nerfstudio"])
def test_a_kinect_s_pair_goes_through_its_json_and_every_other_format(tmp_path: Path, between: str) -> None:
    lenses = (5, 4) if between == "nerfstudio" else (8, 8)
    rig = rig_of(lenses, 31, ((720, 1280), (576, 640)))
    kinect = _through(tmp_path / "a", rig, "k4a")
    assert kinect["02"].kind == "depth" and apart_px(rig, kinect) < CLOSE_PX
    other, notes = onto_recording(rig, _through(tmp_path / "b", kinect, between), between)
    assert notes == () and other["02"].kind == "depth" and other["02"].depth_unit_m == 1e-3
    again = _through(tmp_path / "c", other, "k4a")
    assert apart_px(rig, again) < CLOSE_PX


def test_opencv_itself_reads_our_yml_with_pixel_centres_at_integers(tmp_path: Path) -> None:
    rig = rig_of((0, 5, 8), 41)
    write_calibration(tmp_path, rig, "opencv")
    intri = cv2.FileStorage(str(tmp_path / "intri.yml"), cv2.FILE_STORAGE_READ)
    extri = cv2.FileStorage(str(tmp_path / "extri.yml"), cv2.FILE_STORAGE_READ)
    names = intri.getNode("names")
    assert [names.at(i).string() for i in range(names.size())] == list(rig.ids)
    points = points_world(3)
    for camera in rig.cameras:
        K, dist = intri.getNode(f"K_{camera.id}").mat(), intri.getNode(f"dist_{camera.id}").mat()
        rotvec, translation = extri.getNode(f"R_{camera.id}").mat(), extri.getNode(f"T_{camera.id}").mat()
        assert np.allclose(cv2.Rodrigues(rotvec)[0], extri.getNode(f"Rot_{camera.id}").mat(), atol=1e-12)
        pixels, _ = cv2.projectPoints(points, rotvec, translation, K, dist)
        assert np.abs(pixels.reshape(-1, 2) + 0.5 - camera.project(points)[0]).max() < CLOSE_PX
        assert intri.getNode(f"W_{camera.id}").real() == camera.image_size_hw[1]


def test_what_opencv_itself_writes_is_read(tmp_path: Path) -> None:
    camera = rig_of((5,), 43).cameras[0]
    camera_from_world = camera.world_from_camera.inverse()
    intri = cv2.FileStorage(str(tmp_path / "intri.yml"), cv2.FILE_STORAGE_WRITE)
    extri = cv2.FileStorage(str(tmp_path / "extri.yml"), cv2.FILE_STORAGE_WRITE)
    intri.startWriteStruct("names", cv2.FileNode_SEQ)
    intri.write("", "01")
    intri.endWriteStruct()
    intri.write("K_01", camera.opencv_K())
    intri.write("dist_01", camera.distortion[None])
    extri.write("R_01", cv2.Rodrigues(camera_from_world.rotation)[0])
    extri.write("T_01", camera_from_world.translation[:, None])
    intri.release()
    extri.release()
    assert apart_px(Rig((camera,)), read_calibration(tmp_path / "intri.yml", {"01": camera.image_size_hw})) < CLOSE_PX
    with pytest.raises(InputError, match="no picture size"):
        read_calibration(tmp_path)


def test_the_yml_of_a_single_camera_is_read(tmp_path: Path) -> None:
    camera = rig_of((5,), 44).cameras[0]
    file = cv2.FileStorage(str(tmp_path / "gopro.yml"), cv2.FILE_STORAGE_WRITE)
    for key, value in (("image_width", camera.image_size_hw[1]), ("image_height", camera.image_size_hw[0])):
        file.write(key, value)
    file.write("camera_matrix", camera.opencv_K())
    file.write("distortion_coefficients", camera.distortion[:, None])
    file.write("avg_reprojection_error", 0.23)
    file.release()
    found = read_calibration(tmp_path / "gopro.yml").cameras[0]
    assert found.id == "gopro" and found.reprojection_px == 0.23
    assert np.allclose(found.K, camera.K, atol=1e-12) and np.allclose(found.distortion, camera.distortion)


def _colmap_pixels(points: np.ndarray, line: str, pose: list[float]) -> np.ndarray:
    """COLMAP's own formulas (models.h), written out, of a cameras.txt line and an images.txt pose."""
    words = line.split()
    p = [float(word) for word in words[4:]]
    qw, qx, qy, qz, *t = pose
    x, y, z = (Rotation.from_quat([qx, qy, qz, qw]).as_matrix() @ points.T + np.array(t)[:, None]).tolist()
    u, v = np.array(x) / z, np.array(y) / z
    r2 = u * u + v * v
    fx, fy, cx, cy = (p[0], p[0], p[1], p[2]) if words[1].startswith(("SIMPLE", "RADIAL")) else p[:4]
    k = p[3:] if words[1].startswith(("SIMPLE", "RADIAL")) else p[4:]
    if words[1] in ("SIMPLE_RADIAL", "RADIAL"):
        k1, k2 = [*k, 0.0][:2]
        scale = 1 + k1 * r2 + k2 * r2 * r2
        u, v = u * scale, v * scale
    elif k:
        k1, k2, p1, p2, k3, k4, k5, k6 = [*k, 0.0, 0.0, 0.0, 0.0][:8]
        scale = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
        uv = u * v
        u, v = u * scale + 2 * p1 * uv + p2 * (r2 + 2 * u * u), v * scale + 2 * p2 * uv + p1 * (r2 + 2 * v * v)
    return np.stack([fx * u + cx, fy * v + cy], 1)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("SIMPLE_PINHOLE", [900.0, 641, 362]),
        ("PINHOLE", [900.0, 910, 641, 362]),
        ("SIMPLE_RADIAL", [900.0, 641, 362, -0.21]),
        ("RADIAL", [900.0, 641, 362, -0.21, 0.06]),
        ("OPENCV", [900.0, 905, 641, 362, -0.21, 0.06, 0.001, -0.002]),
        ("FULL_OPENCV", [900.0, 905, 641, 362, *LENSES[8].tolist()]),
    ],
)
def test_colmap_s_models_project_as_colmap_says_and_its_tracks_become_the_error(
    tmp_path: Path, model: str, parameters: list[float]
) -> None:
    line = f"7 {model} 1280 720 " + " ".join(map(repr, parameters))
    pose = [*Rotation.from_rotvec([0.2, 2.9, 0.1]).as_quat()[[3, 0, 1, 2]], 0.05, 1.2, 0.95]
    points = points_world(8, 60)
    pixels = _colmap_pixels(points, line, pose)
    noise = np.random.default_rng(9).normal(0, 0.4, pixels.shape)
    seen = " ".join(f"{x!r} {y!r} {3 * i + 1}" for i, (x, y) in enumerate((pixels + noise).tolist())) + " 5.0 6.0 -1"
    (tmp_path / "cameras.txt").write_text(f"# Camera list\n{line}\n")
    image = f"3 {' '.join(map(repr, map(float, pose)))} 7 left cam.jpg"
    (tmp_path / "images.txt").write_text(f"# Image list\n{image}\n{seen}\n4 1 0 0 0 0 0 1 7 other.jpg\n\n")
    tracks = "".join(f"{3 * i + 1} {x!r} {y!r} {z!r} 1 2 3 0.5 3 {i}\n" for i, (x, y, z) in enumerate(points.tolist()))
    (tmp_path / "points3D.txt").write_text("# Points\n" + tracks)
    rig = read_calibration(tmp_path)
    assert rig.ids == ("left_cam", "other")
    assert np.abs(rig["left_cam"].project(points)[0] - pixels).max() < CLOSE_PX
    assert rig["left_cam"].reprojection_px == pytest.approx(np.sqrt((noise**2).sum(1).mean()), rel=1e-6)
    assert rig["other"].reprojection_px is None


def test_nerfstudio_s_cameras_look_along_minus_z_with_y_up(tmp_path: Path) -> None:
    # The camera stands at z = 2 with OpenGL's identity axes: it looks along the world's -z, and y is up.
    shared = '"w": 200, "h": 100, "fl_x": 150.0, "cx": 100, "cy": 50, "camera_model": "OPENCV"'
    frame = '{"file_path": "./images/cam.01", "transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,2],[0,0,0,1]]}'
    (tmp_path / "transforms.json").write_text("{" + shared + ', "frames": [' + frame + "]}")
    camera = read_calibration(tmp_path / "transforms.json")["cam.01"]
    pixels, depth = camera.project(np.array([[0.0, 0.0, 0.0], [0.2, 0.1, 0.0]]))
    assert np.allclose(depth, 2) and np.allclose(pixels, [[100, 50], [115, 42.5]])


def test_a_per_frame_value_beats_the_shared_one(tmp_path: Path) -> None:
    text = """{"w": 64, "h": 48, "camera_angle_x": 0.9, "frames": [
      {"file_path": "images/a.png", "transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0]]},
      {"file_path": "images/b.png", "w": 32,
 "fl_x": 40, "fl_y": 41, "transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0]]}]}"""
    (tmp_path / "transforms.json").write_text(text)
    rig = read_calibration(tmp_path)
    assert rig["a"].K[0, 0] == pytest.approx(32 / np.tan(0.45)) and rig["a"].image_size_hw == (48, 64)
    assert (rig["b"].K[0, 0], rig["b"].K[1, 1], rig["b"].K[0, 2]) == (40, 41, 16) and rig["b"].image_size_hw == (48, 32)


@pytest.mark.parametrize(
    ("name", "lens", "words"),
    [("colmap", 14, "8 coefficients"), ("nerfstudio", 8, "5 coefficients"), ("k4a", 14, "colour and")],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str, lens: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        write_calibration(tmp_path / "out", rig_of((lens,), 51), name)
    skewed = rig_of((0,), 52).cameras[0]
    K = skewed.K.copy()
    K[0, 1] = 0.5
    with pytest.raises(InputError):
        write_calibration(tmp_path / "out", Rig((replace(skewed, K=K),)), name)
    assert set(WRITERS) == set(FILES)


def test_files_of_a_calibration_are_named_for_the_recording_s_digest(tmp_path: Path) -> None:
    rig = rig_of((0,), 61)
    write_calibration(tmp_path, rig, "opencv")
    write_calibration(tmp_path / "sparse", rig, "colmap")
    assert [path.name for path in calibration_files(tmp_path / "intri.yml")] == ["intri.yml", "extri.yml"]
    assert len(calibration_files(tmp_path / "sparse")) == 3


def test_a_calibration_for_other_pictures_or_cameras_is_not_put_on_a_recording() -> None:
    rig = rig_of((0, 0), 71)
    smaller = Rig(tuple(replace(camera, image_size_hw=(360, 640)) for camera in rig.cameras))
    with pytest.raises(InputError, match="640 x 360"):
        onto_recording(rig, smaller, "x.json")
    with pytest.raises(InputError, match="01, 02"):
        onto_recording(rig, Rig((replace(rig.cameras[0], id="99"),)), "x.json")
    half, notes = onto_recording(
        Rig((*rig.cameras[:1], Camera.uncalibrated("03", "03", "rgb", (720, 1280)))), rig, "x.json"
    )
    assert half.ids == ("01", "03") and not half["03"].is_calibrated
    assert "uncalibrated" in notes[0] and "03" in notes[0] and "not recorded: 02" in notes[1]


def test_one_calibration_serves_depth_and_infrared_of_a_sensor() -> None:
    recorded = Rig(
        (
            Camera.uncalibrated("d", "m", "depth", (720, 1280)),
            Camera.uncalibrated("i", "m", "infrared", (720, 1280)),
            Camera.uncalibrated("j", "n", "infrared", (720, 1280)),
        )
    )
    calibrated = replace(rig_of((5,), 81).cameras[0], id="d")
    rig, _ = onto_recording(recorded, Rig((calibrated,)), "x")
    assert rig["d"].kind == "depth" and rig["i"].kind == "infrared" and rig["i"].is_calibrated
    assert np.array_equal(rig["i"].K, calibrated.K) and np.array_equal(rig["i"].distortion, calibrated.distortion)
    assert not rig["j"].is_calibrated
