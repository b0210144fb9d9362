"""Arrays out of an `.npz`, with sizes checked against the archive before anything is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np

from geometry.errors import InputError

MOST_BYTES = 2 << 30
"""Of all arrays of one model together."""
MOST_COMPRESSION = 1100
"""Deflate packs zeros about 1,030 to 1; an archive that promises more is a bomb."""


def read_array_archive(path: Path, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The wanted arrays of an `.npz`, as far as it has them; pickled objects are refused, never loaded.

    Raises InputError for damaged archives, and for arrays that declare more than the archive holds.
    """
    expected = "an .npz of plain arrays"
    remedy = "write it with numpy.savez from arrays of numbers and strings"
    try:
        size = path.stat().st_size
        with ZipFile(path) as archive:
            entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            chosen = [entries[key] for key in wanted if key in entries]
            total = sum(info.file_size for info in chosen)
            if total > MOST_BYTES or total > MOST_COMPRESSION * size:
                raise InputError(expected, f"{path} that unpacks {size} bytes to {total}", remedy)
            for info in chosen:
                _check_header(archive, info)
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in wanted if key in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(expected, f"{path} ({error})", remedy) from error


def archive_keys(path: Path) -> tuple[str, ...]:
    """Names of the arrays in an `.npz`. Raises InputError where it is none."""
    try:
        with ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, BadZipFile, ValueError) as error:
        raise InputError("an .npz of plain arrays", f"{path} ({error})", "write it with numpy.savez") from error


def _check_header(archive: ZipFile, info: ZipInfo) -> None:
    """The declared array fits into its entry. Raises ValueError."""
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    count = 1
    for length in shape:
        count *= int(length)
    if count * dtype.itemsize > info.file_size:
        raise ValueError(f"an array declares {count * dtype.itemsize} bytes in an entry of {info.file_size}")
