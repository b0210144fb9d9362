"""A file or folder goes in; a `Recording` comes out: its rig, its clocks and a function that reads a frame.

A new sensor is a new file here with two functions, `recognises_<name>` (why the source is one of its own, or None) and
`read_<name>`, one line in `READERS`, and a test class that inherits `tests/capture/readers/contract.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from capture.readers.recording import Recording
from geometry.errors import InputError

__all__ = ["READERS", "Reader", "Recording", "open_recording"]


@dataclass(frozen=True)
class Reader:
    """The two functions of a reader."""

    recognises: Callable[[Path], str | None]
    """Why the source is one of its own, or None; looks at names and first bytes only and never raises."""
    read: Callable[[Path], Recording]
    """The recording; raises InputError if it is not what it seemed."""


def _layout() -> Reader:
    from capture.readers.layout import read_layout, recognises_layout

    return Reader(recognises_layout, read_layout)


def _truedepth() -> Reader:
    from capture.readers.truedepth import read_truedepth, recognises_truedepth

    return Reader(recognises_truedepth, read_truedepth)


def _kinect_mkv() -> Reader:
    from capture.readers.kinect_mkv import read_kinect_mkv, recognises_kinect_mkv

    return Reader(recognises_kinect_mkv, read_kinect_mkv)


def _truedepth_board() -> Reader:
    from capture.readers.truedepth_board import read_truedepth_board, recognises_truedepth_board

    return Reader(recognises_truedepth_board, read_truedepth_board)


def _realsense_bag() -> Reader:
    from capture.readers.realsense_bag import read_realsense_bag, recognises_realsense_bag

    return Reader(recognises_realsense_bag, read_realsense_bag)


def _livescan3d() -> Reader:
    from capture.readers.livescan3d import read_livescan3d, recognises_livescan3d

    return Reader(recognises_livescan3d, read_livescan3d)


def _nersemble() -> Reader:
    from capture.readers.nersemble import read_nersemble, recognises_nersemble

    return Reader(recognises_nersemble, read_nersemble)


def _easymocap() -> Reader:
    from capture.readers.easymocap import read_easymocap, recognises_easymocap

    return Reader(recognises_easymocap, read_easymocap)


def _video() -> Reader:
    from capture.readers.video import read_video, recognises_video

    return Reader(recognises_video, read_video)


def _image_folder() -> Reader:
    from capture.readers.image_folder import read_image_folder, recognises_image_folder

    return Reader(recognises_image_folder, read_image_folder)


# Asked in this order. Each is imported on use, so that one format's decoder cannot hold up the others.
READERS: dict[str, Callable[[], Reader]] = {
    "layout": _layout,
    "truedepth": _truedepth,
    "kinect_mkv": _kinect_mkv,
    "truedepth_board": _truedepth_board,
    "realsense_bag": _realsense_bag,
    "livescan3d": _livescan3d,
    "nersemble": _nersemble,
    "easymocap": _easymocap,
    "video": _video,
    "image_folder": _image_folder,
}


def open_recording(source: Path, reader: str = "auto") -> Recording:
    """The recording at `source`, by the named reader or by the first that recognises it; its notes say which and why.

    Where several do, the first of READERS reads it and the note names the others.

    Raises InputError: no such reader, nothing at the path, an empty folder or file, a source that no reader
    recognises, and whatever the reader itself finds wrong.
    """
    names = ", ".join(READERS)
    if reader != "auto" and reader not in READERS:
        raise InputError(f"a reader ({names}) or auto", repr(reader), "correct the reader's name")
    _check_there_is_something(source)
    if reader != "auto":
        return _with_note(READERS[reader]().read(source), f"reader {reader}: named by the user")
    candidates = {name: load() for name, load in READERS.items()}
    reasons = {name: reason for name, reader in candidates.items() if (reason := reader.recognises(source)) is not None}
    for name, reason in reasons.items():
        others = [f"{other} ({why})" for other, why in reasons.items() if other != name]
        beside = f"; chosen before {', '.join(others)}: name one with --reader to change it" if others else ""
        return _with_note(candidates[name].read(source), f"reader {name}: {reason}{beside}")
    raise InputError(
        f"a recording that one of the readers ({names}) recognises",
        f"{source}, which none of them does",
        "name the recording itself, or its reader",
    )


def _check_there_is_something(source: Path) -> None:
    remedy = "check the path and that the copy is complete"
    try:
        if not source.exists():
            raise InputError("a recording", f"{source}, which does not exist", remedy)
        if source.is_dir() and not any(source.iterdir()):
            raise InputError("a recording", f"the empty folder {source}", remedy)
        if source.is_file() and source.stat().st_size == 0:
            raise InputError("a recording", f"the empty file {source}", remedy)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise InputError(
            "a readable recording", f"{source!s} ({error})", "check the path and its permissions"
        ) from error


def _with_note(recording: Recording, note: str) -> Recording:
    return replace(recording, notes=(note, *recording.notes))
