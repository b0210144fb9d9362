"""RealSense recordings (`.bag`), one file a device, or a folder of them.

- Cameras are the streams Depth, Color and Infrared; depth is Z16 in the unit that the file gives.
- Device time is the picture's stamp, untouched. Where its domain is not the hardware's clock, librealsense has mapped
  it to the computer's, and a note says so. Arrival is the metadata's Time Of Arrival, else system_time, else the
  message's own time, which counts from the start of the recording. The frame number is the metadata's Frame Counter,
  else the header's. All other metadata are left out, but the notes give the exposure.
- Intrinsics have pixel centres at integers, so cx and cy get 0.5. `tf` topics hold stream_from_reference.
- The world is the depth camera's place (else the first camera's), y up. The right infrared camera has another place
  than depth, so it is a module of its own.

Not verified on a real file: everything; the layout is taken from librealsense's writer, version 3 of its format.
Source: librealsense, src/media/ros/ros_writer.cpp and ros_file_format.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from capture.camera_names import camera_name, natural_order
from capture.readers.inertial import merged_inertial
from capture.readers.realsense_lens import opencv_distortion
from capture.readers.realsense_streams import BagFrames, BagStream, bag_streams
from capture.readers.recording import ImuTrack, Recording, StreamClock
from capture.readers.ros_messages import (
    CameraInfo,
    camera_info,
    depth_unit_m,
    float_32,
    inertial,
    key_value,
    stream_rate_hz,
    transform,
    unsigned_32,
)
from capture.readers.rosbag_file import COPY_AGAIN, BagFile, is_rosbag, read_rosbag
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from geometry.transforms import RigidTransform

MODULE = "realsense"
FILE_VERSION = "/file_version"
OLDEST_VERSION, NEWEST_VERSION = 2, 4
RIGHT_INFRARED = 2
"""Number of the infrared stream that does not share the depth camera's place."""
USUAL_DEPTH_UNIT_M = 1e-3
POSSIBLE_UNITS_M = (1e-7, 1e-1)
HARDWARE = "hardware clock"
SAME_PX = 0.01
"""How far K of the left infrared camera may be from depth's to be the same sensor."""
MESSAGE_BYTES = 1 << 16
"""Of anything but pictures."""
Parsed = TypeVar("Parsed")


def recognises_realsense_bag(source: Path) -> str | None:
    """Why `source` is a RealSense's: a ROS bag, or a folder of bags. Whether librealsense wrote it, reading says."""
    if is_rosbag(source):
        return "a ROS bag of version 2.0"
    files = _files_of(source)
    if files and all(is_rosbag(path) for path in files):
        return f"a folder of {len(files)} ROS bags"
    return None


def read_realsense_bag(source: Path) -> Recording:
    """A recording of one device (cameras depth, rgb, infrared_1 ...) or of a folder of devices (named for their files).

    Only the index and the fields of messages are read here. Raises InputError: no bag, not librealsense's, not closed
    by its recorder, cut off or damaged, a format, lens model or version that is not read.
    """
    source = source.absolute()
    files = _files_of(source)
    if not files:
        return _together(source, [_device(source, "")])
    names = [camera_name(path.stem) for path in files]
    if len(set(names)) != len(names):
        raise InputError("files whose names differ", ", ".join(path.name for path in files), "rename the files")
    return _together(source, [_device(path, name) for name, path in zip(names, files, strict=True)])


@dataclass(frozen=True, eq=False)
class _Device:
    """What one bag holds."""

    path: Path
    bag: BagFile
    """Only the topics of pictures."""
    cameras: Mapping[str, Camera]
    streams: Mapping[str, BagStream]
    """By camera."""
    imu: tuple[ImuTrack, ...]
    notes: tuple[str, ...]


