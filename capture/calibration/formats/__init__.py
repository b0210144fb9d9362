"""Calibrations of other programs: a file or folder goes in, a rig comes out, and back.

`read_calibration` picks the format by content. One more is a module here with a line in `read_calibration` and one in
`WRITERS`. Formats that know only colour cameras give every camera as one; `onto_recording` puts their values on a
recording's own cameras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from capture.calibration.formats.colmap_text import CAMERAS, is_colmap_folder, read_colmap, write_colmap
from capture.calibration.formats.k4a_json import is_k4a_document, k4a_document, k4a_rig
from capture.calibration.formats.nerfstudio_json import FILE, is_nerfstudio, nerfstudio_rig, write_nerfstudio
from capture.calibration.formats.opencv_yml import EXTRINSICS, INTRINSICS, read_opencv_yml, write_opencv_yml
from capture.yaml_document import read_small_file
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.documents import LARGEST_DOCUMENT_BYTES, parse, to_bytes
from storage.image_folder import write_whole
from storage.rig_json import RIG_FORMAT, rig_from_json, write_rig

__all__ = ["WRITERS", "calibration_beside", "read_calibration", "write_calibration"]

OWN_FILE = "rig.json"
NO_SIZES: Mapping[str, tuple[int, int]] = MappingProxyType({})
EXPECTED = "a rig.json, a Kinect's JSON, a transforms.json, an OpenCV yml or a COLMAP text model"


def read_calibration(
    path: Path,
    sizes_hw: Mapping[str, tuple[int, int]] = NO_SIZES,
    *,
    colour_mode: str = "",
    depth_mode: str = "",
) -> Rig:
    """The rig of a calibration file, or of a folder that holds one; pixel centres at +0.5, metres if the file is.

    `sizes_hw` gives picture sizes by camera where the format does not (OpenCV's yml); `colour_mode` and `depth_mode`
    say how a Kinect recorded. Raises InputError for anything that is not a whole calibration of a known format.
    """
    path = Path(path)
    if path.is_dir():
        found = calibration_beside(path)
        if found is None:
            raise InputError(EXPECTED, f"none in {path}", "name the calibration itself")
        path = found
    if path.is_dir() or path.name == CAMERAS:
        return read_colmap(path if path.is_dir() else path.parent)
    if path.suffix.lower() in (".yml", ".yaml"):
        return read_opencv_yml(path, sizes_hw)
    document = parse(read_small_file(path, LARGEST_DOCUMENT_BYTES, EXPECTED).rstrip(b"\0 \r\n\t"), str(path))
    if is_k4a_document(document):
        return k4a_rig(document, colour_mode, depth_mode, str(path))
    if is_nerfstudio(document):
        return nerfstudio_rig(document, str(path), sizes_hw)
    if document.get("format") == RIG_FORMAT:
        return rig_from_json(document, str(path))
    raise InputError(EXPECTED, f"other JSON in {path}", "name the calibration itself")


def calibration_beside(folder: Path) -> Path | None:
    """The calibration that lies in a recording's folder, if any: a file, or the folder of a COLMAP model."""
    try:
        if (folder / OWN_FILE).is_file():
            return folder / OWN_FILE
        if (folder / INTRINSICS).is_file() and (folder / EXTRINSICS).is_file():
            return folder / INTRINSICS
        if (folder / FILE).is_file():
            return folder / FILE
        for model in (folder, folder / "sparse", folder / "sparse" / "0"):
            if is_colmap_folder(model):
                return model
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return None
    return None


def calibration_files(calibration: Path) -> tuple[Path, ...]:
    """The files that `read_calibration` looks at, for a recording's list of sources."""
    if calibration.is_dir():
        return tuple(path for path in sorted(calibration.iterdir()) if path.suffix == ".txt" and path.is_file())
    if calibration.name == INTRINSICS:
        return calibration, calibration.with_name(EXTRINSICS)
    return (calibration,)


def write_calibration(path: Path, rig: Rig, format: str) -> None:
    """Write a rig as one of WRITERS: opencv and colmap fill a folder, the others write a file.

    Raises InputError: no such format, a camera that the format cannot hold, a full disk.
    """
    if format not in WRITERS:
        raise InputError(f"a calibration format ({', '.join(WRITERS)})", repr(format), "choose one of these")
    WRITERS[format](Path(path), rig)


def _write_opencv(path: Path, rig: Rig) -> None:
    write_opencv_yml(path, rig)


def _write_k4a(path: Path, rig: Rig) -> None:
    write_whole(path, to_bytes(k4a_document(rig)))


def _write_mien(path: Path, rig: Rig) -> None:
    write_rig(path, rig)


WRITERS: Mapping[str, Callable[[Path, Rig], None]] = MappingProxyType(
    {
        "mien": _write_mien,
        "opencv": _write_opencv,
        "colmap": write_colmap,
        "nerfstudio": write_nerfstudio,
        "k4a": _write_k4a,
    }
)
