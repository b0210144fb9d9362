"""Which colour camera shows a head best, and which window of it."""

from __future__ import annotations

import numpy as np

from flame_fitting.focal_length import fitted_cameras
from geometry.cameras import Camera
from storage.take import Take
from workflows.report.contents import FittedHead
from workflows.report.found_landmarks import FOLLOWED, SEARCHED, FoundLandmarks
from workflows.report.pictures import Shot

WINDOW_FRAMES = 24
"""Heads that a window of the whole take is laid around."""
UNSEEN_PENALTY = 0.5
"""What a view without a face counts less, in cosines of the angle to the face's front."""


def best_view(take: Take, fit: FittedHead, marks: FoundLandmarks | None, frames: list[int]) -> Camera | None:
    """The camera that most nearly faces the head over some frames; those that lack pictures or the face come last.

    None without colour cameras.
    """
    cameras = fitted_cameras(take.rig.rgb, fit.result.provenance.metrics)
    if not cameras:
        return None
    order = [camera.id for camera in take.rig.cameras]

    def worth(camera: Camera) -> float:
        total = 0.0
        for frame in frames:
            if take.sync.index[frame, order.index(camera.id)] < 0:
                total -= 2 * UNSEEN_PENALTY
                continue
            head = fit.translation[frame]
            if np.isfinite(head).all():
                towards = camera.centre_world - head
                total += float(fit.rotation[frame][:, 2] @ towards / max(float(np.linalg.norm(towards)), 1e-9))
            total -= 0.0 if _shows_face(marks, camera.id, frame) else UNSEEN_PENALTY
        return total

    return max(cameras, key=worth)


def spread_frames(count: int, most: int) -> list[int]:
    """At most so many frames, evenly over a take."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def window_of(take: Take, fit: FittedHead, camera: Camera, width: int) -> Shot:
    """One window that holds the face over the whole take."""
    heads = [fit.vertices(frame)[fit.face_region] for frame in spread_frames(take.frame_count, WINDOW_FRAMES)]
    points = np.concatenate(heads)
    return Shot.of_points(camera, points[np.isfinite(points).all(1)], width)


def _shows_face(marks: FoundLandmarks | None, camera_id: str, frame: int) -> bool:
    if marks is None or camera_id not in marks.cameras or frame >= len(marks.view_state):
        return True
    return int(marks.view_state[frame, marks.cameras.index(camera_id)]) in (SEARCHED, FOLLOWED)
