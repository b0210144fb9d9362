"""A fused surface moved to where all measured depth says that it is, as smoothly as a skin is.

A volume holds one distance a voxel: what a view measured between voxels is lost, and noise that neighbouring pixels
share stays in the surface as waves. Here each vertex is told by all pixels about it (as `rendering.distances` gathers
them, with the sensor's noise), and vertices are tied to their neighbours by the bending of a thin plate: a Gaussian
process on the surface, whose scale follows the noise. Where four cameras see a face it keeps what is longer than a
centimetre or so, where thirty do, finer things.
Source: Desbrun et al. 1999, "Implicit fairing" (discrete bilaplacian); Rue & Held 2005, section 1.2 (posterior mean of
a Gaussian Markov random field).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
import torch
from jaxtyping import Bool, Float, Int, Int32
from scipy.sparse import csr_array
from scipy.sparse.linalg import cg
from torch import Tensor

from geometry.errors import InputError
from geometry.meshes import Mesh, face_normals, vertex_areas
from recon.fusion.depth_view import DepthView
from recon.fusion.trimming import border_edges, without_slivers
from rendering.distances import DepthPictures, DistanceModel, gather_distances_of_pictures, vertex_normals
from rendering.lenses import Lenses
from rendering.screen import filled_up

COTANGENT = 5.0
"""Of an angle, at most: slivers would make it anything. Negative ones stay, so that planes are flat."""
SMALLEST_AREA = 5
"""Percentile of the vertices' areas under which none counts: the bilaplacian divides by them."""
MOST_TURNS = 20
"""Of taking vertices back: each may turn a neighbour's triangle, until all about it are back."""
SOLVED = 1e-3
"""Of the pull on the vertices, what may be left: 95 of 100 are two micrometres from where they would go, or nearer."""
UNSEEN = 1e-3
"""Of the median information of an area: vertices that no pixel tells stay where their neighbours leave them."""


@dataclass(frozen=True)
class Refinement:
    """How a surface follows the depth."""

    rounds: int = 2
    """Turns of asking the pixels and moving the vertices; 0 leaves the surface as it was extracted."""
    stiffness: float = 12.0
    """Cost of bending: what is shorter than 2 pi (stiffness / information an area)^(1/4) is taken for noise."""
    reach_m: float = 0.008
    """Pixels farther than this and the noise from the surface show something else."""
    robust_m: float = 0.004
    """Scale of the Geman-McClure kernel, beside the noise."""
    least_cosine: float = 0.2
    """Pixels that look along the surface do not count."""
    noise_at_1m_m: float = 2.3e-3
    """Standard deviation of depth at 1 m, growing with distance squared."""
    shortest_edge_m: float = 5e-4
    """Vertices that shorter edges tie together are merged first: slivers have no curvature to speak of."""
    solver_steps: int = 60
    """Most conjugate gradient steps of a round."""

    def __post_init__(self) -> None:
        for name in ("stiffness", "reach_m", "robust_m", "noise_at_1m_m"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} above 0", str(getattr(self, name)), "raise it")


def refine(mesh: Mesh, views: Sequence[DepthView], config: Refinement, device: str = "cpu") -> Mesh:
    """The mesh with its vertices where the depth views have them: world frame, metres; slivers are merged away.

    The mesh must lie within the reach of the depth, as a fused one does. Lenses are full models: depth is taken as it
    was measured.
    """
    if not config.rounds or not len(mesh.faces):
        return mesh
    pictures = Pictures.of(views, device)
    mesh = without_slivers(mesh, config.shortest_edge_m)
    border = np.unique(border_edges(mesh.faces, len(mesh.vertices)))
    # One tensor for all rounds: what its triangles share is worked out once.
    triangles = torch.from_numpy(np.ascontiguousarray(mesh.faces, np.int32)).to(device)
    vertices = mesh.vertices
    for _ in range(config.rounds):
        information, distance, normals = pictures.told(vertices, triangles, config)
        bending, area = bending_energy(vertices, mesh.faces, border)
        usual = float(np.median(information / area)) * area
        weight = np.maximum(information, UNSEEN * usual)
        # A border has nothing beyond it to hold it: left to its inner neighbours it would fold over them.
        weight[border] = np.maximum(weight, usual)[border]
        system = csr_array(sparse.diags_array(weight) + config.stiffness * bending)
        pull = (weight * distance)[:, None] * normals - config.stiffness * (bending @ vertices)
        scale = sparse.diags_array(1 / system.diagonal())
        ends = {"rtol": SOLVED, "maxiter": config.solver_steps, "M": scale}
        vertices = vertices + np.stack([cg(system, pull[:, axis], **ends)[0] for axis in range(3)], 1)
    return Mesh(unfolded(mesh, vertices), mesh.faces)


