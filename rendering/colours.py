"""Colour of surface points: what pictures show of them, and how the surface should move to show what is expected.

Points lie on triangles of one topology. A point's colour is looked up where a view shows it, between pixels, and never
beside a border: within two pixels of a part that does not count, of an outline or of a jump of depth, colours mix, and
what mixes looks like a stretch of the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Float32, Int, Int32, UInt8
from torch import Tensor

from rendering.fragments import Fragments
from rendering.kernels.colours import Seeing, gather_colours, look_up
from rendering.kernels.gathering import sum_corners
from rendering.runtime import launch, scalars, vectors
from rendering.shading import COSINE_BANDS
from rendering.topology import topology


@dataclass(frozen=True)
class ColourModel:
    """Which points count, and how much."""

    sigma: float
    """Standard deviation of a level, in [0, 1]."""
    robust: float
    """Scale of the Geman-McClure kernel, in sigmas."""
    min_cosine: float
    """Of the angle between a point's normal and the way to the camera."""
    hidden_m: float
    """A point farther than this from the surface that its pixel shows is hidden."""
    jump_m: float
    """Depth that varies more than this over a pixel's neighbours is a fold's edge."""
    least_light: float
    """What a point receives at least, of a light of 1: harmonics fall below what any studio leaves dark."""

    def for_kernels(self) -> Any:
        """As kernels take it."""
        seeing = Seeing()
        for name in ("sigma", "robust", "min_cosine", "hidden_m", "jump_m", "least_light"):
            setattr(seeing, name, getattr(self, name))
        return seeing


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points that carry colour, those of one triangle side by side."""

    faces: Int32[Tensor, "m 3"]
    """The triangles that carry points."""
    first_point: Int32[Tensor, "m1"]
    """The first point of each triangle, and at last the number of points."""
    barycentric: Float32[Tensor, "p 3"]
    """Weights of the triangle's corners."""

    @cached_property
    def face_of_point(self) -> Int32[Tensor, "p"]:
        """Row in `faces` of each point's triangle."""
        counts = self.first_point.diff().long()
        rows = torch.arange(len(self.faces), dtype=torch.int32, device=self.faces.device)
        return rows.repeat_interleave(counts)

    @cached_property
    def vertices(self) -> Int[Tensor, "v"]:
        """Corners of these triangles."""
        return torch.unique(self.faces.long())

    def to(self, device: torch.device | str) -> SurfacePoints:
        """The same points on another device."""
        return SurfacePoints(self.faces.to(device), self.first_point.to(device), self.barycentric.to(device))


@dataclass(frozen=True, eq=False)
class PosedSurfaces:
    """Meshes before cameras: everything about a view but its picture's colours."""

    vertices: Float[Tensor, "t v 3"]
    """World, metres, double precision."""
    normals: Float[Tensor, "t v 3"]
    """Unit, world."""
    mesh_of_view: Int[Tensor, "n"]
    """Which mesh each view shows."""
    centres: Float[Tensor, "n 3"]
    """Where the cameras stand, metres."""
    screen: Float[Tensor, "n v 3"]
    """Pixels (x, y) of the whole picture and depth in metres."""
    fragments: Fragments
    """What a window of each view shows."""
    windows: Int32[Tensor, "n 2"]
    """First row and column of the windows in the whole pictures."""
    counted: UInt8[Tensor, "f"]
    """1 for the rasterized triangles whose colour counts; the others only hide what is behind them."""


@dataclass(frozen=True, eq=False)
class SeenColours:
    """What pictures show of points."""

    levels: Float32[Tensor, "n p 3"]
    """sRGB levels in [0, 1]."""
    normals: Float32[Tensor, "n p 3"]
    """Unit, world."""
    cosines: Float32[Tensor, "n p"]
    """Of the angle between normal and view; 0 where a point is not seen, and its other values are 0 too."""


def look_up_colours(
    points: SurfacePoints, surfaces: PosedSurfaces, pictures: UInt8[Tensor, "n h w 3"], model: ColourModel
) -> SeenColours:
    """The colours of all points in all views."""
    device, count = points.faces.device, len(points.barycentric)
    new = lambda *shape: torch.empty(*shape, dtype=torch.float32, device=device)  # noqa: E731
    views = len(surfaces.screen)
    seen = SeenColours(new(views, count, 3), new(views, count, 3), new(views, count))
    inputs = [scalars(points.face_of_point), scalars(points.faces), vectors(points.barycentric)]
    inputs += [*_inputs(surfaces, pictures), model.for_kernels()]
    outputs = [vectors(seen.levels), vectors(seen.normals), scalars(seen.cosines)]
    launch(look_up, views * count, [*inputs, *outputs], device)
    return seen


def gather_colours_at_vertices(
    points: SurfacePoints,
    look: tuple[Float32[Tensor, "p 3"], Float32[Tensor, "n 9 3"]],
    surfaces: PosedSurfaces,
    pictures: UInt8[Tensor, "n h w 3"],
    jacobian: Float[Tensor, "n v 2 3"],
    model: ColourModel,
) -> Float[Tensor, "n v 9"]:
    """Of each view and vertex: information about its movement in the world (xx xy xz yy yz zz; 1/m^2), and pull (1/m).

    The information times the movement that the view asks for is the pull. `look` is the points' albedo in linear light
    (negative where it is not known) and the harmonics that light each view; `jacobian` how pixels move with vertices.
    Each point's gradient is carried to its triangle's corners by its barycentrics: by Jensen's inequality the gathered
    information lies above that of the points' own squares, so that steps descend. Sums repeat to the last bit.
    Source: Lucas & Kanade 1981, gradients of the pictures.
    """
    albedo, light = look
    device, views = points.faces.device, len(surfaces.screen)
    bands = torch.tensor(COSINE_BANDS, dtype=torch.float32, device=device)[:, None]
    sums = torch.empty(views * len(points.faces), 3, 9, dtype=torch.float64, device=device)
    inputs = [scalars(points.first_point), scalars(points.faces), vectors(points.barycentric)]
    inputs += [vectors(albedo.contiguous()), vectors((light * bands).contiguous()), vectors(jacobian.contiguous())]
    inputs += [*_inputs(surfaces, pictures), model.for_kernels(), scalars(sums)]
    launch(gather_colours, len(sums), inputs, device, worth=64)
    shared = topology(points.faces, surfaces.vertices.shape[1])
    return sum_corners(sums.reshape(views, -1, 3, 9), shared, shared_by_views=False)


def _inputs(surfaces: PosedSurfaces, pictures: UInt8[Tensor, "n h w 3"]) -> list[object]:
    shown = surfaces.fragments
    return [
        scalars(surfaces.mesh_of_view.to(torch.int32)),
        vectors(surfaces.vertices.contiguous()),
        vectors(surfaces.normals.contiguous()),
        vectors(surfaces.screen.contiguous()),
        vectors(surfaces.centres.contiguous()),
        scalars(surfaces.windows.contiguous()),
        scalars(pictures.contiguous()),
        scalars(shown.face_index),
        scalars(shown.depth),
        scalars(surfaces.counted),
    ]
