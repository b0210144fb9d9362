"""LiveScan3D's raw takes: client_N/{Color_i.jpg, Depth_i.tiff, Intrinsics_Calib_N.json, Timestamps_ClientN.txt}.

Each client is a Kinect with its factory calibration; `Extrinsics_Open3D.log` beside them holds `world_from_colour` of
each device. Times are the devices' own, in microseconds, by frame number.
Source: LiveScan3D, frameFileWriterReader.cpp (files), Utils.cs SaveExtrinsicsOpen3DStyle and PointCloudProcessing.cpp
(the log's matrices take points of the colour camera to the world).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from capture.calibration.formats.checked_values import numbers, pose
from capture.calibration.formats.k4a_json import COLOUR_MODES, DEPTH_MODES, K4aMode, k4a_cameras, parse_k4a
from capture.camera_names import natural_order
from capture.readers.folder_walk import files_under
from capture.readers.frame_sources import CameraFrames, PictureSeries
from capture.readers.path_pattern import whole_number
from capture.readers.picture_file import read_picture_header
from capture.readers.recording import Recording, StreamClock
from capture.yaml_document import read_small_file
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform
from storage.image_folder import MARKER

EXTRINSICS = "Extrinsics_Open3D.log"
CLIENT = re.compile(r"client_([0-9]{1,4})")
PICTURE = re.compile(r"(?:(.+)_)?(Color|Depth)_([0-9]{1,12})\.(?:jpg|tiff)")
KINDS = {"Color": "rgb", "Depth": "depth"}
RATE_HZ = 30
LARGEST_TEXT_BYTES = 2**27
REMEDY = "copy the take's folder again"


def recognises_livescan3d(source: Path) -> str | None:
    """Why `source` is such a take: a client's folder with its calibration."""
    try:
        if not source.is_dir() or (source / MARKER).exists():
            return None
        for folder in sorted(source.iterdir()):
            match = CLIENT.fullmatch(folder.name)
            if match and (folder / f"Intrinsics_Calib_{match[1]}.json").is_file():
                return f"a folder with {folder.name}/Intrinsics_Calib_{match[1]}.json"
    except (OSError, ValueError):  # ValueError: a null byte in the path
        pass
    return None


def read_livescan3d(source: Path) -> Recording:
    """The recording of a take; pictures are only counted here and decoded when they are asked for.

    Raises InputError: no client, one without calibration, colour or depth, pictures that no Kinect mode has, frames
    without a time, a broken log.
    """
    source = Path(source).absolute()
    if not source.is_dir():
        raise InputError("the folder of a LiveScan3D take", f"{source}", "name the folder that holds client_0")
    clients, others = _pictures(source)
    notes = [f"{len(others)} other files are left out, such as {others[0]}"] if others else []
    places = _extrinsics(source / EXTRINSICS) if (source / EXTRINSICS).is_file() else {}
    files = [source / EXTRINSICS] if places else []
    cameras: list[Camera] = []
    clocks: dict[str, StreamClock] = {}
    pictures: dict[str, tuple[Path, ...]] = {}
    for number, by_kind in clients.items():
        calibration = source / f"client_{number}" / f"Intrinsics_Calib_{number}.json"
        its = _cameras(number, by_kind, calibration, places.get(number))
        times_path = calibration.with_name(f"Timestamps_Client{number}.txt")
        times = _times(times_path) if times_path.is_file() else {}
        files += [calibration, *([times_path] if times else [])]
        for camera in its:
            clock, counted = _clock(camera.id, [frame for frame, _ in by_kind[camera.kind]], times)
            notes += counted
            clocks[camera.id] = clock
            pictures[camera.id] = tuple(path for _, path in by_kind[camera.kind])
        cameras += its
        if number not in places:
            notes.append(f"client_{number}: no place in {EXTRINSICS}, it stands at its own origin: give one with --rig")
    frames = CameraFrames(str(source), {camera.id: PictureSeries(camera, pictures[camera.id]) for camera in cameras})
    return Recording(
        address=str(source),
        reader="livescan3d",
        rig=Rig(tuple(cameras)),
        clocks=clocks,
        read_frame=frames,
        read_jpeg=frames.jpeg,
        frame_files=pictures,
        source_files=(*files, *(path for paths in pictures.values() for path in paths)),
        notes=tuple(notes),
    )


