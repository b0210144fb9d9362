"""OpenCV's yml: EasyMocap's and EasyVolcap's intri.yml and extri.yml, and the file of a single camera.

`K_<cam>` (pixel centres at integers: half a pixel is added), `dist_<cam>` or `D_<cam>`, `H_<cam>` and `W_<cam>` where
they are given; `Rot_<cam>` (3x3) or `R_<cam>` (axis and angle) and `T_<cam>` take world to camera. World axes and unit
stay as they are in the file.
Source: EasyMocap, easymocap/mytools/camera_utils.py (read_intri, write_intri, write_extri); OpenCV, FileStorage.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from capture.calibration.formats.checked_values import lens, number, numbers, rotation, side
from capture.camera_names import camera_name
from capture.yaml_document import read_yaml
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from storage.image_folder import write_whole

INTRINSICS, EXTRINSICS = "intri.yml", "extri.yml"
REMEDY = "export the calibration again"
ROTATIONS_AGREE = 1e-3

SizesHw = Mapping[str, tuple[int, int]]
"""Picture sizes by camera, for files that do not say."""


def is_opencv_yml(path: Path) -> bool:
    """Whether the file says what OpenCV's FileStorage or EasyMocap writes."""
    document = read_yaml(path)
    return "camera_matrix" in document or any(key.startswith("K_") for key in document)


def read_opencv_yml(path: Path, sizes_hw: SizesHw) -> Rig:
    """The rig of an intri.yml with the extri.yml beside it, or of the yml of a single camera, at the origin.

    Raises InputError: a file that is missing or wrong, a camera without a pose, a picture size that neither the file
    nor `sizes_hw` gives.
    """
    document = read_yaml(path)
    if "camera_matrix" in document:
        return Rig((_single(document, path, sizes_hw),))
    extrinsics = path.with_name(EXTRINSICS if path.name == INTRINSICS else path.name.replace("intri", "extri", 1))
    if extrinsics == path:
        raise InputError(f"{INTRINSICS} and {EXTRINSICS}", f"{path}", "name the intrinsics, with the extrinsics beside")
    poses = read_yaml(extrinsics)
    names = _names(document)
    if not names:
        raise InputError("cameras (K_<name>)", f"none in {path}", REMEDY)
    return Rig(tuple(_camera(name, document, poses, path, sizes_hw) for name in names))


def write_opencv_yml(folder: Path, rig: Rig) -> tuple[Path, Path]:
    """Write intri.yml and extri.yml into a folder; the two paths. Kinds and rates are not kept."""
    intrinsics, extrinsics = _Lines(rig.ids), _Lines(rig.ids)
    for camera in rig.cameras:
        camera_from_world = camera.world_from_camera.inverse()
        intrinsics.matrix(f"K_{camera.id}", camera.opencv_K())
        distortion = camera.distortion if camera.distortion.size else np.zeros(5)
        intrinsics.matrix(f"dist_{camera.id}", distortion[None])
        intrinsics.lines += [f"H_{camera.id}: {camera.image_size_hw[0]}", f"W_{camera.id}: {camera.image_size_hw[1]}"]
        rotvec = Rotation.from_matrix(camera_from_world.rotation).as_rotvec()
        extrinsics.matrix(f"R_{camera.id}", rotvec[:, None])
        extrinsics.matrix(f"Rot_{camera.id}", camera_from_world.rotation)
        extrinsics.matrix(f"T_{camera.id}", camera_from_world.translation[:, None])
    write_whole(folder / INTRINSICS, intrinsics.text)
    write_whole(folder / EXTRINSICS, extrinsics.text)
    return folder / INTRINSICS, folder / EXTRINSICS


def _names(document: Mapping[str, Any]) -> list[str]:
    listed = document.get("names")
    if isinstance(listed, list) and listed:
        return [str(name) for name in listed]
    return [key.removeprefix("K_") for key in document if key.startswith("K_")]


def _camera(name: str, document: Mapping[str, Any], poses: Mapping[str, Any], path: Path, sizes_hw: SizesHw) -> Camera:
    camera_id = camera_name(name)
    try:
        K = _intrinsics(document[f"K_{name}"])
        listed = next((document[key] for key in (f"dist_{name}", f"D_{name}") if key in document), None)
        distortion = np.zeros(0) if listed is None else lens(_values(listed).ravel())
        size_hw = _size(document.get(f"H_{name}"), document.get(f"W_{name}"), sizes_hw.get(camera_id))
        camera_from_world = RigidTransform(_rotation(poses, name), _values(poses[f"T_{name}"]).reshape(3))
    except KeyError as error:
        raise InputError(f"every value of camera {name}", f"no {error} beside {path}", REMEDY) from error
    except (ValueError, TypeError) as error:
        raise InputError(f"a possible camera {name}", f"{error} in {path} or {EXTRINSICS}", REMEDY) from error
    here = camera_from_world.inverse()
    source = f"{path.name}, world axes and unit as in the file"
    return Camera(camera_id, camera_id, "rgb", size_hw, K, distortion, here, 0.0, calibration_source=source)


