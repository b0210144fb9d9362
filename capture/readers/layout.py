"""Any tree of pictures and videos by a layout.yaml, which says what lies where: docs/layout.md.

The layout lies in the recording's folder; a layout of another name there is named itself as the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from capture.camera_names import camera_name, natural_order
from capture.readers.folder_walk import file_inside, files_under
from capture.readers.frame_sources import CameraFrames, FrameSource, PictureSeries
from capture.readers.layout_document import Layout, StreamRule, read_layout_document
from capture.readers.layout_times import Picture, Row, clock_of, in_order, read_table, rows_of_pictures
from capture.readers.path_pattern import NUMERIC, PLACE, whole_number
from capture.readers.picture_file import read_picture_header
from capture.readers.recording import Recording, StreamClock
from capture.readers.video import calibrated, portion_of, rate_notes, tracks_of, video_camera
from capture.readers.video_file import VideoFile, read_video_file
from geometry.cameras import Camera
from geometry.errors import InputError
from geometry.rigs import Rig

FILE = "layout.yaml"
MOST_CAMERAS = 4096
KINDS = {"8-bit RGB": ("rgb",), "16-bit grey": ("depth", "infrared", "light_field")}
"""What a picture's pixels can be."""
START_BYTES = 65_536


def recognises_layout(source: Path) -> str | None:
    """Why `source` has a layout: it holds layout.yaml, or is a YAML file with a layout's first key."""
    try:
        if source.is_dir():
            return f"a folder with {FILE}" if (source / FILE).is_file() else None
        if source.suffix.lower() not in (".yaml", ".yml") or not source.is_file():
            return None
        with source.open("rb") as file:
            has_key = re.search(rb"^layout:", file.read(START_BYTES), re.MULTILINE)
        return "a layout file" if has_key else None
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None


def read_layout(source: Path) -> Recording:
    """The recording that a layout describes; pictures are only counted here and decoded when they are asked for.

    Cameras are in the layout's order, those of one stream by name. Raises InputError: a layout, table or calibration
    that is missing or wrong, a pattern that matches nothing, a file that two streams or cameras claim, links that
    leave the folder, a first picture that is broken or of another kind.
    """
    source = Path(source).absolute()
    path = source / FILE if source.is_dir() else source
    layout = read_layout_document(path)
    root = path.parent
    names = files_under(root)
    claimed = _claimed(layout, names)
    streams: dict[str, _Stream] = {}
    notes: list[str] = []
    tables = [_Tables(root, rule) for rule in layout.streams]
    for rule, lines in zip(layout.streams, tables, strict=True):
        for camera_id, files in _by_camera(claimed[rule.name], rule).items():
            if camera_id in streams:
                got = f"{camera_id} in {streams[camera_id].rule.name} and {rule.name}"
                raise InputError("each camera in one stream", got, "name the cameras differently in the layout")
            streams[camera_id] = _stream(root, rule, camera_id, files, lines)
            notes += streams[camera_id].notes
    _require_cameras(tables)
    rig = Rig(tuple(stream.camera for stream in streams.values()))
    calibration = file_inside(root, layout.calibration, "the calibration") if layout.calibration else None
    rig, calibration_paths, rig_notes = calibrated(rig, calibration)
    _require_units(rig, streams)
    sounds = [file_inside(root, name, "a sound file") for name in layout.sound]
    pictures = [file for stream in streams.values() for file in stream.files]
    table_paths = sorted(table for lines in tables for table in lines.paths)
    used = dict.fromkeys((path, *table_paths, *calibration_paths, *sounds, *pictures))
    videos = {name: stream.source for name, stream in streams.items() if isinstance(stream.source, VideoFile)}
    frames = CameraFrames(str(root), {name: stream.source for name, stream in streams.items()})
    return Recording(
        address=str(root),
        reader="layout",
        rig=rig,
        clocks={name: stream.clock for name, stream in streams.items()},
        read_frame=frames,
        read_frames=frames.in_a_row,
        read_jpeg=frames.jpeg,
        frame_files={name: stream.files for name, stream in streams.items() if name not in videos},
        frames_per_portion=portion_of(videos.values()),
        audio=tracks_of([(name, video.path) for name, video in videos.items()], sounds),
        source_files=tuple(used),
        notes=(*_grouped(notes), *rig_notes, *_unmatched(names, root, used)),
        subject_id=layout.texts.get("subject_id", ""),
        licence=layout.texts.get("licence", ""),
        consent=layout.texts.get("consent", ""),
        slate=layout.texts.get("slate", ""),
        take_number=layout.texts.get("take_number", ""),
    )


