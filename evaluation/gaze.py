"""Where eyes look: from the middle of each eyeball through the middle of its pupil, as the mesh itself has them.

Truth and fit are measured the same way on the same topology, so that neither a model's bones nor its curves take part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from geometry.spheres import sphere_through

PUPIL_VERTICES = 8
"""So many of an eyeball's foremost vertices are the pupil's rim."""
ROUND = 0.1
"""An eyeball's vertices stray less than this share of its radius from a sphere."""
RADIUS_M = (0.008, 0.022)
"""Of eyeballs, children's and strangers' included."""
OPEN_BELOW = 0.5
"""An eye whose eyeBlink is above this shows too little to tell where it looks."""
BLINKS = ("eyeBlinkLeft", "eyeBlinkRight")


@dataclass(frozen=True, eq=False)
class Eyes:
    """Which vertices of a mesh are the eyes; left is the subject's, and comes first."""

    balls: tuple[Int[np.ndarray, "l"], Int[np.ndarray, "r"]]
    """Vertices of each eyeball."""
    rims: tuple[Int[np.ndarray, "m"], Int[np.ndarray, "n"]]
    """Vertices around each pupil."""

    def gaze(self, vertices: Float[np.ndarray, "*t v 3"]) -> Float[np.ndarray, "*t 2 3"]:
        """Unit vectors in the frame of the vertices, left eye first."""
        looks = []
        for ball, rim in zip(self.balls, self.rims, strict=True):
            points = np.asarray(vertices[..., ball, :], np.float64)
            ahead = np.asarray(vertices[..., rim, :], np.float64).mean(-2) - sphere_through(points)[0]
            looks.append(ahead / np.linalg.norm(ahead, axis=-1, keepdims=True))
        return np.stack(looks, -2)


def find_eyes(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Eyes | None:
    """The two eyeballs of a head in its own frame (y up, facing +z): parts of the mesh that are balls of their size.

    None where there are not two, as in a scan.
    """
    links = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(vertices), len(vertices)))
    _, part = connected_components(graph, directed=False)
    parts = [np.flatnonzero(part == number) for number in np.flatnonzero(np.bincount(part) >= 12)]
    balls = [vertex for vertex in parts if _is_eyeball(vertices[vertex].astype(np.float64))]
    if len(balls) != 2:
        return None
    left, right = sorted(balls, key=lambda ball: -vertices[ball, 0].mean())
    return Eyes((left, right), (_rim(vertices, left), _rim(vertices, right)))


def gaze_figures(
    fitted: Float[np.ndarray, "t 2 3"], true: Float[np.ndarray, "t 2 3"], is_open: Bool[np.ndarray, "t 2"]
) -> dict[str, float]:
    """Angle between fitted and true gaze, degrees: median over the open eyes of all frames; none if all are shut."""
    if not is_open.any():
        return {}
    across = np.linalg.norm(np.cross(fitted, true), axis=-1)
    angle = np.degrees(np.arctan2(across, (fitted * true).sum(-1)))
    return {"gaze_deg": float(np.median(angle[is_open]))}


def open_eyes(curves: Float[np.ndarray, "t e"], names: tuple[str, ...]) -> Bool[np.ndarray, "t 2"]:
    """Which eyes are open enough to show where they look; all where there are no curves of blinks."""
    columns = [names.index(name) for name in BLINKS if name in names]
    return curves[:, columns] < OPEN_BELOW if len(columns) == 2 else np.ones((len(curves), 2), bool)


def _is_eyeball(points: Float[np.ndarray, "n 3"]) -> bool:
    centre, radius = sphere_through(points)
    low, high = RADIUS_M
    strays = np.abs(np.linalg.norm(points - centre, axis=1) - radius)
    return bool(low < radius < high and strays.max() < ROUND * radius)


def _rim(vertices: Float[np.ndarray, "v 3"], ball: Int[np.ndarray, "n"]) -> Int[np.ndarray, "m"]:
    """The ring of vertices at the eyeball's front."""
    return np.sort(ball[np.argsort(-vertices[ball, 2], kind="stable")[:PUPIL_VERTICES]])
