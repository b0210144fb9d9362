"""Bags as librealsense lays them out (version 3 of its format), written by `rosbags`, with known contents."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

STORE = get_typestore(Stores.ROS1_NOETIC)
TYPES = STORE.types
STATIC_NS = 1
"""librealsense's time of what does not change (ros::TIME_MIN)."""
SIZE_HW = (48, 64)
ARRIVAL_NS = 1_767_225_600_000_000_000
DEPTH_INTRINSICS, COLOUR_INTRINSICS = (60.0, 60.5, 31.25, 23.75), (62.0, 62.5, 30.5, 24.5)
"""fx, fy, ppx, ppy, pixel centres at integers."""
COLOUR_FROM_DEPTH = (Rotation.from_rotvec([0.01, -0.02, 0.005]), np.array([0.015, -0.0002, 0.0004]))
RIGHT_FROM_DEPTH = (Rotation.identity(), np.array([-0.05, 0.0, 0.0]))


@dataclass(frozen=True)
class BagScript:
    """What a bag is to hold."""

    frames: int = 4
    compression: str = "none"
    """none, lz4 or bz2."""
    colour: str = "rgb8"
    infrared: str = "8UC1"
    depth_unit: float | None = 0.00025
    unit_in_pictures: bool = True
    model: str = "Inverse Brown Conrady"
    coefficients: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """Of the colour camera."""
    metadata: bool = True
    domain: str = "Hardware Clock"
    version: int | None = 3
    padding_bytes: int = 0
    """Behind each row of a picture."""
    extrinsics: bool = True
    lost: tuple[str, ...] = ()
    """Streams that are set up and bring no pictures, such as Infrared_2."""
    period_ns: int = 33_333_000
    seed: int = 0


def device_ns(script: BagScript, index: int) -> int:
    return 5_000_000_000 + index * script.period_ns


def depth_picture(script: BagScript, index: int) -> np.ndarray:
    picture = np.random.default_rng([script.seed, index, 1]).integers(2000, 4000, SIZE_HW).astype(np.uint16)
    picture[0] = 0
    return picture


def colour_picture(script: BagScript, index: int) -> np.ndarray:
    """RGB, in blocks of 4 x 4 so that shared chroma loses nothing."""
    small = np.random.default_rng([script.seed, index, 2]).integers(40, 200, (12, 16, 3))
    return np.kron(small, np.ones((4, 4, 1))).astype(np.uint8)


def infrared_picture(script: BagScript, index: int, number: int) -> np.ndarray:
    most = 65536 if script.infrared == "16UC1" else 256
    return np.random.default_rng([script.seed, index, 2 + number]).integers(0, most, SIZE_HW).astype(np.uint16)


def write_bag(path: Path, script: BagScript | None = None) -> Path:
    """Write a bag; returns its path."""
    script = script or BagScript()
    writer = Writer(path)
    if script.compression != "none":
        writer.set_compression(getattr(Writer.CompressionFormat, script.compression.upper()))
    with writer:
        _Bag(writer, script).write()
    return path


