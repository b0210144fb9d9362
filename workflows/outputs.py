"""Files beside a take: written whole, left alone when current, never over something that mien did not write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from geometry.errors import InputError
from storage.image_folder import write_whole
from storage.output_ledger import LEDGER, OutputEntry, ledger_bytes, read_ledger
from storage.places import place_of
from storage.provenance import digest_of_file
from storage.take_header import TakeHeader


def write_output(
    path: Path,
    made_from: str,
    write: Callable[[Path], None],
    *,
    overwrite: bool = False,
    of: TakeHeader | None = None,
) -> bool:
    """Write a file unless it is there already, made from the same; True when it was written.

    `of` is the take that the file shows: `mien forget` finds the file by it, wherever the take went. Raises InputError
    when the file in the way is not one that mien wrote and that nobody changed since.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        ledger = read_ledger(place_of(path.parent))
    except InputError:
        ledger = {}  # a damaged ledger vouches for nothing
    entry, subject_id = ledger.get(path.name), "" if of is None else of.subject_id
    if path.exists():
        untouched = entry is not None and entry.sha256 == digest_of_file(path)
        if untouched and entry is not None and entry.made_from == made_from:
            if subject_id and entry.subject_id != subject_id:
                ledger[path.name] = replace(entry, subject_id=subject_id)
                write_whole(path.parent / LEDGER, ledger_bytes(ledger))
            return False
        if not untouched and not overwrite:
            raise InputError(
                f"a free place for {path.name}", f"another {path} in the way", "move it, or use --overwrite"
            )
    try:
        write(path)
    except OSError as error:
        raise InputError(f"room to write {path}", str(error), "free some space and run the command again") from error
    ledger[path.name] = OutputEntry(made_from, digest_of_file(path), subject_id)
    write_whole(path.parent / LEDGER, ledger_bytes(ledger))
    return True
