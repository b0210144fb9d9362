"""The image-folder recording: what the simulated studio writes and what an ingest reads.

recording.json            format, version, subject, licence, and each stream's folder; written last: without it the
                          folder is not a whole recording
rig.json                  the calibration
<camera>/000000.jpg|png   pictures: 8-bit colour, or 16-bit depth counts
<camera>/frames.csv       file, device_ns, host_ns, frame_counter: one line a frame, in order of arrival
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from geometry.errors import InputError

FORMAT, VERSION = "mien-image-folder", 1
MARKER = "recording.json"
COLUMNS = ("file", "device_ns", "host_ns", "frame_counter")


@dataclass(frozen=True)
class RecordingCard:
    """What `recording.json` says."""

    subject_id: str
    """A pseudonym."""
    licence: str
    """What the recording may be used for."""
    consent: str
    """What the subject agreed to."""
    cameras: tuple[str, ...]
    """Streams of the recording, each a folder of that name; all of them are in rig.json."""

    def write(self, folder: Path) -> None:
        """Write the card, which makes the folder a whole recording."""
        write_whole(folder / MARKER, json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1))

    @classmethod
    def read(cls, folder: Path) -> RecordingCard:
        """Raises InputError when the card is missing, does not parse or is of another version."""
        path = folder / MARKER
        remedy = "record again, or name the folder that holds recording.json"
        try:
            card = json.loads(path.read_text())
            if card["format"] != FORMAT or card["version"] != VERSION:
                raise InputError(f"{FORMAT} version {VERSION}", f"{card['format']} version {card['version']}", remedy)
            cameras = tuple(str(camera) for camera in card["cameras"])
            return cls(str(card["subject_id"]), str(card["licence"]), str(card["consent"]), cameras)
        except FileNotFoundError as error:
            raise InputError("a finished recording", f"{folder} without {MARKER}", remedy) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"a recording's card in {path}", f"{type(error).__name__}: {error}", remedy) from error


@dataclass(frozen=True, eq=False)
class FrameTable:
    """The lines of one camera's `frames.csv`."""

    files: tuple[str, ...]
    """File names in the camera's folder."""
    device_ns: Int64[np.ndarray, "t"]
    """The camera's own clock."""
    host_ns: Int64[np.ndarray, "t"]
    """Arrival at the host."""
    frame_counter: Int64[np.ndarray, "t"]
    """The camera's count of triggers."""

    def write(self, folder: Path) -> None:
        """Write `frames.csv` into a camera's folder."""
        rows = zip(self.files, self.device_ns, self.host_ns, self.frame_counter, strict=True)
        lines = [",".join(COLUMNS), *(",".join(map(str, row)) for row in rows)]
        write_whole(folder / "frames.csv", "\n".join(lines) + "\n")

    @classmethod
    def read(cls, folder: Path) -> FrameTable:
        """Raises InputError when the table is missing, empty, or a line of it does not parse."""
        path = folder / "frames.csv"
        try:
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            files = tuple(row["file"] for row in rows)
            numbers = np.array([[int(row[name]) for name in COLUMNS[1:]] for row in rows], np.int64).reshape(-1, 3)
        except FileNotFoundError as error:
            raise InputError(f"the frame table {path}", "no such file", "copy the camera's whole folder") from error
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            expected = f"lines of {', '.join(COLUMNS)} in {path}"
            raise InputError(expected, f"{type(error).__name__}: {error}", "copy the table again") from error
        if not files:
            raise InputError(f"frames in {path}", "a table without lines", "record again or leave the camera out")
        if any(Path(name).name != name for name in files):
            raise InputError(f"plain file names in {path}", "a path", "keep each picture beside its table")
        return cls(files, numbers[:, 0], numbers[:, 1], numbers[:, 2])


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all; InputError when the disk is full."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"room to write {path}", str(error), "free some space and run the command again") from error
