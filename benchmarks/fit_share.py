"""One person, many takes: a second take fitted with the first one's identity, byte for byte the same neutral head."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from fit_desk import SHORT, TOLERANCE, UNITS
from fit_runs import FitRun, knows_option, run_fit
from fit_takes import REPORTED, TakeConfig, record
from ingest_table import Table

from storage.take import Take

FIRST = 20
"""Frames of the second take, part of the first one's performance."""


def measure(folder: Path, table: Table) -> None:
    """Bytes of the neutral head that differ, the second take's errors, and its seconds a frame."""
    if not knows_option("--identity-from"):
        print("    mien fit has no --identity-from: nothing to compare", file=sys.stderr, flush=True)
        return
    whole = TakeConfig(REPORTED[0])
    first = run_fit(record(folder / "recordings", whole), folder / "fits" / "share-first")
    part = record(folder / "recordings", replace(whole, first=FIRST))
    second = run_fit(part, folder / "fits" / "share-second", "--identity-from", str(first.take))
    differing = sum(a != b for a, b in zip(_rest_bytes(first), _rest_bytes(second), strict=True))
    table.add("shared_rest_bytes_differing", differing, "bytes", 0.0)
    figures = second.figures()
    for key in SHORT[:1]:
        table.add(f"shared_{key}", figures.get(key, np.nan), UNITS[key], TOLERANCE)


def _rest_bytes(run: FitRun) -> bytes:
    return np.ascontiguousarray(np.asarray(Take.open(run.take).results.read("fit")["rest_vertices"])).tobytes()
