"""Everything under a folder or URL that shows one subject: takes, results in other takes, exported files."""

from __future__ import annotations

import hashlib
import html
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from geometry.errors import InputError
from storage.documents import GROUP_KEY, digest, read_document, read_group
from storage.image_folder import MARKER
from storage.output_ledger import LEDGER, OutputEntry, read_ledger
from storage.places import LocalPlace, Place, place_of
from storage.provenance import READ_BYTES
from storage.pseudonyms import UNKNOWN_SUBJECT
from storage.take_header import SCHEMA_NAME, TakeRoot

EXPORT_SUFFIXES = (".glb", ".html", ".ply", ".webm")
LARGEST_GLB_HEADER_BYTES = 2**24
"""Of the JSON in front of a GLB's data; a head takes 100 KB."""
REPORT_START_BYTES = 2**18
"""A report's title stands in front of its pictures."""
PAGES = {"mien · take report": "", "mien · quality check": " · "}
"""What pages of mien's are called on themselves, and what follows the subject there, if anything."""
FILM_MARK = b'{"made_by": "mien", "subject_id": '
"""How the comment in front of a film of mien's begins; the subject follows, as a JSON string."""
UNNAMED = ("", UNKNOWN_SUBJECT, "unnamed")
"""What stands for a subject that nobody stated."""


@dataclass(frozen=True)
class FoundTake:
    """A take of the subject."""

    address: str
    """Its path or URL."""
    take_id: str
    """Its name."""
    source: str
    """Where its recording lay when it was ingested."""
    source_digest: str
    """Of that recording."""
    results: tuple[str, ...]
    """Step and run of each result in it."""


@dataclass(frozen=True)
class FoundResult:
    """A result in another subject's take that was made from this subject's data."""

    take: str
    """Address of the take it is in."""
    step: str
    """Which step made it."""
    run: str
    """Which run."""


@dataclass(frozen=True)
class FoundFile:
    """An exported file that shows the subject."""

    folder: str
    """Relative to the root; empty: the root itself."""
    name: str
    """File name."""

    @property
    def key(self) -> str:
        """Path relative to the root."""
        return f"{self.folder}/{self.name}".lstrip("/")