def unfolded(start: Mesh, moved: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """The moved vertices, but for those of triangles that have turned over: these move along their normals, or stay."""
    normals, result = start.vertex_normals(), moved.copy()
    along = start.vertices + normals * ((moved - start.vertices) * normals).sum(1, keepdims=True)
    before = face_normals(start.vertices, start.faces)
    stays = np.zeros(len(moved), np.int64)
    for _ in range(MOST_TURNS):
        turned = (face_normals(result, start.faces) * before).sum(1) <= 0
        if not turned.any():
            break
        corners = np.unique(start.faces[turned])
        stays[corners] += 1
        result[corners] = np.where((stays[corners] > 1)[:, None], start.vertices[corners], along[corners])
    return result


@dataclass(frozen=True, eq=False)
class Pictures:
    """Depth pictures ready to be held against a surface."""

    lenses: Lenses
    """Their cameras."""
    depth: DepthPictures
    """What they measured, all of one mesh."""

    @classmethod
    def of(cls, views: Sequence[DepthView], device: str) -> Pictures:
        """Of depth views."""
        lenses = Lenses.of([view.camera for view in views], device)
        measured = torch.from_numpy(filled_up([view.depth_m for view in views])).to(device)
        return cls(lenses, DepthPictures(measured, torch.zeros(len(views), dtype=torch.int64), lenses.centres_world))

    def told(
        self, vertices: Float[np.ndarray, "v 3"], triangles: Int32[Tensor, "f 3"], config: Refinement
    ) -> tuple[Float[np.ndarray, "v"], Float[np.ndarray, "v"], Float[np.ndarray, "v 3"]]:
        """Of each vertex: information in 1/m^2, how far out the depth lies along the normal in metres, the normal."""
        device = self.depth.measured.device
        solid = torch.from_numpy(vertices)[None].to(device)
        normals = vertex_normals(solid, triangles)
        noise = config.noise_at_1m_m
        model = DistanceModel(config.reach_m, config.robust_m, config.least_cosine, noise, 4.0, 4.0)
        counted = torch.ones(len(triangles), dtype=torch.uint8, device=device)
        sums = gather_distances_of_pictures(self.lenses, self.depth, (solid, normals), triangles, counted, model)
        information, moment = sums.sum(0).cpu().numpy().T
        distance = np.divide(moment, information, out=np.zeros_like(moment), where=information > 0)
        return information, distance, normals[0].cpu().numpy()


def bending_energy(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], border: Int[np.ndarray, "b"]
) -> tuple[csr_array, Float[np.ndarray, "v"]]:
    """Quadratic form of a thin plate's bending on the mesh (1/m^2), and the area of each vertex (m^2).

    A plate bends freely at its border: what a border vertex would say of curvature, half its neighbours being absent,
    is left out, or open borders would shrink.
    """
    count = len(vertices)
    corners = vertices[faces]
    edges = np.roll(corners, 1, axis=1) - np.roll(corners, -1, axis=1)
    doubled = np.linalg.norm(face_normals(vertices, faces), axis=1)
    area = vertex_areas(vertices, faces)
    area = np.maximum(area, np.percentile(area, SMALLEST_AREA))
    rows, columns, weights = [], [], []
    for corner in range(3):
        one, other = (corner + 1) % 3, (corner + 2) % 3
        cotangent = -(edges[:, one] * edges[:, other]).sum(1) / np.maximum(doubled, 1e-20)
        half = np.clip(cotangent, -COTANGENT, COTANGENT) / 2
        rows += [faces[:, one], faces[:, other]]
        columns += [faces[:, other], faces[:, one]]
        weights += [half, half]
    index = (np.concatenate(rows), np.concatenate(columns))
    adjacency = sparse.coo_array((np.concatenate(weights), index), shape=(count, count)).tocsr()
    laplacian = sparse.diags_array(np.asarray(adjacency.sum(1))) - adjacency
    inside: Bool[np.ndarray, "v"] = np.ones(count, bool)
    inside[border] = False
    curvature = sparse.diags_array(np.where(inside, 1 / np.sqrt(area), 0)) @ laplacian
    form = csr_array(curvature.T @ curvature)
    form.sort_indices()
    return form, area
