"""One writer at a time in a folder, until its process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from geometry.errors import InputError
from storage.places import write_errors_named


class FolderLock:
    """Held from its making until `close`, or until it is forgotten or its process dies."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; InputError if another writer holds it or the folder cannot be made."""
        self._descriptor: int | None = None
        with write_errors_named(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            got, remedy = f"another ingest at {folder.parent}", "wait until it ends, or stop it"
            raise InputError("a take that nobody is writing", got, remedy) from error
        except OSError:
            # Some network file systems have no locks; atomic writes still keep the take whole.
            pass
        self._descriptor = descriptor

    def require_held(self) -> None:
        """Nothing: the system keeps the lock as long as the process lives."""

    def close(self) -> None:
        """Let others in; nothing happens the second time."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()
