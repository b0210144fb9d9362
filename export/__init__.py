"""A fitted head or a fused surface goes in; files that other programs open come out, one format per file.

To add a format, add `<format>.py` with one `write_<format>(path, ...)` that hands its bytes to `write_whole`.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from geometry.errors import InputError


def write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """Put `parts` end to end into the file `path`, which appears complete or not at all.

    The bytes go to a hidden neighbour that then takes the name, so a killed run or a full disk leaves an older file as
    it was. Raises InputError when the folder is missing, not writable or full.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as stream:
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise InputError(
            expected=f"a folder with room and permission for {path}",
            got=f"{error.strerror or error}",
            remedy="make the folder, free some space or choose another place",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
