"""`mien forget`: every take and every derived result of a subject, and nothing that only may be of that subject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from geometry.errors import InputError
from storage.documents import plain
from storage.forgetting import FORGET_LOG, Removal, forget_holdings, forgotten_before
from storage.places import place_of
from storage.subject_search import SubjectHoldings, find_subject
from workflows.answers import printable

State = Literal["removed", "incomplete", "not confirmed", "nothing left"]
"""incomplete: something may still show the subject; nothing left: an earlier run removed it."""


@dataclass(frozen=True)
class Forgetting:
    """The answer of `mien forget`."""

    state: State
    """What came of it."""
    holdings: SubjectHoldings
    """What was found."""
    removals: tuple[Removal, ...]
    """What was removed, or could not be."""
    forgotten_ns: tuple[int, ...] = ()
    """When earlier runs removed what they had found, nanoseconds since 1970."""

    @property
    def exit_code(self) -> int:
        """0: nothing is left; 1: something may be, or is; 2: nothing was removed, because nobody confirmed."""
        return {"removed": 0, "nothing left": 0, "incomplete": 1, "not confirmed": 2}[self.state]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        found = self.holdings
        return plain(
            {
                "subject_id": found.subject_id,
                "root": found.root.address,
                "state": self.state,
                "removed": [removal for removal in self.removals if not removal.problem],
                "not_removed": [removal for removal in self.removals if removal.problem],
                "found": {"takes": found.takes, "results": found.results, "files": [file.key for file in found.files]},
                "cannot_tell": [{"address": address, "why": why} for address, why in found.cannot_tell],
                "other_spellings": found.other_spellings,
                "still_holding": still_holding(found),
                "forgotten_ns": self.forgotten_ns,
            }
        )

    def as_text(self) -> str:
        """For people; what came of it comes first."""
        found = self.holdings
        headings = {
            "removed": f"forgotten: {found.subject_id} in {found.root.address}; the log is {FORGET_LOG} there",
            "incomplete": f"NOT COMPLETE: something in {found.root.address} may still show {found.subject_id}",
            "not confirmed": f"nothing was removed; this is held of {found.subject_id} in {found.root.address}",
            "nothing left": f"nothing is left of {found.subject_id} in {found.root.address}",
        }
        lines = [headings[self.state]]
        if self.state == "not confirmed":
            lines += [f"  {line}" for line in listed(found)]
        for removal in self.removals:
            lines.append(f"  {'removed' if not removal.problem else 'STILL THERE'} {removal.kind} {removal.address}")
            lines += [f"    {removal.problem}"] if removal.problem else []
        lines += [f"  cannot tell: {address}: {why}" for address, why in found.cannot_tell]
        lines += [f"  left alone: takes of {other!r}, another subject id" for other in sorted(found.other_spellings)]
        lines += [f"  not mien's to remove: the recording {address}" for address in still_holding(found)]
        if self.forgotten_ns:
            times = ", ".join(f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M} UTC" for ns in self.forgotten_ns)
            lines.append(f"  forgotten before: {times}")
        return printable("\n".join(lines))


def forget(
    subject_id: str,
    root: Path | str,
    confirm: Callable[[SubjectHoldings], bool],
    removed: Callable[[Removal], None] = lambda removal: None,
) -> Forgetting:
    """Remove every take and every derived result of a subject under a folder or URL, once `confirm` agrees.

    Subject ids must match exactly. What may be of the subject and does not say so is named and left, and makes the
    outcome incomplete. Recordings are named and left. Raises InputError: nothing at the root, or a subject that is
    neither there nor in the log of the forgotten, which is a misspelt id more often than not.
    """
    place = place_of(root)
    holdings = find_subject(subject_id, place)
    before = tuple(forgotten_before(subject_id, place))
    if holdings.empty:
        if not before and not holdings.cannot_tell:
            spelt = f" (there is {', '.join(sorted(holdings.other_spellings))})" if holdings.other_spellings else ""
            got = f"{subject_id!r}, of whom there is no take in {place.address}{spelt}"
            raise InputError("a subject with takes there", got, "correct the id; capitals and signs count")
        return Forgetting("incomplete" if holdings.cannot_tell else "nothing left", holdings, (), before)
    if not confirm(holdings):
        return Forgetting("not confirmed", holdings, (), before)
    removals = tuple(forget_holdings(holdings, removed))
    whole = not holdings.cannot_tell and not any(removal.problem for removal in removals)
    return Forgetting("removed" if whole else "incomplete", holdings, removals, before)


def listed(holdings: SubjectHoldings) -> list[str]:
    """A line for each thing that would be removed."""
    lines = []
    for take in holdings.takes:
        lines.append(f"take {take.address}")
        lines += [f"  with result {run}" for run in take.results]
    lines += [f"result {result.take}/results/{result.step}/{result.run}" for result in holdings.results]
    return lines + [f"file {holdings.root.address.rstrip('/')}/{file.key}" for file in holdings.files]


def still_holding(holdings: SubjectHoldings) -> list[str]:
    """Recordings that show the subject as well: those the takes were made of, and those found on the way."""
    return sorted({*(take.source for take in holdings.takes), *holdings.recordings})