def _together(source: Path, devices: list[_Device]) -> Recording:
    streams = {name: stream for device in devices for name, stream in device.streams.items()}
    notes = [note for device in devices for note in device.notes]
    cameras = [camera for device in devices for camera in device.cameras.values()]
    if len(devices) > 1:
        cameras = [
            replace(camera, calibration_source=f"{camera.calibration_source}; place in the rig unknown")
            if camera.is_calibrated
            else camera
            for camera in cameras
        ]
        notes.append("each device is at its own origin: give their places with --rig, from `mien calibrate`")
    return Recording(
        address=str(source),
        reader="realsense_bag",
        rig=Rig(tuple(cameras)),
        clocks={
            name: StreamClock(stream.device_ns, stream.host_ns, stream.frame_counter)
            for name, stream in streams.items()
        },
        read_frame=BagFrames({name: device.bag for device in devices for name in device.streams}, streams),
        source_files=tuple(device.path for device in devices),
        notes=tuple(notes),
        imu=tuple(track for device in devices for track in device.imu),
    )


def _device(path: Path, module: str) -> _Device:
    bag = read_rosbag(path)
    _check_version(bag)
    notes: list[str] = []
    streams = bag_streams(bag, notes)
    facts = _device_facts(bag, streams[0].prefix)
    places = _places(bag, streams, notes)
    prefix = f"{module}_" if module else ""
    named = {f"{prefix}{_name(stream)}": stream for stream in streams}
    cameras: dict[str, Camera] = {}
    for name, stream in named.items():
        camera = _camera(bag, stream, places[stream.prefix], notes)
        cameras[name] = replace(camera, id=name, module=module or MODULE, serial=facts.get("serial number", ""))
    cameras = _with_own_modules(cameras, named)
    notes += _notes(named, facts)
    if module:
        notes = [f"{module}: {note}" for note in notes]
    pictures = replace(bag, topics={stream.topic: bag.topics[stream.topic] for stream in streams})
    imu = _inertial(bag, streams[0].prefix.split("/")[1], (next(iter(named)), f"{prefix}imu"))
    return _Device(path, pictures, cameras, named, imu, tuple(notes))


def _name(stream: BagStream) -> str:
    return f"infrared_{stream.number}" if stream.kind == "infrared" else stream.kind


def _check_version(bag: BagFile) -> None:
    version = _only(bag, FILE_VERSION, unsigned_32)
    if version is None:
        got = f"{bag.path} without {FILE_VERSION}"
        raise InputError("a bag that librealsense wrote", got, "name a RealSense's recording")
    if not OLDEST_VERSION <= version <= NEWEST_VERSION:
        remedy = "convert it with a librealsense of its time, or record again"
        raise InputError(f"version {OLDEST_VERSION} to {NEWEST_VERSION}", f"{version} in {bag.path}", remedy)


def _device_facts(bag: BagFile, prefix: str) -> dict[str, str]:
    """What the device says of itself, by key in small letters."""
    topic = f"/{prefix.split('/')[1]}/info"
    if topic not in bag.topics:
        return {}
    found = [_parsed(bag, topic, data, key_value) for _, _, data, _ in bag.every({topic: MESSAGE_BYTES})]
    return {key.lower(): value[:60] for key, value in found}


def _notes(named: Mapping[str, BagStream], facts: Mapping[str, str]) -> list[str]:
    said = ("name", "firmware version", "usb type descriptor")
    notes = [f"{key}: {facts[key]}" for key in said if key in facts]
    for name, stream in named.items():
        if stream.exposure_us is not None:
            notes.append(f"{name}: exposure {1e-3 * stream.exposure_us:.2f} ms")
        if stream.domain and stream.domain.lower() != HARDWARE:
            notes.append(
                f"{name}: device times are {stream.domain}, which librealsense computed, not the device's clock"
            )
        if not stream.arrival.startswith("Time"):
            notes.append(f"{name}: arrival is {stream.arrival}")
    return notes


