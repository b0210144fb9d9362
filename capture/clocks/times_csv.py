"""A time line from a table that something outside the recording wrote: what a device's clock showed at a time."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from capture.clock_references import References
from capture.clocks.pairs import Pairs, time_line_of_pairs
from capture.clocks.time_line import Refused, TimeLine
from capture.clocks.tracks import Track
from geometry.errors import InputError

COLUMNS = ("camera", "device_ns", "time_ns")
MOST_ROWS = 5_000_000
MOST_BYTES = 500_000_000


def by_times_csv(tracks: list[Track], references: References) -> TimeLine | Refused:
    """The table's time line; InputError for a table that cannot be used, because somebody asked for it."""
    if references.times_csv is None:
        return Refused("")
    pairs = read_times_csv(references.times_csv)
    unknown = sorted(set(pairs) - {track.camera.id for track in tracks})
    if unknown:
        got = f"{', '.join(unknown[:5])} in {references.times_csv}"
        raise InputError("cameras of the rig", got, "correct the column camera")
    found = time_line_of_pairs(tracks, pairs, "external times")
    if isinstance(found, Refused):
        raise InputError(f"times of every device in {references.times_csv}", found.why, "add them, or leave it out")
    return found


def read_times_csv(path: Path) -> dict[str, Pairs]:
    """Pairs by camera; InputError when the table is missing, empty, too large or does not parse."""
    by_camera: dict[str, list[tuple[int, int]]] = {}
    expected, remedy = f"lines of {', '.join(COLUMNS)} in {path}", "correct the table of times"
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise InputError(f"at most {MOST_BYTES} bytes", f"{size} in {path}", remedy)
        with path.open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file)):
                if number >= MOST_ROWS:
                    raise InputError(f"at most {MOST_ROWS} lines", f"more in {path}", remedy)
                pair = (int(row["device_ns"]), int(row["time_ns"]))
                if max(map(abs, pair)) > 2**62:
                    raise ValueError(f"{pair} in line {number + 2}")
                by_camera.setdefault(str(row["camera"]), []).append(pair)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
        raise InputError(expected, f"{type(error).__name__}: {error}", remedy) from error
    if not by_camera:
        raise InputError(expected, "none", remedy)
    table = {camera: np.array(sorted(rows), np.int64) for camera, rows in by_camera.items()}
    return {camera: Pairs(rows[:, 0], rows[:, 1], noise_ns=1e3) for camera, rows in table.items()}
