"""Azure Kinect and Femto Bolt recordings (`k4arecord`'s Matroska), one file a device, or a folder of them.

- Times: the device's clock is `K4A_START_OFFSET_NS` plus the file's own, in whole microseconds, at the middle of the
  exposure. `K4A_DEPTH_DELAY_NS` and `K4A_SUBORDINATE_DELAY_NS` say what was asked of the hardware; times have them in.
- Colour is MJPG, which is handed on as it is, or NV12, YUY2 or BGRA; depth (millimetres) and infrared are b16g, that is
  16 bits, big-endian. In the passive mode there is infrared only.
- Inertial samples hold their own absolute times, and stand in the axes of the inertial sensor, in m/s^2 and rad/s.
- Clusters carry a CRC-32, which is compared whenever a picture is read: a flipped bit is an error, not a frame.
- The start offset is written when the recorder closes the file. Where it did not (a crash), it follows from the
  inertial samples, and without those the clock starts at 0; either is said in the notes.

Not verified on a real file: colour other than MJPG (taken as BT.601, limited range), and laced inertial samples.
Source: Azure-Kinect-Sensor-SDK, src/record (record.cpp, matroska_write.cpp, matroska_read.cpp).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from capture.calibration.formats.k4a_json import K4aCameras, k4a_cameras, parse_k4a
from capture.camera_names import camera_name, natural_order
from capture.readers.ebml import first_bytes
from capture.readers.inertial import merged_inertial
from capture.readers.kinect_streams import (
    DEPTH,
    IMU_TRACK,
    INFRARED,
    KINDS,
    RGB,
    KinectFrames,
    KinectStream,
    kinect_streams,
    unfit,
)
from capture.readers.lacing import laced_frames
from capture.readers.matroska import (
    LARGEST_NS,
    MatroskaFile,
    Track,
    is_matroska,
    read_matroska,
)
from capture.readers.recording import ImuTrack, Recording, StreamClock
from geometry.cameras import Camera, CameraKind
from geometry.errors import InputError
from geometry.rigs import Rig

MODULE = "kinect"
CALIBRATION_FILE = "calibration.json"
LOOKED_AT_BYTES = 1 << 16
"""Tags come before the first picture, within 10 kB."""
IMU_SAMPLE = np.dtype(
    [("acceleration_ns", "<u8"), ("acceleration", "<f4", 3), ("rotation_ns", "<u8"), ("rotation", "<f4", 3)]
)
MOST_IMU_BYTES = 160 << 20
"""Forty minutes at 1.6 kHz."""


def recognises_kinect_mkv(source: Path) -> str | None:
    """Why `source` is a Kinect's: Matroska with the tags of k4arecord, or a folder of such files only."""
    if _is_kinect(source):
        return "Matroska with the tags of k4arecord"
    files = _files_of(source)
    if files and all(_is_kinect(path) for path in files):
        return f"a folder of {len(files)} Matroska files with the tags of k4arecord"
    return None


def read_kinect_mkv(source: Path) -> Recording:
    """A recording of one device (cameras rgb, depth, infrared) or of a folder of devices (named for their files).

    Only the index is read here. The world is the depth camera's place, y up; in a folder each device is at its own
    origin until a rig says more. Raises InputError: not a Kinect's, cut off or damaged, a calibration that does not
    fit the modes, no frames.
    """
    source = source.absolute()
    try:
        is_folder = source.is_dir()
    except (OSError, ValueError) as error:
        raise InputError("a Kinect recording", f"{source} ({error})", "check the path") from error
    if not is_folder:
        return _one_device(source)[0]
    files = _files_of(source)
    if not files:
        raise InputError("Kinect recordings (*.mkv)", f"none in {source}", "name the recording itself")
    names = [camera_name(path.stem) for path in files]
    if len(set(names)) != len(names):
        raise InputError("files whose names differ", f"{', '.join(path.name for path in files)}", "rename the files")
    devices = {name: _one_device(path, name) for name, path in zip(names, files, strict=True)}
    return _together(
        source,
        {name: recording for name, (recording, _) in devices.items()},
        {name: frames for name, (_, frames) in devices.items()},
    )


def _one_device(path: Path, module: str = "") -> tuple[Recording, KinectFrames]:
    """The recording of one file, and its frames; with a module's name, cameras are named for it."""
    file = read_matroska(path)
    streams = kinect_streams(file)
    notes: list[str] = []
    offset_ns = _start_offset_ns(file, notes)
    cameras = _cameras(file, streams, module or MODULE, notes)
    clocks = {camera.id: StreamClock(_device_ns(file, streams[camera.kind].track, offset_ns)) for camera in cameras}
    frames = KinectFrames(file, {camera.id: streams[camera.kind] for camera in cameras})
    notes += _notes(file)
    recording = Recording(
        address=str(path),
        reader="kinect_mkv",
        rig=Rig(tuple(cameras)),
        clocks=clocks,
        read_frame=frames,
        source_files=(path,),
        notes=tuple(notes),
        imu=_inertial(file, cameras[0].id, f"{module}_imu" if module else "imu"),
        read_jpeg=frames.read_jpeg if any(stream.format == "MJPG" for stream in streams.values()) else None,
    )
    return recording, frames


