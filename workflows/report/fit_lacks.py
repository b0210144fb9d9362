"""What the input of a fit lacks, and what of the head is therefore a guess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flame_fitting.focal_length import FOCAL, SIGMA, lenses_named
from geometry.rigs import Rig
from storage.take import Take
from workflows.report.checks import GOOD, NEUTRAL, badge
from workflows.report.contents import FittedHead
from workflows.report.found_landmarks import FOLLOWED, SEARCHED, FoundLandmarks
from workflows.report.markup import Markup, element

IRIS_LANDMARKS = 478
NARROW_DEG = 10.0
"""Views closer together than this about the head see it from one side."""
FEW_FRAMES = 5
HEAD_SPREAD = 0.04
"""Of adults' head breadth, one sigma: 151.7 +- 5.4 mm (Gordon et al. 1989, men)."""


@dataclass(frozen=True)
class Lack:
    """One thing that was not there."""

    what: str
    """In two or three words."""
    consequence: str
    """What is a guess now, in a sentence."""


def lacks_of(take: Take, fit: FittedHead, marks: FoundLandmarks | None) -> list[Lack]:
    """Everything that the take lacks and that shows in the head; empty for a full rig."""
    rig = take.rig
    lacks = [*_scale(rig, fit), *_sides(rig, fit)]
    unknown = [camera.id for camera in rig.cameras if not camera.is_calibrated]
    if unknown:
        lacks.append(Lack("No calibration", _focal(unknown, fit)))
    if not rig.rgb:
        said = "there are no landmarks: expression, lids and gaze follow from the shape alone"
        lacks.append(Lack("No colour camera", said))
    elif marks is None:
        lacks.append(Lack("No landmarks", "no face was looked for in the colour pictures"))
    else:
        if marks.count < IRIS_LANDMARKS:
            lacks.append(Lack("No iris", "the irises were not looked for: gaze is a guess from the lids"))
        lacks += _unseen(take, marks)
    if take.frame_count == 1:
        said = (
            "identity and expression share one picture: what this face does all the time, such as a low brow, "
            "may count as either"
        )
        lacks.append(Lack("One frame", said))
    elif take.frame_count < FEW_FRAMES:
        said = "identity rests on few expressions, and there is hardly any motion to steady the curves by"
        lacks.append(Lack(f"{take.frame_count} frames", said))
    return lacks


def lacks_section(take: Take, fit: FittedHead, marks: FoundLandmarks | None) -> Markup:
    """A line per lack."""
    lacks = lacks_of(take, fit, marks)
    if not lacks:
        return element("p", badge(GOOD, "complete"), " Calibrated colour views from several sides, depth and time: "
                       "nothing of the head rests on a guess that the rig could have measured.")  # fmt: skip
    lines = [element("li", badge(NEUTRAL, lack.what), f" {lack.consequence[0].upper()}{lack.consequence[1:]}.")
             for lack in lacks]  # fmt: skip
    return element("ul", *lines, class_="gaps")


def view_directions(rig: Rig, fit: FittedHead) -> np.ndarray:
    """Unit vectors from the head to each colour camera, in the world."""
    head = np.nanmedian(np.where(np.isfinite(fit.translation), fit.translation, np.nan), 0)
    towards = np.array([camera.centre_world - head for camera in rig.rgb]).reshape(-1, 3)
    return towards / np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9)


def widest_deg(rig: Rig, fit: FittedHead) -> float:
    """The largest angle between two colour views about the head."""
    directions = view_directions(rig, fit)
    return float(np.degrees(np.arccos(np.clip(directions @ directions.T, -1, 1).min())))


def _scale(rig: Rig, fit: FittedHead) -> list[Lack]:
    """Depth, or what stands for it."""
    if rig.depth:
        return []
    known = [camera.is_calibrated for camera in rig.rgb]
    if sum(known) < 2:
        focal = "the focal length is the calibration's, but " if len(known) == 1 and known[0] else ""
        said = (
            f"{focal}the head's size, and with it its distance, comes from the prior of head sizes: adults differ by "
            f"some {HEAD_SPREAD:.0%} (one sigma), children by more, and so may every millimetre given here"
        )
    else:
        baseline_m = max(
            float(np.linalg.norm(one.centre_world - other.centre_world)) for one in rig.rgb for other in rig.rgb
        )
        said = (
            f"size and distance are measured where the calibrated views' landmarks meet (up to {baseline_m:.2f} m and "
            f"{widest_deg(rig, fit):.0f} degrees apart about the head); skin without landmarks, such as cheeks and "
            "forehead, follows the model between them and the face's outline"
        )
    return [Lack("No depth", said)]


def _sides(rig: Rig, fit: FittedHead) -> list[Lack]:
    """How much of the head is seen from more than one side."""
    if len(rig.rgb) == 1:
        guess = "sides and back of the head are the model's guess"
        if not rig.depth:
            guess = (
                "how far the nose stands out, and all else along the line of sight, is a guess; so are the sides and "
                "the back"
            )
        return [Lack("One view", guess)]
    if len(rig.rgb) > 1:
        widest = widest_deg(rig, fit)
        if widest < NARROW_DEG:
            return [Lack("Views from one side", f"all cameras stand within {widest:.0f} degrees about the head: "
                         "its sides and back are the model's guess")]  # fmt: skip
    return []


def _focal(unknown: list[str], fit: FittedHead) -> str:
    metrics = lenses_named(fit.result.provenance.metrics)
    estimated = {name.removeprefix(FOCAL): value for name, value in metrics.items() if name.startswith(FOCAL)}
    who = ", ".join(unknown)
    rests = "distance and depth of the face rest on it"
    if estimated:
        said = ", ".join(f"{px:.0f} px{_give_or_take(metrics, camera)}" for camera, px in estimated.items())
        return f"the focal length of {who} is unknown and was estimated by the fit ({said}): {rests}"
    return f"the focal length of {who} is unknown: a view of 45 degrees is assumed, and {rests}"


def _give_or_take(metrics: dict[str, float], camera: str) -> str:
    sigma = metrics.get(SIGMA + camera)
    return "" if sigma is None else f", give or take {sigma:.0f}"


def _unseen(take: Take, marks: FoundLandmarks) -> list[Lack]:
    """Colour cameras that never saw the face with full landmarks."""
    voted = np.isin(marks.view_state, (SEARCHED, FOLLOWED))
    never = [camera_id for column, camera_id in enumerate(marks.cameras) if not voted[:, column].any()]
    if not never or len(never) == len(marks.cameras):
        return []
    return [Lack("Views without landmarks", f"{', '.join(never)} never saw the face so that its landmarks could vote")]
