"""What operator and reader noted about a recording, wherever the take keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from storage.documents import read_group
from storage.take import Take

RECORDING_EVENT = "-recording"
"""How the log entry ends that holds the reader's notes."""


def recorded_notes(take: Take) -> tuple[str, ...]:
    """Lines of text: the operator's notes first, then the settings' and the reader's."""
    found = [take.header.notes, *_texts(take.root.config)]
    for name in take.place.children("log"):
        if name.endswith(RECORDING_EVENT):
            found += _texts((read_group(take.place, f"log/{name}") or {}).get("notes"))
    return tuple(dict.fromkeys(text for text in found if text))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
