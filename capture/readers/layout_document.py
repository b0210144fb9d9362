"""What a layout.yaml says, checked: see docs/layout.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from capture.readers.path_pattern import NUMERIC, PLACE, TIMES_NS, PathPattern
from capture.yaml_document import read_yaml
from geometry.cameras import CameraKind
from geometry.errors import InputError

VERSION = "1"
FASTEST_HZ = 100_000.0
MOST_STREAMS = 1000
LONGEST_TEXT = 10_000
REMEDY = "correct the layout; docs/layout.md shows every key"
TOP_KEYS = (
    "layout", "subject_id", "licence", "consent", "slate", "take_number", "calibration", "streams", "sound",
)  # fmt: skip
STREAM_KEYS = ("kind", "pictures", "videos", "camera", "module", "rate_hz", "depth_unit_m", "serial", "times")
TABLE_KEYS = ("table", "separator", "picture", "camera", "frame", "frame_counter", "trigger_id", *TIMES_NS)


@dataclass(frozen=True)
class TimesTable:
    """A CSV table of times."""

    pattern: PathPattern
    """Where it lies; without places it is one table of all cameras."""
    separator: str
    """One character between columns."""
    columns: Mapping[str, str]
    """What is known by the name of the column that holds it: times, counts, `picture`, `camera`."""


@dataclass(frozen=True)
class StreamRule:
    """Which files are the frames of which cameras."""

    name: str
    """What messages call it."""
    kind: CameraKind
    """What the pixels are."""
    files: PathPattern
    """The frames' files, or a video for each camera."""
    is_video: bool
    """Whether the files are videos."""
    camera: str
    """Camera's name, with places of `files`."""
    module: str
    """Its housing's name, with places of `files`."""
    rate_hz: float
    """Nominal frame rate; 0 if not stated."""
    depth_unit_m: float | None
    """Metres per count of a depth stream."""
    serial: str
    """The device's own name, with places of `files`; empty if not stated."""
    times: TimesTable | None
    """Times that are neither in the names nor in the videos."""


@dataclass(frozen=True)
class Layout:
    """A whole layout."""

    texts: Mapping[str, str]
    """subject_id, licence, consent, slate, take_number, as far as stated."""
    calibration: str
    """Relative path of a calibration in any format; empty if none is named."""
    streams: tuple[StreamRule, ...]
    """In the order of the rig."""
    sound: tuple[str, ...]
    """Relative paths of sound files of recorders of their own."""


def read_layout_document(path: Path) -> Layout:
    """The layout of a file; InputError for a key, value or place that no layout has."""
    document = read_yaml(path)
    _require_keys(document, TOP_KEYS, str(path))
    if document.get("layout") != VERSION:
        raise InputError(f"layout: {VERSION}", f"layout: {_shown(document.get('layout'))} in {path}", REMEDY)
    streams = document.get("streams")
    if not isinstance(streams, list) or not 0 < len(streams) <= MOST_STREAMS:
        raise InputError(f"a list of 1 to {MOST_STREAMS} streams", f"{_shown(streams)} in {path}", REMEDY)
    keys = ("subject_id", "licence", "consent", "slate", "take_number")
    texts = {key: _text(document[key], f"{key} of {path}") for key in keys if key in document}
    calibration = _text(document.get("calibration", ""), f"calibration of {path}")
    sound = document.get("sound", [])
    if not isinstance(sound, list) or len(sound) > MOST_STREAMS:
        raise InputError("a list of sound files", f"{_shown(sound)} in {path}", REMEDY)
    rules = tuple(_stream(values, f"stream {count} of {path}") for count, values in enumerate(streams, start=1))
    return Layout(texts, calibration, rules, tuple(_text(name, f"sound of {path}") for name in sound))