def _single(document: Mapping[str, Any], path: Path, sizes_hw: SizesHw) -> Camera:
    """What cv2.calibrateCamera's example and ROS write: camera_matrix, distortion_coefficients, image_width."""
    camera_id = camera_name(str(document.get("camera_name") or path.stem))
    try:
        K = _intrinsics(document["camera_matrix"])
        listed = document.get("distortion_coefficients", document.get("dist_coeffs"))
        distortion = np.zeros(0) if listed is None else lens(_values(listed).ravel())
        hint = sizes_hw.get(camera_id) or (next(iter(sizes_hw.values())) if len(sizes_hw) == 1 else None)
        size_hw = _size(document.get("image_height"), document.get("image_width"), hint)
        error_px = document.get("avg_reprojection_error")
        reprojection_px = None if error_px is None else abs(number(error_px))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError("a camera's OpenCV yml", f"{error} in {path}", REMEDY) from error
    here = RigidTransform(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
    source = f"{path.name}, intrinsics alone"
    return Camera(
        camera_id, camera_id, "rgb", size_hw, K, distortion, here, 0.0,
        calibration_source=source, reprojection_px=reprojection_px,
    )  # fmt: skip


def _intrinsics(value: Any) -> Float[np.ndarray, "3 3"]:
    K = _values(value).reshape(3, 3)
    if not np.array_equal(K[2], [0, 0, 1]) or K[1, 0] or not (K[0, 0] > 0 and K[1, 1] > 0):
        raise ValueError("K is not upper triangular with positive focal lengths and a last row 0 0 1")
    K[:2, 2] += 0.5  # OpenCV's pixel centres are at integers
    return K


def _rotation(poses: Mapping[str, Any], name: str) -> Float[np.ndarray, "3 3"]:
    found = []
    if f"Rot_{name}" in poses:
        found.append(rotation(_values(poses[f"Rot_{name}"]).reshape(3, 3)))
    if f"R_{name}" in poses:
        values = _values(poses[f"R_{name}"])
        is_matrix = values.size == 9
        found.append(
            rotation(values.reshape(3, 3)) if is_matrix else Rotation.from_rotvec(values.reshape(3)).as_matrix()
        )
    if not found:
        raise KeyError(f"Rot_{name}")
    if len(found) == 2 and np.abs(found[0] - found[1]).max() > ROTATIONS_AGREE:
        raise ValueError(f"Rot_{name} and R_{name} that contradict each other")
    return found[0]


def _size(height: Any, width: Any, given_hw: tuple[int, int] | None) -> tuple[int, int]:
    """The file's size, which must be the given one; EasyVolcap writes -1 where it does not know."""
    stated = None not in (height, width) and number(height) > 0
    if stated and given_hw is not None and (side(height), side(width)) != given_hw:
        raise ValueError(f"a calibration of {width} x {height} px for pictures of {given_hw[1]} x {given_hw[0]} px")
    if stated:
        return side(height), side(width)
    if given_hw is None:
        raise ValueError("no picture size (H_<name>, W_<name>) and no pictures that would tell it")
    return given_hw


def _values(value: Any) -> Float[np.ndarray, "r c"]:
    """An OpenCV matrix (rows, cols, data), or a plain list of numbers as one row."""
    if isinstance(value, list):
        return numbers(value)[None]
    if not isinstance(value, dict):
        raise ValueError(f"{str(value)[:40]!r} instead of a matrix")
    rows, columns = int(number(value["rows"])), int(number(value["cols"]))
    if not (0 <= rows <= 64 and 0 <= columns <= 64):
        raise ValueError(f"a matrix of {rows} x {columns}")
    return numbers(value["data"], rows * columns).reshape(rows, columns)


class _Lines:
    """OpenCV's FileStorage text, with all digits that a double has."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.lines = ["%YAML:1.0", "---", "names:", *(f'  - "{name}"' for name in names)]

    def matrix(self, key: str, values: Float[np.ndarray, "r c"]) -> None:
        rows, columns = values.shape
        data = ", ".join(_real(value) for value in values.ravel())
        self.lines += [
            f"{key}: !!opencv-matrix",
            f"   rows: {rows}",
            f"   cols: {columns}",
            "   dt: d",
            f"   data: [ {data} ]",
        ]

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def _real(value: float) -> str:
    """OpenCV's parser wants a dot in every real number."""
    text = f"{value:.17g}"
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}{'' if '.' in mantissa else '.'}{mark}{exponent}"
