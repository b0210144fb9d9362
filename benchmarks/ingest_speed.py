"""How fast, how small and in how much memory a recording becomes a take, beside OpenCV that only decodes it.

Both take turns on the same files from a warm page cache, and the medians are compared.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from ingest_source import perfect_pictures, write_longer, write_source
from ingest_table import Table

from capture.ingest import IngestConfig
from capture.quality import check_take
from capture.readers.image_folder import read_image_folder
from storage.take import Take
from workflows.ingesting import ingest

FRAMES = 64
"""Per camera: two seconds."""
SIZED_FRAMES = 8
"""Of the sources whose size alone is compared."""
ROUNDS = 3
LONGER = 10
READS = 20
RATE_HZ = 30
TIMES = 0.3
"""Relative change of a ratio of times that means something: other work beside it moves it by less."""
PEAK = """
import sys
from pathlib import Path
from workflows.cli import main
try:
    main(["ingest", *sys.argv[1:]])
except SystemExit as end:
    if end.code:
        raise
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
"""
"""An ingest that prints its own peak in kB."""


def measure(folder: Path, table: Table) -> None:
    """Add speed, sizes and memory."""
    rig, pictures = perfect_pictures(folder / "studio")
    source = write_source(folder / "noise_2", rig, pictures, FRAMES, 2.0)
    table.add("ingest_vs_decode", _against_decoding(folder, source), "ratio", TIMES)
    take = ingest(source, folder / "take", IngestConfig())
    table.add("take_vs_source_bytes", _bytes_of(folder / "take") / _bytes_of(source), "ratio", 0.02)
    table.add("frame_read_vs_decode", _read_against_decoding(take, source), "ratio", TIMES)
    peak_mb = _peak_mb(source, folder / "peak")
    longer = write_longer(folder / "longer", source, rig, LONGER)
    table.add("ingest_peak_mb", peak_mb, "MB", 0.1)
    table.add("ingest_peak_ratio_10x", _peak_mb(longer, folder / "longer_take") / peak_mb, "ratio", 0.1)
    # A short take would count what is looked at once, however long it is.
    check_s = _seconds(lambda: check_take(Take.open(folder / "longer_take")))
    table.add("check_seconds_per_recorded_minute", check_s / (LONGER * FRAMES / RATE_HZ / 60), "s", 0.2)
    shutil.rmtree(folder / "longer_take")
    for noise in (0.0, 1.0, 4.0, 6.0):
        sized = write_source(folder / f"sized_{noise:g}", rig, pictures, SIZED_FRAMES, noise)
        ingest(sized, folder / f"take_{noise:g}", IngestConfig())
        ratio = _bytes_of(folder / f"take_{noise:g}") / _bytes_of(sized)
        table.add(f"take_vs_source_bytes_noise_{noise:g}", ratio, "ratio", 0.02)
    jpegs = write_source(folder / "jpeg", rig, pictures, FRAMES, 2.0, ".jpg")
    table.add("ingest_vs_decode_jpeg", _against_decoding(folder, jpegs), "ratio", TIMES)


def _against_decoding(folder: Path, source: Path) -> float:
    """Seconds of the whole ingest over those of only decoding, with the best number of processes for that."""
    files = sorted(str(path) for path in source.rglob("*.[pj][np]g"))
    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, cores})
    # A forked process would inherit OpenCV's locks without the threads that hold them.
    pools = {count: multiprocessing.get_context("spawn").Pool(count, _alone) for count in counts}
    ours: list[float] = []
    theirs: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(ROUNDS + 1):
        for count, pool in pools.items():
            theirs[count].append(_seconds(lambda pool=pool: pool.map(_decode, files, chunksize=8)))
        ours.append(_seconds(lambda: ingest(source, folder / "timed", IngestConfig())))
        shutil.rmtree(folder / "timed")
    for pool in pools.values():
        pool.terminate()
    # The first round warms the page cache and the libraries.
    best = min(median(times[1:]) for times in theirs.values())
    print(f"    ingest {median(ours[1:]):.2f} s, decoding {best:.2f} s, {len(files)} files", file=sys.stderr)
    return median(ours[1:]) / best


def _alone() -> None:
    cv2.setNumThreads(1)


def _decode(path: str) -> int:
    picture = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture.shape[0]


def _read_against_decoding(take: Take, source: Path) -> float:
    """Reading one frame of one camera anywhere in a take, each time from a fresh `Take`, over decoding its PNG."""
    camera_id = take.rig.rgb[0].id
    files = read_image_folder(source).frame_files[camera_id]
    frames = np.random.default_rng(0).integers(0, len(files), READS)
    ours = [_seconds(lambda t=t: Take.open(take.path).stream(camera_id).frame(int(t))) for t in frames]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    theirs = [_seconds(lambda t=t: _decode(str(files[t]))) for t in frames]
    cv2.setNumThreads(threads)
    return median(ours) / median(theirs)


def _peak_mb(source: Path, take: Path) -> float:
    """The most memory that `mien ingest` holds, in a process of its own.

    The kernel's VmHWM of the process: what `wait4` tells of a child begins with its parent's size at the fork.
    """
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(source), str(take)], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1]) / 1024


def _bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
