"""How a landmark network's points answer to ARKit's curves: what a single view tells of an expression.

A landmark is not a vertex. A network draws lips and lids where it has learnt that such faces have them: some
millimetres beside the surface, and moved more, or less, or another way than the surface moves. With depth that does
not matter. Without, it is all there is; so the answer is learnt (`tools/make_landmark_response.py`, drawn heads seen
by the network itself): linear in the curves, with noise that is alike over whole regions, and a bias of each person.

With displacement f = rest + answer^T (curves + bias) + noise, all that a view knows of the curves is the information
M = answer Sigma^-1 answer^T and the pull y = answer Sigma^-1 (f - rest): y = M (curves + bias) + noise of covariance
M.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from flame_fitting.models.plain_model import Head
from geometry.errors import InputError

RESPONSE_FILE = Path(__file__).parent / "anny_landmark_response.npz"
"""What `tools/make_landmark_response.py` wrote."""
STABLE_MOVE_M, STABLE_SPREAD_M = 3e-3, 6e-3
"""Landmarks that no expression moves farther, and that the network puts no farther from their vertices, pose a head."""
FRONTAL_COSINE = 0.82
"""Of the angle between face and view: from 35 degrees on the network was never asked."""
SURE_COSINE, LEAST_VOTE = 0.94, 0.02
"""Up to 20 degrees a view has a full vote; before it is squared, the least vote of a view that has any."""


@dataclass(frozen=True, eq=False)
class LandmarkResponse:
    """The network's answer, learnt."""

    names: tuple[str, ...]
    """Of the curves."""
    source_index: Int[np.ndarray, "l"]
    """Which of the detector's points take part."""
    template: Float[np.ndarray, "l 3"]
    """Where the mean head has them, metres in the head's frame."""
    stable: Bool[np.ndarray, "l"]
    """Those that pose the head."""
    rest: Float[np.ndarray, "l 2"]
    """Where the network sees them beside these on the mean person at rest, metres along the head's x and y."""
    answer: Float[np.ndarray, "e l 2"]
    """How they move with each curve, metres at its full value."""
    noise: Float[np.ndarray, "k l 2"]
    """Components of the noise that many share, each of one deviation, metres."""
    scatter: Float[np.ndarray, "l 2"]
    """Deviation of the rest of the noise, metres."""
    people: Float[np.ndarray, "p l 2"]
    """Components of how people at rest differ, each of one deviation, metres."""

    @classmethod
    def load(cls, path: Path = RESPONSE_FILE) -> LandmarkResponse:
        """Read what the tool wrote; nothing in it is executed. Raises InputError when it is not whole."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                values = {name: arrays[name] for name in cls.__dataclass_fields__}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError("the landmarks' response", f"{path} ({error})", "install mien again") from error
        names = tuple(str(name) for name in values.pop("names"))
        return cls(names, **{n: v.astype(np.float64) if v.dtype == np.float32 else v for n, v in values.items()})

    def pull(self, normalised: Float[np.ndarray, "l 2"]) -> tuple[Float[np.ndarray, "e"], float] | None:
        """The information times the curves and the bias that one view asks for; None where it shows no face from ahead.

        With it the view's vote beside other views', in (0, 1]: 1 from ahead, least at the edge of what was learnt.

        Landmarks are normalised (z = 1, undistorted), in this order. All have a vote, those on the far cheek too: the
        network draws a whole face, its answer was learnt for all of it, and what is left out in one frame and not in
        the next would look like an expression (`expression_ratio` 0.71 with all, 0.83 to 1.7 without some).
        """
        displacement, facing = head_displacements(normalised, self.template, self.stable)
        if facing < FRONTAL_COSINE:
            return None
        vote = max((facing - FRONTAL_COSINE) / (SURE_COSINE - FRONTAL_COSINE), LEAST_VOTE)
        return self.explained @ (displacement - self.rest).reshape(-1), min(vote, 1.0) ** 2

    @cached_property
    def explained(self) -> Float[np.ndarray, "e l2"]:
        """answer Sigma^-1 (Woodbury's identity)."""
        answer, noise = (each.reshape(len(each), -1) for each in (self.answer, self.noise))
        own = 1 / self.scatter.reshape(-1) ** 2
        weighted = answer * own
        core = np.eye(len(noise)) + (noise * own) @ noise.T
        return weighted - (weighted @ noise.T) @ np.linalg.solve(core, noise * own)

    @cached_property
    def information(self) -> Float[np.ndarray, "e e"]:
        """Inverse covariance of the curves that a view asks for."""
        return self.explained @ self.answer.reshape(len(self.answer), -1).T

    @property
    def bias_information(self) -> Float[np.ndarray, "e e"]:
        """Inverse covariance of people's biases, in curves."""
        spread = self.people.reshape(len(self.people), -1) @ self.explained.T
        pulls = spread.T @ spread
        pulls += 1e-3 * np.trace(pulls) / len(pulls) * np.eye(len(pulls))
        return self.information @ np.linalg.solve(pulls, self.information)


@cache
def landmark_response(names: tuple[str, ...]) -> LandmarkResponse | None:
    """For a head model with these curves; None where they are not those that it was learnt for."""
    response = LandmarkResponse.load()
    return response if response.names == names else None


def stable_landmarks(head: Head) -> Bool[np.ndarray, "l"]:
    """Landmarks that expressions hardly move."""
    move = head.landmarks.on(head.model.expression_basis.double()).norm(dim=2).amax(0).numpy()
    return (move < STABLE_MOVE_M) & (head.landmarks.spread_m.numpy() < STABLE_SPREAD_M)


def head_displacements(
    normalised: Float[np.ndarray, "l 2"], template: Float[np.ndarray, "l 3"], stable: Bool[np.ndarray, "l"]
) -> tuple[Float[np.ndarray, "l 2"], float]:
    """Where landmarks lie beside the mean head, along its x and y, metres on its scale; and how much it faces the view.

    The mean head is posed by the stable landmarks; a landmark lies in the plane through its place there that the head's
    x and y span.
    """
    chosen, seen = template[stable], np.ascontiguousarray(normalised[stable])
    _, turn, shift = cv2.solvePnP(chosen, seen, np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP)
    _, turn, shift = cv2.solvePnP(chosen, seen, np.eye(3), None, turn, shift, True, flags=cv2.SOLVEPNP_ITERATIVE)
    rotation = cv2.Rodrigues(turn)[0]
    at = template @ rotation.T + shift[:, 0]
    projected = at[:, :2] / at[:, 2:]
    aside = (normalised - projected) * at[:, 2:]
    along = rotation[:2, :2] - normalised[:, :, None] * rotation[2, :2]
    towards = -shift[:, 0] / np.linalg.norm(shift)
    return np.linalg.solve(along, aside[..., None])[..., 0], float(rotation[:, 2] @ towards)
