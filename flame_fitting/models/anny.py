"""The embedded default head: the package `anny` turned into a linear model with a statistical prior.

Anny's own shape space is a product of phenotypes (age, gender, ancestry ...) and some 250 local changes. Identities are
sampled from it, aligned rigidly, and their principal components become the identity basis; the 52 ARKit shapes are
taken as they are. Source: Brégier et al. 2025, "Human Mesh Modeling for Anny Body" (code Apache-2.0, MakeHuman data
CC0; the ARKit pack `faceunits01` carries no licence line of its own).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from jaxtyping import Float, Int

from flame_fitting.models.gaussian_process import kernel_functions
from flame_fitting.models.head_model import HeadModel
from flame_fitting.models.regions import paint_regions
from flame_fitting.models.texture_layout import pack_texture_islands
from geometry.transforms import rigid_align

LICENCE = "Apache-2.0 (code), CC0-1.0 (MakeHuman data); ARKit pack faceunits01 without a licence line of its own"
IDENTITY_SAMPLES = 1600
IDENTITY_MODES = 250
SMOOTH_MODES = 60
SMOOTH_SIGMA_M, SMOOTH_LENGTH_M = 1e-3, 0.05
"""Of the Gaussian process that widens the identity basis: people differ from all that phenotypes and local changes can
make by about a millimetre, smoothly over some centimetres; finer differences are the person's own (`personal.py`)."""
JOINT_BONES = {"neck": "neck01", "head": "head", "jaw": "jaw", "eye_left": "eye.L", "eye_right": "eye.R"}
HEAD_CHANGES = ("cheek", "chin", "ear", "eye", "forehead", "head", "mouth", "neck", "nose")
LOCAL_CHANGE_SPREAD = 0.25
"""Standard deviation of each local change, of a full range of [-1, 1]: about 140 act at once on a head."""
ADULT_AGES, ALL_AGES = (0.55, 1.0), (0.33, 1.0)
"""On Anny's scale: 0 a baby, 0.33 a child, 0.67 a young adult, 1 an old one."""
ASYMMETRY = 0.2
"""Share of a left-right pair's variance that its two sides do not have in common."""
METRES_FROM_ANNY = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""Anny is z up, facing -y; mien is y up, facing +z."""


@dataclass(frozen=True, eq=False)
class RawHeads:
    """Neutral heads straight from the raw model, rigidly aligned with its template."""

    vertices: Float[np.ndarray, "n v 3"]
    """Metres, in the head model's frame."""
    joints: Float[np.ndarray, "n j 3"]
    """In the order of JOINT_BONES, metres."""


