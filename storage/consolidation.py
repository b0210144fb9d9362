"""Metadata of many arrays in one document, where they no longer change.

A take's results come after its ingest, and a consolidated root would hide them from zarr-python. So the parts that
`finish` seals (`streams`, `sync`, `audio`, ...) are consolidated, each in its own group, and the root is not.
Source: zarr-python's inline `consolidated_metadata` of Zarr v3 groups (not in the specification yet).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geometry.errors import InputError
from storage.documents import GROUP_KEY, LARGEST_DOCUMENT_BYTES, parse, read_document, to_bytes
from storage.places import Place

MEMBER = "consolidated_metadata"


def consolidate(place: Place, folder: str) -> None:
    """Copy the metadata of everything below a group into the group's own document."""
    document = read_document(place, f"{folder}/{GROUP_KEY}")
    if document is None:
        raise ValueError(f"{folder} is no group")
    members = members_below(place, folder)
    document[MEMBER] = {"kind": "inline", "must_understand": False, "metadata": members}
    place.write(f"{folder}/{GROUP_KEY}", to_bytes(document))


def members_below(place: Place, folder: str) -> dict[str, Any]:
    """The metadata documents below a group by their path in it, in order; InputError if one is damaged."""
    keys = [key for key in place.keys(folder) if key.endswith(f"/{GROUP_KEY}") and key != f"{folder}/{GROUP_KEY}"]
    found = place.read_parts([(key, 0, LARGEST_DOCUMENT_BYTES) for key in keys])
    names = [key.removeprefix(f"{folder}/").removesuffix(f"/{GROUP_KEY}") for key in keys]
    return {name: parse(data or b"", key) for name, key, data in zip(names, keys, found, strict=True)}


def consolidated_metadata(place: Place, folder: str) -> Mapping[str, Any]:
    """What `consolidate` stored, by the path in the take; empty where it did not. InputError if that is damaged."""
    document = read_document(place, f"{folder}/{GROUP_KEY}")
    if document is None or MEMBER not in document:
        return {}
    try:
        members = document[MEMBER]["metadata"].items()
        return {f"{folder}/{name}": member for name, member in members}
    except (TypeError, KeyError, AttributeError) as error:
        remedy = "`mien check` lists all damage; ingest the recording again with --overwrite"
        raise InputError("consolidated metadata", f"{error!r} in {place.address}/{folder}", remedy) from error
