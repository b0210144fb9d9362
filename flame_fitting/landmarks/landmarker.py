"""From an image to the 468 points of its largest face: detect, place, place again, check."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.crop import Square, letterbox
from flame_fitting.landmarks.detector import Detection, FaceDetector
from flame_fitting.landmarks.mesh import FaceMesh, MeshPass, square_from_detection, square_from_points
from flame_fitting.landmarks.visibility import point_visibility
from flame_fitting.landmarks.weights import LandmarkWeights, landmark_weights
from geometry.errors import InputError

MIN_SCORE = 0.99
"""Below this there is no face. Far above the usual 0.5 on purpose: with a chin-up face's mesh half a mouth off, the
network still said 0.76; right meshes on blurred, dark or partly covered faces said 0.995 and more."""
CERTAIN_SCORE = 1 - 1e-7
"""From here on nothing else is tried. Clear faces score above this; faces upside down in their crop, whose points are
all wrong, reach 1 - 1e-6, so below this the other turns of the crop compete."""
BEST_TURN_SCORE = 1 - 1e-5
"""From here on the best of all turns is taken; below it, other detections compete too."""
TURNED_DOUBT = 100.0
"""A turned crop must be surer than the upright one by this factor in what is missing to 1. On an upside-down face it is
surer by thousands; on a wide open mouth a wrong turn came as close as 1.4e-7 and beat the right one narrowly."""
QUARTER_TURNS = (np.pi / 2, -np.pi / 2, np.pi)
MIN_TILE_PX = 96
"""Smaller tiles than this would only enlarge pixels."""
HOPELESS_SCORE = 0.01
"""Below this in its second pass, a crop is not worth more passes: none such ever led to a right mesh."""
MAX_PASSES = 8
"""Passes of the mesh before a crop that still moves is taken as it is; a well detected face needs two."""


@dataclass(frozen=True)
class FitTolerance:
    """How far the crop that the points ask for may be from the crop they were found in."""

    turn_rad: float
    """Difference of the angles."""
    scale: float
    """Ratio of the sides, the greater over the smaller."""
    shift: float
    """Distance of the centres, as a fraction of the side."""


SETTLED = FitTolerance(turn_rad=np.deg2rad(2), scale=1.03, shift=0.015)
"""Another pass would not move the points by more than the network's own noise."""
PLAUSIBLE = FitTolerance(turn_rad=np.deg2rad(30), scale=1.6, shift=0.25)
"""Past this the points are wrong, whatever the score: the network was trained on level eyes in the crop's middle."""


@dataclass(frozen=True)
class FaceLandmarks:
    """The face mesh of one face in one image."""

    points_px: Float[np.ndarray, "468 2"]
    """Points in image pixels, pixel centres at +0.5, in MediaPipe's order."""
    relative_depth: Float[np.ndarray, "468"]
    """Depth relative to each other in image pixels, growing away from the camera; a learned guess, not a measure."""
    score: float
    """The mesh network's confidence that this is a face, in [0, 1]; at least 0.99."""
    detection_score: float
    """The detector's confidence in [0, 1]; kept from the hint's own where the detector was skipped."""
    visibility: Float[np.ndarray, "468"]
    """Weight for each point in [0, 1], 0 where it faces away from the camera or lies outside the image."""

    @property
    def crop(self) -> Square:
        """The square about the face: eyes level, the points' box in its middle with a margin."""
        return square_from_points(self.points_px)