class RawAnny:
    """Anny's full parameter space: where subjects and the linear basis both come from."""

    def __init__(self) -> None:
        import anny  # takes seconds, and only building models and simulating subjects needs it

        self.package = anny.Anny(
            rig="makehuman-head", topology="head", local_changes="all", facial_actions="all", phenotypes="all"
        )
        self.faces = self.package.faces.numpy().astype(np.int32)
        labels = list(self.package.blendshape_labels)
        self.expression_names = tuple(self.package.facial_action_labels)
        rows = [labels.index(f"facial_action:{name}") for name in self.expression_names]
        self.expressions = self.package.blendshapes[rows].numpy() @ METRES_FROM_ANNY.T
        bones = list(self.package.bone_labels)
        self._joint_rows = [bones.index(bone) for bone in JOINT_BONES.values()]
        average = self._heads(*self._neutral_parameters())
        self.origin = average.joints[0, 0]
        self.template = average.vertices[0] - self.origin
        self.joints = average.joints[0] - self.origin
        # Necks bend and stretch with the body below; the skull and the face are what a head pose means.
        self._rigid = self.template[:, 1] > self.joints[1, 1] - 0.06

    def sample(
        self,
        count: int,
        random: np.random.Generator,
        ages: tuple[float, float] = ADULT_AGES,
        genders: tuple[float, float] = (0.0, 1.0),
    ) -> RawHeads:
        """Heads drawn at random from phenotypes and local changes; `ages` as Anny counts them, gender 0 is male."""
        labels = list(self.package.phenotype_labels)
        phenotypes = np.full((count, len(labels)), 0.5)
        spans = {"gender": genders, "age": ages, "muscle": (0.2, 0.8), "weight": (0.15, 0.85)}
        spans |= {"height": (0.3, 0.7), "proportions": (0.3, 0.7)}
        for name, (low, high) in spans.items():
            phenotypes[:, labels.index(name)] = random.uniform(low, high, count)
        ancestry = [labels.index(name) for name in ("african", "asian", "caucasian")]
        phenotypes[:, ancestry] = random.dirichlet([0.7, 0.7, 0.7], count) + 1e-3
        names = list(self.package.local_change_labels)
        changes = np.zeros((count, len(names)))
        for column, name in enumerate(names):
            side, stem = (name[:2], name[2:]) if name[:2] in ("l-", "r-") else ("", name)
            if not stem.startswith(HEAD_CHANGES):
                continue
            if side == "r-" and f"l-{stem}" in names:
                own = random.normal(size=count) * LOCAL_CHANGE_SPREAD
                twin = changes[:, names.index(f"l-{stem}")]
                changes[:, column] = np.sqrt(1 - ASYMMETRY) * twin + np.sqrt(ASYMMETRY) * own
            else:
                changes[:, column] = random.normal(size=count) * LOCAL_CHANGE_SPREAD
        return self._aligned(self._heads(phenotypes, np.clip(changes, -1, 1)))

    def _neutral_parameters(self) -> tuple[np.ndarray, np.ndarray]:
        phenotypes = np.full((1, len(self.package.phenotype_labels)), 0.5)
        phenotypes[0, list(self.package.phenotype_labels).index("age")] = 0.7
        return phenotypes, np.zeros((1, len(self.package.local_change_labels)))

    def _heads(self, phenotypes: np.ndarray, changes: np.ndarray) -> RawHeads:
        with torch.no_grad():
            actions = torch.zeros(1, len(self.expression_names), dtype=torch.float64)
            coefficients = self.package._get_phenotype_blendshape_coefficients(
                torch.from_numpy(phenotypes), torch.from_numpy(changes), actions
            )
            # One product of two matrices; the package's own forward also poses 64 bones that we do not use.
            flat = lambda basis: coefficients @ basis.reshape(len(basis), -1)  # noqa: E731
            count = len(coefficients)
            vertices = self.package.template_vertices + flat(self.package.blendshapes).reshape(count, -1, 3)
            bones = self.package.template_bone_heads + flat(self.package.bone_heads_blendshapes).reshape(count, -1, 3)
        joints = bones.numpy()[:, self._joint_rows]
        return RawHeads(vertices.numpy() @ METRES_FROM_ANNY.T, joints @ METRES_FROM_ANNY.T)

    def _aligned(self, heads: RawHeads) -> RawHeads:
        vertices, joints = heads.vertices.copy(), heads.joints.copy()
        for head in range(len(vertices)):
            template_from_head = rigid_align(vertices[head][self._rigid], self.template[self._rigid])
            vertices[head] = template_from_head @ vertices[head]
            joints[head] = template_from_head @ joints[head]
        return RawHeads(vertices, joints)

    def texture_layout(self) -> tuple[Float[np.ndarray, "u 2"], Int[np.ndarray, "f 3"]]:
        """Anny's own texture coordinates, v up, and the triangles into them."""
        uv, uv_faces = self.package.texture_coordinates, self.package.face_texture_coordinate_indices
        assert uv is not None and uv_faces is not None, "Anny's head topology has texture coordinates"
        return uv.numpy(), uv_faces.numpy()

    def skinning(self) -> Float[np.ndarray, "v j"]:
        """Anny's 64 bones summed into the model's joints: each bone counts for its nearest joint upwards."""
        parents = [int(parent) for parent in self.package.bone_parents]
        column = np.zeros(len(parents), int)
        for bone in range(len(parents)):
            walk = bone
            while walk >= 0 and walk not in self._joint_rows:
                walk = parents[walk]
            column[bone] = self._joint_rows.index(walk) if walk >= 0 else 0
        weights = np.zeros((len(self.template), len(JOINT_BONES)))
        indices, values = self.package.vertex_bone_indices.numpy(), self.package.vertex_bone_weights.numpy()
        for slot in range(indices.shape[1]):
            np.add.at(weights, (np.arange(len(weights)), column[indices[:, slot]]), values[:, slot])
        return weights / weights.sum(1, keepdims=True)


