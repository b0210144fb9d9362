"""When the pictures of a layout's camera were taken: by their names, by a table, or by counting."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from capture.readers.layout_document import StreamRule, TimesTable
from capture.readers.path_pattern import COUNTS, TIMES_NS, whole_number
from capture.readers.recording import StreamClock
from geometry.errors import InputError

DECIMAL = re.compile(r"(-?)([0-9]{1,19})(?:\.([0-9]{1,18}))?")
MOST_ROWS = 1_000_000
LONGEST_LINE = 65_536
LARGEST_TABLE_BYTES = 2**28
REMEDY = "correct the table, or its columns in the layout"

Row = Mapping[str, int]
"""Times in nanoseconds as device, host and timecode; counts by their own names."""


@dataclass(frozen=True)
class Picture:
    """One picture file of a camera."""

    path: str
    """Relative to the layout's folder."""
    numbers: Mapping[str, int]
    """Numbers in its name, as in the name."""


def in_order(pictures: Sequence[Picture], name: str) -> list[Picture]:
    """The pictures by the number that tells their order; InputError if two have the same or there is none."""
    keys = ("frame", "frame_counter", "trigger_id", *TIMES_NS)
    key = next((key for key in keys if key in pictures[0].numbers), None)
    if key is None:
        if len(pictures) == 1:
            return list(pictures)
        got = f"{pictures[0].path} and {pictures[1].path}"
        raise InputError(f"one picture of {name}, or a place such as {{frame}}", got, "name the frames in the pattern")
    ordered = sorted(pictures, key=lambda picture: (picture.numbers[key], picture.path))
    for one, other in pairwise(ordered):
        if one.numbers[key] == other.numbers[key] and key not in TIMES_NS:
            got = f"{one.path} and {other.path}"
            raise InputError(f"one picture of {name} for each {key}", got, "remove one of them")
    return ordered


def clock_of(
    pictures: Sequence[Picture],
    rule: StreamRule,
    rows: Sequence[Row] | None,
    camera_id: str,
    own: StreamClock | None = None,
) -> tuple[StreamClock, list[str]]:
    """The clock of pictures in their order, and notes on what is counted and not measured.

    `rows` are the table's, one for each picture; `own` is the clock that a video carries, which the table's beats.
    Raises InputError: no times and no rate.
    """
    notes: list[str] = []
    found = [_in_nanoseconds(picture) for picture in pictures]
    if rows is not None:
        found = [{**by_name, **row} for by_name, row in zip(found, rows, strict=True)]
    columns = {
        key: _column(found, key, camera_id) for key in ("device", "host", "timecode", "frame_counter", "trigger_id")
    }
    if own is not None:
        columns["timecode"] = own.timecode_ns if columns["timecode"] is None else columns["timecode"]
    device_ns = columns["device"]
    if device_ns is None and own is not None:
        device_ns = own.device_ns
    if device_ns is None and columns["host"] is not None:
        device_ns = columns["host"]
        notes.append(f"{camera_id}: no device clock, arrival times stand for it")
    if device_ns is None:
        device_ns, note = _counted(pictures, rule, camera_id)
        notes.append(note)
    host_ns, timecode_ns = columns["host"], columns["timecode"]
    return StreamClock(device_ns, host_ns, columns["frame_counter"], columns["trigger_id"], timecode_ns), notes


def _column(rows: Sequence[Row], key: str, camera_id: str) -> np.ndarray | None:
    values = [row.get(key) for row in rows]
    if all(value is None for value in values):
        return None
    if any(value is None or not -(2**63) <= value < 2**63 for value in values):
        raise InputError(f"a {key} value of 64 bits for every frame of {camera_id}", "frames without", REMEDY)
    return np.array(values, np.int64)


def _counted(pictures: Sequence[Picture], rule: StreamRule, camera_id: str) -> tuple[np.ndarray, str]:
    """Times of frame numbers at the stated rate, so that a missing number stays a gap."""
    if len(pictures) == 1 and not rule.rate_hz:
        return np.zeros(1, np.int64), f"{camera_id}: a single picture without a time"
    if not rule.rate_hz:
        expected = f"times of {camera_id} in its names or a table, or rate_hz to count them by"
        raise InputError(expected, f"none in {rule.name}", "state one of them in the layout")
    period_ns = 1_000_000_000 / Fraction(rule.rate_hz)
    keys = ("frame", "frame_counter", "trigger_id")
    key = next((key for key in keys if key in pictures[0].numbers), None)
    numbers = [picture.numbers[key] if key else place for place, picture in enumerate(pictures)]
    times = [round(number * period_ns) for number in numbers]
    if max(times) >= 2**63:
        raise InputError(f"frame numbers of {camera_id} within 292 years", f"{max(numbers)}", "correct the file names")
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    gaps = f", {missing} numbers missing" if missing else ""
    return np.array(times, np.int64), f"{camera_id}: times are counted at {rule.rate_hz:g} Hz, not measured{gaps}"


