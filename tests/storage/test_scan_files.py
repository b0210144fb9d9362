"""Scans from files: every format gives the same triangles, colours survive, and what cannot be read is named."""

import json
import struct
import sys

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import ColorVisuals, TextureVisuals

from geometry.errors import InputError
from storage.scan_files import read_scan


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl", "glb"])
def test_each_format_gives_the_same_surface(suffix, tmp_path):
    box = trimesh.creation.box((1, 2, 3))
    path = tmp_path / f"box.{suffix}"
    box.export(path)
    mesh = read_scan(path).as_mesh()
    back = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert len(mesh.vertices) == 8
    assert back.is_watertight
    assert back.volume == pytest.approx(6)


def test_several_meshes_of_a_scene_come_together_where_they_stand(tmp_path):
    scene = trimesh.Scene([trimesh.creation.box((1, 1, 1)), trimesh.creation.icosphere(1)])
    scene.add_geometry(trimesh.creation.box((1, 1, 1)), transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.export(tmp_path / "scene.glb")
    scan = read_scan(tmp_path / "scene.glb")
    assert len(scan.faces) == 12 + 80 + 12
    assert scan.vertices[:, 0].max() == pytest.approx(5.5)


def test_colours_and_textures_come_along(tmp_path):
    box = trimesh.creation.box()
    box.visual = ColorVisuals(box, vertex_colors=np.tile([10, 200, 30, 255], (8, 1)))
    box.export(tmp_path / "coloured.ply")
    colours = read_scan(tmp_path / "coloured.ply").colours
    assert colours is not None
    assert (colours == [10, 200, 30]).all()

    picture = Image.fromarray(np.full((16, 32, 3), [90, 60, 20], np.uint8))
    uv = np.random.default_rng(0).random((8, 2))
    textured = trimesh.Trimesh(box.vertices, box.faces, visual=TextureVisuals(uv=uv, image=picture))
    textured.export(tmp_path / "textured.glb")
    scan = read_scan(tmp_path / "textured.glb")
    assert scan.texture is not None
    assert scan.uv is not None
    assert scan.texture.shape == (16, 32, 3)
    assert scan.texture[0, 0].tolist() == [90, 60, 20]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("gone.obj", None, "a scan file"),
        ("scan.fbx", b"anything", "a scan file"),
        ("points.obj", b"v 0 0 0\nv 1 0 0\n", "triangles"),
        ("cut.glb", b"glTF\x02\x00\x00\x00", "check the file"),
    ],
)
def test_what_is_no_scan_is_named(name, content, problem, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=problem):
        read_scan(tmp_path / name)


def test_draco_without_its_decoder_is_no_empty_scan(tmp_path, monkeypatch):
    text = json.dumps({"asset": {"version": "2.0"}, "extensionsRequired": ["KHR_draco_mesh_compression"]}).encode()
    text += b" " * (-len(text) % 4)
    header = b"glTF" + struct.pack("<II", 2, 20 + len(text)) + struct.pack("<I", len(text)) + b"JSON"
    (tmp_path / "scan.glb").write_bytes(header + text)
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    with pytest.raises(InputError, match="pip install DracoPy"):
        read_scan(tmp_path / "scan.glb")
