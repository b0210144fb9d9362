"""Where a landmark network sees this person's landmarks beside the surface points that stand for them.

A network puts a point some millimetres beside the vertex it is embedded at, differently on each person and from each
side, but the same from frame to frame. Taken as error, the point would bend the head; taken as an unknown of the
subject and camera, it says how the face moves.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from flame_fitting.losses.landmarks import LandmarkTargets, landmark_residuals
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.scene import FrameObservations, HeadScene

OffsetsByCamera = dict[str, Float[Tensor, "l 2"]]


def learn_offsets(
    scene: HeadScene, frames: list[tuple[HeadState, FrameObservations]], detection_sigma_m: float = 8e-4
) -> OffsetsByCamera:
    """Mean distance of each landmark in each camera, metres along the camera's x and y, shrunk towards none.

    The scatter of the embedding is the prior's deviation, `detection_sigma_m` the noise of one detection.
    """
    weights: dict[str, Tensor] = {}
    moments: dict[str, Tensor] = {}
    for state, seen in frames:
        for target in seen.landmarks:
            found = landmark_residuals(scene.marks, scene.embedding.spread_m.double(), state, replace_offsets(target))
            moved_m = -found.error * found.depth_m[:, None]
            weights[target.camera_id] = weights.get(target.camera_id, 0) + found.trust
            moments[target.camera_id] = moments.get(target.camera_id, 0) + found.trust[:, None] * moved_m
    prior = (detection_sigma_m / scene.embedding.spread_m.double()) ** 2
    return {camera: moments[camera] / (weights[camera] + prior)[:, None] for camera in weights}


def replace_offsets(target: LandmarkTargets, offsets: OffsetsByCamera | None = None) -> LandmarkTargets:
    """The same detections with other offsets, or with none."""
    own = (offsets or {}).get(target.camera_id)
    return replace(target, offset_m=torch.zeros_like(target.offset_m) if own is None else own)


def with_offsets(seen: FrameObservations, offsets: OffsetsByCamera) -> FrameObservations:
    """A frame whose landmarks know where this person's lie."""
    return replace(seen, landmarks=tuple(replace_offsets(target, offsets) for target in seen.landmarks))