def _in_nanoseconds(picture: Picture) -> dict[str, int]:
    row = {key: picture.numbers[key] for key in COUNTS if key in picture.numbers}
    for key, factor in TIMES_NS.items():
        if key in picture.numbers:
            row[key.partition("_")[0]] = picture.numbers[key] * factor
    return row


def rows_of_pictures(
    rows: Sequence[tuple[str, Row]], pictures: Sequence[Picture], table: TimesTable, path: Path
) -> tuple[list[Picture], list[Row], list[str]]:
    """Pictures that the table knows, in their order, with their rows, and notes on pictures that it does not.

    Raises InputError: a line whose picture is missing, two lines of one picture, lines and pictures of different
    number where nothing tells which belongs to which.
    """
    if "picture" not in table.columns and "frame" not in table.columns:
        if len(rows) != len(pictures):
            got = f"{len(rows)} lines for {len(pictures)} pictures"
            remedy = "copy both again, or name the column that tells them apart (picture or frame)"
            raise InputError(f"a line of {path} for each picture, in order", got, remedy)
        return list(pictures), [row for _, row in rows], []
    by_key = dict(rows)
    if len(by_key) != len(rows):
        twice = Counter(key for key, _ in rows).most_common(1)[0][0]
        raise InputError(f"one line of {path} for each picture", f"{twice} twice", REMEDY)
    known, found = [], []
    for picture in pictures:
        keys = [str(picture.numbers["frame"])] if "frame" in table.columns else [picture.path, Path(picture.path).name]
        key = next((key for key in keys if key in by_key), None)
        if key is not None:
            known.append(picture)
            found.append(by_key.pop(key))
    if by_key:
        got = f"none of {next(iter(by_key))}" + (f" and {len(by_key) - 1} more" if len(by_key) > 1 else "")
        remedy = "copy the pictures again, or take the lines of lost ones out of the table"
        raise InputError(f"every picture that {path} names", got, remedy)
    left = len(pictures) - len(known)
    return known, found, [f"{path.name}: {left} pictures that it does not name are left out"] if left else []


def read_table(path: Path, table: TimesTable) -> Iterator[tuple[str, str, Row]]:
    """Camera, key and times of each line of a table; InputError that names the line for a value that is none."""
    try:
        if path.stat().st_size > LARGEST_TABLE_BYTES:
            raise InputError(f"a table of at most {LARGEST_TABLE_BYTES} bytes", f"a larger one, {path}", REMEDY)
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(_bounded(file, path), delimiter=table.separator)
            header = [name.strip() for name in next(lines, [])]
            places = {key: _place(header, column, path) for key, column in table.columns.items()}
            for number, line in enumerate(lines, start=2):
                if line:
                    yield _row(line, places, f"line {number} of {path}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("a table of times", f"{path} ({error})", "copy the table again") from error


def _bounded(file: Iterator[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(file):
        if number > MOST_ROWS or len(line) > LONGEST_LINE:
            raise InputError(f"at most {MOST_ROWS} lines of {LONGEST_LINE} characters", f"more in {path}", REMEDY)
        yield line


def _place(header: Sequence[str], column: str, path: Path) -> int:
    if header.count(column) != 1:
        got = f"{', '.join(header)[:200]} in {path}"
        raise InputError(f"one column {column!r}", got, REMEDY)
    return header.index(column)


def _row(line: Sequence[str], places: Mapping[str, int], where: str) -> tuple[str, str, Row]:
    if len(line) <= max(places.values()):
        raise InputError(f"{max(places.values()) + 1} values in {where}", f"{len(line)}", REMEDY)
    values = {key: line[place].strip() for key, place in places.items()}
    row: dict[str, int] = {}
    for key, text in values.items():
        if key in TIMES_NS:
            row[key.partition("_")[0]] = _time_ns(text, TIMES_NS[key], where)
        elif key in ("frame_counter", "trigger_id", "frame"):
            if not re.fullmatch("[0-9]+", text):
                raise InputError(f"a whole number in {where}", repr(text[:40]), REMEDY)
            row[key] = whole_number(text, where)
    key = str(row.pop("frame")) if "frame" in row else values.get("picture", "").replace("\\", "/")
    return values.get("camera", ""), key, row


def _time_ns(text: str, unit_ns: int, where: str) -> int:
    """Exact: a float of seconds since 1970 resolves only 0.2 microseconds."""
    match = DECIMAL.fullmatch(text)
    if match is None:
        raise InputError(f"a time in {where}", repr(text[:40]), REMEDY)
    sign, whole, part = match.groups()
    value = Fraction(int(whole + (part or "")), 10 ** len(part or "")) * unit_ns
    return round(-value if sign else value)
