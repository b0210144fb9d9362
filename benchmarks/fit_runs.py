"""`mien fit` as a user runs it, in a process of its own on a take without results, and its figures beside the truth."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fit_takes import fresh_copy

from evaluation.heads import FittedHead, head_figures
from evaluation.truth import find_truth
from storage.take import Take

CODE = "from workflows.cli import main; main()"
STEP = re.compile(r"^  (\S.*?)\s+([0-9.]+) s$", re.MULTILINE)
"""A step and its seconds, as `workflows.progress` prints them where there is no terminal."""
IDENTITY = "person"
"""The step that finds the person; all others are counted by the frame."""


@dataclass(frozen=True)
class FitRun:
    """One run of `mien fit`."""

    take: Path
    """The take with its result."""
    frames: int
    """Frame sets of it."""
    seconds: dict[str, float]
    """By step, from the opened take to the stored result; landmarks included, starting Python left out."""
    wall_s: float
    """Of the whole process."""
    stored: dict[str, Any]
    """What the command answered."""

    @property
    def seconds_per_frame(self) -> float:
        """Without the person's own step."""
        return sum(s for step, s in self.seconds.items() if step != IDENTITY) / self.frames

    @property
    def identity_s(self) -> float | None:
        """Seconds for the person; None where the fit has no such step."""
        return self.seconds.get(IDENTITY)

    def figures(self) -> dict[str, float]:
        """As `mien evaluate` gives them, but for those against depth, which need no truth and take long."""
        take = Take.open(self.take)
        truth = find_truth(take, None)
        assert truth is not None, f"{self.take} is simulated"
        return head_figures(take, FittedHead.read(take), truth)

    def vertices(self) -> np.ndarray:
        """Fitted, world of the take, metres."""
        return np.asarray(FittedHead.read(Take.open(self.take)).vertices)


def run_fit(take: Path, place: Path, *options: str) -> FitRun:
    """Fit a copy of the take at `place`. Raises RuntimeError with the command's own words when it fails."""
    copy = fresh_copy(take, place / "take.zarr")
    command = [sys.executable, "-c", CODE, "fit", str(copy), *options, "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"mien fit {' '.join(options)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    seconds = {step.strip(): float(value) for step, value in STEP.findall(done.stderr)}
    return FitRun(copy, Take.open(copy).frame_count, seconds, wall_s, json.loads(done.stdout))


@cache
def knows_option(option: str) -> bool:
    """Whether `mien fit` has an option."""
    command = [sys.executable, "-c", CODE, "fit", "--help"]
    return option in subprocess.run(command, capture_output=True, text=True, check=True).stdout
