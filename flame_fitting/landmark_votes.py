"""Which landmarks have a vote once the head is known roughly: those that their camera sees of it.

A landmark network answers for every point of a face, hidden ones too: the far cheek, and what lies behind a hand or a
headset, where it draws a face as faces usually are. The head that was fitted so far says where its landmarks are, and
the depth of the frame what stands before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from flame_fitting.evidence import DepthImage
from flame_fitting.landmarks.head_visibility import covered_by_depth, visibility_from_head
from flame_fitting.losses.landmarks import LandmarkTargets
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.scene import FrameObservations, HeadScene
from geometry.cameras import Camera

DEPTHS_A_VIEW = 2
"""Depth pictures that may say that something stands before the face in a view: those taken nearest to it. What hides a
face from a camera shows in the sensor beside it, and cost does not grow with the square of a rig."""
EVERY, SURE = 4, 0.5
"""Of the landmarks of at least this confidence, so many stand for one that is asked for first."""
MOST_COVERED = 0.1
"""From this share of them on something is before the face; up to a twentieth lie behind the nose in a view aside."""


@dataclass(frozen=True, eq=False)
class LandmarkVotes:
    """What each view of a frame shows of the head."""

    landmarks: dict[str, Bool[np.ndarray, "l"]]
    """By camera, in the embedding's order."""
    irises: dict[str, Bool[np.ndarray, "i"]]
    """By camera, the left and the right one."""

    @classmethod
    def of(cls, scene: HeadScene, state: HeadState, seen: FrameObservations) -> LandmarkVotes:
        """Of one frame and the head that was fitted to it so far; on the CPU, where the scene and the state are."""
        marks = scene.marks.in_world(state)
        places = torch.cat([marks, scene.irises.on(scene.surface).in_world(state)]).numpy()
        landmarks, irises = {}, {}
        for target in seen.landmarks:
            near = nearest_depth(target.camera, seen.depth)
            if not near or not _something_before(places, target, near[0]):
                continue
            vertices = scene.surface.in_world(state).numpy()
            shown = visibility_from_head(places, vertices, scene.faces, target.camera, near)
            landmarks[target.camera_id], irises[target.camera_id] = shown[: len(marks)], shown[len(marks) :]
        return cls(landmarks, irises)

    def given(self, seen: FrameObservations) -> FrameObservations:
        """The frame, in which what is hidden has no vote."""
        own = lambda targets, votes: tuple(_voting(target, votes.get(target.camera_id)) for target in targets)  # noqa: E731
        landmarks, irises = own(seen.landmarks, self.landmarks), own(seen.irises, self.irises)
        covered = [target.camera_id in self.landmarks for target in seen.landmarks]
        gone = [replace(c, confidence=c.confidence * (not hid)) for c, hid in zip(seen.closures, covered, strict=True)]
        return replace(seen, landmarks=landmarks, irises=irises, closures=tuple(gone))


def nearest_depth(camera: Camera, images: Sequence[DepthImage]) -> tuple[DepthImage, ...]:
    """The depth pictures that were taken nearest to a camera."""
    away = lambda image: float(np.linalg.norm(image.camera.centre_world - camera.centre_world))  # noqa: E731
    return tuple(sorted(images, key=away)[:DEPTHS_A_VIEW])


def _something_before(places: Float[np.ndarray, "n 3"], target: LandmarkTargets, image: DepthImage) -> bool:
    """Whether more than the nose stands before a face: asked of a few landmarks, which is quick."""
    sure = np.flatnonzero(target.confidence.numpy() > SURE)[::EVERY]
    return len(sure) > 0 and bool(covered_by_depth(places[sure], target.camera, image).mean() > MOST_COVERED)


def _voting(target: LandmarkTargets, shown: Bool[np.ndarray, "l"] | None) -> LandmarkTargets:
    if shown is None or shown.all():
        return target
    return replace(target, confidence=target.confidence * torch.from_numpy(shown))
