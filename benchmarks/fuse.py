"""The fused surface, in figures, beside Open3D on the same frames: `python benchmarks/fuse.py [desk] [vocap]`.

Takes are those of the head fit (`fit_takes`): simulated people whom nothing was tuned on, rigs calibrated from a waved
board. One frame set of each, the one in the middle. `--keep FOLDER`, or MIEN_FIT_KEEP=FOLDER, keeps recordings; rows
go to standard error as they are measured, `--json` prints one object on standard output. MIEN_FIT_PEOPLE="102 105"
names other people, for tuning.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, median

import numpy as np
from fit import keeping, parts_and_folder
from fit_takes import REPORTED, TakeConfig, record
from fuse_peers import PeerSurface, pinholes, poissons, voxel_block_grids
from ingest_table import Table

from evaluation.surfaces import face_figures
from evaluation.truth import Truth
from evaluation.worlds import truth_from_take
from geometry.meshes import Mesh
from recon.depth.cleaning import clean_depth
from recon.fusion.depth_view import DepthView
from recon.fusion.refinement import refine
from recon.fusion.tsdf import cropped, fuse_tsdf
from recon.surface import ReconConfig
from storage.take import Take

PEOPLE = {"desk": REPORTED[:5], "vocap": REPORTED[:5]}
FRAMES = {"desk": 60, "vocap": 30}
RUNS = 3
"""Of ours, of which the median's seconds count."""


@dataclass
class Scores:
    """Of one way of fusing, over people."""

    figures: list[dict[str, float]] = field(default_factory=list)
    """As `evaluation.surfaces` gives them."""
    seconds: list[float] = field(default_factory=list)
    """A frame."""

    def add(self, figures: dict[str, float], seconds: float) -> None:
        """One person's."""
        self.figures.append(figures)
        self.seconds.append(seconds)

    def mean(self, key: str) -> float:
        """Over people."""
        return mean(each[key] for each in self.figures)


def main(arguments: list[str]) -> None:
    """Measure both studios, or the one that is named."""
    if "--help" in arguments:
        print(__doc__)
        return
    table = Table()
    named, keep = parts_and_folder(arguments)
    ratios: dict[str, list[float]] = {}
    with keeping(keep) as folder:
        for preset in named or ["desk", "vocap"]:
            print(f"  {preset}", file=sys.stderr, flush=True)
            for key, value in _measure(folder, preset, table).items():
                ratios.setdefault(key, []).append(value)
    for key, values in ratios.items():
        table.add(key, max(values), "ratio", 0.5 if key.endswith("seconds") else 0.1)
    if "--json" in arguments:
        print(json.dumps({"metrics": [asdict(metric) for metric in table.metrics], "absent": table.absent}))


def _measure(folder: Path, preset: str, table: Table) -> dict[str, float]:
    """Adds a studio's figures; ratios against the peers' best settings."""
    ours, grids, poisson = Scores(), dict[str, Scores](), dict[str, Scores]()
    for person in PEOPLE[preset]:
        path = record(folder / "recordings", TakeConfig(person, preset, FRAMES[preset]))
        take, truth = Take.open(path), Truth.read(path.parent / "recording" / "truth")
        frame = take.frame_count // 2
        views = [
            DepthView(camera, depth)
            for camera in take.rig.depth
            if (depth := take.depth_m(camera.id, frame)) is not None
        ]
        judge = _Judge(take, truth, frame)
        mesh, seconds = _fused(views)
        ours.add(judge(mesh), seconds)
        _add(grids, judge, voxel_block_grids(pinholes(views)))
        _add(poisson, judge, poissons(views))
        row = ", ".join(f"{key} {value:.3g}" for key, value in ours.figures[-1].items())
        print(f"    person {person}: {row}, {seconds:.2f} s", file=sys.stderr, flush=True)
    before = "fuse_" if preset == "vocap" else f"fuse_{preset}_"
    for key in ("accuracy_mm_median", "accuracy_mm_p95", "completeness_mm_median"):
        table.add(before + key, ours.mean(key), "mm", 0.1)
    for key in ("fscore_0_5mm", "fscore_1mm", "fscore_2mm"):
        table.add(before + key, ours.mean(key), "1", 0.02, "higher")
    table.add(before + "normal_deg_median", ours.mean("normal_deg_median"), "deg", 0.1)
    table.add(before + "seconds", mean(ours.seconds), "s", 0.5)
    return _against("vbg", ours, grids) | _against("poisson", ours, poisson)


def _fused(views: list[DepthView]) -> tuple[Mesh, float]:
    """What `mien fuse` makes of depth, and its seconds; kernels are compiled before."""
    config, seconds, mesh = ReconConfig(), [], None
    for _ in range(1 + RUNS):
        started = time.perf_counter()
        clean = [replace(view, depth_m=clean_depth(view.depth_m, view.camera, config.cleaning)[0]) for view in views]
        kept = [cropped(view, config.fusion) for view in clean]
        mesh = refine(fuse_tsdf(kept, config.fusion), kept, config.refinement)
        seconds.append(time.perf_counter() - started)
    assert mesh is not None
    return mesh, median(seconds[1:])


@dataclass(frozen=True, eq=False)
class _Judge:
    """Holds a surface against the truth of one frame set."""

    take: Take
    truth: Truth
    frame: int

    def __call__(self, mesh: Mesh) -> dict[str, float]:
        placed = replace(mesh, vertices=truth_from_take(self.take.rig, self.truth.rig) @ mesh.vertices, colours=None)
        vertices = self.truth.vertices[self.truth.trigger_of(self.take, self.frame)].astype(np.float64)
        true = Mesh(vertices, self.truth.faces)
        return face_figures(placed, true, self.truth.face_mask, self.truth.rig.depth)


def _add(scores: dict[str, Scores], judge: _Judge, surfaces: Iterable[PeerSurface]) -> None:
    for surface in surfaces:
        scores.setdefault(surface.setting, Scores()).add(judge(surface.mesh), surface.seconds)


def _against(name: str, ours: Scores, peers: dict[str, Scores]) -> dict[str, float]:
    """Ratios of accuracy and seconds to those of the setting with the best accuracy over all people."""
    whole = {setting: each for setting, each in peers.items() if len(each.figures) == len(ours.figures)}
    for setting, each in whole.items():
        accuracy, score, seconds = each.mean("accuracy_mm_median"), each.mean("fscore_1mm"), mean(each.seconds)
        print(f"    {name}: {setting}: {accuracy:.3f} mm, F {score:.4f}, {seconds:.2f} s", file=sys.stderr)
    best = min(whole.values(), key=lambda each: each.mean("accuracy_mm_median"))
    return {
        f"fuse_vs_{name}_accuracy": ours.mean("accuracy_mm_median") / best.mean("accuracy_mm_median"),
        f"fuse_vs_{name}_seconds": mean(ours.seconds) / mean(best.seconds),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