def _camera(bag: BagFile, stream: BagStream, world_from_camera: RigidTransform, notes: list[str]) -> Camera:
    name = _name(stream)
    info = _only(bag, f"{stream.prefix}/info/camera_info", camera_info)
    unit_m = _depth_unit_m(bag, stream, notes) if stream.kind == "depth" else None
    rate_hz = _only(bag, f"{stream.prefix}/info", stream_rate_hz) or 0.0
    if info is None or not info.K.any():
        notes.append(f"{name}: no intrinsics in the file: a guess until --rig gives them")
        guess = Camera.uncalibrated(name, MODULE, stream.kind, stream.head.size_hw)
        return replace(guess, rate_hz=rate_hz, depth_unit_m=unit_m, world_from_camera=world_from_camera)
    K = _checked_K(bag, stream, info)
    try:
        distortion = opencv_distortion(info.model, info.coefficients, K, stream.head.size_hw)
    except ValueError as error:
        remedy = "name a calibration with --rig, or record with another profile"
        raise InputError(f"a lens of {name} that OpenCV's models follow", f"{error} in {bag.path}", remedy) from error
    return Camera(
        name, MODULE, stream.kind, stream.head.size_hw, K, distortion, world_from_camera, rate_hz, unit_m,
        calibration_source="RealSense's factory calibration",
    )  # fmt: skip


def _checked_K(bag: BagFile, stream: BagStream, info: CameraInfo) -> Float[np.ndarray, "3 3"]:
    """Pixel centres at +0.5."""
    rows, columns = stream.head.size_hw
    K = info.K.copy()
    focal_fits = (np.diag(K)[:2] > 0.1 * columns).all() and (np.diag(K)[:2] < 100 * columns).all()
    centre_fits = -columns < K[0, 2] < 2 * columns and -rows < K[1, 2] < 2 * rows
    if info.size_hw != stream.head.size_hw or not focal_fits or not centre_fits or K[2, 2] != 1 or K[1, 0] or K[0, 1]:
        got = f"{info.size_hw[1]} x {info.size_hw[0]} px and K {info.K.tolist()} in {bag.path}"
        raise InputError(f"intrinsics of pictures of {columns} x {rows} px", got, COPY_AGAIN)
    K[:2, 2] += 0.5
    return K


def _depth_unit_m(bag: BagFile, stream: BagStream, notes: list[str]) -> float:
    """From the sensor's options, else from the first picture, else the usual one."""
    sensor = stream.prefix.rpartition("/")[0]
    units = []
    for topic in bag.topics:
        option = topic.removeprefix(f"{sensor}/option/").removesuffix("/value").replace("_", " ")
        if topic.startswith(f"{sensor}/option/") and topic.endswith("/value") and option.lower() == "depth units":
            units.append(_only(bag, topic, float_32))
    messages = bag.topics[stream.topic]
    try:
        units.append(depth_unit_m(bag.message(messages, 0)))
    except ValueError as error:
        raise InputError("the unit of depth", f"{error} in {bag.path}", COPY_AGAIN) from error
    known = [unit for unit in units if unit is not None]
    if not known:
        notes.append(f"the file gives no depth unit: taken as {USUAL_DEPTH_UNIT_M:g} m, check a distance")
        return USUAL_DEPTH_UNIT_M
    low, high = POSSIBLE_UNITS_M
    if not all(low < unit < high for unit in known) or max(known) > 1.001 * min(known):
        got = f"{' and '.join(f'{unit:g}' for unit in known)} m in {bag.path}"
        raise InputError("one possible depth unit", got, "correct depth_unit_m in a rig file and name it with --rig")
    return float(np.float64(f"{known[0]:.7g}"))  # float32 on file: 0.001, not 0.0010000000474974513


