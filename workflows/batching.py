"""Many takes fitted one after the other, and one head for each subject where that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from flame_fitting.person import what_key_frames_tell
from geometry.errors import InputError
from storage.documents import plain
from storage.pseudonyms import UNKNOWN_SUBJECT
from storage.take import Take
from workflows.answers import keep_traceback, os_error_in_words, printable
from workflows.batch_manifest import ListedTake
from workflows.heads import HeadConfig, find_person, fit_heads, fit_origin, person_origin
from workflows.landmarking import LandmarkConfig, find_landmarks
from workflows.progress import say, step
from workflows.take_evidence import TakeEvidence

State = Literal["fitted", "already there", "failed"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class BatchConfig:
    """How to fit many takes."""

    head: HeadConfig = field(default_factory=HeadConfig)
    """How to fit each."""
    share_identity: bool = False
    """One head and one texture for all takes of a subject."""
    segments: int | None = None
    """Stretches of a take that are tracked as tasks of their own."""
    scheduler: str = "threads"
    """What runs them."""
    overwrite: bool = False
    """Replace results made otherwise; those that are as they should be stay."""


@dataclass(frozen=True)
class TakeOutcome:
    """What became of one take."""

    take: str
    """Its path or URL."""
    state: State
    """fitted: now; already there: nothing was left to do."""
    subject_id: str = ""
    """Whom it shows; empty where that could not be read."""
    identity_from: str | None = None
    """The take whose head and texture it has; None: its own."""
    problem: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class BatchOutcome:
    """What became of all takes, in the manifest's order."""

    takes: tuple[TakeOutcome, ...]
    """One for each."""

    def of(self, state: State) -> list[TakeOutcome]:
        """Takes of which just that became."""
        return [each for each in self.takes if each.state == state]

    @property
    def exit_code(self) -> int:
        """1 when a take failed."""
        return 1 if self.of("failed") else 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        counts = {state.replace(" ", "_"): len(self.of(state)) for state in ("fitted", "already there", "failed")}
        return plain({**counts, "takes": self.takes})

    def as_text(self) -> str:
        """For people: every take, and last those that failed."""
        lines = []
        for each in self.takes:
            if each.state != "failed":
                whose = f", the head of {each.identity_from}" if each.identity_from else ""
                lines.append(f"{each.state}: {each.take} ({each.subject_id}{whose})")
        lines += [f"FAILED: {each.take}: {each.problem}" for each in self.of("failed")]
        done = len(self.takes) - len(self.of("failed"))
        return printable("\n".join([*lines, f"{done} of {len(self.takes)} takes are fitted"]))


def fit_batch(listed: tuple[ListedTake, ...], config: BatchConfig) -> BatchOutcome:
    """Landmarks, person and fit of every take; one that fails is named, and the others go on.

    With `share_identity` each subject's person is learnt from one take and given to the subject's others with its
    texture. A take whose subject is unknown is fitted by itself: nothing says whose head it could share.
    """
    batch = _Batch(config, len(listed))
    if not config.share_identity:
        for each in listed:
            batch.fit(each, None)
    else:
        for takes in batch.subjects(listed):
            batch.fit_subject(takes)
    return BatchOutcome(tuple(batch.outcomes[each] for each in listed))


