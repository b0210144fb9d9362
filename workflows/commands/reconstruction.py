"""From a take to results and files: fuse, fit, export, report, run."""

from __future__ import annotations

from typing import Annotated, Literal

import tyro

from geometry.errors import InputError
from workflows.answers import answer, print_json
from workflows.commands.arguments import JsonFlag, OptionalPath, Out, Source, TakePath


def fuse(
    take: TakePath,
    every: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Fuse each frame set's depth into a surface.

    Args:
        take: the take.
        every: fuse every n-th frame set.
        device: where the volume is filled and the surface is held against the pictures.
        overwrite: replace surfaces made otherwise.
    """
    from recon.surface import ReconConfig
    from storage.take import Take
    from workflows.progress import step
    from workflows.surfaces import fuse_take

    with step("fuse") as progress:
        frames = fuse_take(Take.open(take), ReconConfig(device=device), progress, every, overwrite)
    return answer({"surfaces": len(frames)}, as_json)


def fit(
    take: TakePath,
    model: str = "anny",
    identity_from: Annotated[str | None, tyro.conf.arg(metavar="TAKE")] = None,
    face: int | None = None,
    segments: int | None = None,
    scheduler: str = "threads",
    device: Literal["cpu", "cuda"] = "cpu",
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Fit identity, ARKit curves and pose of every frame, and gather the head's texture.

    Args:
        take: the take.
        model: anny, a FLAME .pkl or .npz, or an .npz with the keys of docs/head-models.md.
        identity_from: a fitted take of the same subject, whose head and texture this one gets to the last bit.
        face: of several people the one with this place by size, 0 the largest; else the nearest to the rig's centre.
        segments: stretches that are tracked as tasks of their own; 64 frames each if left out.
        scheduler: threads, processes, or tcp://host:port of a Dask scheduler.
        device: where heads are solved; cuda takes the frames of a segment together.
        overwrite: replace a fit made otherwise.
    """
    from flame_fitting.models.registry import model_name
    from storage.take import Take
    from workflows.heads import HeadConfig, find_person, fit_heads
    from workflows.landmarking import LandmarkConfig, find_landmarks
    from workflows.progress import step

    opened, config = Take.open(take), HeadConfig(model=model_name(model), device=device)
    other = None if identity_from is None else Take.open(identity_from)
    with step("landmarks") as progress:
        find_landmarks(opened, progress, LandmarkConfig(face))
    with step("person") as progress:
        find_person(opened, config, progress, other, overwrite)
    with step("fit") as progress:
        head = fit_heads(opened, config, progress, overwrite, segments=segments, scheduler=scheduler)
    return answer(dict(head.result.provenance.metrics), as_json)


def export(
    take: TakePath,
    out: Out,
    format: str = "glb",
    frame: int = 0,
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Write the head as GLB, a fused surface as PLY, or the cameras in another program's format.

    Args:
        take: the take.
        out: the file; for opencv and colmap a folder.
        format: glb, ply, or of the cameras: rig, opencv, colmap, nerfstudio or k4a.
        frame: which frame's surface, for ply.
        overwrite: replace a file that mien did not write.
    """
    from storage.take import Take
    from workflows.exporting import CALIBRATION_FORMATS, export_calibration, export_glb, export_ply
    from workflows.outputs import write_output
    from workflows.surfaces import run_name

    opened = Take.open(take)
    of = opened.header
    if format == "glb":
        made_from = opened.results.read("fit").digest
        fresh = write_output(out, made_from, lambda path: export_glb(opened, path), overwrite=overwrite, of=of)
    elif format == "ply":
        made_from = opened.results.read("surface", run_name(frame)).digest
        fresh = write_output(out, made_from, lambda path: export_ply(opened, path, frame), overwrite=overwrite, of=of)
    elif format in CALIBRATION_FORMATS:
        fresh = export_calibration(opened, out, CALIBRATION_FORMATS[format], overwrite)
    else:
        raise InputError(f"--format glb, ply, {', '.join(CALIBRATION_FORMATS)}", repr(format), "choose one of these")
    return answer({"file": str(out), "written": fresh}, as_json)


def report(take: TakePath, out: Out, overwrite: bool = False, as_json: JsonFlag = False) -> int:
    """One HTML page about a take, with pictures, and beside it a film (WebM) of the fitted head over the picture.

    Args:
        take: the take.
        out: the HTML file.
        overwrite: replace a file that mien did not write.
    """
    from capture.quality import check_take
    from storage.take import Take
    from workflows.report import write_report_files

    opened = Take.open(take)
    quality = check_take(opened)
    done = [
        opened.results.read(step, run).digest for step in opened.results.steps() for run in opened.results.runs(step)
    ]
    made_from = " ".join([opened.digest, *done])
    fresh = write_report_files(opened, out, made_from, quality, overwrite=overwrite)
    return answer({"file": str(out), "written": fresh}, as_json)


def run(
    source: Source,
    out: Out,
    reader: str = "auto",
    rig: OptionalPath = None,
    keep_going: Annotated[bool, tyro.conf.arg(name="continue")] = False,
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """The main job: a recording in; a take, a head, a surface and a report out.

    Args:
        source: the recording: a folder, or an iPhone TrueDepth portrait.
        out: folder for take.zarr, head.glb, surface.ply, report.html and report.webm.
        reader: which reader, or auto.
        rig: a rig.json that replaces the recording's own calibration.
        keep_going: go on after a failed check.
        overwrite: replace what is in the way.
    """
    from capture.ingest import IngestConfig
    from workflows.progress import say
    from workflows.run import RunConfig
    from workflows.run import run as run_job

    outcome = run_job(source, out, RunConfig(IngestConfig(reader, rig), keep_going=keep_going, overwrite=overwrite))
    if not outcome.files:
        say(f"stopped after a failed check; the take is {outcome.take}. Use --continue to go on all the same.")
        return 1
    say("done:")
    for path in (*outcome.files, outcome.take):
        say(f"  {path}")
    files = {path.name: str(path) for path in outcome.files}
    if as_json:
        print_json({"take": str(outcome.take), **files})
    return 0
