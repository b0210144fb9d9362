"""The command line: one function a command, its arguments in its signature, its help in its docstring.

Exit codes: 0 done, 1 a check failed, 2 wrong usage or bad input, 70 a fault of mien itself, 130 interrupted.
With --json, standard output carries one JSON object and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from geometry.errors import InputError
from workflows.answers import answer, clean_stdout, keep_traceback, os_error_in_words, print_json

# Heavy packages are imported inside the commands: `mien --help` answers at once.

Source = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="SRC")]]
TakePath = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="TAKE")]]
Out = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
Action = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="install|list")]]
BenchName = tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="[NAME]")]]
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]
JsonFlag = Annotated[bool, tyro.conf.arg(name="json", help="one JSON object on standard output")]


def simulate(
    out: Out,
    preset: str = "desk",
    frames: int = 30,
    subject: int = 0,
    noise: str = "kinect",
    faults: str = "none",
    scan: OptionalPath = None,
    unit: str = "mm",
    off_basis: float = 0.3,
    rate: float = 30.0,
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Record a simulated take: a person, a studio, its sensors, and the truth apart.

    Args:
        out: folder for the recording.
        preset: desk (4 modules) or vocap (31 modules).
        frames: triggers to record.
        subject: seed of the person, the light and every error.
        noise: none, or kinect (depth and colour noise, calibration slightly off).
        faults: none, or usual (dropped and doubled frames, a late camera).
        scan: a real scan (y up, facing +z) to record instead of a drawn person.
        unit: unit of the scan: mm, cm or m.
        off_basis: shape outside the fitted model's space, mm RMS; 0 for exact tests.
        rate: frames a second.
        overwrite: replace another simulated recording there.
    """
    from studio.recorder import SimulationConfig
    from studio.recorder import simulate as record
    from workflows.progress import say, step

    config = SimulationConfig(preset, frames, subject, noise, faults, scan, unit, off_basis, rate)
    with step("simulate") as progress:
        fresh = record(out, config, overwrite=overwrite, progress=progress)
    say(f"{'recorded' if fresh else 'already there'}: {out}")
    return answer({"recording": str(out), "recorded": fresh}, as_json)


