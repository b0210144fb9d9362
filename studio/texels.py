"""The head's texture as a list of texels that know where on the template they lie."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from flame_fitting.models.contours import load_contours
from flame_fitting.models.head_model import HeadModel
from geometry.errors import InputError
from rendering.arrays import interpolate_arrays, rasterize_arrays

SKIN, MOUTH, TONGUE, SOCKET, EYEBALL = range(5)
"""What a texel belongs to; a socket is the inside of the lids."""
FAR_RING = 30


@dataclass(frozen=True, eq=False)
class Texels:
    """Every texel that a triangle covers, and fields over them that painting needs."""

    mask: Bool[np.ndarray, "h w"]
    """Which texels of the image these are, in row order."""
    part: Int[np.ndarray, "n"]
    """SKIN, MOUTH, TONGUE, SOCKET or EYEBALL."""
    position: Float32[np.ndarray, "n 3"]
    """On the template, metres."""
    lip_ring: Float32[np.ndarray, "n"]
    """Edge loops away from where the skin turns into the mouth: lip lines follow the mesh, and so every identity."""
    lid_ring: Float32[np.ndarray, "n"]
    """Edge loops away from the edges of the lids."""
    pupils: Float32[np.ndarray, "2 3"]
    """Middles of the left and the right pupil that the template's mesh has; irises are painted about them, metres."""
    eyes: Float32[np.ndarray, "2 3"]
    """Centres of the left and the right eyeball on the template, metres."""
    mouth: Float32[np.ndarray, "3"]
    """Middle of the closed mouth's line."""
    nose_tip: Float32[np.ndarray, "3"]
    """Foremost point of the skin."""

    def image(self, values: Float[np.ndarray, "n c"]) -> Float32[np.ndarray, "h w c"]:
        """Values laid out as a texture, and spread over the gutters by their nearest texel."""
        image = np.zeros((*self.mask.shape, values.shape[1]), np.float32)
        image[self.mask] = values
        labels = cv2.distanceTransformWithLabels(
            (~self.mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )[1].astype(np.int32)
        of_label = np.zeros((labels.max() + 1, values.shape[1]), np.float32)
        of_label[labels[self.mask]] = values
        return of_label[labels]


def head_texels(model: HeadModel, size_px: int) -> Texels:
    """The texels of a square texture of the default head.

    Raises InputError for a model whose texture islands do not part skin, mouth and eyes.
    """
    template, faces = model.template.numpy(), model.faces.numpy()
    uv, uv_faces = model.uv.numpy(), model.uv_faces.numpy()
    part_of_face = _parts(model)
    fragments = rasterize_arrays(
        np.stack([uv[:, 0] * size_px, (1 - uv[:, 1]) * size_px, np.ones(len(uv))], 1), uv_faces, (size_px, size_px)
    )
    vertices_of = [np.unique(faces[part_of_face == part]) for part in range(5)]
    lip_edge = np.intersect1d(vertices_of[SKIN], vertices_of[MOUTH])
    lid_edge = np.intersect1d(vertices_of[SKIN], vertices_of[SOCKET])
    skin_faces = faces[part_of_face == SKIN]
    fields = np.column_stack([template, _rings(skin_faces, lip_edge, len(template))])
    fields = np.column_stack([fields, _rings(skin_faces, lid_edge, len(template))])
    values = interpolate_arrays(fragments, faces, fields)[fragments.mask]
    eyes = model.joints.numpy()[[model.joint_names.index("eye_left"), model.joint_names.index("eye_right")]]
    skin = template[vertices_of[SKIN]]
    return Texels(
        mask=fragments.mask,
        part=part_of_face[fragments.face_index[fragments.mask]],
        position=np.ascontiguousarray(values[:, :3]),
        lip_ring=np.ascontiguousarray(values[:, 3]),
        lid_ring=np.ascontiguousarray(values[:, 4]),
        pupils=template[load_contours("anny").pupils.numpy()].mean(1),
        eyes=eyes,
        mouth=template[lip_edge].mean(0),
        nose_tip=skin[skin[:, 2].argmax()],
    )


def _parts(model: HeadModel) -> Int[np.ndarray, "f"]:
    """What each triangle belongs to, from texture islands and the vertices that they share."""
    faces, uv_faces = model.faces.numpy(), model.uv_faces.numpy()
    links = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]]])
    count = len(model.uv)
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
    islands, island_of_row = connected_components(graph, directed=False)
    island = island_of_row[uv_faces[:, 0]]
    template, eyes = model.template.numpy(), model.region("eyes").numpy()
    joints = model.joints.numpy()[[model.joint_names.index("eye_left"), model.joint_names.index("eye_right")]]
    skin_island = np.bincount(island, minlength=islands).argmax()
    skin = np.unique(faces[island == skin_island])
    centres = [template[np.unique(faces[island == number])].mean(0) for number in range(islands)]
    face_centre = template[model.region("face").numpy()].mean(0)
    part = np.full(len(faces), SKIN)
    inwards = []
    for number, centre in enumerate(centres):
        mine = island == number
        vertices = np.unique(faces[mine])
        if number == skin_island:
            continue
        if eyes[vertices].mean() > 0.5:
            part[mine] = EYEBALL
        elif not np.isin(vertices, skin).any():
            part[mine] = TONGUE
        elif np.linalg.norm(joints - centre, axis=1).min() < 0.02:
            part[mine] = SOCKET
        else:
            inwards.append(number)
    if inwards:
        # The mouth's inside lies behind the face; what is left continues the skin: the front of the neck.
        mouth = min(inwards, key=lambda number: float(np.linalg.norm(centres[number] - face_centre)))
        part[island == mouth] = MOUTH
    if len(np.unique(part)) != 5:
        expected = "a head model with texture islands for skin, mouth, tongue, eye sockets and eyeballs"
        raise InputError(expected, model.name, "paint the default head (`load_head_model()`), or bring a texture")
    return part


def _rings(faces: np.ndarray, seeds: np.ndarray, count: int) -> Float[np.ndarray, "v"]:
    """Edges to the nearest seed along a part's mesh, slightly smoothed so that their level lines do not zigzag."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    ring = np.full(count, float(FAR_RING))
    ring[seeds] = 0
    for step in range(FAR_RING):
        reached = edges[ring[edges[:, 0]] == step, 1]
        ring[reached] = np.minimum(ring[reached], step + 1)
    neighbours = np.maximum(np.bincount(edges[:, 0], minlength=count), 1)
    for _ in range(2):
        mean = np.bincount(edges[:, 0], ring[edges[:, 1]], count) / neighbours
        ring = np.where((ring > 0.5) & (neighbours > 1), 0.5 * (ring + mean), ring)
    return ring
