"""Any head from plain arrays: round trips, what is missing is transferred, and what is wrong is named."""

import numpy as np
import pytest
import torch

from flame_fitting.models.plain_arrays import read_array_archive
from flame_fitting.models.plain_model import Head, head_arrays, head_from_arrays, read_plain_head, write_plain_head
from flame_fitting.models.registry import load_head, load_head_model
from geometry.errors import InputError

MODES = 6


def nobody() -> Head:
    raise AssertionError("a complete file needs no default head")


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    """All keys, of the default head with a few modes."""
    arrays = head_arrays(load_head())
    return {**arrays, "identity_basis": arrays["identity_basis"][:MODES], "joint_basis": arrays["joint_basis"][:MODES]}


def test_a_head_survives_its_file(whole, tmp_path):
    head = head_from_arrays(whole, nobody, "here")
    write_plain_head(tmp_path / "a.npz", head)
    again = read_plain_head(tmp_path / "a.npz", nobody)
    for key, value in head_arrays(head).items():
        np.testing.assert_array_equal(head_arrays(again)[key], value, err_msg=key)
    assert again.transferred == ()
    torch.testing.assert_close(again.model.template, load_head_model().template, atol=1e-6, rtol=0)


def test_the_least_file_gets_the_rest_from_the_default_head(whole):
    least = {key: whole[key] for key in ("name", "licence", "template", "faces", "identity_basis", "joints")}
    shift = np.array([0.3, -1.0, 0.2])
    least |= {"template": least["template"] + shift, "joints": least["joints"] + shift}
    head = head_from_arrays(least, load_head, "here")
    assert head.transferred == ("expressions", "skinning", "regions", "landmarks", "contours")
    default = load_head()
    model = head.model
    torch.testing.assert_close(model.template, default.model.template, atol=1e-6, rtol=0)
    marks, own = head.landmarks.on(model.template.double()), default.landmarks.on(default.model.template.double())
    assert (marks - own).norm(dim=1).quantile(0.95) < 5e-4
    assert (model.expression_basis - default.model.expression_basis).norm(dim=2).max() < 2.5e-3
    assert (model.skinning - default.model.skinning).abs().mean() < 5e-3
    for name in model.region_names:
        ours, theirs = model.region(name), default.model.region(name)
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.95, name
    assert (model.joint_basis - default.model.joint_basis[:MODES]).norm(dim=2).max() < 3e-3
    uv = model.uv[model.uv_faces]
    assert uv.min() >= 0 and uv.max() <= 1
    area = torch.linalg.det(uv[:, 1:] - uv[:, :1]).abs() / 2
    assert area[model.region_faces("face")].sum() > 0.15, "the face gets its share of the texture"


def test_texture_islands_do_not_lie_on_the_face(whole):
    least = {key: whole[key] for key in whole if not key.startswith("uv")}
    model = head_from_arrays(least, nobody, "here").model
    skin = model.region_faces("skin")
    assert model.uv[model.uv_faces[skin]][..., 1].min() > model.uv[model.uv_faces[~skin]][..., 1].max() - 0.02


def test_joints_in_another_order_mean_the_same(whole):
    order = [4, 2, 0, 1, 3]
    names = np.array(["neck", "head", "jaw", "eye_left", "eye_right"])[order]
    mixed = {**whole, "joint_names": names, "joints": whole["joints"][order]}
    mixed |= {"joint_basis": whole["joint_basis"][:, order], "skinning": whole["skinning"][:, order]}
    ours, plain = head_from_arrays(mixed, nobody, "here").model, head_from_arrays(whole, nobody, "here").model
    torch.testing.assert_close(ours.joints, plain.joints)
    torch.testing.assert_close(ours.skinning, plain.skinning)
    torch.testing.assert_close(ours.joint_basis, plain.joint_basis)


def broken(array: np.ndarray, value: float) -> np.ndarray:
    copy = np.array(array, np.float64)
    copy.flat[7] = value
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"template": None}, "without template"),
        (lambda a: {"licence": None}, "without licence"),
        (lambda a: {"template": broken(a["template"], np.nan)}, "finite numbers in template"),
        (lambda a: {"identity_basis": broken(a["identity_basis"], np.inf)}, "finite numbers in identity_basis"),
        (lambda a: {"template": a["template"] * 1000}, "divide by 1,000"),
        (lambda a: {"template": a["template"] * [-1, 1, -1], "joints": a["joints"] * [-1, 1, -1]}, "facing .z"),
        (lambda a: {"template": a["template"][:, [0, 2, 1]], "joints": a["joints"][:, [0, 2, 1]]}, "inside out"),
        (
            lambda a: {
                "template": a["template"][:, [0, 2, 1]] * [1, 1, -1],
                "joints": a["joints"][:, [0, 2, 1]] * [1, 1, -1],
            },
            "y up",
        ),
        (lambda a: {"template": a["template"][:100]}, "of shape"),
        (lambda a: {"faces": a["faces"] + 1}, "faces between 0 and"),
        (lambda a: {"faces": a["faces"].astype(float)}, "whole numbers in faces"),
        (lambda a: {"joints": a["joints"][:3]}, r"joints of shape \(5, 3\)"),
        (lambda a: {"expression_names": None}, "expression_basis and expression_names together"),
        (lambda a: {"expression_names": np.array([f"curve{n}" for n in range(52)])}, "ARKit's 52"),
        (lambda a: {"joint_names": np.array(list("abcde"))}, "the joints neck, head"),
        (lambda a: {"skinning": a["skinning"] * 0.5}, "sum to 1"),
        (lambda a: {"region_names": np.array([f"r{n}" for n in range(len(a["regions"]))])}, "the regions face"),
        (lambda a: {"landmark_faces": a["landmark_faces"] * 50}, "landmark_faces between"),
        (lambda a: {"contour_lip_pairs": a["contour_lip_pairs"] * 50}, "contour_lip_pairs between"),
        (lambda a: {"name": np.array(3)}, "text in name"),
        (lambda a: {"template": np.array(1.0)}, "an array in template"),
    ],
)
def test_what_is_wrong_is_named(whole, change, message):
    arrays = {key: value for key, value in {**whole, **change(whole)}.items() if value is not None}
    with pytest.raises(InputError, match=message):
        head_from_arrays(arrays, nobody, "here")


def test_a_head_without_eyeballs_says_what_needs_them(whole):
    eyes = np.isin(whole["faces"], np.concatenate([whole["contour_eyeball_left"], whole["contour_eyeball_right"]])).all(
        1
    )
    least = {key: whole[key] for key in ("name", "licence", "template", "identity_basis", "joints")}
    with pytest.raises(InputError, match="eyeballs as parts of their own"):
        head_from_arrays({**least, "faces": whole["faces"][~eyes]}, load_head, "here")


def test_archives_that_lie_about_their_size_are_refused_before_anything_is_allocated(tmp_path):
    import zipfile

    path = tmp_path / "a.npz"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("template.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    with pytest.raises(InputError, match="declares 8000000000000 bytes"):
        read_array_archive(path, ("template",))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("template.npy", "w") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(InputError):
        read_array_archive(path, ("template",))
    np.savez(path, template=np.array([{"a": 1}], object))
    with pytest.raises(InputError, match="plain arrays"):
        read_array_archive(path, ("template",))
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match="plain arrays"):
        read_array_archive(path, ("template",))
