"""What deforming a mesh costs: bending, and stretching or shearing beyond a rotation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True, eq=False)
class Stiffness:
    """A mesh at rest with its edges; matrices act on one axis."""

    rest: Float[np.ndarray, "v 3"]
    """Metres."""
    edges: Int[np.ndarray, "e 2"]
    """Each once, lower vertex first."""
    bending: Any
    """`displacement @ bending @ displacement`: squared umbrella operators, [v, v] sparse."""
    edge_weights: Float[np.ndarray, "e"]
    """How stiff each edge is beside the others."""
    part: Int[np.ndarray, "v"]
    """Number of each vertex's connected part; 0 is the largest."""

    @classmethod
    def of(cls, rest: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Stiffness:
        """Edges weigh alike: cotangents of slivers about lids would be negative."""
        count = len(rest)
        edges = np.unique(
            np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0
        )
        ones = np.ones(len(edges))
        half = sp.coo_matrix((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
        adjacency = (half + half.T).tocsr()
        degree = np.asarray(adjacency.sum(1)).ravel()
        umbrella = sp.identity(count) - sp.diags(1 / np.maximum(degree, 1)) @ adjacency
        _, part = connected_components(adjacency, directed=False)
        order = np.argsort(-np.bincount(part), kind="stable")
        return cls(rest, edges, (umbrella.T @ umbrella).tocsr(), ones, np.argsort(order)[part])

    def stiffened(self, doublings: Float[np.ndarray, "v"]) -> Stiffness:
        """Edges stiffer where both ends ask for it."""
        i, j = self.edges.T
        return replace(self, edge_weights=2.0 ** np.minimum(doublings[i], doublings[j]))

    @cached_property
    def stretching(self) -> Any:
        """The weighted graph Laplacian of the edges, [v, v] sparse."""
        count, (i, j) = len(self.rest), self.edges.T
        half = sp.coo_matrix((self.edge_weights, (i, j)), shape=(count, count))
        adjacency = (half + half.T).tocsr()
        return (sp.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency).tocsr()

    def turned_edges(self, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
        """The right-hand side of as-rigid-as-possible: for each vertex, how its rest edges would lie if only turned.

        Sum over neighbours of half of both ends' rotations applied to the rest edge.
        Source: Sorkine & Alexa 2007, eqs. 6 and 9.
        """
        i, j = self.edges.T
        before, after = self.rest[i] - self.rest[j], vertices[i] - vertices[j]
        products = before[:, :, None] * after[:, None, :] * self.edge_weights[:, None, None]
        covariance = np.zeros((len(vertices), 3, 3))
        for row, column in np.ndindex(3, 3):
            each = products[:, row, column]
            covariance[:, row, column] = np.bincount(i, each, len(vertices)) + np.bincount(j, each, len(vertices))
        u, _, vt = np.linalg.svd(covariance)
        sign = np.sign(np.linalg.det(u @ vt))
        u[:, :, 2] *= sign[:, None]
        rotations = np.swapaxes(u @ vt, 1, 2)
        turned = np.einsum("eij,ej->ei", (rotations[i] + rotations[j]) / 2, before) * self.edge_weights[:, None]
        return np.stack([np.bincount(i, c, len(vertices)) - np.bincount(j, c, len(vertices)) for c in turned.T], 1)
