"""Patterns of file names with named places, such as `{module}/rgb_{side}/{frame:06d}.png`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from geometry.errors import InputError

TIMES_NS = {
    f"{clock}_{unit}": factor
    for clock in ("device", "host", "timecode")
    for unit, factor in (("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000))
}
"""Names of times with their unit in nanoseconds."""
COUNTS = ("frame", "frame_counter", "trigger_id")
NUMERIC = frozenset({*TIMES_NS, *COUNTS})
"""Places that hold whole numbers and tell frames apart; every other name tells cameras apart."""
LONGEST_NUMBER = 19
"""Digits of a 64-bit integer."""
MOST_TEXT_PLACES = 3
"""In one file or folder name: matching is then at worst quadratic in a name's length."""
LONGEST_PATTERN = 1024
PLACE = re.compile(r"\{([a-z][a-z0-9_]*)(?::0?([0-9]{1,2})d)?\}")


@dataclass(frozen=True)
class PathPattern:
    """A relative path with named places."""

    text: str
    """As it stands in the layout."""
    name: str
    """What messages call it."""

    def __post_init__(self) -> None:
        remedy = "write a path relative to the layout's folder, such as {camera}/{frame:06d}.png"
        parts = self.text.split("/")
        if not self.text or len(self.text) > LONGEST_PATTERN or "\\" in self.text or "\0" in self.text:
            raise InputError(f"a path with slashes for {self.name}", repr(self.text[:80]), remedy)
        if any(part in ("", ".", "..") for part in parts):
            raise InputError(f"a path inside the folder for {self.name}", repr(self.text[:80]), remedy)
        for part in parts:
            if re.search(r"[{}]", PLACE.sub("", part)):
                expected = f"places such as {{camera}} or {{frame:06d}} in {self.name}"
                raise InputError(expected, repr(part[:80]), remedy)
            text_places = [name for name, _ in PLACE.findall(part) if name not in NUMERIC]
            if len(text_places) > MOST_TEXT_PLACES:
                got = f"{len(text_places)} in {part[:80]!r}"
                raise InputError(f"at most {MOST_TEXT_PLACES} texts in one name of {self.name}", got, remedy)
        for name, width in PLACE.findall(self.text):
            if width and name not in NUMERIC:
                expected = f"a width only for numbers ({', '.join(sorted(NUMERIC))}) in {self.name}"
                raise InputError(expected, f"{{{name}:{width}d}}", remedy)

    @cached_property
    def places(self) -> frozenset[str]:
        """Names of the places."""
        return frozenset(name for name, _ in PLACE.findall(self.text))

    @property
    def camera_places(self) -> frozenset[str]:
        """Those that tell cameras apart."""
        return self.places - NUMERIC

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """A regular expression with a group for each place; a place that comes twice holds the same text."""
        seen: set[str] = set()
        pieces, end = [], 0
        for match in PLACE.finditer(self.text):
            pieces.append(re.escape(self.text[end : match.start()]))
            name, width = match.groups()
            if name in seen:
                pieces.append(f"(?P={name})")
            elif name in NUMERIC:
                # Possessive, so that digits are tried once.
                pieces.append(f"(?P<{name}>[0-9]{{{max(int(width or 1), 1)},}}+)")
            else:
                pieces.append(f"(?P<{name}>[^/]+?)")
            seen.add(name)
            end = match.end()
        return re.compile("".join([*pieces, re.escape(self.text[end:])]))

    def match(self, path: str) -> dict[str, str] | None:
        """What stands in each place of a path, or None if it does not fit."""
        found = self.expression.fullmatch(path)
        return None if found is None else found.groupdict()

    def filled(self, values: Mapping[str, str]) -> str:
        """The path with values in its places."""
        return PLACE.sub(lambda match: values[match[1]], self.text)


def whole_number(text: str, name: str) -> int:
    """A number in a file's name as a 64-bit integer; InputError if it is larger."""
    number = int(text) if len(text) <= LONGEST_NUMBER else 2**63
    if number >= 2**63:
        raise InputError("a number of at most 64 bits", f"{text[:40]} in {name}", "correct the file's name or pattern")
    return number
