"""FLAME from the user's own file, as `smplx` evaluates it: shape, expression, pose correctives, skinning.

Source: Li et al. 2017, "Learning a model of facial shape and expression from 4D scans"; Loper et al. 2015 (SMPL).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flame_fitting.models.flame_pickle import read_array_pickle
from flame_fitting.models.plain_arrays import read_array_archive
from flame_fitting.models.skinning import joint_motions, rotvec_to_rotmat, skin
from geometry.errors import InputError

VERTICES, FACES, IDENTITY, EXPRESSION = 5023, 9976, 300, 100
PARENTS = (-1, 0, 1, 1, 1)
JOINTS = ("root", "neck", "jaw", "eye_left", "eye_right")
"""In FLAME's order: `smplx` poses are (global_orient, neck_pose, jaw_pose, leye_pose, reye_pose)."""
SHAPES: dict[str, tuple[int, ...]] = {
    "v_template": (VERTICES, 3),
    "shapedirs": (VERTICES, 3, IDENTITY + EXPRESSION),
    "posedirs": (VERTICES, 3, 9 * (len(PARENTS) - 1)),
    "J_regressor": (len(PARENTS), VERTICES),
    "kintree_table": (2, len(PARENTS)),
    "weights": (VERTICES, len(PARENTS)),
    "f": (FACES, 3),
}
NON_COMMERCIAL = "the FLAME licence accepted at download (Max Planck Society); treated as non-commercial research only"
LICENCES = {
    "2023-open": "CC-BY-4.0 (FLAME 2023 Open, attribution to the Max Planck Society)",
    "2023": f"FLAME 2023: {NON_COMMERCIAL}",
    "2020": f"FLAME 2020: {NON_COMMERCIAL}",
    "2017": f"FLAME 2017: {NON_COMMERCIAL}",
    "unknown": f"FLAME of a version that neither file nor folder name tells: {NON_COMMERCIAL}",
}
OTHER_MODELS = {
    6890: "SMPL",
    10475: "SMPL-X",
    778: "MANO",
    6449: "SMPL-H or a clothed body",
    3931: "FLAME without eyes",
}


@dataclass(frozen=True, eq=False)
class Flame:
    """FLAME's arrays in double precision; metres, y up, facing +z, in FLAME's own frame."""

    version: str
    """2017, 2020, 2023, 2023-open, or unknown."""
    licence: str
    """What results made with it fall under."""
    digest: str
    """First digits of the SHA-256 of the arrays: results of one file are never read with another."""
    template: Float[Tensor, "v 3"]
    """The mean head."""
    shape_basis: Float[Tensor, "k v 3"]
    """300 identity directions, metres per standard deviation."""
    expression_basis: Float[Tensor, "e v 3"]
    """100 expression directions, metres per standard deviation."""
    pose_basis: Float[Tensor, "p v 3"]
    """Correctives per element of the four joints' rotation minus identity, metres."""
    joint_regressor: Float[Tensor, "j v"]
    """Joints from shaped vertices."""
    skinning: Float[Tensor, "v j"]
    """Weights in the order of JOINTS."""
    faces: Int[Tensor, "f 3"]
    """Triangles."""

    def with_shape(self, identity: Float[Tensor, "*b k"], expression: Float[Tensor, "*b e"]) -> ShapedFlame:
        """The head in its rest pose; fewer coefficients than the basis has leave the rest at zero.

        As in `smplx`, joints are regressed after the expression. Source: FLAME, eqs. 2-3.
        """
        moved = torch.tensordot(identity, self.shape_basis[: identity.shape[-1]], dims=1)
        moved = moved + torch.tensordot(expression, self.expression_basis[: expression.shape[-1]], dims=1)
        vertices = self.template + moved
        return ShapedFlame(self, vertices, self.joint_regressor @ vertices)

    def to(self, where: torch.device | str | torch.dtype) -> Flame:
        """The same model on another device or in another precision."""
        moved: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Tensor) and not (isinstance(where, torch.dtype) and each.name == "faces"):
                moved[each.name] = value.to(where)
        return replace(self, **moved)


@dataclass(frozen=True, eq=False)
class ShapedFlame:
    """A person with an expression, in FLAME's rest pose."""

    model: Flame
    """Where it comes from."""
    vertices: Float[Tensor, "*b v 3"]
    """Metres."""
    joints: Float[Tensor, "*b j 3"]
    """In the order of JOINTS, metres."""

    def with_pose(
        self, rotvecs: Float[Tensor, "*b 5 3"], translation: Float[Tensor, "*b 3"]
    ) -> Float[Tensor, "*b v 3"]:
        """Posed vertices, metres, as `smplx` returns them.

        `rotvecs` are axis-angle in radians in the order of JOINTS: global_orient, neck_pose, jaw_pose, leye_pose,
        reye_pose. Source: FLAME, eq. 1; SMPL, eqs. 2-9.
        """
        rotations = rotvec_to_rotmat(rotvecs)
        feature = (rotations[..., 1:, :, :] - torch.eye(3).to(rotations)).flatten(-3)
        corrected = self.vertices + torch.tensordot(feature, self.model.pose_basis, dims=1)
        moved = skin(corrected, self.model.skinning, *joint_motions(rotations, self.joints, PARENTS))
        return moved + translation[..., None, :]


