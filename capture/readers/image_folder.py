"""Folders of pictures with a table of times for each camera: what the simulated studio and simple recorders write.

The format is `storage.image_folder`. A folder `truth/` beside the pictures is never looked at.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from capture.readers.frame_sources import CameraFrames, PictureSeries
from capture.readers.media_sound import sound_tracks
from capture.readers.recording import AudioTrack, Recording, StreamClock
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.image_folder import AUDIO, MARKER, FrameTable, RecordingCard, SoundCard, read_anchors
from storage.rig_json import read_rig

RIG, TABLE, TRUTH = "rig.json", "frames.csv", "truth"


def recognises_image_folder(source: Path) -> str | None:
    """Why `source` is a folder of pictures: it holds the recording's card, or at least a rig."""
    try:
        for name in (MARKER, RIG):
            if (source / name).is_file():
                return f"a folder with {name}"
    except (OSError, ValueError):  # ValueError: a null byte in the path
        pass
    return None


def read_image_folder(source: Path) -> Recording:
    """The recording of a folder; pictures are only counted here and decoded when they are asked for.

    Cameras are in the rig's order. Raises InputError: no card, no or a wrong rig, a camera that only one of both
    names, a camera's folder, table or picture that is missing.
    """
    source = source.absolute()
    try:
        card = RecordingCard.read(source)
        rig = _rig_of(source, card)
        tables = {camera.id: FrameTable.read(_camera_folder(source, camera.id)) for camera in rig.cameras}
        notes = [note for camera_id, table in tables.items() for note in _folder_notes(source / camera_id, table)]
        notes += _stray_folder_notes(source, rig)
    except (OSError, OverflowError, RecursionError, UnicodeError) as error:
        got = f"{type(error).__name__}: {error}"
        raise InputError(f"a readable recording at {source}", got, "check its permissions and copy it again") from error
    files = {name: tuple(source / name / file for file in table.files) for name, table in tables.items()}
    frames = CameraFrames(str(source), {camera.id: PictureSeries(camera, files[camera.id]) for camera in rig.cameras})
    return Recording(
        address=str(source),
        reader="image_folder",
        rig=rig,
        clocks={name: _clock(table) for name, table in tables.items()},
        read_frame=frames,
        read_jpeg=frames.jpeg,
        frame_files=files,
        source_files=(
            source / MARKER,
            source / RIG,
            *(source / name / TABLE for name in files),
            *(picture for pictures in files.values() for picture in dict.fromkeys(pictures)),
            *(path for sound in card.audio for path in _sound_files(source, sound)),
        ),
        subject_id=card.subject_id,
        licence=card.licence,
        consent=card.consent,
        notes=tuple(notes),
        audio=tuple(_audio(source, sound) for sound in card.audio),
    )


def _clock(table: FrameTable) -> StreamClock:
    return StreamClock(table.device_ns, table.host_ns, table.frame_counter, table.trigger_id, table.timecode_ns)


def _sound_files(source: Path, sound: SoundCard) -> tuple[Path, Path]:
    return source / AUDIO / f"{sound.id}.wav", source / AUDIO / f"{sound.id}.csv"


def _audio(source: Path, sound: SoundCard) -> AudioTrack:
    """A sound track with the recorder's own anchors, because a sound file does not know the device's clock."""
    samples, anchors = _sound_files(source, sound)
    if not samples.is_file():
        got, remedy = f"no file {samples}", f"copy it again, or take the track out of {MARKER}"
        raise InputError(f"the sound track {sound.id}", got, remedy)
    (track, *_) = sound_tracks(samples, sound.camera, sound.id)
    table = read_anchors(anchors)
    if table[0, 0] < 0 or table[-1, 0] > track.sample_count:
        got = f"samples {table[0, 0]} to {table[-1, 0]} in {anchors}"
        raise InputError(f"samples of the {track.sample_count} in {samples}", got, "copy the folder of sounds again")
    return replace(track, anchors=table)


def _rig_of(source: Path, card: RecordingCard) -> Rig:
    """The rig, which must be of just the cameras that the card names."""
    if not card.cameras:
        raise InputError(f"cameras in {source / MARKER}", "none", "record again")
    if not (source / RIG).is_file():
        raise InputError(f"the calibration {source / RIG}", "no such file", "copy it again, or run `mien calibrate`")
    rig = read_rig(source / RIG)
    unknown = sorted(set(card.cameras) - set(rig.ids))
    if unknown:
        got = f"{', '.join(unknown)} in {source / MARKER}, which {RIG} does not know"
        raise InputError(f"cameras of the rig ({', '.join(rig.ids)})", got, f"correct the name or calibrate into {RIG}")
    unrecorded = sorted(set(rig.ids) - set(card.cameras))
    if unrecorded:
        got = f"{', '.join(unrecorded)} in {source / RIG}, which {MARKER} does not name"
        remedy = f"correct the name, or take the camera out of {RIG}"
        raise InputError(f"cameras of the recording ({', '.join(card.cameras)})", got, remedy)
    return rig


def _camera_folder(source: Path, camera_id: str) -> Path:
    folder = source / camera_id
    if not folder.is_dir():
        remedy = f"copy the camera's folder again, or take {camera_id} out of {MARKER} and {RIG}"
        raise InputError(f"a folder of {camera_id}'s pictures", f"no folder {folder}", remedy)
    return folder


def _folder_notes(folder: Path, table: FrameTable) -> list[str]:
    """Pictures that no line names; InputError for a line whose picture is missing."""
    with os.scandir(folder) as entries:
        present = {entry.name for entry in entries if entry.is_file()}
    missing = [name for name in dict.fromkeys(table.files) if name not in present]
    if missing:
        got = f"no {folder / missing[0]}" + (f" and {len(missing) - 1} more missing" if len(missing) > 1 else "")
        remedy = "copy the camera's folder again, or take the lines of lost pictures out of the table"
        raise InputError(f"every picture that {folder / TABLE} names", got, remedy)
    pictures = {name for name in present if not name.startswith(".")} - {TABLE}
    unlisted = len(pictures - set(table.files))
    return [f"{folder.name}: {unlisted} files that {TABLE} does not name are left out"] if unlisted else []


def _stray_folder_notes(source: Path, rig: Rig) -> list[str]:
    with os.scandir(source) as entries:
        names = sorted(entry.name for entry in entries if entry.name not in (*rig.ids, TRUTH, AUDIO) and entry.is_dir())
    strays = [name for name in names if (source / name / TABLE).is_file()]
    return [f"{name}: a camera's folder that {MARKER} does not name is left out" for name in strays]
