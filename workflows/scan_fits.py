"""Many scans in one go: each becomes a folder with the head, and a record that is written last."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from export.gltf import AssetMetadata, HeadAnimation, HeadAsset, write_glb
from export.ply import write_ply
from flame_fitting.landmarks.landmarker import FaceLandmarker
from flame_fitting.models.plain_model import Head
from flame_fitting.texture import PosedView, bake_texture
from geometry.errors import InputError
from geometry.scans import Scan
from storage.image_folder import write_whole
from storage.provenance import commit_id, tool_version
from storage.scan_files import SCAN_SUFFIXES, read_scan
from workflows.answers import keep_traceback, os_error_in_words
from workflows.progress import Report
from workflows.scan_registration import (
    RegisteredScan,
    ScanConfig,
    register_scan,
    scan_head_model,
)
from workflows.scheduling import MustStop, run_tasks

RECORD, HEAD_GLB, HEAD_PLY = "scan.json", "head.glb", "head.ply"
METHOD = 1
"""Raise when the same scan gives another head, so that older results are made again."""
State = Literal["fitted", "already there", "failed"]
_networks = threading.local()


@dataclass(frozen=True)
class ScanTask:
    """One scan and where its head goes."""

    scan: Path
    """The file."""
    folder: Path
    """Of its results."""


@dataclass(frozen=True)
class ScanJob:
    """What every task needs."""

    config: ScanConfig
    """How."""
    overwrite: bool
    """Whether to replace what mien did not write."""


@dataclass(frozen=True)
class ScanOutcome:
    """What became of one scan."""

    scan: str
    """Its path."""
    state: State
    """fitted: now; already there: nothing was left to do."""
    folder: str
    """Where its head is."""
    record: dict[str, Any]
    """What scan.json holds; empty where it failed."""
    problem: str = ""
    """Why it failed."""


def scan_tasks(named: Sequence[Path], out: Path) -> list[ScanTask]:
    """A task for each file, and for each scan below each folder; results are named as the scans are.

    Raises InputError for names that are not there and for two scans of one name.
    """
    tasks: list[ScanTask] = []
    for path in named:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SCAN_SUFFIXES and p.is_file())
            if not inside:
                raise InputError("a folder of scans", f"{path} without any", "name another folder")
            tasks += [ScanTask(file, out / file.relative_to(path).with_suffix("")) for file in inside]
        elif path.is_file():
            tasks.append(ScanTask(path, out / path.stem))
        else:
            raise InputError("a scan file, or a folder of them", f"{path}, which is not there", "correct the path")
    places = [task.folder for task in tasks]
    twice = sorted({str(task.scan) for task in tasks if places.count(task.folder) > 1})
    if twice:
        raise InputError("scans with names of their own", ", ".join(twice), "rename them, or name their common folder")
    return tasks


def fit_scans(
    tasks: Sequence[ScanTask], config: ScanConfig, progress: Report, scheduler: str = "threads", overwrite: bool = False
) -> list[ScanOutcome]:
    """A head for every scan, in their order; one that fails is named, and the others go on.

    Heads that are there, made from the same scan with the same settings, stay.
    """
    outcomes: dict[int, ScanOutcome] = {}

    def keep(numbered: tuple[int, ScanOutcome]) -> None:
        outcomes[numbered[0]] = numbered[1]
        progress(len(outcomes), len(tasks))

    run_tasks(_scan_task, ScanJob(config, overwrite), list(enumerate(tasks)), scheduler, keep)
    return [outcomes[number] for number in range(len(tasks))]


def _scan_task(job: ScanJob, numbered: tuple[int, ScanTask], must_stop: MustStop) -> tuple[int, ScanOutcome]:
    number, task = numbered
    try:
        return number, fit_scan(task, job)
    except InputError as error:
        problem = str(error)
    except OSError as error:
        problem = os_error_in_words(error)
    except Exception:  # noqa: BLE001 - one scan's fault must not end the others
        problem = f"a fault of mien itself; its details are in {keep_traceback()}"
    return number, ScanOutcome(str(task.scan), "failed", str(task.folder), {}, problem)


def fit_scan(task: ScanTask, job: ScanJob) -> ScanOutcome:
    """The head of one scan, written whole: its record comes last. Raises InputError as its steps do."""
    scan = read_scan(task.scan)
    made_from = _made_from(scan, job.config)
    record = _read_record(task.folder)
    if record is not None and record.get("made_from") == made_from and _files_stand(task.folder, record):
        return ScanOutcome(str(task.scan), "already there", str(task.folder), record)
    if record is None and task.folder.exists() and any(task.folder.iterdir()) and not job.overwrite:
        known = {RECORD, HEAD_GLB, HEAD_PLY, *(f".{name}.part" for name in (RECORD, HEAD_GLB, HEAD_PLY))}
        if not {each.name for each in task.folder.iterdir()} <= known:
            got = f"other files in {task.folder}"
            raise InputError("a free folder for the head", got, "move them, or use --overwrite")
    head = scan_head_model(job.config.model)
    if not hasattr(_networks, "landmarker"):
        _networks.landmarker = FaceLandmarker.load()  # not thread-safe: one a thread
    done = register_scan(scan, head, _networks.landmarker, job.config)
    (task.folder / RECORD).unlink(missing_ok=True)
    task.folder.mkdir(parents=True, exist_ok=True)
    vertices = done.vertices_scan
    write_ply(task.folder / HEAD_PLY, vertices.astype(np.float32), head.model.faces.numpy())
    write_glb(task.folder / HEAD_GLB, _asset(done, head, task.scan.name))
    hashes = {name: _sha256((task.folder / name).read_bytes()) for name in (HEAD_GLB, HEAD_PLY)}
    record = {"made_from": made_from, "files": hashes, **_record(done, head, task.scan, job.config)}
    write_whole(task.folder / RECORD, json.dumps(record, indent=1) + "\n")
    return ScanOutcome(str(task.scan), "fitted", str(task.folder), record)


def _record(done: RegisteredScan, head: Head, path: Path, config: ScanConfig) -> dict[str, Any]:
    """What scan.json tells; lengths in the file's axes are metres."""
    found, model = done.head, head.model
    to_file = found.head_from_scan.inverse()
    return {
        "scan": path.name,
        "model": model.name,
        "licence": model.licence,
        "unit": asdict(found.unit),
        "head_from_scan": found.head_from_scan.matrix.tolist(),
        "repairs": {**asdict(done.repairs), "triangles_turned": found.triangles_turned},
        **asdict(done.figures),
        "flipped": done.registered.flipped,
        "crossing": done.registered.crossing,
        "curves": dict(zip(model.expression_names, np.round(found.curves, 4).tolist(), strict=True)),
        "landmarks": {
            "source_index": head.landmarks.source_index.tolist(),
            "points_m": np.round(to_file @ found.landmarks, 6).tolist(),
            "trust": np.round(found.landmark_trust, 3).tolist(),
        },
        "tool_version": tool_version(),
        "commit": commit_id(),
    }


