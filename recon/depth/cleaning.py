"""Depth images without what no surface made: flying pixels, speckle, grazing measurements."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from geometry.cameras import Camera
from geometry.errors import InputError
from recon.depth.incidence import incidence_cosine

RANGE_M = (0.1, 3.0)
"""Where a face stands in front of a depth camera; outside it the unit is wrong."""
NEAREST_PERCENT = 5.0
"""Share of the measurements that tells where the subject begins: more than a stray reflection, less than a face."""
COUNTABLE_VALUES = (32, 4096)
"""Fewer different depths than this are a flat scene, more are no sign of coarse quantisation."""
SPECKLE_STEP_M = 1e-4
"""OpenCV's speckle filter takes 16-bit integers: a tenth of a millimetre reaches 3.2 m."""


@dataclass(frozen=True)
class CleaningConfig:
    """What counts as a measurement of a surface."""

    subject_reach_m: float = 0.6
    """Depth farther than this behind the nearest twentieth of an image's measurements is background; 0 keeps it."""
    steepest_deg: float = 82.0
    """A jump between neighbouring pixels that no surface less oblique than this would show is an edge."""
    edge_sigmas: float = 3.0
    """Standard deviations of the sensor's noise by which a jump must exceed that."""
    edge_px: int = 1
    """Pixels to remove on either side of an edge, and where measurements border on none, whatever they show; 0
    keeps those that their neighbours support."""
    least_support: int = 4
    """Neighbours of eight that a measurement at an edge must continue, by the same rule, to be a surface's: a flying
    pixel between two surfaces has one or two, a pixel on the rim of the nearer surface five; 0 keeps flying pixels."""
    smallest_patch_px: int = 200
    """Connected measurements fewer than this are speckle; 0 keeps them."""
    smoothing_px: float = 2.0
    """Standard deviation of the edge-preserving filter; 0 leaves depth as measured."""
    step_smoothing_px: float = 2.0
    """The same where an image's quantisation is coarser than its noise (8-bit disparity); 0 leaves the steps."""
    smoothing_sigmas: float = 4.0
    """How many standard deviations of the sensor's noise the filter bridges."""
    noise_at_1m_m: float = 2.3e-3
    """Standard deviation of depth at 1 m, growing with distance squared (time of flight, structured light). Where
    half a step of an image's quantisation is more (8-bit disparity), that counts instead."""
    least_cosine: float = 0.2
    """Measurements with a smaller cosine of incidence are grazing; 0 keeps them."""


@dataclass(frozen=True)
class CleaningCounts:
    """Pixels of one depth image, or of several added up."""

    measured: int = 0
    """That came in with a depth."""
    background: int = 0
    """Removed for lying far behind the subject."""
    flying: int = 0
    """Removed at edges, where depth mixes foreground and background."""
    speckle: int = 0
    """Removed as patches too small to be the subject."""
    grazing: int = 0
    """Removed for looking along the surface."""

    @property
    def kept(self) -> int:
        """That are left."""
        return self.measured - self.background - self.flying - self.speckle - self.grazing

    def __add__(self, other: CleaningCounts) -> CleaningCounts:
        return CleaningCounts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def clean_depth(
    depth_m: Float32[np.ndarray, "h w"], camera: Camera, config: CleaningConfig
) -> tuple[Float32[np.ndarray, "h w"], CleaningCounts]:
    """Depth in metres (0 = none) that a surface made, and how many pixels went for which reason.

    No pixel gains a measurement. Smoothing is bilateral: it averages noise and leaves steps. Raises InputError for
    an image of another size than the camera's.
    """
    if depth_m.shape != camera.image_size_hw:
        expected = f"depth of {camera.image_size_hw[0]} x {camera.image_size_hw[1]} pixels from {camera.id}"
        remedy = "use the rig that belongs to the recording"
        raise InputError(expected, f"{depth_m.shape[0]} x {depth_m.shape[1]}", remedy)
    half_step = step_at_1m(depth_m) / 2
    if half_step > config.noise_at_1m_m:
        wider = max(config.smoothing_px, config.step_smoothing_px)
        config = replace(config, noise_at_1m_m=half_step, smoothing_px=wider)
    left = [depth_m]
    for removed in (_background, _near_edges, _speckle):
        left.append(np.where(removed(left[-1], camera, config), np.float32(0), left[-1]))
    smooth = _smoothed(left[-1], config)
    left.append(np.where(incidence_cosine(smooth, camera) >= config.least_cosine, smooth, np.float32(0)))
    pixels = np.array([np.count_nonzero(each) for each in left])
    return left[-1], CleaningCounts(int(pixels[0]), *(-np.diff(pixels)).tolist())


def check_depth_range(depth_m: Float32[np.ndarray, "h w"], camera: Camera) -> None:
    """Raises InputError when the median measured depth lies outside 0.1 to 3 m, naming the likely unit.

    An image without any measurement passes: a blinded camera is for quality control to report.
    """
    measured = depth_m[depth_m > 0]
    if not measured.size:
        return
    median = float(np.median(measured))
    nearest, farthest = RANGE_M
    if nearest <= median <= farthest:
        return
    declared = camera.depth_unit_m or 1.0
    # A face is most often filmed from some 0.6 m; of all powers of ten take the one that comes closest.
    likely = declared * 10.0 ** round(np.log10(0.6 / median))
    in_likely = median * likely / declared
    raise InputError(
        f"the median depth of {camera.id} between {nearest} and {farthest} m",
        f"{median:.4g} m: a depth unit of {declared:g} m puts the scene there",
        f"correct depth_unit_m of {camera.id} in the rig; {likely:g} m would put the scene at {in_likely:.2g} m",
    )