@dataclass
class SubjectHoldings:
    """What is held of a subject under one root."""

    subject_id: str
    """Whose."""
    root: Place
    """Where it was looked for."""
    takes: list[FoundTake] = field(default_factory=list)
    """Takes of this subject."""
    results: list[FoundResult] = field(default_factory=list)
    """Results in other takes that were made from those."""
    files: list[FoundFile] = field(default_factory=list)
    """Exported files."""
    recordings: list[str] = field(default_factory=list)
    """Recordings of this subject: never removed by mien, so somebody else must."""
    cannot_tell: list[tuple[str, str]] = field(default_factory=list)
    """Addresses that may hold the subject, each with why nothing more can be said."""
    other_spellings: set[str] = field(default_factory=set)
    """Subject ids that differ from this one by capitals or signs only; left alone."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.takes or self.results or self.files)


def find_subject(subject_id: str, root: Place) -> SubjectHoldings:
    """Everything under `root` that shows a subject whose id is exactly this one; nothing is changed.

    Reads the root document of every take, the provenance of every result, and the ledgers and headers of exported
    files. Links are not followed. Raises InputError: no id, the word for an unstated subject, nothing at the root, a
    root that is itself a take.
    """
    if subject_id in UNNAMED:
        remedy = "name one subject; takes of nobody in particular are removed by hand"
        raise InputError("the id of a subject", repr(subject_id), remedy)
    if not root.children(""):
        raise InputError("a folder or URL that holds takes", f"nothing at {root.address}", "correct the path")
    if _is_take(root):
        raise InputError("a folder or URL that holds takes", f"the take {root.address}", "name the folder it is in")
    search = _Search(SubjectHoldings(subject_id, root))
    search.walk()
    search.results()
    search.files()
    return search.found


def _is_take(place: Place) -> bool:
    try:
        return (read_group(place, "") or {}).get("schema") == SCHEMA_NAME
    except InputError:
        return False


class _Search:
    """One search, in three passes: takes first, because their digests tell what was made from them."""

    def __init__(self, found: SubjectHoldings) -> None:
        self.found, self.root = found, found.root
        self.mine: set[str] = set()
        """Digests of this subject's takes and results."""
        self.others: set[str] = set()
        """Digests of everybody else's."""
        self.other_takes: list[Place] = []
        self.folders: list[tuple[str, list[str]]] = []
        """Folders with ledgers or files that may be exports, and their files' names."""

    def walk(self) -> None:
        """Find the takes, the recordings and the folders to look for exported files in."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                names = self.root.children(folder)
                if GROUP_KEY in names and not self._descends(folder):
                    continue
            except InputError as error:
                self._cannot_tell(folder, f"it cannot be read ({error.got})")
                continue
            if GROUP_KEY not in names and {"rig", "streams"} <= set(names):
                self._cannot_tell(folder, "parts of a take whose root document is missing; look at it by hand")
                continue
            if MARKER in names:
                self._note_recording(folder)
            if any(name == LEDGER or name.endswith(EXPORT_SUFFIXES) for name in names):
                self.folders.append((folder, names))
            waiting += reversed([path for name in names if self._is_folder(path := f"{folder}/{name}".lstrip("/"))])

    def _descends(self, folder: str) -> bool:
        """Whether takes may lie below this Zarr node; notes it if it is a take."""
        document = read_document(self.root, f"{folder}/{GROUP_KEY}".lstrip("/")) or {}
        attributes = document.get("attributes")
        if not isinstance(attributes, dict) or attributes.get("schema") != SCHEMA_NAME:
            return document.get("node_type") == "group"
        self._note_take(folder)
        return False

    def _note_take(self, folder: str) -> None:
        place = place_of(f"{self.root.address.rstrip('/')}/{folder}")
        try:
            root = TakeRoot.read(place)
        except InputError as error:
            self._cannot_tell(folder, f"a take that cannot be read ({error.got}); look at it by hand")
            return
        subject = root.header.subject_id
        if root.state == "clearing" or (root.state != "complete" and subject == self.found.subject_id):
            remedy = f"finish it with `mien ingest {root.header.source} {place.address}`, or remove it by hand"
            self._cannot_tell(folder, f"a take that is not finished; {remedy}")
        elif subject in UNNAMED:
            self._cannot_tell(folder, "a take of nobody in particular (subject unknown); look at it by hand")
        elif subject == self.found.subject_id:
            results = dict(self._provenances(place))
            self.mine |= {digest(root), *results.values()}
            header = root.header
            self.found.takes.append(
                FoundTake(place.address, header.take_id, header.source, header.source_digest, tuple(results))
            )
        else:
            if _bare(subject) == _bare(self.found.subject_id):
                self.found.other_spellings.add(subject)
            self.others.add(digest(root))
            self.other_takes.append(place)

    def _provenances(self, place: Place) -> Iterator[tuple[str, str]]:
        """Step and run of every result in a take, finished or not, with its digest."""
        for step, run, attributes in self._runs(place):
            yield f"{step}/{run}", digest(attributes)

    def _runs(self, place: Place) -> Iterator[tuple[str, str, dict]]:
        for step in _groups(place, "results"):
            for run in _groups(place, f"results/{step}"):
                try:
                    attributes = read_group(place, f"results/{step}/{run}")
                except InputError as error:
                    address = f"{place.address}/results/{step}/{run}"
                    self.found.cannot_tell.append((address, f"a result that cannot be read ({error.got})"))
                    continue
                yield step, run, attributes or {}

    def results(self) -> None:
        """Results in other takes that were made from this subject's, or from such a result, and so on."""
        runs = [(place, *run) for place in self.other_takes for run in self._runs(place)]
        grown = True
        while grown:
            grown = False
            for run in list(runs):
                place, step, name, attributes = run
                if _inputs(attributes) & self.mine:
                    self.mine.add(digest(attributes))
                    self.found.results.append(FoundResult(place.address, step, name))
                    runs.remove(run)
                    grown = True
        self.others |= {digest(attributes) for *_, attributes in runs}

    def files(self) -> None:
        """Exported files: by their ledger, else by what they say themselves."""
        for folder, names in self.folders:
            try:
                ledger = read_ledger(self.root, folder)
            except InputError as error:
                self._cannot_tell(f"{folder}/{LEDGER}".lstrip("/"), f"a damaged ledger ({error.got})")
                ledger = {}
            for name in names:
                if name in ledger or name.endswith(EXPORT_SUFFIXES):
                    try:
                        self._judge_file(FoundFile(folder, name), ledger.get(name))
                    except (InputError, FileNotFoundError) as error:
                        self._cannot_tell(FoundFile(folder, name).key, f"it cannot be read ({error})")

    def _judge_file(self, file: FoundFile, entry: OutputEntry | None) -> None:
        said = self._said_by(file)
        if said == self.found.subject_id:
            self.found.files.append(file)
        elif said is not None and said not in UNNAMED:
            return
        elif entry is not None:
            owner = self._owner(entry)
            if owner == "another's":
                return
            if owner == "mine" and sha256_of_key(self.root, file.key) == entry.sha256:
                self.found.files.append(file)
            elif owner == "mine":
                self._cannot_tell(
                    file.key, "exported of this subject, and changed by somebody since; look at it by hand"
                )
            else:
                self._cannot_tell(
                    file.key, "exported from a take or result that is no longer there; look at it by hand"
                )
        elif said is not None:
            self._cannot_tell(file.key, "an exported file that does not say whom it shows; look at it by hand")

    def _owner(self, entry: OutputEntry) -> str:
        if entry.subject_id and entry.subject_id not in UNNAMED:
            return "mine" if entry.subject_id == self.found.subject_id else "another's"
        made_from = set(entry.made_from.split())
        if made_from & self.mine:
            return "mine"
        return "another's" if made_from & self.others else "nobody's"

    def _said_by(self, file: FoundFile) -> str | None:
        """The subject that an exported file itself names, empty if it names none, None if mien did not write it."""
        if file.name.endswith(".glb"):
            return _subject_of_glb(self.root, file.key)
        start = self.root.read(file.key, 0, REPORT_START_BYTES)
        if file.name.endswith(".webm"):
            return _subject_of_film(start)
        if file.name.endswith(".ply"):
            return (
                ""
                if start.startswith(b"ply\nformat binary_little_endian 1.0\ncomment metres, right-handed\n")
                else None
            )
        text = start.decode(errors="replace")
        page = next((name for name in PAGES if f">{name}<" in text), None)
        if not file.name.endswith(".html") or page is None:
            return None
        subject = html.unescape(text.partition(">Subject ")[2].partition("</p>")[0])
        return subject.partition(PAGES[page])[0] if PAGES[page] else subject

    def _note_recording(self, folder: str) -> None:
        try:
            card = read_document(self.root, f"{folder}/{MARKER}".lstrip("/")) or {}
        except InputError:
            return
        if card.get("subject_id") == self.found.subject_id:
            self.found.recordings.append(f"{self.root.address.rstrip('/')}/{folder}".rstrip("/"))

    def _is_folder(self, path: str) -> bool:
        if isinstance(self.root, LocalPlace):
            local = self.root.root / path
            if local.is_symlink():
                inside = local.resolve().is_relative_to(self.root.root.resolve())
                if not inside and local.is_dir():
                    self._cannot_tell(path, "a link that leads elsewhere; look at what it leads to by itself")
                return False
            return local.is_dir()
        return self.root.size(path) is None

    def _cannot_tell(self, path: str, why: str) -> None:
        self.found.cannot_tell.append((f"{self.root.address.rstrip('/')}/{path}".rstrip("/"), why))


