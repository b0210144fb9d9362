"""A person's albedo and the light about them, from pictures of a head whose shape and motion are known.

Albedo belongs to points of the surface, light to cameras: nine spherical harmonics a channel in the world's frame; it
also takes up what a camera's exposure and white balance leave. Both are found in turns from all pictures at once,
robustly, because highlights, shade of the nose and what moved across a fold are in neither.
Source: Ramamoorthi & Hanrahan 2001; Garrido et al. 2013, "Reconstructing detailed dynamic face geometry", section 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from flame_fitting.losses.linear_head import geman_mcclure
from flame_fitting.losses.photometric import COLOUR, Appearance, ColourViews
from flame_fitting.losses.point_to_plane import Surface
from flame_fitting.models.head_model import HeadModel
from rendering.colour import srgb_decode, srgb_encode
from rendering.colours import SurfacePoints, look_up_colours
from rendering.shading import COSINE_BANDS, irradiance, spherical_harmonics

POINT_SPACING_M = 1.4e-3
"""Of the points on the template: two pixels for each, of a camera that sees a face 200 pixels wide."""
LID_MOVE_M = 1e-3
"""Skin that a blink moves farther than this is lid."""
TURNS = 4
"""Of albedo and light."""
OUTLIER_LEVEL = 0.06
"""Scale of the robust kernel of levels, in [0, 1]."""
RELATIVE_SIGMA = 0.1
"""Scale of the robust kernel of light, as a share of what was seen."""
LIGHT_STRIDE = 5
"""Light is told by every so-manieth point: it has 27 numbers, and points are thousands."""
DARK = 0.05
"""Points that receive less than this share of the light say nothing about their albedo."""
SMOOTH_LIGHT = 1e-5
"""Weight of the harmonics' squares but the first's, as a share of what was measured."""
LEAST_SEEN = 1e-2
"""Sum of squared cosines from which an albedo is known."""


def skin_points(model: HeadModel) -> SurfacePoints:
    """Points on the skin of the face, away from the lids, whose folds hide and show skin."""
    blinks = [row for row, name in enumerate(model.expression_names) if name.startswith("eyeBlink")]
    face = model.region("face").numpy().copy()
    if blinks:
        face &= (model.expression_basis[blinks].norm(dim=2).amax(0) < LID_MOVE_M).numpy()
    faces = model.faces.numpy()
    return points_on(model.template.numpy().astype(np.float64), faces, np.asarray(face[faces].all(1)))


def points_on(
    template: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], counted: Bool[np.ndarray, "f"]
) -> SurfacePoints:
    """Points that cover the counted triangles evenly, by their size on the template; each has one at least.

    They follow the R2 sequence inside a triangle, the same ones every time. Source: Roberts 2018.
    """
    chosen = faces[counted]
    corners = template[chosen]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    counts = np.maximum(1, np.round(area / POINT_SPACING_M**2)).astype(np.int64)
    number = np.concatenate([np.arange(count) for count in counts])
    square = (0.5 + number[:, None] * np.array([0.7548776662466927, 0.5698402909980532])) % 1
    folded = np.where(square.sum(1, keepdims=True) > 1, 1 - square, square)
    barycentric = np.column_stack([folded, 1 - folded.sum(1)])
    barycentric[np.repeat(counts == 1, counts)] = 1 / 3
    first = np.concatenate([[0], np.cumsum(counts)])
    return SurfacePoints(
        torch.from_numpy(np.ascontiguousarray(chosen, np.int32)),
        torch.from_numpy(first.astype(np.int32)),
        torch.from_numpy(barycentric.astype(np.float32)),
    )


@dataclass(frozen=True, eq=False)
class _View:
    """What one picture showed of the points."""

    camera: str
    """Whose light."""
    point: Int[Tensor, "n"]
    """Which points."""
    linear: Float[Tensor, "n 3"]
    """Linear light in [0, 1]."""
    normal: Float[Tensor, "n 3"]
    """Unit, world."""
    weight: Float[Tensor, "n 1"]
    """Squared cosine to the view."""

    def only(self, chosen: Bool[Tensor, "n"]) -> _View:
        """Some of the points."""
        return _View(self.camera, self.point[chosen], self.linear[chosen], self.normal[chosen], self.weight[chosen])


def learn_appearance(
    points: SurfacePoints, surface: Surface, frames: Iterable[tuple[Float[Tensor, "t v 3"], ColourViews]]
) -> Appearance | None:
    """Albedo and light from batches of frames, each of the heads' vertices in the world and pictures of them.

    None where no picture shows any of the points. The light's level is one on the mean of what was seen.
    """
    views = [view for vertices, pictures in frames for view in _views(points, surface, vertices, pictures)]
    if not views:
        return None
    count = len(points.barycentric)
    light = {view.camera: _even(views[0].linear) for view in views}
    albedo, known = _albedo(views, light, count, None)
    for _ in range(TURNS):
        light = {camera: _light([v for v in views if v.camera == camera], albedo, light[camera]) for camera in light}
        level = torch.stack([irradiance(light[v.camera], v.normal).mean() for v in views]).mean()
        light = {camera: harmonics / level for camera, harmonics in light.items()}
        albedo, known = _albedo(views, light, count, albedo * level)
    return Appearance(points, torch.where(known[:, None], albedo, -1.0).float(), light)


def relit(
    known: Appearance, surface: Surface, frames: Iterable[tuple[Float[Tensor, "t v 3"], ColourViews]]
) -> Appearance:
    """The same albedo in the light of other pictures; as it was where these show nothing."""
    points, albedo = known.points, known.albedo.double()
    views = [view for vertices, pictures in frames for view in _views(points, surface, vertices, pictures)]
    views = [view.only(albedo[view.point, 0] >= 0) for view in views]
    light = {view.camera: _even(albedo) for view in views}
    for _ in range(TURNS):
        light = {camera: _light([v for v in views if v.camera == camera], albedo, light[camera]) for camera in light}
    return Appearance(points, known.albedo, light or known.light)


def _even(like: Tensor) -> Float[Tensor, "9 3"]:
    """Light of level one from everywhere."""
    even = torch.zeros(9, 3, dtype=torch.float64, device=like.device)
    even[0] = 1 / 0.282095
    return even


def _views(
    points: SurfacePoints, surface: Surface, vertices: Float[Tensor, "t v 3"], pictures: ColourViews
) -> list[_View]:
    seen = look_up_colours(points, pictures.posed(vertices, surface, points.vertices), pictures.levels, COLOUR)
    views = []
    for number, camera in enumerate(pictures.camera_ids):
        shown = torch.nonzero(seen.cosines[number] > 0).squeeze(1)
        if len(shown):
            linear = srgb_decode(seen.levels[number, shown].double())
            weight = seen.cosines[number, shown].double()[:, None] ** 2
            views.append(_View(camera, shown, linear, seen.normals[number, shown].double(), weight))
    return views


def _albedo(
    views: list[_View], light: dict[str, Tensor], count: int, before: Float[Tensor, "p 3"] | None
) -> tuple[Float[Tensor, "p 3"], Bool[Tensor, "p"]]:
    """The weighted mean of what each view says, less of what strays from the last one; and which points were seen."""
    new = lambda: views[0].linear.new_zeros(count, 3)  # noqa: E731
    total, weights = new(), new()
    level = None if before is None else srgb_encode(before.clip(0, 1))
    for view in views:
        received = irradiance(light[view.camera], view.normal).clip(min=DARK)
        found = view.linear / received
        weight = view.weight * received**2
        if level is not None:
            apart = srgb_encode(found.clip(0, 1)) - level[view.point]
            weight = weight * geman_mcclure(apart, OUTLIER_LEVEL)
        total.index_add_(0, view.point, weight * found)
        weights.index_add_(0, view.point, weight)
    return total / weights.clip(min=1e-9), weights.amin(1) > LEAST_SEEN


def _light(views: list[_View], albedo: Float[Tensor, "p 3"], before: Float[Tensor, "9 3"]) -> Float[Tensor, "9 3"]:
    """One camera's light, given the albedo: a robust linear problem a channel."""
    some = slice(None, None, LIGHT_STRIDE)
    normals, weight = torch.cat([v.normal[some] for v in views]), torch.cat([v.weight[some] for v in views])
    seen, own = torch.cat([v.linear[some] for v in views]), torch.cat([albedo[v.point[some]] for v in views])
    bands = _bands(normals)
    sigma = RELATIVE_SIGMA * seen.clip(min=0.02)
    kernel = geman_mcclure(seen - own * (bands @ before), sigma)
    precision = weight * kernel / sigma**2
    found = []
    for channel in range(3):
        rows = bands * own[:, channel : channel + 1]
        weighted = rows * precision[:, channel : channel + 1]
        hessian = weighted.T @ rows
        smooth = SMOOTH_LIGHT * hessian.trace() * torch.ones(9).to(hessian)
        smooth[0] = 0
        found.append(
            torch.linalg.solve(
                hessian + torch.diag(smooth) + 1e-9 * torch.eye(9).to(hessian), weighted.T @ seen[:, channel]
            )
        )
    return torch.stack(found, 1)


def _bands(normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 9"]:
    """Derivatives of the received light by each harmonic."""
    return spherical_harmonics(normals) * torch.tensor(COSINE_BANDS).to(normals)