@dataclass(frozen=True, eq=False)
class _Stream:
    """One camera of the layout."""

    rule: StreamRule
    camera: Camera
    source: FrameSource
    clock: StreamClock
    files: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Match:
    path: str
    places: Mapping[str, str]


def _claimed(layout: Layout, names: Sequence[str]) -> dict[str, list[_Match]]:
    """The files of each stream; InputError for a file of two, and for a stream without files."""
    claimed: dict[str, list[_Match]] = {rule.name: [] for rule in layout.streams}
    for name in names:
        owner = None
        for rule in layout.streams:
            places = rule.files.match(name)
            if places is None:
                continue
            if owner is not None:
                expected = f"files that one pattern matches; {owner.files.text} and {rule.files.text} both match"
                raise InputError(expected, name, "make one of the patterns narrower")
            owner = rule
            claimed[rule.name].append(_Match(name, places))
    for rule in layout.streams:
        if not claimed[rule.name]:
            nearest = f"{len(names)} files, such as {names[0]}" if names else "no files"
            raise InputError(f"files that match {rule.files.text} ({rule.name})", nearest, "correct the pattern")
    return claimed


def _by_camera(matches: Sequence[_Match], rule: StreamRule) -> dict[str, list[_Match]]:
    """Matches of each camera, by name; InputError if two cameras come to one name."""
    cameras: dict[str, list[_Match]] = {}
    owners: dict[str, dict[str, str]] = {}
    for match in matches:
        texts = {place: text for place, text in match.places.items() if place not in NUMERIC}
        name = camera_name(_filled(rule.camera, match.places))
        if owners.setdefault(name, texts) != texts:
            got = f"{cameras[name][0].path} and {match.path} for {name}"
            raise InputError(f"a name of its own for every camera of {rule.name}", got, "add a place to camera:")
        cameras.setdefault(name, []).append(match)
    if len(cameras) > MOST_CAMERAS:
        raise InputError(f"at most {MOST_CAMERAS} cameras", f"{len(cameras)} in {rule.name}", "correct the pattern")
    return {name: cameras[name] for name in sorted(cameras, key=natural_order)}


def _stream(root: Path, rule: StreamRule, camera_id: str, files: Sequence[_Match], lines: _Tables) -> _Stream:
    places = files[0].places
    module, serial = camera_name(_filled(rule.module, places)), _filled(rule.serial, places)
    if rule.is_video:
        if len(files) != 1:
            got = f"{files[0].path} and {files[1].path}"
            raise InputError(f"one video for camera {camera_id}", got, "add a place to camera:")
        video = read_video_file(root / files[0].path, rule.kind)
        camera = _stated(video_camera(camera_id, module, rule.kind, video), rule, serial)
        clock, notes = _video_clock(video, rule, camera_id, places, lines)
        return _Stream(rule, camera, video, clock, (video.path,), (*video.notes, *rate_notes(camera_id, video), *notes))
    pictures = [Picture(match.path, _numbers(match)) for match in files]
    ordered = in_order(pictures, camera_id)
    rows, notes = None, []
    if rule.times is not None:
        table_path = lines.path_for(places)
        ordered, rows, notes = rows_of_pictures(lines.rows(table_path, camera_id), ordered, rule.times, table_path)
        if not ordered:
            raise InputError(f"times of {camera_id}'s pictures", f"none in {table_path}", "correct the table")
    clock, clock_notes = clock_of(ordered, rule, rows, camera_id)
    first = root / ordered[0].path
    header = read_picture_header(first)
    if rule.kind not in KINDS.get(header.kind, ()):
        expected = "8-bit RGB" if rule.kind == "rgb" else "16-bit grey"
        raise InputError(f"{expected} pictures for kind {rule.kind}", f"{header.kind} in {first}", "correct the kind")
    camera = _stated(Camera.uncalibrated(camera_id, module, rule.kind, header.size_hw), rule, serial)
    if not rule.rate_hz and len(ordered) > 1:
        usual_ns = float(np.median(np.abs(np.diff(clock.device_ns))))
        camera = replace(camera, rate_hz=round(1e9 / usual_ns, 3) if usual_ns else 0.0)
    paths = tuple(root / picture.path for picture in ordered)
    return _Stream(rule, camera, PictureSeries(camera, paths), clock, paths, (*notes, *clock_notes))