def step_at_1m(depth_m: Float32[np.ndarray, "h w"]) -> float:
    """The step between the values that inverse depth takes, per metre; 0 where it is too fine to tell."""
    values = np.unique(depth_m[depth_m > 0])
    fewest, most = COUNTABLE_VALUES
    if not fewest <= values.size <= most:
        return 0.0
    # d(1/z) = dz / z^2: at 1 m both steps are the same number.
    return float(np.median(np.abs(np.diff(1 / values))))


def _background(depth_m: Float32[np.ndarray, "h w"], camera: Camera, config: CleaningConfig) -> Bool[np.ndarray, "h w"]:
    """Pixels far behind the nearest thing of some size."""
    if config.subject_reach_m <= 0 or not depth_m.any():
        return np.zeros(depth_m.shape, bool)
    return depth_m > np.percentile(depth_m[depth_m > 0], NEAREST_PERCENT) + config.subject_reach_m


def _near_edges(depth_m: Float32[np.ndarray, "h w"], camera: Camera, config: CleaningConfig) -> Bool[np.ndarray, "h w"]:
    """Pixels near a depth jump or a border of the measured area."""
    if config.edge_px <= 0 and config.least_support <= 0:
        return np.zeros(depth_m.shape, bool)
    measured = depth_m > 0
    cross = np.ones((3, 3), np.uint8)
    far = cv2.dilate(depth_m, cross)
    near = cv2.erode(np.where(measured, depth_m, np.float32(np.inf)), cross)
    # A pixel's footprint is z / f; a surface at this angle climbs tan(angle) footprints over one pixel, and noise adds.
    steepest = np.tan(np.radians(config.steepest_deg)) / np.sqrt(camera.K[0, 0] * camera.K[1, 1])
    limit = np.float32(steepest) * depth_m + np.float32(config.edge_sigmas * config.noise_at_1m_m) * depth_m**2
    with np.errstate(invalid="ignore"):
        edge = measured & ((far - depth_m > limit) | (depth_m - near > limit))
    unsupported = measured & (_support(depth_m, limit) < config.least_support)
    if config.edge_px <= 0:
        return unsupported
    edge |= unsupported | (cv2.dilate((~measured).astype(np.uint8), cross, borderValue=0) > 0)
    if config.edge_px > 1:
        wide = np.ones((2 * config.edge_px - 1,) * 2, np.uint8)
        edge = cv2.dilate(edge.astype(np.uint8), wide, borderValue=0) > 0
    return edge


def _support(depth_m: Float32[np.ndarray, "h w"], limit: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """How many of the eight neighbours of each pixel lie on the same surface."""
    rows, columns = depth_m.shape
    padded = np.pad(depth_m, 1)
    count = np.zeros(depth_m.shape, np.uint8)
    for row in range(3):
        for column in range(3):
            if (row, column) != (1, 1):
                near = padded[row : row + rows, column : column + columns]
                count += (near > 0) & (np.abs(near - depth_m) <= limit)
    return count


def _speckle(depth_m: Float32[np.ndarray, "h w"], camera: Camera, config: CleaningConfig) -> Bool[np.ndarray, "h w"]:
    """Pixels of patches smaller than the config's."""
    if config.smallest_patch_px <= 0 or not depth_m.any():
        return np.zeros(depth_m.shape, bool)
    steps = np.minimum(depth_m / np.float32(SPECKLE_STEP_M), 32767).astype(np.int16)
    median = float(np.median(depth_m[depth_m > 0]))
    footprint = median / np.sqrt(camera.K[0, 0] * camera.K[1, 1])
    jump = float(np.tan(np.radians(config.steepest_deg)) * footprint / SPECKLE_STEP_M)
    filtered, _ = cv2.filterSpeckles(steps, 0, config.smallest_patch_px - 1, jump)
    return (depth_m > 0) & (filtered == 0)


def _smoothed(depth_m: Float32[np.ndarray, "h w"], config: CleaningConfig) -> Float32[np.ndarray, "h w"]:
    """Depth after a bilateral filter, in inverse depth: there noise is the same everywhere and planes stay planes."""
    measured = depth_m > 0
    if config.smoothing_px <= 0 or not measured.any():
        return depth_m
    # Holes lie at 0, infinitely far, and so out of reach of the range weight.
    inverse = np.divide(1, depth_m, out=np.zeros_like(depth_m), where=measured)
    # d(1/z) = dz / z^2, so noise that grows with z^2 is constant here.
    bridged = config.smoothing_sigmas * config.noise_at_1m_m
    filtered = cv2.bilateralFilter(inverse, 2 * round(2 * config.smoothing_px) + 1, bridged, config.smoothing_px)
    return np.divide(1, filtered, out=np.zeros_like(depth_m), where=measured)
