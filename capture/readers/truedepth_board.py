"""Folders of TrueDepth colour and depth as ZEISS's recording app for iPhones and iPads writes them.

rgb_<ms>.png, depth_<ms>.png    640 x 480: 8-bit colour, and 16-bit depth in units of 0.1 mm
CameraMetadata.json             how colour was taken, one entry a frame
DepthMetadata.json              the factory's calibration, one entry a frame
Accelerometer.txt, Gyroscope.txt   lines of ms x y z, in m/s^2 and rad/s
checkersize.txt                 the square's side of the board in view, cm

- Times are whole milliseconds of the device's clock since it started: the frames of 24 Hz are multiples of 41.7 apart,
  inertial samples 10. A file's number is its metadata's `Timestamp`; colour and depth of one number are one exposure.
- The depth unit is nowhere in the files: the boards, held 200 mm away, measure 1,950 counts.
- Colour and depth share one point of view, K and lens (AVFoundation warps depth to the colour picture). K is given in
  pixels of 640 x 480 already, though its reference dimensions are the sensor's: the distortion's centre, which is given
  in the latter, is K's principal point times 3088 / 640, without a half-pixel term. So the origin is the corner, pixel
  centres are at +0.5, and K is taken as it is. A K that is given in the reference size is scaled alike.
- The lens's look-up tables are left out: nothing in the files says which way they map, and the project that made them
  found straight boards straight without them.

Source: github.com/ZEISS/iPad_TrueDepth_Issue_Eval and iPad_TrueDepth_Issue_App; Urban et al. 2022, arXiv 2201.10865.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from capture.readers.folder_walk import file_inside
from capture.readers.inertial import merged_inertial
from capture.readers.picture_file import read_picture
from capture.readers.recording import ImuTrack, Recording, StreamClock
from capture.yaml_document import read_small_file
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform

RGB, DEPTH = "rgb", "depth"
MODULE = "truedepth"
DEPTH_UNIT_M = 1e-4
CAMERA_METADATA, DEPTH_METADATA = "CameraMetadata.json", "DepthMetadata.json"
ACCELEROMETER, GYROSCOPE, SQUARE = "Accelerometer.txt", "Gyroscope.txt", "checkersize.txt"
PICTURE = re.compile(r"(rgb|depth)_([0-9]{1,15})\.png")
LARGEST_BYTES = 16 << 20
"""Of one text file; 4 kB a frame."""
LARGEST_SIDE_PX = 65_536
NEAR_THE_MIDDLE = (0.4, 0.6)
"""Where a principal point lies, in parts of its picture's side."""
FOCUS_CHANGE = 1e-3
"""Relative change of the focal length between frames that is worth a note."""
NS_PER_MS = 1_000_000
REMEDY = "copy the folder again from the device"


def recognises_truedepth_board(source: Path) -> str | None:
    """Why `source` is such a folder: it holds both metadata files."""
    try:
        if (source / CAMERA_METADATA).is_file() and (source / DEPTH_METADATA).is_file():
            return f"a folder with {CAMERA_METADATA} and {DEPTH_METADATA}"
    except (OSError, ValueError):  # ValueError: a null byte in the path
        pass
    return None


def read_truedepth_board(source: Path) -> Recording:
    """A recording of `rgb` (uint8, sRGB) and `depth` (uint16, 0.1 mm), which share K and pose; world y up.

    Raises InputError: a metadata file or picture is missing or damaged, entries that contradict each other.
    """
    source = source.absolute()
    cards = {RGB: _entries(source / CAMERA_METADATA), DEPTH: _entries(source / DEPTH_METADATA)}
    files, notes = _pictures(source, cards)
    size_hw, K = _calibration(source / DEPTH_METADATA, cards[DEPTH], notes)
    for entry in cards[RGB]:
        if _size_hw(entry, source / CAMERA_METADATA) != size_hw:
            got = f"colour of another size than depth's {size_hw[1]} x {size_hw[0]} px in {source}"
            raise InputError("colour and depth of one size", got, REMEDY)
    device_ns = {name: np.array([ms for ms, _ in files[name]], np.int64) * NS_PER_MS for name in (RGB, DEPTH)}
    cameras = {name: _camera(name, (size_hw, K), source.name, device_ns[name]) for name in (RGB, DEPTH)}
    notes += _facts(source, cards)
    imu, imu_files = _inertial(source)
    frame_files = {name: tuple(path for _, path in files[name]) for name in (RGB, DEPTH)}
    texts = [source / CAMERA_METADATA, source / DEPTH_METADATA, *imu_files]
    texts += [source / SQUARE] if (source / SQUARE).is_file() else []
    return Recording(
        address=str(source),
        reader="truedepth_board",
        rig=Rig(tuple(cameras.values())),
        clocks={name: StreamClock(device_ns[name]) for name in (RGB, DEPTH)},
        read_frame=_BoardFrames(cameras, frame_files),
        source_files=(*texts, *frame_files[RGB], *frame_files[DEPTH]),
        notes=tuple(notes),
        imu=imu,
        frame_files=frame_files,
    )


