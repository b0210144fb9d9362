"""How far each colour camera sees the whole face beside the fitted head: what a wrong calibration shifts.

A fit that learns where a detector puts each landmark of this person learns a camera's wrong place with it, because that
too moves every landmark alike from frame to frame. It is taken apart again here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from storage.take import Take
from workflows.report.contents import FittedHead

LEAST_STEP_M = 1e-5
"""Cameras closer than this to the common shift count alike, so that no weight grows without bound."""
STEPS = 100


@dataclass(frozen=True, eq=False)
class LandmarkShifts:
    """The landmarks' common shift in each camera, apart from what all cameras agree on."""

    cameras: tuple[str, ...]
    """Ids of the colour cameras with landmarks."""
    own_m: Float[np.ndarray, "c"]
    """How far each one alone sees the face shifted, metres at the face."""
    head_m: Float[np.ndarray, "3"]
    """How far all of them together see the face beside the fitted head, in the world: what depth drew it away by."""

    @classmethod
    def read(cls, take: Take, fit: FittedHead) -> LandmarkShifts | None:
        """None where the fit learnt no offsets, or where these are not of this fit."""
        if "default" not in take.results.runs("person"):
            return None
        person = take.results.read("person")
        if "landmark_offset_m" not in person.arrays or fit.result.provenance.inputs.get("person") != person.digest:
            return None
        stored = person["landmark_offset_m"]
        rotations = {camera.id: camera.world_from_camera.rotation.T for camera in take.rig.rgb}
        known: list[tuple[str, np.ndarray]] = []
        for camera_id, offsets in zip(stored.labels("camera"), stored[...].astype(np.float64), strict=True):
            learnt = offsets[np.isfinite(offsets).all(1) & (offsets != 0).any(1)]
            if camera_id in rotations and len(learnt):
                known.append((camera_id, np.median(learnt, 0)))
        if not known:
            return None
        axes = np.stack([rotations[camera_id][:2] for camera_id, _ in known])
        head, own = common_shift(axes, np.stack([shift for _, shift in known]))
        return cls(tuple(camera_id for camera_id, _ in known), np.linalg.norm(own, axis=1), head)

    def of(self, camera_id: str) -> float:
        """A camera's own shift in metres, 0 where none is known."""
        return float(self.own_m[self.cameras.index(camera_id)]) if camera_id in self.cameras else 0.0


def common_shift(
    axes: Float[np.ndarray, "c 2 3"], shifts: Float[np.ndarray, "c 2"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "c 2"]]:
    """The shift in the world that most cameras agree on, and what it leaves of each camera's own.

    The sum of distances is least, not of squares, so that one camera far off does not draw the others after it
    (iteratively reweighted least squares; Weiszfeld 1937).
    """
    weights, shift = np.ones(len(axes)), np.zeros(3)
    for _ in range(STEPS):
        root = np.repeat(np.sqrt(weights), 2)
        shift = np.linalg.lstsq(axes.reshape(-1, 3) * root[:, None], shifts.reshape(-1) * root, rcond=None)[0]
        weights = 1 / np.maximum(np.linalg.norm(shifts - axes @ shift, axis=1), LEAST_STEP_M)
    return shift, shifts - axes @ shift
