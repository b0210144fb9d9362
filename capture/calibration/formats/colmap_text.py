"""COLMAP's text model: cameras.txt, images.txt and points3D.txt; pixel centres at +0.5 as ours.

A rig is a model with one picture a camera. World axes and scale stay as they are in the model. Its own tracks give
each camera's reprojection error.
Source: COLMAP documentation, "Output Format"; src/colmap/sensor/models.h.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64
from scipy.spatial.transform import Rotation

from capture.calibration.formats.checked_values import intrinsics, lens, number, side
from capture.camera_names import camera_names_of_pictures
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from storage.image_folder import write_whole

CAMERAS, IMAGES, POINTS = "cameras.txt", "images.txt", "points3D.txt"
LARGEST_FILE_BYTES = 2**29
LONGEST_LINE = 2**24
REMEDY = "export the model again (colmap model_converter --output_type TXT)"
MODELS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "SIMPLE_PINHOLE": ("f cx cy", ()),
    "PINHOLE": ("fx fy cx cy", ()),
    "SIMPLE_RADIAL": ("f cx cy", (0,)),
    "RADIAL": ("f cx cy", (0, 1)),
    "OPENCV": ("fx fy cx cy", (0, 1, 2, 3)),
    "FULL_OPENCV": ("fx fy cx cy", (0, 1, 2, 3, 4, 5, 6, 7)),
}
"""By model: its first parameters, and which of OpenCV's coefficients the others are."""


@dataclass(frozen=True, eq=False)
class _Lens:
    size_hw: tuple[int, int]
    K: Float[np.ndarray, "3 3"]
    distortion: Float[np.ndarray, "d"]


@dataclass(frozen=True, eq=False)
class _Image:
    name: str
    lens_id: int
    world_from_camera: RigidTransform
    pixels: Float[np.ndarray, "n 2"]
    point_ids: Int64[np.ndarray, "n"]


def is_colmap_folder(folder: Path) -> bool:
    """Whether a folder holds a text model."""
    return (folder / CAMERAS).is_file() and (folder / IMAGES).is_file()


def read_colmap(folder: Path) -> Rig:
    """The rig of a text model, each camera with the root mean square of its tracks' reprojection errors.

    Cameras are named for their pictures (`capture.camera_names`), in the model's order.
    Raises InputError: a file that is missing or wrong, a camera model other than those in MODELS.
    """
    lenses = dict(_read_cameras(folder / CAMERAS))
    images = list(_read_images(folder / IMAGES))
    if not images:
        raise InputError("pictures in a COLMAP model", f"none in {folder / IMAGES}", REMEDY)
    wanted = np.unique(np.concatenate([image.point_ids for image in images]))
    points = _read_points(folder / POINTS, wanted) if wanted.size else np.zeros((0, 3))
    cameras = []
    for image, name in zip(images, camera_names_of_pictures([image.name for image in images]), strict=True):
        if image.lens_id not in lenses:
            raise InputError(f"camera {image.lens_id} of {image.name}", f"none in {folder / CAMERAS}", REMEDY)
        its = lenses[image.lens_id]
        camera = Camera(
            name, name, "rgb", its.size_hw, its.K, its.distortion, image.world_from_camera, 0.0,
            calibration_source="COLMAP text model, world axes and scale as in the model",
        )  # fmt: skip
        cameras.append(_with_reprojection(camera, image, wanted, points))
    return Rig(tuple(cameras))


def write_colmap(folder: Path, rig: Rig) -> None:
    """Write a rig as a text model without points; pictures are named <camera>.png. Kinds and rates are not kept.

    Raises InputError for a lens or skew that no COLMAP model has.
    """
    lenses = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    images = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    for count, camera in enumerate(rig.cameras, start=1):
        rows, columns = camera.image_size_hw
        model, parameters = _parameters(camera)
        lenses.append(f"{count} {model} {columns} {rows} " + " ".join(f"{value:.17g}" for value in parameters))
        camera_from_world = camera.world_from_camera.inverse()
        x, y, z, w = Rotation.from_matrix(camera_from_world.rotation).as_quat()
        pose = " ".join(f"{value:.17g}" for value in (w, x, y, z, *camera_from_world.translation))
        images += [f"{count} {pose} {count} {camera.id}.png", ""]
    write_whole(folder / CAMERAS, "\n".join(lenses) + "\n")
    write_whole(folder / IMAGES, "\n".join(images) + "\n")
    write_whole(folder / POINTS, "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)\n")


