"""Many takes in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from workflows.answers import print_json
from workflows.commands.arguments import JsonFlag

Manifest = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="MANIFEST")]]


def batch(
    manifest: Manifest,
    share_identity: bool = False,
    segments: int | None = None,
    scheduler: str = "threads",
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Fit every take of a list; goes on after one that fails, names it in the end and exits with 1.

    Run again, it leaves alone what is finished and goes on with the rest.

    Args:
        manifest: a text file with the path or URL of a take on each line (`#` begins a comment), or a CSV file with a
            column `take`; paths are relative to its folder.
        share_identity: one head and one texture for all takes of a subject, learnt from the take that shows most.
        segments: stretches of a take that are tracked as tasks of their own; 64 frames each if left out.
        scheduler: threads, processes, or tcp://host:port of a Dask scheduler.
        overwrite: replace fits made otherwise.
    """
    from workflows.batch_manifest import read_manifest
    from workflows.batching import BatchConfig, fit_batch

    config = BatchConfig(share_identity=share_identity, segments=segments, scheduler=scheduler, overwrite=overwrite)
    done = fit_batch(read_manifest(manifest), config)
    if as_json:
        print_json(done.to_json())
    else:
        print(done.as_text())
    return done.exit_code
