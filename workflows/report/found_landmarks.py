"""Landmarks of a take as the report shows them: which camera found what, and in which state each view was."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from storage.results import StoredResult
from storage.take import Take

NO_PICTURE, NO_FACE, SEARCHED, FOLLOWED, PROFILE = range(5)
"""States of a view, as `mien fit` stores them."""
STATE_WORDS = {NO_PICTURE: "no picture", NO_FACE: "no face found", PROFILE: "seen in profile"}
"""What keeps a view from voting with all its landmarks."""


@dataclass(frozen=True, eq=False)
class FoundLandmarks:
    """The landmarks of a take, a frame at a time."""

    result: StoredResult
    """Where they come from."""
    cameras: tuple[str, ...]
    """The colour cameras, by column."""

    @classmethod
    def read(cls, take: Take) -> FoundLandmarks | None:
        """None where no landmarks were found yet; InputError where the result is damaged."""
        if "default" not in take.results.runs("landmarks"):
            return None
        result = take.results.read("landmarks")
        named = result["points_px"].labels("camera") or result.provenance.config.get("cameras") or ()
        return cls(result, tuple(named) or tuple(camera.id for camera in take.rig.rgb))

    def at(self, camera_id: str, frame: int) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]] | None:
        """Points in the camera's pixels and their confidence; None where the camera found no face."""
        if camera_id not in self.cameras:
            return None
        column = self.cameras.index(camera_id)
        points = self.result["points_px"][frame][column].astype(np.float64)
        confidence = np.nan_to_num(self.result["confidence"][frame][column].astype(np.float64))
        confidence[~np.isfinite(points).all(1)] = 0
        return (points, confidence) if (confidence > 0).any() else None

    @property
    def count(self) -> int:
        """Landmarks of one face: 478 with irises, 468 without."""
        return int(self.result["points_px"].spec.shape[2])

    @cached_property
    def view_state(self) -> Int[np.ndarray, "t c"]:
        """The state of every view. Where none are stored, a view without any confidence counts as without a face."""
        if "view_state" in self.result.arrays:
            return self.result["view_state"][...].astype(np.int64)
        seen = [(self.result["confidence"][frame] > 0).any(1) for frame in range(len(self.result["confidence"]))]
        return np.where(np.array(seen), SEARCHED, NO_FACE).reshape(-1, len(self.cameras))
