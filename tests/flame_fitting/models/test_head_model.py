"""The default head: its contract, its cache, its landmarks, and that it holds fresh people."""

import time

import numpy as np
import pytest
import torch

from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.registry import head_model_path, load_head_model, load_landmark_embedding
from geometry.errors import InputError


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


def test_it_is_a_head_in_metres_facing_z(model):
    low, high = model.template.min(0).values, model.template.max(0).values
    assert 0.2 < float(high[1] - low[1]) < 0.35
    assert 0.12 < float(high[0] - low[0]) < 0.22
    assert model.joints[model.joint_names.index("neck")].norm() < 1e-6, "the neck joint is the origin"
    face = model.template[model.region("face")]
    assert face[:, 2].mean() > model.template[:, 2].mean() + 0.02, "the face is in front"
    left, right = (model.joints[model.joint_names.index(name)] for name in ("eye_left", "eye_right"))
    assert left[0] > 0.02 > -0.02 > right[0], "the subject's left is +x"


def test_arkit_curves_have_arkits_names_and_all_move_something(model):
    assert len(model.expression_names) == 52
    assert {"jawOpen", "eyeBlinkLeft", "mouthSmileRight", "tongueOut"} <= set(model.expression_names)
    assert (model.expression_basis.norm(dim=2).max(1).values > 5e-4).all()


def test_identity_prior_is_standard_normal_and_batches_agree(model):
    generator = torch.Generator().manual_seed(0)
    identity = torch.randn(3, len(model.identity_basis), generator=generator)
    curves = torch.rand(3, 52, generator=generator)
    batch = model.with_shape(identity).with_expression(curves).vertices
    for number in range(3):
        alone = model.with_shape(identity[number]).with_expression(curves[number]).vertices
        torch.testing.assert_close(batch[number], alone, atol=1e-6, rtol=0)
    few = model.with_shape(identity[0, :10]).vertices
    padded = torch.cat([identity[0, :10], torch.zeros(len(model.identity_basis) - 10)])
    torch.testing.assert_close(few, model.with_shape(padded).vertices, atol=1e-6, rtol=0)


def test_shape_is_differentiable(model):
    identity = torch.zeros(5, requires_grad=True)
    model.with_shape(identity).with_expression(torch.zeros(52)).vertices.square().sum().backward()
    assert identity.grad is not None and identity.grad.abs().max() > 0


def test_skinning_sums_to_one_and_regions_are_where_they_should_be(model):
    torch.testing.assert_close(model.skinning.sum(1), torch.ones(len(model.template)), atol=1e-5, rtol=0)
    face, skin = model.region("face"), model.region("skin")
    assert (face & ~skin).sum() == 0
    assert not (face & (model.region("ears") | model.region("scalp") | model.region("mouth_interior"))).any()
    assert 1500 < int(face.sum()) < 2600
    assert model.template[model.region("scalp"), 1].mean() > model.template[face, 1].mean()


def test_texture_coordinates_stay_inside_and_triangles_keep_their_side(model):
    uv = model.uv.numpy()
    assert uv.min() >= 0 and uv.max() <= 1
    assert model.uv_faces.shape == model.faces.shape


def test_it_loads_from_its_cache_in_under_a_second(model):
    started = time.perf_counter()
    again = HeadModel.load(head_model_path())
    assert time.perf_counter() - started < 1
    torch.testing.assert_close(again.identity_basis, model.identity_basis)


def test_a_file_that_is_no_model_is_refused_and_never_executed(tmp_path):
    bad = tmp_path / "model.npz"
    with bad.open("wb") as file:
        np.savez(file, template=np.array([{"a": 1}], object))
    with pytest.raises(InputError, match="mien models install"):
        HeadModel.load(bad)
    bad.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match="mien models install"):
        HeadModel.load(bad)


def test_landmarks_sit_on_the_face_of_any_identity(model):
    embedding = load_landmark_embedding()
    assert len(embedding.source_index) > 400
    torch.testing.assert_close(embedding.barycentric.sum(1), torch.ones(len(embedding.faces)).double())
    on_template = embedding.on(model.template.double())
    row = {int(index): place for index, place in zip(embedding.source_index, on_template, strict=True)}
    nose, chin, forehead = row[1], row[152], row[10]
    assert nose[2] == on_template[:, 2].max() or nose[2] > on_template[:, 2].max() - 0.01
    assert chin[1] < nose[1] < forehead[1]
    right_eye, left_eye = row[33], row[263]  # MediaPipe's right is the subject's right
    assert right_eye[0] < 0 < left_eye[0]
    assert 0.07 < float((left_eye - right_eye).norm()) < 0.12


@pytest.mark.slow
def test_fresh_heads_lie_within_a_quarter_millimetre_of_the_basis(model):
    from flame_fitting.models.anny import RawAnny

    heads = RawAnny().sample(6, np.random.default_rng(77)).vertices
    skin = model.region("skin").numpy()
    basis = model.identity_basis.numpy()[:, skin].reshape(len(model.identity_basis), -1).T.astype(float)
    translations = np.tile(np.eye(3), (int(skin.sum()), 1))
    for head in heads:
        difference = (head - model.template.numpy())[skin].ravel()
        design = np.concatenate([basis, translations], 1)
        left = difference - design @ np.linalg.lstsq(design, difference, rcond=None)[0]
        error_mm = np.linalg.norm(left.reshape(-1, 3), axis=1) * 1000
        assert np.median(error_mm) < 0.25
