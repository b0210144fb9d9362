"""What a fit says of itself: the state of every frame, the loss of every term, the residual of every camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from storage.take import Take
from workflows.report.contents import FittedHead
from workflows.report.found_landmarks import FoundLandmarks

BRIDGED, FROM_DEPTH = 1, 2
"""Of `frame_state`: interpolated between its neighbours; fitted without a usable view, to depth alone."""
BELIEFS = ("prior", "temporal", "bound", "symmetry", "smooth")
"""Terms whose name holds one of these judge the head, not the picture; a strong expression makes them large."""
LEAST_TYPICAL = 0.25
"""Sigmas. A term that is usually smaller than this counts as this, else a tiny change of it would name a frame."""
STANDS_OUT = 2.0
"""A frame whose residual is this many times what the term usually has is named."""
SAMPLED_FRAMES = 12
"""Frames from which the residual of each camera is measured where the fit did not store it."""
ANEW = "An earlier version made it: fit anew with --overwrite to know."


@dataclass(frozen=True, eq=False)
class FrameLosses:
    """The residual of each term in each frame, and which frames it names."""

    terms: tuple[str, ...]
    """Names of the terms."""
    residual: Float[np.ndarray, "t k"]
    """Root of the mean squared residual, in `unit`; nan in bridged frames and where a term had nothing to say."""
    unit: str
    """sigmas, or mm of depth for a fit that stored no losses."""

    @classmethod
    def of(cls, fit: FittedHead) -> FrameLosses | None:
        """None where the fit stored nothing to judge its frames by."""
        bridged = bridged_frames(fit)
        if "term_loss" in fit.result.arrays:
            stored = fit.result["term_loss"]
            residual = np.sqrt(np.maximum(stored[...].astype(np.float64), 0))
            names = stored.labels("term") or tuple(f"term {number}" for number in range(residual.shape[1]))
            unit = "sigmas"
        else:
            residual, names, unit = np.abs(fit.depth_residual_mm[:, None]), ("depth",), "mm"
        residual = np.where(bridged[:, None] | ~np.isfinite(residual), np.nan, residual)
        used = [column for column in range(residual.shape[1]) if (residual[:, column] > 0).any()]
        return cls(tuple(names[column] for column in used), residual[:, used], unit) if used else None

    @property
    def of_evidence(self) -> tuple[int, ...]:
        """Columns of the terms that compare the head with what was recorded; all if there are no such."""
        found = [n for n, name in enumerate(self.terms) if not any(word in name.lower() for word in BELIEFS)]
        return tuple(found) or tuple(range(len(self.terms)))

    @property
    def typical(self) -> Float[np.ndarray, "k"]:
        """What each term usually has: the median over the frames in which it has something to say."""
        return np.array([_median(column) for column in self.residual.T])

    @property
    def ratios(self) -> Float[np.ndarray, "t k"]:
        """Residual over what is typical of its term; nan where the term is silent or only a belief."""
        ratios = self.residual / np.maximum(self.typical, LEAST_TYPICAL)
        beliefs = [column for column in range(len(self.terms)) if column not in self.of_evidence]
        ratios[:, beliefs] = np.nan
        return ratios

    @property
    def doubt(self) -> Float[np.ndarray, "t"]:
        """The largest of each frame's ratios; nan for a frame without any."""
        filled = np.where(np.isnan(self.ratios), -1, self.ratios).max(1)
        return np.where(filled < 0, np.nan, filled)

    def worst_term(self, frame: int) -> int:
        """Column of the term that doubts a frame most; the frame has a doubt."""
        return int(np.nanargmax(self.ratios[frame]))

    def doubtful(self, most: int) -> list[int]:
        """Frames by falling doubt."""
        known = [frame for frame in range(len(self.doubt)) if np.isfinite(self.doubt[frame])]
        return sorted(known, key=lambda frame: (-self.doubt[frame], frame))[:most]

    def words(self, frame: int) -> str:
        """Which term doubts a frame, and how much."""
        column = self.worst_term(frame)
        value, ratio = self.residual[frame, column], self.ratios[frame, column]
        return f"{self.terms[column]} {value:.2g} {self.unit}, {ratio:.1f} times the usual"


@dataclass(frozen=True, eq=False)
class CameraResiduals:
    """How well what each camera saw agrees with the fitted head."""

    cameras: tuple[str, ...]
    """Ids, by column."""
    values: Float[np.ndarray, "t c"]
    """Pixels for colour, metres for depth; nan where a camera had no part in a frame."""
    sampled: bool
    """Whether only some frames were measured, because the fit stored none."""

    @classmethod
    def of_colour(cls, take: Take, fit: FittedHead, marks: FoundLandmarks | None) -> CameraResiduals | None:
        """Reprojection of the landmarks; measured anew on some frames where the fit did not store it."""
        cameras = take.rig.rgb
        if "camera_residual_px" in fit.result.arrays:
            return cls._stored(take, fit, "camera_residual_px", tuple(camera.id for camera in cameras))
        if marks is None or fit.model is None or not cameras:
            return None
        count = take.frame_count
        frames = np.unique(np.linspace(0, count - 1, min(SAMPLED_FRAMES, count)).round().astype(int))
        values = np.full((count, len(cameras)), np.nan)
        for frame in frames:
            for column, camera in enumerate(cameras):
                error = fit.landmark_error_px(take, camera, int(frame))
                values[frame, column] = np.nan if error is None else error
        return cls(tuple(camera.id for camera in cameras), values, len(frames) < count)

    @classmethod
    def of_depth(cls, take: Take, fit: FittedHead) -> CameraResiduals | None:
        """Depth to the head's surface; None where the fit did not store it."""
        if "camera_depth_residual_m" not in fit.result.arrays:
            return None
        return cls._stored(take, fit, "camera_depth_residual_m", tuple(camera.id for camera in take.rig.depth))

    @classmethod
    def _stored(cls, take: Take, fit: FittedHead, name: str, of_kind: tuple[str, ...]) -> CameraResiduals | None:
        stored = fit.result[name]
        values = np.abs(stored[...].astype(np.float64))
        everyone = tuple(camera.id for camera in take.rig.cameras)
        fitting = (ids for ids in (stored.labels("camera"), of_kind, everyone) if ids and len(ids) == values.shape[1])
        ids = next(fitting, None)
        return None if ids is None else cls(tuple(ids), values, False)

    def of(self, camera_id: str) -> Float[np.ndarray, "n"]:
        """A camera's values in the frames that it had a part in."""
        if camera_id not in self.cameras:
            return np.zeros(0)
        values = self.values[:, self.cameras.index(camera_id)]
        return values[np.isfinite(values)]


def bridged_frames(fit: FittedHead) -> Bool[np.ndarray, "t"]:
    """Frames that were not fitted but interpolated; of a fit without states, those that no view took part in."""
    if "frame_state" in fit.result.arrays:
        return fit.result["frame_state"][...] == BRIDGED
    silent = fit.result["views"][...] == 0
    return silent & ~np.isfinite(fit.depth_residual_mm)


def depth_alone_frames(fit: FittedHead) -> Bool[np.ndarray, "t"]:
    """Frames that were fitted without a face in any view."""
    told = (fit.result["views"][...] == 0) & ~bridged_frames(fit)
    return told | (fit.result["frame_state"][...] == FROM_DEPTH) if "frame_state" in fit.result.arrays else told


def _median(values: Float[np.ndarray, "t"]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")
