"""What every rasterizer returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Shaped


@dataclass(frozen=True, eq=False)
class Fragments:
    """The nearest triangle of every pixel centre, of one view or of a batch of views."""

    face_index: Int32[np.ndarray, "*b h w"]
    """Row of the triangle in `faces`; -1 where the pixel shows none."""
    depth: Float[np.ndarray, "*b h w"]
    """Distance along the camera's z axis in metres, perspective-correct; 0 where there is none."""
    barycentric: Float[np.ndarray, "*b h w 3"]
    """Weights of the triangle's corners in space (not on the screen), b_i = (s_i / z_i) / sum_j (s_j / z_j) for screen
    weights s; they sum to 1; 0 where there is none."""

    @property
    def mask(self) -> Bool[np.ndarray, "*b h w"]:
        """Pixels that show a triangle."""
        return self.face_index >= 0


def interpolate(
    fragments: Fragments, faces: Int[np.ndarray, "f 3"], values: Shaped[np.ndarray, "v c"]
) -> Float[np.ndarray, "*b h w c"]:
    """Corner values carried to every pixel; 0 where there is no triangle.

    `faces` may index another table than the one rasterized (texture coordinates with seams), row for row.
    """
    channels = values.shape[1]
    image = np.zeros((*fragments.face_index.shape, channels), np.float32)
    mask = fragments.mask
    corners = faces[fragments.face_index[mask]]
    weights = fragments.barycentric[mask].astype(np.float32)
    table = values.astype(np.float32)
    image[mask] = sum(table[corners[:, k]] * weights[:, k : k + 1] for k in range(3))
    return image
