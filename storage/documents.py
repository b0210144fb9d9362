"""JSON documents of a take: canonical to write, bounded and checked to read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from geometry.errors import InputError
from storage.places import Place

GROUP_KEY = "zarr.json"
"""Name of the metadata document of every group and array (Zarr v3)."""

LARGEST_DOCUMENT_BYTES = 2**26
"""A rig of a thousand cameras takes 2 MB; more than this is no metadata."""


def plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses and mappings as objects, arrays as lists, non-finite numbers as null.

    Raises TypeError for what has no such form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def digest(value: Any) -> str:
    """SHA-256 of a value's JSON form; equal for equal values whatever the order of their keys."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """The bytes of a JSON document, the same for the same document."""
    text = json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # File names need not be UTF-8; Python has their odd bytes as surrogates, which `json` reads back this way.
    return text.encode(errors="surrogatepass")


def parse(data: bytes, name: str) -> dict[str, Any]:
    """The object that JSON bytes hold; InputError if they hold no object."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("a JSON document", f"{name} ({error})", "restore the file or make it anew") from error
    if not isinstance(document, dict):
        raise InputError("a JSON object", f"{name} with a {type(document).__name__}", "restore the file")
    return document


def read_document(place: Place, key: str) -> dict[str, Any] | None:
    """A JSON document of the take, None if there is none; InputError if it does not parse."""
    try:
        # One byte too many tells a document from a file that is none, without asking for its size first.
        data = place.read(key, 0, LARGEST_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > LARGEST_DOCUMENT_BYTES:
        got = f"over {LARGEST_DOCUMENT_BYTES} bytes in {place.address}/{key}"
        raise InputError("a metadata document", got, "restore the file")
    return parse(data, f"{place.address}/{key}")


def write_group(place: Place, folder: str, attributes: Mapping[str, Any], durable: bool = False) -> None:
    """Store a Zarr group's metadata; the empty folder name is the take itself."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    place.write(f"{folder}/{GROUP_KEY}".lstrip("/"), to_bytes(document), durable)


def read_group(place: Place, folder: str) -> dict[str, Any] | None:
    """Attributes of a Zarr group, None if there is no such group; InputError if its metadata is damaged."""
    key = f"{folder}/{GROUP_KEY}".lstrip("/")
    document = read_document(place, key)
    if document is None:
        return None
    attributes = document.get("attributes", {})
    if document.get("zarr_format") != 3 or document.get("node_type") != "group" or not isinstance(attributes, dict):
        raise InputError(
            "the metadata of a Zarr v3 group", f"{place.address}/{key}", "restore the file or make it anew"
        )
    return attributes