def _video_clock(
    video: VideoFile, rule: StreamRule, camera_id: str, places: Mapping[str, str], lines: _Tables
) -> tuple[StreamClock, list[str]]:
    """Presentation times, or those that a table gives every frame."""
    if rule.times is None:
        return video.clock, []
    table_path = lines.path_for(places)
    pictures = [Picture(video.path.name, {"frame": number}) for number in range(video.frame_count)]
    known, rows, _ = rows_of_pictures(lines.rows(table_path, camera_id), pictures, rule.times, table_path)
    if len(known) != len(pictures):
        got = f"{len(known)} lines for {len(pictures)} frames of {video.path}"
        raise InputError(f"a line of {table_path} for each frame", got, "copy both again")
    # Frame numbers here only find lines; a counter is what the table calls one.
    return clock_of([Picture(picture.path, {}) for picture in known], rule, rows, camera_id, video.clock)


def _stated(camera: Camera, rule: StreamRule, serial: str) -> Camera:
    rate_hz = rule.rate_hz or camera.rate_hz
    unit_m = rule.depth_unit_m or camera.depth_unit_m
    return replace(camera, rate_hz=rate_hz, depth_unit_m=unit_m, serial=serial)


def _require_units(rig: Rig, streams: Mapping[str, _Stream]) -> None:
    """A calibration that knows depth units must not contradict the layout."""
    for camera in rig.depth:
        stated = streams[camera.id].rule.depth_unit_m
        if camera.depth_unit_m != stated:
            got = f"{camera.depth_unit_m} m in the calibration"
            raise InputError(f"a depth unit of {stated} m for {camera.id}", got, "correct one of them")


class _Tables:
    """The tables of a stream, each read once."""

    def __init__(self, root: Path, rule: StreamRule) -> None:
        self.root, self.rule = root, rule
        self.paths: dict[Path, dict[str, list[tuple[str, Row]]]] = {}
        self.used: set[tuple[Path, str]] = set()

    def path_for(self, places: Mapping[str, str]) -> Path:
        assert self.rule.times is not None
        return file_inside(self.root, self.rule.times.pattern.filled(places), "a table of times")

    def rows(self, path: Path, camera_id: str) -> list[tuple[str, Row]]:
        """Key and times of a camera's lines."""
        assert self.rule.times is not None
        if path not in self.paths:
            by_camera: dict[str, list[tuple[str, Row]]] = {}
            for camera, key, row in read_table(path, self.rule.times):
                by_camera.setdefault(camera_name(camera) if camera else "", []).append((key, row))
            self.paths[path] = by_camera
        key = camera_id if "camera" in self.rule.times.columns else ""
        self.used.add((path, key))
        return self.paths[path].get(key, [])


def _require_cameras(tables: Sequence[_Tables]) -> None:
    """Lines of a camera that has no pictures are lost pictures; a table may be of several streams."""
    used = {place for lines in tables for place in lines.used}
    for lines in tables:
        for path, by_camera in lines.paths.items():
            if lost := sorted(name for name in by_camera if (path, name) not in used):
                remedy = "copy their pictures again, or take their lines out of the table"
                raise InputError(
                    f"pictures of every camera that {path} names", f"none of {', '.join(lost[:8])}", remedy
                )


def _numbers(match: _Match) -> dict[str, int]:
    return {name: whole_number(text, match.path) for name, text in match.places.items() if name in NUMERIC}


def _filled(template: str, places: Mapping[str, str]) -> str:
    return PLACE.sub(lambda found: places[found[1]], template)


def _grouped(notes: Sequence[str]) -> list[str]:
    """Notes that differ in nothing but the camera's name, said once for all of them."""
    cameras: dict[str, list[str]] = {}
    for note in notes:
        camera, _, said = note.partition(": ")
        cameras.setdefault(said, []).append(camera)
    return [
        f"{names[0]}: {said}" if len(names) == 1 else f"{len(names)} cameras ({names[0]} to {names[-1]}): {said}"
        for said, names in cameras.items()
    ]


def _unmatched(names: Sequence[str], root: Path, used: Mapping[Path, None]) -> list[str]:
    left = [name for name in names if root / name not in used]
    return [f"{len(left)} files that the layout does not name are left out, such as {left[0]}"] if left else []