def _parameters(camera: Camera) -> tuple[str, list[float]]:
    if camera.distortion.size > 8 or camera.K[0, 1]:
        got = f"camera {camera.id} with {camera.distortion.size} coefficients and skew {camera.K[0, 1]}"
        raise InputError("a lens of at most 8 coefficients without skew", got, "choose another format, such as opencv")
    distortion = lens(camera.distortion)
    needs_full = distortion[4:].any()
    model = "FULL_OPENCV" if needs_full else "OPENCV" if distortion.size else "PINHOLE"
    coefficients = np.zeros(len(MODELS[model][1]))
    coefficients[: distortion.size] = distortion[: coefficients.size]
    K = camera.K
    return model, [K[0, 0], K[1, 1], K[0, 2], K[1, 2], *coefficients]


def _with_reprojection(
    camera: Camera, image: _Image, ids: Int64[np.ndarray, "m"], points: Float[np.ndarray, "m 3"]
) -> Camera:
    from dataclasses import replace

    rows = np.searchsorted(ids, image.point_ids)
    seen_world = points[rows] if len(rows) else np.zeros((0, 3))
    known = np.isfinite(seen_world).all(1)
    if not known.any():
        return camera
    projected, _ = camera.project(seen_world[known])
    squared = ((projected - image.pixels[known]) ** 2).sum(1)
    return replace(camera, reprojection_px=float(np.sqrt(squared.mean())))


def _read_cameras(path: Path) -> Iterator[tuple[int, _Lens]]:
    for line, words in _lines(path):
        try:
            if not words or words[0].startswith("#"):
                continue
            model = words[1]
            if model not in MODELS:
                known = ", ".join(MODELS)
                raise InputError(
                    f"a camera model of {known}", f"{model[:40]} in {path}", "undistort, or calibrate anew"
                )
            first, coefficients = MODELS[model]
            values = dict(zip(first.split(), [number(word) for word in words[4:]], strict=False))
            others = [number(word) for word in words[4 + len(first.split()) :]]
            if len(values) != len(first.split()) or len(others) != len(coefficients):
                raise ValueError(f"{len(words) - 4} parameters of {model}")
            fx, fy = values.get("fx", values.get("f", 0.0)), values.get("fy", values.get("f", 0.0))
            distortion = np.zeros(8)
            distortion[list(coefficients)] = others
            K = intrinsics(fx, fy, values["cx"], values["cy"])
            yield int(words[0]), _Lens((side(words[3]), side(words[2])), K, lens(distortion))
        except (ValueError, IndexError) as error:
            raise _wrong(path, line, error) from error


def _read_images(path: Path) -> Iterator[_Image]:
    """Two lines a picture, of which the second, its observations, may be empty."""
    lines = _lines(path)
    for line, words in lines:
        if not words or words[0].startswith("#"):
            continue
        try:
            if len(words) < 10:
                raise ValueError(f"{len(words)} words instead of a picture's 10")
            w, x, y, z, *translation = (number(word) for word in words[1:8])
            if not 0.5 < np.linalg.norm([w, x, y, z]) < 2:
                raise ValueError("a quaternion that is not of unit length")
            camera_from_world = RigidTransform(Rotation.from_quat([x, y, z, w]).as_matrix(), np.array(translation))
            line, seen = next(lines, (line, []))
            observed = np.array([number(word) for word in seen], np.float64)
            if len(observed) % 3:
                raise ValueError("observations that are no triples")
            observed = observed.reshape(-1, 3)
            observed = observed[observed[:, 2] >= 0]  # -1: no point
            world_from_camera, ids = camera_from_world.inverse(), observed[:, 2].astype(np.int64)
            yield _Image(" ".join(words[9:]), int(words[8]), world_from_camera, observed[:, :2], ids)
        except ValueError as error:
            raise _wrong(path, line, error) from error


def _read_points(path: Path, ids: Int64[np.ndarray, "m"]) -> Float[np.ndarray, "m 3"]:
    """Positions of the points of these ids, in order; NaN where the model has none."""
    points = np.full((len(ids), 3), np.nan)
    for line, words in _lines(path):
        if not words or words[0].startswith("#"):
            continue
        try:
            point = int(words[0])
            row = int(np.searchsorted(ids, point))
            if row < len(ids) and ids[row] == point:
                points[row] = [number(word) for word in words[1:4]]
        except (ValueError, OverflowError) as error:
            raise _wrong(path, line, error) from error
    return points


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and words of each line, of which one at a time is in memory."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE_BYTES:
            got = f"{path}, which is missing or larger than {LARGEST_FILE_BYTES} bytes"
            raise InputError("a file of a COLMAP text model", got, REMEDY)
        with path.open(encoding="utf-8") as file:
            number_of_line = 0
            while text := file.readline(LONGEST_LINE):
                number_of_line += 1
                yield number_of_line, text.split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("a file of a COLMAP text model", f"{path} ({error})", REMEDY) from error


def _wrong(path: Path, line: int, error: Exception) -> InputError:
    return InputError("a COLMAP text model", f"{error} in line {line} of {path}", REMEDY)
