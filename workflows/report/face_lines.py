"""Where lids, lips and irises run: on the fitted head and in the detected landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from flame_fitting.models.head_model import LandmarkEmbedding
from flame_fitting.models.registry import load_landmark_embedding
from workflows.report.contents import FittedHead

LIDS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
"""Landmarks along the lids, closed lines, the subject's right eye first. Source: MediaPipe's FACEMESH_*_EYE."""
LIPS = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
"""The lips' outer and inner line. Source: MediaPipe's FACEMESH_LIPS."""
IRIS_RIMS = ((469, 470, 471, 472), (474, 475, 476, 477))
"""The irises' rims, where there are 478 landmarks."""
IRIS_RADIUS_M = 0.00585
"""Half of an adult's white-to-white distance, 11.7 +- 0.4 mm (Ruefer et al. 2005)."""
IRIS_POINTS = 24


@dataclass(frozen=True, eq=False)
class HeadLines:
    """Lines of the fitted heads of one take; its head model must be known."""

    fit: FittedHead
    """Whose."""

    @classmethod
    def of(cls, fit: FittedHead) -> HeadLines | None:
        """None for a head of a topology that mien does not know: nobody can tell where its lips are."""
        return cls(fit) if fit.model is not None else None

    def lids_and_lips(self, vertices: Float[np.ndarray, "v 3"]) -> list[Float[np.ndarray, "n 3"]]:
        """Closed lines on the head, world metres: right lids, left lids, outer lips, inner lips."""
        places = self._embedding.on(torch.from_numpy(vertices)).numpy()
        return [places[rows] for rows in self._rows]

    def irises(self, vertices: Float[np.ndarray, "v 3"], frame: int) -> list[Float[np.ndarray, "n 3"]]:
        """Circles of an iris' size where the eyes look, world metres, left eye first."""
        circles = []
        for eye, members in enumerate(self._eyeballs):
            centre, radius = fitted_sphere(vertices[members])
            forward = self._gaze[frame, eye] if self._gaze is not None else vertices[self._pupils[eye]] - centre
            length = float(np.linalg.norm(forward))
            if not np.isfinite(length) or length < 1e-9 or radius <= IRIS_RADIUS_M:
                continue
            forward = forward / length
            across = np.cross(forward, [0.0, 1.0, 0.0])
            across /= np.linalg.norm(across) + 1e-9
            turn = np.arange(IRIS_POINTS)[:, None] * 2 * np.pi / IRIS_POINTS
            ring = np.cos(turn) * across + np.sin(turn) * np.cross(across, forward)
            circles.append(centre + forward * (radius**2 - IRIS_RADIUS_M**2) ** 0.5 + ring * IRIS_RADIUS_M)
        return circles

    @cached_property
    def eye_faces(self) -> Bool[np.ndarray, "f"]:
        """Triangles of the eyeballs: what shows of an iris shows through one of these."""
        return np.all(self._eyes[self.fit.faces], axis=1)

    @cached_property
    def _embedding(self) -> LandmarkEmbedding:
        return load_landmark_embedding(str(self.fit.result.provenance.config["model"]))

    @cached_property
    def _rows(self) -> list[list[int]]:
        place = {int(number): row for row, number in enumerate(self._embedding.source_index)}
        return [[place[number] for number in line if number in place] for line in (*LIDS, *LIPS)]

    @cached_property
    def _eyes(self) -> Bool[np.ndarray, "v"]:
        assert self.fit.model is not None
        return self.fit.model.region("eyes").numpy()

    @cached_property
    def _template(self) -> Float[np.ndarray, "v 3"]:
        assert self.fit.model is not None
        return self.fit.model.template.double().numpy()

    @cached_property
    def _eyeballs(self) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "m"]]:
        left, right = (np.flatnonzero(self._eyes & (side * self._template[:, 0] > 0)) for side in (1, -1))
        return left, right

    @cached_property
    def _pupils(self) -> tuple[int, int]:
        left, right = (int(members[self._template[members, 2].argmax()]) for members in self._eyeballs)
        return left, right

    @cached_property
    def _gaze(self) -> Float[np.ndarray, "t 2 3"] | None:
        return self.fit.result["gaze"][...].astype(np.float64) if "gaze" in self.fit.result.arrays else None


def fitted_sphere(points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and radius of the sphere through points, by linear least squares in |p|^2 = 2 p.c + (r^2 - |c|^2)."""
    middle = points.mean(0)
    offsets = points - middle
    system = np.concatenate([2 * offsets, np.ones((len(offsets), 1))], 1)
    solution = np.linalg.lstsq(system, (offsets**2).sum(1), rcond=None)[0]
    return middle + solution[:3], float(np.sqrt(max(solution[3] + solution[:3] @ solution[:3], 0.0)))
