"""A board in view of an RGB-D camera: its size and its depth tell the focal length, which the rig states too."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from capture.calibration.board import BoardSpec, detect_board
from capture.calibration.board_guess import guess_board
from capture.calibration.focal_from_depth import FocalEstimate, focal_from_board_and_depth
from capture.quality.check import Check, Judged, not_judged
from capture.quality.evidence import Evidence
from capture.quality.recorded_notes import recorded_notes
from capture.quality.sampling import sampled_indices
from geometry.cameras import Camera
from geometry.errors import InputError
from storage.take import Take

FOCAL_FAIL = 0.03
"""Of the focal length. Three devices of Urban et al. 2022 (arXiv:2201.10865): two within 1.2 %, the third 6.2 %."""
FRAMES_MOST = 8
GUESS_FROM = 2
"""Pictures that tell which board it is: ten families of markers are tried in each."""
BOARD_TEXT = re.compile(r"\b(charuco|checkerboard):\S+")
SQUARE_TEXT = re.compile(r"\bboard(?:'s)? squares?\b[^0-9\n]{0,12}([0-9.]{1,12}) ?(mm|cm|m)\b", re.IGNORECASE)
UNITS_M = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}


def check_focal_length(evidence: Evidence) -> Iterator[Check]:
    """A finding about every camera that shares its pixels with a depth camera, if the take names a board.

    Colour alone cannot tell, because a board nearly parallel to the sensor looks the same from nearer with a shorter
    lens; depth says how near. Source of the idea: Urban et al. 2022, arXiv:2201.10865.
    """
    take = evidence.take
    pairs = _registered(take)
    if not pairs:
        return
    named = board_named("\n".join(recorded_notes(take)))
    if named is None:
        why = "no board named in the take's notes, such as 'board squares: 20 mm'"
        yield not_judged("focal_length", None, "share", FOCAL_FAIL, why)
        return
    for picture, depth in pairs:
        if not picture.is_calibrated:
            yield not_judged("focal_length", picture.id, "share", FOCAL_FAIL, "no calibration")
            continue
        try:
            estimate = _estimate(take, (picture, depth), named)
        except InputError as error:
            yield not_judged("focal_length", picture.id, "share", FOCAL_FAIL, f"{error.got} where {error.expected}")
        else:
            yield _judged(picture, estimate)


def board_named(notes: str) -> BoardSpec | float | None:
    """The board that notes name as `mien calibrate --board` takes it, or the side of its squares in metres."""
    if found := BOARD_TEXT.search(notes):
        try:
            return BoardSpec.parse(found[0].rstrip(".,;"))
        except InputError:
            return None
    found = SQUARE_TEXT.search(notes)
    try:
        square_m = float(found[1].rstrip(".")) * UNITS_M[found[2].lower()] if found else 0.0
    except ValueError:
        return None
    return square_m if 0 < square_m < 10 else None


def _registered(take: Take) -> list[tuple[Camera, Camera]]:
    """Pictures and depth of the same pixels: colour with depth registered to it, or infrared of the depth's sensor."""
    pairs = []
    for depth in take.rig.depth:
        for camera in take.rig.cameras:
            same = camera.module == depth.module and camera.image_size_hw == depth.image_size_hw
            if same and camera.kind in ("rgb", "infrared") and np.allclose(camera.K, depth.K, rtol=1e-6):
                pairs.append((camera, depth))
    return pairs


def _estimate(take: Take, pair: tuple[Camera, Camera], named: BoardSpec | float) -> FocalEstimate:
    picture, depth = pair
    column, depth_column = (take.rig.index(camera.id) for camera in pair)
    both = np.flatnonzero((take.sync.index[:, column] >= 0) & (take.sync.index[:, depth_column] >= 0))
    chosen = [int(both[k]) for k in sampled_indices(len(both), FRAMES_MOST)] if len(both) else []
    pictures = [take.frame(picture.id, frame_set) for frame_set in chosen]
    depths_m = [take.depth_m(depth.id, frame_set) for frame_set in chosen]
    held = [(image, depth_m) for image, depth_m in zip(pictures, depths_m, strict=True) if image is not None]
    spec = named if isinstance(named, BoardSpec) else guess_board([image for image, _ in held[:GUESS_FROM]], named)
    detections = [detect_board(image, spec) for image, _ in held]
    return focal_from_board_and_depth(
        detections, [depth_m for _, depth_m in held if depth_m is not None], spec, picture
    )


def _judged(camera: Camera, estimate: FocalEstimate) -> Check:
    stated_px = float(camera.K[0, 0])
    error = abs(estimate.focal_px / stated_px - 1)
    judged = Judged("focal_length", camera.id, error, "share", None, FOCAL_FAIL)
    got = (
        f"{stated_px:.1f} px stated, {estimate.focal_px:.1f} +- {estimate.sigma_px:.1f} px by board and depth in "
        f"{len(estimate.picture_focal_px)} frames ({error:.1%} apart)"
    )
    remedy = "do not trust this device's own calibration: run `mien calibrate`, and ingest again with --rig"
    return judged.above(f"a focal length within {FOCAL_FAIL:.0%}", got, remedy)
