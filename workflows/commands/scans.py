"""Head scans to the head model's topology."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from geometry.errors import InputError
from workflows.answers import print_json, printable
from workflows.commands.arguments import JsonFlag

ScansAndOut = tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SCAN... OUT")]]
"""In one, because a parser that meets an option after them gives the last to the scans."""


def fit_scan(
    scans: ScansAndOut,
    unit: Literal["auto", "m", "cm", "mm"] = "auto",
    model: str = "anny",
    scheduler: str = "threads",
    overwrite: bool = False,
    as_json: JsonFlag = False,
) -> int:
    """Bring head scans to the head model's topology; nothing is picked by hand.

    Run again, it leaves alone what is finished and goes on with the rest.

    Args:
        scans: OBJ, PLY, STL or GLB files, textured or not, or folders of them; and last the folder for the results, in
            which each scan gets one of its own with head.glb, head.ply and scan.json.
        unit: the scans' unit; auto tells it by the size of each face, and says so.
        model: anny, a FLAME .pkl or .npz, or an .npz with the keys of docs/head-models.md.
        scheduler: threads, processes, or tcp://host:port of a Dask scheduler.
        overwrite: write also where other files are in the way.
    """
    from flame_fitting.models.registry import model_name
    from flame_fitting.scans.fitting import ScanFitConfig
    from workflows.progress import step
    from workflows.scan_fits import fit_scans, scan_tasks
    from workflows.scan_registration import ScanConfig

    config = ScanConfig(model=model_name(model), fit=ScanFitConfig(unit=unit))
    if len(scans) < 2:
        got = ", ".join(map(str, scans)) or "nothing"
        raise InputError("one or more scans, and then a folder for the heads", got, "name both: mien fit-scan SCAN OUT")
    tasks = scan_tasks(scans[:-1], scans[-1])
    with step("fit scans") as progress:
        outcomes = fit_scans(tasks, config, progress, scheduler, overwrite)
    failed = [each for each in outcomes if each.state == "failed"]
    if as_json:
        counts = {
            state.replace(" ", "_"): sum(each.state == state for each in outcomes)
            for state in ("fitted", "already there", "failed")
        }
        print_json({**counts, "scans": [_row(each) for each in outcomes]})
    else:
        for each in outcomes:
            print(printable(_line(each)))
    # A single scan's fault is the input's; of many, the others are done, as in a batch of takes.
    return 0 if not failed else 2 if len(outcomes) == 1 else 1


def _row(outcome: Any) -> dict[str, Any]:
    """What a program wants to know of a scan; landmarks and curves stay in its scan.json."""
    left_out = ("landmarks", "curves", "files", "made_from", "head_from_scan", "scan")
    short = {key: value for key, value in outcome.record.items() if key not in left_out}
    row = {"scan": outcome.scan, "state": outcome.state, "folder": outcome.folder, **short}
    return {**row, "problem": outcome.problem} if outcome.problem else row


def _line(outcome: Any) -> str:
    if outcome.state == "failed":
        return f"FAILED: {outcome.scan}: {outcome.problem}"
    record = outcome.record
    unit, metres = record["unit"]["name"], record["unit"]["metres"]
    said = unit if unit != "unknown" else f"unknown, taken as {metres:.4g} m by an average face"
    off, back = record["scan_to_mesh_mm_median"], record["mesh_to_scan_mm_median"]
    figures = f"scan to mesh {off:.2f} mm, mesh to scan {back:.2f} mm, {record['flipped']} flipped"
    return f"{outcome.state}: {outcome.scan} (unit {said}; {figures}) -> {outcome.folder}"
