"""Matroska files like k4arecord's, of any number of frames with known pixels, times and inertial samples."""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

COLOUR_HW, DEPTH_HW = (720, 1280), (288, 320)
DEPTH_MODE = "NFOV_2X2BINNED"
DEPTH_PARAMETERS = (0.51, 0.52, 0.49, 0.492, 0.5, -0.02, -0.002, 0.88, 0.08, -0.013, 0, 0, -7e-5, 2e-5)
COLOUR_PARAMETERS = (0.498, 0.507, 0.478, 0.637, 0.33, -2.49, 1.45, 0.21, -2.3, 1.375, 0, 0, -1.3e-4, -1.6e-4)
COLOUR_TRACK, DEPTH_TRACK, IR_TRACK, IMU_TRACK = 1, 2, 3, 4
UID = {COLOUR_TRACK: 1111, DEPTH_TRACK: 2222, IR_TRACK: 3333, IMU_TRACK: 4444}
UNKNOWN_SIZE = b"\x01" + b"\xff" * 7


@dataclass(frozen=True)
class KinectScript:
    """What a file is to hold."""

    frames: int = 5
    coding: str = "MJPG"
    """Colour: MJPG, NV12, YUY2, BGRA or OFF."""
    depth_mode: str = DEPTH_MODE
    offset_ns: int = 9_876_543_000
    period_ns: int = 33_333_000
    serial: str = "000123"
    sync: tuple[tuple[str, str], ...] = (("K4A_WIRED_SYNC_MODE", "STANDALONE"), ("K4A_DEPTH_DELAY_NS", "0"))
    calibrated: bool = True
    checksums: bool = True
    lacing: int = 2
    """Of inertial samples: 0 none, 1 Xiph's, 2 equal sizes, 3 EBML's."""
    closed: bool = True
    """False: as the recorder leaves the file when it crashes."""
    seed: int = 0


