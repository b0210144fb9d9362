"""The headline: six people of all ages, sexes and skin types on the desk rig, calibrated from a waved board."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from fit_runs import FitRun, run_fit
from fit_takes import REPORTED, TakeConfig, record
from ingest_table import Table

UNITS = {
    "vertex_error_mm_median": "mm",
    "vertex_error_mm_p95": "mm",
    "expression_ratio": "1",
    "expression_mae_active": "1",
    "gaze_deg": "deg",
    "jitter_mm_per_frame2": "mm",
    "blink_amplitude_ratio": "1",
}
"""Figures of which the people's mean is told."""
SHORT: tuple[str, ...] = ("vertex_error_mm_median", "vertex_error_mm_p95", "expression_ratio", "expression_mae_active")
TOLERANCE = 0.1


def measure(folder: Path, table: Table) -> None:
    """All figures, by person on standard error and their mean in the table; then the seconds."""
    runs, rows = fit_people(folder, REPORTED)
    add_means(table, rows)
    add_worst(table, rows)
    add_seconds(table, runs)


def fit_people(
    folder: Path, people: tuple[int, ...], of: TakeConfig | None = None
) -> tuple[list[FitRun], list[dict[str, float]]]:
    """Fit each person's take and compare; `of` tells what the takes have in common, the subject apart."""
    of = of or TakeConfig(0)
    runs, rows = [], []
    for person in people:
        config = replace(of, subject=person)
        run = run_fit(record(folder / "recordings", config), folder / "fits" / config.name)
        runs.append(run)
        rows.append(run.figures())
        told = ", ".join(f"{key} {value:.3g}" for key, value in rows[-1].items())
        print(f"    {config.name}: {told}", file=sys.stderr, flush=True)
    return runs, rows


def add_means(table: Table, rows: list[dict[str, float]], prefix: str = "", keys: tuple[str, ...] = ()) -> None:
    """The mean over people of each figure; one that a person lacks is not a number, and reaches no target."""
    for key in keys or tuple(UNITS):
        mean = float(np.mean([row.get(key, np.nan) for row in rows]))
        table.add(f"{prefix}{key}", mean, UNITS[key], TOLERANCE, "higher" if key.startswith("blink") else "lower")


def add_worst(table: Table, rows: list[dict[str, float]]) -> None:
    """What must be nought for every one of them, and the worst person's errors."""
    table.add("lag_frames", max(abs(row.get("lag_frames", np.nan)) for row in rows), "frames", 0.0)
    lag = max(abs(row.get("lag_frames_fine", np.nan)) for row in rows)
    table.add("lag_frames_fine", lag, "frames", 1.0)
    table.add("silent_gaps", sum(row.get("silent_gaps", np.nan) for row in rows), "frames", 0.0)
    lost = max(row.get("vertex_error_mm_worst_frame", np.nan) for row in rows)
    table.add("vertex_error_mm_worst_frame", lost, "mm", 0.3)
    for key in SHORT[:3]:
        table.add(f"worst_{key}", max(row.get(key, np.nan) for row in rows), UNITS[key], 0.2)


def add_seconds(table: Table, runs: list[FitRun]) -> None:
    """Medians over the takes: per frame with landmarks, and for the person apart."""
    table.add("fit_seconds_per_frame", float(np.median([run.seconds_per_frame for run in runs])), "s", 0.3)
    identity = [run.identity_s for run in runs if run.identity_s is not None]
    if len(identity) == len(runs):
        table.add("fit_identity_seconds", float(np.median(identity)), "s", 0.3)
    print(f"    seconds by step: {runs[0].seconds}", file=sys.stderr, flush=True)
