"""The pictures of a RealSense bag: its image streams, what was recorded about each frame, and their pixels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Int64

from capture.readers.ros_messages import IMAGE_HEAD_BYTES, ImageHead, image_head, key_value
from capture.readers.rosbag_file import COPY_AGAIN, BagFile
from geometry.cameras import CameraKind
from geometry.errors import InputError

IMAGE_TOPIC = re.compile(r"(/device_\d+/sensor_\d+/([A-Za-z]+)_(\d+))/image/data")
KINDS: Mapping[str, CameraKind] = {"depth": "depth", "color": "rgb", "infrared": "infrared"}
"""By librealsense's name of the stream, in small letters."""
BYTES_A_PIXEL: Mapping[CameraKind, Mapping[str, int]] = {
    "depth": {"mono16": 2},
    "rgb": {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "yuyv": 2, "yuv422": 2},
    "infrared": {"8uc1": 1, "mono8": 1, "16uc1": 2},
}
"""Encodings that are read; librealsense writes Z16 as mono16, Y8 as 8UC1, Y16 as 16UC1, UYVY as yuv422."""
YUV_TO_RGB = {"yuyv": cv2.COLOR_YUV2RGB_YUY2, "yuv422": cv2.COLOR_YUV2RGB_UYVY}
LARGEST_SIDE_PX = 16_384
METADATA_BYTES = 4096
FACTS = ("frame counter", "time of arrival", "system time", "actual exposure", "timestamp domain")
"""Keys of a frame's metadata that are used, in small letters with spaces."""
NS_PER_MS = 1_000_000


@dataclass(frozen=True, eq=False)
class BagStream:
    """One image stream of a bag."""

    prefix: str
    """Of its topics, such as /device_0/sensor_0/Depth_0."""
    kind: CameraKind
    number: int
    """Which of its kind: infrared 1 is the left one, 2 the right."""
    head: ImageHead
    """Of its first frame; all frames have its size and encoding."""
    device_ns: Int64[np.ndarray, "t"]
    """The pictures' stamps."""
    frame_counter: Int64[np.ndarray, "t"]
    host_ns: Int64[np.ndarray, "t"]
    """Arrival, by the clock that `arrival` names."""
    arrival: str
    """Where `host_ns` is from."""
    exposure_us: float | None
    """Median, None if it was not recorded."""
    domain: str
    """What librealsense says the stamps are, empty if nothing."""

    @property
    def topic(self) -> str:
        """Where its pictures are."""
        return f"{self.prefix}/image/data"


@dataclass
class _Gathered:
    """What one pass over a bag finds about a stream."""

    heads: list[ImageHead] = field(default_factory=list)
    facts: dict[str, dict[tuple[int, int], str]] = field(default_factory=dict)
    """By key, by the message's time and how many with this key and time came before."""
    seen: dict[tuple[str, int], int] = field(default_factory=dict)


def bag_streams(bag: BagFile, notes: list[str]) -> tuple[BagStream, ...]:
    """The streams that have pictures, depth first, then colour. InputError: none, or one of an unknown kind."""
    found: dict[str, tuple[CameraKind, int]] = {}
    for topic, messages in bag.topics.items():
        match = IMAGE_TOPIC.fullmatch(topic)
        if match is None or not len(messages.time_ns):
            continue
        if match[2].lower() in KINDS and len(match[3]) < 4:
            found[match[1]] = (KINDS[match[2].lower()], int(match[3]))
        else:
            notes.append(f"stream {match[2][:20]}_{match[3][:9]} is left out")
    for topic in bag.topics:
        prefix, _, rest = topic.partition("/info/")
        if rest == "camera_info" and prefix not in found:
            notes.append(f"stream {prefix.rpartition('/')[2][:40]} was set up but has no pictures")
    if not found:
        raise InputError("pictures of Depth, Color or Infrared", f"none in {bag.path}", "record at least one stream")
    if len({prefix.split("/")[1] for prefix in found}) > 1:
        raise InputError("one device a bag", f"several in {bag.path}", "record each device into a bag of its own")
    gathered = _gather(bag, list(found))
    streams = [_stream(bag, prefix, *found[prefix], gathered[prefix]) for prefix in found]
    order = {"depth": 0, "rgb": 1, "infrared": 2}
    return tuple(sorted(streams, key=lambda stream: (order[stream.kind], stream.number)))


