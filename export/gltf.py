"""A head that an engine plays, as one GLB: morph targets, a base-colour texture on the head's UV, animation.

Frames, and how a reader gets world coordinates back:

- *head*: origin at the neck joint, y up, facing +z, metres. The mesh and its morph targets are stored in it.
- *origin*: the frame of the glTF scene, fixed over the take. Node `origin` (the identity) is the scene's only root; its
  child `head` carries the mesh and moves by `HeadAnimation.origin_from_head`. Without animation, or in a viewer that
  plays none, `head` rests at the identity: the neutral head with its neck joint at the scene's origin.
- *world*: the studio's. `scene.extras.world_from_origin` is a rigid 4x4 matrix, a list of rows, acting on columns.

    points_world(t) = world_from_origin @ origin_from_head(t) @ (vertices + sum_m weights(t, m) * morph_offsets[m])

Translation and weights are interpolated linearly between keyframes, rotation by slerp. Triangles keep the order of
`HeadAsset.faces`, corner by corner; vertices are split at UV seams, so a vertex is found through a triangle's corner.
glTF keeps float32, so the scene's origin stays near the head: within 10 m, positions are good to 1e-6 m.
No extension is required or used.

Source: Khronos glTF 2.0 specification, sections 3.6 to 3.11 and 4 (GLB).
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.spatial.transform import Rotation

from export import write_whole
from geometry.errors import InputError
from geometry.meshes import vertex_normals

MAX_MORPH_TARGETS = 256
"""Filament, the renderer of Android's Scene Viewer, aborts above this (filament issue 10409)."""
MAX_PNG_BYTES = 2_000_000
"""A larger texture is stored as JPEG: what a web page still loads quickly."""
JPEG_QUALITY = 95
SKIN_ROUGHNESS = 0.6
"""Engines have no subsurface scattering in core glTF; this keeps skin from looking like plastic or chalk."""
RIGID_TOLERANCE = 1e-5
"""Largest entry of R R^T - I: 3 micrometres at a head's radius, and above float32 noise."""
HEAD_EXTENT_RANGE_M = (0.05, 2.0)
"""The longest side of a head's bounding box, shoulders included; anything else is another unit."""
MAX_REACH_M = 10.0
"""Farther out, float32 no longer holds a micrometre."""

