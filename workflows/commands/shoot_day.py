"""The shoot day, and what comes long after it: verify, forget, and the watch of `mien ingest --watch`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from workflows.answers import print_json
from workflows.commands.arguments import JsonFlag, OptionalPath, Source, TakePath

if TYPE_CHECKING:
    from capture.ingest import IngestConfig
    from storage.subject_search import SubjectHoldings
    from workflows.watching import WatchConfig

Subject = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="SUBJECT")]]
Root = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="ROOT")]]


def verify(source: Source, take: TakePath, mhl: OptionalPath = None, as_json: JsonFlag = False) -> int:
    """May the recording be deleted? Hashes and decodes all of it again and compares it with the take, bit for bit.

    Prints SAFE TO DELETE, or NOT SAFE with every reason and exits with 1. Writes an ASC MHL list of the recording.

    Args:
        source: the recording that the take was made of.
        take: the take.
        mhl: where the ASC MHL list goes; else into the recording's own ascmhl folder, or beside the take.
    """
    from workflows.progress import step
    from workflows.verifying import verify as verify_recording

    with step("verify") as progress:
        done = verify_recording(source, take, mhl, progress)
    if as_json:
        print_json(done.to_json())
    else:
        print(done.as_text())
    return done.exit_code


def forget(subject: Subject, root: Root, yes: bool = False, as_json: JsonFlag = False) -> int:
    """Remove every take and every derived result of a subject; exits with 1 when something may still show the subject.

    Without --yes it lists what it would remove and asks for the subject's id; where nobody can answer, it removes
    nothing and exits with 2.

    Args:
        subject: the subject's id, exactly as takes have it.
        root: folder or URL to search, at any depth.
        yes: remove without asking.
    """
    from workflows.forgetting import forget as forget_subject

    done = forget_subject(subject, root, lambda holdings: yes or _confirmed(holdings))
    if as_json:
        print_json(done.to_json())
    else:
        print(done.as_text())
    return done.exit_code


def watch_folder(folder: Path, takes: Path | None, config: IngestConfig, options: WatchConfig, as_json: bool) -> int:
    """Ingest and check what lands in a folder; what `mien ingest --watch FOLDER` does.

    `takes` is `FOLDER-takes` beside the folder where it is not given: what is wiped with the folder is no copy.
    """
    from workflows.watching import watch

    folder = folder.absolute()
    outcome = watch(folder, takes or folder.with_name(f"{folder.name}-takes"), config, options)
    if as_json:
        print_json(outcome.to_json())
    return outcome.exit_code


def _confirmed(holdings: SubjectHoldings) -> bool:
    """Whether somebody at the terminal types the subject's id."""
    from workflows.answers import printable
    from workflows.forgetting import listed
    from workflows.progress import say

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    say(printable("\n".join(["this will be removed:", *(f"  {line}" for line in listed(holdings))])))
    say(f"type the subject's id to remove it ({holdings.subject_id}):")
    return sys.stdin.readline().strip() == holdings.subject_id
