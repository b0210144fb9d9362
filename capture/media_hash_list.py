"""ASC MHL: the film industry's list of what lies on a card, with a hash of every file.

A history is the folder `ascmhl/` inside the folder it describes, one file a generation; a packing list is one such file
that lies elsewhere, for cards that cannot be written. Both are checked by `ascmhl-debug verify`.
Source: ASC Media Hash List, version 2.0, and its reference implementation `ascmhl` 1.2.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click
from ascmhl import hashlist_xml_parser
from ascmhl.__version__ import ascmhl_folder_name, ascmhl_supported_hashformats
from ascmhl.generator import MHLGenerationCreationSession
from ascmhl.hasher import DirectoryHashContext, new_hasher_for_hash_type
from ascmhl.hashlist import MHLCreatorInfo, MHLHashList, MHLProcess, MHLProcessInfo, MHLTool
from ascmhl.history import MHLHistory
from ascmhl.ignore import MHLIgnoreSpec
from ascmhl.traverse import post_order_lexicographic
from ascmhl.utils import datetime_now_isostring

from geometry.errors import InputError
from storage.provenance import READ_BYTES, tool_version

HISTORY_FOLDER: str = ascmhl_folder_name
"""Name of the folder that holds a history."""
HASH_FORMAT = "xxh64"
"""What new entries are hashed with: every offload tool reads it, and it is faster than any disk."""
LARGEST_HISTORY_BYTES = 2**28
"""A million files take 250 MB; more than this is no list that can be held in memory."""
_LIBRARY_ERRORS = (
    click.ClickException, SyntaxError, OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError,
)  # fmt: skip
"""What the library raises on damaged lists; lxml's errors are SyntaxErrors."""


@dataclass(frozen=True)
class HashedFile:
    """One file, read once."""

    path: str
    """Relative to the folder that is listed, with slashes."""
    size: int
    """Bytes."""
    modified_ns: int
    """When it was last changed, nanoseconds since 1970."""
    sha256: str
    """As the take knows it."""
    media: Mapping[str, str]
    """By ASC MHL's name of the format."""


def hash_file(base: Path, path: str, formats: Iterable[str], read: Callable[[int], None]) -> HashedFile:
    """Read a file once for all its hashes; `read` is called with the bytes of each block and may raise to stop.

    Raises OSError where it cannot be read.
    """
    sha256, media, size = hashlib.sha256(), {name: new_hasher_for_hash_type(name) for name in formats}, 0
    with (base / path).open("rb") as file:
        modified_ns = os.fstat(file.fileno()).st_mtime_ns
        while block := file.read(READ_BYTES):
            sha256.update(block)
            for hasher in media.values():
                hasher.update(block)
            size += len(block)
            read(len(block))
    digests = {name: hasher.string_digest() for name, hasher in media.items()}
    return HashedFile(path, size, modified_ns, sha256.hexdigest(), digests)


@dataclass(frozen=True, eq=False)
class MediaHistory:
    """The ASC MHL history of a folder, with those of the folders in it; empty where there is none."""

    root: Path
    """The folder."""
    history: MHLHistory
    """The library's own."""

    @classmethod
    def read(cls, root: Path) -> MediaHistory:
        """The history at a folder; InputError if it is damaged, or was changed since it was written."""
        size = sum(path.stat().st_size for path in (root / HISTORY_FOLDER).glob("*") if path.is_file())
        if size > LARGEST_HISTORY_BYTES:
            raise _damaged(root, f"{size} bytes")
        with _errors_named(root):
            return cls(root, MHLHistory.load_from_path(str(root)))

    def formats(self, path: str) -> tuple[str, ...]:
        """The formats that a file must be hashed in: those of its earlier entries, and ours."""
        history, relative = self.history.find_history_for_path(path)
        earlier = [name for name in history.find_existing_hash_formats_for_path(relative) if name in _KNOWN]
        return tuple(dict.fromkeys([*earlier, HASH_FORMAT]))

    def contradiction(self, file: HashedFile) -> str:
        """How a file differs from what an earlier generation says of it, in words; empty if it does not."""
        history, relative = self.history.find_history_for_path(file.path)
        for name, value in file.media.items():
            entry = history.find_first_hash_entry_for_path(relative, name)
            if entry is not None and entry.hash_string != value:
                return f"its {name} is {value}, and was {entry.hash_string} in the ASC MHL history beside it"
        return ""

    def append(self, files: Mapping[str, HashedFile], ignored: tuple[str, ...], whole_folder: bool) -> Path:
        """Write a new generation of these files, and of their folders if they are the whole; the file written.

        Raises InputError where the folder cannot be written, or other files have come meanwhile.
        """
        spec = MHLIgnoreSpec(self.history.latest_ignore_patterns(), list(ignored))
        session = MHLGenerationCreationSession(self.history, spec)
        folders = [Path(str(history.asc_mhl_path)) for history in MHLHistory.walk_child_histories(self.history)]
        with _errors_named(self.root), _undone_if_it_fails(folders):
            _add_files(session, self, files, spec if whole_folder else None)
            session.commit(_creator(), _process())
            return Path(str(self.history.hash_lists[-1].file_path))


