"""Surfaces and point clouds as binary PLY.

Source: Turk 1994, The PLY Polygon File Format; property names as MeshLab, Open3D and trimesh read them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from export import write_whole
from geometry.errors import InputError

_AXES = ("x", "y", "z")
_NORMAL_AXES = ("nx", "ny", "nz")
_CHANNELS = ("red", "green", "blue")
_PLY_TYPES = {"<f4": "float", "u1": "uchar"}


def write_ply(
    path: Path,
    mesh_vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"] | None,
    colours: UInt8[np.ndarray, "v 3"] | None = None,
    normals: Float[np.ndarray, "v 3"] | None = None,
) -> None:
    """Write a binary little-endian PLY: float32 positions (and normals), uint8 sRGB colours, int32 triangles.

    Positions keep their frame and unit (metres). `faces=None` writes a point cloud. Equal input gives equal bytes, and
    the file appears whole or not at all.
    Raises InputError for a surface without vertices or triangles, for values that are not finite, and when the file
    cannot be written; ValueError for arrays that do not fit each other.
    """
    n_vertices = len(mesh_vertices)
    if n_vertices == 0 or (faces is not None and len(faces) == 0):
        raise InputError(
            expected="a surface with vertices and triangles",
            got=f"{n_vertices} vertices, {0 if faces is None else len(faces)} triangles",
            remedy="check the step that made the surface; pass faces=None for a point cloud",
        )
    fields: list[tuple[str, str]] = [(axis, "<f4") for axis in _AXES]
    columns = _columns("vertices", mesh_vertices, n_vertices)
    if normals is not None:
        fields += [(axis, "<f4") for axis in _NORMAL_AXES]
        columns += _columns("normals", normals, n_vertices)
    if colours is not None:
        if colours.dtype != np.uint8:
            raise ValueError(f"colours must be uint8 sRGB, not {colours.dtype}")
        fields += [(channel, "u1") for channel in _CHANNELS]
        columns += _columns("colours", colours, n_vertices)
    table = np.empty(n_vertices, fields)
    for (name, _), column in zip(fields, columns, strict=True):
        table[name] = column

    header = ["ply", "format binary_little_endian 1.0", "comment metres, right-handed"]
    header += [f"element vertex {n_vertices}"] + [f"property {_PLY_TYPES[kind]} {name}" for name, kind in fields]
    triangles = b""
    if faces is not None:
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        triangles = _triangle_rows(faces, n_vertices)
    header_bytes = ("\n".join([*header, "end_header"]) + "\n").encode("ascii")
    write_whole(path, [header_bytes, table.tobytes(), triangles])


def _columns(name: str, values: np.ndarray, n_vertices: int) -> list[np.ndarray]:
    """The three columns of a per-vertex array that is known to be finite in float32."""
    if values.shape != (n_vertices, 3):
        raise ValueError(f"{name} must have shape ({n_vertices}, 3), not {values.shape}")
    if not np.isfinite(values.astype(np.float32)).all():
        raise InputError(
            expected=f"finite {name}", got="NaN or infinity", remedy="check the step that made the surface"
        )
    return list(values.T)


def _triangle_rows(faces: Int[np.ndarray, "f 3"], n_vertices: int) -> bytes:
    """PLY's list rows: the count 3 as a byte, then three int32 indices."""
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= n_vertices:
        raise ValueError(f"faces must be (f, 3) indices in [0, {n_vertices})")
    rows = np.empty(len(faces), [("count", "u1"), ("indices", "<i4", (3,))])
    rows["count"], rows["indices"] = 3, faces
    return rows.tobytes()
