"""The ROS messages that librealsense writes, from their bytes.

Written out here because librealsense's differ from ROS's: a picture of header version "1" carries its depth unit behind
the pixels, which its declared definition does not know. All raise ValueError for what does not fit its bytes.
Source: ROS's serialisation (little-endian, strings and arrays behind their 4-byte length); librealsense,
third-party/realsense-file/rosbag/msgs.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NANOSECONDS = 1_000_000_000
LONGEST_TEXT = 4096
IMAGE_HEAD_BYTES = 512
"""More than an image's fields before its pixels."""


@dataclass(frozen=True)
class ImageHead:
    """A sensor_msgs/Image without its pixels."""

    sequence: int
    """The frame's number."""
    stamp_ns: int
    """Device time."""
    version: str
    """"1": a depth unit follows the pixels."""
    size_hw: tuple[int, int]
    encoding: str
    big_endian: bool
    row_bytes: int
    pixels_start: int
    """Where the pixels start in the message."""
    pixels_bytes: int


@dataclass(frozen=True, eq=False)
class CameraInfo:
    """A sensor_msgs/CameraInfo as far as librealsense fills it."""

    size_hw: tuple[int, int]
    model: str
    """Name of the lens model."""
    coefficients: Float[np.ndarray, "d"]
    K: Float[np.ndarray, "3 3"]
    """Pixel centres at integers."""


class _Cursor:
    """Takes values off the front of a message."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple:
        """Values of a struct layout, little-endian without padding."""
        try:
            values = struct.unpack_from("<" + layout, self.data, self.at)
        except struct.error as error:
            raise ValueError(f"a message of {len(self.data)} bytes that ends too early") from error
        self.at += struct.calcsize("<" + layout)
        return values

    def text(self) -> str:
        """A string."""
        (length,) = self.take("I")
        if length > LONGEST_TEXT:
            raise ValueError(f"a text of {length} bytes")
        (value,) = self.take(f"{length}s")
        return value.rstrip(b"\0").decode(errors="replace")

    def header(self) -> tuple[int, int, str]:
        """A std_msgs/Header: number, time in ns, and the text that librealsense calls a version."""
        sequence, seconds, nanoseconds = self.take("III")
        return sequence, seconds * NANOSECONDS + nanoseconds, self.text()


def image_head(data: bytes) -> ImageHead:
    """The fields of an image, from its first IMAGE_HEAD_BYTES."""
    cursor = _Cursor(data)
    sequence, stamp_ns, version = cursor.header()
    rows, columns = cursor.take("II")
    encoding = cursor.text()
    big_endian, row_bytes, pixels_bytes = cursor.take("BII")
    return ImageHead(
        sequence, stamp_ns, version, (rows, columns), encoding, bool(big_endian), row_bytes, cursor.at, pixels_bytes
    )


def depth_unit_m(data: bytes) -> float | None:
    """The depth unit behind an image's pixels, None if there is none; needs the whole message."""
    head = image_head(data)
    if head.version != "1" or len(data) < head.pixels_start + head.pixels_bytes + 4:
        return None
    (unit,) = struct.unpack_from("<f", data, head.pixels_start + head.pixels_bytes)
    return float(unit) or None


def camera_info(data: bytes) -> CameraInfo:
    """Intrinsics of a stream."""
    cursor = _Cursor(data)
    cursor.header()
    rows, columns = cursor.take("II")
    model = cursor.text()
    (count,) = cursor.take("I")
    if count > 32:
        raise ValueError(f"{count} lens coefficients")
    coefficients = np.array(cursor.take(f"{count}d"), np.float64)
    K = np.array(cursor.take("9d")).reshape(3, 3)
    if not (np.isfinite(K).all() and np.isfinite(coefficients).all()):
        raise ValueError("intrinsics that are not finite")
    return CameraInfo((rows, columns), model, coefficients, K)


def key_value(data: bytes) -> tuple[str, str]:
    """A diagnostic_msgs/KeyValue."""
    cursor = _Cursor(data)
    return cursor.text(), cursor.text()


def float_32(data: bytes) -> float:
    """A std_msgs/Float32."""
    return float(_Cursor(data).take("f")[0])


def unsigned_32(data: bytes) -> int:
    """A std_msgs/UInt32."""
    return int(_Cursor(data).take("I")[0])


def transform(data: bytes) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "4"]]:
    """A geometry_msgs/Transform: translation in metres, unit quaternion (x, y, z, w)."""
    values = np.array(_Cursor(data).take("7d"), np.float64)
    length = float(np.linalg.norm(values[3:]))
    if not np.isfinite(values).all() or abs(length - 1) > 1e-3:
        raise ValueError(f"a rotation whose quaternion has length {length:.3g}")
    return values[:3], values[3:] / length


def inertial(data: bytes) -> tuple[int, Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """A sensor_msgs/Imu: device time in ns, acceleration in m/s^2, angular rate in rad/s."""
    cursor = _Cursor(data)
    _, stamp_ns, _ = cursor.header()
    cursor.take("4d9d")  # orientation and its covariance, which librealsense leaves empty
    rotation = np.array(cursor.take("3d"), np.float64)
    cursor.take("9d")
    return stamp_ns, np.array(cursor.take("3d"), np.float64), rotation


def stream_rate_hz(data: bytes) -> float:
    """The frame rate of a realsense_msgs/StreamInfo."""
    return float(_Cursor(data).take("I")[0])
