"""Pictures of a colour chart in a recording, and the cameras matched by them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int

from capture.calibration.colour_matching import ColourMatch, chart_patches, match_chart
from capture.calibration.footage import Sensor
from capture.readers.recording import Recording

MOST_FRAME_SETS = 24
"""Looked through, evenly over the recording: a chart is held for seconds, and finding none is slow."""

Patches = dict[tuple[int, int], Float[np.ndarray, "24 3"]]
"""By sensor and frame set."""


def find_charts(recording: Recording, sensors: Sequence[Sensor], index: Int[np.ndarray, "f c"]) -> Patches:
    """The patches of every chart that a colour camera shows in some of the frame sets, given as the sync index."""
    chosen = np.unique(np.linspace(0, len(index) - 1, min(MOST_FRAME_SETS, len(index))).round().astype(int))
    jobs = [
        (number, int(frame_set), int(index[frame_set, recording.rig.index(sensor.camera.id)]))
        for number, sensor in enumerate(sensors)
        if sensor.camera.kind == "rgb"
        for frame_set in chosen
    ]
    jobs = [job for job in jobs if job[2] >= 0]

    def look(job: tuple[int, int, int]) -> Float[np.ndarray, "24 3"] | None:
        return chart_patches(recording.read_frame(sensors[job[0]].camera.id, job[2]))

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        found = list(pool.map(look, jobs))
    return {(job[0], job[1]): patches for job, patches in zip(jobs, found, strict=True) if patches is not None}


def match_charts(charts: Patches, sensors: int, reference: int) -> list[ColourMatch | None]:
    """Each sensor's matrix from the moments at which it and the reference saw the chart; None where there are none."""
    return [_match(charts, sensor, reference) for sensor in range(sensors)]


def _match(charts: Patches, sensor: int, reference: int) -> ColourMatch | None:
    shared = [moment for s, moment in charts if s == sensor and (reference, moment) in charts]
    if not shared:
        return None
    mine = np.mean([charts[sensor, moment] for moment in shared], axis=0)
    theirs = np.mean([charts[reference, moment] for moment in shared], axis=0)
    return match_chart(mine, theirs, len(shared))
