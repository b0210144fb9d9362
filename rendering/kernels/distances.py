"""Measured depth against the surface that a rasterizer shows there, summed for the corners of each triangle."""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

from typing import Any, no_type_check

import warp as wp

from rendering.kernels.visibility import Box, owner_of

wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@wp.kernel
@no_type_check
def point_normals(
    first: int,
    vertices: wp.array2d(dtype=wp.vec3d),
    faces: wp.array2d(dtype=wp.int32),
    corners: wp.array(dtype=wp.int32),
    first_corner: wp.array(dtype=wp.int32),
    normals: wp.array2d(dtype=wp.vec3d),
) -> None:
    """Unit normal of one vertex of one mesh: the area-weighted mean of its triangles', in their order."""
    item = first + wp.tid()
    mesh = item // vertices.shape[1]
    vertex = item % vertices.shape[1]
    total = wp.vec3d()
    for place in range(first_corner[vertex], first_corner[vertex + 1]):
        face = corners[place] // 3
        a = vertices[mesh, faces[face, 0]]
        b = vertices[mesh, faces[face, 1]]
        c = vertices[mesh, faces[face, 2]]
        total += wp.cross(b - a, c - a)
    normals[mesh, vertex] = total / wp.max(wp.length(total), wp.float64(1.0e-20))


class _Gate:
    """Which pixels count, and how much; see `rendering.distances.DistanceModel`."""

    reach_m: wp.float64
    reach_sigmas: wp.float64
    robust_m: wp.float64
    robust_sigmas: wp.float64
    min_cosine: wp.float64
    sigma_per_m: wp.float64


Gate: Any = wp.struct(_Gate)  # no decorator, as in `texture`


@wp.kernel
@no_type_check
def gather_distances(
    first: int,
    boxes: wp.array(dtype=Box),
    owners: wp.array(dtype=wp.int32),
    faces: wp.array2d(dtype=wp.int32),
    counted: wp.array(dtype=wp.uint8),
    mesh_of_view: wp.array(dtype=wp.int32),
    vertices: wp.array2d(dtype=wp.vec3d),
    normals: wp.array2d(dtype=wp.vec3d),
    centres: wp.array(dtype=wp.vec3d),
    origins: wp.array2d(dtype=wp.int32),
    measured: wp.array3d(dtype=wp.float32),
    face_index: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=wp.float32),
    barycentric: wp.array3d(dtype=wp.vec3f),
    gate: Gate,
    sums: wp.array3d(dtype=wp.float64),
) -> None:
    """Weights of one triangle's pixels and their weighted distances, shared out to its corners in the pixels' order."""
    item = first + wp.tid()
    owner = owner_of(item, owners)
    view = owner // faces.shape[0]
    face = owner % faces.shape[0]
    box = boxes[item]
    weight = wp.vec3d()
    moment = wp.vec3d()
    one = wp.float64(1.0)
    if box[2] > box[0] and counted[face] != wp.uint8(0):
        mesh = mesh_of_view[view]
        centre = centres[view]
        p_a = vertices[mesh, faces[face, 0]] - centre
        p_b = vertices[mesh, faces[face, 1]] - centre
        p_c = vertices[mesh, faces[face, 2]] - centre
        n_a = normals[mesh, faces[face, 0]]
        n_b = normals[mesh, faces[face, 1]]
        n_c = normals[mesh, faces[face, 2]]
        row_end = wp.min(int(box[2]), measured.shape[1] - origins[view, 0])
        column_end = wp.min(int(box[3]), measured.shape[2] - origins[view, 1])
        if wp.dot(wp.cross(p_b - p_a, p_c - p_a), p_a) >= wp.float64(0.0):
            row_end = int(box[0])  # seen from behind: nothing of it counts
        for row in range(int(box[0]), row_end):
            for column in range(int(box[1]), column_end):
                if face_index[view, row, column] == face:
                    z = wp.float64(measured[view, row + origins[view, 0], column + origins[view, 1]])
                    shown = wp.float64(depth[view, row, column])
                    noise = gate.sigma_per_m * z * z
                    reach = wp.sqrt(gate.reach_m * gate.reach_m + gate.reach_sigmas * gate.reach_sigmas * noise * noise)
                    if z > wp.float64(0.0) and wp.abs(z - shown) < reach:
                        single = barycentric[view, row, column]
                        share = wp.vec3d(wp.float64(single[0]), wp.float64(single[1]), wp.float64(single[2]))
                        ray = share[0] * p_a + share[1] * p_b + share[2] * p_c
                        mean = share[0] * n_a + share[1] * n_b + share[2] * n_c
                        # The ray's component along the unit normal; negative where the surface faces the camera.
                        along = wp.dot(mean, ray) / wp.max(wp.length(mean), wp.float64(1.0e-12))
                        cosine = -along / wp.length(ray)
                        if cosine > gate.min_cosine:
                            # The measured point lies on the same ray, z / shown times as far away.
                            distance = along * (z - shown) / shown
                            sigma = noise * cosine
                            wide = gate.robust_sigmas * sigma
                            scaled = distance * distance / (gate.robust_m * gate.robust_m + wide * wide)
                            kernel = one + scaled
                            w = one / (kernel * kernel * sigma * sigma)
                            weight += share * w
                            moment += share * (w * distance)
    for k in range(3):
        sums[item, k, 0] = weight[k]
        sums[item, k, 1] = moment[k]
