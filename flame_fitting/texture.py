"""A base-colour texture for the fitted head, gathered from the colour pictures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from flame_fitting.evidence import DepthImage
from flame_fitting.models.head_model import HeadModel
from geometry.cameras import Camera
from geometry.meshes import vertex_normals
from rendering.arrays import rasterize_arrays

TEXTURE_SIZE = 1024
MIN_COSINE = 0.2
"""Texels seen at a flatter angle than this are left to better views."""
SHARPNESS = 4
"""Power of the cosine that weights a view: high, so that the best view wins and pictures do not smear."""
OCCLUSION_M = 0.004
"""A texel farther than this behind the visible surface is hidden."""
SILHOUETTE_PX = 5
"""Colour this close to an outline is mixed with the backdrop."""
SUPPORT_M = 0.03
"""Hair stands this far off a fitted scalp, backdrops and collars farther."""
INTERIOR_SRGB = {"mouth_interior": (96, 44, 44), "eyes": (225, 220, 215)}
"""What cameras hardly ever see gets a plain colour of its kind."""


@dataclass(frozen=True, eq=False)
class Texture:
    """A head's colour, and which of it was seen."""

    base_colour: UInt8[np.ndarray, "s s 3"]
    """sRGB; row 0 is v = 1."""
    seen: Bool[np.ndarray, "s s"]
    """Texels that a camera saw; the others were filled in."""


@dataclass(frozen=True, eq=False)
class PosedView:
    """One picture and the head as it was when it was taken."""

    camera: Camera
    """Where from."""
    picture: UInt8[np.ndarray, "h w 3"]
    """sRGB."""
    vertices_world: Float[np.ndarray, "v 3"]
    """The fitted head, metres."""
    supported: Bool[np.ndarray, "v"]
    """Vertices near which something was measured; elsewhere the picture shows what is behind the head."""


def supported_vertices(
    vertices_world: Float[np.ndarray, "v 3"], images: tuple[DepthImage, ...]
) -> Bool[np.ndarray, "v"]:
    """Vertices within reach of some camera's depth, so that an ear that was fitted wrong does not wear the wall.

    All of them where there is no depth.
    """
    if not images:
        return np.ones(len(vertices_world), bool)
    supported = np.zeros(len(vertices_world), bool)
    for image in images:
        pixels, depth = image.camera.project(vertices_world)
        measured = _sample(image.depth_m.astype(np.float32), pixels, cv2.INTER_NEAREST)
        supported |= (measured > 0) & (np.abs(measured - depth) < SUPPORT_M)
    return supported


def bake_texture(model: HeadModel, views: tuple[PosedView, ...], size: int = TEXTURE_SIZE) -> Texture:
    """Mean colour of every texel over the views that see it, weighted by the angle they see it at.

    Light is baked in: this is the colour under the studio's light, not albedo. Texels that no view sees are filled
    from their neighbours on the skin; eyes and mouth interior get a plain colour.
    """
    faces, uv = model.faces.numpy(), model.uv.numpy()
    screen = np.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, np.ones(len(uv))], 1)
    layout = rasterize_arrays(screen, model.uv_faces.numpy(), (size, size))
    covered = layout.mask
    total, weight = np.zeros((int(covered.sum()), 3)), np.zeros(int(covered.sum()))
    corners, barycentric = faces[layout.face_index[covered]], layout.barycentric[covered].astype(np.float64)
    for view in views:
        colour, trust = _look_up(view, faces, corners, barycentric)
        total += colour * trust[:, None]
        weight += trust
    seen = np.zeros((size, size), bool)
    seen[covered] = weight > 1e-3
    image = np.zeros((size, size, 3), np.float32)
    image[covered] = total / np.maximum(weight, 1e-9)[:, None]
    filled = _fill(image, seen, covered, _kinds(model, layout.face_index))
    return Texture(np.clip(np.round(filled), 0, 255).astype(np.uint8), seen)


