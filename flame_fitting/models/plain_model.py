"""Any head model from an `.npz` of plain arrays; docs/head-models.md lists the keys.

What the file does not bring (ARKit shapes, skinning, texture coordinates, regions, landmarks, contours) is transferred
from the default head, whose surface is bent onto the file's template.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flame_fitting.models.contours import HeadContours, contours_from_lists
from flame_fitting.models.cylinder_layout import cylinder_layout
from flame_fitting.models.head_model import JOINT_NAMES, HeadModel, LandmarkEmbedding
from flame_fitting.models.plain_arrays import read_array_archive
from flame_fitting.models.surface_map import Surface, find_eyeballs
from flame_fitting.models.transfer import Transfer
from geometry.errors import InputError

REQUIRED = ("name", "licence", "template", "faces", "identity_basis", "joints")
TOGETHER = (
    ("expression_basis", "expression_names"),
    ("uv", "uv_faces"),
    ("regions", "region_names"),
    tuple(f"landmark_{field.name}" for field in fields(LandmarkEmbedding)),
    (
        *(f"contour_{field.name}" for field in fields(HeadContours) if field.name != "eyeballs"),
        *("contour_eyeball_left", "contour_eyeball_right"),
    ),
)
"""Optional keys that come all or not at all; `joint_basis`, `joint_names` and `skinning` stand alone."""
KEYS = (
    *REQUIRED,
    *("joint_names", "joint_basis", "skinning", "transferred_names"),
    *(key for group in TOGETHER for key in group),
)
NEEDED_REGIONS = ("face", "skin", "eyes", "mouth_interior", "neck", "scalp", "ears")
REMEDY = "docs/head-models.md lists the keys, their shapes and units"
MOST_VERTICES, MOST_MODES = 100_000, 1000
JOINT_NEIGHBOURS = 150


@dataclass(frozen=True, eq=False)
class Head:
    """A model with everything that a fit wants to know of it."""

    model: HeadModel
    """The linear head."""
    landmarks: LandmarkEmbedding
    """Where MediaPipe's landmarks sit on it."""
    contours: HeadContours
    """Where its lips and lids meet."""
    transferred: tuple[str, ...] = ()
    """Parts that were taken from the default head, because the file brought none."""


def read_plain_head(path: Path, default: Callable[[], Head]) -> Head:
    """A head model from an `.npz`; `default` gives the head that missing parts come from, and is called only then.

    Raises InputError for missing keys, wrong shapes, values that are no numbers, other units or other axes.
    """
    if not path.is_file():
        raise InputError("a head model (.npz)", str(path), "name a file")
    return head_from_arrays(read_array_archive(path, KEYS), default, str(path))


