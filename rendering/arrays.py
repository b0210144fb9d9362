"""NumPy in, NumPy out: visibility for rooms that need no gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int32, Shaped

from rendering.rasterize import rasterize


@dataclass(frozen=True, eq=False)
class FragmentArrays:
    """`Fragments` as arrays, with the same meaning and padding."""

    face_index: Int32[np.ndarray, "*b h w"]
    """Row of the triangle in `faces`; -1 where the pixel shows none."""
    depth: Float[np.ndarray, "*b h w"]
    """Distance along the camera's z axis in metres, perspective-correct; 0 where there is none."""
    barycentric: Float[np.ndarray, "*b h w 3"]
    """Weights of the triangle's corners in space; they sum to 1; 0 where there is none."""

    @property
    def mask(self) -> Bool[np.ndarray, "*b h w"]:
        """Pixels that show a triangle."""
        return self.face_index >= 0


def rasterize_arrays(
    vertices_screen: Float[np.ndarray, "*b v 3"],
    faces: Int[np.ndarray, "f 3"],
    size_hw: tuple[int, int],
    *,
    cull_backfaces: bool = False,
    device: str = "cpu",
) -> FragmentArrays:
    """Fragments in single precision of vertices in pixels (x, y) and metres (z), as `rendering.rasterize` has them."""
    vertices = torch.from_numpy(np.ascontiguousarray(vertices_screen, np.float32)).to(device)
    triangles = torch.from_numpy(np.ascontiguousarray(faces, np.int32)).to(device)
    found = rasterize(vertices, triangles, size_hw, cull_backfaces=cull_backfaces)
    return FragmentArrays(found.face_index.cpu().numpy(), found.depth.cpu().numpy(), found.barycentric.cpu().numpy())


def interpolate_arrays(
    fragments: FragmentArrays, faces: Int[np.ndarray, "f 3"], values: Shaped[np.ndarray, "v c"]
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