def _together(folder: Path, devices: Mapping[str, Recording], frames: Mapping[str, KinectFrames]) -> Recording:
    """Several devices as one recording; their clocks stay apart."""
    cameras = [camera for recording in devices.values() for camera in recording.rig.cameras]
    if len(devices) > 1:
        cameras = [
            camera
            if not camera.is_calibrated
            else replace(camera, calibration_source=f"{camera.calibration_source}; place in the rig unknown")
            for camera in cameras
        ]
    owner = {camera.id: name for name, recording in devices.items() for camera in recording.rig.cameras}
    notes = [f"{name}: {note}" for name, recording in devices.items() for note in recording.notes]
    if len(devices) > 1:
        notes.append("each device is at its own origin: give their places with --rig, from `mien calibrate`")
    read = _DeviceFrames(owner, frames)
    return Recording(
        address=str(folder),
        reader="kinect_mkv",
        rig=Rig(tuple(cameras)),
        clocks={
            camera_id: recording.clocks[camera_id] for recording in devices.values() for camera_id in recording.clocks
        },
        read_frame=read,
        source_files=tuple(path for recording in devices.values() for path in recording.source_files),
        notes=tuple(notes),
        imu=tuple(track for recording in devices.values() for track in recording.imu),
        read_jpeg=read.read_jpeg,
    )


def _cameras(
    file: MatroskaFile, streams: Mapping[CameraKind, KinectStream], module: str, notes: list[str]
) -> list[Camera]:
    named = next((text for (_, tag), text in file.tags.items() if tag == "K4A_CALIBRATION_FILE"), "")
    serial = file.tag("K4A_DEVICE_SERIAL_NUMBER")
    data = file.attachments.get(named or CALIBRATION_FILE)
    if data is None and named:
        raise unfit(file, f"the attachment {named[:60]!r} that a tag names", "none")
    found: dict[str, Camera] = {}
    if data is None:
        notes.append("no calibration in the file: lenses and places are guesses until --rig gives them")
    else:
        calibration = _calibration(file, data, streams, module)
        notes += calibration.notes
        found = {camera.kind: camera for camera in calibration.all}
    cameras = []
    for kind in (RGB, DEPTH, INFRARED):
        if kind not in streams:
            continue
        track = streams[kind].track
        camera = found.get(kind) or Camera.uncalibrated(kind, module, kind, track.size_hw)
        if camera.image_size_hw != track.size_hw:
            expected = (
                f"{camera.image_size_hw[1]} x {camera.image_size_hw[0]} px of {track.name} ({streams[kind].mode})"
            )
            raise unfit(file, expected, f"{track.size_hw[1]} x {track.size_hw[0]} px")
        camera_id = kind if module == MODULE else f"{module}_{kind}"
        cameras.append(replace(camera, id=camera_id, rate_hz=_rate_hz(file, track), serial=serial or camera.serial))
    return cameras


def _calibration(
    file: MatroskaFile, data: bytes, streams: Mapping[CameraKind, KinectStream], module: str
) -> K4aCameras:
    depth = streams.get(DEPTH) or streams.get(INFRARED)
    colour = streams.get(RGB)
    for stream in (depth, colour):
        if stream is not None and not stream.mode:
            raise unfit(file, f"the tag that names {stream.track.name}'s mode", "none")
    name = f"the calibration in {file.path}"
    modes = (colour.mode if colour else "", depth.mode if depth else "")
    return k4a_cameras(parse_k4a(data, name), *modes, module=module, name=name)


def _rate_hz(file: MatroskaFile, track: Track) -> float:
    rate = 1e9 / track.frame_ns if track.frame_ns else 0.0
    if track.frame_ns and not 0.1 <= rate <= 1000:
        raise unfit(file, f"a frame rate of {track.name}", f"{rate:.3g} Hz")
    return rate


def _start_offset_ns(file: MatroskaFile, notes: list[str]) -> int:
    """What the file's clock is behind the device's."""
    text = file.tag("K4A_START_OFFSET_NS")
    if text:
        if not text.isdecimal() or not text.isascii() or len(text) > 19 or int(text) >= LARGEST_NS:
            raise unfit(file, "a start offset in nanoseconds", repr(text[:40]))
        return int(text)
    track = _imu_track(file)
    if track is not None:
        offset_ns = int(_imu_samples(file, track)["acceleration_ns"][0]) - int(file.blocks[track.number].time_ns[0])
        if offset_ns >= 0:
            notes.append("the start offset of the device's clock was not written: taken from the inertial samples")
            return offset_ns
    notes.append("the start offset of the device's clock was not written: times count from the first frame")
    return 0


def _device_ns(file: MatroskaFile, track: Track, offset_ns: int) -> Int64[np.ndarray, "t"]:
    times = file.blocks[track.number].time_ns
    if int(times.max()) + offset_ns >= LARGEST_NS:
        raise unfit(file, "times within a century", f"{int(times.max()) + offset_ns} ns")
    return times + offset_ns


