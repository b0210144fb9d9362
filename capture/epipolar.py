"""Distances of matched features from their epipolar lines: whether two colour cameras' calibrations belong together."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Shaped

from capture.grey_pictures import small_grey
from geometry.cameras import Camera

NEIGHBOURS = 2
"""Colour cameras that each one is matched with: those that look most alike and stand apart."""
BASELINE_LEAST_M = 0.01
"""Of cameras at one place every line is an epipolar line."""
AXES_COSINE = 0.7
"""Descriptors do not match across more than some 45 degrees."""
FEATURES_MOST = 3000
MATCH_RATIO = 0.8
"""Of the nearest to the next nearest descriptor. Source: Lowe 2004, section 7.1."""
INLIERS_LEAST, INLIER_SHARE_LEAST = 16, 0.4
"""Of the matches that one epipolar geometry, whichever, must explain; chance explains fewer."""
ROBUST_PX = 2.0


@dataclass(frozen=True, eq=False)
class ColourView:
    """Features of one colour frame."""

    camera: Camera
    """Whose."""
    normalised: Float[np.ndarray, "n 2"]
    """Where they are, undistorted, at z = 1."""
    descriptors: Float[np.ndarray, "n 128"]
    """What they look like."""


def neighbours(cameras: list[Camera]) -> list[tuple[Camera, Camera]]:
    """Pairs that may be matched: each camera with the few that look most nearly the same way from another place."""
    pairs = set()
    for i, camera in enumerate(cameras):
        axis = camera.world_from_camera.rotation[:, 2]
        cosine = np.array([axis @ other.world_from_camera.rotation[:, 2] for other in cameras])
        apart = [np.linalg.norm(other.centre_world - camera.centre_world) > BASELINE_LEAST_M for other in cameras]
        ranked = [int(j) for j in np.argsort(-cosine, kind="stable") if apart[j] and cosine[j] > AXES_COSINE]
        pairs |= {(min(i, j), max(i, j)) for j in ranked[:NEIGHBOURS]}
    return [(cameras[i], cameras[j]) for i, j in sorted(pairs)]


def colour_view(camera: Camera, frame: Shaped[np.ndarray, "h w *c"]) -> ColourView:
    """SIFT features of a frame. Source: Lowe 2004."""
    grey = small_grey(frame)
    found, descriptors = cv2.SIFT.create(FEATURES_MOST).detectAndCompute(grey, None)
    scale = camera.image_size_hw[1] / grey.shape[1]
    # OpenCV's pixel centres are at integers, ours at +0.5.
    pixels = (np.array([point.pt for point in found], np.float64).reshape(-1, 2) + 0.5) * scale
    held = np.zeros((0, 128), np.float32) if descriptors is None else descriptors
    return ColourView(camera, camera.pixels_to_normalised(pixels), held)


@dataclass(frozen=True, eq=False)
class Matches:
    """Features that two cameras saw at one moment, as their descriptors say."""

    first: Float[np.ndarray, "m 2"]
    """In the first camera, undistorted, at z = 1."""
    second: Float[np.ndarray, "m 2"]
    """In the second."""


def match_features(a: ColourView, b: ColourView) -> Matches:
    """Features that are each other's nearest and much nearer than the next."""
    if len(a.descriptors) < 2 or len(b.descriptors) < 2:
        return Matches(np.zeros((0, 2)), np.zeros((0, 2)))
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    forward = {
        best.queryIdx: best.trainIdx
        for best, after in matcher.knnMatch(a.descriptors, b.descriptors, 2)
        if best.distance < MATCH_RATIO * after.distance
    }
    back = {match.queryIdx: match.trainIdx for match in matcher.match(b.descriptors, a.descriptors)}
    held = [(i, j) for i, j in forward.items() if back[j] == i]
    i, j = np.array(held, int).reshape(-1, 2).T
    return Matches(a.normalised[i], b.normalised[j])


def epipolar_residuals_px(a: Camera, b: Camera, matches: list[Matches]) -> Float[np.ndarray, "n"]:
    """Distances of matched features from the epipolar lines that two calibrations give, over several moments.

    Which matches are true is decided without the calibration: those that one fundamental matrix, fitted to them
    alone, explains. So a wrong calibration shows as large distances and not as few matches. Empty if the pictures do
    not match. The distance is over both pictures, in pixels of the mean focal length.
    Source: Hartley & Zisserman 2004, eq. 11.9 (Sampson distance); MAGSAC++: Barath et al. 2020.
    """
    x1 = np.concatenate([pair.first for pair in matches] or [np.zeros((0, 2))])
    x2 = np.concatenate([pair.second for pair in matches] or [np.zeros((0, 2))])
    if len(x1) < INLIERS_LEAST:
        return np.zeros(0)
    focal_px = float(np.sqrt(a.K[0, 0] * b.K[0, 0]))
    try:
        _, agreed = cv2.findFundamentalMat(x1 * focal_px, x2 * focal_px, cv2.USAC_MAGSAC, ROBUST_PX, 0.999, 5000)
    except cv2.error:  # OpenCV 5 asserts where every sample of the matches is degenerate, or none agrees with another
        agreed = None
    true = np.zeros(len(x1), bool) if agreed is None else agreed.ravel() > 0
    if true.sum() < INLIERS_LEAST or true.mean() < INLIER_SHARE_LEAST:
        return np.zeros(0)
    return sampson_distance(essential(a, b), x1[true], x2[true]) * focal_px


def essential(first: Camera, second: Camera) -> Float[np.ndarray, "3 3"]:
    """E with x2^T E x1 = 0 for normalised positions of one point. Source: Longuet-Higgins 1981."""
    second_from_first = second.world_from_camera.inverse().compose(first.world_from_camera)
    x, y, z = second_from_first.translation / np.linalg.norm(second_from_first.translation)
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ second_from_first.rotation


def sampson_distance(
    E: Float[np.ndarray, "3 3"], x1: Float[np.ndarray, "n 2"], x2: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n"]:
    """First-order distance of pairs from the nearest pairs that fulfil E, at z = 1."""
    ones = np.ones((len(x1), 1))
    h1, h2 = np.concatenate([x1, ones], 1), np.concatenate([x2, ones], 1)
    lines2, lines1 = h1 @ E.T, h2 @ E
    slope = (lines2[:, :2] ** 2).sum(1) + (lines1[:, :2] ** 2).sum(1)
    return np.abs((h2 * lines2).sum(1)) / np.sqrt(np.maximum(slope, 1e-18))
