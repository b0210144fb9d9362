"""Whether a fit's cost grows no faster than its frames and its cameras: one person's take, cut shorter and thinner."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from fit_runs import FitRun, run_fit
from fit_takes import REPORTED, TakeConfig, record
from ingest_table import Table

PERSON = REPORTED[len(REPORTED) // 2]
FRAMES = (15, 30, 60)
MODULES = (1, 2, 4)
"""Modules of the desk rig, each a colour and a depth camera, from the second on: it looks from nearest to the front."""
ORDER = (1, 2, 0, 3)


def measure(folder: Path, table: Table) -> None:
    """A table on standard error; ratios of the cost of a frame, and of a camera, between the ends of each row."""
    whole = TakeConfig(PERSON)
    by_frames = [_fit(folder, replace(whole, first=frames if frames < whole.frames else 0)) for frames in FRAMES]
    by_modules = [_fit(folder, replace(whole, first=30, cameras=_cameras(count))) for count in MODULES]
    print("    frames  cameras  seconds  a frame  steps", file=sys.stderr)
    counts = [(frames, 8) for frames in FRAMES] + [(30, 2 * count) for count in MODULES]
    for (frames, cameras), run in zip(counts, by_frames + by_modules, strict=True):
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in run.seconds.items())
        row = f"    {frames:6d}  {cameras:7d}  {sum(run.seconds.values()):7.1f}  {run.seconds_per_frame:7.3f}  {steps}"
        print(row, file=sys.stderr, flush=True)
    first, last = by_frames[0], by_frames[-1]
    table.add("fit_frames_linearity", last.seconds_per_frame / first.seconds_per_frame, "ratio", 0.3)
    few, many = by_modules[0], by_modules[-1]
    growth = MODULES[-1] / MODULES[0]
    table.add("fit_cameras_linearity", many.seconds_per_frame / few.seconds_per_frame / growth, "ratio", 0.3)


def _cameras(modules: int) -> tuple[str, ...]:
    """In the rig's order, so that only their number differs."""
    return tuple(f"m{module}_{kind}" for module in sorted(ORDER[:modules]) for kind in ("rgb", "depth"))


def _fit(folder: Path, config: TakeConfig) -> FitRun:
    return run_fit(record(folder / "recordings", config), folder / "fits" / f"speed-{config.name}")