def _gather(bag: BagFile, prefixes: list[str]) -> dict[str, _Gathered]:
    images = {f"{prefix}/image/data": prefix for prefix in prefixes}
    metadata = {f"{prefix}/image/metadata": prefix for prefix in prefixes if f"{prefix}/image/metadata" in bag.topics}
    gathered = {prefix: _Gathered() for prefix in prefixes}
    wanted = {**dict.fromkeys(images, IMAGE_HEAD_BYTES), **dict.fromkeys(metadata, METADATA_BYTES)}
    for topic, index, data, size in bag.every(wanted):
        try:
            if topic in images:
                head = image_head(data)
                if head.pixels_start + head.pixels_bytes > size:
                    raise ValueError(f"{head.pixels_bytes} bytes of pixels in a message of {size}")
                gathered[images[topic]].heads.append(head)
                continue
            key, value = key_value(data)
        except ValueError as error:
            raise InputError(f"messages of librealsense in {topic}", f"{error} in {bag.path}", COPY_AGAIN) from error
        key = " ".join(key.lower().replace("_", " ").split())
        if key in FACTS:
            stream, time_ns = gathered[metadata[topic]], int(bag.topics[topic].time_ns[index])
            again = stream.seen.get((key, time_ns), 0)
            stream.seen[key, time_ns] = again + 1
            stream.facts.setdefault(key, {})[time_ns, again] = value
    return gathered


def _stream(bag: BagFile, prefix: str, kind: CameraKind, number: int, gathered: _Gathered) -> BagStream:
    messages, heads, first = bag.topics[f"{prefix}/image/data"], gathered.heads, gathered.heads[0]
    encoding = first.encoding.lower()
    if encoding not in BYTES_A_PIXEL[kind]:
        known = ", ".join(BYTES_A_PIXEL[kind])
        got = f"{first.encoding[:40]!r} in {bag.path}"
        raise InputError(f"{prefix} as one of {known}", got, "record this stream in another format")
    for index, head in enumerate(heads):
        _check_head(bag, prefix, index, head, first, BYTES_A_PIXEL[kind][encoding])
    keys = _occurrences(messages.time_ns)
    counters = _integers(gathered.facts.get("frame counter", {}), keys, 1)
    arrivals = {
        "Time Of Arrival": _integers(gathered.facts.get("time of arrival", {}), keys, NS_PER_MS),
        "system_time": _integers(gathered.facts.get("system time", {}), keys, NS_PER_MS),
        "the messages' own times": messages.time_ns,
    }
    arrival, host_ns = next((name, times) for name, times in arrivals.items() if times is not None)
    exposures = _integers(gathered.facts.get("actual exposure", {}), keys, 1)
    return BagStream(
        prefix=prefix,
        kind=kind,
        number=number,
        head=first,
        device_ns=np.array([head.stamp_ns for head in heads], np.int64),
        frame_counter=np.array([head.sequence for head in heads], np.int64) if counters is None else counters,
        host_ns=host_ns,
        arrival=arrival,
        exposure_us=None if exposures is None else float(np.median(exposures)),
        domain=next(iter(gathered.facts.get("timestamp domain", {}).values()), "")[:40],
    )


def _check_head(bag: BagFile, prefix: str, index: int, head: ImageHead, first: ImageHead, pixel_bytes: int) -> None:
    rows, columns = head.size_hw
    possible = 0 < rows <= LARGEST_SIDE_PX and 0 < columns <= LARGEST_SIDE_PX
    same = head.size_hw == first.size_hw and head.encoding == first.encoding and head.row_bytes == first.row_bytes
    filled = head.row_bytes >= columns * pixel_bytes and head.pixels_bytes == rows * head.row_bytes
    if not (possible and same and filled and head.row_bytes <= 2 * LARGEST_SIDE_PX * pixel_bytes):
        got = f"{columns} x {rows} px {head.encoding[:20]}, {head.pixels_bytes} bytes, in frame {index} of {bag.path}"
        expected = f"pictures of {prefix} of {first.size_hw[1]} x {first.size_hw[0]} px, all of one size and whole"
        raise InputError(expected, got, COPY_AGAIN)


