"""`mien ingest --watch`: every recording that lands in a folder becomes a take, and is judged before the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capture.ingest import IngestConfig
from capture.quality import QualityReport
from capture.readers import open_recording
from capture.source_identity import changed_file, source_states
from geometry.errors import InputError
from storage.places import LocalPlace
from storage.take import Take
from storage.take_header import TakeRoot
from workflows.answers import keep_traceback, printable
from workflows.arrivals import Arrival, arrival_names, look_at
from workflows.progress import say, step
from workflows.watch_journal import FINAL, Event, Journal

REASONS_NAMED = 3
"""In the line about a recording that must be shot again; `mien check` lists all."""
PLACE_TROUBLES = ("room on the disk", "a place that can be written", "a take that nobody is writing")
"""What `InputError.expected` says when the takes' disk is at fault, not the recording."""

STILL_CHANGING = "a recording that stays as it is"
"""What it says where a file changed while it was read."""
IN_THE_WAY = "no other take in the way"
"""What it says where a take of other settings or another recording lies already."""


@dataclass(frozen=True)
class WatchConfig:
    """How to watch."""

    settle_s: float = 10.0
    """A recording is finished when none of its files has changed for so long."""
    poll_s: float = 2.0
    """Between two looks at the folder."""
    rescan_s: float = 60.0
    """Between two looks at a recording that is done; also before trying again where the disk was full."""
    once: bool = False
    """Stop when everything that is there is done."""


@dataclass(frozen=True)
class WatchTools:
    """What a watch calls; tests put others in."""

    ingest: Callable[..., Take]
    """`ingest(source, take_path, config, overwrite=..., progress=...)`."""
    check: Callable[[Take], QualityReport]
    """Judges a take."""
    say: Callable[[str], None] = say
    """A line for the operator."""
    sleep: Callable[[float], None] = time.sleep
    """Waits."""

    @classmethod
    def usual(cls) -> WatchTools:
        """The ingest and the checks of the other commands."""
        from capture.quality import check_take
        from workflows.ingesting import ingest

        return cls(ingest, check_take)


@dataclass(frozen=True)
class WatchOutcome:
    """What became of everything that lay in the folder when the watch ended."""

    verdicts: dict[str, Event] = field(default_factory=dict)
    """By recording; earlier watches' verdicts included."""
    messages: dict[str, str] = field(default_factory=dict)
    """The line about each."""

    @property
    def exit_code(self) -> int:
        """1: something must be shot again; 2: something else did not become a take; 0: all is usable."""
        if "shoot again" in self.verdicts.values():
            return 1
        return 0 if set(self.verdicts.values()) <= {"usable", "repeated"} else 2

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        recordings = {
            name: {"verdict": event, "message": self.messages.get(name, "")} for name, event in self.verdicts.items()
        }
        return {"recordings": recordings, "exit_code": self.exit_code}


def watch(
    folder: Path,
    takes_folder: Path,
    config: IngestConfig,
    options: WatchConfig | None = None,
    tools: WatchTools | None = None,
) -> WatchOutcome:
    """Ingest and check each recording that lies or lands directly in `folder`, one at a time, until interrupted.

    A recording is taken up when it has stopped changing and none of its names is a temporary one; its take is
    `takes_folder/<name>.zarr`. One line says what became of it: usable, shoot again (why), or not a recording (why).
    A journal in `takes_folder` makes a restart go on where this one stopped. Nothing is ever overwritten: a recording
    that changed after its ingest, and a second one of the same name, are named and left.
    Raises InputError: no folder, another watch on the same takes, one take id for all recordings.
    """
    if not folder.is_dir():
        raise InputError("a folder to watch", f"{folder}, which is none", "check the path and that the disk is mounted")
    if config.take_id:
        raise InputError("names of takes from their recordings", f"take id {config.take_id!r} for all", "leave it out")
    journal = Journal(takes_folder)
    watching = _Watch(folder, takes_folder, config, options or WatchConfig(), tools or WatchTools.usual(), journal)
    try:
        return watching.run()
    finally:
        journal.close()


@dataclass
class _Seen:
    """A recording that has not settled yet."""

    arrival: Arrival
    since_s: float


