"""Contours lie where lips, lids and pupils are, and close when the curves that close them act."""

import numpy as np
import pytest
import torch

from flame_fitting.models.contours import (
    HeadContours,
    load_contours,
    mirrored_curve_rows,
    opening,
    symmetric_curves,
)
from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.registry import load_head_model
from geometry.errors import InputError


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


@pytest.fixture(scope="module")
def contours() -> HeadContours:
    return load_contours()


def with_curves(model: HeadModel, **curves: float) -> torch.Tensor:
    values = torch.zeros(len(model.expression_names))
    for name, value in curves.items():
        values[model.expression_names.index(name)] = value
    return model.with_shape(torch.zeros(1)).with_expression(values).vertices


def test_closed_lips_touch_and_an_open_jaw_parts_every_pair(model, contours):
    closed = contours.lip_opening(with_curves(model))
    assert closed.abs().max() < 1e-3, "the neutral mouth is shut within the mesh's own asymmetry"
    parted = contours.lip_opening(with_curves(model, jawOpen=0.6))
    assert parted.min() > 4e-3
    shut_again = contours.lip_opening(with_curves(model, jawOpen=0.6, mouthClose=0.6))
    assert shut_again.abs().max() < 1.5e-3


def test_lids_close_left_and_right_each_by_its_own_blink(model, contours):
    left, right = contours.lid_opening(with_curves(model))
    inner = slice(2, -2)
    assert left[inner].min() > 3e-3 and right[inner].min() > 3e-3
    left, right = contours.lid_opening(with_curves(model, eyeBlinkLeft=contours.lid_contact))
    assert left.abs().mean() < 7e-4 and right[inner].min() > 3e-3
    left, right = contours.lid_opening(with_curves(model, eyeBlinkRight=1.0))
    assert right[inner].max() < 0, "a shut eye's upper lid lies over the lower one"
    assert left[inner].min() > 3e-3


def test_the_mirror_of_a_vertex_is_its_image_and_swaps_left_with_right(model, contours):
    mirror = contours.mirror
    assert mirror.shape == (len(model.template),)
    flip = torch.tensor([-1.0, 1, 1])
    ball_vertices = torch.cat(contours.eyeballs)
    outside = torch.ones(len(mirror), dtype=torch.bool)
    outside[ball_vertices] = False  # only the left eyeball has a back
    assert torch.equal(mirror[mirror][outside], torch.arange(len(mirror))[outside])
    distance = (model.template[mirror] - model.template * flip).norm(dim=1)[outside]
    assert distance.max() < 1e-3, "the template is symmetric within a millimetre"
    assert torch.equal(mirror[contours.pupils], contours.pupils.flip(0))
    assert torch.equal(mirror[contours.lid_pairs_left], contours.lid_pairs_right)
    assert {tuple(pair) for pair in mirror[contours.lip_pairs].tolist()} == {
        tuple(pair) for pair in contours.lip_pairs.tolist()
    }


def test_left_curves_are_the_mirror_images_of_right_ones(model, contours):
    rows = list(mirrored_curve_rows(model.expression_names))
    flip = torch.tensor([-1.0, 1, 1])
    mirrored = model.expression_basis[rows][:, contours.mirror] * flip
    skin = model.region("skin")
    scale = model.expression_basis.norm(dim=2).max(1).values[:, None]
    difference = ((mirrored - model.expression_basis).norm(dim=2) / scale)[:, skin]
    assert difference.mean() < 0.02
    pairs = symmetric_curves(model.expression_names)
    assert len(pairs) == 20
    assert {model.expression_names[left][:-4] for left, _ in pairs} >= {"eyeBlink", "jaw", "mouth", "mouthSmile"}


def test_pupils_are_the_front_of_balls_about_the_eye_joints(model, contours):
    for side, name in enumerate(("eye_left", "eye_right")):
        ball, joint = contours.eyeballs[side], model.joints[model.joint_names.index(name)]
        assert (model.template[ball] - joint).norm(dim=1).max() < 0.02
        ring = contours.pupils[side]
        pupil = model.template[ring].mean(0) - joint
        assert set(ring.tolist()) <= set(ball.tolist()) and pupil[2] > 0.99 * pupil.norm()


def test_openings_are_linear_in_the_vertices_and_batch(model, contours):
    random = torch.Generator().manual_seed(3)
    heads = torch.randn(2, 4, len(model.template), 3, generator=random, dtype=torch.float64)
    sums = opening(heads.sum(0), contours.lip_pairs)
    torch.testing.assert_close(sums, opening(heads, contours.lip_pairs).sum(0))


def test_a_model_without_contours_is_named():
    with pytest.raises(InputError, match="nobody"):
        load_contours("nobody")


def test_the_committed_contours_are_what_the_script_finds(contours, tmp_path, monkeypatch):
    import importlib.util
    import json
    import sys
    from pathlib import Path

    place = Path(__file__).parents[3] / "tools" / "make_head_contours.py"
    spec = importlib.util.spec_from_file_location("make_head_contours", place)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "TARGET", tmp_path / "contours.json")
    monkeypatch.setattr(sys, "argv", ["make_head_contours"])
    script.main()
    again = json.loads((tmp_path / "contours.json").read_text())
    assert again["lip_pairs"] == contours.lip_pairs.tolist()
    assert again["lid_pairs_left"] == contours.lid_pairs_left.tolist()
    np.testing.assert_allclose(again["lid_rest_m"], contours.lid_rest_m, atol=1e-5)
    assert again["mirror"] == contours.mirror.tolist()
