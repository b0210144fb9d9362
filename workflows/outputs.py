"""Files beside a take: written whole, left alone when current, never over something that mien did not write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from geometry.errors import InputError
from storage.image_folder import write_whole

LEDGER = ".mien-outputs.json"
"""Beside the files: for each its SHA-256 and what it was made from."""


def write_output(path: Path, made_from: str, write: Callable[[Path], None], *, overwrite: bool = False) -> bool:
    """Write a file unless it is there already, made from the same; True when it was written.

    Raises InputError when the file in the way is not one that mien wrote and that nobody changed since.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ledger_path = path.parent / LEDGER
    ledger = _read(ledger_path)
    entry = ledger.get(path.name)
    if path.exists():
        untouched = entry is not None and entry["sha256"] == _sha256(path)
        if untouched and entry is not None and entry["made_from"] == made_from:
            return False
        if not untouched and not overwrite:
            raise InputError(
                f"a free place for {path.name}", f"another {path} in the way", "move it, or use --overwrite"
            )
    try:
        write(path)
    except OSError as error:
        raise InputError(f"room to write {path}", str(error), "free some space and run the command again") from error
    ledger[path.name] = {"made_from": made_from, "sha256": _sha256(path)}
    write_whole(ledger_path, json.dumps(ledger, indent=1, sort_keys=True))
    return True


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
