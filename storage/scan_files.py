"""Scans from OBJ, PLY, STL and GLB files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from geometry.errors import InputError
from geometry.scans import Scan

SCAN_SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".gltf")
LARGEST_TEXTURE = 4096
"""Longest side that is kept; a face fills some hundred pixels where it is looked for."""
_DRACO = "KHR_draco_mesh_compression"


def read_scan(path: Path) -> Scan:
    """The triangles of a file, all of its meshes together, in its own unit and axes.

    Raises InputError for a file that is not there, is no mesh or has no triangles.
    """
    if path.suffix.lower() not in SCAN_SUFFIXES or not path.is_file():
        formats = ", ".join(suffix[1:].upper() for suffix in SCAN_SUFFIXES)
        raise InputError(f"a scan file ({formats})", str(path), "name such a file, or a folder of them")
    _require_draco(path)
    try:
        # Without `maintain_order`, so that vertices on texture seams are split and keep each side's coordinates.
        mesh: Any = trimesh.load_mesh(path, process=False)
        if isinstance(mesh, trimesh.Scene):
            mesh = mesh.to_mesh()
    except Exception as error:  # every format has its own kind of failure
        raise InputError("a scan as OBJ, PLY, STL or GLB", f"{path} ({error})", "check the file") from error
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
        raise InputError("a scan with triangles", f"{path} without any", "export the scan as a triangle mesh")
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError("triangles of the file's own vertices", f"others in {path}", "export the scan again")
    visual: Any = mesh.visual
    uv, image = getattr(visual, "uv", None), _image(getattr(visual, "material", None))
    if uv is not None and image is not None and len(uv) == len(vertices) and np.isfinite(uv).all():
        return Scan(vertices, faces, uv=np.asarray(uv, np.float64), texture=image)
    if visual.kind == "vertex":
        return Scan(vertices, faces, colours=np.ascontiguousarray(visual.vertex_colors[:, :3], np.uint8))
    return Scan(vertices, faces)


def _image(material: Any) -> np.ndarray | None:
    """The base colour of a material, if it is a picture."""
    image = getattr(material, "image", None) or getattr(material, "baseColorTexture", None)
    if image is None or min(image.size) < 8:  # readers put a few pixels where a file names a missing picture
        return None
    image = image.convert("RGB")
    image.thumbnail((LARGEST_TEXTURE, LARGEST_TEXTURE))
    return np.asarray(image)


def _require_draco(path: Path) -> None:
    """Without its decoder trimesh reads a compressed file as an empty one."""
    if path.suffix.lower() not in (".glb", ".gltf") or _DRACO not in _gltf_extensions(path):
        return
    try:
        import DracoPy  # noqa: F401 - only whether it is there  # pyright: ignore[reportMissingImports, reportUnusedImport]
    except ImportError as error:
        got = f"{path}, compressed by Draco, and no decoder"
        raise InputError(
            "a GLB that can be read", got, "run `pip install DracoPy`, or export it uncompressed"
        ) from error


def _gltf_extensions(path: Path) -> list[str]:
    """Extensions that a glTF file needs; none where it cannot be read, which its reader will say better."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
            is_binary = head[:4] == b"glTF"
            text = file.read(struct.unpack("<I", head[12:16])[0]) if is_binary else head + file.read()
        return list(json.loads(text).get("extensionsRequired", []))
    except (ValueError, struct.error, AttributeError):
        return []
