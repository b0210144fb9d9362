"""The same fit of a desk take on a GPU: frames a second from the opened take to the stored result."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from fit_runs import run_fit
from fit_takes import REPORTED, TakeConfig, record
from ingest_table import Table


def measure(folder: Path, table: Table) -> None:
    """Landmarks included, the person apart; the second of two runs, because the first compiles kernels."""
    key = "fit_gpu_frames_per_second"
    if not torch.cuda.is_available():
        table.absent[key] = "cuda"
        return
    take = record(folder / "recordings", TakeConfig(REPORTED[0]))
    runs = [run_fit(take, folder / "fits" / f"gpu-{number}", "--device", "cuda") for number in range(2)]
    print(f"    on {torch.cuda.get_device_name()}: {runs[1].seconds}", file=sys.stderr, flush=True)
    table.add(key, 1 / runs[1].seconds_per_frame, "1/s", 0.3, "higher")