def ingest(
    source: Source,
    take: TakePath,
    reader: str = "auto",
    rig: OptionalPath = None,
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Turn a recording into a take; a killed ingest continues.

    Args:
        source: the recording: a folder, or an iPhone TrueDepth portrait.
        take: where the take goes.
        reader: which reader, or auto.
        rig: a rig.json that replaces the recording's own calibration.
        overwrite: replace another take there.
    """
    from capture.ingest import IngestConfig
    from capture.ingest import ingest as ingest_recording
    from workflows.progress import step

    with step("ingest") as progress:
        done = ingest_recording(source, take, IngestConfig(reader, rig), overwrite=overwrite, progress=progress)
    print_to = {"take": str(take), "frame_sets": done.frame_count, "cameras": len(done.rig.cameras)}
    return answer(print_to, as_json)


def check(take: TakePath, as_json: JsonFlag = False) -> int:
    """Integrity and quality of a take; exits with 1 when it must be shot again.

    Args:
        take: the take.
    """
    from capture.quality import check_take
    from storage.take import Take

    report = check_take(Take.open(take))
    if as_json:
        print_json(report.to_json())
    else:
        for row in report.checks:
            if row.verdict != "pass":
                print(f"{row.verdict:<5} {row.name}{f' {row.camera}' if row.camera else ''}: {row.message}")
        for name in dict.fromkeys(row.name for row in report.checks):
            verdicts = [row.verdict for row in report.checks if row.name == name]
            if set(verdicts) == {"pass"}:
                print(f"pass  {name} ({len(verdicts)})")
    return 0 if report.passed else 1


def inspect(take: TakePath, as_json: JsonFlag = False) -> int:
    """What a take holds: cameras, frames, time, results.

    Args:
        take: the take.
    """
    from storage.take import Take
    from workflows.inspecting import inspect_take

    summary = inspect_take(Take.open(take))
    if as_json:
        print_json(asdict(summary))
    else:
        print(summary.as_text())
    return 0


def fuse(take: TakePath, every: int = 1, overwrite: bool = False, as_json: JsonFlag = False) -> int:
    """Fuse each frame set's depth into a surface.

    Args:
        take: the take.
        every: fuse every n-th frame set.
        overwrite: replace surfaces made otherwise.
    """
    from recon.surface import ReconConfig
    from storage.take import Take
    from workflows.progress import step
    from workflows.surfaces import fuse_take

    with step("fuse") as progress:
        frames = fuse_take(Take.open(take), ReconConfig(), progress, every, overwrite)
    return answer({"surfaces": len(frames)}, as_json)


def fit(take: TakePath, overwrite: bool = False, as_json: JsonFlag = False) -> int:
    """Fit identity, ARKit curves and pose of every frame, and gather the head's texture.

    Args:
        take: the take.
        overwrite: replace a fit made otherwise.
    """
    from storage.take import Take
    from workflows.heads import HeadConfig, find_landmarks, fit_heads
    from workflows.progress import step

    opened = Take.open(take)
    with step("landmarks") as progress:
        find_landmarks(opened, progress)
    with step("fit") as progress:
        head = fit_heads(opened, HeadConfig(), progress, overwrite)
    return answer(dict(head.result.provenance.metrics), as_json)


def export(
    take: TakePath,
    out: Out,
    format: str = "glb",
    frame: int = 0,
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Write the head as GLB or a fused surface as PLY.

    Args:
        take: the take.
        out: the file.
        format: glb or ply.
        frame: which frame's surface, for ply.
        overwrite: replace a file that mien did not write.
    """
    from storage.take import Take
    from workflows.exporting import export_glb, export_ply
    from workflows.outputs import write_output
    from workflows.surfaces import run_name

    opened = Take.open(take)
    if format == "glb":
        made_from = opened.results.read("fit").digest
        fresh = write_output(out, made_from, lambda path: export_glb(opened, path), overwrite=overwrite)
    elif format == "ply":
        made_from = opened.results.read("surface", run_name(frame)).digest
        fresh = write_output(out, made_from, lambda path: export_ply(opened, path, frame), overwrite=overwrite)
    else:
        raise InputError("--format glb or ply", repr(format), "choose one of these")
    return answer({"file": str(out), "written": fresh}, as_json)


def report(take: TakePath, out: Out, overwrite: bool = False, as_json: JsonFlag = False) -> int:
    """One HTML page about a take, with pictures.

    Args:
        take: the take.
        out: the HTML file.
        overwrite: replace a file that mien did not write.
    """
    from capture.quality import check_take
    from storage.take import Take
    from workflows.outputs import write_output
    from workflows.report import write_report

    opened = Take.open(take)
    quality = check_take(opened)
    done = [
        opened.results.read(step, run).digest for step in opened.results.steps() for run in opened.results.runs(step)
    ]
    made_from = " ".join([opened.digest, *done])
    fresh = write_output(out, made_from, lambda path: write_report(opened, path, quality), overwrite=overwrite)
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
        out: folder for take.zarr, head.glb, surface.ply and report.html.
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


def evaluate(take: TakePath, truth: OptionalPath = None, as_json: JsonFlag = False) -> int:
    """Figures of a take's results against the truth, where it has one, and against its own depth.

    Args:
        take: the take.
        truth: the truth's folder, if it no longer lies beside the recording.
    """
    from storage.take import Take
    from workflows.evaluating import evaluate_take

    figures = evaluate_take(Take.open(take), truth)
    if as_json:
        print_json(figures)
    else:
        for name, value in figures.items():
            print(f"{name:<32} {value:10.4g}")
    return 0


def bench(name: BenchName = None, gate: bool = False, update_baseline: bool = False, as_json: JsonFlag = False) -> int:
    """Run our benchmarks; with --gate, exit with 1 when a figure misses its target or is worse than the baseline.

    Args:
        name: desk, portrait, scan or raster; all of them if left out.
        gate: compare with benchmarks/targets.toml and benchmarks/baseline.json.
        update_baseline: make the figures of what was run the new baseline.
    """
    from workflows import benching
    from workflows.progress import say

    results = benching.bench(name)
    if as_json:
        print_json(benching.as_json(results))
    else:
        for benchmark, figures in results.items():
            for metric in figures.metrics:
                print(f"{benchmark:<9} {metric.key:<40} {metric.value:10.4g} {metric.unit}")
    verdict = benching.judge(results) if gate else benching.Verdict([], [])
    for line in verdict.not_counted:
        say(f"not counted: {line}")
    for line in verdict.missed:
        say(line)
    if update_baseline:
        benching.update_baseline(results)
    return 1 if verdict.missed else 0


def models(action: Action = "list", wheel: OptionalPath = None, as_json: JsonFlag = False) -> int:
    """Install or list what mien computes and downloads once: landmark networks and the head model.

    Args:
        action: install or list.
        wheel: a mediapipe 0.10.14 wheel that is here already, for machines without a network.
    """
    from flame_fitting.landmarks.weights import install_landmark_weights
    from flame_fitting.models.registry import cache_folder, head_model_path, load_head_model
    from workflows.progress import step

    if action not in ("install", "list"):
        raise InputError("`mien models install` or `mien models list`", repr(action), "choose one of these")
    if action == "install":
        with step("landmarks"):
            install_landmark_weights(wheel=wheel)
        with step("head model"):
            load_head_model()
    here = sorted(str(path.relative_to(cache_folder())) for path in cache_folder().rglob("*") if path.is_file())
    installed = {"folder": str(cache_folder()), "files": here, "head_model": head_model_path().exists()}
    return answer(installed, as_json)


COMMANDS: dict[str, Callable[..., int]] = {
    "simulate": simulate,
    "ingest": ingest,
    "inspect": inspect,
    "check": check,
    "fuse": fuse,
    "fit": fit,
    "export": export,
    "report": report,
    "run": run,
    "evaluate": evaluate,
    "bench": bench,
    "models": models,
}


DESCRIPTION = "From a volumetric recording of a face to a head that an XR engine plays."


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    with clean_stdout():
        try:
            code = tyro.extras.subcommand_cli_from_dict(
                COMMANDS, prog="mien", description=DESCRIPTION, args=given, config=(tyro.conf.FlagCreatePairsOff,)
            )
        except InputError as error:
            print(f"mien: {error}", file=sys.stderr)
            code = 2
        except KeyboardInterrupt:
            print("mien: interrupted; the same command continues where this one stopped", file=sys.stderr)
            code = 130
        except OSError as error:
            print(f"mien: {os_error_in_words(error)}", file=sys.stderr)
            code = 2
        except Exception:  # noqa: BLE001 - the last line of defence: no traceback reaches a user
            print(f"mien: a fault of mien itself; its details are in {keep_traceback()}", file=sys.stderr)
            code = 70
    sys.exit(code)