def _asset(done: RegisteredScan, head: Head, name: str) -> HeadAsset:
    """The neutral head with its morph targets and the scan's colours; what the registration added stays in it."""
    found, model, person = done.head, head.model, done.head.person
    world_from_head = found.world_from_head
    registered = world_from_head.inverse() @ done.registered.vertices
    neutral = registered - np.tensordot(found.curves, person.expressions, 1)
    shaped = model.with_shape(torch.from_numpy(person.identity).float())
    neck = shaped.joints[model.joint_names.index("neck")].numpy().astype(np.float64)
    views = [
        PosedView(view.camera, view.levels, done.registered.vertices, np.ones(len(registered), bool))
        for view in found.views
    ]
    scan_from_head = found.head_from_scan.inverse().compose(world_from_head)
    matrix = scan_from_head.matrix
    matrix[:3, 3] += scan_from_head.rotation @ neck
    return HeadAsset(
        vertices=neutral - neck,
        faces=model.faces.numpy(),
        uv=model.uv.numpy().astype(np.float64),
        uv_faces=model.uv_faces.numpy(),
        morph_names=model.expression_names,
        morph_offsets=person.expressions.astype(np.float64),
        base_colour=bake_texture(model, tuple(views)).base_colour,
        metadata=AssetMetadata("unnamed", model.licence, tool_version(), matrix, provenance=(("scan", name),)),
        animation=HeadAnimation(np.zeros(1), found.curves[None], np.eye(4)[None]),
    )


def _made_from(scan: Scan, config: ScanConfig) -> str:
    digest = hashlib.sha256(json.dumps([METHOD, asdict(config)], sort_keys=True).encode())
    for part in (scan.vertices, scan.faces, scan.colours, scan.uv, scan.texture):
        digest.update(b"-" if part is None else f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _read_record(folder: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _files_stand(folder: Path, record: dict[str, Any]) -> bool:
    """Whether the files are those that were recorded."""
    try:
        return all(_sha256((folder / name).read_bytes()) == digest for name, digest in record["files"].items())
    except (OSError, KeyError, AttributeError):
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
