"""Whether the result depends on where a take is cut into segments: the same take in one and in eight."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from fit_runs import knows_option, run_fit
from fit_takes import REPORTED, TakeConfig, record
from ingest_table import Table

PERSON = REPORTED[4 % len(REPORTED)]
CUTS = (1, 8)


def measure(folder: Path, table: Table) -> None:
    """Largest distance of any vertex in any frame, mm."""
    if not knows_option("--segments"):
        print("    mien fit has no --segments: nothing to compare", file=sys.stderr, flush=True)
        return
    take = record(folder / "recordings", TakeConfig(PERSON))
    whole, cut = (run_fit(take, folder / "fits" / f"segments-{n}", "--segments", str(n)).vertices() for n in CUTS)
    apart_mm = np.linalg.norm(whole.astype(np.float64) - cut, axis=-1) * 1000
    table.add("segments_vertex_mm_max", float(apart_mm.max()), "mm", 0.5)
    print(f"    by frame, median {np.median(apart_mm.max(1)):.4f} mm", file=sys.stderr, flush=True)
