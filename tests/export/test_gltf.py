"""Heads written as GLB, read back by a reader that knows only the specification, and by the Khronos validator."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from export.gltf import HeadAnimation, HeadAsset, weak_targets, write_glb
from geometry.errors import InputError
from tests import gltf_validator
from tests.export.synthetic_head import N_TARGETS, rigid, synthetic_head
from tests.gltf_reader import read_glb
from tests.gltf_validator import assert_valid_gltf, validate_gltf

TOLERANCE_M = 1e-6


@pytest.fixture(scope="module")
def head() -> HeadAsset:
    return synthetic_head()


def _expected_corners(head: HeadAsset, time_s: float) -> np.ndarray:
    """What must be drawn, from the arrays that went in."""
    animation = head.animation
    assert animation is not None
    weights = np.array([np.interp(time_s, animation.time_s, curve) for curve in animation.weights.T])
    rotations = Rotation.from_matrix(animation.origin_from_head[:, :3, :3])
    rotation = Slerp(animation.time_s, rotations)(np.clip(time_s, animation.time_s[0], animation.time_s[-1]))
    moved = head.vertices + np.einsum("m,mvc->vc", weights, head.morph_offsets)
    path = animation.origin_from_head[:, :3, 3].T
    translation = np.array([np.interp(time_s, animation.time_s, axis) for axis in path])
    return (rotation.apply(moved) + translation)[head.faces]


def test_file_is_valid_and_uses_no_extension(head: HeadAsset, tmp_path: Path) -> None:
    write_glb(tmp_path / "head.glb", head)
    assert_valid_gltf(tmp_path / "head.glb")
    document = read_glb(tmp_path / "head.glb").json
    assert "extensionsUsed" not in document and "extensionsRequired" not in document
    assert len(document["meshes"]) == len(document["meshes"][0]["primitives"]) == 1
    assert document["scenes"][document["scene"]]["nodes"] == [0]
    assert [node["name"] for node in document["nodes"]] == ["origin", "head"]
    assert {c["target"]["path"] for c in document["animations"][0]["channels"]} == {
        "weights",
        "rotation",
        "translation",
    }


def test_validator_finds_a_wrong_bound(head: HeadAsset, tmp_path: Path) -> None:
    path = tmp_path / "head.glb"
    write_glb(path, head)
    read = read_glb(path)
    position = read.json["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    bound = b'"min":' + json.dumps(read.json["accessors"][position]["min"], separators=(",", ":")).encode()
    digit = bound.index(b".") + 1
    wrong = bound[:digit] + (b"9" if bound[digit] != ord("9") else b"8") + bound[digit + 1 :]
    data = path.read_bytes()
    assert data.count(bound) == 1
    path.write_bytes(data.replace(bound, wrong))
    assert validate_gltf(path).errors > 0
    with pytest.raises(AssertionError, match="ACCESSOR_MIN_MISMATCH"):
        assert_valid_gltf(path)


@pytest.mark.parametrize(("ci", "outcome"), [("true", RuntimeError), ("", pytest.skip.Exception)])
def test_an_absent_validator_is_an_error_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(gltf_validator, "_find_node", lambda: None)
    with pytest.raises(outcome, match="not installed"):
        validate_gltf(tmp_path / "head.glb")


def test_morphs_and_motion_come_back_at_and_between_keyframes(head: HeadAsset, tmp_path: Path) -> None:
    assert head.animation is not None
    write_glb(tmp_path / "head.glb", head)
    read = read_glb(tmp_path / "head.glb")
    times = read.keyframe_times_s
    np.testing.assert_allclose(times, head.animation.time_s, atol=1e-7)
    between = times[:-1] + np.array([0.1, 0.5, 0.77])[:, None] * np.diff(times)
    outside = [times[0] - 0.005, times[-1] + 1]
    # Compared at the float32 times of the file: a keyframe of it is a keyframe of the head.
    rounded = dataclasses.replace(head, animation=dataclasses.replace(head.animation, time_s=times))
    for time_s in (*times, *between.ravel(), *outside):
        error = np.linalg.norm(read.corners(time_s) - _expected_corners(rounded, time_s), axis=2)
        assert error.max() < TOLERANCE_M, f"{error.max() * 1e6:.3f} micrometres at {time_s:.4f} s"


def test_reader_holds_values_of_stepped_samplers(head: HeadAsset, tmp_path: Path) -> None:
    path = tmp_path / "head.glb"
    write_glb(path, head)
    data = path.read_bytes()
    assert data.count(b'"LINEAR"') == 3
    path.write_bytes(data.replace(b'"LINEAR"', b'"STEP"  '))
    assert_valid_gltf(path)
    read = read_glb(path)
    before, after = read.keyframe_times_s[4:6]
    np.testing.assert_array_equal(read.corners(0.1 * before + 0.9 * after), read.corners(before))
    assert np.abs(read.corners(after) - read.corners(before)).max() > 0.01


def test_each_target_alone_moves_what_it_should(head: HeadAsset, tmp_path: Path) -> None:
    time_s = np.arange(N_TARGETS) / 64
    still = np.tile(np.eye(4), (N_TARGETS, 1, 1))
    write_glb(
        tmp_path / "head.glb", dataclasses.replace(head, animation=HeadAnimation(time_s, np.eye(N_TARGETS), still))
    )
    read = read_glb(tmp_path / "head.glb")
    assert tuple(read.target_names) == head.morph_names
    for target, time in enumerate(time_s):
        expected = (head.vertices + head.morph_offsets[target])[head.faces]
        np.testing.assert_allclose(read.corners(float(time)), expected, rtol=0, atol=TOLERANCE_M)


def test_world_coordinates_come_back_through_the_scene_extras(head: HeadAsset, tmp_path: Path) -> None:
    assert head.animation is not None
    write_glb(tmp_path / "head.glb", head)
    read = read_glb(tmp_path / "head.glb")
    world_from_origin = np.array(read.json["scenes"][0]["extras"]["world_from_origin"])
    np.testing.assert_array_equal(world_from_origin, head.metadata.world_from_origin)
    frame = 5
    neck_world = head.metadata.world_from_origin @ head.animation.origin_from_head[frame, :, 3]
    state = read.node_state(1, float(read.keyframe_times_s[frame]))
    np.testing.assert_allclose(
        (world_from_origin @ [*state.translation, 1])[:3], neck_world[:3], rtol=0, atol=TOLERANCE_M
    )


@pytest.mark.parametrize("animated", [True, False])
def test_rest_is_the_neutral_head_at_the_origin(head: HeadAsset, tmp_path: Path, animated: bool) -> None:
    asset = head if animated else dataclasses.replace(head, animation=None)
    write_glb(tmp_path / "head.glb", asset)
    read = read_glb(tmp_path / "head.glb")
    assert ("animations" in read.json) == animated
    np.testing.assert_array_equal(read.corners(), head.vertices.astype(np.float32).astype(float)[head.faces])
    assert_valid_gltf(tmp_path / "head.glb")


def test_texture_shows_the_intended_texel_at_every_corner(head: HeadAsset, tmp_path: Path) -> None:
    write_glb(tmp_path / "head.glb", head)
    read = read_glb(tmp_path / "head.glb")
    pixels = read.image()
    np.testing.assert_array_equal(pixels, head.base_colour)
    height, width = pixels.shape[:2]
    # glTF 3.8.1: (0, 0) is the upper left corner of the image.
    uv = read.attribute_corners("TEXCOORD_0")
    seen = pixels[(uv[..., 1] * height).astype(int), (uv[..., 0] * width).astype(int)]
    # OpenGL: (0, 0) is the lower left corner. The red and green of a texel are its column and row.
    meant = head.uv[head.uv_faces]
    np.testing.assert_allclose(seen[..., 0] / 2.0, meant[..., 0] * width - 0.5, atol=0.5001)
    np.testing.assert_allclose(seen[..., 1] / 4.0, (1 - meant[..., 1]) * height - 0.5, atol=0.5001)


def test_top_left_of_the_image_is_at_u_0_v_1(head: HeadAsset, tmp_path: Path) -> None:
    corner = dataclasses.replace(head, uv=np.tile([0.02, 0.98], (len(head.uv), 1)))
    write_glb(tmp_path / "head.glb", corner)
    read = read_glb(tmp_path / "head.glb")
    u, v = read.attribute_corners("TEXCOORD_0")[0, 0]
    assert read.image()[int(v * 64), int(u * 128), 2] == 255


def test_large_textures_become_jpeg_of_the_same_picture(head: HeadAsset, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    coarse = rng.integers(40, 216, (24, 32, 3)).astype(np.uint8)
    grain = rng.integers(0, 25, (960, 1280, 1)).astype(np.uint8)
    noisy = np.kron(coarse, np.ones((40, 40, 1), np.uint8)) + grain
    write_glb(tmp_path / "head.glb", dataclasses.replace(head, base_colour=noisy))
    read = read_glb(tmp_path / "head.glb")
    assert read.json["images"][0]["mimeType"] == "image/jpeg"
    difference = read.image().astype(float) - noisy
    assert np.abs(difference).mean() < 2.0 and np.abs(difference.mean(axis=(0, 1))).max() < 0.2
    assert_valid_gltf(tmp_path / "head.glb")


def test_normals_point_out_and_do_not_break_at_the_seam(head: HeadAsset, tmp_path: Path) -> None:
    write_glb(tmp_path / "head.glb", head)
    normals = read_glb(tmp_path / "head.glb").attribute_corners("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=2), 1, atol=1e-6)
    of_vertex = np.zeros_like(head.vertices)
    of_vertex[head.faces] = normals
    np.testing.assert_array_equal(of_vertex[head.faces], normals)
    assert (np.einsum("vc,vc->v", of_vertex, head.vertices - head.vertices.mean(axis=0)) > 0).all()


def test_local_targets_are_sparse_and_global_ones_are_not(head: HeadAsset, tmp_path: Path) -> None:
    write_glb(tmp_path / "head.glb", head)
    document = read_glb(tmp_path / "head.glb").json
    targets = [document["accessors"][t["POSITION"]] for t in document["meshes"][0]["primitives"][0]["targets"]]
    assert all("sparse" in target for i, target in enumerate(targets) if i != 50)
    assert "sparse" not in targets[50] and "bufferView" in targets[50]
    assert targets[51]["sparse"]["count"] == 1 and targets[51]["min"] == targets[51]["max"] == [0, 0, 0]


def test_meshes_beyond_16_bit_indices(head: HeadAsset, tmp_path: Path) -> None:
    side = 260
    y, x = np.mgrid[0:side, 0:side] / side
    vertices = np.stack([x * 0.2, y * 0.2, 0.02 * np.sin(9 * x)], axis=2).reshape(-1, 3)
    lower = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    quads = np.stack([lower, lower + 1, lower + side + 1, lower + side], axis=1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    offsets = np.zeros((N_TARGETS, len(vertices), 3))
    offsets[:, -40:, 2] = 0.01
    sheet = dataclasses.replace(
        head,
        vertices=vertices,
        faces=faces,
        uv=np.stack([x, y], axis=2).reshape(-1, 2),
        uv_faces=faces,
        morph_offsets=offsets,
    )
    write_glb(tmp_path / "head.glb", sheet)
    assert_valid_gltf(tmp_path / "head.glb")
    read = read_glb(tmp_path / "head.glb")
    np.testing.assert_array_equal(read.corners(), vertices.astype(np.float32).astype(float)[faces])
    np.testing.assert_array_equal(read.node_state(1, None).weights, np.zeros(N_TARGETS))


def test_quaternions_keep_their_hemisphere_through_full_turns(head: HeadAsset, tmp_path: Path) -> None:
    frames = 50
    turns = np.linspace(0, 5 * np.pi, frames)[:, None] * np.array([0.0, 1.0, 0.0])
    motion = HeadAnimation(np.arange(frames) / 30, np.zeros((frames, N_TARGETS)), rigid(turns, np.zeros((frames, 3))))
    write_glb(tmp_path / "head.glb", dataclasses.replace(head, animation=motion))
    read = read_glb(tmp_path / "head.glb")
    quaternions = np.array([read.node_state(1, float(time)).rotation for time in read.keyframe_times_s])
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1, atol=1e-7)
    assert ((quaternions[1:] * quaternions[:-1]).sum(axis=1) > 0.9).all()


def test_a_single_frame_is_an_animation(head: HeadAsset, tmp_path: Path) -> None:
    assert head.animation is not None
    still = HeadAnimation(np.zeros(1), head.animation.weights[4:5], head.animation.origin_from_head[4:5])
    write_glb(tmp_path / "head.glb", dataclasses.replace(head, animation=still))
    assert_valid_gltf(tmp_path / "head.glb")
    corners = read_glb(tmp_path / "head.glb").corners(0.0)
    expected = _expected_corners(head, float(head.animation.time_s[4]))
    np.testing.assert_allclose(corners, expected, rtol=0, atol=TOLERANCE_M)


def test_metadata_is_in_the_extras(head: HeadAsset, tmp_path: Path) -> None:
    write_glb(tmp_path / "head.glb", head)
    asset = read_glb(tmp_path / "head.glb").json["asset"]
    assert asset["generator"] == "mien 0.1.0"
    assert asset["extras"] == {
        "subject": "subject-Ä7",
        "licence": "CC0-1.0",
        "units": "metre",
        "axes": head.metadata.axes,
        "tool_version": "0.1.0",
        "provenance": {"take": "t1", "fit": "sha256:00"},
    }


def test_equal_heads_give_equal_bytes_and_nothing_else(head: HeadAsset, tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", head)
    write_glb(tmp_path / "b.glb", dataclasses.replace(head, vertices=head.vertices.copy()))
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.glb", "b.glb"]


def test_float32_and_float64_heads_agree(head: HeadAsset, tmp_path: Path) -> None:
    single = dataclasses.replace(
        head,
        vertices=head.vertices.astype(np.float32),
        morph_offsets=head.morph_offsets.astype(np.float32),
        faces=head.faces.astype(np.int32),
    )
    write_glb(tmp_path / "a.glb", single)
    assert_valid_gltf(tmp_path / "a.glb")
    write_glb(tmp_path / "b.glb", head)
    first, second = read_glb(tmp_path / "a.glb"), read_glb(tmp_path / "b.glb")
    time_s = float(first.keyframe_times_s[3])
    np.testing.assert_array_equal(first.corners(time_s), second.corners(time_s))


def test_a_failed_write_leaves_the_older_file(head: HeadAsset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "head.glb"
    path.write_bytes(b"older")

    def full_disk(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(InputError, match="No space left"):
        write_glb(path, head)
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/head.glb", "file/head.glb"])
def test_a_folder_that_is_none_is_named(head: HeadAsset, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder"):
        write_glb(tmp_path / place, head)


def test_weak_targets_are_named_and_kept(head: HeadAsset, tmp_path: Path) -> None:
    offsets = head.morph_offsets.copy()
    offsets[3] *= 4.9e-4 / np.linalg.norm(offsets[3], axis=1).max()
    offsets[4] *= 5.1e-4 / np.linalg.norm(offsets[4], axis=1).max()
    weaker = dataclasses.replace(head, morph_offsets=offsets)
    assert weak_targets(weaker) == ("target03", "target51")
    assert weak_targets(weaker, threshold_m=5.2e-4) == ("target03", "target04", "target51")
    write_glb(tmp_path / "head.glb", weaker)
    assert len(read_glb(tmp_path / "head.glb").target_names) == N_TARGETS


def test_reader_refuses_a_truncated_file(head: HeadAsset, tmp_path: Path) -> None:
    path = tmp_path / "head.glb"
    write_glb(path, head)
    data = path.read_bytes()
    path.write_bytes(data[:-4])
    with pytest.raises(AssertionError):
        read_glb(path)
    path.write_bytes(data[:8] + struct.pack("<I", len(data) - 4) + data[12:-4])
    with pytest.raises(AssertionError):
        read_glb(path)