class _Bag:
    def __init__(self, writer: Writer, script: BagScript) -> None:
        self.writer, self.script = writer, script
        self.connections: dict[str, Connection] = {}

    def write(self) -> None:
        script = self.script
        if script.version is not None:
            self.message("/file_version", "std_msgs/msg/UInt32", STATIC_NS, data=script.version)
        for key, value in (
            ("Name", "Intel RealSense D435I"),
            ("Serial Number", f"84{script.seed}"),
            ("Firmware Version", "5.12"),
        ):
            self.message("/device_0/info", "diagnostic_msgs/msg/KeyValue", STATIC_NS, key=key, value=value)
        if script.depth_unit is not None:
            topic = "/device_0/sensor_0/option/Depth Units/value"
            self.message(topic, "std_msgs/msg/Float32", STATIC_NS, data=script.depth_unit)
        none = ("None", (0.0,) * 5)
        self.stream("sensor_0/Depth_0", "mono16", DEPTH_INTRINSICS, none, None)
        self.stream("sensor_0/Infrared_1", script.infrared, DEPTH_INTRINSICS, none, None)
        self.stream("sensor_0/Infrared_2", script.infrared, DEPTH_INTRINSICS, none, RIGHT_FROM_DEPTH)
        self.stream(
            "sensor_1/Color_0", script.colour, COLOUR_INTRINSICS, (script.model, script.coefficients), COLOUR_FROM_DEPTH
        )
        for index in range(script.frames):
            self.picture("sensor_0/Depth_0", "mono16", index, depth_picture(script, index).astype("<u2").tobytes(), 2)
            for number in (1, 2):
                width = 2 if script.infrared == "16UC1" else 1
                pixels = infrared_picture(script, index, number).astype(f"<u{width}").tobytes()
                self.picture(f"sensor_0/Infrared_{number}", script.infrared, index, pixels, width)
            data, width = coded_colour(script, index)
            self.picture("sensor_1/Color_0", script.colour, index, data, width)
            self.inertial(index)

    def message(self, topic: str, kind: str, time_ns: int, tail: bytes = b"", **fields: object) -> None:
        message = TYPES[kind](**fields)  # pyright: ignore[reportArgumentType]
        data = bytes(STORE.serialize_ros1(message, kind)) + tail
        self.raw(topic, kind, time_ns, data)

    def raw(self, topic: str, kind: str, time_ns: int, data: bytes, **definition: str) -> None:
        if topic not in self.connections:
            extra = definition or {"typestore": STORE}
            self.connections[topic] = self.writer.add_connection(topic, kind, **extra)  # pyright: ignore[reportArgumentType]
        self.writer.write(self.connections[topic], time_ns, data)

    def stream(
        self,
        name: str,
        encoding: str,
        intrinsics: tuple[float, ...],
        lens: tuple[str, tuple[float, ...]],
        from_depth: tuple[Rotation, np.ndarray] | None,
    ) -> None:
        prefix = f"/device_0/{name}"
        text = encoding.encode()
        # realsense_msgs/StreamInfo, which no typestore knows: fps, encoding, is_recommended.
        self.raw(
            f"{prefix}/info", "realsense_msgs/msg/StreamInfo", STATIC_NS,
            struct.pack(f"<II{len(text)}sB", 30, len(text), text, 1),
            msgdef="uint32 fps\nstring encoding\nbool is_recommended\n", md5sum="311d7e24eac31bb87271d041bf70ff7d",
        )  # fmt: skip
        fx, fy, ppx, ppy = intrinsics
        self.message(
            f"{prefix}/info/camera_info", "sensor_msgs/msg/CameraInfo", STATIC_NS, header=_header(0, 0, ""),
            height=SIZE_HW[0], width=SIZE_HW[1], distortion_model=lens[0], D=np.array(lens[1]),
            K=np.array([fx, 0, ppx, 0, fy, ppy, 0, 0, 1.0]), R=np.zeros(9), P=np.zeros(12), binning_x=0, binning_y=0,
            roi=TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
        )  # fmt: skip
        if self.script.extrinsics:
            rotation, translation = from_depth or (Rotation.identity(), np.zeros(3))
            self.message(
                f"{prefix}/tf/0", "geometry_msgs/msg/Transform", STATIC_NS,
                translation=TYPES["geometry_msgs/msg/Vector3"](*map(float, translation)),
                rotation=TYPES["geometry_msgs/msg/Quaternion"](*map(float, rotation.as_quat())),
            )  # fmt: skip

    def picture(self, name: str, encoding: str, index: int, pixels: bytes, pixel_bytes: int) -> None:
        script = self.script
        if name.rpartition("/")[2] in script.lost:
            return
        row = SIZE_HW[1] * pixel_bytes
        if script.padding_bytes:
            rows = np.frombuffer(pixels, np.uint8).reshape(SIZE_HW[0], row)
            pixels = np.pad(rows, ((0, 0), (0, script.padding_bytes)), constant_values=7).tobytes()
        version = "1" if script.unit_in_pictures else ""
        unit = (script.depth_unit or 0.0) if "Depth" in name else 0.0
        time_ns = 1_000_000_000 + index * script.period_ns
        topic = f"/device_0/{name}/image"
        self.message(
            f"{topic}/data", "sensor_msgs/msg/Image", time_ns, struct.pack("<f", unit) if version else b"",
            header=_header(100 + index, device_ns(script, index), version), height=SIZE_HW[0], width=SIZE_HW[1],
            encoding=encoding, is_bigendian=0, step=row + script.padding_bytes, data=np.frombuffer(pixels, np.uint8),
        )  # fmt: skip
        if script.metadata:
            for key, value in metadata(script, index).items():
                self.message(f"{topic}/metadata", "diagnostic_msgs/msg/KeyValue", time_ns, key=key, value=value)

    def inertial(self, index: int) -> None:
        vector, quaternion = TYPES["geometry_msgs/msg/Vector3"], TYPES["geometry_msgs/msg/Quaternion"]
        for sensor, kind, every in (("sensor_2/Gyro_0", "rotation", 2), ("sensor_2/Accel_0", "acceleration", 1)):
            for k in range(every):
                stamp = device_ns(self.script, index) + k * 5_000_000
                value = vector(0.1 * index, -9.8, 0.01 * k)
                zero = vector(0.0, 0.0, 0.0)
                self.message(
                    f"/device_0/{sensor}/imu/data", "sensor_msgs/msg/Imu", 1_000_000_000 + index * 1000 + k,
                    header=_header(index, stamp, "1"), orientation=quaternion(0.0, 0.0, 0.0, 0.0),
                    orientation_covariance=np.zeros(9), angular_velocity_covariance=np.zeros(9),
                    linear_acceleration_covariance=np.zeros(9),
                    angular_velocity=value if kind == "rotation" else zero,
                    linear_acceleration=value if kind == "acceleration" else zero,
                )  # fmt: skip


