"""EasyMocap's and EasyVolcap's folders: images/<camera>/<frame>.jpg or .png, intri.yml and extri.yml.

They hold no times: frame numbers count at RATE_HZ. Names with leading zeros stay as they are. World axes and unit are
those of the calibration, which EasyMocap puts on its board (z up) and in metres only where the board's size was.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from capture.calibration.formats.onto_recording import onto_recording
from capture.calibration.formats.opencv_yml import EXTRINSICS, INTRINSICS, read_opencv_yml
from capture.camera_names import camera_name, natural_order
from capture.readers.folder_walk import files_under
from capture.readers.frame_sources import CameraFrames, PictureSeries
from capture.readers.picture_file import read_picture_header
from capture.readers.recording import Recording, StreamClock
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.image_folder import MARKER

IMAGES = "images"
SUFFIXES = (".jpg", ".jpeg", ".png")
RATE_HZ = 30
"""What EasyMocap's own tools take where nothing states a rate."""


def recognises_easymocap(source: Path) -> str | None:
    """Why `source` is such a folder: images/ with intri.yml and extri.yml beside it."""
    try:
        whole = (source / IMAGES).is_dir() and (source / INTRINSICS).is_file() and (source / EXTRINSICS).is_file()
        if whole and not (source / MARKER).exists():
            return f"a folder with {IMAGES}/, {INTRINSICS} and {EXTRINSICS}"
    except (OSError, ValueError):  # ValueError: a null byte in the path
        pass
    return None


def read_easymocap(source: Path) -> Recording:
    """The recording of a folder; pictures are only counted here and decoded when they are asked for.

    A frame number that a camera lacks is a gap in its times. Raises InputError: no pictures, a file name that is no
    number, two pictures of one number, no or a wrong calibration, one that lacks a camera or is of another size.
    """
    source = Path(source).absolute()
    if not (source / IMAGES).is_dir():
        raise InputError(f"a folder with {IMAGES}/", f"{source}", "name the folder that holds it")
    pictures, notes = _pictures(source)
    cameras = []
    for camera_id, files in pictures.items():
        header = read_picture_header(files[0][1])
        if header.kind != "8-bit RGB":
            raise InputError("8-bit RGB pictures", f"{header.kind} in {files[0][1]}", "describe them by a layout.yaml")
        plain = Camera.uncalibrated(camera_id, camera_id, "rgb", header.size_hw)
        cameras.append(replace(plain, rate_hz=float(RATE_HZ)))
    recorded = Rig(tuple(cameras))
    calibration = read_opencv_yml(source / INTRINSICS, {camera.id: camera.image_size_hw for camera in cameras})
    rig, rig_notes = onto_recording(recorded, calibration, INTRINSICS)
    if uncalibrated := [camera.id for camera in rig.cameras if not camera.is_calibrated]:
        remedy = f"calibrate them, or take their folders out of {IMAGES}"
        raise InputError(f"every camera of {IMAGES} in {INTRINSICS}", f"none of {', '.join(uncalibrated)}", remedy)
    files = {camera_id: tuple(path for _, path in numbered) for camera_id, numbered in pictures.items()}
    frames = CameraFrames(str(source), {c.id: PictureSeries(c, files[c.id]) for c in rig.cameras})
    notes.append(f"times are counted at {RATE_HZ} frames a second, not measured")
    notes.append(f"world axes and unit are those of {EXTRINSICS}")
    return Recording(
        address=str(source),
        reader="easymocap",
        rig=rig,
        clocks={name: StreamClock(_counted_ns([number for number, _ in pictures[name]])) for name in rig.ids},
        read_frame=frames,
        read_jpeg=frames.jpeg,
        frame_files=files,
        source_files=(source / INTRINSICS, source / EXTRINSICS, *(path for its in files.values() for path in its)),
        notes=(*notes, *rig_notes),
    )


def _pictures(source: Path) -> tuple[dict[str, list[tuple[int, Path]]], list[str]]:
    """Number and path of each camera's pictures, in order, and notes on other files."""
    found: dict[str, dict[int, Path]] = {}
    others: list[str] = []
    folders: dict[str, str] = {}
    for name in files_under(source / IMAGES):
        folder, _, file = name.partition("/")
        if "/" in file or not file.lower().endswith(SUFFIXES):
            others.append(f"{IMAGES}/{name}")
            continue
        stem, camera_id = Path(file).stem, camera_name(folder)
        if not re.fullmatch("[0-9]{1,12}", stem):
            raise InputError("pictures named by frame numbers", f"{IMAGES}/{name}", "rename them, or use a layout.yaml")
        if folders.setdefault(camera_id, folder) != folder:
            raise InputError("folders of different names", f"{folders[camera_id]} and {folder}", "rename one of them")
        numbered = found.setdefault(camera_id, {})
        if int(stem) in numbered:
            got = f"{numbered[int(stem)].name} and {file} in {IMAGES}/{folder}"
            raise InputError("one picture of each frame number", got, "remove one of them")
        numbered[int(stem)] = source / IMAGES / name
    if not found:
        raise InputError(f"pictures in {IMAGES}/<camera>/", f"none in {source / IMAGES}", "copy the folder again")
    pictures = {camera_id: sorted(found[camera_id].items()) for camera_id in sorted(found, key=natural_order)}
    notes = [f"{len(others)} files that are no pictures are left out, such as {others[0]}"] if others else []
    for camera_id, numbered in pictures.items():
        if missing := numbered[-1][0] - numbered[0][0] + 1 - len(numbered):
            notes.append(f"{camera_id}: {missing} frame numbers are missing")
    return pictures, notes


def _counted_ns(numbers: list[int]) -> np.ndarray:
    return np.array([(2 * number * 1_000_000_000 + RATE_HZ) // (2 * RATE_HZ) for number in numbers], np.int64)
