"""Which faces of several calibrated views are one person, and which person is the subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from flame_fitting.landmarks.landmarker import FaceLandmarks
from geometry.cameras import Camera

CENTRE_POINTS = (33, 133, 362, 263, 13)
"""Corners of both eyes and the mouth: their mean is one place of the head from whichever side it is seen."""
SAME_PLACE_M = 0.06
"""Rays to one face pass each other within this; two people's heads are farther apart."""
FACE_SIZE_M = (0.08, 0.6)
"""Side of the crop about a face, in which face and margin are 0.2 to 0.4 m."""
SIZE_RATIO = 1.25
"""Of the size that a view gives a face to what two views say together, at most. Cameras at one height have rays that
meet where nobody is, and only the size tells; the crop follows the face's height, which turning leaves as it is."""
PARALLEL = 1e-3
"""Cameras whose axes all lie closer than this to one direction have no nearest point (radians squared, about)."""


@dataclass(frozen=True, eq=False)
class Person:
    """One person in one frame set."""

    faces: tuple[FaceLandmarks | None, ...]
    """In every view, in the cameras' order; None where this person was not found."""
    centre_world: Float[np.ndarray, "3"] | None
    """Between eyes and mouth, metres; None where fewer than two calibrated views have the face."""

    @property
    def size_px(self) -> float:
        """Mean side of the crops about the face, pixels."""
        return float(np.mean([face.crop.side_px for face in self.faces if face is not None]))


@dataclass(frozen=True, eq=False)
class _Rays:
    """All faces of all calibrated views, one a row."""

    origin: Float[np.ndarray, "n 3"]
    direction: Float[np.ndarray, "n 3"]
    size: Float[np.ndarray, "n"]
    """Side of the crop at one metre, metres."""
    view: Int[np.ndarray, "n"]

    def distance(self, points: Float[np.ndarray, "m 3"]) -> tuple[Float[np.ndarray, "m n"], Float[np.ndarray, "m n"]]:
        """From points to rays, and how far along the rays."""
        away = points[:, None] - self.origin
        along = (away * self.direction).sum(-1)
        return np.linalg.norm(away - along[..., None] * self.direction, axis=-1), along


def rig_centre(cameras: Sequence[Camera]) -> Float[np.ndarray, "3"] | None:
    """The point nearest to all calibrated cameras' optical axes, world, metres; None where they look the same way."""
    seeing = [camera for camera in cameras if camera.is_calibrated]
    if len(seeing) < 2:
        return None
    axes = np.array([camera.world_from_camera.rotation[:, 2] for camera in seeing])
    return _nearest_to_lines(np.array([camera.centre_world for camera in seeing]), axes)


def find_persons(cameras: Sequence[Camera], found: Sequence[Sequence[FaceLandmarks]]) -> list[Person]:
    """Everyone who was seen, those in most views first; faces in one view only come last, largest first.

    Any two faces of different views whose rays meet are a person to be: of all views the nearest face that fits in
    place and size joins. The person with most views and least scatter is taken, and its faces are no one else's.
    """
    rays, owners = _cast(cameras, found)
    free = np.ones(len(owners), bool)
    persons: list[Person] = []
    while (members := _best_group(rays, free)) is not None:
        free[members] = False
        centre = _nearest_to_lines(rays.origin[members], rays.direction[members])
        persons.append(Person(_in_views(len(found), [owners[row] for row in members], found), centre))
    grouped = {owners[row] for row in np.flatnonzero(~free)}
    alone = [(view, number) for view in range(len(found)) for number in range(len(found[view]))]
    singles = [Person(_in_views(len(found), [own], found), None) for own in alone if own not in grouped]
    return persons + sorted(singles, key=lambda person: -person.size_px)


def choose_subject(
    cameras: Sequence[Camera], persons: Sequence[Person], followed: Bool[np.ndarray, "v"], face: int | None
) -> Person | None:
    """The subject: who was followed so far, else by size where `face` says so, else the nearest to the rig's centre.

    `face` counts from 0, the largest in the pictures first. Who is seen in one view only comes after those whose place
    is known; among such the larger face wins. None where `face` counts farther than there are people.
    """
    if not persons:
        return None
    kept = [
        sum(face is not None for face, known in zip(person.faces, followed, strict=True) if known) for person in persons
    ]
    if max(kept) > 0:
        return persons[int(np.argmax(kept))]
    if face is not None:
        by_size = sorted(persons, key=lambda person: -person.size_px)
        return by_size[face] if face < len(by_size) else None
    centre = rig_centre(cameras)
    placed = [(person, person.centre_world) for person in persons if person.centre_world is not None]
    if centre is None or not placed:
        return placed[0][0] if placed else max(persons, key=lambda person: person.size_px)
    return min(placed, key=lambda item: float(np.linalg.norm(item[1] - centre)))[0]


def with_lone_views(person: Person, persons: Sequence[Person], cameras: Sequence[Camera], face: int | None) -> Person:
    """The subject joined by faces that the calibration does not tie to it, where that is safe.

    In views without calibration the largest face is the subject, or the one asked for. And where no view shows two
    faces, a face that meets no other's ray is still no stranger's: its camera may be calibrated wrongly, which the fit
    can only name if it gets to see the view.
    """
    everyone = [[other.faces[view] for other in persons] for view in range(len(cameras))]
    here = [[one for one in faces if one is not None] for faces in everyone]
    alone = all(len(faces) < 2 for faces in here)
    untied = {id(one) for other in persons if other.centre_world is None for one in other.faces if one is not None}
    faces = list(person.faces)
    for view, camera in enumerate(cameras):
        if faces[view] is not None:
            continue
        if camera.is_calibrated:
            faces[view] = here[view][0] if alone and here[view] and id(here[view][0]) in untied else None
            continue
        by_size = sorted(here[view], key=lambda one: -one.crop.side_px)
        wanted = face or 0
        faces[view] = by_size[wanted] if wanted < len(by_size) else None
    return Person(tuple(faces), person.centre_world)


