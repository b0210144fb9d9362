"""Removing everything that was found of a subject, and keeping a log of it that names nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from geometry.errors import InputError
from storage.documents import GROUP_KEY
from storage.output_ledger import LEDGER, ledger_bytes, read_ledger
from storage.places import Place, place_of
from storage.provenance import tool_version
from storage.results import Results
from storage.subject_search import FoundFile, FoundTake, SubjectHoldings

FORGET_LOG = "forget-log.jsonl"
"""In the root that was searched: one line a run, with the pseudonym and digests, no path and no person's name."""


@dataclass(frozen=True)
class Removal:
    """What came of removing one thing."""

    address: str
    """Path or URL of the take, result or file."""
    kind: str
    """take, result or file."""
    problem: str
    """Why it is still there; empty if it is gone."""


def forget_holdings(holdings: SubjectHoldings, removed: Callable[[Removal], None]) -> list[Removal]:
    """Remove what was found, telling of each thing as it goes; what cannot be removed is said and left.

    A take's root document goes last: after a kill in between, the same search finds the rest. The log gets a line
    before and one after.
    """
    if holdings.empty:
        return []
    _log(holdings, "removing")
    outcomes = []
    for outcome in _removals(holdings):
        outcomes.append(outcome)
        removed(outcome)
    failed = sum(bool(outcome.problem) for outcome in outcomes)
    _log(holdings, "removed" if not failed else f"{failed} could not be removed")
    return outcomes


def forgotten_before(subject_id: str, root: Place) -> list[int]:
    """When earlier runs removed all they had found of a subject, nanoseconds since 1970."""
    times = []
    for line in _log_lines(root):
        try:
            record = json.loads(line)
            if record["subject_id"] == subject_id and record["event"] == "removed":
                times.append(int(record["time_ns"]))
        except (ValueError, KeyError, TypeError):
            continue  # a line that a full disk cut off says nothing
    return times


def _removals(holdings: SubjectHoldings) -> Iterator[Removal]:
    """Derived things first: they are found by the takes."""
    root = holdings.root
    for file in holdings.files:
        yield _attempt("file", f"{root.address.rstrip('/')}/{file.key}", lambda file=file: _remove_file(root, file))
    for result in holdings.results:
        address = f"{result.take}/results/{result.step}/{result.run}"
        remove = Results(place_of(result.take)).remove
        yield _attempt("result", address, lambda remove=remove, result=result: remove(result.step, result.run))
    for take in holdings.takes:
        yield _attempt("take", take.address, lambda take=take: _remove_take(take))


def _attempt(kind: str, address: str, remove: Callable[[], None]) -> Removal:
    try:
        remove()
    except (InputError, OSError) as error:
        return Removal(address, kind, str(error))
    return Removal(address, kind, "")


def _remove_take(take: FoundTake) -> None:
    place = place_of(take.address)
    for name in place.children(""):
        if name != GROUP_KEY:
            place.remove(name)
    place.remove(GROUP_KEY)
    place.remove("")
    if left := next(place.keys(), None):
        raise InputError("an empty place", f"{take.address}/{left}, which is still there", "run the command again")


def _remove_file(root: Place, file: FoundFile) -> None:
    root.remove(file.key)
    ledger = read_ledger(root, file.folder)
    if file.name in ledger:
        del ledger[file.name]
        key = f"{file.folder}/{LEDGER}".lstrip("/")
        if ledger:
            root.write(key, ledger_bytes(ledger))
        else:
            root.remove(key)


def _log(holdings: SubjectHoldings, event: str) -> None:
    """A line about this run; paths stay out of it, because operators put names into them."""
    record: dict[str, Any] = {
        "time_ns": time.time_ns(),
        "event": event,
        "subject_id": holdings.subject_id,
        "by": f"mien forget {tool_version()}",
        "takes": [take.source_digest for take in holdings.takes],
        "results_in_them": [run for take in holdings.takes for run in take.results],
        "results_elsewhere": [f"{result.step}/{result.run}" for result in holdings.results],
        "files": [PurePosixPath(file.name).suffix for file in holdings.files],
        "cannot_tell": len(holdings.cannot_tell),
    }
    lines = [*_log_lines(holdings.root), json.dumps(record, sort_keys=True)]
    holdings.root.write(FORGET_LOG, ("\n".join(lines) + "\n").encode(), durable=True)


def _log_lines(root: Place) -> list[str]:
    try:
        return root.read(FORGET_LOG).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
