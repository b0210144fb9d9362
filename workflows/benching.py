"""Our benchmarks: each simulates or takes a recording, runs the main job as a user does, and evaluates the result.

The rasterizer's and the ingest's are scripts of their own in `benchmarks/`, because they stand beside peers that mien
does not import. The gate judges figures twice: by the targets, and by the committed baseline, than which none may be
worse by more than its relative tolerance. Times are no part of the second, since machines differ; ratios, accuracies
and memory are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from geometry.errors import InputError

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
TARGETS, BASELINE = FOLDER / "targets.toml", FOLDER / "baseline.json"
ACCURACY_TOLERANCE, MACHINE_TOLERANCE = 0.1, 0.5
"""Relative changes that mean something: results repeat exactly, machines' speed does not."""
TIMES = ("s", "ms")
"""Units that do not compare between machines."""
NEEDS = {
    "cuda": "CUDA",
    "pytorch3d": "PyTorch3D",
    "nvdiffrast": "nvdiffrast",
    "peers": "stored result of PyTorch3D (MIEN_DATA)",
    "data": "folder of real recordings (MIEN_DATA)",
    "cores": "second core",
}
"""What a figure may need that not every machine has; `needs` in the targets and `absent` in the answer name it."""


@dataclass(frozen=True)
class Metric:
    """One figure of a benchmark."""

    key: str
    """Name, as in targets.toml."""
    value: float
    """What came out."""
    unit: str
    """mm, s, ms, GiB, B or 1."""
    direction: Literal["lower", "higher"]
    """Which way is better."""
    rel_tol: float
    """Relative change below which two values count as equal."""


@dataclass(frozen=True)
class Figures:
    """What came out of one benchmark."""

    metrics: list[Metric]
    """In the order in which they were measured."""
    absent: dict[str, str] = field(default_factory=dict)
    """Keys that could not be measured on this machine, and which of NEEDS it lacks."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says, in words."""

    missed: list[str]
    """Figures that miss their target or are worse than the baseline."""
    not_counted: list[str]
    """Figures that this machine cannot measure."""


def desk(folder: Path) -> Figures:
    """The demo: 30 frames of a simulated person on the desk rig with the pinned noise."""
    _mien("simulate", folder / "recording", "--preset", "desk", "--frames", "30", "--noise", "kinect")
    return _job(folder / "recording", folder / "out")


def portrait(folder: Path) -> Figures:
    """One iPhone portrait from the folder of real recordings."""
    return _job(_real("rgbd/truedepth_portraits/heic_face_data.heic"), folder / "out")


def scan(folder: Path) -> Figures:
    """A real head scan as the subject of the simulated desk rig."""
    _mien(
        "simulate", folder / "recording", "--scan", _real("meshes/menpo3d/james.obj"), "--unit", "mm", "--frames", "8"
    )
    return _job(folder / "recording", folder / "out")


def raster(folder: Path) -> Figures:
    """The rasterizer beside its peers."""
    return _script("raster.py")


def ingest(folder: Path) -> Figures:
    """The ingest beside plain decoding; clocks, calibration and real recordings against their truth."""
    return _script("ingest.py")


def fit(folder: Path) -> Figures:
    """The head fit on simulated people whom no model holds, seen by calibrated rigs, beside Adam and MediaPipe."""
    return _script("fit.py")


def fit_scan(folder: Path) -> Figures:
    """Real head scans brought to the head's topology, beside their own points, annotation and numbering."""
    return _script("fit_scan.py")


def fuse(folder: Path) -> Figures:
    """The fused surface of simulated people beside Open3D's volumes and Poisson surfaces."""
    return _script("fuse.py")