def _entries(path: Path) -> list[dict[str, Any]]:
    """One entry a frame, in order of time."""
    data = read_small_file(path, LARGEST_BYTES, "the metadata of a TrueDepth folder")
    try:
        entries = json.loads(data)
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("not a list of frames")
        times = [entry["Timestamp"] for entry in entries]
        if not all(type(time) is int and 0 <= time < 10**15 for time in times) or len(set(times)) != len(times):
            raise ValueError("times that are no whole milliseconds, or one twice")
    except (ValueError, KeyError, RecursionError) as error:
        raise InputError("a list of frames with their times", f"{error} in {path}", REMEDY) from error
    return sorted(entries, key=lambda entry: entry["Timestamp"])


def _pictures(
    source: Path, cards: Mapping[str, list[dict[str, Any]]]
) -> tuple[dict[str, list[tuple[int, Path]]], list[str]]:
    """By camera, each frame's millisecond and file; every frame that the metadata name must be there."""
    try:
        found = [(path, PICTURE.fullmatch(path.name)) for path in source.iterdir()]
        for path, match in found:
            if match is not None and path.is_symlink():
                file_inside(source, path.name, "a picture")
    except OSError as error:
        raise InputError("a TrueDepth folder", f"{source} ({error})", REMEDY) from error
    files = {name: {int(m[2]): path for path, m in found if m is not None and m[1] == name} for name in cards}
    notes, kept = [], {}
    for name, entries in cards.items():
        times = [entry["Timestamp"] for entry in entries]
        missing = [time for time in times if time not in files[name]]
        if missing:
            got = f"no {source / f'{name}_{missing[0]}.png'}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
            raise InputError("every picture that the metadata name", got, REMEDY)
        unnamed = sorted(set(files[name]) - set(times))
        if unnamed:
            notes.append(f"{name}: {len(unnamed)} pictures that the metadata do not name are left out")
        kept[name] = [(time, files[name][time]) for time in times]
    return kept, notes


def _calibration(
    path: Path, entries: list[dict[str, Any]], notes: list[str]
) -> tuple[tuple[int, int], Float[np.ndarray, "3 3"]]:
    """Rows and columns, and K in pixels of that size: the median over the frames, should the focus have moved."""
    sizes = {_size_hw(entry, path) for entry in entries}
    if len(sizes) != 1:
        raise InputError("depth of one size", f"{len(sizes)} in {path}", REMEDY)
    size_hw = sizes.pop()
    all_K = np.stack([_scaled_K(entry, size_hw, path) for entry in entries])
    change = float(np.ptp(all_K[:, 0, 0]) / all_K[0, 0, 0])
    if change > FOCUS_CHANGE:
        notes.append(f"the focus moved: focal lengths differ by {100 * change:.2f} %, their median is used")
    return size_hw, np.median(all_K, axis=0)


def _size_hw(entry: Mapping[str, Any], path: Path) -> tuple[int, int]:
    rows, columns = entry.get("Height"), entry.get("Width")
    if type(rows) is not int or type(columns) is not int or not (0 < rows <= 16_384 and 0 < columns <= 16_384):
        raise InputError("Width and Height in pixels", f"{str(columns)[:20]} and {str(rows)[:20]} in {path}", REMEDY)
    return rows, columns


def _scaled_K(entry: Mapping[str, Any], size_hw: tuple[int, int], path: Path) -> Float[np.ndarray, "3 3"]:
    try:
        K = np.array([_numbers(entry[f"IntrinsicMatrix.{row}"], 3) for row in range(3)])
        reference_wh = np.array(_numbers(entry["IntrinsicMatrixReferenceDimensions"], 2))
        possible = (reference_wh >= 1).all() and (reference_wh <= LARGEST_SIDE_PX).all()
        if not possible or abs(reference_wh[0] * size_hw[0] / (reference_wh[1] * size_hw[1]) - 1) > 0.02:
            raise ValueError(f"intrinsics of {reference_wh[0]:.0f} x {reference_wh[1]:.0f} px")
        if not (K[0, 0] > 0 and K[1, 1] > 0 and not K[2, :2].any() and K[2, 2] == 1 and not K[1, 0]):
            raise ValueError(f"intrinsics {K.tolist()}")
        for wh in (np.array(size_hw[::-1], float), reference_wh):
            part = K[:2, 2] / wh
            if (NEAR_THE_MIDDLE[0] < part).all() and (part < NEAR_THE_MIDDLE[1]).all():
                return np.diag([size_hw[1] / wh[0], size_hw[0] / wh[1], 1.0]) @ K
        raise ValueError(f"a principal point at {K[0, 2]:.1f}, {K[1, 2]:.1f}")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("the factory's intrinsics of this picture", f"{error} in {path}", REMEDY) from error


