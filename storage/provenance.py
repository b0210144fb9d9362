"""Where a result comes from: its settings, its inputs and their hashes, and the code that made it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent

READ_BYTES = 2**20


@cache
def tool_version() -> str:
    """The installed version of mien, "0+unknown" where it runs without being installed."""
    try:
        return importlib.metadata.version("mien")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


@cache
def commit_id() -> str:
    """The commit of the running code, marked "-dirty" if it was changed since; the version outside of a checkout."""
    if not (CHECKOUT / ".git").exists():
        return tool_version()
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    # A git hook's variables would point at another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=environment)
    except (OSError, subprocess.SubprocessError):
        return tool_version()
    return done.stdout.strip() or tool_version()


@dataclass(frozen=True)
class Provenance:
    """What made a result; equal config and inputs make it again."""

    config: Mapping[str, Any]
    """The step's settings, as plain values."""
    inputs: Mapping[str, str]
    """What it read, each with its hash."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures about the result; a figure that is not finite is stored as null."""
    licence: str = ""
    """The terms the result falls under, those of its head model included."""
    tool_version: str = field(default_factory=tool_version)
    """Version of mien."""
    commit: str = field(default_factory=commit_id)
    """Commit of that code."""


def digest_of_file(path: str | Path) -> str:
    """SHA-256 of a file."""
    sha256 = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(READ_BYTES):
            sha256.update(block)
    return sha256.hexdigest()


def digest_of_files(folder: str | Path, paths: Iterable[str | Path]) -> str:
    """SHA-256 over names (relative to the folder) and contents of files, whatever order they come in."""
    sha256 = hashlib.sha256()
    names = {Path(path).relative_to(folder).as_posix(): Path(path) for path in paths}
    for name in sorted(names):
        sha256.update(f"{digest_of_file(names[name])}  {name}\n".encode())
    return sha256.hexdigest()
