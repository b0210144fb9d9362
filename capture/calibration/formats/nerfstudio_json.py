"""NeRFstudio's transforms.json: intrinsics shared or per picture, poses of OpenGL cameras; pixel centres at +0.5.

A rig is a file with one picture a camera. OpenGL cameras look along -z with y up, so their y and z axes are turned.
The world stays as it is in the file: `applied_transform` and `applied_scale` are not undone.
Source: nerfstudio documentation, "Data conventions"; nerfstudio/cameras/camera_utils.py (k1 to k4 are radial).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from capture.calibration.formats.checked_values import intrinsics, lens, matrix, number, pose, side
from capture.camera_names import camera_name, camera_names_of_pictures
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from storage.documents import to_bytes
from storage.image_folder import write_whole

FILE = "transforms.json"
MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
MOST_FRAMES = 100_000
OPENCV_FROM_OPENGL = RigidTransform(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
REMEDY = "export transforms.json again"

SizesHw = Mapping[str, tuple[int, int]]
"""Picture sizes by camera, for files that do not say."""


def is_nerfstudio(document: Mapping[str, Any]) -> bool:
    """Whether a JSON document is a transforms.json."""
    frames = document.get("frames")
    return isinstance(frames, list) and any(isinstance(frame, dict) and "transform_matrix" in frame for frame in frames)


def nerfstudio_rig(document: Mapping[str, Any], name: str, sizes_hw: SizesHw) -> Rig:
    """The rig of a transforms.json that messages call `name`; cameras are named for their pictures.

    Raises InputError: a value that is missing or wrong, a camera model other than those in MODELS, k4 (whose term in
    the eighth power OpenCV does not have), a picture size that neither the file nor `sizes_hw` gives.
    """
    frames = document.get("frames")
    if not isinstance(frames, list) or not 0 < len(frames) <= MOST_FRAMES:
        raise InputError(f"1 to {MOST_FRAMES} frames", f"other in {name}", REMEDY)
    if not all(isinstance(frame, dict) and isinstance(frame.get("file_path"), str) for frame in frames):
        raise InputError("frames with their file_path", f"others in {name}", REMEDY)
    names = camera_names_of_pictures([_with_suffix(frame["file_path"]) for frame in frames])
    shared = {key: value for key, value in document.items() if key != "frames"}
    source = f"{FILE}, world as in the file"
    if document.get("applied_transform") is not None or document.get("applied_scale") not in (None, 1, 1.0):
        source += ", whose applied transform and scale are not undone"
    return Rig(
        tuple(_camera(c, shared | frame, source, sizes_hw, name) for c, frame in zip(names, frames, strict=True))
    )


def write_nerfstudio(path: Path, rig: Rig) -> None:
    """Write a rig as transforms.json, pictures named images/<camera>.png. Kinds and rates are not kept.

    Raises InputError for a lens or skew that the model does not have.
    """
    frames = [_frame(camera) for camera in rig.cameras]
    write_whole(path, to_bytes({"camera_model": "OPENCV", "frames": frames}))


def _camera(camera_id: str, values: Mapping[str, Any], source: str, sizes_hw: SizesHw, name: str) -> Camera:
    try:
        model = values.get("camera_model", "OPENCV")
        if model not in MODELS or values.get("is_fisheye"):
            raise ValueError(f"camera model {str(model)[:40]!r}{' (fisheye)' if values.get('is_fisheye') else ''}")
        coefficients = {key: number(values.get(key, 0.0)) for key in ("k1", "k2", "p1", "p2", "k3", "k4")}
        if coefficients["k4"]:
            raise ValueError("k4, a term in the eighth power that OpenCV's model does not have")
        size_hw = _size(values, sizes_hw.get(camera_id))
        fx, fy = _focal(values, size_hw)
        cx = number(values.get("cx", size_hw[1] / 2))
        cy = number(values.get("cy", size_hw[0] / 2))
        distortion = lens(np.array([coefficients[key] for key in ("k1", "k2", "p1", "p2", "k3")]))
        here = pose(matrix(values["transform_matrix"], [(4, 4), (3, 4)])).compose(OPENCV_FROM_OPENGL)
        K = intrinsics(fx, fy, cx, cy)
        return Camera(camera_id, camera_id, "rgb", size_hw, K, distortion, here, 0.0, calibration_source=source)
    except KeyError as error:
        raise InputError(f"every value of camera {camera_id}", f"no {error} in {name}", REMEDY) from error
    except (ValueError, TypeError) as error:
        raise InputError(f"a possible camera {camera_id}", f"{error} in {name}", REMEDY) from error


def _focal(values: Mapping[str, Any], size_hw: tuple[int, int]) -> tuple[float, float]:
    """fl_x and fl_y; one stands for both, and a view angle for either."""
    focal = []
    for axis, pixels in (("x", size_hw[1]), ("y", size_hw[0])):
        if f"fl_{axis}" in values:
            focal.append(number(values[f"fl_{axis}"]))
        elif f"camera_angle_{axis}" in values:
            angle = number(values[f"camera_angle_{axis}"])
            if not 0 < angle < math.pi:
                raise ValueError(f"a view angle of {angle} rad")
            focal.append(pixels / 2 / math.tan(angle / 2))
        else:
            focal.append(0.0)
    return focal[0] or focal[1], focal[1] or focal[0]


def _size(values: Mapping[str, Any], given_hw: tuple[int, int] | None) -> tuple[int, int]:
    if "h" not in values or "w" not in values:
        if given_hw is None:
            raise ValueError("no picture size (h, w) and no pictures that would tell it")
        return given_hw
    size_hw = (side(values["h"]), side(values["w"]))
    if given_hw is not None and given_hw != size_hw:
        raise ValueError(f"a calibration of {size_hw[1]} x {size_hw[0]} px for {given_hw[1]} x {given_hw[0]} px")
    return size_hw


def _with_suffix(path: str) -> str:
    """Blender's exporter leaves the suffix out, and a name such as cam.01 must not lose its end."""
    known = (".png", ".jpg", ".jpeg", ".exr", ".webp", ".tif", ".tiff")
    return path if path.lower().endswith(known) else f"{path}.png"


def _frame(camera: Camera) -> dict[str, Any]:
    distortion = lens(camera.distortion)
    if distortion.size > 5 or camera.K[0, 1]:
        got = f"camera {camera.id} with {distortion.size} coefficients and skew {camera.K[0, 1]}"
        raise InputError("a lens of at most 5 coefficients without skew", got, "choose another format, such as opencv")
    k1, k2, p1, p2, k3 = [*distortion, *np.zeros(5 - distortion.size)]
    opengl = camera.world_from_camera.compose(OPENCV_FROM_OPENGL.inverse())
    K, (rows, columns) = camera.K, camera.image_size_hw
    size = {"w": columns, "h": rows, "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    radial = {"k1": k1, "k2": k2, "k3": k3, "p1": p1, "p2": p2}
    return {"file_path": f"images/{camera_name(camera.id)}.png", "transform_matrix": opengl.matrix} | size | radial
