"""A head in FLAME's exact format, made of the default head: the licensed file itself is nobody's to hand on.

5,023 vertices and 9,976 triangles in another order than the default head's, another person, tilted and shifted; keys,
types and the oddities of files that Python 2 and chumpy wrote. Where each vertex lies on the default head is kept, so
that a transfer can be compared with the truth.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix
from scipy.spatial.transform import Rotation

from flame_fitting.models.anny import RawAnny
from flame_fitting.models.contours import load_contours
from flame_fitting.models.registry import load_head_model

VERTICES, FACES = 5023, 9976


@dataclass(frozen=True, eq=False)
class SyntheticFlame:
    """The arrays under FLAME's keys, and where they come from."""

    arrays: dict[str, Any]
    anny_from_vertex: np.ndarray
    """(v, 4538): rows of barycentric weights of the default head's vertices."""
    tilt: np.ndarray
    """(3, 3): from the default head's axes to this one's."""
    arkit_rows: np.ndarray
    """(52, 100): expression coefficients that make each ARKit curve, as far as the expression space has it."""


@cache
def synthetic_flame() -> SyntheticFlame:
    """The same for every test of a run."""
    random = np.random.default_rng(20_241)
    raw, model = RawAnny(), load_head_model()
    person = raw.sample(1, np.random.default_rng(4_711))
    faces, weights = _split_triangles(raw.faces.astype(np.int64), len(raw.template), random)
    order = random.permutation(VERTICES)
    weights = weights[order]
    faces = np.argsort(order)[faces][random.permutation(len(faces))[:FACES]]
    tilt = Rotation.from_rotvec([0.06, 0, 0]).as_matrix()
    shift = np.array([0.001, -0.13, -0.05])
    place = lambda points: points @ tilt.T + shift  # noqa: E731
    template = place(weights @ person.vertices[0])

    sparse = csr_matrix(weights)

    def carried(basis: np.ndarray) -> np.ndarray:
        turned = (basis @ tilt.T).transpose(1, 2, 0).reshape(len(raw.template), -1)
        return (sparse @ turned).reshape(VERTICES, 3, -1)

    identity = np.zeros((VERTICES, 3, 300))
    identity[..., :250] = carried(model.identity_basis[:250].double().numpy())
    centre = template.mean(0)
    for mode in range(250, 300):  # smooth bumps that the default head does not have
        bump = np.exp(-(((template - centre - random.normal(0, 0.06, 3)) / 0.05) ** 2).sum(1))
        identity[..., mode] = bump[:, None] * random.normal(0, 2e-4, 3)
    jaw_and_eyes = [row for row, name in enumerate(raw.expression_names) if name.startswith("eyeLook")]
    moves = carried(raw.expressions).transpose(2, 0, 1)
    moves[jaw_and_eyes] = 0
    _, sizes, directions = np.linalg.svd(moves.reshape(52, -1), full_matrices=False)
    count = int((sizes > 1e-6).sum())
    expression = np.zeros((VERTICES, 3, 100))
    scale = 0.003 * np.sqrt(VERTICES) / np.arange(1, count + 1) ** 0.5
    expression[..., :count] = (directions[:count] * scale[:, None]).reshape(count, VERTICES, 3).transpose(1, 2, 0)
    expression[..., count:] = random.normal(0, 1e-5, (VERTICES, 3, 100 - count))
    rows = np.zeros((52, 100))
    rows[:, :count] = moves.reshape(52, -1) @ directions[:count].T / scale

    joints = place(person.joints[0])
    regressor = np.zeros((5, VERTICES))
    balls = [weights[:, ball.numpy()].sum(1) > 0.99 for ball in load_contours().eyeballs]
    for joint in range(5):
        near = np.argsort(np.linalg.norm(template - joints[joint], axis=1))[:60]
        if joint >= 3:
            near = np.flatnonzero(balls[joint - 3])
        constraints = np.concatenate([template[near].T, np.ones((1, len(near)))])
        regressor[joint, near] = np.linalg.lstsq(constraints, np.append(joints[joint], 1), rcond=None)[0]
    skinning = weights @ model.skinning.double().numpy()
    arrays = {
        "v_template": template,
        "shapedirs": np.concatenate([identity, expression], 2),
        "posedirs": random.normal(0, 2e-4, (VERTICES, 3, 36)),
        "J_regressor": csc_matrix(regressor),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "weights": skinning / skinning.sum(1, keepdims=True),
        "f": faces.astype(np.uint32),
        "J": joints,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    return SyntheticFlame(arrays, weights, tilt, rows)


def _split_triangles(faces: np.ndarray, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Vertices in the middle of triangles until there are enough."""
    weights = np.zeros((VERTICES, count))
    weights[np.arange(count), np.arange(count)] = 1
    chosen = random.choice(len(faces), VERTICES - count, replace=False)
    added = []
    for number, face in enumerate(chosen):
        middle, (a, b, c) = count + number, faces[face]
        weights[middle, faces[face]] = 1 / 3
        added += [(a, b, middle), (b, c, middle), (c, a, middle)]
    return np.concatenate([np.delete(faces, chosen, axis=0), np.array(added)]), weights


class Python2Pickle:
    """Writes what Python 2's cPickle with protocol 2 wrote of NumPy, SciPy and chumpy objects."""

    def file(self, arrays: dict[str, Any], chumpy: tuple[str, ...] = ("shapedirs", "v_template", "weights")) -> bytes:
        """A dictionary; the keys in `chumpy` are wrapped as chumpy arrays."""
        items = b""
        for key, value in arrays.items():
            items += self.text(key) + (self.ch(self.array(value)) if key in chumpy else self.value(value))
        return b"\x80\x02}q\x01(" + items + b"u."

    def value(self, value: Any) -> bytes:
        if isinstance(value, str):
            return self.text(value)
        return self.sparse(value) if isinstance(value, csc_matrix) else self.array(value)

    def text(self, text: str) -> bytes:
        return b"U" + bytes([len(text)]) + text.encode("latin1")

    def raw(self, data: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(data)) + data

    def number(self, number: int) -> bytes:
        return b"J" + struct.pack("<i", number)

    def array(self, array: np.ndarray) -> bytes:
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        code = f"{array.dtype.kind}{array.dtype.itemsize}"
        dtype = b"cnumpy\ndtype\n(" + self.text(code) + b"K\x00K\x01tR"
        dtype += b"(K\x03" + self.text("<") + b"NNN" + self.number(-1) + self.number(-1) + b"K\x00tb"
        shape = b"(" + b"".join(self.number(length) for length in array.shape) + b"t"
        state = b"(K\x01" + shape + dtype + (b"\x88" if fortran else b"\x89")
        state += self.raw(array.tobytes("F" if fortran else "C")) + b"t"
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + self.text("b") + b"tR"
        return made + state + b"b"

    def instance(self, module: str, name: str, state: bytes) -> bytes:
        made = b"ccopy_reg\n_reconstructor\n(c" + f"{module}\n{name}\n".encode() + b"c__builtin__\nobject\nNtR"
        return made + state + b"b"

    def ch(self, x: bytes) -> bytes:
        """chumpy.ch.Ch with its caches."""
        cache = self.text("_itr") + b"N" + self.text("_dirty_vars") + b"]" + self.text("_status") + self.text("new")
        return self.instance("chumpy.ch", "Ch", b"}(" + self.text("x") + x + cache + b"u")

    def select(self, source: bytes, rows: np.ndarray, shape: tuple[int, ...]) -> bytes:
        """chumpy.reordering.Select, as slices of a chumpy array are."""
        state = self.text("a") + source + self.text("idxs") + self.array(rows) + self.text("preferred_shape")
        state += b"(" + b"".join(self.number(length) for length in shape) + b"t"
        return self.instance("chumpy.reordering", "Select", b"}(" + state + b"u")

    def sparse(self, matrix: csc_matrix) -> bytes:
        state = b""
        for key, value in (("data", matrix.data), ("indices", matrix.indices), ("indptr", matrix.indptr)):
            state += self.text(key) + self.array(value)
        shape = b"(" + b"".join(self.number(int(length)) for length in matrix.toarray().shape) + b"t"
        state += self.text("_shape") + shape + self.text("format") + self.text("csc") + self.text("maxprint") + b"K2"
        return self.instance("scipy.sparse.csc", "csc_matrix", b"}(" + state + b"u")
