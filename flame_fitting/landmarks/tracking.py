"""One person's landmarks over a run of frame sets in all views: followed where they were, searched for where lost.

A run begins with a search and knows nothing of the frames before it. A take that is cut into runs at fixed places has
the same landmarks whichever runs are made when, and by whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from flame_fitting.landmarks.crop import Square
from flame_fitting.landmarks.eyes import IRIS_POINTS, find_irises
from flame_fitting.landmarks.head_direction import (
    BEHIND_RAD,
    PROFILE_RAD,
    agreed_direction,
    angle_between,
    is_profile,
)
from flame_fitting.landmarks.iris import IrisNetwork
from flame_fitting.landmarks.landmarker import FaceLandmarker, FaceLandmarks
from flame_fitting.landmarks.persons import choose_subject, find_persons, place_person, with_lone_views
from flame_fitting.landmarks.view_states import ViewState
from flame_fitting.landmarks.weights import LandmarkWeights, landmark_weights
from geometry.cameras import Camera
from geometry.errors import InputError

LANDMARKS = 468 + IRIS_POINTS
BLANK_RANGE = 6
"""Grey levels between the darkest and the brightest of a picture's 40 x 24 parts, under which it shows nothing."""
THOROUGH_EVERY = 8
"""Frames between searches of the whole picture in all turns and sizes, which take thirty times as long as following."""
TARGET_SIDES = 2.0
"""Side of the square in which a person is looked for whose place is known, over the crop about the face."""
FACE_SIDE_M = 0.3
"""Of the crop about a face, where no view tells."""
UNSEEN_RAD = float(np.deg2rad(80))
"""Past this angle from the face's direction the detector finds no face; where it is known nothing is searched."""
SURE_NINES = 4.0
"""Nines of the network's score that earn full confidence (0.9999); a face of the least score, 0.99, has half of it."""

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, eq=False)
class ViewMarks:
    """The landmarks of one view: always finite, and without any vote where the state says so."""

    points_px: Float[np.ndarray, "478 2"]
    """Image pixels, pixel centres at +0.5, in MediaPipe's order with both irises; zeros where there is no face."""
    confidence: Float[np.ndarray, "478"]
    """Vote of each point in [0, 1]: 0 where it faces away, lies outside the image or is not measured at all."""
    state: ViewState
    """What became of the view."""

    @classmethod
    def none(cls, state: ViewState) -> ViewMarks:
        """No landmarks, for the reason given."""
        return cls(np.zeros((LANDMARKS, 2)), np.zeros(LANDMARKS), state)