def _look_up(
    view: PosedView,
    faces: Int[np.ndarray, "f 3"],
    corners: Int[np.ndarray, "p 3"],
    barycentric: Float[np.ndarray, "p 3"],
) -> tuple[Float[np.ndarray, "p 3"], Float[np.ndarray, "p"]]:
    """Colour of each texel in one picture, and how much to trust it."""
    normals = vertex_normals(view.vertices_world, faces)
    points = np.einsum("pk,pkc->pc", barycentric, view.vertices_world[corners])
    normal = np.einsum("pk,pkc->pc", barycentric, normals[corners])
    towards = view.camera.centre_world - points
    length = np.linalg.norm(normal, axis=1) * np.linalg.norm(towards, axis=1)
    cosine = (normal * towards).sum(1) / np.maximum(length, 1e-12)
    pixels, depth = view.camera.project(view.vertices_world)
    fragments = rasterize_arrays(np.concatenate([pixels, depth[:, None]], 1), faces, view.camera.image_size_hw)
    inside = cv2.distanceTransform(fragments.mask.astype(np.uint8), cv2.DIST_L2, 3)
    at, texel_depth = view.camera.project(points)
    surface = _sample(fragments.depth, at, cv2.INTER_NEAREST)
    visible = (surface > 0) & (texel_depth - surface < OCCLUSION_M) & (cosine > MIN_COSINE)
    soft = np.clip((_sample(inside, at, cv2.INTER_NEAREST) - 1) / SILHOUETTE_PX, 0, 1)
    soft = soft * np.einsum("pk,pk->p", barycentric, view.supported[corners].astype(float))
    colour = _sample(view.picture.astype(np.float32), at, cv2.INTER_LINEAR)
    return colour, np.where(visible, soft * np.clip(cosine, 0, 1) ** SHARPNESS, 0)


def _sample(image: np.ndarray, at_px: Float[np.ndarray, "p 2"], how: int) -> np.ndarray:
    """Values of a picture at pixel positions, 0 outside of it."""
    rows = -(-len(at_px) // 1024)  # remap takes no picture wider than 32,767
    grid = np.full((rows * 1024, 2), -10.0, np.float32)
    grid[: len(at_px)] = np.clip(at_px - 0.5, -10, 2**14)
    grid = grid.reshape(rows, 1024, 2)
    sampled = cv2.remap(
        image, grid[..., 0].copy(), grid[..., 1].copy(), how, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return sampled.reshape(rows * 1024, *image.shape[2:])[: len(at_px)]


def _kinds(model: HeadModel, face_index: Int[np.ndarray, "s s"]) -> dict[str, Bool[np.ndarray, "s s"]]:
    """Texels of the parts that get a plain colour where nobody saw them."""
    kinds = {}
    for name in INTERIOR_SRGB:
        triangles = model.region_faces(name).numpy()
        kinds[name] = (face_index >= 0) & triangles[face_index]
    return kinds


def _fill(
    image: Float[np.ndarray, "s s 3"],
    seen: Bool[np.ndarray, "s s"],
    covered: Bool[np.ndarray, "s s"],
    kinds: dict[str, Bool[np.ndarray, "s s"]],
) -> Float[np.ndarray, "s s 3"]:
    """Colour for unseen texels: plain inside mouth and eyes, elsewhere pulled in from ever coarser neighbourhoods.

    Source: Gortler et al. 1996, push-pull.
    """
    plain = np.zeros_like(seen)
    for name, texels in kinds.items():
        image = np.where((texels & ~seen)[..., None], np.array(INTERIOR_SRGB[name], np.float32), image)
        plain |= texels
    skin_known = seen & ~plain
    if not skin_known.any():
        return image
    pulled = _push_pull(image * skin_known[..., None], skin_known.astype(np.float32))
    image = np.where((covered & ~seen & ~plain)[..., None], pulled, image)
    # Gutters repeat the nearest texel's colour, so that mip maps do not bleed the background in.
    return np.where(covered[..., None], image, _push_pull(image * covered[..., None], covered.astype(np.float32)))


def _push_pull(premultiplied: Float[np.ndarray, "s s 3"], weight: Float[np.ndarray, "s s"]) -> np.ndarray:
    if weight.shape[0] == 1:
        return premultiplied / max(float(weight[0, 0]), 1e-9)
    half = (weight.shape[1] // 2, weight.shape[0] // 2)
    coarse = _push_pull(
        cv2.resize(premultiplied, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], 3),
        cv2.resize(weight, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0]),
    )
    size = (weight.shape[1], weight.shape[0])
    fine = cv2.resize(np.ascontiguousarray(coarse, np.float32), size, interpolation=cv2.INTER_LINEAR).reshape(
        premultiplied.shape
    )
    share = np.clip(weight, 0, 1)[..., None]
    return premultiplied + (1 - share) * fine
