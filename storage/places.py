"""Where a take lies: a local folder or any fsspec URL, as keys that hold bytes."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from geometry.errors import InputError

PARTIAL_SUFFIX = ".partial"
"""What a file that is still being written is called; nothing reads such files."""


class Place(ABC):
    """Bytes under keys such as `rig/zarr.json`. Writing a key is atomic: it holds all of the new bytes or none."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The path or URL, for messages."""

    @abstractmethod
    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes of a key, or of a part of it; FileNotFoundError if there is none."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Number of bytes under a key, None if there is none."""

    @abstractmethod
    def write(self, key: str, data: bytes, durable: bool = False) -> None:
        """Store bytes atomically; `durable` also survives a power cut. InputError if the disk is full or read-only."""

    @abstractmethod
    def children(self, folder: str) -> list[str]:
        """Sorted names of what lies directly in a folder; empty if there is no such folder."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove a key, or a folder with all it holds; nothing happens if there is none."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Store bytes unless the key is there already; whether they were stored. Of two at once, one wins."""

    @abstractmethod
    def sizes(self, folder: str = "") -> dict[str, int]:
        """Every key under a folder, sorted, with its number of bytes."""

    def keys(self, folder: str = "") -> Iterator[str]:
        """Every key under a folder, sorted."""
        yield from self.sizes(folder)

    def read_parts(self, parts: Sequence[tuple[str, int, int]]) -> list[bytes | None]:
        """The bytes from start to stop of many keys, None where there is no such key."""
        found: list[bytes | None] = []
        for key, start, stop in parts:
            try:
                found.append(self.read(key, start, stop))
            except FileNotFoundError:
                found.append(None)
        return found


@dataclass(frozen=True)
class LocalPlace(Place):
    """A folder of this machine."""

    root: Path
    """The take's folder."""

    @property
    @override
    def address(self) -> str:
        return str(self.root)

    @override
    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        try:
            with (self.root / key).open("rb") as file:
                file.seek(start or 0)
                return file.read(-1 if stop is None else max(stop - (start or 0), 0))
        except (NotADirectoryError, IsADirectoryError) as error:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(self.root / key)) from error
        except PermissionError as error:
            raise unreadable(str(self.root / key), error) from error

    @override
    def size(self, key: str) -> int | None:
        try:
            path = self.root / key
            return path.stat().st_size if path.is_file() else None
        except NotADirectoryError:
            return None
        except PermissionError as error:
            raise unreadable(str(self.root / key), error) from error

    @override
    def write(self, key: str, data: bytes, durable: bool = False) -> None:
        path = self.root / key
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
        with write_errors_named(str(path)):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with partial.open("wb") as file:
                    file.write(data)
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    @override
    def children(self, folder: str) -> list[str]:
        try:
            return sorted(path.name for path in (self.root / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise unreadable(str(self.root / folder), error) from error

    @override
    def remove(self, key: str) -> None:
        path = self.root / key
        with write_errors_named(str(path)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    @override
    def create(self, key: str, data: bytes) -> bool:
        path = self.root / key
        with write_errors_named(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
        return True

    @override
    def sizes(self, folder: str = "") -> dict[str, int]:
        found: dict[str, int] = {}
        for parent, _, names in os.walk(self.root / folder):
            for path in (Path(parent) / name for name in names):
                # A writer's partial files come and go.
                with suppress(FileNotFoundError):
                    found[path.relative_to(self.root).as_posix()] = path.lstat().st_size
        return {key: found[key] for key in sorted(found)}


def place_of(path: str | Path) -> Place:
    """The place that a path or an fsspec URL names; nothing is opened yet."""
    text = str(path)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if "://" in text:
        from storage.remote_place import RemotePlace

        return RemotePlace(text.rstrip("/"))
    return LocalPlace(Path(text).absolute())


@contextmanager
def write_errors_named(path: str) -> Iterator[None]:
    """Turn a full or unwritable disk into a message; a take that is being written stays unfinished."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = "free space there, then run the same command again: it resumes"
            raise InputError("room on the disk", f"{error.strerror} while writing {path}", remedy) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
            remedy = "choose another place or correct its permissions"
            raise InputError("a place that can be written", f"{error.strerror} at {path}", remedy) from error
        raise


def unreadable(path: str, error: OSError) -> InputError:
    """What to say of a file that may not be read."""
    return InputError("a file that can be read", f"{path} ({error.strerror or error})", "correct its permissions")