def _script(name: str) -> Figures:
    """What a script of `benchmarks/` measures; its rows go to standard error as they come."""
    command = [sys.executable, str(FOLDER / name), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise InputError(f"benchmarks/{name} to end well", f"exit code {done.returncode}", "mend what it names above")
    answer = json.loads(done.stdout)
    return Figures([Metric(**row) for row in answer["metrics"]], answer["absent"])


BENCHMARKS: dict[str, Callable[[Path], Figures]] = {
    "desk": desk,
    "portrait": portrait,
    "scan": scan,
    "raster": raster,
    "ingest": ingest,
    "fit": fit,
    "fit-scan": fit_scan,
    "fuse": fuse,
}


def bench(name: str | None) -> dict[str, Figures]:
    """Figures of one benchmark or of all."""
    if name is not None and name not in BENCHMARKS:
        raise InputError(f"a benchmark ({', '.join(BENCHMARKS)})", repr(name), "choose one of these, or none for all")
    results = {}
    for each in [name] if name else list(BENCHMARKS):
        with tempfile.TemporaryDirectory(prefix=f"mien-bench-{each}-") as folder:
            results[each] = BENCHMARKS[each](Path(folder))
    return results


def judge(results: dict[str, Figures], targets: Path | None = None, baseline: Path | None = None) -> Verdict:
    """What misses its target or is worse than the baseline; a figure that is missing without excuse is missed too."""
    missed, not_counted = [], []
    bounds, before = tomllib.loads((targets or TARGETS).read_text()), _read_baseline(baseline or BASELINE)
    for name, figures in results.items():
        values = {metric.key: metric.value for metric in figures.metrics}
        for key, target in bounds.get(name, {}).items():
            value, lacks = values.get(key), figures.absent.get(key)
            if value is None and lacks is not None and lacks in target.get("needs", []):
                not_counted.append(f"{name}: {key} (needs {NEEDS[lacks]})")
            elif value is None:
                missed.append(f"{name}: {key} was not measured")
            elif "at_most" in target and not value <= target["at_most"]:
                missed.append(f"{name}: {key} is {value:.4g}, above {target['at_most']}")
            elif "at_least" in target and not value >= target["at_least"]:
                missed.append(f"{name}: {key} is {value:.4g}, below {target['at_least']}")
        known = before.get(name, {})
        missed += [
            f"{name}: {metric.key} is {metric.value:.4g}, worse than the baseline's {known[metric.key]['value']:.4g}"
            for metric in figures.metrics
            if metric.key in known and _is_worse(metric, known[metric.key]["value"])
        ]
        gone = sorted(set(known) - set(values) - set(figures.absent) - set(bounds.get(name, {})))
        missed += [f"{name}: {key} of the baseline was not measured" for key in gone]
    return Verdict(missed, not_counted)


def update_baseline(results: dict[str, Figures], baseline: Path | None = None) -> None:
    """Make what was run the baseline; entries stay that this machine cannot measure and of benchmarks not run."""
    baseline = baseline or BASELINE
    entries, machine = _read_baseline(baseline), machine_kind()
    for name, figures in results.items():
        kept = {key: entry for key, entry in entries.get(name, {}).items() if key in figures.absent}
        new = {
            metric.key: {"value": metric.value, "unit": metric.unit, "machine": machine} for metric in figures.metrics
        }
        entries[name] = new | kept
    baseline.write_text(json.dumps(entries, indent=1) + "\n")


def machine_kind() -> str:
    """Processor, cores and GPU in words."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "processor")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{processor}, {len(os.sched_getaffinity(0))} cores, {gpu}"


def as_json(results: dict[str, Figures]) -> dict[str, Any]:
    """Metrics and what is absent, each in one table; with several benchmarks, keys carry their names."""
    several = len(results) > 1
    rows: list[dict[str, Any]] = []
    absent: dict[str, str] = {}
    for name, figures in results.items():
        prefix = f"{name}." if several else ""
        rows += [asdict(metric) | {"key": f"{prefix}{metric.key}"} for metric in figures.metrics]
        absent |= {f"{prefix}{key}": need for key, need in figures.absent.items()}
    return {"metrics": rows, "absent": absent}


def real_data() -> Path:
    """The folder of real recordings, `$MIEN_DATA` or the one beside the checkout; it may not be there."""
    return Path(os.environ.get("MIEN_DATA", FOLDER.parents[1] / "shared" / "data"))


def _read_baseline(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    return json.loads(path.read_text()) if path.exists() else {}


def _is_worse(metric: Metric, before: float) -> bool:
    """By more than the tolerance, in the metric's direction; not a number is worse than any."""
    if metric.unit in TIMES:
        return False
    if metric.direction == "lower":
        return not metric.value <= before * (1 + metric.rel_tol)
    return not metric.value >= before * (1 - metric.rel_tol)


def _job(source: Path, out: Path) -> Figures:
    started = time.monotonic()
    peak_gib = _peak_gib(_command("run", source, out))
    seconds = time.monotonic() - started
    figures = json.loads(_mien("evaluate", out / "take.zarr", "--json"))
    metrics = [
        Metric(key, float(value), "mm" if "_mm_" in key else "1", _direction(key), ACCURACY_TOLERANCE)
        for key, value in figures.items()
        if key != "frame_sets"
    ]
    metrics.append(Metric("job_seconds", seconds, "s", "lower", MACHINE_TOLERANCE))
    metrics.append(Metric("job_peak_gib", peak_gib, "GiB", "lower", ACCURACY_TOLERANCE))
    return Figures(metrics)


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
    folder = real_data()
    if not (folder / path).is_file():
        raise InputError(
            f"{path} in the folder of real recordings", f"{folder} without it", "set MIEN_DATA to the folder"
        )
    return folder / path
