"""The list of takes that `mien batch` works through: a text file with one take a line, or a spreadsheet's CSV."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

from geometry.errors import InputError

LARGEST_MANIFEST = 4 << 20
"""Bytes; some 50,000 takes."""
COLUMNS = "a header with the column `take` and, if wanted, `face`"


@dataclass(frozen=True)
class ListedTake:
    """One take of a manifest."""

    address: str
    """Its absolute path or URL."""
    face: int | None = None
    """Whom to fit of several people, by size; None: the nearest to the rig's centre."""


def read_manifest(path: Path) -> tuple[ListedTake, ...]:
    """The takes in the manifest's order.

    Text: a take a line, its path or URL; what follows a `#` at the start of a line or behind a space is a comment;
    empty lines count for nothing. A file named `.csv` has a header; its column `take` holds the take, `face` the place
    by size of the person to fit; other columns are the studio's own. Paths are relative to the manifest's folder.
    Raises InputError for a file that is no such list, one without a take, and a take that is listed twice.
    """
    text = _text_of(path)
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _text_rows(text)
    listed: dict[str, int] = {}
    takes = []
    for line, name, face in rows:
        address = _address(path, line, name)
        if address in listed:
            got = f"{name} in lines {listed[address]} and {line} of {path}"
            raise InputError("each take once in a manifest", got, "remove one of the lines")
        listed[address] = line
        takes.append(ListedTake(address, _face(path, line, face)))
    if not takes:
        raise InputError("at least one take in a manifest", f"none in {path}", "write the path of a take on each line")
    return tuple(takes)


def _text_of(path: Path) -> str:
    remedy = "give a text file with the path of a take on each line"
    if path.is_dir():
        raise InputError("a file that lists takes", f"a folder at {path}", remedy)
    with path.open("rb") as file:
        data = file.read(LARGEST_MANIFEST + 1)
    if len(data) > LARGEST_MANIFEST:
        raise InputError("a file that lists takes", f"more than {LARGEST_MANIFEST >> 20} MB at {path}", remedy)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("a UTF-8 text file that lists takes", f"other bytes in {path}", remedy) from error
    if "\0" in text:
        raise InputError("a text file that lists takes", f"zero bytes in {path}", remedy)
    return text


def _text_rows(text: str) -> list[tuple[int, str, str]]:
    """Line number, take and nothing for its face."""
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = f" {line}".replace("\t#", " #").partition(" #")[0].strip()
        if words:
            rows.append((number, words, ""))
    return rows


def _csv_rows(path: Path, text: str) -> list[tuple[int, str, str]]:
    """Line number, take and face of each row that names a take."""
    reader = csv.DictReader(io.StringIO(text), restval="")
    try:
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        if "take" not in names or len(set(names)) < len(names):
            raise InputError(COLUMNS, f"{', '.join(names) or 'no line'} in {path}", "name the column of takes `take`")
        reader.fieldnames = names
        rows = [(reader.line_num, row["take"].strip(), row.get("face", "").strip()) for row in reader]
    except csv.Error as error:
        raise InputError("a CSV file that lists takes", f"{error} in {path}", "export it anew as CSV") from error
    return [row for row in rows if row[1]]


def _address(path: Path, line: int, name: str) -> str:
    if not name.isprintable():
        raise InputError("the path or URL of a take", f"{name!r} in line {line} of {path}", "correct the line")
    if "://" in name:
        return name.rstrip("/")
    return os.path.normpath(path.absolute().parent / Path(name).expanduser())


def _face(path: Path, line: int, text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 4):
        raise InputError("a whole number in `face`", f"{text!r} in line {line} of {path}", "0 is the largest face")
    return int(text)
