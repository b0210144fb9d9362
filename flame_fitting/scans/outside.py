"""What of a scan is its outside: seen from somewhere, and turned so that its front shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from flame_fitting.scans.pictures import ScanPicture
from geometry.meshes import face_normals
from geometry.scans import Scan


def outside_of(scan: Scan, pictures: Sequence[ScanPicture]) -> tuple[Scan, int]:
    """Triangles that pictures show, counter-clockwise from where they are seen, and how many had to be turned.

    Inner shells, the inside of thickened surfaces and bags behind lips go; what is wound the wrong way is turned.
    Triangles that are wound alike across their common edges turn together: a mask shows its inside from behind.
    """
    normals, centres = face_normals(scan.vertices, scan.faces), scan.vertices[scan.faces].mean(1)
    shown, facing = np.zeros(len(scan.faces)), np.zeros(len(scan.faces))
    for picture in pictures:
        pixels = np.bincount(picture.fragments.face_index[picture.fragments.mask], minlength=len(scan.faces))
        towards = picture.camera.centre_world - centres
        shown += pixels
        facing += pixels * np.sign((normals * towards).sum(1))
    group = wound_alike(scan.faces, scan.vertices)
    seen, turned = shown > 0, np.bincount(group, facing)[group] < 0
    faces = np.where(turned[:, None], scan.faces[:, ::-1], scan.faces)
    return replace(scan, faces=faces).with_faces(faces[seen]), int((turned & seen).sum())


def wound_alike(faces: Int[np.ndarray, "f 3"], vertices: Float[np.ndarray, "v 3"]) -> Int[np.ndarray, "f"]:
    """Number of the patch of each triangle: neighbours that pass their common edge in opposite directions share one.

    Vertices in one place count as one: seams of a texture do not part a surface.
    """
    _, place = np.unique(vertices, axis=0, return_inverse=True)
    corners = place.reshape(-1)[faces]
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    face = np.tile(np.arange(len(faces)), 3)
    count = int(corners.max()) + 1
    forward, backward = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    order = np.argsort(forward, kind="stable")
    at = np.searchsorted(forward[order], backward).clip(max=len(order) - 1)
    joined = forward[order][at] == backward
    pairs = face[joined], face[order][at][joined]
    graph = coo_matrix((np.ones(len(pairs[0]), np.int8), pairs), shape=(len(faces), len(faces)))
    return connected_components(graph, directed=False)[1]
