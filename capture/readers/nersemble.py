"""A sequence of the NeRSemble data set: <participant>/sequences/<sequence>/images/cam_<serial>.mp4.

Its calibration lies at <participant>/calibration/camera_params.json, outside the sequence's folder, and so is read but
is none of the recording's files. Pixel centres there are taken to be OpenCV's, which the data set does not say.
Source: nersemble-data, constants.py (paths) and nersemble_data.py (`world_2_cam`, OpenCV camera axes, one K for all).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from capture.calibration.formats.checked_values import intrinsics, matrix, pose
from capture.calibration.formats.onto_recording import onto_recording
from capture.readers.recording import Recording
from capture.readers.video import read_video
from capture.yaml_document import read_small_file
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.documents import parse

IMAGES = "images"
CALIBRATION = Path("calibration", "camera_params.json")
VIDEO = re.compile(r"cam_([0-9]+)\.mp4")
LARGEST_BYTES = 2**24
RECORDED_HW = (3208, 2200)
"""What the intrinsics are for, after turning the pictures upright (nersemble-data, README, 4.2)."""


def recognises_nersemble(source: Path) -> str | None:
    """Why `source` is a sequence: images/cam_<serial>.mp4 and its participant's calibration two folders up."""
    try:
        if not (source / IMAGES).is_dir() or not _calibration_of(source).is_file():
            return None
        videos = [path for path in (source / IMAGES).iterdir() if VIDEO.fullmatch(path.name)]
        return f"{len(videos)} videos {IMAGES}/cam_*.mp4 with {CALIBRATION}" if videos else None
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None


def read_nersemble(source: Path) -> Recording:
    """The recording of a sequence; cameras are named for their serials' files, the world is the calibration's.

    Raises InputError: no videos, one that is broken, a calibration that is missing or wrong, pictures that are not of
    its shape.
    """
    source = Path(source).absolute()
    calibration = _calibration_of(source)
    recording = read_video(source / IMAGES)
    rig, notes = onto_recording(recording.rig, _rig(calibration, recording.rig), CALIBRATION.name)
    cameras = [replace(camera, serial=camera.id.removeprefix("cam_")) for camera in rig.cameras]
    kept = [note for note in recording.notes if not note.startswith("no calibration")]
    return replace(
        recording,
        address=str(source),
        reader="nersemble",
        rig=Rig(tuple(cameras)),
        notes=(*kept, *notes, f"calibrated by {calibration}, its pixel centres taken to be OpenCV's"),
    )


def _calibration_of(source: Path) -> Path:
    return source.absolute().parent.parent / CALIBRATION


def _rig(path: Path, recorded: Rig) -> Rig:
    """Cameras that have both a pose and a video, with K scaled to the video's size."""
    document = parse(read_small_file(path, LARGEST_BYTES, "NeRSemble's calibration"), str(path))
    try:
        poses = document["world_2_cam"]
        stated = matrix(document["intrinsics"], [(3, 3)])
        if not isinstance(poses, dict) or not np.array_equal(stated[2], [0, 0, 1]) or stated[1, 0] or stated[0, 1]:
            raise ValueError("no poses, or intrinsics that are not upper triangular without skew")
        cameras = []
        for camera in recorded.cameras:
            serial = camera.id.removeprefix("cam_")
            if serial in poses:
                camera_from_world = pose(matrix(poses[serial], [(4, 4), (3, 4)]))
                K = _scaled(stated, camera)
                source = "NeRSemble's camera_params.json, world axes as in the file"
                here = camera_from_world.inverse()
                cameras.append(replace(camera, K=K, world_from_camera=here, calibration_source=source))
    except (KeyError, ValueError, TypeError) as error:
        remedy = "download the participant's calibration again"
        raise InputError("world_2_cam and intrinsics", f"{error} in {path}", remedy) from error
    return Rig(tuple(cameras))


def _scaled(stated: np.ndarray, camera: Camera) -> np.ndarray:
    rows, columns = camera.image_size_hw
    scale = rows / RECORDED_HW[0]
    if abs(columns - scale * RECORDED_HW[1]) > 1:
        expected = f"pictures of the shape of {RECORDED_HW[1]} x {RECORDED_HW[0]} px"
        raise InputError(expected, f"{columns} x {rows} px of {camera.id}", "use the videos as they were downloaded")
    fx, fy, cx, cy = stated[0, 0], stated[1, 1], stated[0, 2] + 0.5, stated[1, 2] + 0.5
    return intrinsics(scale * fx, scale * fy, scale * cx, scale * cy)
