"""What a model does not bring, taken from the default head through a surface map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from flame_fitting.models.arkit_solve import symmetric_shapes
from flame_fitting.models.contours import HeadContours
from flame_fitting.models.head_model import HeadModel, LandmarkEmbedding
from flame_fitting.models.surface_map import TURNED_M, Surface, SurfaceMap, locate, map_surface
from geometry.transforms import rigid_align

PUPIL_RING = 8
LIPS_AND_LIDS_M = 0.004
"""A pair of a stranger's contour lies within this of where the default head has it."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """The default head laid onto a stranger's template; each method gives one missing part."""

    source: HeadModel
    """The default head."""
    source_landmarks: LandmarkEmbedding
    """Its landmarks."""
    source_contours: HeadContours
    """Its contours."""
    target: Surface
    """The stranger's template."""
    joints: Float[np.ndarray, "5 3"]
    """The stranger's joints in the order of JOINT_NAMES, metres."""
    map: SurfaceMap
    """Between the two."""

    @classmethod
    def of(
        cls,
        source: tuple[HeadModel, LandmarkEmbedding, HeadContours],
        target: Surface,
        joints: Float[np.ndarray, "5 3"],
    ) -> Transfer:
        """Bend the default head onto the template; takes seconds."""
        model, landmarks, contours = source
        left, right = (ball.numpy() for ball in contours.eyeballs)
        return cls(model, landmarks, contours, target, joints, map_surface(model, (left, right), target, joints[3:]))

    def expressions(self) -> Float[np.ndarray, "e v 3"]:
        """The default head's 52 ARKit shapes, metres: displacements turned and scaled, eyeballs turned as balls.

        They are made symmetric on the default head, whose mirror image is exact, before they are carried over.
        """
        shapes = self.source.expression_basis.double().numpy()
        shapes = symmetric_shapes(shapes, self.source.expression_names, self.source_contours.mirror.numpy())
        moved = self.map.carry(shapes) @ self.map.rotation.T * self.map.scale
        rest = self.source.template.double().numpy()
        for side, ball in enumerate(self.target.eyeballs):
            own = self.source_contours.eyeballs[side].numpy()
            centre = self.joints[3 + side]
            for curve, shape in enumerate(shapes):
                turn = rigid_align(rest[own], rest[own] + shape[own]).rotation
                turn = self.map.rotation @ turn @ self.map.rotation.T
                moved[curve, ball] = (self.target.vertices[ball] - centre) @ (turn - np.eye(3)).T
        return moved

    def mirror(self) -> Int[np.ndarray, "v"]:
        """The vertex nearest to each one's mirror image on the stranger's own surface, however lopsided that is.

        A vertex's place on the default head is mirrored there, exactly, and looked up on the bent head.
        """
        twins = self.source_contours.mirror.numpy()[self.map.faces]
        bent = self.map.bent
        image = (bent.vertices[twins] * self.map.barycentric[..., None]).sum(1)
        facing = (bent.normals()[twins] * self.map.barycentric[..., None]).sum(1)
        part = self.target.part()
        mirror = np.zeros(len(image), np.int64)
        own = self.target.normals()
        for number in range(3):
            rows = np.flatnonzero(part == number)
            there = np.flatnonzero(part == (0, 2, 1)[number])
            count = min(12, len(there))
            distance, index = (
                np.asarray(each) for each in KDTree(self.target.vertices[there]).query(image[rows], count)
            )
            turned = 1 - np.einsum("nkd,nd->nk", own[there][index], facing[rows])
            mirror[rows] = there[index[np.arange(len(rows)), (distance + TURNED_M * turned).argmin(1)]]
        return mirror

    def skinning(self) -> Float[np.ndarray, "v 5"]:
        """Weights of neck, head, jaw and eyes; eyeballs follow their eye alone."""
        weights = self.map.carry(self.source.skinning.double().numpy())
        for side, ball in enumerate(self.target.eyeballs):
            weights[ball] = np.eye(5)[3 + side]
        return weights / weights.sum(1, keepdims=True)

    def regions(self) -> Bool[np.ndarray, "r v"]:
        """The default head's named masks."""
        masks = self.map.carry(self.source.regions.double().numpy()[..., None])[..., 0] > 0.5
        names = self.source.region_names
        balls = np.concatenate(self.target.eyeballs)
        masks[:, balls] = False
        masks[names.index("eyes"), balls] = True
        return masks

    def landmarks(self) -> LandmarkEmbedding:
        """The default head's landmarks on the stranger's triangles."""
        embedding = self.source_landmarks
        corners = self.map.bent.vertices[embedding.faces.numpy()]
        points = (corners * embedding.barycentric.numpy()[..., None]).sum(1)
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        part = self.map.bent.part()[embedding.faces.numpy()].min(1)
        faces, weights, _ = locate(self.target, points, across, part)
        return LandmarkEmbedding(
            faces=torch.from_numpy(faces),
            barycentric=torch.from_numpy(weights),
            source_index=embedding.source_index,
            spread_m=embedding.spread_m * self.map.scale,
        )

    def contours(self, expressions: Float[np.ndarray, "e v 3"], names: tuple[str, ...]) -> HeadContours:
        """Lip and lid pairs at the stranger's own vertices; what is rest and contact is measured on its own shapes."""
        source, rest = self.source_contours, self.target.vertices
        lips = self._pairs(source.lip_pairs.numpy())
        left, right = (self._pairs(pairs.numpy()) for pairs in (source.lid_pairs_left, source.lid_pairs_right))
        count = min(len(left), len(right))
        left, right = left[:count], right[:count]
        closed = rest + source.lid_contact * expressions[names.index("eyeBlinkLeft")]
        return HeadContours(
            lip_pairs=torch.from_numpy(lips),
            lid_pairs_left=torch.from_numpy(left),
            lid_pairs_right=torch.from_numpy(right),
            lip_rest_m=torch.from_numpy(rest[lips[:, 0], 1] - rest[lips[:, 1], 1]),
            lid_rest_m=torch.from_numpy(closed[left[:, 0], 1] - closed[left[:, 1], 1]),
            lid_contact=source.lid_contact,
            pupils=torch.from_numpy(np.stack([self._ring(ball) for ball in self.target.eyeballs])),
            eyeballs=tuple(torch.from_numpy(ball) for ball in self.target.eyeballs),  # pyright: ignore[reportArgumentType]
            mirror=torch.from_numpy(self.mirror()),
        )

    def _pairs(self, pairs: Int[np.ndarray, "n 2"]) -> Int[np.ndarray, "m 2"]:
        """The stranger's vertices nearest to each pair, both sides of the gap kept apart; doubles are left out."""
        bent, normals, own = self.map.bent, self.map.bent.normals(), self.target.normals()
        skin = np.flatnonzero(self.target.part() == 0)
        tree = KDTree(self.target.vertices[skin])
        found: list[tuple[int, int]] = []
        for pair in pairs:
            chosen = []
            for vertex in pair:
                distance, index = tree.query(bent.vertices[vertex], 12)
                candidates = skin[index]
                cost = distance + np.where(own[candidates] @ normals[vertex] > 0.2, 0.0, 1.0)
                chosen.append((float(cost.min()), int(candidates[cost.argmin()])))
            (first_gap, first), (second_gap, second) = chosen
            fits = max(first_gap, second_gap) < LIPS_AND_LIDS_M and first != second
            if fits and all(first != other[0] and second != other[1] for other in found):
                found.append((first, second))
        return np.array(found, np.int64).reshape(-1, 2)

    def _ring(self, ball: Int[np.ndarray, "n"]) -> Int[np.ndarray, "8"]:
        return np.sort(ball[np.argsort(-self.target.vertices[ball, 2], kind="stable")[:PUPIL_RING]])
