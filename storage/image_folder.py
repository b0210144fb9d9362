"""The image-folder recording: what the simulated studio writes and what an ingest reads.

recording.json            format, version, subject, licence, and each stream's folder; written last: without it the
                          folder is not a whole recording
rig.json                  the calibration
<camera>/000000.jpg|png   pictures: 8-bit colour, or 16-bit depth counts
<camera>/frames.csv       file, device_ns and, where the recorder knows them, host_ns, frame_counter, trigger_id,
                          timecode_ns: one line a frame, in order of arrival
audio/<track>.wav         sound, if recording.json lists the track, as integer PCM
audio/<track>.csv         sample, device_ns: when some of its samples were taken, on the clock of the track's camera

Version 1 had no sound, and all of host_ns and frame_counter.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from geometry.errors import InputError
from storage.rig_json import require_name

FORMAT, VERSION, VERSIONS = "mien-image-folder", 2, (1, 2)
MARKER = "recording.json"
REQUIRED_COLUMNS = ("file", "device_ns")
OPTIONAL_COLUMNS = ("host_ns", "frame_counter", "trigger_id", "timecode_ns")
AUDIO = "audio"
"""Folder of the sound tracks."""


@dataclass(frozen=True)
class SoundCard:
    """What `recording.json` says of a sound track."""

    id: str
    """Names its files in `audio/`."""
    camera: str
    """The camera whose device clock the anchors are on; empty for a recorder of its own."""


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
    audio: tuple[SoundCard, ...] = ()
    """Sound tracks."""

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
            if card["format"] != FORMAT or card["version"] not in VERSIONS:
                expected = f"{FORMAT} version {' or '.join(map(str, VERSIONS))}"
                raise InputError(expected, f"{card['format']} version {card['version']}", remedy)
            cameras = tuple(str(camera) for camera in card["cameras"])
            audio = tuple(_sound_card(entry, cameras) for entry in card.get("audio", ()))
            return cls(str(card["subject_id"]), str(card["licence"]), str(card["consent"]), cameras, audio)
        except FileNotFoundError as error:
            raise InputError("a finished recording", f"{folder} without {MARKER}", remedy) from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"a recording's card in {path}", f"{type(error).__name__}: {error}", remedy) from error


def _sound_card(entry: dict[str, str], cameras: tuple[str, ...]) -> SoundCard:
    name, camera = require_name(str(entry["id"]), "a sound track"), str(entry["camera"])
    if camera and camera not in cameras:
        raise InputError(f"a camera of the recording for track {name}", camera, f"correct {MARKER}")
    return SoundCard(name, camera)


@dataclass(frozen=True, eq=False)
class FrameTable:
    """The lines of one camera's `frames.csv`."""

    files: tuple[str, ...]
    """File names in the camera's folder."""
    device_ns: Int64[np.ndarray, "t"]
    """The camera's own clock."""
    host_ns: Int64[np.ndarray, "t"] | None = None
    """Arrival at the host."""
    frame_counter: Int64[np.ndarray, "t"] | None = None
    """The camera's count of triggers."""
    trigger_id: Int64[np.ndarray, "t"] | None = None
    """The number of the trigger that released each frame, the same for all cameras."""
    timecode_ns: Int64[np.ndarray, "t"] | None = None
    """SMPTE timecode of each frame, nanoseconds since midnight."""

    def write(self, folder: Path) -> None:
        """Write `frames.csv` into a camera's folder, with the columns that there are."""
        columns = {name: getattr(self, name) for name in OPTIONAL_COLUMNS if getattr(self, name) is not None}
        rows = zip(self.files, self.device_ns, *columns.values(), strict=True)
        lines = [",".join((*REQUIRED_COLUMNS, *columns)), *(",".join(map(str, row)) for row in rows)]
        write_whole(folder / "frames.csv", "\n".join(lines) + "\n")

    @classmethod
    def read(cls, folder: Path) -> FrameTable:
        """Raises InputError when the table is missing, empty, or a line of it does not parse."""
        path = folder / "frames.csv"
        try:
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                present = [name for name in OPTIONAL_COLUMNS if name in (reader.fieldnames or ())]
                rows = list(reader)
            files = tuple(row["file"] for row in rows)
            numbers = np.array([[int(row[name]) for name in ("device_ns", *present)] for row in rows], np.int64)
        except FileNotFoundError as error:
            raise InputError(f"the frame table {path}", "no such file", "copy the camera's whole folder") from error
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            expected = f"lines of {', '.join(REQUIRED_COLUMNS)} (and {', '.join(OPTIONAL_COLUMNS)}) in {path}"
            raise InputError(expected, f"{type(error).__name__}: {error}", "copy the table again") from error
        if not files:
            raise InputError(f"frames in {path}", "a table without lines", "record again or leave the camera out")
        if any(Path(name).name != name for name in files):
            raise InputError(f"plain file names in {path}", "a path", "keep each picture beside its table")
        return cls(files, numbers[:, 0], **dict(zip(present, numbers[:, 1:].T.copy(), strict=True)))


def write_anchors(path: Path, anchors: Int64[np.ndarray, "anchor 2"]) -> None:
    """Write a sound track's table of anchors."""
    write_whole(path, "\n".join(["sample,device_ns", *(f"{sample},{time}" for sample, time in anchors)]) + "\n")


def read_anchors(path: Path) -> Int64[np.ndarray, "anchor 2"]:
    """A sound track's anchors in order; InputError when the table is missing, empty or does not parse."""
    try:
        with path.open(newline="") as file:
            rows = [(int(row["sample"]), int(row["device_ns"])) for row in csv.DictReader(file)]
        anchors = np.array(rows, np.int64).reshape(-1, 2)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, csv.Error) as error:
        got = f"{type(error).__name__}: {error}"
        raise InputError(f"lines of sample, device_ns in {path}", got, "copy the folder of sounds again") from error
    if not len(anchors) or (np.diff(anchors, axis=0) <= 0).any():
        raise InputError(f"samples and times that rise in {path}", "none or others", "copy the folder of sounds again")
    return anchors


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
