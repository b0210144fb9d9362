"""The rim of an iris, found in the picture to a fraction of a pixel, and from it the iris's centre.

The iris network is off by 0.6 to 1.8 px on a face of 250 px, which is two degrees of gaze and more. The border between
iris and white of the eye is sharp, and even the two short arcs that the lids leave free tell where the whole circle is.

Source: Daugman 1993, "High confidence visual recognition of persons by a test of statistical independence", for the
limbus as the edge to look for; the fit of a foreshortened circle to its free arcs is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from flame_fitting.landmarks.iris import EYE_CORNERS, EyeOutline

RADIUS_SAMPLES = 14
"""Radius of the iris in samples of the patch it is looked for in: near a pixel for a face of 300 px."""
HALF_WIDTH, HALF_HEIGHT = 34, 20
"""Of the patch, samples."""
IRIS_OVER_EYES = 0.0637
"""Radius of an iris over the distance between the outer corners of both eyes. Human irises measure 11.7 mm across with
a spread of 4 %, corners are 90 mm apart; on drawn heads of all ages it is 0.0637 with a spread of 6 %."""
CENTRE_BEHIND, CENTRE_TO_IRIS = 1.6, 2.2
"""From the line between an eye's corners back to the eyeball's centre, and from there to the iris, in iris radii."""
PRIOR_SIGMA = np.array([6.0, 4.0, 1.8, 0.8, 0.12])
"""Of the network's centre (x, y), of half the width and height (samples) and of the slant, before any edge is seen."""
EDGE_SIGMA = 0.5
"""Of one edge's place, samples."""
OUTLIER_SIGMAS = 3.0
LOOSE_STEPS, STRICT_STEPS = 4, 4
"""Of the robust fit; in the loose ones outliers start three times as far."""
SEARCH_FROM, SEARCH_TO = 6, 23
"""Where along a row from the middle the rim is looked for, samples: at 0.45 to 1.65 radii."""
REACH = 5
"""Samples before and behind an edge in which it must have gone from iris to white."""
DARK_BELOW, BRIGHT_ABOVE = 0.35, 0.65
"""Of an edge's two sides, where 0 is the colour of the iris and 1 that of the white."""
OFF_COLOUR = 0.2
"""How far the bright side's colour may lie off the line from iris to white, in that line's length: lids lie farther."""
LEAST_CONTRAST = 30.0
"""Between iris and white, grey levels over three channels."""
LEAST_EDGES = 6
LID_MARGIN = 1.0
"""Samples beside the lids that are left out: lashes and their shadow."""
FARTHEST = 0.6
"""Of the rim's centre from the network's, iris radii; the network itself is within a third on all drawn heads."""

Patch = Float32[np.ndarray, "y x 3"]


@dataclass(frozen=True)
class Limbus:
    """The rim of one iris as an ellipse, in image pixels, pixel centres at +0.5."""

    centre_px: Float[np.ndarray, "2"]
    """Its middle: where the middle of the iris's circle is seen."""
    rim_px: Float[np.ndarray, "4 2"]
    """Its ends along the eye: towards image right, up, towards image left, down (as the eye's corners lie)."""
    sigma_px: float
    """Standard deviation of the centre in its worse direction, from the edges that were seen."""
    radius_px: float
    """Of the iris as it would be seen from straight ahead."""


