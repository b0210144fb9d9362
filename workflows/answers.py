"""How the command line answers: figures on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def os_error_in_words(error: OSError) -> str:
    """What went wrong with a file, and what to do."""
    where = f" at {error.filename}" if error.filename else ""
    return (
        f"expected a readable source and a writable place; got {error.strerror or error}{where}; check disk and rights"
    )


def keep_traceback() -> Path:
    """Write the current fault where its user can send it from, and say where."""
    with tempfile.NamedTemporaryFile("w", prefix="mien-fault-", suffix=".txt", delete=False) as file:
        file.write(f"{' '.join(sys.argv)}\n{traceback.format_exc()}")
    return Path(file.name)


def printable(text: str) -> str:
    """Text that every terminal takes: file names that are no text come out with backslashes."""
    return text.encode(errors="backslashreplace").decode()


def answer(values: dict[str, Any], as_json: bool) -> int:
    """Print figures for people or programs; exit code 0."""
    if as_json:
        print_json(values)
    else:
        for name, value in values.items():
            print(f"{name}: {value}")
    return 0


def print_json(values: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    json.dump(values, sys.stdout, indent=1, default=str)
    print()


@contextmanager
def clean_stdout() -> Iterator[None]:
    """Keep standard output for the answer: libraries that print there (Warp's greeting) go to standard error.

    A reader that has seen enough and gone (`| head`) is no fault.
    """
    keep = os.dup(1)
    os.dup2(2, 1)
    own = os.fdopen(keep, "w")
    before, sys.stdout = sys.stdout, own
    try:
        yield
    finally:
        try:
            own.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), own.fileno())
        sys.stdout = before
        os.dup2(own.fileno(), 1)
