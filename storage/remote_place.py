"""A take behind an fsspec URL: object stores (`s3://`, `gs://`, ...) and any other file system that fsspec opens."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from fsspec.core import url_to_fs
from typing_extensions import override

from geometry.errors import InputError
from storage.places import PARTIAL_SUFFIX, Place, unreadable, write_errors_named

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss"})
"""Where an object is there whole or not at all, and folders are but names. Elsewhere a file is written under another
name and renamed."""

SIGNS_OF_A_FULL_STORE = ("StorageFull", "storage full", "QuotaExceeded", "Insufficient", "ENOSPC")
"""In the errors of MinIO, Ceph and other stores that run on disks of a fixed size."""


@dataclass(frozen=True)
class RemotePlace(Place):
    """A folder behind an fsspec URL.

    Credentials and endpoints come from where the file system's own library looks for them: environment variables
    such as AWS_ENDPOINT_URL, or fsspec's configuration.
    """

    url: str
    """Address of the take."""

    @property
    @override
    def address(self) -> str:
        return self.url

    def _open(self, key: str) -> tuple[Any, str]:
        """The file system and the key's path in it; opened once a process, because each one is a connection pool."""
        try:
            filesystem, root = _file_system(self.url, os.getpid())
        except (ImportError, ValueError) as error:
            raise InputError(
                "a folder or a URL that fsspec can open", f"{self.url} ({error})", "install that file system's package"
            ) from error
        return filesystem, f"{root}/{key}".rstrip("/")

    @override
    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        filesystem, path = self._open(key)
        if stop is not None and stop <= (start or 0):
            return b""
        with _reading(f"{self.url}/{key}"):
            try:
                # Limits, even if they are none, spare s3fs the question for the size.
                return bytes(filesystem.cat_file(path, start=start or 0, end=stop))
            except OSError as error:
                if _is_beyond_the_end(error):
                    return b""
                raise

    @override
    def read_parts(self, parts: Sequence[tuple[str, int, int]]) -> list[bytes | None]:
        filesystem, root = self._open("")
        with _reading(self.url):
            found = filesystem.cat_ranges(
                [f"{root}/{key}" for key, _, _ in parts],
                [start for _, start, _ in parts],
                [stop for _, _, stop in parts],
                on_error="return",
            )
            return [_part(data) for data in found]

    @override
    def size(self, key: str) -> int | None:
        filesystem, path = self._open(key)
        try:
            with _reading(f"{self.url}/{key}"):
                info = filesystem.info(path)
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    @override
    def write(self, key: str, data: bytes, durable: bool = False) -> None:
        filesystem, path = self._open(key)
        with _writing(f"{self.url}/{key}"):
            if _is_object_store(filesystem):
                _pipe(filesystem, path, data)
                return
            partial = f"{path}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}"
            try:
                _pipe(filesystem, partial, data)
                filesystem.mv(partial, path)
            except BaseException:
                if filesystem.exists(partial):
                    filesystem.rm_file(partial)
                raise

    @override
    def create(self, key: str, data: bytes) -> bool:
        filesystem, path = self._open(key)
        with _writing(f"{self.url}/{key}"):
            try:
                _pipe(filesystem, path, data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                # S3 answers 412 to a second writer, and 409 to two at once.
                if error.errno == errno.EEXIST or "PreconditionFailed" in str(error) or "Conflict" in str(error):
                    return False
                raise
        return True

    @override
    def children(self, folder: str) -> list[str]:
        filesystem, path = self._open(folder)
        try:
            with _reading(f"{self.url}/{folder}"):
                return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in filesystem.ls(path, detail=False))
        except FileNotFoundError:
            return []

    @override
    def remove(self, key: str) -> None:
        filesystem, path = self._open(key)
        with _writing(f"{self.url}/{key}"):
            try:
                filesystem.rm(path, recursive=True)
            except FileNotFoundError:
                return

    @override
    def sizes(self, folder: str = "") -> dict[str, int]:
        filesystem, path = self._open(folder)
        root = self._open("")[1]
        try:
            with _reading(f"{self.url}/{folder}"):
                found = filesystem.find(path, detail=True)
        except FileNotFoundError:
            return {}
        keys = {str(name)[len(root) :].lstrip("/"): int(info["size"] or 0) for name, info in found.items()}
        return {key: keys[key] for key in sorted(keys)}


@cache
def _file_system(url: str, process: int) -> tuple[Any, str]:
    """The file system of a URL and the path in it; `process` keeps a fork from using its parent's connections.

    Listings are not cached: other processes write here too, and a stale one would make a shard that is there pending.
    """
    filesystem, root = url_to_fs(url, use_listings_cache=False)
    return filesystem, str(root).rstrip("/")


def _is_object_store(filesystem: Any) -> bool:
    protocols = filesystem.protocol
    return bool(OBJECT_STORES.intersection([protocols] if isinstance(protocols, str) else protocols))


def _pipe(filesystem: Any, path: str, data: bytes, mode: str = "overwrite") -> None:
    # Object stores have no folders to make, only buckets, which a mistyped address must not make.
    if not _is_object_store(filesystem):
        filesystem.makedirs(filesystem._parent(path), exist_ok=True)
    filesystem.pipe_file(path, data, mode=mode)


def _part(found: Any) -> bytes | None:
    if isinstance(found, FileNotFoundError):
        return None
    if isinstance(found, OSError) and _is_beyond_the_end(found):
        return b""
    if isinstance(found, BaseException):
        raise found
    return bytes(found)


def _is_beyond_the_end(error: OSError) -> bool:
    """A range that starts behind an object's last byte is an error to S3 (416), where a file gives nothing."""
    return error.errno == errno.EINVAL and "range" in str(error)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except (IsADirectoryError, NotADirectoryError) as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", path) from error
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise unreadable(path, error) from error
    except _connection_errors() as error:
        raise _unreachable(path, error) from error


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        with write_errors_named(path):
            yield
    except FileNotFoundError as error:
        # Nothing is read here: it is the bucket that is not there.
        got, remedy = f"none at {path}", "make the bucket, or correct the address; then run the same command again"
        raise InputError("a bucket or folder to write to", got, remedy) from error
    except _connection_errors() as error:
        if any(word in str(error) for word in SIGNS_OF_A_FULL_STORE):
            remedy = "free space there, then run the same command again: it resumes"
            raise InputError("room in the store", f"{error} while writing {path}", remedy) from error
        raise _unreachable(path, error) from error


def _unreachable(path: str, error: BaseException) -> InputError:
    remedy = "check the address, the network and the credentials, then run the same command again: it resumes"
    return InputError("a place that answers", f"{type(error).__name__} at {path} ({error})", remedy)


@cache
def _connection_errors() -> tuple[type[BaseException], ...]:
    """What the libraries below fsspec raise when a place does not answer; they are imported only then."""
    found: list[type[BaseException]] = [OSError, TimeoutError]
    try:
        from botocore.exceptions import BotoCoreError, ClientError

        found += [BotoCoreError, ClientError]
    except ImportError:
        pass
    try:
        from aiohttp import ClientError as HttpError

        found.append(HttpError)
    except ImportError:
        pass
    return tuple(found)
