"""Our benchmarks: each simulates or takes a recording, runs the main job as a user does, and evaluates the result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from geometry.errors import InputError

TARGETS = Path(__file__).resolve().parent.parent / "benchmarks" / "targets.toml"
ACCURACY_TOLERANCE, TIME_TOLERANCE = 0.1, 0.5
"""Relative changes that mean something: results repeat exactly, machines' speed does not."""


@dataclass(frozen=True)
class Metric:
    """One figure of a benchmark."""

    key: str
    """Name, as in targets.toml."""
    value: float
    """What came out."""
    unit: str
    """mm, s, GiB or 1."""
    direction: Literal["lower", "higher"]
    """Which way is better."""
    rel_tol: float
    """Relative change below which two values count as equal."""


def desk(folder: Path) -> list[Metric]:
    """The demo: 30 frames of a simulated person on the desk rig with the pinned noise."""
    _mien("simulate", folder / "recording", "--preset", "desk", "--frames", "30", "--noise", "kinect")
    return _job(folder / "recording", folder / "out")


def portrait(folder: Path) -> list[Metric]:
    """One iPhone portrait from the folder of real recordings."""
    return _job(_real("rgbd/truedepth_portraits/heic_face_data.heic"), folder / "out")


def scan(folder: Path) -> list[Metric]:
    """A real head scan as the subject of the simulated desk rig."""
    _mien(
        "simulate", folder / "recording", "--scan", _real("meshes/menpo3d/james.obj"), "--unit", "mm", "--frames", "8"
    )
    return _job(folder / "recording", folder / "out")


BENCHMARKS: dict[str, Callable[[Path], list[Metric]]] = {"desk": desk, "portrait": portrait, "scan": scan}


def bench(name: str | None) -> dict[str, list[Metric]]:
    """Metrics of one benchmark or of all."""
    if name is not None and name not in BENCHMARKS:
        raise InputError(f"a benchmark ({', '.join(BENCHMARKS)})", repr(name), "choose one of these, or none for all")
    results = {}
    for each in [name] if name else list(BENCHMARKS):
        with tempfile.TemporaryDirectory(prefix=f"mien-bench-{each}-") as folder:
            results[each] = BENCHMARKS[each](Path(folder))
    return results


def shortfalls(results: dict[str, list[Metric]]) -> list[str]:
    """What misses its target, in words; a target without a figure is missed too."""
    targets = tomllib.loads(TARGETS.read_text())
    missed = []
    for name, metrics in results.items():
        values = {metric.key: metric.value for metric in metrics}
        for key, target in targets.get(name, {}).items():
            value = values.get(key)
            if value is None:
                missed.append(f"{name}: {key} was not measured")
            elif "at_most" in target and not value <= target["at_most"]:
                missed.append(f"{name}: {key} is {value:.4g}, above {target['at_most']}")
            elif "at_least" in target and not value >= target["at_least"]:
                missed.append(f"{name}: {key} is {value:.4g}, below {target['at_least']}")
    return missed


def as_json(results: dict[str, list[Metric]]) -> dict[str, list[dict[str, object]]]:
    """One list of metrics; with several benchmarks, keys carry their names."""
    several = len(results) > 1
    rows = []
    for name, metrics in results.items():
        rows += [asdict(metric) | ({"key": f"{name}.{metric.key}"} if several else {}) for metric in metrics]
    return {"metrics": rows}


def _job(source: Path, out: Path) -> list[Metric]:
    started = time.monotonic()
    peak_gib = _peak_gib(_command("run", source, out))
    seconds = time.monotonic() - started
    figures = json.loads(_mien("evaluate", out / "take.zarr", "--json"))
    metrics = [
        Metric(key, float(value), "mm" if "_mm_" in key else "1", _direction(key), ACCURACY_TOLERANCE)
        for key, value in figures.items()
        if key != "frame_sets"
    ]
    metrics.append(Metric("job_seconds", seconds, "s", "lower", TIME_TOLERANCE))
    metrics.append(Metric("job_peak_gib", peak_gib, "GiB", "lower", ACCURACY_TOLERANCE))
    return metrics


def _direction(key: str) -> Literal["lower", "higher"]:
    return "higher" if "f_score" in key else "lower"


def _mien(*arguments: object) -> str:
    """Run a command in a process of its own, so that its time and memory are its own."""
    done = subprocess.run(_command(*arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"`mien {arguments[0]}` to end well", done.stderr.strip(), "mend what it names")
    return done.stdout


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from workflows.cli import main; main()", *map(str, arguments)]


def _peak_gib(command: list[str]) -> float:
    """Run a command and give the most memory that its process held, GiB."""
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=messages)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            messages.seek(0)
            raise InputError("the main job to end well", messages.read().strip(), "mend what it names")
    return usage.ru_maxrss / 2**20


def _real(path: str) -> Path:
    folder = Path(os.environ.get("MIEN_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / path).is_file():
        raise InputError(
            f"{path} in the folder of real recordings", f"{folder} without it", "set MIEN_DATA to the folder"
        )
    return folder / path