def _notes(file: MatroskaFile) -> list[str]:
    notes = []
    if not file.closed:
        left_out = f", and {file.left_out_bytes} bytes of unfinished data are left out" if file.left_out_bytes else ""
        last_ns = max((int(blocks.time_ns.max()) for blocks in file.blocks.values() if len(blocks.time_ns)), default=0)
        notes.append(f"the recorder did not close the file: it ends after {1e-9 * last_ns:.3f} s{left_out}")
    said = (
        ("K4A_WIRED_SYNC_MODE", "wired synchronisation {}"),
        ("K4A_SUBORDINATE_DELAY_NS", "asked to start {} ns after its master, which is in its times"),
        ("K4A_DEPTH_DELAY_NS", "depth asked {} ns after colour, which is in its times"),
        ("K4A_COLOR_FIRMWARE_VERSION", "colour firmware {}"),
        ("K4A_DEPTH_FIRMWARE_VERSION", "depth firmware {}"),
    )
    for name, words in said:
        if (text := file.tag(name)) not in ("", "0"):
            notes.append(words.format(text[:60]))
    used = {*KINDS, IMU_TRACK}
    notes += [f"track {track.name[:40]!r} is left out" for track in file.tracks if track.name not in used]
    if any(track.codec_private[16:20] in (b"NV12", b"YUY2") for track in file.tracks):
        notes.append("colour is taken as BT.601 of limited range")
    return notes


@dataclass(frozen=True, eq=False)
class _DeviceFrames:
    """Hands on to the device that a camera belongs to."""

    owner: Mapping[str, str]
    """Device by camera."""
    read: Mapping[str, KinectFrames]
    """By device."""

    def __call__(self, camera_id: str, index: int) -> np.ndarray:
        return self._of(camera_id)(camera_id, index)

    def read_jpeg(self, camera_id: str, index: int) -> bytes | None:
        return self._of(camera_id).read_jpeg(camera_id, index)

    def _of(self, camera_id: str) -> KinectFrames:
        if camera_id not in self.owner:
            expected = f"a camera of the recording ({', '.join(self.owner)})"
            raise InputError(expected, repr(camera_id), "correct the camera's name")
        return self.read[self.owner[camera_id]]


def _inertial(file: MatroskaFile, camera_id: str, track_id: str) -> tuple[ImuTrack, ...]:
    track = _imu_track(file)
    if track is None:
        return ()
    pictures = [file.blocks[other.number].cluster for other in file.tracks if other.name in KINDS]
    for cluster in np.setdiff1d(file.blocks[track.number].cluster, np.concatenate(pictures)).tolist():
        file.check_cluster(cluster)  # reading pictures would not
    samples = _imu_samples(file, track)
    time_ns, values = merged_inertial(
        samples["acceleration_ns"].astype(np.int64),
        samples["acceleration"].astype(np.float64),
        samples["rotation_ns"].astype(np.int64),
        samples["rotation"].astype(np.float64),
    )
    return (ImuTrack(track_id, camera_id, time_ns, values),)


def _imu_track(file: MatroskaFile) -> Track | None:
    tracks = [track for track in file.tracks if track.name == IMU_TRACK and len(file.blocks[track.number].time_ns)]
    return tracks[0] if tracks else None


def _imu_samples(file: MatroskaFile, track: Track) -> np.ndarray:
    """All samples, of IMU_SAMPLE."""
    blocks = file.blocks[track.number]
    if int((blocks.end - blocks.start).sum()) > MOST_IMU_BYTES:
        raise unfit(file, f"at most {MOST_IMU_BYTES} bytes of inertial samples", "more")
    frames: list[bytes] = []
    for data, lacing in zip(file.contents(track.number), blocks.lacing.tolist(), strict=True):
        try:
            frames += laced_frames(data, lacing)
        except ValueError as error:
            raise unfit(file, "whole inertial samples", str(error)) from error
    if any(len(frame) != IMU_SAMPLE.itemsize for frame in frames):
        raise unfit(file, f"inertial samples of {IMU_SAMPLE.itemsize} bytes", "others")
    samples = np.frombuffer(b"".join(frames), IMU_SAMPLE)
    latest_ns = int(max(samples["acceleration_ns"].max(), samples["rotation_ns"].max()))
    if latest_ns >= LARGEST_NS:
        raise unfit(file, "inertial samples at possible times", f"{latest_ns} ns")
    return samples


def _is_kinect(path: Path) -> bool:
    if not is_matroska(path):
        return False
    start = first_bytes(path, LOOKED_AT_BYTES)
    return b"K4A_" in start or b"S_K4A/IMU" in start or b"k4arecord" in start


def _files_of(folder: Path) -> list[Path]:
    """A folder's Matroska files in natural order; empty if it is none."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() == ".mkv" and not path.name.startswith(".")]
    except (OSError, ValueError):  # no folder, or a null byte in the path
        return []
    return sorted(paths, key=lambda path: natural_order(path.name))
