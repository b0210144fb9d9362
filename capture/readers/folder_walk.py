"""Every file under a folder, by its path with slashes; nothing that leads out of it or around in it."""

from __future__ import annotations

import os
from pathlib import Path

from geometry.errors import InputError

DEEPEST = 32
MOST_FILES = 2_000_000
"""94 streams of twelve minutes; a gigabyte of names."""
REMEDY = "copy the files themselves into the folder"


def files_under(root: Path) -> list[str]:
    """Paths relative to `root`, sorted; names that start with a dot are left out.

    Links are followed as long as they stay inside. Raises InputError: a link that leaves the folder, leads to a
    folder around it or to nothing, a folder that cannot be read, more than MOST_FILES files or DEEPEST nested folders.
    """
    real_root = root.resolve()
    found: list[str] = []
    folders: list[tuple[str, tuple[Path, ...]]] = [("", (real_root,))]
    while folders:
        prefix, around = folders.pop()
        if len(around) > DEEPEST:
            raise InputError(f"at most {DEEPEST} folders in each other", f"more in {root / prefix}", REMEDY)
        try:
            with os.scandir(root / prefix) as entries:
                listed = [entry for entry in entries if not entry.name.startswith(".")]
            for entry in listed:
                path = f"{prefix}{entry.name}"
                if not entry.name.isprintable():  # bytes that are no UTF-8, and control characters
                    raise InputError("names of printable text", f"{path!r} in {root}", "rename or remove it")
                if entry.is_symlink():
                    _require_inside(Path(entry.path), real_root)
                if entry.is_dir():
                    real = Path(entry.path).resolve() if entry.is_symlink() else around[-1] / entry.name
                    if real in around:
                        raise InputError("folders without loops", f"a link to a folder around it, {entry.path}", REMEDY)
                    folders.append((f"{path}/", (*around, real)))
                elif entry.is_file():
                    found.append(path)
            if len(found) > MOST_FILES:
                raise InputError(f"at most {MOST_FILES} files", f"more in {root}", "name a single recording's folder")
        except OSError as error:
            got = f"{root / prefix} ({error.strerror})"
            raise InputError("a folder that can be read", got, "check its permissions and links") from error
    return sorted(found)


def _require_inside(link: Path, real_root: Path) -> None:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InputError("links to files of the folder", f"{link} ({error})", REMEDY) from error
    if not target.is_relative_to(real_root):
        raise InputError("links that stay in the folder", f"{link}, which leads to {target}", REMEDY)


def file_inside(root: Path, relative: str, what: str) -> Path:
    """The file at a relative path, which must lie in the folder, links resolved; InputError otherwise."""
    path = root / relative
    try:
        inside = path.resolve().is_relative_to(root.resolve())
        if not inside or Path(relative).is_absolute():
            raise InputError(f"{what} inside {root}", str(path), "write a path relative to the layout's folder")
        if not path.exists():
            raise InputError(what, f"no file {path}", "correct the path or copy the file again")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(what, f"{relative[:200]!r} ({error})", "correct the path") from error
    return path