@dataclass(eq=False)
class _Batch:
    """A batch on its way."""

    config: BatchConfig
    total: int
    outcomes: dict[ListedTake, TakeOutcome] = field(default_factory=dict)

    def subjects(self, listed: tuple[ListedTake, ...]) -> list[list[ListedTake]]:
        """Takes of each subject that have landmarks, subjects in the order of their first take."""
        groups: dict[str, list[ListedTake]] = {}
        for number, each in enumerate(listed, start=1):
            say(printable(f"landmarks {number} of {self.total}: {each.address}"))
            take = self._try(each, lambda each=each: _with_landmarks(each))
            if take is None:
                continue
            subject = take.header.subject_id
            if subject in ("", UNKNOWN_SUBJECT):
                say("  of an unknown subject: fitted by itself; `mien ingest --subject` says who it is")
                subject = f"{UNKNOWN_SUBJECT} in {each.address}"  # a space: no pseudonym has one
            groups.setdefault(subject, []).append(each)
        return list(groups.values())

    def fit_subject(self, takes: list[ListedTake]) -> None:
        """Fit a subject's takes, the one first that the others get their head from.

        Where no person can be learnt from that one the next best takes its place. Where there is one, but not as it
        should be, the others wait: they would get a second head of the same subject.
        """
        waiting = self._best_first(takes)
        while waiting:
            source = waiting.pop(0)
            if self.fit(source, None):
                for each in waiting:
                    self.fit(each, source)
                return
            if _stored_person(source):
                for each in waiting:
                    remedy = "do what is said there, then run the batch again"
                    waits = InputError("the head of this subject", f"{source.address}, which failed", remedy)
                    self._fail(each, str(waits))
                return

    def fit(self, each: ListedTake, source: ListedTake | None) -> bool:
        """Fit one take, with the head of another one or its own; whether that went well."""
        say(printable(f"take {len(self.outcomes) + 1} of {self.total}: {each.address}"))
        outcome = self._try(each, lambda: self._fitted(each, source))
        if outcome is not None:
            self.outcomes[each] = outcome
        return outcome is not None

    def _fitted(self, each: ListedTake, source: ListedTake | None) -> TakeOutcome:
        take, head, overwrite = _with_landmarks(each), self.config.head, self.config.overwrite
        other = Take.open(source.address) if source else None
        origin = person_origin(take, head, other)
        has_person = take.results.is_current("person", "default", origin.config, origin.inputs)
        with step("person") as progress:
            find_person(take, head, progress, other, overwrite and not has_person)
        origin = fit_origin(take, head)
        has_fit = take.results.is_current("fit", "default", origin.config, origin.inputs)
        segments, scheduler = self.config.segments, self.config.scheduler
        with step("fit") as progress:
            fit_heads(take, head, progress, overwrite and not has_fit, segments=segments, scheduler=scheduler)
        state = "already there" if has_fit else "fitted"
        return TakeOutcome(each.address, state, take.header.subject_id, source.address if source else None)

    def _best_first(self, takes: list[ListedTake]) -> list[ListedTake]:
        """A subject's takes, the one first whose key frames tell most; of equals the first in the manifest.

        A take that others have their head from already stays the first: a take that is added later, or one that
        failed before, then leaves the finished ones as they are.
        """
        if len(takes) == 1:
            return takes
        if not self.config.overwrite and (sources := _sources(takes, self.config.head)):
            return [*sources, *(each for each in takes if each not in sources)]
        count = self.config.head.fit.person.key_frames
        found = {
            each: self._try(each, lambda each=each: what_key_frames_tell(_evidence(each), count)) for each in takes
        }
        telling = {each: score for each, score in found.items() if score is not None}
        return sorted(telling, key=lambda each: telling[each], reverse=True)  # stable: equals keep their order

    def _try(self, each: ListedTake, work: Callable[[], Value]) -> Value | None:
        """What the work gives; None, with the reason kept and told, if it fails."""
        try:
            return work()
        except InputError as error:
            problem = str(error)
        except OSError as error:
            problem = os_error_in_words(error)
        except Exception:  # noqa: BLE001 - one take's fault must not end the others
            problem = f"a fault of mien itself; its details are in {keep_traceback()}"
        self._fail(each, problem)
        return None

    def _fail(self, each: ListedTake, problem: str) -> None:
        say(printable(f"  failed: {each.address}: {problem}"))
        self.outcomes[each] = TakeOutcome(each.address, "failed", _subject_of(each), None, problem)


def _with_landmarks(each: ListedTake) -> Take:
    take = Take.open(each.address)
    with step("landmarks") as progress:
        find_landmarks(take, progress, LandmarkConfig(each.face))
    return take


def _evidence(each: ListedTake) -> TakeEvidence:
    take = Take.open(each.address)
    return TakeEvidence(take, take.results.read("landmarks"))


def _has_own_person(each: ListedTake, head: HeadConfig) -> bool:
    """Whether a person is stored that was learnt from this take itself and is as it should be."""
    try:
        take = Take.open(each.address)
        origin = person_origin(take, head)
        return take.results.is_current("person", "default", origin.config, origin.inputs)
    except (InputError, OSError):
        return False


def _sources(takes: list[ListedTake], head: HeadConfig) -> list[ListedTake]:
    """Of some takes those whose own person another one of them has."""
    borrowed = {digest for each in takes if (person := _stored_person(each)) and (digest := person[1])}
    own = {person[0]: each for each in takes if _has_own_person(each, head) and (person := _stored_person(each))}
    return [each for digest, each in own.items() if digest in borrowed]


def _stored_person(each: ListedTake) -> tuple[str, str | None] | None:
    """Digest of a take's person, and of the other take's person that it was copied from; None where it has none."""
    try:
        stored = Take.open(each.address).results.read("person")
    except (InputError, OSError):
        return None
    return stored.digest, stored.provenance.inputs.get("person")


def _subject_of(each: ListedTake) -> str:
    try:
        return Take.open(each.address).header.subject_id
    except (InputError, OSError):
        return ""