def packing_list(root: Path, files: Mapping[str, HashedFile], ignored: tuple[str, ...], whole_folder: bool) -> bytes:
    """One ASC MHL file about a folder, to lie elsewhere; `ascmhl-debug verify --packing_list FILE ROOT` checks it."""
    history = MHLHistory()
    history.asc_mhl_path = str(root / HISTORY_FOLDER)
    spec = MHLIgnoreSpec(None, list(ignored))
    session = MHLGenerationCreationSession(history, spec)
    with _errors_named(root), tempfile.TemporaryDirectory(prefix="mien-mhl-") as folder:
        _add_files(session, MediaHistory(root, history), files, spec if whole_folder else None)
        hash_list: MHLHashList = session.new_hash_lists[history]
        hash_list.creator_info = _creator()
        hash_list.process_info.process = _process().process
        hash_list.process_info.ignore_spec = spec
        if (root_hash := hash_list.process_info.root_media_hash) is not None:
            root_hash.path = str(root)
        path = Path(folder) / "packing_list.mhl"
        hashlist_xml_parser.write_hash_list(hash_list, str(path))
        return path.read_bytes()


_KNOWN = frozenset(ascmhl_supported_hashformats)


def _add_files(
    session: MHLGenerationCreationSession,
    listed: MediaHistory,
    files: Mapping[str, HashedFile],
    whole: MHLIgnoreSpec | None,
) -> None:
    """Enter every file; with ignore patterns given, every folder with its content and structure hashes as well."""
    if whole is None:
        for file in files.values():
            _add_file(session, listed, file)
        return
    content: dict[str, str] = {}
    structure: dict[str, str] = {}
    for folder, children in post_order_lexicographic(str(listed.root), whole.get_path_spec()):
        hashes = DirectoryHashContext(HASH_FORMAT)
        for name, is_folder in children:
            path = os.path.join(folder, name)  # noqa: PTH118 - the library's keys are text
            if is_folder:
                hashes.append_directory_hashes(path, content[path], structure[path])
                continue
            file = files.get(Path(path).relative_to(listed.root).as_posix())
            if file is None:
                raise InputError(
                    "a folder that stays as it is", f"the new file {path}", "verify again when copying ends"
                )
            _add_file(session, listed, file)
            hashes.append_file_hash(path, file.media[HASH_FORMAT])
        content[folder], structure[folder] = hashes.final_content_hash_str(), hashes.final_structure_hash_str()
        changed = datetime.fromtimestamp(Path(folder).stat().st_mtime)
        session.append_multiple_format_directory_hashes(
            folder, changed, {HASH_FORMAT: content[folder]}, {HASH_FORMAT: structure[folder]}
        )


def _add_file(session: MHLGenerationCreationSession, listed: MediaHistory, file: HashedFile) -> None:
    changed = datetime.fromtimestamp(file.modified_ns / 1e9)
    for name, value in file.media.items():
        session.append_file_hash(str(listed.root / file.path), file.size, changed, name, value)


def _creator() -> MHLCreatorInfo:
    creator = MHLCreatorInfo()
    creator.tool = MHLTool("mien", tool_version())
    creator.creation_date = datetime_now_isostring()
    creator.host_name = platform.node()
    return creator


def _process() -> MHLProcessInfo:
    process = MHLProcessInfo()
    process.process = MHLProcess("in-place")
    return process


@contextmanager
def _errors_named(root: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except _LIBRARY_ERRORS as error:
        reason = error.message if isinstance(error, click.ClickException) else f"{type(error).__name__}: {error}"
        raise _damaged(root, reason) from error


@contextmanager
def _undone_if_it_fails(folders: list[Path]) -> Iterator[None]:
    """Bring histories back to what they were: the library rewrites the chain in place, and a card may be full."""
    before = {path: path.read_bytes() for folder in folders for path in folder.glob("*.xml")}
    lists = {path for folder in folders for path in folder.glob("*")}
    made = [folder for folder in folders if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in folders:
            for path in set(folder.glob("*")) - lists:
                path.unlink()
        for path, data in before.items():
            if path.read_bytes() != data:
                path.write_bytes(data)
        for folder in made:
            if folder.exists():
                folder.rmdir()
        raise


def _damaged(root: Path, reason: str) -> InputError:
    remedy = f"look at {root / HISTORY_FOLDER}; if it cannot be trusted, restore it or move it away, and verify again"
    return InputError(f"a whole and writable ASC MHL history at {root}", reason, remedy)
