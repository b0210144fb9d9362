"""Distance of every depth pixel to the head along the head's normals, gathered at the vertices.

Association is projective: a pixel belongs to the triangle that the head shows there (Blais & Levine 1995; Newcombe et
al. 2011). A pixel's row has the derivative sum_k b_k n.J_k over its triangle's corners; instead of one row a pixel, its
residual and weight are shared out to the corners by the barycentric weights b_k. The gradient stays exact, and by
Jensen's inequality ( (sum b x)^2 <= sum b x^2 ) the gathered Hessian lies above the true one: each step descends, and
100,000 pixels cost as much as 2,000 vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from flame_fitting.evidence import DepthImage
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows, chain_rule
from flame_fitting.losses.view_batches import PictureOrder
from rendering.distances import DepthPictures, DistanceModel, gather_distances_of_pictures, vertex_normals
from rendering.lenses import Lenses
from rendering.screen import filled_up

SENSOR_SIGMA_M, SENSOR_SIGMA_AT_M = 1.5e-3, 0.8
"""Depth noise of a time-of-flight camera, growing with distance squared."""
REACH_SIGMAS, ROBUST_SIGMAS = 6.0, 3.0
"""How far noise alone takes a pixel: at a metre it is as wide as the narrowest gate is, and would lose two thirds."""
CORRELATED_PIXELS = 25.0
"""Noise is correlated over neighbours: so many pixels tell as much as one independent one."""
PICTURE_SIGMA_M = 1e-3
"""What a picture's pixels have wrong together, per vertex (calibration, bias, a sensor's own smoothing): a close and
smooth picture of 100,000 pixels is no surer than this, and would bend a face with its waves."""
MODEL_SIGMA_M = 4e-4
"""What the model cannot express, per vertex."""
MIN_COSINE = 0.25
"""Pixels that graze the surface say little about it and more about the sensor's faults."""


@dataclass(frozen=True)
class DepthGate:
    """Which pixels count."""

    reach_m: float
    """Pixels farther than this and the noise from the head belong to something else (hair, hands, backdrop)."""
    robust_m: float
    """Scale of the Geman-McClure kernel, beside the noise."""


@dataclass(frozen=True, eq=False)
class DepthViews:
    """The depth pictures of a batch of frames, those of one frame after those of the frame before."""

    lenses: Lenses
    """Their cameras."""
    pictures: DepthPictures
    """What they measured; meshes are frames."""
    turns: tuple[tuple[Int[Tensor, "_"], Int[Tensor, "_"]], ...]
    """The frames that have an n-th picture, and which that is, for every n: a frame's sums are added in this order."""
    measured: Float[Tensor, "t"]
    """1 for frames with a picture, 0 for those without."""

    @classmethod
    def stacked(cls, frames: Sequence[Sequence[DepthImage]], device: torch.device | str = "cpu") -> DepthViews | None:
        """All pictures of some frames; None where there is none. Smaller pictures are filled up with nothing."""
        images = [image for each in frames for image in each]
        if not images:
            return None
        counts = [len(each) for each in frames]
        order, lenses = PictureOrder.of(counts, device), Lenses.of([image.camera for image in images], device)
        measured = torch.from_numpy(filled_up([image.depth_m for image in images])).to(device)
        pictures = DepthPictures(measured, order.mesh_of_view, lenses.centres_world)
        present = torch.tensor([float(count > 0) for count in counts], dtype=torch.float64, device=device)
        return cls(lenses, pictures, order.turns, present)


@dataclass(frozen=True, eq=False)
class GatheredDepth:
    """All depth cameras' residuals of one frame, or of a batch of frames, at the vertices."""

    weight: Float[Tensor, "*b v"]
    """Sum of inverse variances of the pixels about a vertex, 1/m^2."""
    residual_m: Float[Tensor, "*b v"]
    """Their weighted mean distance outside the head, along its normal, metres."""
    normals: Float[Tensor, "*b v 3"]
    """Normals of the head, in the world."""

    @classmethod
    def of_sums(cls, sums: Float[Tensor, "*b v 2"], normals: Float[Tensor, "*b v 3"]) -> GatheredDepth:
        """From sums of weights and of weighted distances."""
        weight, moment = sums.unbind(-1)
        return cls(weight, moment / weight.clamp_min(1e-12), normals)

    @classmethod
    def joined(cls, parts: Sequence[GatheredDepth]) -> GatheredDepth:
        """Batches one after the other."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def of_frame(self, frame: int) -> GatheredDepth:
        """One frame of a batch."""
        return GatheredDepth(*(getattr(self, f.name)[frame] for f in fields(self)))

    def at(self, vertices: Int[Tensor, "n"]) -> GatheredDepth:
        """Some of the vertices."""
        return GatheredDepth(self.weight[..., vertices], self.residual_m[..., vertices], self.normals[..., vertices, :])


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles that depth is compared with, on one device."""

    faces: Int[Tensor, "f 3"]
    """All of them; those that do not count only hide what is behind them."""
    counted: UInt8[Tensor, "f"]
    """1 where a depth pixel may attach."""


def gather_views(
    vertices_world: Float[Tensor, "t v 3"], surface: Surface, views: DepthViews, gate: DepthGate
) -> GatheredDepth:
    """Residuals of every depth picture by itself against the heads as they are now, picture by picture."""
    normals = vertex_normals(vertices_world, surface.faces)
    sums = _sums(vertices_world, normals, surface, views, gate)
    return GatheredDepth.of_sums(sums, normals[views.pictures.mesh_of_view])


def gather_depth(
    vertices_world: Float[Tensor, "t v 3"], surface: Surface, views: DepthViews, gate: DepthGate
) -> GatheredDepth:
    """Residuals of every depth pixel against the heads as they are now, frame by frame."""
    normals = vertex_normals(vertices_world, surface.faces)
    of_views = _sums(vertices_world, normals, surface, views, gate)
    sums = of_views.new_zeros(*normals.shape[:2], 2)
    for frames, pictures in views.turns:
        sums[frames] += of_views[pictures]
    return GatheredDepth.of_sums(sums, normals)


def _sums(
    vertices: Float[Tensor, "t v 3"],
    normals: Float[Tensor, "t v 3"],
    surface: Surface,
    views: DepthViews,
    gate: DepthGate,
) -> Float[Tensor, "n v 2"]:
    """Of each picture and vertex, weights and weighted distances."""
    sigma_per_m = SENSOR_SIGMA_M / SENSOR_SIGMA_AT_M**2
    model = DistanceModel(gate.reach_m, gate.robust_m, MIN_COSINE, sigma_per_m, REACH_SIGMAS, ROBUST_SIGMAS)
    solid = (vertices, normals)
    sums = gather_distances_of_pictures(views.lenses, views.pictures, solid, surface.faces, surface.counted, model)
    sums = sums / CORRELATED_PIXELS
    return sums / (1 + PICTURE_SIGMA_M**2 * sums[..., :1])


def depth_rows(
    points: LinearPoints,
    state: HeadState,
    centre: Float[Tensor, "*b 3"],
    gathered: GatheredDepth,
    trust: Float[Tensor, "v"],
    modes: int | None = None,
) -> Rows:
    """Rows of the gathered distances, one a vertex; `trust` scales what each counts (0 leaves it out)."""
    precision = trust / (1 / gathered.weight.clamp_min(1e-9) + MODEL_SIGMA_M**2)
    weight = torch.where(gathered.weight > 1, precision, 0.0).sqrt()
    gradient = gathered.normals * weight[..., None]
    return Rows(-gathered.residual_m * weight, *chain_rule(points, state, centre, gradient, modes=modes))
