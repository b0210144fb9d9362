"""`mien ingest`: the portions of a recording as a Dask graph, one task for each, into one take."""

from __future__ import annotations

from pathlib import Path

import cv2

from capture.ingest import IngestConfig, plan_ingest
from capture.ingest_finish import finish_ingest
from capture.ingest_portions import run_portion
from storage.take import Take
from workflows.progress import Report, say
from workflows.scheduling import run_tasks


def ingest(
    source: Path,
    take_path: Path | str,
    config: IngestConfig,
    *,
    scheduler: str = "threads",
    overwrite: bool = False,
    progress: Report | None = None,
) -> Take:
    """The take of a recording, finished and opened; `progress` gets frames done and all frames.

    A killed or interrupted ingest of the same recording and settings goes on where it stopped and ends with the same
    bytes (`log/` aside); a finished one is returned as it is. `scheduler`: see `workflows.scheduling`.

    Raises InputError as `plan_ingest`, `run_portion` and `finish_ingest` do.
    """
    plan = plan_ingest(Path(source), take_path, config, overwrite)
    if isinstance(plan, Take):
        return plan
    with plan:
        for note in plan.notes:
            say(f"  {note}")
        done = plan.frame_count - plan.frames_left

        def count(frames: int) -> None:
            nonlocal done
            done += frames
            if progress is not None and frames:
                progress(done, plan.frame_count)

        if progress is not None:
            progress(done, plan.frame_count)
        threads = cv2.getNumThreads()
        try:
            run_tasks(run_portion, plan, plan.portions, scheduler, count)
        finally:
            cv2.setNumThreads(threads)
        take = finish_ingest(plan)
    for note in take.sync_attributes.get("notes", ()):
        say(f"  {note}")
    return take
