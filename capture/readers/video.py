"""Video files, one a camera: a folder of them, or a single one.

Device time is presentation time. Cameras are named for their files and uncalibrated, unless a calibration lies beside
them (rig.json, intri.yml and extri.yml, transforms.json, a COLMAP model). Sound tracks and sound files come along.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from capture.calibration.formats import calibration_beside, calibration_files, read_calibration
from capture.calibration.formats.onto_recording import onto_recording
from capture.camera_names import camera_name, natural_order
from capture.readers.frame_sources import CameraFrames
from capture.readers.media_container import SOUND_SUFFIXES, VIDEO_SUFFIXES, format_of
from capture.readers.media_sound import sound_tracks
from capture.readers.recording import AudioTrack, Recording
from capture.readers.video_file import VideoFile, read_video_file
from geometry.cameras import Camera, CameraKind
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.image_folder import MARKER

VIDEO_FORMATS = ("mov", "matroska", "avi")
LONGEST_PORTION = 512
"""Frames that one task reads in a row at most, however far apart the keyframes are."""
UNEVEN = 0.2
"""Intervals that differ from the usual one by more than this share of it make a variable rate."""


def recognises_video(source: Path) -> str | None:
    """Why `source` is a video or a folder of videos: their names and first bytes."""
    try:
        if source.is_file():
            is_video = source.suffix.lower() in VIDEO_SUFFIXES and format_of(source) in VIDEO_FORMATS
            return f"a video file ({format_of(source)})" if is_video else None
        if not source.is_dir() or (source / MARKER).exists():
            return None
        videos = [path for path in _with_suffix(source, VIDEO_SUFFIXES) if format_of(path) in VIDEO_FORMATS]
        return f"a folder with {len(videos)} video file{'s' if len(videos) > 1 else ''}" if videos else None
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None


def read_video(source: Path) -> Recording:
    """The recording of a video file or of a folder of them; frames are counted here and decoded when asked for.

    Raises InputError: no video, one that is broken or cut off, two that give one camera's name, a calibration of other
    cameras or of another picture size.
    """
    source = Path(source).absolute()
    try:
        is_folder = source.is_dir()
        folder = source if is_folder else source.parent
        paths = _with_suffix(source, VIDEO_SUFFIXES) if is_folder else [source]
        sounds = _with_suffix(source, SOUND_SUFFIXES) if is_folder else []
        others = [path for path in folder.iterdir() if path.is_file()] if is_folder else []
    except (OSError, ValueError) as error:
        raise InputError("a video or a folder of videos", f"{source} ({error})", "check the path") from error
    if not paths:
        raise InputError("a video or a folder of videos", f"none in {source}", "name the folder that holds them")
    videos = {camera_id: read_video_file(path) for camera_id, path in _named(paths)}
    notes = [note for video in videos.values() for note in video.notes]
    cameras = [video_camera(camera_id, camera_id, "rgb", video) for camera_id, video in videos.items()]
    notes += [note for camera in cameras for note in rate_notes(camera.id, videos[camera.id])]
    beside = calibration_beside(folder)
    rig, calibration, rig_notes = calibrated(Rig(tuple(cameras)), beside, optional=not is_folder)
    files = (*paths, *sounds, *calibration)
    if left_out := [path.name for path in others if path not in files and not path.name.startswith(".")]:
        shown = min(left_out).encode("utf-8", "backslashreplace").decode()
        notes.append(f"{len(left_out)} other files are left out, such as {shown}")
    frames = CameraFrames(str(source), videos)
    return Recording(
        address=str(source),
        reader="video",
        rig=rig,
        clocks={camera_id: video.clock for camera_id, video in videos.items()},
        read_frame=frames,
        read_frames=frames.in_a_row,
        read_jpeg=frames.jpeg if any(video.is_jpeg for video in videos.values()) else None,
        frames_per_portion=portion_of(videos.values()),
        audio=tracks_of([(camera_id, video.path) for camera_id, video in videos.items()], sounds),
        source_files=files,
        notes=(*notes, *rig_notes),
    )


def video_camera(camera_id: str, module: str, kind: CameraKind, video: VideoFile) -> Camera:
    """An uncalibrated camera with the size and rate of a video."""
    camera = Camera.uncalibrated(camera_id, module, kind, video.size_hw)
    intervals = np.diff(video.device_ns)
    return replace(camera, rate_hz=round(1e9 / float(np.median(intervals)), 3)) if len(intervals) else camera


def rate_notes(camera_id: str, video: VideoFile) -> list[str]:
    """Whether a video's rate varies."""
    intervals_ms = np.diff(video.device_ns) / 1e6
    if not len(intervals_ms) or np.abs(intervals_ms / np.median(intervals_ms) - 1).max() <= UNEVEN:
        return []
    low, usual, high = np.percentile(intervals_ms, [0, 50, 100])
    return [f"{camera_id}: a variable rate, from {low:.1f} to {high:.1f} ms between frames, {usual:.1f} usually"]


def portion_of(videos: Iterable[VideoFile]) -> int:
    """Frames that one task should read in a row: the longest way between keyframes, within bounds; 0: any number."""
    longest = max((1 if video.is_jpeg else video.longest_group for video in videos), default=1)
    return 0 if longest == 1 else min(longest, LONGEST_PORTION)


def calibrated(
    rig: Rig, calibration: Path | None, optional: bool = False
) -> tuple[Rig, tuple[Path, ...], tuple[str, ...]]:
    """The recorded rig with a calibration on it if there is one, the calibration's files, and notes.

    One that knows no recorded camera is an InputError, unless it is `optional` because it may be of others.
    """
    if calibration is None:
        return rig, (), ("no calibration: cameras are uncalibrated, give one with --rig",)
    sizes_hw = {camera.id: camera.image_size_hw for camera in rig.cameras}
    found = read_calibration(calibration, sizes_hw)
    if optional and not set(found.ids) & set(rig.ids):
        return rig, (), (f"{calibration.name} beside it is of other cameras: uncalibrated, give one with --rig",)
    placed, notes = onto_recording(rig, found, calibration.name)
    return placed, calibration_files(calibration), (f"calibrated by {calibration.name}", *notes)


def tracks_of(videos: Sequence[tuple[str, Path]], sounds: Sequence[Path]) -> tuple[AudioTrack, ...]:
    """Sound tracks of videos, on their cameras' clocks, and of sound files, each on its own."""
    tracks = [track for camera_id, path in videos for track in sound_tracks(path, camera_id, camera_id)]
    taken = {track.id for track in tracks}
    for path in sounds:
        name = camera_name(path.stem)
        found = sound_tracks(path, "", name if name not in taken else f"{name}-sound")
        if not found:
            raise InputError("sound", f"none in {path}", "remove the file, or record again")
        tracks += found
        taken |= {track.id for track in found}
    if len(taken) != len(tracks):
        raise InputError("sound files of different names", ", ".join(path.name for path in sounds), "rename one")
    return tuple(tracks)


def _named(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    named: dict[str, Path] = {}
    for path in paths:
        name = camera_name(path.stem)
        if name in named:
            got = f"{named[name].name} and {path.name}"
            raise InputError(f"one video for camera {name}", got, "rename one, or move it out of the folder")
        named[name] = path
    return sorted(named.items(), key=lambda item: natural_order(item[0]))


def _with_suffix(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file()]
    return sorted(path for path in found if not path.name.startswith("."))
