"""A glTF 2.0 reader for tests, written from the specification alone; it shares no code with the exporter.

It evaluates what an engine would draw: node transforms, morph targets (dense and sparse) and animation, in float64.
Outside its reach, and refused: extensions, skins, cubic splines, files beside the GLB.
Source: Khronos glTF 2.0 specification; section numbers below are its.
"""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

_DTYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@dataclass(frozen=True, eq=False)
class NodeState:
    """The animatable properties of one node at one time."""

    translation: Float[np.ndarray, "3"]
    """Metres."""
    rotation: Float[np.ndarray, "4"]
    """Unit quaternion x, y, z, w."""
    scale: Float[np.ndarray, "3"]
    """Along the node's axes."""
    weights: Float[np.ndarray, "m"]
    """Morph weights of the node's mesh; empty without morph targets."""


@dataclass(frozen=True, eq=False)
class GltfFile:
    """A GLB, taken apart."""

    json: dict[str, Any]
    """The JSON chunk."""
    binary: bytes
    """The binary chunk."""

    @cached_property
    def keyframe_times_s(self) -> Float[np.ndarray, "t"]:
        """All times at which some sampler of the first animation has a keyframe."""
        samplers = self.json["animations"][0]["samplers"]
        return np.unique(np.concatenate([self.accessor(sampler["input"])[:, 0] for sampler in samplers]))

    @property
    def target_names(self) -> list[str]:
        """Morph target names of the first mesh, by the convention that engines follow."""
        return self.json["meshes"][0]["extras"]["targetNames"]

    def corners(self, time_s: float | None = None) -> Float[np.ndarray, "f 3 3"]:
        """Triangle corners of the default scene, in its frame; `time_s=None` plays no animation."""
        found: list[np.ndarray] = []
        for node in self.json["scenes"][self.json.get("scene", 0)]["nodes"]:
            self._collect(node, np.eye(4), time_s, found)
        return np.concatenate(found)

    def attribute_corners(self, semantic: str) -> Float[np.ndarray, "f 3 k"]:
        """A vertex attribute of the first primitive of the first mesh, per triangle corner."""
        primitive = self.json["meshes"][0]["primitives"][0]
        return self.accessor(primitive["attributes"][semantic])[self._triangles(primitive)]

    def image(self, index: int = 0) -> UInt8[np.ndarray, "h w 3"]:
        """Decoded pixels, sRGB, row 0 at the top."""
        image = self.json["images"][index]
        decoded = Image.open(io.BytesIO(self._view(image["bufferView"])))
        assert decoded.get_format_mimetype() == image["mimeType"]
        return np.asarray(decoded.convert("RGB"))

    def accessor(self, index: int) -> Float[np.ndarray, "n k"]:
        """Rows of one accessor as float64, substitutions of sparse storage made (3.6.2)."""
        accessor = self.json["accessors"][index]
        count, width = accessor["count"], _WIDTHS[accessor["type"]]
        dtype = np.dtype(_DTYPES[accessor["componentType"]])
        if "bufferView" in accessor:
            rows = self._rows(accessor, dtype, (count, width)).copy()
        else:
            rows = np.zeros((count, width), dtype)
        if sparse := accessor.get("sparse"):
            index_type = np.dtype(_DTYPES[sparse["indices"]["componentType"]])
            at = self._rows(sparse["indices"], index_type, (sparse["count"], 1))[:, 0]
            assert (np.diff(at.astype(np.int64)) > 0).all()
            rows[at] = self._rows(sparse["values"], dtype, (sparse["count"], width))
        for bound, extreme in (("min", rows.min(axis=0)), ("max", rows.max(axis=0))):
            assert bound not in accessor or np.array_equal(np.asarray(accessor[bound], dtype), extreme)
        if accessor.get("normalized"):
            return np.maximum(rows / float(np.iinfo(dtype).max), -1.0)
        return rows.astype(np.float64)

    def node_state(self, index: int, time_s: float | None) -> NodeState:
        """Translation, rotation, scale and weights of a node, animated at `time_s`."""
        node = self.json["nodes"][index]
        mesh = self.json["meshes"][node["mesh"]] if "mesh" in node else {}
        targets = mesh["primitives"][0].get("targets", []) if mesh else []
        values = {
            "translation": np.asarray(node.get("translation", (0, 0, 0)), float),
            "rotation": np.asarray(node.get("rotation", (0, 0, 0, 1)), float),
            "scale": np.asarray(node.get("scale", (1, 1, 1)), float),
            "weights": np.asarray(node.get("weights", mesh.get("weights", [0] * len(targets))), float),
        }
        if time_s is not None:
            animation = self.json["animations"][0]
            for channel in animation["channels"]:
                if channel["target"].get("node") == index:
                    path = channel["target"]["path"]
                    values[path] = self._sample(animation["samplers"][channel["sampler"]], path, time_s)
        return NodeState(**values)

    def _collect(
        self, index: int, scene_from_parent: np.ndarray, time_s: float | None, found: list[np.ndarray]
    ) -> None:
        node = self.json["nodes"][index]
        state = self.node_state(index, time_s)
        # 3.5.3: a matrix is column-major, and translation * rotation * scale otherwise.
        parent_from_node = np.asarray(node["matrix"], float).reshape(4, 4).T if "matrix" in node else _matrix(state)
        scene_from_node = scene_from_parent @ parent_from_node
        if "mesh" in node:
            for primitive in self.json["meshes"][node["mesh"]]["primitives"]:
                positions = self.accessor(primitive["attributes"]["POSITION"])
                # 3.7.2.2: weighted displacements are added to the base attribute.
                for weight, target in zip(state.weights, primitive.get("targets", []), strict=True):
                    positions = positions + weight * self.accessor(target["POSITION"])
                positions = positions @ scene_from_node[:3, :3].T + scene_from_node[:3, 3]
                found.append(positions[self._triangles(primitive)])
        for child in node.get("children", []):
            self._collect(child, scene_from_node, time_s, found)

    def _triangles(self, primitive: dict[str, Any]) -> np.ndarray:
        assert primitive.get("mode", 4) == 4
        return self.accessor(primitive["indices"])[:, 0].astype(np.int64).reshape(-1, 3)

    def _sample(self, sampler: dict[str, Any], path: str, time_s: float) -> np.ndarray:
        """3.11 and appendix C: clamped outside the keyframes; linear, spherical for rotations, or held."""
        times = self.accessor(sampler["input"])[:, 0]
        outputs = self.accessor(sampler["output"])
        frames = outputs.reshape(len(times), -1)
        last = len(times) - 1
        before = int(np.clip(np.searchsorted(times, time_s, side="right") - 1, 0, last))
        after = min(before + 1, last)
        interpolation = sampler.get("interpolation", "LINEAR")
        if interpolation == "STEP" or before == after or time_s <= times[before]:
            return frames[before]
        if interpolation != "LINEAR":
            raise NotImplementedError(interpolation)
        share = (time_s - times[before]) / (times[after] - times[before])
        if path == "rotation":
            return _slerp(frames[before], frames[after], share)
        return (1 - share) * frames[before] + share * frames[after]

    def _rows(self, place: dict[str, Any], dtype: np.dtype, shape: tuple[int, int]) -> np.ndarray:
        view = self.json["bufferViews"][place["bufferView"]]
        start = place.get("byteOffset", 0)
        row_bytes = dtype.itemsize * shape[1]
        assert (view.get("byteOffset", 0) + start) % dtype.itemsize == 0
        stride = view.get("byteStride", row_bytes)
        return np.ndarray(shape, dtype, self._view(place["bufferView"]), start, (stride, dtype.itemsize))

    def _view(self, index: int) -> bytes:
        view = self.json["bufferViews"][index]
        start = view.get("byteOffset", 0)
        data = self.binary[start : start + view["byteLength"]]
        assert view["buffer"] == 0 and len(data) == view["byteLength"]
        return data