class FaceLandmarker:
    """Detector and mesh together. Holds cv2 networks, which are not thread-safe: one object a thread."""

    def __init__(self, detector: FaceDetector, mesh: FaceMesh) -> None:
        self._detector = detector
        self._mesh = mesh

    @classmethod
    def load(cls, weights: LandmarkWeights | None = None) -> "FaceLandmarker":
        """A landmarker with the installed weights, or with those given.

        Raises InputError that names `mien models install` when none are installed.
        """
        weights = weights or landmark_weights()
        return cls(detector=FaceDetector(weights.detector), mesh=FaceMesh(weights.mesh))

    def detect(self, image_rgb: UInt8[np.ndarray, "h w 3"], hint: FaceLandmarks | None = None) -> FaceLandmarks | None:
        """The largest face that is certain, else the most certain one, else None.

        The whole image is tried first, then turned by a quarter and a half, then in overlapping tiles, because the
        short-range detector misses faces that are turned or small in the frame. `hint` is the same face in the frame
        before: where it still fits, the detector is skipped. A search that finds nothing takes up to thirty times as
        long as one that finds a clear face at once.

        Raises InputError when the image is not (h, w, 3) uint8 or is empty.
        """
        _check_image(image_rgb)
        if hint is not None:
            # A face that a search could not be certain of may be followed so; a clear one that fades is searched for.
            wanted_score = CERTAIN_SCORE if hint.score >= CERTAIN_SCORE else MIN_SCORE
            followed = self.follow(image_rgb, hint, wanted_score)
            if followed is not None:
                return followed
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        for search in (whole_image_squares(size_hw), tile_squares(size_hw)):
            found = self._search(image_rgb, search)
            if found is not None:
                return found
        return None

    def follow(
        self, image_rgb: UInt8[np.ndarray, "h w 3"], hint: FaceLandmarks, wanted_score: float = MIN_SCORE
    ) -> FaceLandmarks | None:
        """The face that was at `hint` a frame ago by one pass of the mesh, or None where a search is due."""
        square = hint.crop
        found = self._mesh.place_points(image_rgb, square)
        if found.score < wanted_score or not fits(found, square, PLAUSIBLE):
            return None
        return _landmarks(found, hint.detection_score, image_rgb)

    def faces(self, image_rgb: UInt8[np.ndarray, "h w 3"], within: Square | None = None) -> tuple[FaceLandmarks, ...]:
        """All upright faces, largest first; with `within` only those that show in that square of the image.

        The quick search: four runs of the detector on a wide image, one in a square, and the mesh on what they find. It
        misses faces that are lying, upside down or a twentieth of the image high; `detect` finds those.
        Raises InputError when the image is not (h, w, 3) uint8 or is empty.
        """
        _check_image(image_rgb)
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        squares = [within] if within else [letterbox(size_hw), *_tiles(size_hw, min(size_hw), 0.0)]
        detections = [found for square in squares for found in self._detector.detect(image_rgb, square)]
        found: list[FaceLandmarks] = []
        for detection in distinct_faces(detections):
            placed = self._settle(image_rgb, square_from_detection(detection))
            if placed is not None and placed.score >= MIN_SCORE:
                found.append(_landmarks(placed, detection.score, image_rgb))
        return distinct_landmarks(found)

    def _search(self, image_rgb: UInt8[np.ndarray, "h w 3"], search: Iterable[list[Square]]) -> FaceLandmarks | None:
        """The first certain face, else the most certain of all that were found, else None."""
        uncertain: list[FaceLandmarks] = []
        for squares in search:
            detections = [found for square in squares for found in self._detector.detect(image_rgb, square)]
            for detection in distinct_faces(detections):
                found = self._place_in_any_turn(image_rgb, square_from_detection(detection))
                if found is None:
                    continue
                landmarks = _landmarks(found, detection.score, image_rgb)
                if landmarks.score >= BEST_TURN_SCORE:
                    return landmarks
                uncertain.append(landmarks)
        return max(uncertain, key=lambda landmarks: landmarks.score, default=None)

    def _place_in_any_turn(self, image_rgb: UInt8[np.ndarray, "h w 3"], square: Square) -> MeshPass | None:
        """The mesh in the turn of the crop that it is surest of, or None where it is sure of none."""
        tried: list[MeshPass] = []
        doubts: list[float] = []
        for turn in (0.0, *QUARTER_TURNS):
            found = self._settle(image_rgb, replace(square, angle_rad=square.angle_rad + turn))
            if found is not None and found.score >= CERTAIN_SCORE:
                return found
            if found is not None and found.score >= MIN_SCORE:
                tried.append(found)
                doubts.append((1 - found.score) * (TURNED_DOUBT if turn else 1))
        return tried[int(np.argmin(doubts))] if tried else None

    def _settle(self, image_rgb: UInt8[np.ndarray, "h w 3"], square: Square) -> MeshPass | None:
        """The mesh in a crop refined from its own points until it rests, or None where they do not fit it.

        The detector's box is rough on chin-up and turned faces, so early passes may score low and still lead there.
        """
        found = self._mesh.place_points(image_rgb, square)
        for _ in range(MAX_PASSES - 1):
            square = square_from_points(found.points_px)
            found = self._mesh.place_points(image_rgb, square)
            if found.score < HOPELESS_SCORE or fits(found, square, SETTLED):
                break
        return found if fits(found, square, PLAUSIBLE) else None


