"""What each exported file was made from and whom it shows: so it is renewed when due, and found when forgotten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from geometry.errors import InputError
from storage.documents import read_document
from storage.places import Place

LEDGER = ".mien-outputs.json"
"""Name of the ledger in each folder with exported files."""


@dataclass(frozen=True)
class OutputEntry:
    """What is known of one exported file."""

    made_from: str
    """Digests of the results it was made from, with spaces between."""
    sha256: str
    """Of the file as it was written."""
    subject_id: str = ""
    """Whom it shows; empty in entries of earlier versions."""


def read_ledger(place: Place, folder: str = "") -> dict[str, OutputEntry]:
    """The ledger of a folder, by file name; empty where there is none. InputError if it is damaged."""
    key = f"{folder}/{LEDGER}".lstrip("/")
    document = read_document(place, key)
    try:
        return {name: _entry(values) for name, values in (document or {}).items()}
    except (TypeError, KeyError) as error:
        got = f"{place.address}/{key} ({error})"
        raise InputError(
            "a ledger of exported files", got, "move it away: the files then count as not mien's"
        ) from error


def ledger_bytes(ledger: Mapping[str, OutputEntry]) -> bytes:
    """The bytes of a ledger, the same for the same entries."""
    return json.dumps({name: asdict(entry) for name, entry in ledger.items()}, indent=1, sort_keys=True).encode()


def _entry(values: Mapping[str, Any]) -> OutputEntry:
    entry = OutputEntry(values["made_from"], values["sha256"], values.get("subject_id", ""))
    if not all(isinstance(value, str) for value in asdict(entry).values()):
        raise TypeError("an entry that is not text")
    return entry