def element(identity: int, content: bytes, size_bytes: int = 0) -> bytes:
    """An EBML element."""
    return identity.to_bytes(-(-identity.bit_length() // 8)) + size(len(content), size_bytes) + content


def size(value: int, length: int = 0) -> bytes:
    length = length or next(n for n in range(1, 9) if value < (1 << 7 * n) - 1)
    return (value | 1 << 7 * length).to_bytes(length)


def number(identity: int, value: int) -> bytes:
    return element(identity, value.to_bytes(max(1, -(-value.bit_length() // 8))))


def checked(identity: int, content: bytes, checksums: bool = True) -> bytes:
    """A master element that starts with the checksum of what follows."""
    crc = element(0xBF, zlib.crc32(content).to_bytes(4, "little")) if checksums else b""
    return element(identity, crc + content)


def colour_picture(script: KinectScript, index: int) -> np.ndarray:
    """RGB; flat enough for small JPEGs."""
    rows, columns = COLOUR_HW
    picture = np.zeros((rows, columns, 3), np.uint8)
    picture[..., 0] = np.linspace(20, 230, columns).astype(np.uint8)
    picture[..., 1] = np.linspace(30, 200, rows).astype(np.uint8)[:, None]
    picture[:, : 40 * (index + 1), 2] = 200 - script.seed
    return picture


def depth_picture(script: KinectScript, index: int) -> np.ndarray:
    random = np.random.default_rng([script.seed, index, 1])
    picture = random.integers(500, 900, depth_size_hw(script)).astype(np.uint16)
    picture[:5] = 0
    return picture


def infrared_picture(script: KinectScript, index: int) -> np.ndarray:
    return np.random.default_rng([script.seed, index, 2]).integers(0, 65536, depth_size_hw(script)).astype(np.uint16)


def depth_size_hw(script: KinectScript) -> tuple[int, int]:
    return (1024, 1024) if script.depth_mode == "PASSIVE_IR" else DEPTH_HW


def imu_sample(script: KinectScript, index: int) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """Device time, acceleration and angular rate of the index-th sample, ten a frame."""
    time_ns = script.offset_ns + index * script.period_ns // 10 // 1000 * 1000
    return time_ns, (0.125 * index, -9.75, 0.5), (0.25, -0.125 * index, 0.0)


def coded_colour(script: KinectScript, index: int) -> bytes:
    picture = colour_picture(script, index)
    if script.coding == "MJPG":
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=80, comment=b"a name that must not be copied")
        return buffer.getvalue()
    if script.coding == "BGRA":
        return np.dstack([picture[..., ::-1], np.full(COLOUR_HW, 255, np.uint8)]).tobytes()
    luma, u, v = _yuv(picture)
    if script.coding == "NV12":
        chroma = np.stack([plane.reshape(360, 2, 640, 2).mean((1, 3)) for plane in (u, v)], -1)
        return np.round(luma).astype(np.uint8).tobytes() + np.round(chroma).astype(np.uint8).tobytes()
    packed = np.zeros((*COLOUR_HW, 2), np.uint8)
    packed[..., 0] = np.round(luma)
    for start, plane in ((0, u), (1, v)):
        packed[:, start::2, 1] = np.round(plane.reshape(720, 640, 2).mean(-1))
    return packed.tobytes()


def _yuv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """BT.601, limited range."""
    r, g, b = (rgb[..., i].astype(np.float64) / 255 for i in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return 16 + 219 * luma, 128 + 224 * (b - luma) / 1.772, 128 + 224 * (r - luma) / 1.402


def write_kinect(path: Path, script: KinectScript | None = None) -> Path:
    """Write a file; returns its path."""
    script = script or KinectScript()
    clusters = [_cluster(script, index) for index in range(script.frames)]
    header = _header(script)
    body = header + b"".join(clusters) + (element(0x1C53BB6B, element(0xBB, number(0xB3, 0))) if script.closed else b"")
    ebml = element(
        0x1A45DFA3,
        number(0x4286, 1) + number(0x42F7, 1) + number(0x42F2, 4) + number(0x42F3, 8) + element(0x4282, b"matroska")
        + number(0x4287, 2) + number(0x4285, 2),
    )  # fmt: skip
    length = size(len(body), 8) if script.closed else size(0, 8)
    path.write_bytes(ebml + bytes.fromhex("18538067") + length + body)
    return path


def _header(script: KinectScript) -> bytes:
    info = number(0x2AD7B1, 1000) + element(0x5741, b"k4arecord-1.4.1") + element(0x7BA9, b"Azure Kinect")
    tracks, tags = b"", b""
    depth_hw = depth_size_hw(script)
    if script.coding != "OFF":
        tracks += _video_track(COLOUR_TRACK, "COLOR", script.coding, COLOUR_HW, script)
        tags += _tag("K4A_COLOR_TRACK", str(UID[COLOUR_TRACK]), COLOUR_TRACK)
        tags += _tag("K4A_COLOR_MODE", f"{script.coding}_720P", COLOUR_TRACK)
    if script.depth_mode != "PASSIVE_IR":
        tracks += _video_track(DEPTH_TRACK, "DEPTH", "b16g", depth_hw, script)
    tags += _tag("K4A_DEPTH_MODE", script.depth_mode, 0 if script.depth_mode == "PASSIVE_IR" else DEPTH_TRACK)
    tags += _tag("K4A_IR_TRACK", str(UID[IR_TRACK]), IR_TRACK) + _tag("K4A_IMU_TRACK", str(UID[IMU_TRACK]), IMU_TRACK)
    tracks += _video_track(IR_TRACK, "IR", "b16g", depth_hw, script)
    tracks += element(
        0xAE,
        number(0xD7, IMU_TRACK) + number(0x73C5, UID[IMU_TRACK]) + number(0x83, 17) + element(0x86, b"S_K4A/IMU")
        + element(0x536E, b"IMU"),
    )  # fmt: skip
    for name, text in (
        *script.sync,
        ("K4A_DEVICE_SERIAL_NUMBER", script.serial),
        ("K4A_DEPTH_FIRMWARE_VERSION", "1.6.79"),
    ):
        tags += _tag(name, text)
    if script.closed:
        tags += _tag("K4A_START_OFFSET_NS", str(script.offset_ns))
    attachment = b""
    if script.calibrated:
        content = json.dumps(calibration_document()).encode()
        entry = element(0x466E, b"calibration.json") + element(0x465C, content) + number(0x46AE, 5555)
        attachment = element(0x1941A469, element(0x61A7, entry))
        tags += _tag("K4A_CALIBRATION_FILE", "calibration.json", attachment_uid=5555)
    return (
        element(0xEC, bytes(100)) + element(0x1549A966, info) + element(0x1654AE6B, tracks) + attachment
        + checked(0x1254C367, tags, script.checksums) + element(0xEC, bytes(100))
    )  # fmt: skip


def _video_track(track: int, name: str, coding: str, size_hw: tuple[int, int], script: KinectScript) -> bytes:
    rows, columns = size_hw
    bits = {"MJPG": 24, "NV12": 12, "BGRA": 32}.get(coding, 16)
    image_bytes = 0 if coding == "MJPG" else rows * columns * bits // 8
    bitmap = struct.pack("<IiiHH4sIiiII", 40, columns, rows, 1, bits, coding.encode(), image_bytes, 0, 0, 0, 0)
    video = number(0xB0, columns) + number(0xBA, rows)
    content = number(0xD7, track) + number(0x73C5, UID[track]) + number(0x83, 1) + element(0x86, b"V_MS/VFW/FOURCC")
    content += element(0x536E, name.encode()) + element(0x63A2, bitmap) + number(0x23E383, 33_333_333)
    return element(0xAE, content + element(0xE0, video))


def _tag(name: str, text: str, track: int = 0, attachment_uid: int = 0) -> bytes:
    target = number(0x63C5, UID[track]) if track else number(0x63C6, attachment_uid) if attachment_uid else b""
    return element(
        0x7373,
        element(0x63C0, target) + element(0x67C8, element(0x45A3, name.encode()) + element(0x4487, text.encode())),
    )


def calibration_document() -> dict[str, object]:
    """A calibration of plausible values, the colour camera 32 mm beside the depth camera and tilted."""
    angle = 0.0863
    tilt = [1.0, 0, 0, 0, np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle)]

    def camera(
        location: str,
        parameters: tuple[float, ...],
        size_wh: tuple[int, int],
        rotation: list[float],
        translation: list[float],
    ) -> dict[str, object]:
        return {
            "Intrinsics": {
                "ModelParameterCount": 14,
                "ModelParameters": list(parameters),
                "ModelType": "CALIBRATION_LensDistortionModelBrownConrady",
            },
            "Location": f"CALIBRATION_CameraLocation{location}",
            "MetricRadius": 1.74,
            "Rt": {"Rotation": [float(v) for v in rotation], "Translation": translation},
            "SensorWidth": size_wh[0],
            "SensorHeight": size_wh[1],
        }

    identity = [1.0, 0, 0, 0, 1, 0, 0, 0, 1]
    cameras = [
        camera("D0", DEPTH_PARAMETERS, (1024, 1024), identity, [0.0, 0.0, 0.0]),
        camera("PV0", COLOUR_PARAMETERS, (4096, 3072), tilt, [-0.032, -0.002, 0.004]),
    ]
    return {"CalibrationInformation": {"Cameras": cameras, "InertialSensors": [], "Metadata": {"SerialId": "factory"}}}


def _cluster(script: KinectScript, index: int) -> bytes:
    ticks = index * script.period_ns // 1000
    content = number(0xE7, ticks)
    if script.coding != "OFF":
        content += _simple_block(COLOUR_TRACK, coded_colour(script, index))
    if script.depth_mode != "PASSIVE_IR":
        content += _simple_block(DEPTH_TRACK, depth_picture(script, index).astype(">u2").tobytes())
    content += _simple_block(IR_TRACK, infrared_picture(script, index).astype(">u2").tobytes())
    samples = []
    for k in range(10 * index, 10 * index + 10):
        time_ns, acceleration, rotation = imu_sample(script, k)
        samples.append(struct.pack("<Q3fQ3f", time_ns, *acceleration, time_ns, *rotation))
    block = size(IMU_TRACK) + struct.pack(">hB", 0, script.lacing << 1) + _laced(samples, script.lacing)
    content += element(0xA0, element(0xA1, block) + number(0x9B, 30_000))
    return checked(0x1F43B675, content, script.checksums)


def _simple_block(track: int, content: bytes) -> bytes:
    return element(0xA3, size(track) + struct.pack(">hB", 0, 0x80) + content)


def _laced(samples: list[bytes], lacing: int) -> bytes:
    if lacing == 0:
        return samples[0]
    sizes = {
        1: b"".join(b"\xff" * (len(sample) // 255) + bytes([len(sample) % 255]) for sample in samples[:-1]),
        2: b"",
        3: size(len(samples[0])) + bytes([0x80 | 63] * (len(samples) - 2)),
    }
    return bytes([len(samples) - 1]) + sizes[lacing] + b"".join(samples)
