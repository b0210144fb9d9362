"""Pictures of a textured head under studio light, in linear radiance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int

from geometry.cameras import Camera
from geometry.meshes import vertex_normals
from rendering.arrays import FragmentArrays
from rendering.colour import srgb_to_linear
from rendering.shading import fresnel_visibility, ggx_distribution, irradiance
from studio.appearance import Appearance

CHUNK = 32000
"""Pixels shaded at once: they stay in the processor's cache, and OpenCV maps no longer columns than 32766."""


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A head in the world with its texture coordinates."""

    vertices_world: Float[np.ndarray, "v 3"]
    """Metres."""
    faces: Int[np.ndarray, "f 3"]
    """The triangles that were rasterized."""
    uv: Float[np.ndarray, "u 2"]
    """Texture coordinates, v up."""
    uv_faces: Int[np.ndarray, "f 3"]
    """Row of `uv` of each triangle's corners."""


def shade(
    fragments: FragmentArrays,
    mesh: TexturedMesh,
    camera: Camera,
    appearance: Appearance,
    background_linear: Float[np.ndarray, "h w 3"] | Float[np.ndarray, "3"],
) -> Float32[np.ndarray, "h w 3"]:
    """Linear radiance of every pixel, before the camera's exposure; a white surface that faces +z gives about 1.

    Diffuse light is the harmonics' irradiance (Ramamoorthi & Hanrahan 2001), evaluated at the vertices, where it is
    smooth enough; the key light's highlight is a GGX lobe (Walter et al. 2007) with Schlick's Fresnel term (1994) and
    Kelemen & Szirmay-Kalos' visibility (2001), evaluated in the pixels.
    """
    height, width = fragments.face_index.shape
    image = np.empty((height, width, 3), np.float32)
    image[:] = background_linear
    pixels = np.flatnonzero(fragments.face_index >= 0)
    face_index = fragments.face_index.reshape(-1)[pixels]
    weights = fragments.barycentric.reshape(-1, 3)[pixels].astype(np.float32)
    table = _corner_table(mesh, camera, appearance)
    uv_faces = np.ascontiguousarray(mesh.uv_faces.T.astype(np.int32))
    flat = image.reshape(-1, 3)
    for first in range(0, len(pixels), CHUNK):
        part = slice(first, first + CHUNK)
        flat[pixels[part]] = _shade_pixels(face_index[part], weights[part], uv_faces, table, appearance)
    return image


def _corner_table(mesh: TexturedMesh, camera: Camera, appearance: Appearance) -> Float32[np.ndarray, "u 12"]:
    """Per texture coordinate: texel x and y, diffuse RGB, normal, half vector, highlight's factor."""
    vertices = mesh.vertices_world.astype(np.float64)
    normals = vertex_normals(vertices, mesh.faces)
    openness = np.ones(len(vertices)) if appearance.openness is None else appearance.openness
    diffuse = irradiance(appearance.light, normals) * openness[:, None]
    to_camera = camera.centre_world - vertices
    to_camera /= np.linalg.norm(to_camera, axis=1, keepdims=True)
    key = appearance.key_direction
    half = to_camera + key
    half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-9)
    # The key's radiance is in the harmonics: what they send to a surface that faces it, in grey.
    arriving = np.pi * irradiance(appearance.light, key).mean()
    highlight = fresnel_visibility(half @ key) * np.clip(normals @ key, 0, 1) * arriving * openness**2

    vertex_of_uv = np.zeros(len(mesh.uv), np.int64)
    vertex_of_uv[mesh.uv_faces] = mesh.faces
    rows, columns = appearance.albedo.shape[:2]
    texels = np.stack([mesh.uv[:, 0] * columns - 0.5, (1 - mesh.uv[:, 1]) * rows - 0.5], 1)
    of_vertices = np.concatenate([diffuse, normals, half, highlight[:, None]], 1)[vertex_of_uv]
    return np.concatenate([texels, of_vertices], 1).astype(np.float32)


def _shade_pixels(
    face_index: Int[np.ndarray, "n"],
    weights: Float32[np.ndarray, "n 3"],
    uv_faces: Int[np.ndarray, "3 f"],
    table: Float32[np.ndarray, "u 12"],
    appearance: Appearance,
) -> Float32[np.ndarray, "n 3"]:
    values = table.take(uv_faces[0].take(face_index), axis=0) * weights[:, 0:1]
    for corner in (1, 2):
        values += table.take(uv_faces[corner].take(face_index), axis=0) * weights[:, corner : corner + 1]
    x, y = np.ascontiguousarray(values[:, 0:1]), np.ascontiguousarray(values[:, 1:2])
    albedo = cv2.remap(appearance.albedo, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1, 3)
    strength = cv2.remap(appearance.specular, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    strength = strength.reshape(-1).astype(np.float32)
    normal, half = values[:, 5:8], values[:, 8:11]
    lengths = np.einsum("ij,ij->i", normal, normal) * np.einsum("ij,ij->i", half, half)
    cosine = np.einsum("ij,ij->i", normal, half)
    cosine_squared = np.minimum(cosine * cosine / np.maximum(lengths, 1e-12), 1.0)
    # alpha = roughness^2 (Burley 2012); wet texels, stronger than 1, are smoother as well.
    alpha_squared = np.float32(appearance.roughness**4) / np.maximum(strength, 1.0) ** 4
    highlight = ggx_distribution(cosine_squared, alpha_squared) * values[:, 11] * strength * (cosine > 0)
    return srgb_to_linear(albedo.astype(np.uint8, copy=False)) * values[:, 2:5] + highlight[:, None]
