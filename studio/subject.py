"""Who is recorded: a head drawn by seed from outside the fitted model's space, or a real scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from flame_fitting.models.head_model import HeadModel
from geometry.errors import InputError
from storage.scan_files import read_scan
from studio.people import Person

OFF_BASIS_RMS_M = 3e-4
OFF_BASIS_LENGTH_M = 0.02
"""Correlation length of the shape that the linear basis does not hold."""
EXPRESSION_SPREAD = 0.12
"""How far a person's own expression shapes stray from the model's, relative to their size."""
SCAN_UNITS_M = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}


@dataclass(frozen=True, eq=False)
class Subject:
    """A person as geometry: neutral head, own expression shapes, texture coordinates."""

    neutral: Float[np.ndarray, "v 3"]
    """Metres, in the subject's own head frame (y up, facing +z)."""
    expression_shapes: Float[np.ndarray, "e v 3"]
    """Metres at a curve's full value; none for a scan."""
    expression_names: tuple[str, ...]
    """ARKit's names, in the shapes' order."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles."""
    uv: Float[np.ndarray, "u 2"]
    """Texture coordinates, v up."""
    uv_faces: Int[np.ndarray, "f 3"]
    """Row of `uv` of each triangle's corners."""
    texture: UInt8[np.ndarray, "h w 3"] | None
    """A scan's own sRGB texture; None where the studio paints the skin."""

    def vertices(self, curves: Float[np.ndarray, "e"]) -> Float[np.ndarray, "v 3"]:
        """The head with an expression, in its own frame."""
        return self.neutral + np.tensordot(curves, self.expression_shapes, 1)


def draw_subject(
    model: HeadModel, seed: int, off_basis_rms_m: float = OFF_BASIS_RMS_M, person: Person | None = None
) -> Subject:
    """A person from the raw model's phenotypes and local changes, with shape that no linear basis of it holds.

    With `off_basis_rms_m = 0` the expression shapes are the model's own too: for exact tests.
    """
    from flame_fitting.models.anny import RawAnny  # seconds to load, only drawn subjects need it

    raw = RawAnny()
    random = np.random.default_rng([seed, 0])
    person = person or Person()
    neutral = raw.sample(1, random, person.ages, person.genders).vertices[0]
    shapes = raw.expressions.astype(np.float64)
    if off_basis_rms_m > 0:
        neutral = neutral + off_basis_shape(model, neutral, off_basis_rms_m, random)
        shapes = own_expressions(neutral, shapes, random)
    return Subject(
        neutral=neutral,
        expression_shapes=shapes,
        expression_names=raw.expression_names,
        faces=raw.faces,
        uv=model.uv.numpy().astype(np.float64),
        uv_faces=model.uv_faces.numpy(),
        texture=None,
    )


def off_basis_shape(
    model: HeadModel, neutral: Float[np.ndarray, "v 3"], rms_m: float, random: np.random.Generator
) -> Float[np.ndarray, "v 3"]:
    """A smooth displacement whose part inside the identity basis has been taken out.

    Its root mean square over the face is `rms_m`.
    """
    field = smooth_field(neutral, OFF_BASIS_LENGTH_M, random)
    skin, face = model.region("skin").numpy(), model.region("face").numpy()
    basis = model.identity_basis.numpy()[:, skin].reshape(len(model.identity_basis), -1).astype(np.float64)
    # The weakest modes are far below a tenth of a millimetre: dividing by them would undo the smoothness.
    basis = basis[np.linalg.norm(basis, axis=1) > 1e-3]
    inside, *_ = np.linalg.lstsq(basis.T, field[skin].ravel(), rcond=1e-4)
    outside = np.zeros_like(field)
    outside[skin] = (field[skin].ravel() - inside @ basis).reshape(-1, 3)
    return outside * (rms_m / np.sqrt((outside[face] ** 2).sum(1).mean()))


def own_expressions(
    neutral: Float[np.ndarray, "v 3"], shapes: Float[np.ndarray, "e v 3"], random: np.random.Generator
) -> Float[np.ndarray, "e v 3"]:
    """A person's own version of each shape: another strength here and there, and slightly another direction."""
    own = np.empty_like(shapes)
    for index, shape in enumerate(shapes):
        strength = 1 + EXPRESSION_SPREAD * (random.normal() + smooth_field(neutral, 0.04, random)[:, :1])
        size = np.linalg.norm(shape, axis=1, keepdims=True)
        own[index] = strength * shape + EXPRESSION_SPREAD * size * smooth_field(neutral, 0.04, random)
    return own


def smooth_field(
    points: Float[np.ndarray, "n 3"], length_m: float, random: np.random.Generator, waves: int = 96
) -> Float[np.ndarray, "n 3"]:
    """A random vector field of unit variance per axis that varies over `length_m`.

    Source: Rahimi & Recht 2007, random Fourier features of the squared-exponential kernel.
    """
    frequency = random.normal(size=(waves, 3)) / length_m
    phase = random.uniform(0, 2 * np.pi, waves)
    amplitude = random.normal(size=(waves, 3)) * np.sqrt(2 / waves)
    return np.cos(points @ frequency.T + phase) @ amplitude


def scanned_subject(path: Path, unit: str) -> Subject:
    """A real scan as a rigid subject: y up and facing +z as it comes, its box's centre taken to the origin.

    Raises InputError when the file is not a mesh, its unit is unknown or its size is not a head's.
    """
    if unit not in SCAN_UNITS_M:
        raise InputError(f"a scan unit ({', '.join(SCAN_UNITS_M)})", repr(unit), "set --unit")
    scan = read_scan(path)
    vertices = scan.vertices * SCAN_UNITS_M[unit]
    size = np.ptp(vertices, axis=0)
    if not 0.08 < size.max() < 1.5:
        remedy = f"set --unit to one of {', '.join(SCAN_UNITS_M)} so that the head is 0.1 to 1 m high"
        raise InputError("a scan of a head", f"a mesh {size.max():.4g} m across in {unit}", remedy)
    textured = scan.texture is not None
    return Subject(
        neutral=vertices - (vertices.min(0) + vertices.max(0)) / 2,
        expression_shapes=np.zeros((0, len(vertices), 3)),
        expression_names=(),
        faces=scan.faces,
        uv=scan.uv if textured and scan.uv is not None else np.full((len(vertices), 2), 0.5),
        uv_faces=scan.faces,
        texture=scan.texture if textured else np.full((4, 4, 3), 180, np.uint8),
    )
