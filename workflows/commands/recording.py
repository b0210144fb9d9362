"""From a studio to a take: simulate, ingest."""

from __future__ import annotations

from workflows.answers import answer
from workflows.commands.arguments import JsonFlag, OptionalPath, Out, Source, TakePath


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