def head_from_arrays(stored: dict[str, Any], default: Callable[[], Head], where: str) -> Head:
    """A head from arrays under the keys of docs/head-models.md; `where` names their origin in errors."""
    arrays = _checked(stored, where)
    names = tuple(str(name) for name in arrays.get("joint_names", JOINT_NAMES))
    joints = arrays["joints"][[names.index(name) for name in JOINT_NAMES]]
    _check_axes(arrays["template"], arrays["faces"], joints, where)
    # The head's frame begins at the neck joint, wherever the file had its origin.
    template, joints = arrays["template"] - joints[0], joints - joints[0]
    missing = [part for part, keys in _PARTS.items() if keys[0] not in arrays]
    transfer = _transfer(template, arrays["faces"], joints, default, where) if missing else None

    expressions, curve_names = arrays.get("expression_basis"), tuple(map(str, arrays.get("expression_names", ())))
    skinning, regions, region_names = arrays.get("skinning"), arrays.get("regions"), arrays.get("region_names", ())
    if transfer is not None:
        expressions = transfer.expressions() if expressions is None else expressions
        curve_names = curve_names or transfer.source.expression_names
        skinning = transfer.skinning() if skinning is None else skinning
        if regions is None:
            regions, region_names = transfer.regions(), transfer.source.region_names
    assert expressions is not None and skinning is not None and regions is not None
    if "uv" in arrays:
        uv, uv_faces = arrays["uv"], arrays["uv_faces"]
    else:
        uv, uv_faces = cylinder_layout(template, arrays["faces"], joints, _mask(regions, region_names, "skin"))
    basis = arrays["identity_basis"]
    joint_basis = arrays.get("joint_basis")
    model = HeadModel(
        name=str(arrays["name"]),
        licence=str(arrays["licence"]),
        template=_f32(template),
        identity_basis=_f32(basis),
        expression_basis=_f32(expressions),
        expression_names=curve_names,
        faces=torch.from_numpy(arrays["faces"]),
        uv=_f32(uv),
        uv_faces=torch.from_numpy(uv_faces.astype(np.int64)),
        joint_names=JOINT_NAMES,
        joints=_f32(joints),
        joint_basis=_f32(_joint_motion(template, joints, basis) if joint_basis is None else joint_basis),
        skinning=_f32(skinning),
        region_names=tuple(str(name) for name in region_names),
        regions=torch.from_numpy(regions.astype(bool)),
    )
    if transfer is None:
        noted = tuple(str(part) for part in arrays.get("transferred_names", ()))
        return Head(model, _landmarks(arrays), _contours(arrays), noted)
    landmarks = transfer.landmarks() if "landmarks" in missing else _landmarks(arrays)
    contours = transfer.contours(expressions, curve_names) if "contours" in missing else _contours(arrays)
    return Head(model, landmarks, contours, tuple(missing))


def head_arrays(head: Head) -> dict[str, np.ndarray]:
    """All keys of a head, as `head_from_arrays` reads them back without the default head."""
    arrays: dict[str, np.ndarray] = {}
    for prefix, part in (("", head.model), ("landmark_", head.landmarks), ("contour_", head.contours)):
        for field in fields(part):
            value = getattr(part, field.name)
            if field.name == "eyeballs":
                arrays["contour_eyeball_left"], arrays["contour_eyeball_right"] = (ball.numpy() for ball in value)
            else:
                arrays[prefix + field.name] = value.numpy() if isinstance(value, torch.Tensor) else np.array(value)
    arrays["transferred_names"] = np.array(head.transferred, dtype=np.str_)
    return arrays


