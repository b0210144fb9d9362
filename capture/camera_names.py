"""Names of cameras from names of files and folders, the same for pictures and for the calibration beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

LONGEST = 128


def camera_name(text: str) -> str:
    """A name that can stand as a folder of a take; unchanged where `text` is one already.

    Letters, digits, dot, dash and underscore stay, leading zeros too; anything else becomes an underscore.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", text)[:LONGEST]
    return name if re.match(r"[A-Za-z0-9]", name) else f"c{name}"[:LONGEST]


def camera_names_of_pictures(paths: Sequence[str]) -> tuple[str, ...]:
    """A camera's name for each picture of a model with one picture a camera.

    Pictures each in a folder of their own (`images/01/000000.jpg`) are named for it, pictures beside each other
    (`images/01.jpg`) for themselves, and others for their whole path.
    """
    pure = [PurePosixPath(path.replace("\\", "/")) for path in paths]
    folders, stems = [path.parent.name for path in pure], [path.stem for path in pure]
    if all(folders) and len(set(folders)) == len(folders) > 1:
        return tuple(camera_name(folder) for folder in folders)
    if len(set(stems)) == len(stems):
        return tuple(camera_name(stem) for stem in stems)
    return tuple(camera_name("_".join(path.with_suffix("").parts)) for path in pure)


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts cam2 before cam10."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)
