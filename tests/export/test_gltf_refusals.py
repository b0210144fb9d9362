"""Heads, animations and metadata that must not become a file."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from export.gltf import HeadAsset
from geometry.errors import InputError
from tests.export.synthetic_head import N_TARGETS, synthetic_head


@pytest.fixture(scope="module")
def head() -> HeadAsset:
    return synthetic_head()


def _with(array: np.ndarray, value: Any) -> np.ndarray:
    changed = array.copy()
    changed.flat[5] = value
    return changed


BAD_HEADS: dict[str, tuple[str, Any]] = {
    "NaN vertex": ("finite vertices", lambda h: {"vertices": _with(h.vertices, np.nan)}),
    "infinite offset": ("finite morph_offsets", lambda h: {"morph_offsets": _with(h.morph_offsets, np.inf)}),
    "NaN uv": ("finite uv", lambda h: {"uv": _with(h.uv, np.nan)}),
    "millimetres": ("use metres", lambda h: {"vertices": h.vertices * 1000}),
    "uv outside": ("texture coordinates in", lambda h: {"uv": _with(h.uv, 1.2)}),
    "duplicate names": ("differ", lambda h: {"morph_names": ("same",) * N_TARGETS}),
    "unnamed target": ("not empty", lambda h: {"morph_names": ("", *h.morph_names[1:])}),
    "no triangles": ("with vertices", lambda h: {"faces": h.faces[:0], "uv_faces": h.faces[:0]}),
    "no targets": ("with vertices", lambda h: {"morph_names": (), "morph_offsets": h.morph_offsets[:0]}),
    "no texture": ("with vertices", lambda h: {"base_colour": h.base_colour[:0]}),
    "too many targets": (
        "at most 256",
        lambda h: {
            "morph_names": tuple(map(str, range(257))),
            "morph_offsets": np.zeros((257, len(h.vertices), 3)),
            "animation": None,
        },
    ),
}


@pytest.mark.parametrize("case", BAD_HEADS)
def test_bad_heads_are_refused(head: HeadAsset, case: str) -> None:
    message, change = BAD_HEADS[case]
    with pytest.raises(InputError, match=message):
        dataclasses.replace(head, **change(head))


BAD_ANIMATIONS: dict[str, tuple[str, Any]] = {
    "NaN weight": ("finite weights", lambda a: {"weights": _with(a.weights, np.nan)}),
    "weight above 1": (r"in \[0, 1\]", lambda a: {"weights": _with(a.weights, 1.01)}),
    "weight below 0": (r"in \[0, 1\]", lambda a: {"weights": _with(a.weights, -0.01)}),
    "NaN time": ("finite time_s", lambda a: {"time_s": _with(a.time_s, np.nan)}),
    "time runs back": ("strictly increasing", lambda a: {"time_s": a.time_s[::-1]}),
    "negative time": ("from 0 s on", lambda a: {"time_s": a.time_s - 1}),
    "time of the epoch": ("in float32", lambda a: {"time_s": a.time_s + 1.8e9}),
    "no frames": (
        "at least one time",
        lambda a: {
            "time_s": a.time_s[:0],
            "weights": a.weights[:0],
            "origin_from_head": a.origin_from_head[:0],
        },
    ),
    "scaled motion": (
        "in matrix 0",
        lambda a: {"origin_from_head": a.origin_from_head * np.array([2, 2, 2, 1.0])},
    ),
    "mirrored motion": (
        "a mirror",
        lambda a: {"origin_from_head": a.origin_from_head * np.array([-1, 1, 1, 1.0])},
    ),
    "motion in millimetres": (
        "within 10 m",
        lambda a: {"origin_from_head": a.origin_from_head + np.pad([[0.0, 0, 0, 1350]], ((0, 3), (0, 0)))},
    ),
    "projective motion": ("made of rotations", lambda a: {"origin_from_head": a.origin_from_head.transpose(0, 2, 1)}),
}


@pytest.mark.parametrize("case", BAD_ANIMATIONS)
def test_bad_animations_are_refused(head: HeadAsset, case: str) -> None:
    message, change = BAD_ANIMATIONS[case]
    assert head.animation is not None
    with pytest.raises(InputError, match=message):
        dataclasses.replace(head.animation, **change(head.animation))


def test_arrays_that_do_not_fit_are_refused(head: HeadAsset) -> None:
    animation = head.animation
    assert animation is not None
    fewer = dataclasses.replace(animation, weights=animation.weights[:, 1:])
    for change in (
        {"faces": head.faces + len(head.vertices)},
        {"uv_faces": head.uv_faces - 1},
        {"uv_faces": head.uv_faces[1:]},
        {"morph_offsets": head.morph_offsets[1:]},
        {"animation": fewer},
    ):
        with pytest.raises((ValueError, TypeError)):
            dataclasses.replace(head, **change)
    with pytest.raises((ValueError, TypeError)):
        dataclasses.replace(animation, weights=animation.weights[1:])


def test_bad_metadata_is_refused(head: HeadAsset) -> None:
    with pytest.raises(InputError, match="metres"):
        dataclasses.replace(head.metadata, units="millimetre")
    with pytest.raises(InputError, match="provenance names"):
        dataclasses.replace(head.metadata, provenance=(("take", "a"), ("take", "b")))
    with pytest.raises(InputError, match="world_from_origin"):
        dataclasses.replace(head.metadata, world_from_origin=np.diag([1.0, 1.0, -1.0, 1.0]))
