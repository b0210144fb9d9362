"""Rigs as JSON: in the `rig` group of a take and in the `rig.json` of a recording."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from geometry.cameras import Camera, CameraKind
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from storage.documents import LARGEST_DOCUMENT_BYTES, parse, plain, to_bytes
from storage.places import LocalPlace

RIG_FORMAT = "mien rig"
RIG_VERSION = 2
"""Raised with every change that older code cannot read."""

LENS_MODELS = {0: "pinhole", 5: "opencv5", 8: "opencv8", 14: "opencv14"}
"""Names of OpenCV's lens models by their number of coefficients."""

LARGEST_SIDE_PX = 2**15
"""Longer than any sensor's side; more is a damaged file."""

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Names that are safe as folders and in URLs."""


def rig_to_json(rig: Rig) -> dict[str, Any]:
    """A rig as plain JSON values: metres, pixels with centres at +0.5, 4x4 `world_from_camera`."""
    return {"format": RIG_FORMAT, "version": RIG_VERSION, "cameras": [camera_to_json(camera) for camera in rig.cameras]}


def camera_to_json(camera: Camera) -> dict[str, Any]:
    """A camera as plain JSON values."""
    values = {
        "id": camera.id,
        "module": camera.module,
        "kind": camera.kind,
        "model": LENS_MODELS[camera.distortion.size],
        "image_size_hw": [int(side) for side in camera.image_size_hw],
        "K": np.asarray(camera.K, np.float64),
        "distortion": np.asarray(camera.distortion, np.float64),
        "world_from_camera": np.asarray(camera.world_from_camera.matrix, np.float64),
        "rate_hz": float(camera.rate_hz),
        "depth_unit_m": None if camera.depth_unit_m is None else float(camera.depth_unit_m),
        "serial": camera.serial,
        "calibration_source": camera.calibration_source,
        "reprojection_px": None if camera.reprojection_px is None else float(camera.reprojection_px),
        "depth_scale": float(camera.depth_scale),
        "depth_offset_m": float(camera.depth_offset_m),
        "depth_consistency_m": None if camera.depth_consistency_m is None else float(camera.depth_consistency_m),
        "epipolar_px": None if camera.epipolar_px is None else float(camera.epipolar_px),
        "colour_matrix": None if camera.colour_matrix is None else np.asarray(camera.colour_matrix, np.float64),
    }
    return plain(values)


def rig_from_json(document: Mapping[str, Any], name: str = "the rig") -> Rig:
    """The rig of a JSON document, `name` being what messages call it.

    Raises InputError for another format or version, a missing or ill-typed value, or an impossible camera.
    """
    if document.get("format") != RIG_FORMAT or document.get("version") != RIG_VERSION:
        got = f"format {document.get('format')!r}, version {document.get('version')!r} in {name}"
        raise InputError(f"a {RIG_FORMAT!r} of version {RIG_VERSION}", got, "make it with `mien calibrate`")
    cameras = document.get("cameras")
    if not isinstance(cameras, list) or not cameras:
        raise InputError("a list of cameras", f"none in {name}", "make the rig with `mien calibrate`")
    return Rig(tuple(_camera_from_json(values, f"camera {number} of {name}") for number, values in enumerate(cameras)))


def read_rig(path: str | Path) -> Rig:
    """The rig of a file; InputError if it is missing or wrong."""
    place = LocalPlace(Path(path).absolute().parent)
    key = Path(path).name
    size = place.size(key)
    if size is None or size > LARGEST_DOCUMENT_BYTES:
        got = f"no file {path}" if size is None else f"{size} bytes in {path}"
        raise InputError("a rig file", got, "correct the path, or make one with `mien calibrate`")
    return rig_from_json(parse(place.read(key), str(path)), str(path))


def write_rig(path: str | Path, rig: Rig) -> None:
    """Store a rig as a file, atomically."""
    LocalPlace(Path(path).absolute().parent).write(Path(path).name, to_bytes(rig_to_json(rig)))


def require_name(name: str, what: str) -> str:
    """The name, if it can stand as a folder of a take; InputError otherwise."""
    if not NAME_PATTERN.fullmatch(name):
        remedy = "use letters, digits, dot, dash and underscore, starting with a letter or digit"
        raise InputError(f"a name for {what}", repr(name[:200]), remedy)
    return name


def _camera_from_json(values: Any, name: str) -> Camera:
    try:
        camera_id = require_name(_text(values["id"]), "a camera")
        if values["kind"] not in get_args(CameraKind):
            raise ValueError(f"kind {values['kind']!r} is none of {', '.join(get_args(CameraKind))}")
        distortion = _matrix(values["distortion"], (-1,))
        if LENS_MODELS.get(distortion.size) != values["model"]:
            raise ValueError(f"model {values['model']!r} does not have {distortion.size} coefficients")
        K = _matrix(values["K"], (3, 3))
        if not np.array_equal(K[2], [0, 0, 1]) or K[1, 0] != 0:
            raise ValueError("K is not upper triangular with a last row 0 0 1")
        pose = _matrix(values["world_from_camera"], (4, 4))
        if not np.array_equal(pose[3], [0, 0, 0, 1]):
            raise ValueError("world_from_camera has a last row other than 0 0 0 1")
        return Camera(
            id=camera_id,
            module=_text(values["module"]),
            kind=cast(CameraKind, values["kind"]),
            image_size_hw=_size(values["image_size_hw"]),
            K=K,
            distortion=distortion,
            world_from_camera=RigidTransform.from_matrix(pose),
            rate_hz=_number(values["rate_hz"]),
            depth_unit_m=_optional_number(values["depth_unit_m"]),
            serial=_text(values["serial"]),
            calibration_source=_text(values["calibration_source"]),
            reprojection_px=_optional_number(values["reprojection_px"]),
            depth_scale=_number(values["depth_scale"]),
            depth_offset_m=float(_matrix([values["depth_offset_m"]], (1,))[0]),
            depth_consistency_m=_optional_number(values["depth_consistency_m"]),
            epipolar_px=_optional_number(values["epipolar_px"]),
            colour_matrix=None if values["colour_matrix"] is None else _matrix(values["colour_matrix"], (3, 4)),
        )
    except KeyError as error:
        raise InputError(f"every value of a camera in {name}", f"no {error}", "complete the rig file") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"a possible camera in {name}", str(error), "correct the rig file") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) or value < 0:
        raise TypeError(f"{value!r} is not a number of zero or more")
    return float(value)


def _optional_number(value: Any) -> float | None:
    return None if value is None else _number(value)


def _size(value: Any) -> tuple[int, int]:
    height, width = value
    for side in (height, width):
        if type(side) is not int or not 0 < side <= LARGEST_SIDE_PX:
            raise ValueError(f"image size {value!r} is not two whole numbers from 1 to {LARGEST_SIDE_PX}")
    return height, width


def _matrix(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    matrix = np.asarray(value, object)
    if any(type(number) not in (int, float) for number in matrix.ravel()):
        raise TypeError(f"{value!r} holds something other than numbers")
    matrix = matrix.astype(np.float64)
    if matrix.ndim != len(shape) or (shape != (-1,) and matrix.shape != shape):
        raise ValueError(f"a matrix of shape {matrix.shape}, not {shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("a matrix with values that are not finite")
    return matrix
