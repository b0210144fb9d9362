"""What every rasterizer returns."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int16, Int32
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Fragments:
    """The nearest triangle of every pixel centre, of one view or of a batch of views."""

    face_index: Int32[Tensor, "*b h w"]
    """Row of the triangle in `faces`; -1 where the pixel shows none."""
    depth: Float[Tensor, "*b h w"]
    """Distance along the camera's z axis in metres, perspective-correct; 0 where there is none."""
    barycentric: Float[Tensor, "*b h w 3"]
    """Weights of the triangle's corners in space (not on the screen), b_i = (s_i / z_i) / sum_j (s_j / z_j) for screen
    weights s; they sum to 1; 0 where there is none."""
    boxes: Int16[Tensor, "*b f 4"]
    """First row, first column, one past the last row and one past the last column of the pixels that each triangle may
    cover; zeros where it covers none. Adjoints walk a triangle's own pixels by it."""

    @property
    def mask(self) -> Bool[Tensor, "*b h w"]:
        """Pixels that show a triangle."""
        return self.face_index >= 0
