"""Light on surfaces: spherical harmonics for the diffuse part, a GGX lobe for the highlight, normals of meshes.

The nine real harmonics of order 2 come, everywhere in mien, in this order of (l, m):
(0,0), (1,-1), (1,0), (1,1), (2,-2), (2,-1), (2,0), (2,1), (2,2), which are, up to their constants,
1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2 of a unit direction in the world frame.

The formulas take arrays and tensors alike: the simulated studio draws with NumPy, fitting differentiates with torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)

COSINE_BANDS = (1.0,) + (2 / 3,) * 3 + (1 / 4,) * 5
"""How a clamped cosine, divided by pi, weighs each harmonic. Source: Ramamoorthi & Hanrahan 2001, eqs. 7-9."""
SKIN_FRESNEL = 0.028
"""Reflectance of skin straight on, from its refractive index of 1.4."""
SKIN_ROUGHNESS = 0.57
"""Of dry facial skin: the middle of what the simulated studio draws."""
LEAST_HALF_COSINE = 0.4
"""Kelemen's visibility grows without bound where the light stands behind; skin's own roughness ends it."""


def spherical_harmonics(directions: Float[Array, "*n 3"]) -> Float[Array, "*n 9"]:
    """The nine real harmonics at unit directions, in the order of this file.

    Source: Ramamoorthi & Hanrahan 2001, eq. 3.
    """
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    bands = [0.282095 + 0 * x, 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y, 1.092548 * y * z]
    bands += [0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y)]
    return _stack(bands, -1)


def irradiance(harmonics: Float[Array, "*b 9 3"], normals: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Irradiance over pi that surfaces with these unit normals receive: their radiance is that times their albedo.

    Never negative: order 2 rings a little behind a strong light. Where it is cut off its gradient is zero, so a fit of
    the light starts from a bright constant term, which reaches every normal.
    Batches as a matrix product does: lights `b 9 3` with normals `b n 3`.
    Source: Ramamoorthi & Hanrahan 2001, "An efficient representation for irradiance environment maps".
    """
    weighted = _stack([harmonics[..., k, :] * weight for k, weight in enumerate(COSINE_BANDS)], -2)
    return (spherical_harmonics(normals) @ weighted).clip(min=0.0)


def ggx_distribution(cosine_squared: Float[Array, "*#n"], alpha_squared: Float[Array, "*#n"]) -> Float[Array, "*n"]:
    """Microfacets per steradian and area, by the squared cosine of their normals to the surface's; alpha = roughness^2.

    Source: Walter et al. 2007, "Microfacet models for refraction through rough surfaces", eq. 33; alpha: Burley 2012.
    """
    return alpha_squared / (np.pi * (cosine_squared * (alpha_squared - 1) + 1) ** 2)


def fresnel_visibility(half_cosine: Float[Array, "*n"], fresnel: float = SKIN_FRESNEL) -> Float[Array, "*n"]:
    """What remains of a microfacet BRDF beside its distribution, by the cosine between half vector and light.

    `fresnel` is the reflectance straight on. Source: Schlick 1994; Kelemen & Szirmay-Kalos 2001.
    """
    cosine = half_cosine.clip(LEAST_HALF_COSINE, 1.0)
    return (fresnel + (1 - fresnel) * (1 - cosine) ** 5) / (4 * cosine**2)


def specular_reflection(
    normals: Float[Tensor, "*#n 3"],
    to_camera: Float[Tensor, "*#n 3"],
    to_light: Float[Tensor, "*#n 3"],
    *,
    roughness: Float[Tensor, "*#n"] | float = SKIN_ROUGHNESS,
    fresnel: float = SKIN_FRESNEL,
) -> Float[Tensor, "*n"]:
    """Radiance towards the camera for a unit of irradiance, at normal incidence, from one direction; unit vectors in.

    A GGX lobe with Schlick's Fresnel term and Kelemen's visibility, times the surface's cosine; roughness is above 0.
    """
    half = _unit(to_camera + to_light)
    cosine = (normals * half).sum(-1)
    # Filled where it is needed: a number copied there would stop a CUDA stream.
    rough = roughness if isinstance(roughness, Tensor) else torch.full_like(cosine, roughness)
    alpha_squared = rough**4
    lobe = ggx_distribution(cosine.clip(0, 1) ** 2, alpha_squared)
    facing = (normals * to_light).sum(-1).clip(0, 1) * (cosine > 0)
    return lobe * fresnel_visibility((half * to_light).sum(-1), fresnel) * facing


