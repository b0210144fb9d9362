"""A scan as it comes: triangles in some unit and some orientation, with what is known of their colour."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from geometry.errors import InputError
from geometry.meshes import Mesh

CLUSTERED_FACES = 400_000
"""Scans with more triangles are thinned to about this many: finer than half a millimetre on a head."""
LEAST_FACES = 50


@dataclass(frozen=True, eq=False)
class Scan:
    """Triangles of a scan; unit, axes and winding are the file's."""

    vertices: Float[np.ndarray, "v 3"]
    """Positions."""
    faces: Int[np.ndarray, "f 3"]
    """Vertex indices of each triangle."""
    colours: UInt8[np.ndarray, "v 3"] | None = None
    """sRGB per vertex, if known."""
    uv: Float[np.ndarray, "v 2"] | None = None
    """Texture coordinates per vertex, v up; vertices on seams come once for each side."""
    texture: UInt8[np.ndarray, "h w 3"] | None = None
    """sRGB."""

    def at(self, vertices: Float[np.ndarray, "v 3"]) -> Scan:
        """The same triangles elsewhere."""
        return replace(self, vertices=vertices)

    @property
    def is_coloured(self) -> bool:
        """Whether it has colours of any kind."""
        return self.texture is not None or self.colours is not None

    def plain(self) -> Scan:
        """The same shape without its colours."""
        return Scan(self.vertices, self.faces)

    def with_faces(self, faces: Int[np.ndarray, "f 3"]) -> Scan:
        """Only these triangles, and the vertices that they use."""
        used = np.unique(faces)
        place = np.zeros(len(self.vertices), np.int64)
        place[used] = np.arange(len(used))
        colours, uv = (None if part is None else part[used] for part in (self.colours, self.uv))
        return Scan(self.vertices[used], place[faces], colours, uv, self.texture)

    def as_mesh(self) -> Mesh:
        """One vertex a place: seams of the texture are closed."""
        places, row = np.unique(self.vertices, axis=0, return_inverse=True)
        faces = row.reshape(-1)[self.faces]
        return Mesh(places, faces[_is_triangle(faces)])


@dataclass(frozen=True)
class Repairs:
    """What of a file was not used."""

    vertices_not_finite: int
    """Vertices at nan or infinity; their triangles are gone."""
    triangles_without_area: int
    """Triangles with two corners in one place."""
    triangles_thinned: int
    """Triangles that thinning took away."""


def cleaned_scan(scan: Scan) -> tuple[Scan, Repairs]:
    """The scan's real triangles, thinned where there are very many, and what was left out.

    Raises InputError when hardly a triangle is left.
    """
    finite = np.asarray(np.isfinite(scan.vertices).all(1))
    kept = scan.faces[finite[scan.faces].all(1)]
    corners = scan.vertices[kept]
    solid = kept[(corners != np.roll(corners, 1, axis=1)).any(2).all(1)]
    if len(solid) < LEAST_FACES:
        raise InputError(
            f"a scan of at least {LEAST_FACES} triangles",
            f"{len(solid)} usable of {len(scan.faces)} ({int((~finite).sum())} vertices are not finite)",
            "export the scan as a triangle mesh",
        )
    whole = scan.with_faces(solid)
    thin = clustered(whole, CLUSTERED_FACES)
    lost = int((~finite[np.unique(scan.faces)]).sum())
    return thin, Repairs(lost, len(kept) - len(solid), len(solid) - len(thin.faces))


def clustered(scan: Scan, most_faces: int) -> Scan:
    """At most about so many triangles: vertices of one cell of a grid become the first of them.

    Vertices that stay are the scan's own, with their colours and texture coordinates.
    Source: Rossignac & Borrel 1993, "Multi-resolution 3D approximations for rendering complex scenes".
    """
    if len(scan.faces) <= most_faces:
        return scan
    edges = scan.vertices[scan.faces[:, 0]] - scan.vertices[scan.faces[:, 1]]
    cell = float(np.median(np.linalg.norm(edges, axis=1))) * np.sqrt(len(scan.faces) / most_faces)
    thin = scan
    while len(thin.faces) > most_faces:
        grid = np.floor((scan.vertices - scan.vertices.min(0)) / cell).astype(np.int64)
        _, first, row = np.unique(grid @ np.array([1, 1 << 21, 1 << 42]), return_index=True, return_inverse=True)
        faces = first[row.reshape(-1)][scan.faces]
        faces = faces[_is_triangle(faces)]
        _, once = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
        thin = scan.with_faces(faces[np.sort(once)])
        cell *= 1.2
    return thin


def _is_triangle(faces: Int[np.ndarray, "f 3"]) -> Bool[np.ndarray, "f"]:
    return (faces != np.roll(faces, 1, axis=1)).all(1)
