"""The detector's arithmetic on hand-made network outputs; real faces are in test_landmarker.py."""

import numpy as np
import pytest

from flame_fitting.landmarks.detector import blazeface_anchors, decode, weighted_suppression


def _box(centre: tuple[float, float], side: float) -> np.ndarray:
    return np.array([centre, (side, side), *[centre] * 6], dtype=float)


def test_there_are_896_anchors_at_cell_centres() -> None:
    anchors = blazeface_anchors()
    assert anchors.shape == (896, 2)
    fine, coarse = anchors[:512], anchors[512:]
    assert len(np.unique(fine, axis=0)) == 256 and len(np.unique(coarse, axis=0)) == 64
    np.testing.assert_allclose(fine[[0, 1, 2, 32]] * 128, [[4, 4], [4, 4], [12, 4], [4, 12]])
    np.testing.assert_allclose(coarse[[0, 5, 6, 48]] * 128, [[8, 8], [8, 8], [24, 8], [8, 24]])


def test_decoding_adds_the_anchor_to_positions_and_not_to_sizes() -> None:
    anchors = blazeface_anchors()
    logits, offsets = np.full(896, -200.0), np.zeros((896, 16))
    logits[600] = 3.0
    offsets[600] = [2, -4, 32, 40, *range(12)]
    boxes, scores = decode(logits, offsets, anchors)
    assert scores == pytest.approx([1 / (1 + np.exp(-3))])
    expected = (offsets[600].reshape(8, 2) + 128 * anchors[600]) / 128
    expected[1] = [32 / 128, 40 / 128]
    np.testing.assert_allclose(boxes[0], expected)


def test_extreme_logits_are_finite() -> None:
    boxes, scores = decode(np.array([1e9, -1e9]), np.zeros((2, 16)), blazeface_anchors()[:2])
    assert len(boxes) == 1 and scores[0] == pytest.approx(1)


def test_overlapping_boxes_become_their_weighted_mean() -> None:
    boxes = np.stack([_box((0.30, 0.5), 0.2), _box((0.32, 0.5), 0.2), _box((0.8, 0.5), 0.1)])
    faces = weighted_suppression(boxes, np.array([0.9, 0.6, 0.7]))
    assert [score for _, score in faces] == [0.9, 0.7]
    np.testing.assert_allclose(faces[0][0][0], [(0.9 * 0.30 + 0.6 * 0.32) / 1.5, 0.5])
    np.testing.assert_allclose(faces[1][0], boxes[2])


def test_boxes_without_area_end() -> None:
    assert len(weighted_suppression(np.zeros((3, 8, 2)), np.array([0.9, 0.8, 0.7]))) == 3
    assert weighted_suppression(np.zeros((0, 8, 2)), np.zeros(0)) == []