class FaceTracker:
    """Follows one person through a run of frame sets. Holds cv2 networks, which are not thread-safe: one a thread."""

    def __init__(
        self,
        cameras: Sequence[Camera],
        landmarker: FaceLandmarker,
        irises: IrisNetwork,
        face: int | None = None,
    ) -> None:
        if face is not None and face < 0:
            raise InputError("a face counted from 0, the largest first", f"{face}", "set --face to 0 or more")
        self._cameras = tuple(cameras)
        self._landmarker = landmarker
        self._irises = irises
        self._face = face
        self.start_run()

    @classmethod
    def load(
        cls, cameras: Sequence[Camera], face: int | None = None, weights: LandmarkWeights | None = None
    ) -> FaceTracker:
        """A tracker with the installed networks, or with those given.

        Raises InputError that names `mien models install` when none are installed.
        """
        weights = weights or landmark_weights()
        return cls(cameras, FaceLandmarker.load(weights), IrisNetwork(weights.iris), face)

    def start_run(self) -> None:
        """Forget everything: the next frame set is searched as the first one."""
        self._hints: list[FaceLandmarks | None] = [None] * len(self._cameras)
        self._frames_lost = [0] * len(self._cameras)

    def track(self, pictures: Sequence[Picture | None]) -> tuple[ViewMarks, ...]:
        """The subject's landmarks in the next frame set: a picture a camera, None where it has none."""
        followed = [
            self._landmarker.follow(picture, hint) if picture is not None and hint is not None else None
            for picture, hint in zip(pictures, self._hints, strict=True)
        ]
        faces = self._join_lost(pictures, followed)
        agreed = agreed_direction([(c, f) for c, f in self._seen(faces)])
        marks = tuple(
            self._marks(view, pictures[view], face, followed[view] is not None, agreed)
            for view, face in enumerate(faces)
        )
        place = place_person(self._cameras, faces)
        marks = tuple(
            self._named_profile(view, mark, place, agreed) if mark.state == ViewState.NO_FACE else mark
            for view, mark in enumerate(marks)
        )
        for view, (picture, face) in enumerate(zip(pictures, faces, strict=True)):
            if picture is not None:  # a dropped frame says nothing: the hint waits for the next one
                self._hints[view] = face
                self._frames_lost[view] = 0 if face is not None else self._frames_lost[view] + 1
        return marks

    def _join_lost(
        self, pictures: Sequence[Picture | None], followed: Sequence[FaceLandmarks | None]
    ) -> tuple[FaceLandmarks | None, ...]:
        """The subject's face in every view, searched for where it was not followed."""
        lost = [view for view, picture in enumerate(pictures) if picture is not None and followed[view] is None]
        lost = [view for view in lost if not _is_blank(pictures[view])]
        if not lost:
            return tuple(followed)
        candidates: list[tuple[FaceLandmarks, ...]] = [(face,) if face is not None else () for face in followed]
        place, agreed = self._known_person(followed)
        for view in lost:
            if place is None:
                candidates[view] = self._search(view, pictures[view])
            elif self._may_show(view, place, agreed):
                candidates[view] = self._look_at(view, pictures[view], place, followed)
        persons = find_persons(self._cameras, candidates)
        subject = choose_subject(self._cameras, persons, np.array([face is not None for face in followed]), self._face)
        if subject is None:
            return tuple(followed)
        # Where the subject's place is known, a face elsewhere is somebody else's.
        joined = with_lone_views(subject, persons, self._cameras, self._face) if place is None else subject
        faces = [old if old is not None else new for old, new in zip(followed, joined.faces, strict=True)]
        return self._second_look(pictures, lost, tuple(faces)) if place is None else tuple(faces)

    def _second_look(
        self, pictures: Sequence[Picture | None], lost: Sequence[int], faces: tuple[FaceLandmarks | None, ...]
    ) -> tuple[FaceLandmarks | None, ...]:
        """Views that showed nothing at first, now that others know where the subject is."""
        place, agreed = self._known_person(faces)
        if place is None:
            return faces
        complete = list(faces)
        for view in lost:
            if complete[view] is None and self._may_show(view, place, agreed):
                near = self._look_at(view, pictures[view], place, faces)
                trial = find_persons(
                    self._cameras, [near if v == view else (f,) if f else () for v, f in enumerate(faces)]
                )
                complete[view] = trial[0].faces[view]
        return tuple(complete)

    def _search(self, view: int, picture: Picture | None) -> tuple[FaceLandmarks, ...]:
        """Every face in a picture; lying and small ones are looked for once in a while only."""
        if picture is None:
            return ()
        found = self._landmarker.faces(picture)
        if found or self._frames_lost[view] % THOROUGH_EVERY:
            return found
        thorough = self._landmarker.detect(picture)
        return (thorough,) if thorough is not None else ()

    def _look_at(
        self,
        view: int,
        picture: Picture | None,
        place: Float[np.ndarray, "3"],
        faces: Sequence[FaceLandmarks | None],
    ) -> tuple[FaceLandmarks, ...]:
        """Faces near the place in the world where the subject is."""
        if picture is None:
            return ()
        camera = self._cameras[view]
        pixels, depth = camera.project(place[None])
        sides = [
            face.crop.side_px / other.K[0, 0] * float(np.linalg.norm(place - other.centre_world))
            for other, face in self._seen(faces)
        ]
        side_m = float(np.median(sides)) if sides else FACE_SIDE_M
        side_px = TARGET_SIDES * side_m / float(depth[0]) * camera.K[0, 0]
        square = Square((float(pixels[0, 0]), float(pixels[0, 1])), side_px, 0.0)
        return self._landmarker.faces(picture, within=square)

    def _known_person(
        self, faces: Sequence[FaceLandmarks | None]
    ) -> tuple[Float[np.ndarray, "3"] | None, Float[np.ndarray, "3"] | None]:
        """Where in the world the face is and where it looks, as far as two views know."""
        return place_person(self._cameras, faces), agreed_direction(self._seen(faces))

    def _seen(self, faces: Sequence[FaceLandmarks | None]) -> list[tuple[Camera, FaceLandmarks]]:
        """Calibrated views that have the face."""
        pairs = zip(self._cameras, faces, strict=True)
        return [(camera, face) for camera, face in pairs if face is not None and camera.is_calibrated]

    def _may_show(self, view: int, place: Float[np.ndarray, "3"], agreed: Float[np.ndarray, "3"] | None) -> bool:
        """Whether a face could be found in a view: its place is in the picture and it does not look away."""
        camera = self._cameras[view]
        if not camera.is_calibrated:
            return True
        if not _is_inside(camera, place):
            return False
        return agreed is None or angle_between(agreed, camera.centre_world - place) < UNSEEN_RAD

    def _named_profile(
        self,
        view: int,
        marks: ViewMarks,
        place: Float[np.ndarray, "3"] | None,
        agreed: Float[np.ndarray, "3"] | None,
    ) -> ViewMarks:
        """A view without a face where the others say that it must be a profile is named one."""
        camera = self._cameras[view]
        if place is None or agreed is None or not camera.is_calibrated or not _is_inside(camera, place):
            return marks
        angle = angle_between(agreed, camera.centre_world - place)
        return ViewMarks.none(ViewState.PROFILE) if PROFILE_RAD < angle < BEHIND_RAD else marks

    def _marks(
        self,
        view: int,
        picture: Picture | None,
        face: FaceLandmarks | None,
        was_followed: bool,
        agreed: Float[np.ndarray, "3"] | None,
    ) -> ViewMarks:
        """What is stored of a view."""
        if picture is None:
            return ViewMarks.none(ViewState.NO_PICTURE)
        if face is None:
            return ViewMarks.none(ViewState.NO_FACE)
        irises = find_irises(picture, face, self._irises)
        points = np.concatenate([face.points_px, irises.points_px])
        if is_profile(self._cameras[view], face, agreed):
            return ViewMarks(points, np.zeros(LANDMARKS), ViewState.PROFILE)
        nines = -np.log10(max(1 - face.score, 1e-12))
        confidence = np.concatenate([face.visibility, irises.confidence]) * min(1.0, nines / SURE_NINES)
        return ViewMarks(points, confidence, ViewState.FOLLOWED if was_followed else ViewState.SEARCHED)


def _is_blank(picture: Picture | None) -> bool:
    """Whether a picture shows nothing at all: black, covered or of one grey."""
    if picture is None:
        return True
    small = cv2.resize(picture, (40, 24), interpolation=cv2.INTER_AREA)
    return bool(np.ptp(small.reshape(-1, 3).astype(int), axis=0).max() < BLANK_RANGE)


def _is_inside(camera: Camera, place: Float[np.ndarray, "3"]) -> bool:
    """Whether a point of the world lies in a camera's picture."""
    pixels, depth = camera.project(place[None])
    height, width = camera.image_size_hw
    return bool(depth[0] > 0.05 and np.all((pixels[0] >= 0) & (pixels[0] <= (width, height))))