def sha256_of_key(place: Place, key: str) -> str:
    """SHA-256 of what lies under a key, a block in memory at a time; FileNotFoundError if there is nothing."""
    sha256, start = hashlib.sha256(), 0
    while block := place.read(key, start, start + READ_BYTES):
        sha256.update(block)
        start += len(block)
    return sha256.hexdigest()


def _subject_of_film(start: bytes) -> str | None:
    place = start.find(FILM_MARK)
    if place < 0:
        return None
    text = start[place + len(FILM_MARK) :].decode("ascii", errors="replace")
    try:
        subject, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return ""
    return subject if isinstance(subject, str) else ""


def _groups(place: Place, folder: str) -> list[str]:
    return [name for name in place.children(folder) if name != GROUP_KEY]


def _inputs(attributes: dict) -> set[str]:
    provenance = attributes.get("provenance")
    inputs = provenance.get("inputs") if isinstance(provenance, dict) else None
    values = inputs.values() if isinstance(inputs, dict) else ()
    return {word for value in values if isinstance(value, str) for word in value.split()}


def _bare(subject_id: str) -> str:
    return "".join(sign for sign in subject_id.casefold() if sign.isalnum())


def _subject_of_glb(place: Place, key: str) -> str | None:
    """Source: glTF 2.0, section 4.4 (a header of 12 bytes, then a chunk of JSON with its length in front)."""
    start = place.read(key, 0, 20)
    if len(start) < 20 or start[:4] != b"glTF" or start[16:20] != b"JSON":
        return None
    (length,) = struct.unpack("<I", start[12:16])
    if length > LARGEST_GLB_HEADER_BYTES:
        return None
    try:
        extras = json.loads(place.read(key, 20, 20 + length))["asset"]["extras"]
        return str(extras["subject"]) if "tool_version" in extras else None
    except (ValueError, KeyError, TypeError):
        return None