def _pictures(source: Path) -> tuple[dict[str, dict[str, list[tuple[int, Path]]]], list[str]]:
    """By client and kind, frame number and path of each picture in order; and other files."""
    found: dict[str, dict[str, dict[int, Path]]] = {}
    others: list[str] = []
    for name in files_under(source):
        folder, _, file = name.partition("/")
        client, picture = CLIENT.fullmatch(folder), PICTURE.fullmatch(file)
        if client is None or picture is None:
            known = client and re.fullmatch(
                rf"Intrinsics_Calib_{client[1]}\.json|Timestamps_Client{client[1]}\.txt", file
            )
            others += [] if known or name == EXTRINSICS else [name]
            continue
        numbered = found.setdefault(client[1], {}).setdefault(KINDS[picture[2]], {})
        frame = int(picture[3])
        if frame in numbered:
            got = f"{numbered[frame].name} and {file} in {folder}"
            raise InputError("one picture of each kind and frame number", got, "remove one of them")
        numbered[frame] = source / name
    if not found:
        raise InputError("clients' pictures (client_0/Color_0.jpg)", f"none in {source}", REMEDY)
    for number, by_kind in found.items():
        if missing := sorted(set(KINDS.values()) - set(by_kind)):
            raise InputError(f"colour and depth of client_{number}", f"no {missing[0]} pictures", REMEDY)
    return {
        number: {kind: sorted(numbered.items()) for kind, numbered in sorted(found[number].items(), reverse=True)}
        for number in sorted(found, key=natural_order)
    }, others


def _cameras(
    number: str,
    by_kind: Mapping[str, list[tuple[int, Path]]],
    calibration: Path,
    world_from_colour: RigidTransform | None,
) -> list[Camera]:
    """Colour and depth camera of a client."""
    colour_mode = _mode(by_kind["rgb"][0][1], "8-bit RGB", COLOUR_MODES)
    depth_mode = _mode(by_kind["depth"][0][1], "16-bit grey", DEPTH_MODES)
    document = parse_k4a(read_small_file(calibration, 2**20, "a client's calibration"), str(calibration))
    module = f"client_{number}"
    found = k4a_cameras(document, colour_mode, depth_mode, module=module, name=str(calibration))
    assert found.rgb is not None and found.depth is not None
    cameras = [replace(camera, id=f"{module}_{camera.kind}") for camera in (found.rgb, found.depth)]
    if world_from_colour is None:
        return cameras
    world_from_device = world_from_colour.compose(found.rgb.world_from_camera.inverse())
    source = f", placed by {EXTRINSICS}"
    return [
        replace(
            camera,
            world_from_camera=world_from_device.compose(camera.world_from_camera),
            calibration_source=camera.calibration_source + source,
        )
        for camera in cameras
    ]


def _mode(path: Path, kind: str, modes: Mapping[str, K4aMode]) -> str:
    """The Kinect mode of a picture's size."""
    header = read_picture_header(path)
    name = next((name for name, mode in modes.items() if mode.size_hw == header.size_hw), None)
    if name is None or header.kind != kind:
        sizes = ", ".join(f"{mode.size_hw[1]} x {mode.size_hw[0]}" for mode in modes.values())
        got = f"{header.size_hw[1]} x {header.size_hw[0]} px, {header.kind}, in {path}"
        raise InputError(f"a Kinect's {kind} picture ({sizes})", got, REMEDY)
    return name


def _clock(camera_id: str, frames: list[int], times: Mapping[int, int]) -> tuple[StreamClock, list[str]]:
    """Device times of frame numbers, or counted ones where the client wrote none."""
    if not times:
        counted = np.array([(2 * frame * 10**9 + RATE_HZ) // (2 * RATE_HZ) for frame in frames], np.int64)
        note = f"{camera_id}: the client wrote no times: counted at {RATE_HZ} frames a second, not measured"
        return StreamClock(counted), [note]
    if missing := [frame for frame in frames if frame not in times]:
        got = f"none for frame {missing[0]} and {len(missing) - 1} more"
        raise InputError(f"a time for every frame of {camera_id}", got, "copy the client's Timestamps file again")
    lost = len(times) - len(frames)
    notes = [f"{camera_id}: {lost} frames with a time have no picture"] if lost else []
    return StreamClock(np.array([times[frame] for frame in frames], np.int64)), notes


def _times(path: Path) -> dict[int, int]:
    """Nanoseconds by frame number."""
    times: dict[int, int] = {}
    for number, words in _lines(path):
        if len(words) != 2 or not all(re.fullmatch("[0-9]+", word) for word in words):
            raise InputError("a frame number and a time", f"line {number} of {path}", REMEDY)
        frame, microseconds = (whole_number(word, str(path)) for word in words)
        if frame in times or microseconds >= 2**63 // 1000:
            raise InputError("one possible time for each frame", f"line {number} of {path}", REMEDY)
        times[frame] = microseconds * 1000
    return times


def _extrinsics(path: Path) -> dict[str, RigidTransform]:
    """`world_from_colour` by client."""
    words = [word for _, line in _lines(path) for word in line]
    if not words or len(words) % 19:
        raise InputError("a serial, a client and a 4x4 matrix for each device", f"{len(words)} words in {path}", REMEDY)
    places: dict[str, RigidTransform] = {}
    for start in range(0, len(words), 19):
        _, _, client, *values = words[start : start + 19]
        try:
            places[client] = pose(numbers(values, 16).reshape(4, 4))
        except ValueError as error:
            raise InputError(f"the pose of client {client}", f"{error} in {path}", REMEDY) from error
    return places


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    text = read_small_file(path, LARGEST_TEXT_BYTES, "a text file").decode("utf-8", "replace")
    return [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
