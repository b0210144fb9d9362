"""Everything that the checks of a take look at; what is dear is found once and kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from capture.consistency import ConsistencyFigures, measure_consistency
from capture.quality.facts import CameraFacts, measure_camera
from capture.quality.sampling import sampled_indices
from capture.readers.recording import StreamClock
from capture.sync import SyncReport, reports_from_json, synchronise
from storage.take import Take

WORKERS = 4
"""Threads that decode at most; each holds the samples of one camera, some 25 MB."""
CONSISTENCY_FRAME_SETS, LARGE_RIG = 3, 24
"""How many frame sets are compared; of rigs with more cameras one, which has features and surface enough."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """A take, and what was found out about it so far."""

    take: Take
    """The take, proven whole."""

    @cached_property
    def clocks(self) -> Mapping[str, StreamClock]:
        """The clocks of every stream, by camera."""
        streams = {name: self.take.stream(name) for name in self.take.rig.ids}
        return {
            name: StreamClock(item.device_ns, item.host_ns, item.frame_counter, item.trigger_id, item.timecode_ns)
            for name, item in streams.items()
        }

    @cached_property
    def sync_reports(self) -> Mapping[str, SyncReport]:
        """What synchronising found about every camera, by camera: as stored, or found again from the clocks."""
        reports = reports_from_json(self.take.sync_attributes)
        if {report.camera for report in reports} != set(self.take.rig.ids):
            reports = synchronise(self.take.rig, self.clocks).cameras
        return {report.camera: report for report in reports}

    @cached_property
    def facts(self) -> Mapping[str, CameraFacts]:
        """What the pictures of every camera that has frames show, by camera."""
        names = [name for name in self.take.rig.ids if len(self.take.stream(name))]
        with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
            measured = pool.map(lambda name: measure_camera(self.take.stream(name)), names)
            return dict(zip(names, measured, strict=True))

    @cached_property
    def consistency(self) -> Mapping[str, ConsistencyFigures]:
        """How well the cameras of the rig agree in a few frame sets, by camera."""
        held = (self.take.sync.index >= 0).sum(1)
        fullest = np.flatnonzero(held == held.max()) if len(held) else np.zeros(0, int)
        several = CONSISTENCY_FRAME_SETS if len(self.take.rig.cameras) <= LARGE_RIG else 1
        chosen = fullest[sampled_indices(len(fullest), several)] if len(fullest) else fullest
        return measure_consistency(
            self.take.rig, lambda name: (self.take.frame(name, int(frame_set)) for frame_set in chosen)
        )

    def frame_time_s(self, camera_id: str) -> Float[np.ndarray, "t"]:
        """When each frame of a camera was taken, since the first frame set, seconds.

        That of its frame set; frames in none lie evenly between their neighbours.
        """
        sync = self.take.sync
        column = sync.index[:, self.take.rig.index(camera_id)]
        held = np.flatnonzero(column >= 0)
        frames = np.arange(len(self.take.stream(camera_id)))
        if not len(held):
            return frames.astype(np.float64)
        order = held[np.argsort(column[held], kind="stable")]
        return np.interp(frames, column[order], (sync.time_ns[order] - sync.time_ns[0]) / 1e9)
