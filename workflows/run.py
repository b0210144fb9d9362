"""The main job: a recording in; a take, a head, a surface and a report out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from capture.ingest import IngestConfig
from capture.quality import QualityReport, check_take
from geometry.errors import InputError
from recon.surface import ReconConfig
from storage.take import Take
from workflows.exporting import export_glb, export_ply
from workflows.heads import HeadConfig, StoredHead, find_person, fit_heads
from workflows.ingesting import ingest
from workflows.landmarking import find_landmarks
from workflows.outputs import write_output
from workflows.progress import say, step
from workflows.report import write_report_files
from workflows.surfaces import fuse_take

WRITTEN = ("head.glb", "surface.ply", "report.html", "report.webm")
"""Files that lie beside the take in the end."""


@dataclass(frozen=True)
class RunConfig:
    """How to run the main job."""

    ingest: IngestConfig = field(default_factory=IngestConfig)
    """How to read the recording."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """How to fit the head."""
    surface: ReconConfig = field(default_factory=ReconConfig)
    """How to fuse the depth."""
    keep_going: bool = False
    """Go on after a failed check."""
    overwrite: bool = False
    """Replace what is in the way."""


@dataclass(frozen=True)
class RunOutcome:
    """What came out, and where."""

    take: Path
    """The take."""
    quality: QualityReport
    """What the checks found."""
    files: tuple[Path, ...]
    """Every file for the user, best first; empty when a failed check stopped the run."""


def run(source: Path, out: Path, config: RunConfig) -> RunOutcome:
    """Ingest, check, fuse, fit, export and report; steps that are done already are left alone."""
    take_path = out / "take.zarr"
    if not take_path.exists() and not config.overwrite:
        in_the_way = [name for name in WRITTEN if (out / name).exists()]
        if in_the_way:
            raise InputError(f"a free place in {out}", f"{in_the_way[0]} without a take", "move it, or use --overwrite")
    with step("ingest") as progress:
        take = ingest(source, take_path, config.ingest, overwrite=config.overwrite, progress=progress)
    with step("check"):
        quality = check_take(take)
    for check in quality.checks:
        if check.verdict in ("warn", "fail"):
            where = f" {check.camera}" if check.camera else ""
            say(f"  {check.verdict}: {check.name}{where}: {check.message}")
    if not quality.passed and not config.keep_going:
        return RunOutcome(take_path, quality, ())
    with step("fuse") as progress:
        frames = fuse_take(take, config.surface, progress, overwrite=config.overwrite)
    with step("landmarks") as progress:
        find_landmarks(take, progress)
    with step("person") as progress:
        find_person(take, config.head, progress, overwrite=config.overwrite)
    with step("fit") as progress:
        head = fit_heads(take, config.head, progress, config.overwrite)
    return RunOutcome(take_path, quality, _write_files(take, out, head, frames, quality, config.overwrite))


def _write_files(
    take: Take, out: Path, head: StoredHead, frames: list[int], quality: QualityReport, overwrite: bool
) -> tuple[Path, ...]:
    middle = frames[int(np.argmin(np.abs(np.array(frames) - frames[-1] / 2)))]
    surface = take.results.read("surface", f"{middle:06d}")
    made_from = f"{head.result.digest} {surface.digest}"
    files = (out / "head.glb", out / "surface.ply", out / "report.html")
    of = take.header
    with step("export"):
        write_output(files[0], head.result.digest, lambda path: export_glb(take, path), overwrite=overwrite, of=of)
        write_output(files[1], surface.digest, lambda path: export_ply(take, path, middle), overwrite=overwrite, of=of)
    with step("report"):
        write_report_files(take, files[2], made_from, quality, overwrite=overwrite)
    return files