def face_centre_px(face: FaceLandmarks) -> Float[np.ndarray, "2"]:
    """Between eyes and mouth, image pixels."""
    return face.points_px[list(CENTRE_POINTS)].mean(0)


def place_person(cameras: Sequence[Camera], faces: Sequence[FaceLandmarks | None]) -> Float[np.ndarray, "3"] | None:
    """Where one person's face is in the world, metres; None where fewer than two calibrated views have it."""
    rays, _ = _cast(cameras, [[face] if face is not None else [] for face in faces])
    return _nearest_to_lines(rays.origin, rays.direction) if len(rays.view) > 1 else None


def _in_views(
    count: int, members: Sequence[tuple[int, int]], found: Sequence[Sequence[FaceLandmarks]]
) -> tuple[FaceLandmarks | None, ...]:
    faces: list[FaceLandmarks | None] = [None] * count
    for view, number in members:
        faces[view] = found[view][number]
    return tuple(faces)


def _cast(cameras: Sequence[Camera], found: Sequence[Sequence[FaceLandmarks]]) -> tuple[_Rays, list[tuple[int, int]]]:
    """Rays to all faces of calibrated views, and whose each is: view and number in it."""
    origin, direction, size, owners = [], [], [], []
    for view, (camera, faces) in enumerate(zip(cameras, found, strict=True)):
        if not camera.is_calibrated or not faces:
            continue
        pixels = np.array([face_centre_px(face) for face in faces])
        rays = np.column_stack([camera.pixels_to_normalised(pixels), np.ones(len(faces))])
        rays = (rays / np.linalg.norm(rays, axis=1, keepdims=True)) @ camera.world_from_camera.rotation.T
        for number, face in enumerate(faces):
            origin.append(camera.centre_world)
            direction.append(rays[number])
            size.append(face.crop.side_px / camera.K[0, 0])
            owners.append((view, number))
    shaped = [np.array(rows, float).reshape(-1, 3) for rows in (origin, direction)]
    return _Rays(shaped[0], shaped[1], np.array(size), np.array([view for view, _ in owners], int)), owners


def _best_group(rays: _Rays, free: Bool[np.ndarray, "n"]) -> Int[np.ndarray, "m"] | None:
    """Rows of the free faces that most surely are one person in several views; None where no two meet."""
    first, second = np.triu_indices(len(free), 1)
    apart = (rays.view[first] != rays.view[second]) & free[first] & free[second]
    first, second = first[apart], second[apart]
    if not len(first):
        return None
    points = _meeting_points(rays, first, second)
    distance, along = rays.distance(points)
    size_m = along * rays.size
    own = np.sqrt(
        np.maximum(size_m[np.arange(len(first)), first], 1e-9) * np.maximum(size_m[np.arange(len(first)), second], 1e-9)
    )
    ratio = np.maximum(size_m, 1e-9) / own[:, None]
    joins = free & (distance < SAME_PLACE_M) & (along > 0) & (ratio < SIZE_RATIO) & (ratio > 1 / SIZE_RATIO)
    joins &= ((own > FACE_SIZE_M[0]) & (own < FACE_SIZE_M[1]))[:, None]
    pair = np.arange(len(first))
    best: tuple[int, float, Int[np.ndarray, "m"]] | None = None
    for number in pair[joins[pair, first] & joins[pair, second]]:
        rows = np.flatnonzero(joins[number])
        # Of several faces in one view the nearest joins.
        rows = rows[np.argsort(distance[number, rows], kind="stable")]
        _, at = np.unique(rays.view[rows], return_index=True)
        rows = np.sort(rows[at])
        scatter = float(distance[number, rows].mean())
        if best is None or (len(rows), -scatter) > (best[0], -best[1]):
            best = (len(rows), scatter, rows)
    return best[2] if best else None


def _meeting_points(rays: _Rays, first: Int[np.ndarray, "p"], second: Int[np.ndarray, "p"]) -> Float[np.ndarray, "p 3"]:
    """Middle of the shortest connection of pairs of rays, far behind all where they are parallel."""
    between = rays.origin[second] - rays.origin[first]
    u, v = rays.direction[first], rays.direction[second]
    cosine = (u * v).sum(1)
    denominator = 1 - cosine**2
    safe = np.where(denominator < PARALLEL, 1.0, denominator)
    on_first = ((between * u).sum(1) - (between * v).sum(1) * cosine) / safe
    on_second = ((between * u).sum(1) * cosine - (between * v).sum(1)) / safe
    middle = (rays.origin[first] + on_first[:, None] * u + rays.origin[second] + on_second[:, None] * v) / 2
    return np.where((denominator < PARALLEL)[:, None], rays.origin[first] - 1e3 * u, middle)


def _nearest_to_lines(
    origins: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "3"] | None:
    """The point with the least sum of squared distances to lines; None where they are parallel."""
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    total = across.sum(0)
    if np.linalg.eigvalsh(total)[0] < PARALLEL:
        return None
    return np.linalg.solve(total, (across @ origins[:, :, None]).sum(0)[:, 0])
