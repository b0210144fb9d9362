"""Whether an ingest that is killed at any moment, again and again, ends with the bytes of one that never was."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ingest_source import perfect_pictures, write_source
from ingest_table import Table

from storage.provenance import commit_id

KILLS = 20
FRAMES = 24
"""Of eight cameras: two shards each."""
SEED = 20
CODE = "import sys; from workflows.cli import main; main(['ingest', *sys.argv[1:]])"


def measure(folder: Path, table: Table) -> None:
    """Kill one ingest 20 times at random moments (starting over whenever it got to its end), and compare bytes."""
    rig, pictures = perfect_pictures(folder / "studio")
    source = write_source(folder / "source", rig, pictures, FRAMES, 2.0)
    commit = commit_id.__wrapped__()
    started = time.perf_counter()
    _ingest(source, folder / "whole").wait()
    whole_s = time.perf_counter() - started
    wanted = _bytes_of(folder / "whole")
    random = np.random.default_rng(SEED)
    kills, mismatches, target = 0, 0, folder / "killed"
    while kills < KILLS:
        child = _ingest(source, target)
        try:
            child.wait(random.uniform(0.1, 1.0) * whole_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            kills += 1
        else:
            mismatches += _bytes_of(target) != wanted
            shutil.rmtree(target)
    if _ingest(source, target).wait():
        raise RuntimeError("the ingest did not resume")
    mismatches += _bytes_of(target) != wanted
    if commit_id.__wrapped__() != commit:
        raise RuntimeError("the code was committed or changed meanwhile, which takes record: measure again")
    table.add("ingest_kills", kills, "kills", 0.0, "higher")
    table.add("ingest_kill_mismatches", mismatches, "takes", 0.0)


def _ingest(source: Path, take: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CODE, str(source), str(take)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _bytes_of(take: Path) -> dict[str, str]:
    """SHA-256 of every file outside `log/`."""
    files = (path for path in take.rglob("*") if path.is_file() and path.relative_to(take).parts[0] != "log")
    return {str(path.relative_to(take)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