def metadata(script: BagScript, index: int) -> Mapping[str, str]:
    arrival_ms = ARRIVAL_NS // 1_000_000 + index * 33
    return {
        "system_time": f"{arrival_ms}.250000",
        "timestamp_domain": script.domain,
        "Frame Counter": str(700 + index),
        "Time Of Arrival": str(arrival_ms),
        "Actual Exposure": "8500",
        "Gain Level": "16",
    }


def _header(sequence: int, stamp_ns: int, version: str) -> object:
    time = TYPES["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    return TYPES["std_msgs/msg/Header"](sequence, time, version)


def coded_colour(script: BagScript, index: int) -> tuple[bytes, int]:
    """A colour picture's bytes and how many a pixel has."""
    picture = colour_picture(script, index)
    if script.colour in ("rgb8", "bgr8"):
        return (picture if script.colour == "rgb8" else picture[..., ::-1]).tobytes(), 3
    if script.colour in ("rgba8", "bgra8"):
        colours = picture if script.colour == "rgba8" else picture[..., ::-1]
        return np.dstack([colours, np.full(SIZE_HW, 255, np.uint8)]).tobytes(), 4
    r, g, b = (picture[..., i] / 255 for i in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    packed = np.zeros((*SIZE_HW, 2), np.uint8)
    y_at = 0 if script.colour == "YUYV" else 1
    packed[..., y_at] = np.round(16 + 219 * luma)
    packed[:, 0::2, 1 - y_at] = np.round(128 + 224 * (b - luma) / 1.772)[:, ::2]
    packed[:, 1::2, 1 - y_at] = np.round(128 + 224 * (r - luma) / 1.402)[:, ::2]
    return packed.tobytes(), 2