def _stream(values: Any, name: str) -> StreamRule:
    if not isinstance(values, dict):
        raise InputError(f"keys and values for {name}", _shown(values), REMEDY)
    _require_keys(values, STREAM_KEYS, name)
    kind = values.get("kind")
    if kind not in get_args(CameraKind):
        raise InputError(f"kind: {', '.join(get_args(CameraKind))} in {name}", _shown(kind), REMEDY)
    if ("pictures" in values) == ("videos" in values):
        got = "both" if "pictures" in values else "neither"
        raise InputError(f"either pictures or videos in {name}", got, REMEDY)
    is_video = "videos" in values
    files = PathPattern(_text(values["videos" if is_video else "pictures"], f"files of {name}"), f"files of {name}")
    if is_video and files.places & NUMERIC:
        raise InputError(f"places that tell cameras apart in videos of {name}", files.text, REMEDY)
    camera = _template(values.get("camera"), files, f"camera of {name}")
    rate_hz = _positive(values["rate_hz"], f"rate_hz of {name}") if "rate_hz" in values else 0.0
    unit_m = _positive(values["depth_unit_m"], f"depth_unit_m of {name}") if "depth_unit_m" in values else None
    if unit_m is not None and kind != "depth":
        raise InputError(f"depth_unit_m only of depth in {name}", f"kind: {kind}", REMEDY)
    if unit_m is None and kind == "depth":
        remedy = "state it, such as depth_unit_m: 0.001 for millimetres"
        raise InputError(f"the depth unit of {name}", "none", remedy)
    if rate_hz > FASTEST_HZ:
        raise InputError(f"a rate of at most {FASTEST_HZ:g} Hz in {name}", f"{rate_hz:g}", REMEDY)
    times = _times(values["times"], files, is_video, f"times of {name}") if "times" in values else None
    if times is not None and is_video and "picture" in times.columns:
        raise InputError(f"lines of frames in order, or their frame, for videos in {name}", "picture", REMEDY)
    return StreamRule(
        name=name,
        kind=cast(CameraKind, kind),
        files=files,
        is_video=is_video,
        camera=camera,
        module=_template(values.get("module", camera), files, f"module of {name}"),
        rate_hz=rate_hz,
        depth_unit_m=unit_m,
        serial=_template(values["serial"], files, f"serial of {name}") if "serial" in values else "",
        times=times,
    )


def _times(values: Any, files: PathPattern, is_video: bool, name: str) -> TimesTable:
    if not isinstance(values, dict) or "table" not in values:
        raise InputError(f"a table and its columns for {name}", _shown(values), REMEDY)
    _require_keys(values, TABLE_KEYS, name)
    pattern = PathPattern(_text(values["table"], name), name)
    if unknown := sorted(pattern.places - files.camera_places):
        expected = f"only places of {files.text} that tell cameras apart in the table of {name}"
        raise InputError(expected, ", ".join(unknown), REMEDY)
    separator = _text(values.get("separator", ","), name)
    separator = "\t" if separator in ("tab", "\\t") else separator
    if len(separator) != 1 or separator in "\"'\r\n.-0123456789":
        raise InputError(f"one character or tab as separator of {name}", _shown(separator), REMEDY)
    columns = {key: _text(values[key], name) for key in values if key not in ("table", "separator")}
    for clock in ("device", "host", "timecode"):
        if len(of_clock := [key for key in columns if key.startswith(f"{clock}_")]) > 1:
            raise InputError(f"one column of {clock} times in {name}", ", ".join(of_clock), REMEDY)
    if not any(key in TIMES_NS or key == "trigger_id" for key in columns):
        raise InputError(f"a column of times, such as device_us, in {name}", ", ".join(columns) or "none", REMEDY)
    if "picture" in columns and "frame" in columns:
        raise InputError(f"either picture or frame as key of the lines in {name}", "both", REMEDY)
    if not pattern.places and files.camera_places and "camera" not in columns:
        expected = f"a camera column in a table of all cameras, or places in its path, in {name}"
        raise InputError(expected, pattern.text, REMEDY)
    if "frame" in columns and "frame" not in files.places and not is_video:
        raise InputError(f"{{frame}} in {files.text}, which the table's frame column names", "none", REMEDY)
    return TimesTable(pattern, separator, columns)


def _template(value: Any, files: PathPattern, name: str) -> str:
    """A text with places that tell cameras apart."""
    text = _text(value, name)
    places = [place for place, _ in PLACE.findall(text)]
    if unknown := sorted(set(places) - files.camera_places):
        expected = f"places of {files.text} that tell cameras apart in {name}"
        raise InputError(expected, ", ".join(unknown), REMEDY)
    if not text or "{" in PLACE.sub("", text) or "}" in PLACE.sub("", text):
        raise InputError(f"a name with places such as {{camera}} for {name}", _shown(text), REMEDY)
    return text


def _require_keys(values: Mapping[str, Any], known: tuple[str, ...], name: str) -> None:
    if unknown := [key for key in values if key not in known]:
        raise InputError(f"only the keys {', '.join(known)} in {name}", ", ".join(unknown)[:200], REMEDY)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise InputError(f"a text for {name}", _shown(value), REMEDY)
    return value


def _positive(value: Any, name: str) -> float:
    try:
        number = float(_text(value, name))
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise InputError(f"a number above 0 for {name}", _shown(value), REMEDY)
    return number


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:80]