def _occurrences(time_ns: Int64[np.ndarray, "t"]) -> list[tuple[int, int]]:
    """Each message's time and how many of the same time came before it."""
    seen: dict[int, int] = {}
    keys = []
    for time in time_ns.tolist():
        keys.append((time, seen.get(time, 0)))
        seen[time] = seen.get(time, 0) + 1
    return keys


def _integers(
    facts: Mapping[tuple[int, int], str], keys: list[tuple[int, int]], scale: int
) -> Int64[np.ndarray, "t"] | None:
    """A fact of every frame, times a scale; None unless all frames have one that is a number."""
    values = []
    for key in keys:
        whole, _, part = facts.get(key, "").strip().partition(".")
        digits = f"{part[:9]:0<9}"
        if not (whole.isdecimal() and whole.isascii() and len(whole) < 16 and digits.isdecimal() and digits.isascii()):
            return None
        values.append(int(whole) * scale + int(digits) * scale // 10**9)
    return np.array(values, np.int64)


@dataclass(frozen=True, eq=False)
class BagFrames:
    """Reads a frame from its message each time it is asked; holds no pixels and no open file."""

    bags: Mapping[str, BagFile]
    """By camera; only the topics of pictures."""
    streams: Mapping[str, BagStream]
    """By camera."""

    def __call__(self, camera_id: str, index: int) -> np.ndarray:
        """As `Recording.read_frame`."""
        if camera_id not in self.streams:
            raise InputError(f"a camera ({', '.join(self.streams)})", repr(camera_id), "correct the camera's name")
        stream, bag = self.streams[camera_id], self.bags[camera_id]
        messages = bag.topics[stream.topic]
        if not 0 <= index < len(messages.time_ns):
            expected = f"a frame from 0 to {len(messages.time_ns) - 1} of {camera_id}"
            raise InputError(expected, f"frame {index}", "choose a frame that was recorded")
        data = bag.message(messages, index)
        try:
            head = image_head(data)
        except ValueError as error:
            raise InputError(f"frame {index} of {camera_id}", f"{error} in {bag.path}", COPY_AGAIN) from error
        pixel_bytes = BYTES_A_PIXEL[stream.kind][stream.head.encoding.lower()]
        _check_head(bag, stream.prefix, index, head, stream.head, pixel_bytes)
        pixels = data[head.pixels_start : head.pixels_start + head.pixels_bytes]
        if len(pixels) != head.pixels_bytes:
            raise InputError(f"frame {index} of {camera_id}", f"{len(pixels)} bytes in {bag.path}", COPY_AGAIN)
        return _pixels(pixels, head, pixel_bytes)


def _pixels(data: bytes, head: ImageHead, pixel_bytes: int) -> np.ndarray:
    """uint8 (h w 3) or uint16 (h w)."""
    rows, columns = head.size_hw
    values = np.frombuffer(data, np.uint8).reshape(rows, head.row_bytes)[:, : columns * pixel_bytes]
    encoding = head.encoding.lower()
    if encoding in ("mono16", "16uc1"):
        return np.ascontiguousarray(values).view(">u2" if head.big_endian else "<u2").astype(np.uint16)
    if encoding in ("8uc1", "mono8"):
        return values.astype(np.uint16)
    picture = np.ascontiguousarray(values).reshape(rows, columns, pixel_bytes)
    if encoding in YUV_TO_RGB:
        return cv2.cvtColor(picture, YUV_TO_RGB[encoding])
    return np.ascontiguousarray(picture[..., :3] if encoding.startswith("rgb") else picture[..., 2::-1])