def read_glb(path: Path) -> GltfFile:
    """Take a GLB apart (section 4.4); AssertionError where the container breaks the specification."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    chunks: dict[bytes, bytes] = {}
    offset = 12
    while offset < length:
        size, kind = struct.unpack_from("<I4s", data, offset)
        assert size % 4 == 0 and offset + 8 + size <= length and kind not in chunks
        chunks[kind] = data[offset + 8 : offset + 8 + size]
        offset += 8 + size
    assert list(chunks) == [b"JSON", b"BIN\0"]
    parsed = json.loads(chunks[b"JSON"])
    (buffer,) = parsed["buffers"]
    assert "uri" not in buffer and 0 <= len(chunks[b"BIN\0"]) - buffer["byteLength"] <= 3
    assert parsed["asset"]["version"] == "2.0" and not parsed.get("extensionsRequired") and "skins" not in parsed
    return GltfFile(parsed, chunks[b"BIN\0"])


def _matrix(state: NodeState) -> np.ndarray:
    x, y, z, w = state.rotation
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * state.scale
    matrix[:3, 3] = state.translation
    return matrix


def _slerp(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Appendix C.4: along the shorter arc, linear where the arc vanishes."""
    dot = float(first @ second)
    angle = float(np.arccos(min(abs(dot), 1.0)))
    if angle < 1e-6:
        mixed = (1 - share) * first + np.copysign(share, dot) * second
    else:
        mixed = np.sin((1 - share) * angle) * first + np.copysign(1.0, dot) * np.sin(share * angle) * second
    return mixed / np.linalg.norm(mixed)
