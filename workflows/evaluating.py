"""Every figure that can be had of a take, in one flat table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.heads import FittedHead, depth_figures, head_figures, seen_vertices, surface_figures
from evaluation.truth import Truth, find_truth
from evaluation.worlds import truth_from_take
from geometry.errors import InputError
from geometry.meshes import Mesh
from storage.take import Take
from workflows.surfaces import fused_frames, read_surface

SURFACES = 5
"""Fused surfaces to compare with the truth: spread over the take, because each costs a second."""


def evaluate_take(take: Take, truth_folder: Path | None) -> dict[str, float]:
    """Figures of the take's results against truth, where it has one, and against its own depth.

    Raises InputError when a simulated take's truth is missing, or when there is nothing to evaluate.
    """
    truth = find_truth(take, truth_folder)
    figures: dict[str, float] = {"frame_sets": float(take.frame_count)}
    steps = take.results.steps()
    if "fit" in steps:
        head = FittedHead.read(take)
        if truth is not None:
            figures |= head_figures(take, head, truth)
        figures |= depth_figures(take, head)
    if truth is not None and fused_frames(take):
        figures |= _surface_medians(take, truth)
    if len(figures) == 1:
        raise InputError("results to evaluate", f"{take.path} without any", "run `mien fit` or `mien fuse` first")
    return figures


def _surface_medians(take: Take, truth: Truth) -> dict[str, float]:
    frames, truth_of_take = fused_frames(take), truth_from_take(take.rig, truth.rig)
    chosen = sorted({frames[int(k)] for k in np.linspace(0, len(frames) - 1, min(SURFACES, len(frames)))})
    tables = []
    for frame in chosen:
        true = Mesh(truth.vertices[truth.trigger_of(take, frame)].astype(np.float64), truth.faces)
        seen = seen_vertices(true.vertices, true.faces, truth.face_mask, truth.rig.cameras)
        fused = read_surface(take, frame)
        placed = replace(fused, vertices=truth_of_take @ fused.vertices)
        tables.append(surface_figures(placed, true, seen))
    return {key: float(np.median([table[key] for table in tables])) for key in tables[0]}