@dataclass(frozen=True, eq=False)
class Light:
    """What falls on the surfaces of one picture, or of each of a batch, in linear RGB and the world frame."""

    harmonics: Float[Tensor, "*b 9 3"]
    """Radiance of all surroundings, the key light included, in this file's order."""
    key_direction: Float[Tensor, "*b 3"] | None = None
    """Towards the lamp that the highlight mirrors, of any length; None: no highlight."""
    key_irradiance: Float[Tensor, "*b 3"] | None = None
    """What the lamp sends to a surface that faces it; None with `key_direction`."""

    def __post_init__(self) -> None:
        """Refuse half a key light."""
        if (self.key_direction is None) != (self.key_irradiance is None):
            raise ValueError("key_direction and key_irradiance belong together: give both or neither")


def shade(
    albedo: Float[Tensor, "*n 3"],
    normals: Float[Tensor, "*n 3"],
    to_camera: Float[Tensor, "*n 3"],
    light: Light,
    *,
    roughness: Float[Tensor, "*#n"] | float = SKIN_ROUGHNESS,
    specular: Float[Tensor, "*#n"] | float = 1.0,
) -> Float[Tensor, "*n 3"]:
    """Linear radiance towards the camera, of pixels or of vertices; a white surface in light of radiance 1 gives 1.

    Vectors are in the world frame and of any length; where a normal is 0 (pixels that show nothing), black comes out.
    The light's batch axes are the first of the surface's: lights `b` with pixels `b h w` or vertices `b v`.
    `specular` scales the highlight, which adds to the diffuse light without dimming it.
    """
    batch = light.harmonics.shape[:-2]
    unit_normals = _unit(normals)
    # One matrix product a light, however many axes its pixels have.
    diffuse = irradiance(light.harmonics, unit_normals.unsqueeze(-2).flatten(len(batch), -2)).reshape(albedo.shape)
    radiance = albedo * diffuse * (normals != 0).any(-1, keepdim=True)
    if light.key_direction is None or light.key_irradiance is None:
        return radiance
    each = (*batch, *(1,) * (normals.ndim - len(batch) - 1), 3)
    towards = _unit(light.key_direction).reshape(each)
    mirrored = specular * specular_reflection(unit_normals, _unit(to_camera), towards, roughness=roughness)
    return radiance + mirrored[..., None] * light.key_irradiance.reshape(each)


def vertex_normals(vertices: Float[Tensor, "*b v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "*b v 3"]:
    """Unit normals, each the area-weighted mean of its triangles'; zero, and so its gradient, where there is none."""
    corners = faces.T.reshape(-1).long()
    first = vertices.movedim(-2, 0)
    a, b, c = _gather(first, corners).unflatten(0, (3, -1))
    of_faces = torch.linalg.cross(b - a, c - a)
    return _unit(_scatter(torch.cat([of_faces] * 3), corners, len(first)).movedim(0, -2))


# Both, and the gradients of both, sum in one order: on the CPU index_add runs in one thread, on CUDA an accumulating
# index_put sorts first. The other way round (index_put on the CPU, index_add on CUDA) threads would race.


def _gather(values: Float[Tensor, "v *b 3"], index: Int[Tensor, "n"]) -> Float[Tensor, "n *b 3"]:
    return values[index] if values.is_cuda else values.index_select(0, index)


def _scatter(values: Float[Tensor, "n *b 3"], index: Int[Tensor, "n"], rows: int) -> Float[Tensor, "{rows} *b 3"]:
    sums = values.new_zeros(rows, *values.shape[1:])
    if values.is_cuda:
        return sums.index_put((index,), values, accumulate=True)
    return sums.index_add(0, index, values)


def _unit(vectors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Unit vectors; zero, with zero gradient, where a vector's square is below the smallest number."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    some = length > torch.finfo(vectors.dtype).tiny ** 0.5
    return torch.where(some, vectors, 0) / torch.where(some, length, 1)


def _stack(arrays: list[Any], axis: int) -> Any:
    return torch.stack(arrays, axis) if isinstance(arrays[0], Tensor) else np.stack(arrays, axis)