# Enumerations of the glTF 2.0 specification, table 3.6.2.2 and sections 3.6.2.4 and 5.26.
_COMPONENT_TYPES = {"<f4": 5126, "<u4": 5125, "<u2": 5123}
_ACCESSOR_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071
_SAMPLER = {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": _CLAMP_TO_EDGE, "wrapT": _CLAMP_TO_EDGE}
_GLB_MAGIC, _CHUNK_JSON, _CHUNK_BIN = 0x46546C67, 0x4E4F534A, 0x004E4942


@dataclass(frozen=True, eq=False)
class AssetMetadata:
    """What the file says of itself, in `asset.extras` (and `world_from_origin` in `scene.extras`)."""

    subject: str
    """Pseudonym of the person."""
    licence: str
    """Licence of the head model whose topology and morph targets these are."""
    tool_version: str
    """Version of mien."""
    world_from_origin: Float[np.ndarray, "4 4"]
    """Rigid; takes the scene's frame to the studio's world, metres."""
    units: str = "metre"
    """Unit of every length in the file; glTF allows no other."""
    axes: str = "right-handed, y up, the neutral head faces +z, origin at the neck joint"
    """The head frame in words."""
    provenance: tuple[tuple[str, str], ...] = ()
    """Name and value of whatever led here: take, source hash, configuration, fitted frames."""

    def __post_init__(self) -> None:
        _expect_rigid("world_from_origin", self.world_from_origin[None])
        _expect_unique("provenance names", tuple(name for name, _ in self.provenance))
        if self.units != "metre":
            raise InputError(expected="units 'metre'", got=f"{self.units!r}", remedy="scale the head to metres")


@dataclass(frozen=True, eq=False)
class HeadAnimation:
    """Expression curves and rigid head motion over time."""

    time_s: Float[np.ndarray, "t"]
    """Seconds since the start of the animation, 0 or later, strictly increasing also when rounded to float32."""
    weights: Float[np.ndarray, "t m"]
    """Morph weights in [0, 1], one column per morph target."""
    origin_from_head: Float[np.ndarray, "t 4 4"]
    """Rigid motion of the neck joint's frame in the scene's frame, metres."""

    def __post_init__(self) -> None:
        frames = len(self.time_s)
        _expect_shape("time_s", self.time_s, (None,))
        _expect_shape("weights", self.weights, (frames, None))
        _expect_shape("origin_from_head", self.origin_from_head, (frames, 4, 4))
        _expect_finite("time_s", self.time_s)
        _expect_finite("weights", self.weights)
        if frames == 0 or self.time_s[0] < 0 or (np.diff(self.time_s.astype(np.float32)) <= 0).any():
            raise InputError(
                expected="at least one time, from 0 s on, strictly increasing in float32",
                got=f"{frames} times starting with {self.time_s[:3].tolist()}",
                remedy="give seconds since the animation's first frame, each frame once, in order",
            )
        if self.weights.min(initial=0) < -1e-6 or self.weights.max(initial=0) > 1 + 1e-6:
            raise InputError(
                expected="morph weights in [0, 1]",
                got=f"{self.weights.min():.4g} to {self.weights.max():.4g}",
                remedy="bound the expression coefficients when fitting",
            )
        _expect_rigid("origin_from_head", self.origin_from_head)
        farthest = float(np.abs(self.origin_from_head[:, :3, 3]).max())
        if farthest > MAX_REACH_M:
            raise InputError(
                expected=f"a head within {MAX_REACH_M:g} m of the scene's origin",
                got=f"{farthest:.4g} m",
                remedy="use metres, and put world_from_origin near the head",
            )


@dataclass(frozen=True, eq=False)
class HeadAsset:
    """A subject's neutral head with everything that an engine needs to play it."""

    vertices: Float[np.ndarray, "v 3"]
    """The neutral head, metres, head frame: origin at the neck joint, y up, facing +z."""
    faces: Int[np.ndarray, "f 3"]
    """Vertex indices of each triangle, counter-clockwise seen from outside."""
    uv: Float[np.ndarray, "u 2"]
    """Texture coordinates in [0, 1], v up (OpenGL): (0, 0) is the bottom left corner of the image."""
    uv_faces: Int[np.ndarray, "f 3"]
    """Row of `uv` for each corner of each triangle."""
    morph_names: tuple[str, ...]
    """Names of the morph targets, ARKit's 52 as a rule."""
    morph_offsets: Float[np.ndarray, "m v 3"]
    """What each target at weight 1 adds to the vertices, metres."""
    base_colour: UInt8[np.ndarray, "h w 3"]
    """sRGB texture, row 0 at the top of the image, where v is 1."""
    metadata: AssetMetadata
    """What the file says of itself."""
    animation: HeadAnimation | None
    """The take's performance, if there is one."""

    def __post_init__(self) -> None:
        n_morphs = len(self.morph_names)
        _expect_shape("vertices", self.vertices, (None, 3))
        _expect_shape("uv", self.uv, (None, 2))
        _expect_shape("morph_offsets", self.morph_offsets, (n_morphs, len(self.vertices), 3))
        _expect_shape("base_colour", self.base_colour, (None, None, 3))
        if len(self.vertices) == 0 or len(self.faces) == 0 or n_morphs == 0 or self.base_colour.size == 0:
            raise InputError(
                expected="a head with vertices, triangles, morph targets and a texture",
                got=f"{len(self.vertices)}, {len(self.faces)}, {n_morphs} and {self.base_colour.size} values of them",
                remedy="check the step that made the head",
            )
        _expect_shape("uv_faces", self.uv_faces, self.faces.shape)
        _expect_indices("faces", self.faces, len(self.vertices))
        _expect_indices("uv_faces", self.uv_faces, len(self.uv))
        for name in ("vertices", "uv", "morph_offsets"):
            _expect_finite(name, getattr(self, name))
        extent = float(np.ptp(self.vertices, axis=0).max())
        if not HEAD_EXTENT_RANGE_M[0] <= extent <= HEAD_EXTENT_RANGE_M[1]:
            raise InputError(
                expected="a head of {} to {} m".format(*HEAD_EXTENT_RANGE_M), got=f"{extent:.4g} m", remedy="use metres"
            )
        if self.uv.min() < -1e-6 or self.uv.max() > 1 + 1e-6:
            raise InputError(
                expected="texture coordinates in [0, 1]",
                got=f"{self.uv.min():.4g} to {self.uv.max():.4g}",
                remedy="bring the head's UV into the one texture tile",
            )
        if self.base_colour.dtype != np.uint8:
            raise ValueError(f"base_colour must be uint8 sRGB, not {self.base_colour.dtype}")
        _expect_unique("morph target names", self.morph_names)
        if n_morphs > MAX_MORPH_TARGETS:
            raise InputError(
                expected=f"at most {MAX_MORPH_TARGETS} morph targets, which every engine loads",
                got=f"{n_morphs}",
                remedy="leave out targets that hardly move anything (weak_targets names them)",
            )
        if self.animation is not None:
            _expect_shape("animation.weights", self.animation.weights, (None, n_morphs))


def weak_targets(head: HeadAsset, threshold_m: float = 5e-4) -> tuple[str, ...]:
    """Names of the morph targets that move no vertex by `threshold_m`, in the head's order; the file keeps them."""
    largest = np.linalg.norm(head.morph_offsets, axis=2).max(axis=1)
    return tuple(name for name, moved in zip(head.morph_names, largest, strict=True) if moved < threshold_m)


def write_glb(path: Path, head: HeadAsset) -> None:
    """Write a glTF 2.0 binary; frames and reading back are explained at the top of this file.

    Equal input gives equal bytes, and the file appears whole or not at all. The texture is PNG, or JPEG where that
    would pass 2 MB. Vertices that no triangle uses are left out.
    Raises InputError when the file cannot be written; a head that exists is already checked.
    """
    chunks = _Chunks()
    gltf: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": f"mien {head.metadata.tool_version}", "extras": _extras(head)},
        "scene": 0,
        "scenes": [
            {"name": "scene", "nodes": [0], "extras": {"world_from_origin": head.metadata.world_from_origin.tolist()}}
        ],
        "nodes": [{"name": "origin", "children": [1]}, {"name": "head", "mesh": 0}],
        "meshes": [_mesh(chunks, head)],
        "materials": [
            {
                "name": "skin",
                "doubleSided": False,
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": 0.0,
                    "roughnessFactor": SKIN_ROUGHNESS,
                },
            }
        ],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [_SAMPLER],
        "images": [_image(chunks, head.base_colour)],
    }
    if head.animation is not None:
        gltf["animations"] = [_animation(chunks, head.animation)]
    gltf |= {
        "accessors": chunks.accessors,
        "bufferViews": chunks.views,
        "buffers": [{"byteLength": len(chunks.binary)}],
    }
    text = json.dumps(gltf, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    header = struct.pack("<III", _GLB_MAGIC, 2, 12 + 8 + len(text) + 8 + len(chunks.binary))
    json_header = struct.pack("<II", len(text), _CHUNK_JSON)
    bin_header = struct.pack("<II", len(chunks.binary), _CHUNK_BIN)
    write_whole(path, [header, json_header, text, bin_header, bytes(chunks.binary)])


@dataclass
class _Chunks:
    """The binary chunk as it grows, with the glTF objects that point into it."""

    binary: bytearray = field(default_factory=bytearray)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes, padded so that the next view starts on a multiple of four; return the view's index."""
        place: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        self.views.append(place if target is None else place | {"target": target})
        self.binary += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """Store rows of little-endian float32, uint32 or uint16; return the accessor's index."""
        return self._add(values, bounds, {"bufferView": self.view(values.tobytes(), target)})

    def sparse_accessor(self, values: Float[np.ndarray, "n 3"]) -> int:
        """Store float32 rows that are zero but for a few, where that takes fewer bytes than all of them would."""
        moved = np.flatnonzero(values.any(axis=1))
        # A sparse accessor has at least one element, so an all-zero target stores its first row.
        rows = _smallest_indices(moved if len(moved) else np.zeros(1, np.int64), len(values))
        if rows.nbytes + len(rows) * values[:1].nbytes >= values.nbytes:
            return self.accessor(values, _ARRAY_BUFFER, bounds=True)
        indices = {"bufferView": self.view(rows.tobytes()), "componentType": _COMPONENT_TYPES[rows.dtype.str]}
        sparse = {"count": len(rows), "indices": indices, "values": {"bufferView": self.view(values[rows].tobytes())}}
        return self._add(values, True, {"sparse": sparse})

    def _add(self, values: np.ndarray, bounds: bool, storage: dict[str, Any]) -> int:
        rows = values.reshape(len(values), -1)
        accessor: dict[str, Any] = {
            "componentType": _COMPONENT_TYPES[values.dtype.str],
            "count": len(rows),
            "type": _ACCESSOR_TYPES[rows.shape[1]],
        }
        if bounds:
            # float32 values written as the doubles they equal: readers that round back find the same bits.
            accessor |= {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
        self.accessors.append(accessor | storage)
        return len(self.accessors) - 1


def _mesh(chunks: _Chunks, head: HeadAsset) -> dict[str, Any]:
    # A vertex with several texture coordinates (a seam) becomes several glTF vertices.
    corners = head.faces.astype(np.int64).ravel() * len(head.uv) + head.uv_faces.ravel()
    pairs, indices = np.unique(corners, return_inverse=True)
    vertex_of, uv_of = np.divmod(pairs, len(head.uv))
    # Normals come from the unsplit surface, so that a seam does not show as a crease.
    normals = vertex_normals(head.vertices.astype(np.float64), head.faces)
    normals[np.linalg.norm(normals, axis=1) < 0.5] = (0.0, 0.0, 1.0)
    # glTF's v counts down from the top of the image.
    uv = np.stack([head.uv[:, 0], 1.0 - head.uv[:, 1]], axis=1).clip(0.0, 1.0)
    primitive = {
        "attributes": {
            "POSITION": chunks.accessor(head.vertices[vertex_of].astype("<f4"), _ARRAY_BUFFER, bounds=True),
            "NORMAL": chunks.accessor(normals[vertex_of].astype("<f4"), _ARRAY_BUFFER),
            "TEXCOORD_0": chunks.accessor(uv[uv_of].astype("<f4"), _ARRAY_BUFFER),
        },
        "indices": chunks.accessor(_smallest_indices(indices.ravel(), len(pairs)), _ELEMENT_ARRAY_BUFFER),
        "material": 0,
        "targets": [
            {"POSITION": chunks.sparse_accessor(offsets[vertex_of].astype("<f4"))} for offsets in head.morph_offsets
        ],
    }
    return {
        "name": "head",
        "primitives": [primitive],
        "weights": [0.0] * len(head.morph_names),
        "extras": {"targetNames": list(head.morph_names)},
    }


def _animation(chunks: _Chunks, animation: HeadAnimation) -> dict[str, Any]:
    time = chunks.accessor(animation.time_s.astype("<f4"), bounds=True)
    curves = {
        "weights": animation.weights.clip(0.0, 1.0).ravel(),
        "rotation": _continuous_quaternions(animation.origin_from_head[:, :3, :3]),
        "translation": animation.origin_from_head[:, :3, 3],
    }
    samplers = [
        {"input": time, "interpolation": "LINEAR", "output": chunks.accessor(values.astype("<f4"))}
        for values in curves.values()
    ]
    channels = [{"sampler": sampler, "target": {"node": 1, "path": path}} for sampler, path in enumerate(curves)]
    return {"name": "take", "samplers": samplers, "channels": channels}


def _continuous_quaternions(rotations: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, "t 4"]:
    """Unit quaternions (x, y, z, w), each in the hemisphere of the one before; the first has w >= 0."""
    quaternions = Rotation.from_matrix(rotations).as_quat(canonical=True)
    turns = np.where((quaternions[1:] * quaternions[:-1]).sum(axis=1) < 0, -1.0, 1.0)
    quaternions[1:] *= np.cumprod(turns)[:, None]
    return quaternions


def _image(chunks: _Chunks, base_colour: UInt8[np.ndarray, "h w 3"]) -> dict[str, Any]:
    pixels = np.ascontiguousarray(base_colour[..., ::-1])
    mime_type, encoded = "image/png", cv2.imencode(".png", pixels)[1]
    if encoded.nbytes > MAX_PNG_BYTES:
        # Full chroma resolution: halved, the red of the lips bleeds into the skin.
        full_chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *full_chroma]
        mime_type, encoded = "image/jpeg", cv2.imencode(".jpg", pixels, options)[1]
    return {"name": "base_colour", "mimeType": mime_type, "bufferView": chunks.view(encoded.tobytes())}


def _extras(head: HeadAsset) -> dict[str, Any]:
    texts = ("subject", "licence", "units", "axes", "tool_version")
    extras = {name: getattr(head.metadata, name) for name in texts}
    return extras | {"provenance": dict(head.metadata.provenance)}


def _smallest_indices(indices: np.ndarray, n_vertices: int) -> np.ndarray:
    """As uint16 where possible; 65535 itself is taken, it restarts primitives."""
    return indices.astype("<u2" if n_vertices <= 65535 else "<u4")


def _expect_shape(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits:
        raise ValueError(f"{name} must have shape {shape} (None: any), not {array.shape}")


def _expect_indices(name: str, indices: np.ndarray, count: int) -> None:
    _expect_shape(name, indices, (None, 3))
    if indices.min() < 0 or indices.max() >= count:
        raise ValueError(f"{name} must index [0, {count}), not [{indices.min()}, {indices.max()}]")


def _expect_finite(name: str, array: np.ndarray) -> None:
    if not np.isfinite(array.astype(np.float32)).all():
        raise InputError(
            expected=f"finite {name}", got="NaN or infinity", remedy="check the fit that these values come from"
        )


def _expect_unique(name: str, values: tuple[str, ...]) -> None:
    if len(set(values)) != len(values) or "" in values:
        raise InputError(expected=f"{name} that differ and are not empty", got=f"{values}", remedy="rename them")


def _expect_rigid(name: str, matrices: Float[np.ndarray, "t 4 4"]) -> None:
    _expect_shape(name, matrices, (None, 4, 4))
    _expect_finite(name, matrices)
    rotations = matrices[:, :3, :3].astype(np.float64)
    skewed = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) > RIGID_TOLERANCE
    improper = (np.linalg.det(rotations) < 0) | (matrices[:, 3] != (0, 0, 0, 1)).any(axis=1)
    if (skewed | improper).any():
        raise InputError(
            expected=f"{name} made of rotations and translations",
            got=f"scale, shear or a mirror in matrix {int(np.argmax(skewed | improper))}",
            remedy="leave scale to the vertices and compose only rigid transforms",
        )