class _Watch:
    """One run of `watch`."""

    def __init__(
        self,
        folder: Path,
        takes_folder: Path,
        config: IngestConfig,
        options: WatchConfig,
        tools: WatchTools,
        journal: Journal,
    ) -> None:
        self.folder, self.takes_folder, self.config = folder, takes_folder, config
        self.options, self.tools, self.journal = options, tools, journal
        self.seen: dict[str, _Seen] = {}
        self.rest_until_s: dict[str, float] = {}
        self.unreadable = ""

    def run(self) -> WatchOutcome:
        """Until everything is done (once), or until interrupted."""
        try:
            self._name_what_was_left()
            while True:
                name, waiting = self._next()
                if name is not None:
                    self._handle(name, self.seen.pop(name).arrival)
                elif self.options.once and not waiting:
                    return self._outcome()
                else:
                    self.tools.sleep(self.options.poll_s)
        except KeyboardInterrupt:
            self.tools.say(f"stopped; the same command goes on where this one stopped ({self.journal.path})")
            raise

    def _name_what_was_left(self) -> None:
        """Ingests that were interrupted and whose recording is no longer there."""
        for name, entry in self.journal.last.items():
            if entry.event == "started" and not (self.folder / name).exists():
                self.tools.say(f"{name}: gone; {entry.take} is an unfinished take of it: remove it, or bring it back")

    def _next(self) -> tuple[str | None, bool]:
        """A recording that is ready to be handled, if any, and whether others may become ready."""
        # One time for the whole look: what arrived together settles together, however long looking takes.
        waiting, now_s = False, time.monotonic()
        for name in self._names():
            if now_s < self.rest_until_s.get(name, 0.0):
                continue
            arrival, last = look_at(self.folder / name), self.journal.last.get(name)
            if last is not None and last.event in FINAL and last.fingerprint == arrival.fingerprint:
                self.rest_until_s[name] = now_s + self.options.rescan_s
                continue
            seen = self.seen.get(name)
            if seen is None or seen.arrival != arrival:
                self.seen[name] = seen = _Seen(arrival, now_s)
            if now_s - seen.since_s < self.options.settle_s:
                waiting = True
            elif not arrival.unfinished:
                return name, waiting
            elif self.options.once:
                self._postpone(name, arrival, f"waiting: {arrival.unfinished} is still being copied")
            else:
                waiting = True
        return None, waiting

    def _names(self) -> list[str]:
        try:
            names = arrival_names(self.folder, self.takes_folder)
        except OSError as error:
            if self.options.once:
                got = f"{self.folder} ({error.strerror})"
                raise InputError("a folder that can be read", got, "check that the disk is mounted") from error
            if not self.unreadable:
                self.tools.say(f"{self.folder} cannot be read ({error.strerror}); waiting until it can")
            self.unreadable = str(error)
            return []
        self.unreadable = ""
        self.seen = {name: seen for name, seen in self.seen.items() if name in names}
        return names

    def _handle(self, name: str, arrival: Arrival) -> None:
        """Ingest and check one recording, unless its name or its pixels are taken already."""
        source = self.folder / name
        take_name = f"{name if source.is_dir() else source.stem}.zarr"
        known = self.journal.ingested.get(name)
        if known is not None:
            if self._same_as_take(source, known.take):  # touched, copied again: the same bytes
                self._conclude(name, arrival, known.event, known.take, "the same as before, though its times are not")
            else:
                why = f"changed since {known.take} was made of it; compare with `mien verify`, or ingest it by hand"
                self._conclude(name, arrival, "changed", known.take, why)
            return
        for other in self.journal.ingested.values():
            if other.fingerprint == arrival.fingerprint and self._same_as_take(source, other.take):
                self._conclude(
                    name, arrival, "repeated", other.take, f"the same as {other.name}, which is {other.take}"
                )
                return
        if taken_by := self._taken_by(name, source, take_name):
            why = f"{take_name} is the take of {taken_by}; rename this recording"
            self._conclude(name, arrival, "name taken", take_name, why)
            return
        self._ingest(name, source, take_name, arrival)

    def _ingest(self, name: str, source: Path, take_name: str, arrival: Arrival) -> None:
        take_path = self.takes_folder / take_name
        restart = self._must_start_again(name, take_name, arrival)
        self.journal.write(name, arrival.fingerprint, "started", take_name)
        try:
            with step(printable(name)) as progress:
                take = self.tools.ingest(source, take_path, self.config, overwrite=restart, progress=progress)
            report = self.tools.check(take)
        except (InputError, OSError) as error:
            if not source.exists():
                self._postpone(name, arrival, f"gone while it was ingested; {take_name}, if there, is not whole")
            elif isinstance(error, InputError) and error.expected == STILL_CHANGING:
                self.seen.pop(name, None)
                self.tools.say(printable(f"{name}: still changing; it is taken up again once it has settled"))
            elif isinstance(error, OSError) or error.expected in PLACE_TROUBLES:
                self._postpone(name, arrival, f"waiting: {error}")
            elif error.expected == IN_THE_WAY:  # made with other settings, or of other bytes
                self._conclude(name, arrival, "name taken", take_name, f"{error.got}; never overwritten by a watch")
            else:
                self._conclude(name, arrival, "not a recording", "", str(error))
            return
        except Exception:  # noqa: BLE001 - the shoot goes on after a recording that mien stumbles over
            why = f"a fault of mien itself; its details are in {keep_traceback()}"
            self._conclude(name, arrival, "not a recording", "", why)
            return
        if report.passed:
            what = f"{take.frame_count} frame sets of {len(take.rig.cameras)} cameras in {take_path}"
            self._conclude(name, arrival, "usable", take_name, what)
        else:
            self._conclude(name, arrival, "shoot again", take_name, _reasons(report))

    def _must_start_again(self, name: str, take_name: str, arrival: Arrival) -> bool:
        """Whether an unfinished take is of this recording as it was when less of it had been copied."""
        begun = self.journal.started.get(name)
        if begun is None or begun.take != take_name or begun.fingerprint == arrival.fingerprint:
            return False
        root = self._root_of(take_name)
        return root is not None and root.state != "complete"

    def _taken_by(self, name: str, source: Path, take_name: str) -> str:
        """The recording whose take has this name already; empty if it is free, or this recording's own."""
        for other in (*self.journal.ingested.values(), *self.journal.started.values()):
            if other.name != name and other.take == take_name:
                return other.name
        root = self._root_of(take_name)
        return "" if root is None or Path(root.header.source) == source.absolute() else root.header.source

    def _root_of(self, take_name: str) -> TakeRoot | None:
        try:
            return TakeRoot.read(LocalPlace(self.takes_folder.absolute() / take_name))
        except InputError:
            return None

    def _same_as_take(self, source: Path, take_name: str) -> bool:
        """Whether a recording holds the bytes that a take was made of; reads all of it."""
        try:
            recording = open_recording(source, self.config.reader)
            return not changed_file(source_states(recording), Take.open(self.takes_folder / take_name).sources)
        except (InputError, OSError):
            return False

    def _conclude(self, name: str, arrival: Arrival, event: Event, take_name: str, why: str) -> None:
        message = printable(f"{name}: {event}: {' '.join(why.split())}")
        self.journal.write(name, arrival.fingerprint, event, take_name, message)
        self.tools.say(message)
        self.rest_until_s[name] = time.monotonic() + self.options.rescan_s

    def _postpone(self, name: str, arrival: Arrival, why: str) -> None:
        """Say it once, and look again later."""
        message, last = printable(f"{name}: {' '.join(why.split())}"), self.journal.last.get(name)
        if last is None or last.message != message:
            self.tools.say(message)
        self.journal.write(name, arrival.fingerprint, "waiting", "", message)
        rest_s = float("inf") if self.options.once else self.options.rescan_s
        self.rest_until_s[name] = time.monotonic() + rest_s

    def _outcome(self) -> WatchOutcome:
        last = {name: self.journal.last[name] for name in self._names() if name in self.journal.last}
        return WatchOutcome({n: e.event for n, e in last.items()}, {n: e.message for n, e in last.items()})


def _reasons(report: QualityReport) -> str:
    failed = [check for check in report.checks if check.verdict == "fail"]
    reasons = [f"{check.name}{f' {check.camera}' if check.camera else ''}: {check.message}" for check in failed]
    more = f"; and {len(reasons) - REASONS_NAMED} more" if len(reasons) > REASONS_NAMED else ""
    return " | ".join(reasons[:REASONS_NAMED]) + more
