"""What landmarks tell of the curves by how the network is known to answer, for views without depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from flame_fitting.landmarks.response import LandmarkResponse
from flame_fitting.losses.landmarks import LandmarkTargets
from flame_fitting.losses.linear_head import HeadState, Rows
from flame_fitting.solver import HeadPrior, bounded_curves

BIAS_TURNS = 40
"""Of a person's bias and the curves beside it."""
BIAS_INDEPENDENCE = 0.1
"""How much all frames count for the bias: what a linear answer leaves over is alike in faces that are alike."""
NOTHING = 1e-6
"""Share of the mean information that is added: curves that no landmark tells keep a factor."""


@dataclass(frozen=True, eq=False)
class CurveTargets:
    """What one view of a face tells of its curves."""

    camera_id: str
    """Which camera."""
    information: Float[Tensor, "e e"]
    """Inverse covariance of the curves that it asks for."""
    pull: Float[Tensor, "e"]
    """The information times these curves."""
    vote: float = 1.0
    """Beside other views of the same frame."""

    @classmethod
    def of(cls, target: LandmarkTargets, response: LandmarkResponse) -> CurveTargets | None:
        """Of a view's landmarks; None where it does not show a face from ahead."""
        told = response.pull(target.normalised.numpy())
        if told is None:
            return None
        pull, vote = told
        return cls(target.camera_id, torch.from_numpy(response.information), torch.from_numpy(pull), vote)

    def without(self, bias: Float[Tensor, "e"]) -> CurveTargets:
        """The same with a person's bias taken out."""
        return replace(self, pull=self.pull - self.information @ bias)


@dataclass(frozen=True, eq=False)
class ToldCurves:
    """The same of a batch of frames, the mean over each frame's views by votes: networks err alike in all of them.

    A face seen from ahead and from 30 degrees aside is told by the first view: `expression_ratio` of two views is 0.70,
    where the plain mean had 0.82 on one subject of two, and the same on the other.
    """

    information: Float[Tensor, "t e e"]
    """Zeros for frames of which nothing was told."""
    pull: Float[Tensor, "t e"]
    """The information times the curves."""

    @classmethod
    def stacked(cls, frames: Sequence[Sequence[CurveTargets]], device: torch.device | str = "cpu") -> ToldCurves | None:
        """Stack frames; None where nothing was told of any."""
        size = next((len(each.pull) for frame in frames for each in frame), None)
        if size is None:
            return None
        information = torch.zeros(len(frames), size, size, dtype=torch.float64)
        pull = torch.zeros(len(frames), size, dtype=torch.float64)
        for number, frame in enumerate(frames):
            votes = sum(each.vote for each in frame)
            for each in frame:
                information[number] += each.information * (each.vote / votes)
                pull[number] += each.pull * (each.vote / votes)
        return cls(information.to(device), pull.to(device))

    @property
    def known(self) -> Bool[Tensor, "t"]:
        """Frames of which something was told."""
        return self.information.diagonal(dim1=1, dim2=2).sum(1) > 0


def response_rows(told: ToldCurves, state: HeadState, modes: int | None = None) -> Rows:
    """As many rows as curves: the columns of the information's factor, against the curves that were asked for."""
    known, size = told.known[:, None, None], told.pull.shape[1]
    eye = torch.eye(size).to(told.information)
    mean = told.information.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    factor = torch.linalg.cholesky(torch.where(known, told.information + NOTHING * mean * eye, eye))
    asked = torch.linalg.solve_triangular(factor, told.pull[..., None], upper=False)
    residual = (factor.mT @ state.curves[..., None] - asked)[..., 0]
    identity = state.identity.shape[-1] if modes is None else modes
    zeros = lambda columns: residual.new_zeros(*residual.shape, columns)  # noqa: E731
    own = torch.where(known, factor.mT, 0.0)
    return Rows(torch.where(known[..., 0], residual, 0.0), zeros(identity), own, zeros(6))


Biases = dict[str, Float[np.ndarray, "e"]]


def learn_biases(frames: Sequence[Sequence[CurveTargets]], response: LandmarkResponse, prior: HeadPrior) -> Biases:
    """By camera: how far a person's landmarks at rest look like curves that are not there.

    In turns with the curves of each frame, which are at rest unless they must move: what all frames have in common is
    the person. Shrunk towards none by how people differ.
    """
    found: Biases = {}
    own = torch.from_numpy(response.bias_information)
    for camera in sorted({each.camera_id for frame in frames for each in frame}):
        views = [each for frame in frames for each in frame if each.camera_id == camera]
        information = torch.stack([each.information for each in views])
        pull = torch.stack([each.pull for each in views])
        total = BIAS_INDEPENDENCE * information.sum(0) + own
        bias, curves = torch.zeros_like(pull[0]), torch.zeros_like(pull)
        for _ in range(BIAS_TURNS):
            curves = bounded_curves(information, pull - information @ bias, curves, prior)
            left = (pull - (information @ curves[..., None])[..., 0]).sum(0)
            bias = torch.linalg.solve(total, BIAS_INDEPENDENCE * left)
        found[camera] = bias.numpy()
    return found


def without_biases(targets: Sequence[CurveTargets], biases: Mapping[str, np.ndarray]) -> tuple[CurveTargets, ...]:
    """Views whose cameras' biases are known, without them."""
    return tuple(each.without(torch.from_numpy(biases[each.camera_id])) for each in targets if each.camera_id in biases)
