"""Where a network sees a person's landmarks: planted shifts come back, as far as they were measured."""

from dataclasses import replace

import torch

from flame_fitting.landmark_offsets import learn_offsets, replace_offsets, with_offsets
from flame_fitting.losses.landmarks import landmark_residuals
from flame_fitting.losses.linear_head import HeadState
from flame_fitting.scene import FrameObservations
from tests.flame_fitting.exact_heads import COLOUR, ExactTake, named, scene, state

FRAMES = 5
COUNT = len(scene(0).embedding.source_index)


def planted() -> dict[str, torch.Tensor]:
    """A shift of each landmark in each camera, metres."""
    generator = torch.Generator().manual_seed(4)
    return {by.id: torch.randn(COUNT, 2, generator=generator, dtype=torch.float64) * 1e-3 for by in COLOUR}


def frames_with(offsets: dict[str, torch.Tensor], unseen: int = 0) -> list[tuple[HeadState, FrameObservations]]:
    """A moving head seen exactly, each landmark beside its place; the first `unseen` of them have no confidence."""
    states = tuple(
        state(named(jawOpen=0.15 * n), (0.03 * n, -0.05 * n, 0.0), (0.002 * n, 0.0, 0.01 * n)) for n in range(FRAMES)
    )
    take, frames = ExactTake(scene(0), states), []
    for frame, at in enumerate(states):
        seen = FrameObservations.of(take, take.of.embedding, frame)
        targets = []
        for target in seen.landmarks:
            depth = (scene(0).marks.in_world(at) @ target.rotation.T + target.translation)[:, 2:]
            confidence = target.confidence.clone()
            confidence[:unseen] = 0
            shifted = target.normalised + offsets[target.camera_id] / depth
            targets.append(replace(target, normalised=shifted, confidence=confidence))
        frames.append((at, replace(seen, landmarks=tuple(targets))))
    return frames


def test_planted_offsets_are_recovered():
    true = planted()
    found = learn_offsets(scene(0), frames_with(true), detection_sigma_m=0.0)
    assert found.keys() == true.keys()
    for camera, offset in true.items():
        torch.testing.assert_close(found[camera], offset, rtol=1e-6, atol=1e-9)


def test_offsets_are_shrunk_as_far_as_detections_are_noisy():
    true = planted()
    some, more = (learn_offsets(scene(0), frames_with(true), sigma) for sigma in (8e-4, 8e-3))
    for camera, offset in true.items():
        share, less = some[camera] / offset, more[camera] / offset
        assert ((share > 0) & (share <= 1)).all() and (less < share).all()
        wide = scene(0).embedding.spread_m > 2e-3
        assert share[wide].min() > 0.8, "five frames tell most of a shift that is common among people"


def test_a_landmark_that_was_never_seen_has_none():
    found = learn_offsets(scene(0), frames_with(planted(), unseen=7))
    for offset in found.values():
        assert (offset[:7] == 0).all() and (offset[7:] != 0).any(1).all()


def test_learning_does_not_pile_up_on_what_is_known():
    true = planted()
    frames = frames_with(true)
    found = learn_offsets(scene(0), frames)
    again = learn_offsets(scene(0), [(at, with_offsets(seen, found)) for at, seen in frames])
    for camera in true:
        torch.testing.assert_close(again[camera], found[camera])


def test_known_offsets_leave_no_residual():
    true = planted()
    for at, seen in frames_with(true):
        for target in with_offsets(seen, true).landmarks:
            spread = scene(0).embedding.spread_m.double()
            assert landmark_residuals(scene(0).marks, spread, at, target).error.abs().max() < 1e-12
            assert (replace_offsets(target).offset_m == 0).all()
            assert (replace_offsets(target, {"another camera": true[target.camera_id]}).offset_m == 0).all()
