"""What of a scan is its outside: seen from somewhere, and turned so that its front shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flame_fitting.scans.pictures import ScanPicture
from geometry.meshes import face_normals
from geometry.scans import Scan


def outside_of(scan: Scan, pictures: Sequence[ScanPicture]) -> tuple[Scan, int]:
    """Triangles that pictures show, counter-clockwise from where they are seen, and how many had to be turned.

    Inner shells, the inside of thickened surfaces and bags behind lips go; what is wound the wrong way is turned.
    """
    normals, centres = face_normals(scan.vertices, scan.faces), scan.vertices[scan.faces].mean(1)
    shown, facing = np.zeros(len(scan.faces)), np.zeros(len(scan.faces))
    for picture in pictures:
        pixels = np.bincount(picture.fragments.face_index[picture.fragments.mask], minlength=len(scan.faces))
        towards = picture.camera.centre_world - centres
        shown += pixels
        facing += pixels * np.sign((normals * towards).sum(1))
    seen, turned = shown > 0, facing < 0
    faces = np.where(turned[:, None], scan.faces[:, ::-1], scan.faces)
    return replace(scan, faces=faces).with_faces(faces[seen]), int((turned & seen).sum())