def _places(bag: BagFile, streams: tuple[BagStream, ...], notes: list[str]) -> dict[str, RigidTransform]:
    """`world_from_camera` by the stream's prefix; the first stream (depth, if there is one) is at the origin."""
    from_reference: dict[str, tuple[str, RigidTransform]] = {}
    for topic in bag.topics:
        prefix, _, group = topic.rpartition("/tf/")
        found = _only(bag, topic, transform) if prefix else None
        if found is not None:
            translation, quaternion = found
            from_reference[prefix] = (group, RigidTransform(Rotation.from_quat(quaternion).as_matrix(), translation))
    upright = RigidTransform(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
    origin = from_reference.get(streams[0].prefix)
    places = {}
    for stream in streams:
        own = from_reference.get(stream.prefix)
        if stream is streams[0]:
            places[stream.prefix] = upright
        elif own is not None and origin is not None and own[0] == origin[0]:
            places[stream.prefix] = upright.compose(origin[1].compose(own[1].inverse()))
        else:
            notes.append(f"{_name(stream)}: its place on the device is not in the file; taken as {_name(streams[0])}'s")
            places[stream.prefix] = upright
    return places


def _with_own_modules(cameras: dict[str, Camera], named: Mapping[str, BagStream]) -> dict[str, Camera]:
    """Infrared cameras that are another sensor than depth in modules of their own, as rigs tell them apart."""
    depth = next((camera for camera in cameras.values() if camera.kind == "depth"), None)
    changed = dict(cameras)
    for name, camera in cameras.items():
        if depth is None or camera.kind != "infrared" or camera.image_size_hw != depth.image_size_hw:
            continue
        depth_from_camera = depth.world_from_camera.inverse().compose(camera.world_from_camera)
        here = np.abs(depth_from_camera.matrix - np.eye(4)).max() < 1e-4
        if here and named[name].number != RIGHT_INFRARED and np.abs(camera.K - depth.K).max() < SAME_PX:
            changed[name] = replace(
                camera, K=depth.K, distortion=depth.distortion, world_from_camera=depth.world_from_camera
            )
        else:
            changed[name] = replace(camera, module=f"{camera.module}_infrared_{named[name].number}")
    return changed


def _inertial(bag: BagFile, device: str, names: tuple[str, str]) -> tuple[ImuTrack, ...]:
    """Accelerometer and gyroscope as one track; `names`: the camera whose clock it is on, and its own."""
    tables: dict[str, tuple[list[int], list[np.ndarray]]] = {"Accel": ([], []), "Gyro": ([], [])}
    topics = {
        topic: kind
        for topic in bag.topics
        for kind in tables
        if topic.startswith(f"/{device}/") and topic.endswith(f"/{kind}_0/imu/data")
    }
    for topic, _, data, _ in bag.every(dict.fromkeys(topics, MESSAGE_BYTES)):
        stamp_ns, acceleration, rotation = _parsed(bag, topic, data, inertial)
        times, values = tables[topics[topic]]
        times.append(stamp_ns)
        values.append(acceleration if topics[topic] == "Accel" else rotation)
    if not any(times for times, _ in tables.values()):
        return ()
    accelerometer, gyroscope = (
        (np.array(times, np.int64), np.array(values, np.float64).reshape(-1, 3)) for times, values in tables.values()
    )
    time_ns, values = merged_inertial(*accelerometer, *gyroscope)
    return (ImuTrack(names[1], names[0], time_ns, values),)


def _only(bag: BagFile, topic: str, parse: Callable[[bytes], Parsed]) -> Parsed | None:
    """The last message of a topic, None if there is none."""
    messages = bag.topics.get(topic)
    if messages is None or not len(messages.time_ns):
        return None
    return _parsed(bag, topic, bag.message(messages, len(messages.time_ns) - 1), parse)


def _parsed(bag: BagFile, topic: str, data: bytes, parse: Callable[[bytes], Parsed]) -> Parsed:
    try:
        return parse(data)
    except ValueError as error:
        raise InputError(f"a message of librealsense in {topic}", f"{error} in {bag.path}", COPY_AGAIN) from error


def _files_of(folder: Path) -> list[Path]:
    """A folder's bags in natural order; empty if it is none."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() == ".bag" and not path.name.startswith(".")]
    except (OSError, ValueError):  # no folder, or a null byte in the path
        return []
    return sorted(paths, key=lambda path: natural_order(path.name))
