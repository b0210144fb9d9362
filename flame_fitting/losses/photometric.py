"""Colour of the surface in every picture, gathered at the vertices: what depth cannot say, motion along the surface.

A point's row is the difference between what a picture shows of it and what its albedo looks like in the view's light
(`flame_fitting.appearance`); its derivative is the picture's gradient through the projection with the full lens model.
As with depth, points are shared out to their triangles' corners, so that a vertex collects a 3x3 information matrix and
a pull, and 100,000 points cost as much as 2,000 vertices. Sources: Lucas & Kanade 1981; Baker & Matthews 2004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from flame_fitting.evidence import ColourImage
from flame_fitting.losses.linear_head import HeadState, LinearPoints, Rows, chain_rule
from flame_fitting.losses.point_to_plane import Surface
from flame_fitting.losses.vertex_evidence import VertexEvidence
from flame_fitting.losses.view_batches import PictureOrder
from rendering.colours import ColourModel, PosedSurfaces, SurfacePoints, gather_colours_at_vertices
from rendering.distances import vertex_normals
from rendering.lenses import Lenses
from rendering.rasterize import rasterize
from rendering.screen import filled_up, windows_about

COLOUR = ColourModel(sigma=0.04, robust=2.0, min_cosine=0.25, hidden_m=0.003, jump_m=0.01, least_light=0.02)
"""Levels differ by shading that harmonics do not hold rather than by noise: neighbouring points err alike."""
NOTHING = 1.0
"""Information of a metre's deviation: added, so that what was not seen has a factor."""


@dataclass(frozen=True, eq=False)
class ColourViews:
    """The colour pictures of a batch of frames, those of one frame after those of the frame before."""

    lenses: Lenses
    """Their cameras."""
    camera_ids: tuple[str, ...]
    """Whose light each has."""
    levels: UInt8[Tensor, "n h w 3"]
    """sRGB counts."""
    mesh_of_view: Int[Tensor, "n"]
    """The frame of each."""
    turns: tuple[tuple[Int[Tensor, "_"], Int[Tensor, "_"]], ...]
    """The frames that have an n-th picture, and which that is, for every n: a frame's sums are added in this order."""

    @classmethod
    def stacked(cls, frames: Sequence[Sequence[ColourImage]], device: torch.device | str = "cpu") -> ColourViews | None:
        """All pictures of some frames; None where there is none. Smaller ones are filled up with black."""
        images = [image for each in frames for image in each]
        if not images:
            return None
        order = PictureOrder.of([len(each) for each in frames], device)
        cameras = [image.camera for image in images]
        return cls(
            Lenses.of(cameras, device),
            tuple(camera.id for camera in cameras),
            torch.from_numpy(filled_up([image.levels for image in images])).to(device),
            order.mesh_of_view,
            order.turns,
        )

    def posed(self, vertices: Float[Tensor, "t v 3"], surface: Surface, about: Int[Tensor, "n"]) -> PosedSurfaces:
        """The frames' heads before these cameras, drawn in windows about some of the vertices."""
        screen = self.lenses.project(vertices[self.mesh_of_view])
        first, size_hw = windows_about(screen[:, about], self.lenses.size_hw)
        in_window = torch.cat([screen[..., :2] - first.flip(-1)[:, None], screen[..., 2:]], -1)
        shown = rasterize(in_window.float(), surface.faces, size_hw, cull_backfaces=True)
        normals = vertex_normals(vertices, surface.faces)
        centres, windows = self.lenses.centres_world, first.to(torch.int32)
        return PosedSurfaces(vertices, normals, self.mesh_of_view, centres, screen, shown, windows, surface.counted)


@dataclass(frozen=True, eq=False)
class Appearance:
    """How a person's skin looks: albedo of points on the surface, and the light that each camera sees it in."""

    points: SurfacePoints
    """Where on the surface."""
    albedo: Float[Tensor, "p 3"]
    """Linear; negative where no picture showed the point."""
    light: dict[str, Float[Tensor, "9 3"]]
    """By camera: radiance of its surroundings in harmonics of the world frame (`rendering.shading`)."""

    def of_views(self, views: ColourViews) -> tuple[Tensor, Tensor]:
        """As the gathering wants it; a camera that has no light of its own sees that of the others."""
        mean = torch.stack(list(self.light.values())).mean(0)
        return self.albedo, torch.stack([self.light.get(camera, mean) for camera in views.camera_ids]).float()

    def to(self, device: torch.device | str) -> Appearance:
        """The same on another device."""
        light = {camera: harmonics.to(device) for camera, harmonics in self.light.items()}
        return Appearance(self.points.to(device), self.albedo.to(device), light)


def gather_colour(
    vertices_world: Float[Tensor, "t v 3"], surface: Surface, views: ColourViews, appearance: Appearance
) -> VertexEvidence:
    """What every picture says against the heads as they are now, frame by frame."""
    posed = views.posed(vertices_world, surface, appearance.points.vertices)
    jacobian = views.lenses.jacobian(vertices_world[views.mesh_of_view])
    look = appearance.of_views(views)
    of_views = gather_colours_at_vertices(appearance.points, look, posed, views.levels, jacobian, COLOUR)
    sums = of_views.new_zeros(*vertices_world.shape[:2], 9)
    for frames, pictures in views.turns:
        sums[frames] += of_views[pictures]
    return VertexEvidence.of_sums(sums)


def colour_rows(
    points: LinearPoints,
    state: HeadState,
    centre: Float[Tensor, "*b 3"],
    gathered: VertexEvidence,
    modes: int | None = None,
) -> Rows:
    """Three rows a vertex: the columns of its information's factor, against the movement that was asked for."""
    sure = gathered.bounded()
    eye = torch.eye(3).to(sure.information)
    factor = torch.linalg.cholesky(sure.information + NOTHING * eye)
    residual = -torch.linalg.solve_triangular(factor, sure.pull[..., None], upper=False)[..., 0]
    seen = (sure.information.diagonal(dim1=-2, dim2=-1).sum(-1) > NOTHING)[..., None]
    gradient = torch.where(seen[..., None], factor.mT, 0.0)
    residual = torch.where(seen, residual, 0.0).flatten(-2)
    return Rows(residual, *chain_rule(points, state, centre, gradient, modes=modes))