def write_plain_head(path: Path, head: Head) -> None:
    """Write a head as one `.npz` that `read_plain_head` reads back, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **head_arrays(head))  # pyright: ignore[reportArgumentType]
    part.replace(path)


_PARTS = {
    "expressions": ("expression_basis",),
    "skinning": ("skinning",),
    "regions": ("regions",),
    "landmarks": TOGETHER[3],
    "contours": TOGETHER[4],
}


def _transfer(
    template: np.ndarray, faces: np.ndarray, joints: np.ndarray, default: Callable[[], Head], where: str
) -> Transfer:
    balls = find_eyeballs(template, faces, joints[3:])
    if balls is None:
        expected = "eyeballs as parts of their own about the joints eye_left and eye_right"
        remedy = f"add them, or bring the keys that need them (landmarks, contours, expressions); {REMEDY}"
        raise InputError(expected, f"{where} without", remedy)
    source = default()
    return Transfer.of((source.model, source.landmarks, source.contours), Surface(template, faces, balls), joints)


def _checked(stored: dict[str, Any], where: str) -> dict[str, Any]:
    """Shapes, kinds and values of every array; floats in double precision, indices in int64."""
    for key in REQUIRED:
        if not isinstance(stored.get(key), np.ndarray):
            raise InputError(f"a head model with the keys {', '.join(REQUIRED)}", f"{where} without {key}", REMEDY)
    for group in TOGETHER:
        there = [key for key in group if key in stored]
        if there and len(there) < len(group):
            lacking = ", ".join(key for key in group if key not in stored)
            raise InputError(f"{' and '.join(group)} together", f"{where} without {lacking}", REMEDY)
    vertices, modes = _length(stored, "template", where), _length(stored, "identity_basis", where)
    faces = _length(stored, "faces", where)
    if vertices > MOST_VERTICES or modes > MOST_MODES:
        raise InputError(
            f"up to {MOST_VERTICES} vertices and {MOST_MODES} modes", f"{where} with {vertices} and {modes}", REMEDY
        )
    curves, landmarks = _rows(stored, "expression_basis"), _rows(stored, "landmark_faces")
    shapes: dict[str, tuple[int | None, ...]] = {
        "template": (vertices, 3),
        "faces": (faces, 3),
        "identity_basis": (modes, vertices, 3),
        "joints": (5, 3),
        "joint_names": (5,),
        "joint_basis": (modes, 5, 3),
        "skinning": (vertices, 5),
        "expression_basis": (curves, vertices, 3),
        "expression_names": (curves,),
        "uv": (None, 2),
        "uv_faces": (faces, 3),
        "regions": (_rows(stored, "region_names"), vertices),
        "landmark_faces": (landmarks, 3),
        "landmark_barycentric": (landmarks, 3),
        "landmark_source_index": (landmarks,),
        "landmark_spread_m": (landmarks,),
        "contour_mirror": (vertices,),
    }
    arrays = {}
    for key, value in stored.items():
        shape = shapes.get(key)
        fits = shape is None or (value.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, value.shape)))  # noqa: B905
        if not fits:
            raise InputError(f"{key} of shape {shape}", f"{where} with {value.shape}", REMEDY)
        arrays[key] = _numbers(key, value, where)
    limits = {"faces": vertices, "landmark_faces": vertices, "uv_faces": _rows(stored, "uv") or 0}
    limits |= {key: vertices for key in stored if key.startswith("contour_") and _is_index(key)}
    for key, limit in limits.items():
        if key in arrays and arrays[key].size and (arrays[key].min() < 0 or arrays[key].max() >= limit):
            raise InputError(f"{key} between 0 and {limit - 1}", f"{where} with others", REMEDY)
    _check_names(arrays, where)
    if "skinning" in arrays and np.abs(arrays["skinning"].sum(1) - 1).max() > 1e-3:
        raise InputError("skinning weights that sum to 1", f"{where} with others", REMEDY)
    return arrays


def _numbers(key: str, value: np.ndarray, where: str) -> np.ndarray:
    if key in ("name", "licence") or key.endswith("_names"):
        if value.dtype.kind != "U":
            raise InputError(f"text in {key}", f"{where} with {value.dtype}", REMEDY)
        return value
    if key == "regions":
        if value.dtype.kind not in "biu":
            raise InputError("a mask of true and false in regions", f"{where} with {value.dtype}", REMEDY)
        return value.astype(bool)
    if _is_index(key):
        if value.dtype.kind not in "iu":
            raise InputError(f"whole numbers in {key}", f"{where} with {value.dtype}", REMEDY)
        return value.astype(np.int64)
    if value.dtype.kind not in "fiu" or not np.isfinite(value).all():
        raise InputError(f"finite numbers in {key}", f"{where} with others (NaN or infinite)", REMEDY)
    return value.astype(np.float64)


def _is_index(key: str) -> bool:
    return key.endswith(("faces", "_index", "_pairs", "_left", "_right", "pupils", "mirror"))


def _check_names(arrays: dict[str, Any], where: str) -> None:
    """Joints, curves and regions have the names that the rest of mien asks for."""
    names = tuple(map(str, arrays.get("joint_names", JOINT_NAMES)))
    if set(names) != set(JOINT_NAMES):
        raise InputError(f"the joints {', '.join(JOINT_NAMES)}", f"{where} with {', '.join(names)}", REMEDY)
    if names != JOINT_NAMES:
        order = [names.index(name) for name in JOINT_NAMES]
        for key, axis in (("joint_basis", 1), ("skinning", 1)):
            if key in arrays:
                arrays[key] = np.take(arrays[key], order, axis)
    if "expression_names" in arrays:
        curves = [str(name) for name in arrays["expression_names"]]
        needed = {"jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight", "tongueOut"}
        if len(curves) != 52 or not needed <= set(curves) or len(set(curves)) != 52:
            got = f"{where} with {len(curves)} others"
            raise InputError("ARKit's 52 curve names in expression_names, or no expressions at all", got, REMEDY)
    if "region_names" in arrays:
        lacking = [name for name in NEEDED_REGIONS if name not in arrays["region_names"]]
        if lacking:
            raise InputError(
                f"the regions {', '.join(NEEDED_REGIONS)}", f"{where} without {', '.join(lacking)}", REMEDY
            )


def _check_axes(template: np.ndarray, faces: np.ndarray, joints: np.ndarray, where: str) -> None:
    """Metres, y up, facing +z, the subject's left at +x."""
    size = float(np.ptp(template, axis=0).max())
    if not 0.1 < size < 1.0:
        raise InputError("a template in metres", f"{where} with a head of {size:.4g}", "divide by 1,000 if it is in mm")
    neck, head, _, left, right = joints
    apart = left - right
    upright = min(left[1], right[1]) > neck[1] and min(left[2], right[2]) > head[2]
    if not upright or apart[0] < 0.6 * np.linalg.norm(apart):
        got = f"{where} with eyes at {np.round(left, 3).tolist()} and {np.round(right, 3).tolist()}"
        raise InputError("a head y up, facing +z, its left eye at +x", got, "turn template, bases and joints")
    corners = template[faces] - template.mean(0)
    if np.linalg.det(corners).sum() <= 0:
        remedy = "if axes were swapped without a change of sign, turn the head instead; else reverse the triangles"
        raise InputError("triangles counter-clockwise from outside", f"{where} with a head inside out", remedy)


