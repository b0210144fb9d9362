"""From a studio to a take: simulate, calibrate, ingest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from geometry.errors import InputError
from workflows.answers import answer, print_json
from workflows.commands.arguments import JsonFlag, OptionalPath, Out, Source

RigPath = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RIG.json")]]
WatchedSource = tyro.conf.Positional[Annotated[Path | None, tyro.conf.arg(metavar="[SRC]")]]
WatchedTake = tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="[TAKE]")]]
OptionalFolder = Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")]


def simulate(
    out: Out,
    preset: str = "desk",
    frames: int = 30,
    subject: int = 0,
    noise: str = "kinect",
    faults: str = "none",
    sound: str = "none",
    board: bool = False,
    scan: OptionalPath = None,
    unit: str = "mm",
    off_basis: float = 0.3,
    rate: float = 30.0,
    people: str = "adults",
    sensors: str = "own",
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
        faults: none, usual (dropped and doubled frames, a late camera) or studio (clocks that drift and jitter, too).
        sound: none, ltc (timecode on each device's sound) or clap (a voice and claps); with --faults studio.
        board: record a calibration board waved through the rig instead of a person, for `mien calibrate`.
        scan: a real scan (y up, facing +z) to record instead of a drawn person.
        unit: unit of the scan: mm, cm or m.
        off_basis: shape outside the fitted model's space, mm RMS; 0 for exact tests.
        rate: frames a second.
        people: adults, or all: any six seeds from a multiple of six cover all ages, both sexes and all skin tones.
        sensors: of a board: own, or person: those that record this seed's person, to calibrate that person's rig.
        overwrite: replace another simulated recording there.
    """
    from workflows.progress import say, step

    with step("simulate") as progress:
        if board:
            from studio.calibration_wave import WaveConfig, record_board

            wave = WaveConfig(preset, frames, subject, noise, sensors=sensors)
            fresh = record_board(out, wave, overwrite=overwrite, progress=progress)
        else:
            from studio.recorder import SimulationConfig
            from studio.recorder import simulate as record

            seen = SimulationConfig(preset, frames, subject, noise, faults, scan, unit, off_basis, rate, sound=sound)
            config = replace(seen, people=people)
            fresh = record(out, config, overwrite=overwrite, progress=progress)
    say(f"{'recorded' if fresh else 'already there'}: {out}")
    return answer({"recording": str(out), "recorded": fresh}, as_json)


def calibrate(
    source: Source,
    rig: RigPath,
    board: str = "auto",
    reader: str = "auto",
    lens: str = "auto",
    world_from: OptionalPath = None,
    reference: str = "",
    most_poses: int = 200,
    chart: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Calibrate every camera of a rig from a recording of a board; prints each one's reprojection error.

    Args:
        source: a recording of a ChArUco board or checkerboard that is waved through the rig.
        rig: the rig file to write.
        board: charuco:12x9:45mm:33mm:DICT_4X4_100[:legacy], checkerboard:10x7:25mm, or auto:45mm (a square's side).
        reader: which reader, or auto.
        lens: distortion coefficients 0, 5 or 8; auto takes 5 for colour and 8 for infrared.
        world_from: a rig whose world is kept; else it is made from how the cameras stand.
        reference: the camera that the others' colours are matched to; the first colour camera if left out.
        most_poses: moments to use at most, evenly over the recording.
        chart: look for a 24-patch colour chart, too, for a full colour matrix instead of gains.
    """
    from workflows.calibrating import CalibrationConfig
    from workflows.calibrating import calibrate as calibrate_rig

    report = calibrate_rig(
        source, rig, CalibrationConfig(board, reader, lens, world_from, reference, most_poses, chart)
    )
    if as_json:
        print_json(report.to_json() | {"rig": str(rig)})
    else:
        print(report.as_text())
    return 0


def ingest(
    source: WatchedSource = None,
    take: WatchedTake = None,
    reader: str = "auto",
    rig: OptionalPath = None,
    subject: str = "",
    consent: str = "",
    licence: str = "",
    slate: str = "",
    take_number: str = "",
    notes: str = "",
    times: OptionalPath = None,
    common_clock: bool = False,
    tolerance_ms: float | None = None,
    codec: Literal["auto", "portable"] = "auto",
    lossy_colour: bool = False,
    scheduler: str = "threads",
    watch: OptionalFolder = None,
    takes: OptionalFolder = None,
    once: bool = False,
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Turn a recording into a take; a killed ingest continues. With --watch, every recording as it lands in a folder.

    Args:
        source: the recording: a folder, or a file such as a Kinect's .mkv, a .bag, a video, an iPhone portrait.
        take: where the take goes: a folder or a URL (s3://...).
        reader: which reader, or auto.
        rig: a calibration in any known format that replaces the recording's own.
        subject: pseudonym of the subject, where the recording does not say.
        consent: what the subject agreed to, where the recording does not say.
        licence: terms of the recording, where it does not say.
        slate: name of the scene, as on the clapperboard.
        take_number: which attempt at it.
        notes: what should be remembered.
        times: a CSV of camera, device_ns, time_ns that the cameras' clocks are held against.
        common_clock: all devices are known to be on one clock (PTP).
        tolerance_ms: frames farther from their frame set's time are in none; half a period if left out.
        codec: auto, or portable: only what plain zarr-python reads.
        lossy_colour: store colour so that nobody sees a difference, instead of bit for bit.
        scheduler: threads, processes, or tcp://host:port of a Dask scheduler.
        watch: ingest and check every finished recording in this folder, as it lands, until interrupted.
        takes: where the takes of --watch go; FOLDER-takes beside the folder if left out.
        once: with --watch, stop when everything that is there is done.
        overwrite: replace another take there.
    """
    from capture.ingest import IngestConfig

    config = IngestConfig(
        reader=reader,
        rig=rig,
        subject_id=subject,
        consent=consent,
        licence=licence,
        codec=codec,
        lossy_colour=lossy_colour,
        slate=slate,
        take_number=take_number,
        notes=notes,
        times_csv=times,
        common_clock=common_clock,
        tolerance_ms=tolerance_ms,
    )
    if watch is not None:
        if source is not None or overwrite or slate or take_number:
            got = "SRC, --overwrite, --slate or --take-number beside --watch"
            raise InputError("a folder to watch and no single recording", got, "leave these out, or leave out --watch")
        from workflows.commands.shoot_day import watch_folder
        from workflows.watching import WatchConfig

        return watch_folder(watch, takes, config, WatchConfig(once=once), as_json)
    if source is None or take is None or takes is not None or once:
        got = "something else"
        raise InputError("mien ingest SRC TAKE, or mien ingest --watch FOLDER", got, "see mien ingest --help")
    from workflows.ingesting import ingest as ingest_recording
    from workflows.progress import step

    with step("ingest") as progress:
        done = ingest_recording(source, take, config, scheduler=scheduler, overwrite=overwrite, progress=progress)
    print_to = {"take": str(take), "frame_sets": done.frame_count, "cameras": len(done.rig.cameras)}
    return answer(print_to, as_json)