@dataclass(frozen=True)
class _EyeFrame:
    """Samples about an eye: the patch's x axis runs from the corner on the image's left to the other."""

    origin_px: Float[np.ndarray, "2"]
    image_from_samples: Float[np.ndarray, "2 2"]

    def to_image(self, samples: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        return samples @ self.image_from_samples.T + self.origin_px

    def from_image(self, points_px: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        return (points_px - self.origin_px) @ np.linalg.inv(self.image_from_samples).T

    def cut(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> Patch:
        """The image on the samples, float32; its own border repeats outside."""
        middle = np.array([HALF_WIDTH, HALF_HEIGHT], float)
        # OpenCV counts pixel centres at integers.
        offset = self.origin_px - self.image_from_samples @ middle - 0.5
        matrix = np.column_stack([self.image_from_samples, offset])
        size_wh = (2 * HALF_WIDTH + 1, 2 * HALF_HEIGHT + 1)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image_rgb, matrix, size_wh, flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(
            np.float32
        )


def find_limbus(
    image_rgb: UInt8[np.ndarray, "h w 3"],
    points_px: Float[np.ndarray, "468 2"],
    relative_depth: Float[np.ndarray, "468"],
    outline: EyeOutline,
    eye: int,
) -> Limbus | None:
    """The rim of the subject's right (0) or left (1) iris near where the network has it.

    None where too little of it shows: closed and averted eyes, eyes too dark or too small to tell iris from white.
    """
    points = np.column_stack([points_px, relative_depth])
    radius_px = IRIS_OVER_EYES * float(np.linalg.norm(points[33] - points[263]))
    eyeball_px = _eyeball_centre(points, radius_px, eye)
    first, second = (points_px[corner] for corner in EYE_CORNERS[eye])
    along = (second - first) / max(float(np.linalg.norm(second - first)), 1e-9)
    axes = np.array([[along[0], -along[1]], [along[1], along[0]]]) * (radius_px / RADIUS_SAMPLES)
    centre_px = outline.iris_px[0]
    fitted = deviation = np.zeros(5)
    for strict in (False, True):  # the second time about the centre that the first time found
        if not (np.isfinite(centre_px).all() and radius_px > 2):
            return None
        frame = _EyeFrame(centre_px, axes)
        edges = _rim_edges(frame.cut(image_rgb), frame.from_image(outline.contour_px))
        if len(edges) < LEAST_EDGES:
            return None
        shape = _expected_shape(-frame.from_image(eyeball_px[None])[0])
        prior = np.concatenate([frame.from_image(outline.iris_px[:1])[0], shape])
        fitted, deviation = _fit(edges, prior, strict)
        centre_px = frame.to_image(fitted[None, :2])[0]
    if np.linalg.norm(centre_px - outline.iris_px[0]) > FARTHEST * radius_px:
        return None
    x, y, width, height, slant = fitted
    ends = np.array(
        [[x + width, y], [x - slant * height, y - height], [x - width, y], [x + slant * height, y + height]]
    )
    sigma_px = float(deviation[:2].max()) * radius_px / RADIUS_SAMPLES
    return Limbus(centre_px, frame.to_image(ends), sigma_px, radius_px)


def _eyeball_centre(points: Float[np.ndarray, "468 3"], radius_px: float, eye: int) -> Float[np.ndarray, "2"]:
    """Where the eyeball's centre is seen, from the eye's corners and the direction that the face looks in."""
    backwards = np.cross(points[263] - points[33], points[152] - points[10])
    backwards = backwards / max(float(np.linalg.norm(backwards)), 1e-9)
    middle = points[list(EYE_CORNERS[eye])].mean(0)
    return (middle + CENTRE_BEHIND * radius_px * backwards)[:2]


def _expected_shape(iris_from_eyeball: Float[np.ndarray, "2"]) -> Float[np.ndarray, "3"]:
    """Half width, half height and slant of a circle that looks away from the eyeball's centre, samples."""
    tilt = iris_from_eyeball / (CENTRE_TO_IRIS * RADIUS_SAMPLES)
    tilt = tilt * min(1.0, 0.95 / max(float(np.linalg.norm(tilt)), 1e-9))
    # A circle of radius r about a unit axis n projects to the ellipse of the matrix r^2 (I - n n').
    matrix = RADIUS_SAMPLES**2 * (np.eye(2) - np.outer(tilt, tilt))
    slant = matrix[0, 1] / matrix[1, 1]
    return np.array([np.sqrt(matrix[0, 0] - slant * matrix[0, 1]), np.sqrt(matrix[1, 1]), slant])


def _rim_edges(patch: Patch, contour: Float[np.ndarray, "71 2"]) -> Float[np.ndarray, "n 3"]:
    """Where rows go from iris to white: x and y in samples from the patch's middle, and the side, -1 or 1."""
    x = np.arange(-HALF_WIDTH, HALF_WIDTH + 1.0)
    y = np.arange(-HALF_HEIGHT, HALF_HEIGHT + 1.0)[:, None]
    is_open = _between_lids(x, y, contour)
    whiteness, off_colour = _whiteness(patch, x, y, is_open)
    if whiteness is None or off_colour is None:
        return np.zeros((0, 3))
    # Both sides as profiles that run outwards: (side, row, step).
    outwards = [
        np.stack([array[:, HALF_WIDTH::-1], array[:, HALF_WIDTH:]]) for array in (whiteness, off_colour, is_open)
    ]
    profile, strange, seen = outwards
    rising = (profile[..., SEARCH_FROM:SEARCH_TO] < 0.5) & (profile[..., SEARCH_FROM + 1 : SEARCH_TO + 1] >= 0.5)
    rising &= seen[..., SEARCH_FROM:SEARCH_TO].astype(bool)
    side, row = np.nonzero(rising.any(-1))
    if not len(side):
        return np.zeros((0, 3))
    step = SEARCH_FROM + rising[side, row].argmax(-1)
    around = step[:, None] + np.arange(1 - REACH, REACH + 1)
    values = profile[side[:, None], row[:, None], around]
    dark, bright = values[:, :REACH].min(1), values[:, REACH:].max(1)
    tinge = strange[side, row, step + 1 + values[:, REACH:].argmax(1)]
    good = (dark < DARK_BELOW) & (bright > BRIGHT_ABOVE) & (tinge < OFF_COLOUR)
    # The place where half of this row's own rise is done: the white is darker in the corners than in the middle.
    half = (dark + bright)[:, None] / 2
    crossing = (values[:, :-1] < half) & (values[:, 1:] >= half)
    at = crossing.argmax(1)
    number = np.arange(len(at))
    before, after = values[number, at], values[number, at + 1]
    good &= crossing.any(1)
    offset = around[number, at] + (half[:, 0] - before) / np.where(good, after - before, 1.0)
    sign = 2.0 * side - 1
    return np.column_stack([sign * offset, y[row, 0], sign])[good]


def _between_lids(
    x: Float[np.ndarray, "x"], y: Float[np.ndarray, "y 1"], contour: Float[np.ndarray, "71 2"]
) -> Float32[np.ndarray, "y x"]:
    """1 between the network's lids, 0 elsewhere."""
    lower = contour[:9]
    upper = np.concatenate([contour[:1], contour[9:16], contour[8:9]])
    low, high = (points[np.argsort(points[:, 0])] for points in (lower, upper))
    inside = (y > np.interp(x, *high.T) + LID_MARGIN) & (y < np.interp(x, *low.T) - LID_MARGIN)
    return inside.astype(np.float32)


def _whiteness(
    patch: Patch, x: Float[np.ndarray, "x"], y: Float[np.ndarray, "y 1"], is_open: Float32[np.ndarray, "y x"]
) -> tuple[Float32[np.ndarray, "y x"] | None, Float32[np.ndarray, "y x"] | None]:
    """0 at the colour of the iris, 1 at the white's; and the distance of each colour from the line between them."""
    radius, is_open = np.hypot(x, y) / RADIUS_SAMPLES, is_open.astype(bool)
    iris = patch[is_open & (radius > 0.2) & (radius < 0.75)]
    beside = patch[is_open & (np.abs(x) > 1.15 * RADIUS_SAMPLES) & (np.abs(x) < 2 * RADIUS_SAMPLES)]
    if len(iris) < 12 or len(beside) < 6:
        return None, None
    dark = np.median(iris, axis=0)
    light = beside.sum(1)
    white = np.median(beside[light >= np.percentile(light, 70)], axis=0)
    rise = white - dark
    length = float(np.linalg.norm(rise))
    if length < LEAST_CONTRAST:
        return None, None
    from_iris = patch - dark
    whiteness = from_iris @ (rise / length**2)
    off_colour = np.linalg.norm(from_iris - whiteness[..., None] * rise, axis=-1) / length
    smooth = cv2.GaussianBlur(whiteness.astype(np.float32), (0, 0), 0.6)
    return smooth, off_colour.astype(np.float32)


def _fit(
    edges: Float[np.ndarray, "n 3"], prior: Float[np.ndarray, "5"], strict: bool
) -> tuple[Float[np.ndarray, "5"], Float[np.ndarray, "5"]]:
    """Centre x and y, half width, half height and slant that the edges ask for, and their standard deviations.

    At height y the rim lies at x = cx + slant (y - cy) +- width sqrt(1 - ((y - cy) / height)^2). Gauss-Newton with
    the prior as rows and Geman-McClure's weights; errors count across the rim, not along the row.
    """
    at_x, at_y, side = edges.T
    value = prior.copy()
    precision = np.diag(PRIOR_SIGMA**-2.0)
    normal = precision
    for step in range(LOOSE_STEPS + (STRICT_STEPS if strict else 0)):
        x, y, width, height, slant = value
        up = at_y - y
        root = np.sqrt(np.maximum(1 - (up / height) ** 2, 0.05))
        error = at_x - (x + slant * up + side * width * root)
        bend = side * width * up / (height**2 * root)
        rows = np.stack([np.ones_like(up), bend - slant, side * root, bend * up / height, up])
        across = 1 / (EDGE_SIGMA * np.sqrt(1 + (bend - slant) ** 2))
        loose = OUTLIER_SIGMAS * (3 if step < LOOSE_STEPS else 1)
        weight = (across / (1 + (error * across / loose) ** 2)) ** 2
        normal = (rows * weight) @ rows.T + precision
        value = value + np.linalg.solve(normal, rows @ (weight * error) + precision @ (prior - value))
        value[2:4] = np.clip(value[2:4], (0.25 * RADIUS_SAMPLES, 0.7 * RADIUS_SAMPLES), 1.4 * RADIUS_SAMPLES)
    return value, np.sqrt(np.diag(np.linalg.inv(normal)))
