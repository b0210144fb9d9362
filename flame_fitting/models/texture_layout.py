"""Texture coordinates of the default head, packed so that the face gets most of the texture.

Anny's coordinates are laid out for a whole body: the head would use a quarter of the square and the irises 20 pixels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

MARGIN = 0.01


def pack_texture_islands(
    uv: Float[np.ndarray, "u 2"], uv_faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "w 2"], Int[np.ndarray, "f 3"], Int[np.ndarray, "f"]]:
    """New coordinates without unused rows, triangles into them, and each triangle's island (0 = the largest, the skin).

    The skin is turned upright and fills the upper part; the other islands share a row at the bottom, each as large as
    fits, so that the eyes get as many texels as the cheeks.
    """
    used, flat = np.unique(uv_faces, return_inverse=True)
    faces = flat.reshape(-1, 3)
    uv = uv[used]
    links = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(uv), len(uv)))
    count, island_of_row = connected_components(graph, directed=False)
    island_of_face = island_of_row[faces[:, 0]]
    order = np.argsort(-np.bincount(island_of_face, minlength=count), kind="stable")
    rank = np.argsort(order)

    packed = np.empty_like(uv)
    turned = uv @ np.array([[0.0, -1.0], [1.0, 0.0]])  # the face lies on its side in Anny's layout
    skin = island_of_row == order[0]
    top = _fit(turned[skin], (MARGIN, MARGIN), (1 - 2 * MARGIN, 1 - 2 * MARGIN))
    height = float(np.ptp(top[:, 1]))
    packed[skin] = top + np.array([0, 1 - 2 * MARGIN - height])
    cell = (1 - MARGIN) / (count - 1)
    for slot, island in enumerate(order[1:]):
        rows = island_of_row == island
        corner = (MARGIN + slot * cell, MARGIN)
        packed[rows] = _fit(uv[rows], corner, (cell - MARGIN, 1 - height - 4 * MARGIN))
    return packed, faces, rank[island_of_face]


def _fit(points: np.ndarray, corner: tuple[float, float], size: tuple[float, float]) -> np.ndarray:
    """Scale evenly into a box and put the lower left at its corner."""
    low, span = points.min(0), np.ptp(points, axis=0)
    return (points - low) * float(np.min(np.array(size) / span)) + np.array(corner)