def _length(stored: dict[str, Any], key: str, where: str) -> int:
    if stored[key].ndim == 0:
        raise InputError(f"an array in {key}", f"{where} with a single value", REMEDY)
    return len(stored[key])


def _rows(stored: dict[str, Any], key: str) -> int | None:
    return len(stored[key]) if key in stored and stored[key].ndim else None


def _joint_motion(template: np.ndarray, joints: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """How identity moves the joints, where the file does not say: as the affine motion of the vertices about them.

    Weights of the nearest vertices that give the joint itself (least squares of weight times distance), as FLAME's own
    joint regressor is one: what turns, shifts or stretches the vertices does the same to the joint.
    """
    moves = np.zeros((len(basis), len(joints), 3))
    for row, joint in enumerate(joints):
        distance = np.linalg.norm(template - joint, axis=1)
        near = np.argsort(distance)[:JOINT_NEIGHBOURS]
        ease = 1 / (distance[near] + 1e-3) ** 2
        constraints = np.concatenate([(template[near] - joint).T, np.ones((1, len(near)))])
        scaled = constraints * ease
        weights = ease * (np.array([0, 0, 0, 1.0]) @ np.linalg.pinv(scaled @ constraints.T) @ constraints)
        moves[:, row] = np.tensordot(basis[:, near], weights, ([1], [0]))
    return moves


def _landmarks(arrays: dict[str, Any]) -> LandmarkEmbedding:
    tensors = {field.name: torch.from_numpy(arrays[f"landmark_{field.name}"]) for field in fields(LandmarkEmbedding)}
    return LandmarkEmbedding(**tensors)


def _contours(arrays: dict[str, Any]) -> HeadContours:
    stored = {
        key.removeprefix("contour_"): value.tolist() for key, value in arrays.items() if key.startswith("contour_")
    }
    stored["eyeballs"] = [stored.pop("eyeball_left"), stored.pop("eyeball_right")]
    return contours_from_lists(stored)


def _mask(regions: np.ndarray, names: Any, wanted: str) -> np.ndarray:
    return regions[[str(name) for name in names].index(wanted)].astype(bool)


def _f32(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