def _numbers(value: object, count: int) -> list[float]:
    """The numbers of a text such as (595.33997, 0.0, 318.32785)."""
    text = str(value)
    match = re.fullmatch(r"\(([^()]{1,200})\)", text)
    numbers = [float(part) for part in match[1].split(",")] if match else []
    if len(numbers) != count or not all(abs(number) < 1e9 for number in numbers):
        raise ValueError(f"{text[:60]!r} instead of {count} numbers")
    return numbers


def _camera(
    name: str,
    shared: tuple[tuple[int, int], Float[np.ndarray, "3 3"]],
    device: str,
    device_ns: Int64[np.ndarray, "t"],
) -> Camera:
    size_hw, K = shared
    is_depth = name == DEPTH
    return Camera(
        id=name,
        module=MODULE,
        kind="depth" if is_depth else "rgb",
        image_size_hw=size_hw,
        K=K,
        distortion=np.zeros(0),
        world_from_camera=RigidTransform(np.diag([1.0, -1.0, -1.0]), np.zeros(3)),
        rate_hz=1e9 / float(np.median(np.diff(device_ns))) if len(device_ns) > 1 else 0.0,
        depth_unit_m=DEPTH_UNIT_M if is_depth else None,
        serial=device,
        calibration_source=f"Apple's factory calibration, {DEPTH_METADATA}",
    )


def _facts(source: Path, cards: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    depth, colour = cards[DEPTH][0], cards[RGB][0]
    notes = ["times are whole milliseconds since the device started", "the depth unit, 0.1 mm, is not in the files"]
    if depth.get("DepthDataFiltered") is True:
        notes.append("depth filtered by the phone: holes are filled in and edges follow the colour picture")
    if depth.get("Accuracy") == 0:
        notes.append("the phone calls this depth relative: sizes are not metric")
    if colour.get("GeometricDistortionCorrectionEnabled") is True:
        notes.append("rectified by the phone")
    elif isinstance(depth.get("LensDistortionLookupTable"), list):
        notes.append("the lens's look-up tables are left out")
    if (source / SQUARE).is_file():
        text = read_small_file(source / SQUARE, 4096, "the side of a square in cm").decode(errors="replace").strip()
        try:
            side_cm = float(text)
        except ValueError:
            side_cm = np.nan
        if not 0.01 < side_cm < 1000:
            raise InputError(f"the side of a square in cm in {source / SQUARE}", repr(text[:40]), "correct the file")
        notes.append(f"the board's squares are {side_cm:g} cm wide")
    return notes


def _inertial(source: Path) -> tuple[tuple[ImuTrack, ...], list[Path]]:
    files = [source / name for name in (ACCELEROMETER, GYROSCOPE) if (source / name).is_file()]
    if not files:
        return (), []
    empty = np.zeros((0, 4))
    tables = {path.name: _table(path) for path in files}
    acceleration, rotation = tables.get(ACCELEROMETER, empty), tables.get(GYROSCOPE, empty)
    time_ns, values = merged_inertial(
        acceleration[:, 0].astype(np.int64) * NS_PER_MS,
        acceleration[:, 1:],
        rotation[:, 0].astype(np.int64) * NS_PER_MS,
        rotation[:, 1:],
    )
    return (ImuTrack("imu", RGB, time_ns, values),) if len(time_ns) else (), files


def _table(path: Path) -> Float[np.ndarray, "sample 4"]:
    """Milliseconds, x, y, z."""
    text = read_small_file(path, LARGEST_BYTES, "inertial samples").decode(errors="replace")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(part) for part in line.split()]
            if len(row) != 4 or not all(abs(value) < 1e15 for value in row) or row[0] < 0 or row[0] % 1:
                raise ValueError(line[:60])
        except ValueError as error:
            got = f"{error} in line {number} of {path}"
            raise InputError("lines of whole milliseconds, x, y and z", got, REMEDY) from error
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, 4)


@dataclass(frozen=True, eq=False)
class _BoardFrames:
    """Reads a picture each time it is asked; holds no pixels and no open file."""

    cameras: Mapping[str, Camera]
    files: Mapping[str, tuple[Path, ...]]

    def __call__(self, camera_id: str, index: int) -> np.ndarray:
        if camera_id not in self.files:
            raise InputError(f"a camera ({', '.join(self.files)})", repr(camera_id), "correct the camera's name")
        files = self.files[camera_id]
        if not 0 <= index < len(files):
            expected = f"a frame from 0 to {len(files) - 1} of {camera_id}"
            raise InputError(expected, f"frame {index}", "choose a frame that was recorded")
        return read_picture(files[index], self.cameras[camera_id])