def whole_image_squares(image_size_hw: tuple[int, int]) -> Iterator[list[Square]]:
    """The whole image upright, then its other three turns together (phones store portraits turned)."""
    yield [letterbox(image_size_hw)]
    yield [letterbox(image_size_hw, turn) for turn in QUARTER_TURNS]


def tile_squares(image_size_hw: tuple[int, int]) -> Iterator[list[Square]]:
    """Tiles as wide as the image's short side, then half of it, then the large ones turned."""
    side_px = min(image_size_hw)
    yield list(_tiles(image_size_hw, side_px, 0.0))
    yield list(_tiles(image_size_hw, side_px // 2, 0.0))
    yield [tile for turn in QUARTER_TURNS for tile in _tiles(image_size_hw, side_px, turn)]


def _tiles(image_size_hw: tuple[int, int], side_px: int, angle_rad: float) -> Iterator[Square]:
    """Squares that cover the image, each overlapping its neighbours by at least half."""
    if side_px < MIN_TILE_PX or side_px == max(image_size_hw):
        return
    height, width = image_size_hw
    for top in np.linspace(0, height - side_px, 1 + int(np.ceil(2 * (height - side_px) / side_px))):
        for left in np.linspace(0, width - side_px, 1 + int(np.ceil(2 * (width - side_px) / side_px))):
            centre_px = (float(left) + side_px / 2, float(top) + side_px / 2)
            yield Square(centre_px=centre_px, side_px=float(side_px), angle_rad=angle_rad)


def distinct_faces(detections: list[Detection]) -> list[Detection]:
    """One detection a face, largest first: of those with centres closer than half a side, the best score wins."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda found: -found.score):
        centre = np.array(detection.face.centre_px)
        near = [
            np.linalg.norm(centre - other.face.centre_px) < 0.5 * max(detection.face.side_px, other.face.side_px)
            for other in kept
        ]
        if not any(near):
            kept.append(detection)
    return sorted(kept, key=lambda found: -found.face.side_px)


def distinct_landmarks(faces: list[FaceLandmarks]) -> tuple[FaceLandmarks, ...]:
    """One entry a face, largest first: two detections of one face end in the same points, and the surer one stays."""
    kept: list[FaceLandmarks] = []
    for face in sorted(faces, key=lambda face: -face.score):
        centre, side_px = np.array(face.crop.centre_px), face.crop.side_px
        near = [
            np.linalg.norm(centre - other.crop.centre_px) < 0.3 * max(side_px, other.crop.side_px) for other in kept
        ]
        if not any(near):
            kept.append(face)
    return tuple(sorted(kept, key=lambda face: -face.crop.side_px))


def fits(found: MeshPass, square: Square, tolerance: FitTolerance) -> bool:
    """Whether the points lie in their crop as a face does: upright, filling it, in its middle."""
    asked = square_from_points(found.points_px)
    turn = np.angle(np.exp(1j * (asked.angle_rad - square.angle_rad)))
    scale = max(asked.side_px / square.side_px, square.side_px / asked.side_px)
    shift = np.linalg.norm(np.subtract(asked.centre_px, square.centre_px)) / square.side_px
    return bool(abs(turn) <= tolerance.turn_rad and scale <= tolerance.scale and shift <= tolerance.shift)


def _landmarks(found: MeshPass, detection_score: float, image_rgb: UInt8[np.ndarray, "h w 3"]) -> FaceLandmarks:
    size_hw = (image_rgb.shape[0], image_rgb.shape[1])
    return FaceLandmarks(
        points_px=found.points_px,
        relative_depth=found.relative_depth,
        score=found.score,
        detection_score=detection_score,
        visibility=point_visibility(found.points_px, found.relative_depth, size_hw),
    )


def _check_image(image_rgb: UInt8[np.ndarray, "h w 3"]) -> None:
    if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8 or image_rgb.size == 0:
        raise InputError(
            expected="an RGB image, uint8, of shape (height, width, 3)",
            got=f"{image_rgb.dtype} of shape {image_rgb.shape}",
            remedy="convert the image to 8-bit RGB",
        )