def read_flame(path: Path, version: str | None = None) -> Flame:
    """FLAME from a publisher's `.pkl` or an `.npz` with the same keys; nothing in the file is executed.

    The version is taken from the names of file and folder where it is not given; it decides the licence that results
    record. Raises InputError for files of other models, missing or wrong arrays, and values that are no numbers.
    """
    version = version or version_from_name(path)
    if version not in LICENCES:
        raise InputError(f"a FLAME version ({', '.join(LICENCES)})", repr(version), "name one of these")
    if not path.is_file():
        raise InputError("a FLAME model file", str(path), "download it from https://flame.is.tue.mpg.de")
    wanted = tuple(SHAPES)
    stored = read_array_pickle(path, wanted) if path.suffix == ".pkl" else read_array_archive(path, wanted)
    arrays = {key: _checked(path, key, stored) for key in SHAPES}
    _check_meaning(path, arrays)
    digest = hashlib.sha256()
    for key in SHAPES:
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    shapes = np.moveaxis(arrays["shapedirs"], 2, 0)
    tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array, np.float64))  # noqa: E731
    return Flame(
        version=version,
        licence=LICENCES[version],
        digest=digest.hexdigest()[:10],
        template=tensor(arrays["v_template"]),
        shape_basis=tensor(shapes[:IDENTITY]),
        expression_basis=tensor(shapes[IDENTITY:]),
        pose_basis=tensor(np.moveaxis(arrays["posedirs"], 2, 0)),
        joint_regressor=tensor(arrays["J_regressor"]),
        skinning=tensor(arrays["weights"]),
        faces=torch.from_numpy(arrays["f"].astype(np.int64)),
    )


def version_from_name(path: Path) -> str:
    """2023-open, 2023, 2020 or 2017 as file or folder names say (FLAME2020/generic_model.pkl), else unknown."""
    for name in (path.name.lower(), path.parent.name.lower()):
        if "2023" in name:
            return "2023-open" if "open" in name else "2023"
        for year in ("2020", "2017"):
            if year in name:
                return year
    return "unknown"


def _checked(path: Path, key: str, stored: dict[str, Any]) -> np.ndarray:
    """One array with FLAME's shape and finite numbers, in double precision or integers."""
    array = stored.get(key)
    shape = SHAPES[key]
    expected = f"FLAME (2017, 2020, 2023 or 2023 Open) with {key} of shape {shape}"
    remedy = "give the publisher's own FLAME file; a file of another model or a cut-down one does not fit"
    if not isinstance(array, np.ndarray):
        raise InputError(expected, f"{path} without an array of this name", remedy)
    if array.shape != shape:
        rows = array.shape[0] if array.ndim else 0
        other = OTHER_MODELS.get(rows if key != "J_regressor" else array.shape[-1])
        raise InputError(expected, f"{path} with {array.shape}" + (f", as {other} has" if other else ""), remedy)
    if key in ("f", "kintree_table"):
        if array.dtype.kind not in "iuf" or not (array == np.floor(array)).all():
            raise InputError(f"whole numbers in {key}", f"{path} with {array.dtype}", remedy)
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise InputError(f"floating-point numbers in {key}", f"{path} with {array.dtype}", remedy)
    broken = int((~np.isfinite(array)).sum())
    if broken:
        raise InputError(f"finite numbers in {key}", f"{path} with {broken} that are NaN or infinite", remedy)
    return array.astype(np.float64)


def _check_meaning(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Faces, bones, weights and size are FLAME's."""
    remedy = "give the publisher's own FLAME file"
    parents = tuple(int(parent) for parent in arrays["kintree_table"][0, 1:])
    if parents != PARENTS[1:]:
        raise InputError(f"FLAME's bones with parents {PARENTS[1:]}", f"{path} with {parents}", remedy)
    if arrays["f"].min() < 0 or arrays["f"].max() >= VERTICES:
        raise InputError(f"triangles between vertices 0 and {VERTICES - 1}", f"{path} with others", remedy)
    off = float(np.abs(arrays["weights"].sum(1) - 1).max())
    if off > 1e-3:
        raise InputError("skinning weights that sum to 1", f"{path} with sums off by {off:.3g}", remedy)
    height = float(np.ptp(arrays["v_template"][:, 1]))
    if not 0.1 < height < 1.0:
        raise InputError("a template in metres", f"{path} with a head {height:.3g} high", remedy)
