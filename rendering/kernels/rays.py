"""The first triangle along a ray, by Warp's bounding volume hierarchy."""
# pyright: reportInvalidTypeForm=false
# Warp compiles the kernels' annotations, so there is no `from __future__ import annotations` here.

from typing import no_type_check

import warp as wp

wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@wp.kernel
@no_type_check
def first_hit(
    first: int,
    mesh: wp.uint64,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    farthest: float,
    face_index: wp.array(dtype=wp.int32),
    distance: wp.array(dtype=wp.float32),
    barycentric: wp.array(dtype=wp.vec3),
) -> None:
    """Follow one ray; distances count in lengths of its direction."""
    item = first + wp.tid()
    hit = wp.mesh_query_ray(mesh, origins[item], directions[item], farthest)
    face_index[item] = -1
    distance[item] = 0.0
    barycentric[item] = wp.vec3()
    if hit.result:
        face_index[item] = hit.face
        distance[item] = hit.t
        barycentric[item] = wp.vec3(hit.u, hit.v, 1.0 - hit.u - hit.v)