def build_anny_head_model(modes: int = IDENTITY_MODES, samples: int = IDENTITY_SAMPLES, seed: int = 20260) -> HeadModel:
    """The linear default head; takes some ten seconds, `registry.load_head_model` caches it.

    Principal components by the Gram matrix of the samples: there are eight times fewer samples than coordinates.
    """
    raw = RawAnny()
    heads = raw.sample(samples, np.random.default_rng(seed), ALL_AGES)
    mean, mean_joints = heads.vertices.mean(0), heads.joints.mean(0)
    centred = (heads.vertices - mean).reshape(samples, -1)
    eigenvalues, eigenvectors = np.linalg.eigh(centred @ centred.T)
    order = np.argsort(eigenvalues)[::-1][:modes]
    scores = eigenvectors[:, order] * np.sqrt(samples - 1)  # unit variance
    project = scores.T / (samples - 1)
    basis = (project @ centred).reshape(modes, -1, 3)
    joint_basis = (project @ (heads.joints - mean_joints).reshape(samples, -1)).reshape(modes, -1, 3)

    origin = mean_joints[0]
    skinning = raw.skinning()
    template, joints = mean - origin, mean_joints - origin
    uv, uv_faces, islands = pack_texture_islands(*raw.texture_layout())
    regions = paint_regions(template, raw.faces, islands, joints, skinning)
    smooth = SMOOTH_SIGMA_M * smooth_modes(template, SMOOTH_MODES // 3, SMOOTH_LENGTH_M)
    # A wave across an eyeball would turn its gaze (by 2 degrees, measured): eyeballs go along as they are.
    for eye in (template[:, 0] > 0, template[:, 0] <= 0):
        ball = regions["eyes"] & eye
        smooth[:, ball] = smooth[:, ball].mean(1, keepdims=True)
    nearest = ((template - joints[:, None]) ** 2).sum(2).argmin(1)
    basis = np.concatenate([basis, smooth])
    joint_basis = np.concatenate([joint_basis, smooth[:, nearest]])
    return HeadModel(
        name=f"anny-{version('anny')}-{modes}+{len(smooth)}",
        licence=LICENCE,
        template=_f32(template),
        identity_basis=_f32(basis),
        expression_basis=_f32(raw.expressions),
        expression_names=raw.expression_names,
        faces=torch.from_numpy(raw.faces.astype(np.int64)),
        uv=_f32(uv),
        uv_faces=torch.from_numpy(uv_faces.astype(np.int64)),
        joint_names=tuple(JOINT_BONES),
        joints=_f32(joints),
        joint_basis=_f32(joint_basis),
        skinning=_f32(skinning),
        region_names=tuple(regions),
        regions=torch.from_numpy(np.stack(list(regions.values()))),
    )


def smooth_modes(vertices: Float[np.ndarray, "v 3"], functions: int, length_m: float) -> Float[np.ndarray, "k v 3"]:
    """Leading modes of a vector field of unit variance that varies smoothly over `length_m`: three axes a function.

    Source: Luthi et al. 2018, "Gaussian Process Morphable Models", section 3; Williams & Seeger 2001 for the kernel.
    """
    values = kernel_functions(vertices, length_m, functions)
    return np.einsum("vf,ac->favc", values, np.eye(3)).reshape(-1, len(vertices), 3)


def _f32(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
